//! Where swaps and routes lead: across providers, past those that are down, too small or without money of their own.

use super::{bounded, usd};
use crate::support::{Answered, Shop, chat, shop, with};
use serde_json::{Value, json};

/// A provider that sells OpenAI's models, and one whose model has little room.
const CATALOG: &str = "providers:
  elsewhere: {like: [openai]}
models:
  small:
    tiny:
      context_window: 1000
      max_output_tokens: 500
      can: [tools]
      per_mtok: {input: '0.1', output: '0.2'}
  mistral:
    house-mistral:
      context_window: 100000
      max_output_tokens: 4000
      unsupported: [logit_bias]
      per_mtok: {input: '0.1', output: '0.2'}
";

fn swap_to(targets: &str) -> String {
    format!("version: 1\nswaps:\n  - {{name: save, from: [gpt-4o], to: {targets}}}\n")
}

async fn steps_of(shop: &Shop, body: &Value) -> String {
    let preview = shop.post("/v1/chat/completions", body).with("x-farebox-preview", "only").answered().await;
    assert_eq!(preview.status, 200, "{}", preview.text());
    preview.json()["steps"].to_string()
}

fn seen(shop: &Shop, answered: &Answered) -> Value {
    serde_json::from_slice(&shop.seen(answered.attempt()).body.unwrap()).unwrap()
}

#[tokio::test]
async fn a_route_sends_the_calls_that_it_is_about_to_its_provider_and_no_others() {
    let rules = "version: 1
budgets:
  - {name: staging, scope: {provider: elsewhere}, window: month, limit: 5 USD, show_amounts: yes}
routes:
  - {name: staging-elsewhere, when: {environment: staging}, to: elsewhere}
  - {name: to-nobody, when: {environment: test}, to: anthropic}
";
    let shop = shop().with_catalog(CATALOG).with_provider("elsewhere", "openai", &[]).with_rules(rules).open().await;
    let call = |environment: &str| bounded(&shop, 20, false).with("x-farebox-environment", environment);
    let preview = call("staging").with("x-farebox-preview", "only").answered().await.json();
    assert_eq!(
        (&preview["decision"]["action"], &preview["provider"]),
        (&json!("reroute"), &json!("elsewhere")),
        "{preview}"
    );
    let staging = call("staging").answered().await;
    assert_eq!(staging.status, 200, "{}", staging.text());
    assert_eq!(call("production").answered().await.status, 200);
    // A provider that speaks another API is no place to go; the call goes on where it was.
    assert_eq!(call("test").answered().await.status, 200);
    let rows = shop.rows(3).await;
    let told: Vec<_> =
        rows.iter().map(|row| (row.provider.as_deref().unwrap(), row.decision.as_deref().unwrap())).collect();
    assert_eq!(told, [("elsewhere", "reroute"), ("openai", "admit"), ("openai", "admit")]);
    assert_eq!(rows[0].rule.as_deref(), Some("staging-elsewhere"));
    assert_eq!(rows[0].cost, rows[1].cost, "priced as the catalog says for that provider");
    let me = super::me(&shop, &[]).await;
    let spent = super::budget_of(&me, "staging")["spent"].as_str().map(super::pico);
    assert_eq!(spent, rows[0].cost.map(|cost| cost.as_pico()), "the budget of that provider counts it alone");
}

#[tokio::test]
async fn a_swap_leads_to_another_provider_of_the_dialect_and_says_what_it_changed_for_it() {
    let shop = shop()
        .with_catalog(CATALOG)
        .with_provider("mistral", "openai", &[])
        .with_rules(&swap_to("[anthropic/claude-haiku-4-5, mistral/house-mistral]"))
        .open()
        .await;
    let body =
        with(chat("Say something."), json!({"max_completion_tokens": 50, "logit_bias": {"1": 1}, "temperature": 0.5}));
    let answered = shop.post("/v1/chat/completions", &body).answered().await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    assert_eq!(answered.header("x-farebox-model"), Some("house-mistral"));
    assert_eq!(answered.header("x-farebox-swapped-from"), Some("gpt-4o"));
    let told = answered.header("x-farebox-swap-changes").unwrap();
    assert!(
        told.contains("max_completion_tokens renamed to max_tokens") && told.contains("logit_bias removed"),
        "{told}"
    );
    let expected =
        json!({"model": "house-mistral", "messages": body["messages"], "max_tokens": 50, "temperature": 0.5});
    assert_eq!(seen(&shop, &answered), expected);
    assert_eq!(shop.rows(1).await[0].provider.as_deref(), Some("mistral"));
    let steps = steps_of(&shop, &body).await;
    assert!(steps.contains("`anthropic` speaks the anthropic API"), "{steps}");
}

#[tokio::test]
async fn a_target_without_room_for_the_input_is_passed_over() {
    let shop = shop()
        .with_catalog(CATALOG)
        .with_provider("small", "openai", &[])
        .with_rules(&swap_to("[small/tiny, gpt-4o-mini]"))
        .open()
        .await;
    let short = shop.chat("Say something.").answered().await;
    assert_eq!(short.header("x-farebox-model"), Some("tiny"));
    let long = chat(&"All work and no play. ".repeat(400));
    let answered = shop.post("/v1/chat/completions", &long).answered().await;
    assert_eq!((answered.status.as_u16(), answered.header("x-farebox-model")), (200, Some("gpt-4o-mini")));
    let steps = steps_of(&shop, &long).await;
    assert!(steps.contains("its context window of 1000 tokens is too small"), "{steps}");
}

#[tokio::test]
async fn a_target_whose_own_budget_has_no_room_is_passed_over_and_named() {
    let rules = format!(
        "version: 1
budgets:
  - {{name: mini, scope: {{model: gpt-4o-mini}}, window: month, limit: {}, clamp: no}}
swaps:
  - {{name: save, from: [gpt-4o], to: [gpt-4o-mini, gpt-4.1-mini]}}
",
        usd(1_000)
    );
    let shop = shop().with_rules(&rules).open().await;
    let answered = bounded(&shop, 20, false).answered().await;
    assert_eq!((answered.status.as_u16(), answered.header("x-farebox-model")), (200, Some("gpt-4.1-mini")));
    let steps = steps_of(&shop, &with(chat("Say something."), json!({"max_tokens": 20}))).await;
    assert!(steps.contains("passed over") && steps.contains("The budget `mini`"), "{steps}");
}

#[tokio::test]
async fn a_target_whose_provider_is_down_is_passed_over_and_said_to_be() {
    let lines = ["base_url: http://127.0.0.1:9/v1", "circuit: {failures: 2, open_for: 1h}"];
    let shop = shop()
        .with_catalog(CATALOG)
        .with_provider("elsewhere", "openai", &lines)
        .with_rules(&swap_to("[elsewhere/gpt-4o-mini, gpt-4.1-mini]"))
        .open()
        .await;
    let mut failed = 0;
    let answered = loop {
        let answered = bounded(&shop, 20, false).answered().await;
        if answered.status == 200 {
            break answered;
        }
        failed += 1;
        assert!(failed < 20, "its circuit opens: {}", answered.text());
    };
    assert_eq!(answered.header("x-farebox-model"), Some("gpt-4.1-mini"));
    let steps = steps_of(&shop, &with(chat("Say something."), json!({"max_tokens": 20}))).await;
    assert!(steps.contains("`elsewhere` is down"), "{steps}");
}
