//! `farebox doctor` with a node that is well, and with one that is not.

use crate::support::shop;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Its exit code and what it found, asked in a folder with a `farebox.yaml`.
fn doctor(folder: &Path, ports: [SocketAddr; 2], arguments: &[&str]) -> (i32, Vec<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FAREBOX_")) {
        command.env_remove(name);
    }
    command.env("FAREBOX_LISTEN", ports[0].to_string()).env("FAREBOX_ADMIN_LISTEN", ports[1].to_string());
    command.args(["doctor", "--json"]).args(arguments).current_dir(folder);
    let output = command.output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {output:?}"));
    let code = output.status.code().unwrap();
    assert_eq!(said["ok"], code == 0, "{said:#}");
    (code, said["findings"].as_array().unwrap().clone())
}

/// The level and the words of a check; all that were found of it.
fn found<'a>(findings: &'a [Value], check: &str) -> Vec<(&'a str, &'a str)> {
    let of_it = findings.iter().filter(|finding| finding["check"] == check);
    of_it.map(|finding| (finding["level"].as_str().unwrap(), finding["said"].as_str().unwrap())).collect()
}

#[track_caller]
fn assert_found(findings: &[Value], check: &str, level: &str, words: &str) {
    let found = found(findings, check);
    assert!(
        found.iter().any(|(is, said)| *is == level && said.contains(words)),
        "no {level} `{words}` of {check}: {findings:#?}"
    );
}

/// A server with these answers to GET.
async fn server(routes: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

/// Two ports on which nothing listens.
fn free() -> [SocketAddr; 2] {
    let held = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_well_is_found_so() {
    let shop = shop().open().await;
    shop.chat("Hi").answered().await;
    shop.row().await;
    let build = json!({"data": {"result": [{"metric": {"instance": "127.0.0.1:4001"}}]}}).to_string();
    let prometheus = Router::new()
        .route("/api/v1/targets", get(async || r#"{"data": {"activeTargets": []}}"#))
        .route("/api/v1/query", get(async move || build));
    let prometheus = format!("http://{}/", server(prometheus).await);
    let data_dir = shop.data_dir();
    let folder = data_dir.parent().unwrap();
    let admin = shop.admin_address();
    let data = format!("data_dir: {}\n", data_dir.display());
    let config = std::fs::read_to_string(folder.join("farebox.yaml")).unwrap();
    std::fs::write(folder.join("farebox.yaml"), data + &config).unwrap();
    let asked = ["--call-providers", "openai,anthropic,gemini", "--prometheus", &prometheus];
    let (code, findings) = doctor(folder, [shop.address(), admin], &asked);
    assert_eq!(code, 0, "{findings:#?}");
    assert!(findings.iter().all(|finding| finding["level"] != "fault"), "{findings:#?}");
    for (check, words) in [
        ("configuration", "3 provider(s)"),
        ("rules", "nothing is capped"),
        ("catalog", "models"),
        ("disk", "free at"),
        ("ledger", "1 events; process"),
        ("ledger sums", "agree with the events"),
        ("ports", "held by a Farebox that is ready"),
        ("providers", "`openai`"),
        ("providers", "`anthropic`"),
        ("providers", "`gemini`"),
        ("clock", "agrees with"),
        ("prometheus", "scrapes Farebox at 127.0.0.1:4001"),
    ] {
        assert_found(&findings, check, "ok", words);
    }
    assert_eq!(shop.rows(1).await.len(), 1, "asking providers is no call of anybody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_a_remedy() {
    let long_ago = [("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
    let refusing = Router::new().fallback(get(async move || (StatusCode::UNAUTHORIZED, long_ago, "no")));
    let refusing = server(refusing).await;
    let foreign = server(Router::new().fallback(get(async || "another program"))).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "sk-canary-of-doctor").unwrap();
    let configuration = format!(
        "data_dir: /proc/farebox\nproviders:\n  - name: mine\n    base_url: http://{refusing}/v1\n    key: file:key\n  \
         - name: away\n    base_url: http://127.0.0.1:9/v1\n    key: none\n"
    );
    std::fs::write(folder.path().join("farebox.yaml"), configuration).unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/house.yaml"), "version: 1\nblocks:\n  - {nmae: x}\n").unwrap();
    let [_, free] = free();
    let prometheus = format!("http://{foreign}");
    let asked = ["--call-providers=mine,away,nobody", "--prometheus", &prometheus];
    let (code, findings) = doctor(folder.path(), [free, foreign], &asked);
    assert_eq!(code, 1, "{findings:#?}");
    for (check, words) in [
        ("rules", "house.yaml:3"),
        ("disk", "0 B of 0 B"),
        ("ports", "it is no Farebox that has it"),
        ("providers", "`mine` refuses Farebox's key (401)"),
        ("providers", "`away` (http://127.0.0.1:9) cannot be reached: connection refused"),
        ("providers", "`nobody` is no provider here"),
        ("clock", "s ahead of `mine`'s"),
        ("prometheus", "that is no Prometheus"),
    ] {
        assert_found(&findings, check, "fault", words);
    }
    let bad = findings.iter().filter(|finding| finding["level"] != "ok");
    assert!(
        bad.clone().all(|finding| finding["remedy"].as_str().is_some_and(|remedy| remedy.len() > 10)),
        "{bad:#?}",
        bad = bad.collect::<Vec<_>>()
    );
    assert!(!format!("{findings:?}").contains("sk-canary-of-doctor"));
}

#[tokio::test]
async fn a_configuration_with_faults_is_said_fault_by_fault() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("farebox.yaml"), "lisen: 1\nledger: {segment_bytes: 1}\n").unwrap();
    let (code, findings) = doctor(folder.path(), free(), &[]);
    assert_eq!(code, 1);
    assert_found(&findings, "configuration", "fault", "farebox.yaml:1:1");
    assert_eq!(found(&findings, "configuration").iter().filter(|(level, _)| *level == "fault").count(), 2);
}

#[tokio::test]
async fn a_journal_that_a_killed_node_left_is_a_warning() {
    let mut shop = shop().open().await;
    shop.chat("Hi").answered().await;
    shop.row().await;
    shop.kill();
    let data_dir = shop.data_dir();
    let folder = data_dir.parent().unwrap().to_owned();
    let config = std::fs::read_to_string(folder.join("farebox.yaml")).unwrap();
    std::fs::write(folder.join("farebox.yaml"), format!("data_dir: {}\n{config}", data_dir.display())).unwrap();
    let (code, findings) = doctor(&folder, free(), &[]);
    assert_eq!(code, 0, "{findings:#?}");
    assert_found(&findings, "journal", "warning", "1 journal(s)");
    assert_found(&findings, "ports", "ok", "are free");
    let (code, _) = doctor(&folder, free(), &["--strict"]);
    assert_eq!(code, 1);
}
