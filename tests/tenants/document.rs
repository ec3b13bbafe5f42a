//! docs/tenants.md and docs/api.md, typed in by somebody who follows them: every shell example, in order, in an empty
//! folder.

use crate::support::simulator;
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_who_follows_the_document_gets_two_teams_with_keys_and_budgets() {
    let (said, told) = followed(include_str!("../../docs/tenants.md")).await;
    let statuses: Vec<&str> = said.lines().filter(|line| line.len() == 3 && line.parse::<u16>().is_ok()).collect();
    assert_eq!(statuses, ["200", "200", "403", "401", "200", "404"], "{said}\n{told}");
    let events = said.lines().find(|line| line.starts_with("{\"events\"")).unwrap();
    assert!(events.contains("crm") && !events.contains("notebook"), "{events}");
    let me = said.lines().find(|line| line.contains("farebox.caller")).unwrap();
    assert!(me.contains("research-month") && !me.contains("sales"), "{me}");
    assert!(said.contains("each line follows from the one before it"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_admin_api_do_what_they_say() {
    let (said, told) = followed(include_str!("../../docs/api.md")).await;
    let statuses: Vec<&str> = said.lines().filter(|line| line.len() == 3 && line.parse::<u16>().is_ok()).collect();
    let wanted = ["201", "201", "200", "404", "403", "204", "200", "200", "200", "404", "400", "204", "412"];
    assert_eq!(statuses, wanted, "{said}\n{told}");
    assert!(said.contains("\"role\":\"manager\""), "{said}");
}

/// What the examples of a document say, and what they tell beside it; each must go well.
async fn followed(document: &str) -> (String, String) {
    let simulator = simulator().await;
    let folder = tempfile::tempdir().unwrap();
    let [data, admin] = free_ports();
    let text = document
        .replace("127.0.0.1:4000", &format!("127.0.0.1:{data}"))
        .replace("127.0.0.1:4001", &format!("127.0.0.1:{admin}"));
    let script = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}", shell_examples(&text));
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_farebox")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = tokio::task::spawn_blocking({
        let (folder, url) = (folder.path().to_owned(), simulator.url());
        move || {
            Command::new("bash")
                .args(["-c", &script])
                .current_dir(folder)
                .env_clear()
                .env("PATH", format!("{}:{path}", binary.display()))
                .env("FAREBOX_LISTEN", format!("127.0.0.1:{data}"))
                .env("FAREBOX_ADMIN_LISTEN", format!("127.0.0.1:{admin}"))
                .env("FAREBOX_PROVIDERS__OPENAI__BASE_URL", format!("{url}/v1"))
                .stdin(Stdio::null())
                .output()
                .unwrap()
        }
    });
    let output = output.await.unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{told}");
    (said.into_owned(), told.into_owned())
}

/// The `sh` blocks of a document, one after the other.
fn shell_examples(text: &str) -> String {
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.collect::<Vec<_>>().join("\n")
}

/// Two ports that were free a moment ago: a document has to name some.
fn free_ports() -> [u16; 2] {
    let sockets = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}
