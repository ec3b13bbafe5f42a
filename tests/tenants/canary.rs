//! Secrets planted wherever there is one, and looked for in everything that leaves.

use super::{chat, done, key, keyed, me};
use std::path::Path;

const UPSTREAM: &str = "sk-canary-upstream-9d41c07be2";
const ADMIN: &str = "canary-admin-token-77aa01";

#[tokio::test]
async fn no_secret_leaves_by_answer_log_metric_listing_ledger_or_backup() {
    let shop = keyed()
        .with_every_provider("key: env:UPSTREAM_KEY")
        .with_variable("UPSTREAM_KEY", UPSTREAM)
        .with_variable("FAREBOX_ADMIN_TOKEN", ADMIN)
        .with_setting("log: {level: trace}")
        .open()
        .await;
    let app = key(&shop, &["app"]).await;
    let guess = format!("fb-{}", "7".repeat(52));
    let mut told = Vec::new();
    for asking in [
        chat(&shop, &app),
        chat(&shop, &guess),
        chat(&shop, "sk-canary-of-a-caller"),
        me(&shop, &app),
        shop.ask("GET", &format!("/nobody?key={app}")),
        shop.ask("GET", &format!("/v1/files?key={app}")),
        shop.chat("Hello").with("x-api-key", &app).with("x-farebox-preview", "only"),
        shop.chat("Hello").with("x-api-key", &app).with("x-farebox-provider", "nobody"),
        shop.chat("Hello").with("x-api-key", &app).wishing("status", 401),
    ] {
        let answered = asking.answered().await;
        told.push(format!("{:?}\n{}", answered.headers, answered.text()));
    }
    let bearer = format!("Bearer {ADMIN}");
    for path in ["/metrics", "/readyz", "/api/usage/events", "/api/usage/export?format=csv", "/api/usage/stats"] {
        told.push(shop.admin(path).with("authorization", &bearer).answered().await.text());
    }
    told.push(shop.admin("/api/usage/events").with("authorization", "Bearer wrong").answered().await.text());
    for arguments in [
        &["key", "list", "--json"][..],
        &["key", "show", "app"],
        &["key", "disable", "app"],
        &["audit", "list", "--json"],
        &["backup", "copy", "--json"],
        &["usage", "--by", "key"],
    ] {
        told.push(done(&shop, arguments));
    }
    told.push(shop.log());
    let secrets = [&app[11..], &guess[11..], UPSTREAM, ADMIN, "sk-canary-of-a-caller"];
    for text in &told {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in: {text}");
        }
    }
    let copy = shop.data_dir().parent().unwrap().join("copy");
    assert!(copy.join("ledger.sqlite3").exists());
    for folder in [shop.data_dir(), copy] {
        let found = files_with(&folder, &secrets);
        assert!(found.is_empty(), "{found:?}");
    }
}

/// Files below a folder that hold one of the texts.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, texts));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let has = |text: &&&str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            found.extend(texts.iter().filter(has).map(|text| format!("{} holds {text}", path.display())));
        }
    }
    found
}
