//! A no of the budget's in every dialect: what its SDKs understand, what a person needs to know, and nothing of what
//! others spend.

use super::{bounded, cost_pico, usd};
use crate::support::{Answered, Shop, shop};
use serde_json::{Value, json};

fn rules(more: &str) -> String {
    format!("version: 1\nbudgets:\n  - {{name: tiny, window: month, clamp: no, limit: {}{more}}}\n", usd(cost_pico(20)))
}

async fn refused(shop: &Shop, path: &str, body: &Value) -> Answered {
    let answered = shop.post(path, body).answered().await;
    assert_eq!(answered.header("x-should-retry"), Some("false"));
    assert!(answered.header("x-farebox-exchange-id").is_some());
    answered
}

#[tokio::test]
async fn every_dialect_says_it_in_its_own_words_and_tells_its_clients_not_to_retry() {
    let shop = shop().with_rules(&rules("")).open().await;
    let messages = json!([{"role": "user", "content": "Say something."}]);
    let body = json!({"model": "gpt-4o", "max_tokens": 10_000, "messages": messages});
    let openai = refused(&shop, "/v1/chat/completions", &body).await;
    assert_eq!((openai.status.as_u16(), &openai.json()["error"]["code"]), (429, &json!("insufficient_quota")));
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 10_000, "messages": messages});
    let claude = refused(&shop, "/anthropic/v1/messages", &body).await;
    assert_eq!((claude.status.as_u16(), &claude.json()["error"]["type"]), (402, &json!("billing_error")));
    let body = json!({"contents": [{"parts": [{"text": "Say something."}]}]});
    let gemini = refused(&shop, "/gemini/v1beta/models/gemini-3.8-flash:generateContent", &body).await;
    assert_eq!((gemini.status.as_u16(), &gemini.json()["error"]["status"]), (429, &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(shop.simulator.log.totals().attempts, 0);
    let metrics = shop.admin("/metrics").answered().await.text();
    assert!(metrics.contains("farebox_refusals_total"), "{metrics}");
}

#[tokio::test]
async fn the_message_names_budget_limit_reset_and_remedy_and_hides_what_others_spent() {
    let shop = shop().with_rules(&rules("")).open().await;
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 200);
    let told = bounded(&shop, 20, false).answered().await.json()["error"]["message"].as_str().unwrap().to_owned();
    for word in ["`tiny`", "0.000225 USD a month", "It resets at 20", "Nothing was sent", "cheaper model"] {
        assert!(told.contains(word), "{word} in: {told}");
    }
    assert!(!told.contains("is spent"), "{told}");
    shop.rewrite_rules(&rules(", show_amounts: yes"));
    let shown = super::once(&shop, |answered| answered.text().contains("is spent")).await;
    assert!(shown.text().contains("0.000225 USD is spent"), "{}", shown.text());
}

#[tokio::test]
async fn what_cannot_be_metered_is_refused_under_a_budget_of_money_unless_the_rule_admits_it() {
    let shop = shop().with_rules(&rules("")).open().await;
    let unknown = |shop: &Shop| shop.post("/v1/something/new", &json!({})).answered();
    assert_eq!(unknown(&shop).await.status, 403);
    let tunnel =
        shop.ask("GET", "/v1/realtime?model=gpt-4o").with("connection", "upgrade").with("upgrade", "websocket");
    assert_eq!(tunnel.answered().await.status, 403);
    assert_eq!(shop.ask("GET", "/v1/models").answered().await.status, 200, "reading is free");
    assert_eq!(shop.simulator.log.totals().attempts, 1);
    shop.rewrite_rules(&rules(", unmetered: admit"));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while unknown(&shop).await.status == 403 {
        assert!(std::time::Instant::now() < until, "the new rules in time");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_soft_budget_warns_and_a_shadow_one_says_what_it_would_have_done() {
    let text = rules(", hardness: soft").replace(&usd(cost_pico(20)), &usd(cost_pico(20) * 3 / 2));
    let shop = shop().with_rules(&text).open().await;
    assert_eq!(bounded(&shop, 20, false).answered().await.header("x-farebox-warning"), None);
    let warned = bounded(&shop, 20, false).answered().await;
    assert_eq!(warned.status, 200);
    assert!(warned.header("x-farebox-warning").unwrap().contains("tiny"), "{:?}", warned.headers);
}

#[tokio::test]
async fn what_the_rules_author_wants_to_say_reaches_the_refused_caller_after_what_he_must_know() {
    let text = format!(
        "version: 1
budgets:
  - {{name: tiny, scope: {{team: red}}, window: month, clamp: no, limit: {}, message: 'Ask Ann for more.'}}
  - {{name: strict, scope: {{team: blue}}, window: month, limit: 5 USD, strict: yes, message: 'Ask Cid about state.'}}
limits:
  - {{name: once, when: {{user: bob}}, requests_per_minute: 1, message: 'Bob, take the batch door.'}}
  - {{name: alone, when: {{user: eve}}, concurrent: 1, message: 'One by one, Eve.'}}
  - {{name: slow, when: {{user: joe}}, tokens_per_minute: 1, message: 'Joe, send less.'}}
  - {{name: short, when: {{user: sue}}, input_tokens_per_call: 1, message: 'Sue, mind the guide.'}}
",
        usd(cost_pico(1))
    );
    let shop = shop().with_rules(&text).open().await;
    let told = async |name: &str, value: &str, status: u16, words: [&str; 2]| {
        let refused = bounded(&shop, 20, false).with(name, value).answered().await;
        assert_eq!(refused.status.as_u16(), status, "{}", refused.text());
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        let places = words.map(|word| message.find(word).unwrap_or_else(|| panic!("{word} in: {message}")));
        assert!(places.is_sorted(), "{message}");
    };
    told("x-farebox-team", "red", 429, ["It resets at", "Ask Ann for more."]).await;
    assert_eq!(bounded(&shop, 1, false).with("x-farebox-user", "bob").answered().await.status, 200);
    told("x-farebox-user", "bob", 429, ["Try again in", "Bob, take the batch door."]).await;
    let mut under_way =
        bounded(&shop, 20, true).with("x-farebox-user", "eve").wishing("stall-after", 1).streaming().await;
    under_way.read_until(|body| body.contains("data: ")).await;
    told("x-farebox-user", "eve", 429, ["requests at once", "One by one, Eve."]).await;
    told("x-farebox-user", "joe", 429, ["`slow`", "Joe, send less."]).await;
    told("x-farebox-user", "sue", 400, ["rule `short`", "Sue, mind the guide."]).await;
    let stored = json!({"model": "gpt-4o", "input": "Go on.", "previous_response_id": "resp_1"});
    let refused = shop.post("/v1/responses", &stored).with("x-farebox-team", "blue").answered().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(
        refused.text().contains("does not show how much goes in") && refused.text().contains("Ask Cid"),
        "{}",
        refused.text()
    );
}
