//! Rules under a running node: a changed file is in force at once and whole, a bad one never, and it says why.

use crate::support::shop::shop;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const OPEN: &str = "version: 1\nblocks:\n  - {name: nobody, when: {model: none-such}}\n";
const CLOSED: &str = "version: 1\nblocks:\n  - {name: everybody, message: Closed for today.}\n";
const BROKEN: &str = "version: 1\nblocks:\n  - {name: everybody, massage: Closed.}\n";
/// A change is applied within a second on any machine that works; this is for those that hardly do.
const PATIENCE: Duration = Duration::from_secs(20);

fn body() -> Value {
    json!({ "model": "gpt-4o-mini", "messages": [{ "role": "user", "content": "Hello" }] })
}

async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_in_force_and_a_bad_one_never_is() {
    let shop = shop().with_rules(OPEN).open().await;
    let status = || async { shop.post("/v1/chat/completions", &body()).answered().await.status.as_u16() };
    assert_eq!(status().await, 200);

    shop.rewrite_rules(CLOSED);
    until("the new rules were not applied", || async { status().await == 403 }).await;
    let refused = shop.post("/v1/chat/completions", &body()).answered().await;
    assert!(refused.text().contains("Closed for today."), "{}", refused.text());

    shop.rewrite_rules(BROKEN);
    let detail = || async { shop.admin("/readyz").answered().await.json()["rules"].clone() };
    until("the fault was not told", || async { detail().await["faults"].is_string() }).await;
    let faults = detail().await["faults"].as_str().unwrap_or_default().to_owned();
    assert!(faults.contains("house.yaml:3:23: a block has no `massage`"), "{faults}");
    assert!(faults.contains("write `message`"), "{faults}");
    assert_eq!(status().await, 403, "the rules before it stay in force");
    let metrics = shop.admin("/metrics").answered().await.text();
    assert!(metrics.contains("farebox_config_last_reload_successful{what=\"rules\"} 0"), "{metrics}");
    assert!(shop.log().contains("the changed rules have faults"));

    shop.rewrite_rules(OPEN);
    until("the mended rules were not applied", || async { status().await == 200 }).await;
    assert!(detail().await["faults"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn earlier_versions_are_kept_and_one_command_goes_back() {
    let mut shop = shop().with_rules(CLOSED).open().await;
    let version = |shop: &crate::support::shop::Shop| {
        let asking = shop.admin("/readyz");
        async { asking.answered().await.json()["rules"]["version"].as_str().unwrap_or_default().to_owned() }
    };
    let first = version(&shop).await;
    shop.rewrite_rules(OPEN);
    until("the new rules were not applied", || async { version(&shop).await != first }).await;
    let config = shop.data_dir().parent().unwrap().join("farebox.yaml").display().to_string();
    let said = |arguments: &[&str]| {
        let output = shop.command(arguments);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let differs = said(&["rules", "diff", "1", "2", "--config", &config]);
    assert!(differs.contains("+ block nobody") && differs.contains("- block everybody"), "{differs}");
    let back = said(&["rules", "rollback", "previous", "--config", &config]);
    assert!(back.contains("version 1"), "{back}");
    until("the version did not come back", || async { version(&shop).await == first }).await;

    // A restart over a broken file takes what was in force last.
    shop.rewrite_rules(BROKEN);
    shop.kill();
    shop.start();
    assert_eq!(version(&shop).await, first);
    let detail = shop.admin("/readyz").answered().await.json()["rules"].clone();
    assert!(detail["faults"].is_string(), "{detail}");
    assert_eq!(shop.post("/v1/chat/completions", &body()).answered().await.status.as_u16(), 403);
}
