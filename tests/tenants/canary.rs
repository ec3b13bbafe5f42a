//! Secrets planted wherever there is one, and looked for in everything that leaves: what is answered, standard output,
//! the log, traces, metrics, listings, the ledger's files, the journal of a killed node, and a backup.

use super::{chat, done, key, keyed, me};
use crate::support::collector::{Collector, Manner, collector};
use crate::support::{Asking, Shop, with};
use serde_json::{Value, json};
use std::path::Path;

const UPSTREAM: &str = "sk-canary-upstream-9d41c07be2";
const ADMIN: &str = "canary-admin-token-77aa01";
const CALLERS_OWN: &str = "sk-canary-of-a-caller";
const PROMPT: &str = "canary-prompt-zebra-4417";
const SYSTEM: &str = "canary-system-giraffe-8820";
const TOOL: &str = "canary-tool-okapi-3305";
const HEADER: &str = "canary-collector-token-6172";

/// A Farebox with everything switched on that could give something away.
async fn opened(traces: &Collector) -> Shop {
    let rules = "version: 1\nblocks:\n  - {name: no-four, when: {model: gpt-4}}\nbudgets:\n  - {name: all, scope: {}, \
                 window: day, limit: 100 USD}\n";
    keyed()
        .with_every_provider("key: env:UPSTREAM_KEY")
        .with_every_provider("retries: {max: 0}")
        .with_variable("UPSTREAM_KEY", UPSTREAM)
        .with_variable("FAREBOX_ADMIN_TOKEN", ADMIN)
        .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &traces.url)
        .with_variable("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer {HEADER}"))
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "20")
        .with_variable("OTEL_METRIC_EXPORT_INTERVAL", "50")
        .with_setting("log: {level: trace}")
        .with_rules(rules)
        .open()
        .await
}

/// A call with secrets in every part of it that reaches the model; the answer is always the same twelve words.
fn confiding(shop: &Shop, key: &str, more: Value) -> Asking {
    let tool = json!({"type": "function", "function": {"name": "look", "description": TOOL, "parameters": {}}});
    let body = json!({"model": "gpt-4o", "tools": [tool], "tool_choice": "none",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}]});
    let asking = shop.post("/v1/chat/completions", &with(body, more)).with("authorization", &format!("Bearer {key}"));
    asking.wishing("seed", "canary").wishing("output-tokens", 12)
}

/// Calls that go well, are refused, break and are streamed; each answer as it left.
async fn calls(shop: &Shop, app: &str, guess: &str) -> Vec<String> {
    let call = |more: Value| confiding(shop, app, more);
    let stream = || call(json!({"stream": true}));
    let mut answers = Vec::new();
    for asking in [
        call(json!({})),
        stream(),
        stream().wishing("cut-after", 6),
        stream().wishing("malformed", "sse"),
        call(json!({})).wishing("malformed", "json"),
        call(json!({})).wishing("usage", "none"),
        call(json!({})).wishing("status", 401),
        call(json!({})).wishing("status", 500),
        call(json!({})).wishing("reset", "yes"),
        call(json!({})).with("x-farebox-preview", "only"),
        call(json!({"model": "gpt-4"})),
        call(json!({"model": "nobody-knows-it"})),
        call(json!({"max_tokens": "many"})),
        call(json!({})).with("x-farebox-provider", "nobody"),
        confiding(shop, guess, json!({})),
        chat(shop, CALLERS_OWN),
        me(shop, app),
        shop.ask("GET", &format!("/nobody?key={app}")),
        shop.ask("GET", &format!("/v1/files?key={app}")),
        shop.ask("POST", "/v1/chat/completions").with("x-api-key", app).bytes(format!("{{\"model\": {PROMPT}")),
        shop.chat("Hello").with("x-api-key", app).with("x-farebox-preview", "only"),
    ] {
        let answered = asking.answered().await;
        answers.push(format!("{} {:?}\n{}", answered.status, answered.headers, answered.text()));
    }
    answers
}

/// What its people may ask of it: pages and commands.
async fn told(shop: &Shop) -> Vec<String> {
    let mut told = Vec::new();
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
        &["usage", "events", "--json"],
        &["budgets", "--json"],
    ] {
        told.push(done(shop, arguments));
    }
    told
}

#[tokio::test]
async fn no_secret_leaves_by_answer_log_trace_metric_listing_ledger_journal_or_backup() {
    let traces = collector(Manner::Takes).await;
    let mut shop = opened(&traces).await;
    let app = key(&shop, &["app"]).await;
    let guess = format!("fb-{}", "7".repeat(52));
    let whole = confiding(&shop, &app, json!({})).answered().await.json();
    let words = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(words.split(' ').count(), 12, "{words}");

    let answers = calls(&shop, &app, &guess).await;
    assert!(answers[1].contains("data: ") && answers[10].starts_with("403"), "{answers:#?}");
    let mut told = told(&shop).await;
    let sampled = traces.spans_once(40).await;
    assert!(sampled.iter().any(|span| span.name == "chat gpt-4o"));

    // One more is under way when the node is killed: its journal stays.
    let key = super::key(&shop, &["second"]).await;
    let asking = confiding(&shop, &key, json!({"stream": true})).wishing("stall-after", 6);
    let mut stalled = asking.streaming().await;
    stalled.read_until(|text| text.contains("data: ")).await;
    told.push(shop.log());
    told.push(shop.stdout());
    shop.kill();
    told.push(String::from_utf8_lossy(&traces.bytes()).into_owned());

    let keys = [&app[11..], &key[11..], &guess[11..], UPSTREAM, ADMIN, CALLERS_OWN, HEADER];
    let first_six = words.split(' ').take(6).collect::<Vec<_>>().join(" ");
    let said = [PROMPT, SYSTEM, TOOL, &words, &first_six];
    for text in told.iter().chain(&answers) {
        assert_free_of(text, &keys);
    }
    let refused = answers.iter().filter(|answer| !answer.starts_with("200"));
    for text in told.iter().chain(refused) {
        assert_free_of(text, &said);
    }
    let copy = shop.data_dir().parent().unwrap().join("copy");
    assert!(copy.join("ledger.sqlite3").exists());
    for folder in [shop.data_dir(), copy] {
        let found = files_with(&folder, &[&keys[..], &said].concat());
        assert!(found.is_empty(), "{found:?}");
    }
}

#[track_caller]
pub(super) fn assert_free_of(text: &str, secrets: &[&str]) {
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in: {text}");
    }
}

/// Files below a folder that hold one of the texts.
pub(super) fn files_with(folder: &Path, texts: &[&str]) -> Vec<String> {
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
