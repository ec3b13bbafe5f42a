//! The providers' keys, sealed: added, spread, judged by what providers answer, and never shown.

use super::{chat, done, key, keyed};
use crate::support::{Shop, shop};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Keeps a key for `openai`, read from standard input.
fn add(shop: &Shop, name: &str, secret: &str, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.args(["provider-key", "add", name, "--provider", "openai"]).args(more);
    let home = shop.data_dir().parent().unwrap().to_owned();
    command.env("FAREBOX_DATA_DIR", shop.data_dir()).current_dir(home);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{secret}").unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

/// Calls until the answer is as it should be. Changes take effect within a second; a machine under load gets more.
async fn until(shop: &Shop, app: &str, enough: impl Fn(u16, &str) -> bool) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let answered = chat(shop, app).answered().await;
        let (status, text) = (answered.status.as_u16(), answered.text());
        if enough(status, &text) {
            return text;
        }
        assert!(Instant::now() < until, "still {status}: {text}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn last_key(shop: &Shop) -> String {
    let attempts = shop.simulator.log.attempts();
    attempts.last().and_then(|attempt| attempt.header("authorization")).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_key_serves_a_running_node_until_it_is_switched_off_and_is_never_shown() {
    let shop = keyed().with_every_provider("key: sealed").with_setting("log: {level: trace}").open().await;
    let app = key(&shop, &["app"]).await;
    let without = until(&shop, &app, |status, _| status >= 400).await;
    assert!(without.contains("provider-key add"), "{without}");

    let secret = "sk-canary-sealed-51c09e77f3";
    let mut told = vec![without, add(&shop, "main", secret, &["--check"])];
    until(&shop, &app, |status, _| status == 200).await;
    assert!(last_key(&shop).ends_with("77f3"), "{}", last_key(&shop));

    done(&shop, &["provider-key", "disable", "main"]);
    until(&shop, &app, |status, _| status >= 400).await;
    done(&shop, &["provider-key", "enable", "main"]);
    until(&shop, &app, |status, _| status == 200).await;

    told.push(done(&shop, &["provider-key", "check", "--json"]));
    assert!(told.last().unwrap().contains("\"state\":\"valid\""), "{told:?}");
    told.push(done(&shop, &["keys", "master", "rotate"]));
    assert!(told.last().unwrap().starts_with("1 provider keys"), "{told:?}");
    told.push(done(&shop, &["keys", "master", "show"]));
    assert!(!shop.data_dir().join("master.key.next").exists());
    until(&shop, &app, |status, _| status == 200).await;

    for arguments in [&["provider-key", "list"][..], &["provider-key", "list", "--json"], &["audit", "list", "--json"]]
    {
        told.push(done(&shop, arguments));
    }
    told.push(done(&shop, &["provider-key", "remove", "main"]));
    until(&shop, &app, |status, _| status >= 400).await;
    told.push(shop.admin("/metrics").answered().await.text());
    told.push(shop.log());
    assert!(told.iter().all(|text| !text.contains(secret)), "{told:#?}");
    for entry in std::fs::read_dir(shop.data_dir()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_its_provider_refuses_is_passed_over_before_the_client_sees_it() {
    let shop = keyed().with_every_provider("key: sealed").open().await;
    let app = key(&shop, &["app"]).await;
    add(&shop, "refused", "sk-sim-401-aaaa", &[]);
    add(&shop, "resting", "sk-sim-429-bbbb", &[]);
    add(&shop, "well", "sk-good-cccc", &[]);
    // Until the node knows all three, the one or two that it knows are asked again and again.
    until(&shop, &app, |status, _| status == 200).await;
    let known = shop.simulator.log.attempts().len();
    for _ in 0..30 {
        assert_eq!(chat(&shop, &app).answered().await.status, 200);
    }
    assert!(last_key(&shop).ends_with("cccc"));
    let attempts = shop.simulator.log.attempts();
    let with = |end: &str| {
        let since = attempts.iter().skip(known);
        since.filter(|one| one.header("authorization").is_some_and(|key| key.ends_with(end))).count()
    };
    assert!(with("aaaa") <= 2 && with("bbbb") <= 2 && with("cccc") >= 30, "each is asked once and then left alone");
    let rows = shop.rows(attempts.len()).await;
    assert_eq!(rows.len(), attempts.len(), "every attempt is in the ledger");

    let metrics = shop.admin("/metrics").answered().await.text();
    for (name, state) in [("refused", "invalid"), ("resting", "cooling"), ("well", "valid")] {
        let line = format!("farebox_provider_key_state{{key=\"{name}\",provider=\"openai\",state=\"{state}\"}} 1");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let known = Instant::now() + Duration::from_secs(20);
    while !done(&shop, &["provider-key", "list"]).contains("invalid") {
        assert!(Instant::now() < known, "the list says what the node saw");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let checked = shop.command(&["provider-key", "check", "refused"]);
    assert!(!checked.status.success() && String::from_utf8_lossy(&checked.stdout).contains("is invalid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_under_another_master_key_stays_shut_and_says_so() {
    let mut shop = shop().with_every_provider("key: sealed").open().await;
    add(&shop, "main", "sk-good-1111", &[]);
    shop.terminate();
    shop.ended().await;
    std::fs::write(shop.data_dir().join("master.key"), "ab".repeat(32)).unwrap();
    shop.start();
    assert!(shop.log().contains("sealed under another master key"), "{}", shop.log());
    assert!(shop.chat("Hello").answered().await.status.as_u16() >= 400);
    let rotated = shop.command(&["keys", "master", "rotate"]);
    let told = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert!(!rotated.status.success() && told.contains("`main` is sealed under another master key"), "{told}");
}
