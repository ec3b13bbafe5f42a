//! No phantom blocks: a stream is held in slices, a whole answer's limit is lowered to what is affordable, and what is
//! ended for its budget's sake ends as a provider would end it.

use super::{INPUT_PICO, INPUT_TOKENS, OUTPUT_PICO, pico, spent_when_quiet, total, usd};
use crate::support::{Shop, chat, shop, with};
use serde_json::{Value, json};

fn rules(limit: i64) -> String {
    format!("version: 1\nbudgets:\n  - {{name: all, window: month, show_amounts: yes, limit: {}}}\n", usd(limit))
}

/// LiteLLM #38647: a cap of 25 USD, nothing spent, and calls refused because of what they might use.
#[tokio::test]
async fn a_stream_is_admitted_where_its_ceiling_does_not_fit_and_its_cost_does() {
    let limit = INPUT_TOKENS * INPUT_PICO + 600 * OUTPUT_PICO;
    let shop = shop().with_rules(&rules(limit)).open().await;
    let answered = shop.stream("Say something.").wishing("output-tokens", 500).wishing("chunk-ms", 1).answered().await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    let last = answered.events().last().cloned().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop", "nobody cut it");
    let row = shop.row().await;
    assert_eq!((row.usage.output_tokens(), row.outcome.as_deref()), (500, Some("ok")));
    assert_eq!(pico(&spent_when_quiet(&shop, &[], "all").await), row.cost.unwrap().as_pico());
}

async fn ended(shop: &Shop, path: &str, body: &Value) -> crate::support::Answered {
    let answered = shop.post(path, body).wishing("output-tokens", 4_000).wishing("chunk-ms", 1).answered().await;
    assert_eq!((answered.status.as_u16(), &answered.cut), (200, &None), "{}", answered.text());
    assert!(answered.text().contains(": farebox the budget has no room"), "{}", answered.text());
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.complete), (Some("policy_budget_exceeded"), false));
    assert!(["counted", "estimated"].contains(&row.usage_source.as_deref().unwrap()), "{row:#?}");
    answered
}

#[tokio::test]
async fn a_chat_without_room_for_more_ends_by_its_length() {
    let limit = INPUT_TOKENS * INPUT_PICO + 600 * OUTPUT_PICO;
    let shop = shop().with_rules(&rules(limit)).open().await;
    let body = with(chat("Say something."), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let answered = ended(&shop, "/v1/chat/completions", &body).await;
    assert!(answered.text().ends_with("data: [DONE]\n\n"));
    let events = answered.events();
    let (usage, end) = (&events[events.len() - 1], &events[events.len() - 2]);
    assert_eq!((&end["choices"][0]["finish_reason"], &end["id"]), (&json!("length"), &events[0]["id"]));
    assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() >= 500, "{usage}");
    let rows = shop.rows(1).await;
    assert!(total(&rows) <= limit, "{} of {limit}", total(&rows));
    assert!(rows[0].usage.output_tokens() >= 500, "most of the budget was used: {}", rows[0].usage.output_tokens());
    assert_eq!(pico(&spent_when_quiet(&shop, &[], "all").await), total(&rows));
}

#[tokio::test]
async fn a_response_is_incomplete_and_a_message_and_a_candidate_are_at_their_most_tokens() {
    let limit = INPUT_TOKENS * INPUT_PICO + 600 * OUTPUT_PICO;
    let open = || shop().with_rules(&rules(limit)).open();
    let shop = open().await;
    let body = json!({"model": "gpt-4o", "stream": true, "input": "Say something."});
    let events = ended(&shop, "/v1/responses", &body).await.events();
    let response = &events.last().unwrap()["response"];
    assert_eq!(
        (&response["status"], &response["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert!(response["output"][0]["content"][0]["text"].as_str().unwrap().len() > 500);

    let shop = open().await;
    let messages = json!([{"role": "user", "content": "Say something."}]);
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 20_000, "stream": true, "messages": messages});
    let events = ended(&shop, "/anthropic/v1/messages", &body).await.events();
    let kinds: Vec<_> = events.iter().rev().take(3).map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message_stop", "message_delta", "content_block_stop"]);
    assert_eq!(events[events.len() - 2]["delta"]["stop_reason"], "max_tokens");
}

#[tokio::test]
async fn a_whole_answer_is_clamped_to_what_is_affordable() {
    let limit = INPUT_TOKENS * INPUT_PICO + 700 * OUTPUT_PICO;
    let shop = shop().with_rules(&rules(limit)).open().await;
    let answered = shop.chat("Say something.").wishing("output-tokens", 5_000).answered().await;
    assert_eq!((answered.status.as_u16(), &answered.json()["choices"][0]["finish_reason"]), (200, &json!("length")));
    assert_eq!(answered.header("x-farebox-output-limit"), Some("700"));
    let seen: Value = serde_json::from_slice(&shop.seen(1).body.unwrap()).unwrap();
    assert_eq!(seen["max_completion_tokens"], 700);
    let row = shop.row().await;
    assert_eq!((row.decision.as_deref(), row.rule.as_deref()), (Some("clamp"), Some("all")));
    assert_eq!(row.cost.unwrap().as_pico(), limit, "to the last token");
}

#[tokio::test]
async fn a_reasoning_model_is_clamped_because_its_thoughts_are_not_seen() {
    let limit = 10 * 1_250_000 + 700 * OUTPUT_PICO;
    let shop = shop().with_rules(&rules(limit)).open().await;
    let body = with(chat("Say something."), json!({"model": "gpt-5", "stream": true}));
    let answered = shop.post("/v1/chat/completions", &body).wishing("output-tokens", 50).answered().await;
    assert_eq!(answered.status, 200);
    let seen: Value = serde_json::from_slice(&shop.seen(1).body.unwrap()).unwrap();
    assert_eq!(seen["max_completion_tokens"], 700);
}

/// What nobody knows exactly (how tools are rendered, what a picture costs) must not make the text beside it a token a
/// byte.
#[tokio::test]
async fn a_whole_call_with_tools_is_admitted_where_its_text_counted_exactly_fits() {
    let limit = 12_000_000_000;
    let shop = shop().with_rules(&rules(limit).replace("name: all", "name: all, clamp: no")).open().await;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": parameters}}]);
    let text = "All work and no play makes Jack a dull boy. ".repeat(200);
    assert!(text.len() as i64 * super::INPUT_PICO > limit, "its bytes alone do not fit");
    let body = with(chat(&text), json!({"max_tokens": 50, "tools": tools}));
    let answered = shop.post("/v1/chat/completions", &body).answered().await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    assert!(total(&shop.rows(1).await) <= limit);
    let longer = with(chat(&text.repeat(3)), json!({"max_tokens": 50, "tools": tools}));
    assert_eq!(shop.post("/v1/chat/completions", &longer).answered().await.status, 429, "nor does its count");
}

#[tokio::test]
async fn a_rule_that_forbids_clamping_is_obeyed_and_the_message_says_what_would_fit() {
    let limit = INPUT_TOKENS * INPUT_PICO + 700 * OUTPUT_PICO;
    let shop = shop().with_rules(&rules(limit).replace("window: month", "window: month, clamp: no")).open().await;
    let answered = shop.chat("Say something.").answered().await;
    let message = answered.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(answered.status, 429);
    assert!(message.contains("With an output limit of 700 tokens this call would fit"), "{message}");
}
