//! What the ledger keeps, shows as it comes, drops and erases, while the node runs.

use crate::support::asking::PATIENCE;
use crate::support::shop;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// `farebox usage events --follow --json`, line by line.
struct Following {
    child: Child,
    lines: UnboundedReceiver<Value>,
}

impl Following {
    fn of(data_dir: &std::path::Path) -> Following {
        let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
        command
            .args(["usage", "events", "--follow", "--json", "--where", "operation=chat", "--data-dir"])
            .arg(data_dir);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let (told, lines) = unbounded_channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = told.send(serde_json::from_str(&line).unwrap());
            }
        });
        Following { child, lines }
    }

    async fn next(&mut self) -> Value {
        tokio::time::timeout(PATIENCE, self.lines.recv()).await.expect("an event in time").expect("more events")
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn events_are_shown_as_they_come_also_one_that_began_before_others() {
    let shop = shop().open().await;
    shop.chat("Hi").with("x-farebox-user", "first").answered().await;
    shop.row().await;
    let mut following = Following::of(&shop.data_dir());
    assert_eq!(following.next().await["user"], "first");
    let stalled = shop.stream("Say something.").with("x-farebox-user", "long").wishing("stall-after", 2);
    let mut stalled = stalled.streaming().await;
    stalled.read_until(|body| body.matches("data: ").count() > 2).await;
    shop.chat("Hi").with("x-farebox-user", "young").answered().await;
    shop.ask("GET", "/v1/models").answered().await;
    assert_eq!(following.next().await["user"], "young");
    drop(stalled);
    let long = following.next().await;
    assert_eq!((&long["user"], &long["outcome"]), (&"long".into(), &"caller_cancelled".into()));
}

#[tokio::test]
async fn a_person_is_erased_while_the_node_runs_and_sums_stay() {
    let shop = shop().open().await;
    for user in ["ann", "bob"] {
        shop.chat("Hi").with("x-farebox-user", user).with("x-farebox-session", &format!("s-{user}")).answered().await;
    }
    let cost: i64 = shop.rows(2).await.iter().map(|row| row.cost.unwrap().as_pico()).sum();
    let said = shop.command(&["erase", "--user", "ann", "--json"]);
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), r#"{"dry_run":false,"events":1,"names":2}"#);
    let rows = shop.rows(2).await;
    assert!(rows[0].user.as_deref().unwrap().starts_with("erased-"), "{:?}", rows[0].user);
    assert!(rows[0].session.as_deref().unwrap().starts_with("erased-"));
    assert_eq!((rows[1].user.as_deref(), rows[1].session.as_deref()), (Some("bob"), Some("s-bob")));
    assert_eq!(rows.iter().map(|row| row.cost.unwrap().as_pico()).sum::<i64>(), cost);
    shop.chat("Hi").with("x-farebox-user", "ann").answered().await;
    let rows = shop.rows(3).await;
    assert_eq!((rows[2].user.as_deref(), rows[0].user == rows[2].user), (Some("ann"), false));
    assert!(shop.command(&["ledger", "verify"]).status.success());
    let nobody = shop.command(&["erase", "--session", "nobodys"]);
    assert!(String::from_utf8_lossy(&nobody.stdout).contains("nobody of that name"));
}

#[tokio::test]
async fn events_past_an_age_are_dropped_while_the_node_runs_and_it_still_adds_up() {
    let shop = shop().open().await;
    shop.chat("Hi").answered().await;
    shop.row().await;
    let dry = shop.command(&["retain", "--older-than", "0s", "--dry-run", "--json"]);
    let said: Value = serde_json::from_slice(&dry.stdout).unwrap();
    assert_eq!((&said["dry_run"], &said["events"]), (&true.into(), &0.into()), "today's events are of no past day");
    let without_an_age = shop.command(&["retain"]);
    assert!(without_an_age.status.success(), "only tenants' own ages count then");
    assert!(String::from_utf8_lossy(&without_an_age.stdout).contains("No tenant has events past an age of its own"));
    assert!(shop.command(&["retain", "--older-than", "400d"]).status.success());
    assert!(shop.command(&["ledger", "verify"]).status.success());
    shop.chat("Hi").answered().await;
    assert_eq!(shop.rows(2).await.len(), 2);
}
