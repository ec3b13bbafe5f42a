//! The Anthropic dialect.

use crate::support::{Answered, asking, simulator};
use farebox::simulator::Running;
use serde_json::{Value, json};

async fn messages(simulator: &Running, more: Value, wishes: &[(&str, u64)]) -> Answered {
    let mut body = json!({"model": "claude-sonnet-5-5", "max_tokens": 100, "system": "Be brief.",
        "messages": [{"role": "user", "content": "Say something."}]});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let asking = asking("POST", &format!("{}/v1/messages", simulator.url())).json(&body);
    wishes.iter().fold(asking, |asking, (wish, value)| asking.wishing(wish, value)).answered().await
}

fn names(answered: &Answered) -> Vec<String> {
    answered.events().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn input_tokens_leave_out_what_is_cached() {
    let simulator = simulator().await;
    let wishes = [("output-tokens", 4), ("cached-tokens", 5), ("cache-write-tokens", 2)];
    let answered = messages(&simulator, json!({}), &wishes).await;
    let usage = &answered.json()["usage"];
    let seen = simulator.log.attempt(answered.attempt()).unwrap().usage.unwrap();
    assert_eq!(usage["input_tokens"], seen.input_tokens - 7);
    assert_eq!((&usage["cache_read_input_tokens"], &usage["cache_creation_input_tokens"]), (&json!(5), &json!(2)));
    assert_eq!(usage["output_tokens"], 4);
}

#[tokio::test]
async fn a_stream_has_the_events_in_their_order_and_a_placeholder_first() {
    let simulator = simulator().await;
    let answered = messages(&simulator, json!({"stream": true}), &[("output-tokens", 2)]).await;
    let expected = [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names(&answered), expected);
    let events = answered.events();
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    assert_eq!(events[6]["usage"]["output_tokens"], 2);
    assert!(answered.text().contains("event: ping\ndata: {\"type\":\"ping\"}\n\n"));
}

#[tokio::test]
async fn thinking_comes_first_and_is_output() {
    let simulator = simulator().await;
    let wishes = [("output-tokens", 2), ("reasoning-tokens", 3)];
    let whole = messages(&simulator, json!({}), &wishes).await.json();
    assert_eq!((&whole["content"][0]["type"], &whole["usage"]["output_tokens"]), (&json!("thinking"), &json!(5)));
    let streamed = messages(&simulator, json!({"stream": true}), &wishes).await;
    assert_eq!(simulator.log.attempt(streamed.attempt()).unwrap().sent_output_tokens, 5);
}

#[tokio::test]
async fn a_tool_is_used_with_input_that_satisfies_its_schema() {
    let simulator = simulator().await;
    let tools =
        json!([{"name": "weather", "input_schema": {"type": "object", "properties": {"days": {"type": "integer"}}}}]);
    let more = json!({"tools": tools, "tool_choice": {"type": "any"}});
    let whole = messages(&simulator, more.clone(), &[]).await.json();
    assert_eq!((&whole["content"][0]["input"], &whole["stop_reason"]), (&json!({"days": 7}), &json!("tool_use")));
    let mut more = more;
    more["stream"] = json!(true);
    let streamed = messages(&simulator, more, &[]).await;
    let input: String = streamed
        .events()
        .iter()
        .filter_map(|event| event["delta"]["partial_json"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(input, r#"{"days":7}"#);
}

#[tokio::test]
async fn errors_and_counts_have_its_shape() {
    let simulator = simulator().await;
    let answered = messages(&simulator, json!({}), &[("status", 529)]).await;
    assert_eq!((answered.status.as_u16(), &answered.json()["error"]["type"]), (529, &json!("overloaded_error")));
    let url = format!("{}/v1/messages/count_tokens", simulator.url());
    let counted = asking("POST", &url).json(&json!({"messages": [{"role": "user", "content": "Hi"}]})).answered().await;
    assert_eq!(counted.json(), json!({"input_tokens": 8}));
}
