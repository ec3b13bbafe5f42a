//! The Gemini dialect.

use crate::support::{Answered, asking, simulator};
use farebox::simulator::Running;
use serde_json::{Value, json};

async fn generate(simulator: &Running, verb: &str, more: Value, wishes: &[(&str, u64)]) -> Answered {
    let mut body = json!({"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let url = format!("{}/v1beta/models/gemini-3.8-flash:{verb}", simulator.url());
    let asking = asking("POST", &url).json(&body);
    wishes.iter().fold(asking, |asking, (wish, value)| asking.wishing(wish, value)).answered().await
}

#[tokio::test]
async fn thoughts_are_not_among_the_candidates() {
    let simulator = simulator().await;
    let wishes = [("output-tokens", 4), ("reasoning-tokens", 3), ("cached-tokens", 1)];
    let answered = generate(&simulator, "generateContent", json!({}), &wishes).await.json();
    let usage = &answered["usageMetadata"];
    assert_eq!((&usage["candidatesTokenCount"], &usage["thoughtsTokenCount"]), (&json!(4), &json!(3)));
    assert_eq!((&usage["cachedContentTokenCount"], &usage["totalTokenCount"]), (&json!(1), &json!(11)));
}

#[tokio::test]
async fn every_event_of_a_stream_repeats_the_usage_so_far() {
    let simulator = simulator().await;
    let streamed = generate(&simulator, "streamGenerateContent?alt=sse", json!({}), &[("output-tokens", 3)]).await;
    let so_far = |event: &Value| event["usageMetadata"]["candidatesTokenCount"].as_u64().unwrap();
    assert_eq!(streamed.events().iter().map(so_far).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(streamed.events()[2]["candidates"][0]["finishReason"], "STOP");
}

#[tokio::test]
async fn without_alt_sse_a_stream_is_a_json_array() {
    let simulator = simulator().await;
    let streamed = generate(&simulator, "streamGenerateContent", json!({}), &[("output-tokens", 3)]).await;
    assert_eq!(streamed.header("content-type"), Some("application/json"));
    assert_eq!(streamed.json().as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn tools_schemas_counts_embeddings_and_errors_work() {
    let simulator = simulator().await;
    let more = json!({"tools": [{"functionDeclarations": [{"name": "weather", "parameters":
        {"type": "OBJECT", "properties": {"city": {"type": "STRING", "enum": ["Oslo"]}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}});
    let called = generate(&simulator, "generateContent", more, &[]).await.json();
    assert_eq!(
        called["candidates"][0]["content"]["parts"][0]["functionCall"],
        json!({"name": "weather", "args": {"city": "Oslo"}})
    );

    let counted = generate(&simulator, "countTokens", json!({}), &[]).await.json();
    assert_eq!(counted, json!({"totalTokens": 4}));

    let url = format!("{}/v1beta/models/gemini-embedding-001:embedContent", simulator.url());
    let body = json!({"content": {"parts": [{"text": "Hi"}]}, "outputDimensionality": 4});
    let embedded = asking("POST", &url).json(&body).answered().await.json();
    assert_eq!(embedded["embedding"]["values"].as_array().unwrap().len(), 4);

    let refused = generate(&simulator, "generateContent", json!({}), &[("status", 429)]).await.json();
    assert_eq!(refused["error"]["status"], "RESOURCE_EXHAUSTED");
}
