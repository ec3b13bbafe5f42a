//! Every dialect and every endpoint: the row says what the provider said.

use crate::support::{Answered, Shop, shop, with};
use farebox::money::Usd;
use farebox::store::EventRow;
use farebox::tokens::usage::Kind;
use serde_json::{Value, json};

/// The row must have what the simulator billed.
async fn row_of(shop: &Shop, answered: &Answered) -> EventRow {
    let id = format!("sim-{}", answered.attempt());
    let is_it = |row: &EventRow| row.provider_request_id.as_deref() == Some(&id);
    let rows = shop.rows_once(|rows| rows.iter().any(is_it), "the call's row").await;
    let row = rows.into_iter().find(is_it).unwrap();
    let billed = shop.seen(answered.attempt()).usage.unwrap();
    assert_eq!(row.usage.input_tokens(), billed.input_tokens, "{row:#?}");
    assert_eq!(row.usage.output_tokens(), billed.output_tokens, "{row:#?}");
    assert_eq!(row.usage.cache_read_input_tokens(), billed.cache_read_tokens);
    assert_eq!(row.usage.cache_write_input_tokens(), billed.cache_write_tokens);
    assert_eq!(row.usage_source.as_deref(), Some("reported"));
    assert!(row.complete);
    row
}

fn claude(more: Value) -> Value {
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Say something."}]});
    with(body, more)
}

#[tokio::test]
async fn anthropic_messages_whole_and_streamed() {
    let shop = shop().open().await;
    for stream in [false, true] {
        let asking = shop.post("/anthropic/v1/messages", &claude(json!({"stream": stream})));
        let asking = asking.wishing("cached-tokens", 4).wishing("cache-write-tokens", 2).wishing("output-tokens", 6);
        let answered = asking.answered().await;
        let row = row_of(&shop, &answered).await;
        assert_eq!((row.dialect.as_deref(), row.stream), (Some("anthropic"), stream));
        // claude-sonnet-5-5: $2 in, $0.10 read, $2.50 written, $10 out, a million.
        let uncached = row.usage[Kind::Input];
        let expected = i64::try_from(uncached).unwrap() * 2_000_000 + 4 * 100_000 + 2 * 2_500_000 + 6 * 10_000_000;
        assert_eq!(row.cost, Some(Usd::from_pico(expected)));
    }
}

#[tokio::test]
async fn anthropic_tools_and_thinking() {
    let shop = shop().open().await;
    let tools =
        json!([{"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]);
    for stream in [false, true] {
        let more = json!({"stream": stream, "tools": tools, "tool_choice": {"type": "any"}});
        let answered = shop.post("/anthropic/v1/messages", &claude(more)).answered().await;
        assert_eq!(row_of(&shop, &answered).await.finish_reason.as_deref(), Some("tool_use"));
        let thinking =
            shop.post("/anthropic/v1/messages", &claude(json!({"stream": stream}))).wishing("reasoning-tokens", 9);
        row_of(&shop, &thinking.answered().await).await;
    }
}

#[tokio::test]
async fn responses_whole_and_streamed() {
    let shop = shop().open().await;
    for stream in [false, true] {
        let body = json!({"model": "gpt-5", "input": "Say something.", "stream": stream});
        let asking = shop.post("/v1/responses", &body).wishing("reasoning-tokens", 8).wishing("cached-tokens", 3);
        let row = row_of(&shop, &asking.answered().await).await;
        assert_eq!((row.operation.as_deref(), row.usage[Kind::Reasoning]), (Some("responses"), 8));
        assert!(row.cost.is_some());
    }
}

#[tokio::test]
async fn a_web_search_of_the_provider_is_priced_by_the_call() {
    let shop = shop().open().await;
    let body = json!({"model": "gpt-5", "input": "Search the web.", "tools": [{"type": "web_search"}]});
    let row = row_of(&shop, &shop.post("/v1/responses", &body).answered().await).await;
    assert_eq!(row.usage[Kind::WebSearch], 1);
}

#[tokio::test]
async fn gemini_whole_and_streamed_in_both_forms() {
    let shop = shop().open().await;
    for verb in ["generateContent", "streamGenerateContent?alt=sse", "streamGenerateContent"] {
        let body = json!({"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]});
        let asking = shop.post(&format!("/gemini/v1beta/models/gemini-3.8-flash:{verb}"), &body);
        let asking = asking.wishing("reasoning-tokens", 5).wishing("output-tokens", 6).wishing("cached-tokens", 2);
        let row = row_of(&shop, &asking.answered().await).await;
        assert_eq!((row.usage[Kind::Output], row.usage[Kind::Reasoning]), (6, 5), "{verb}");
        assert_eq!(row.requested_model.as_deref(), Some("gemini-3.8-flash"));
        assert!(row.cost.is_some(), "{verb}");
    }
}

#[tokio::test]
async fn completions_and_embeddings() {
    let shop = shop().open().await;
    for stream in [false, true] {
        let body =
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": "Say something.", "max_tokens": 12, "stream": stream});
        let row = row_of(&shop, &shop.post("/v1/completions", &body).answered().await).await;
        assert_eq!(row.operation.as_deref(), Some("completion"));
    }
    let body = json!({"model": "text-embedding-3-small", "input": ["one", "and two"]});
    let row = row_of(&shop, &shop.post("/v1/embeddings", &body).answered().await).await;
    // $0.02 a million.
    assert_eq!(row.cost, Some(Usd::from_pico(3 * 20_000)));
}

#[tokio::test]
async fn images_and_transcriptions_report_tokens() {
    let shop = shop().open().await;
    let image = json!({"model": "gpt-image-1", "prompt": "A cat", "stream": false});
    assert_eq!(
        row_of(&shop, &shop.post("/v1/images/generations", &image).answered().await).await.operation.as_deref(),
        Some("images")
    );
    for stream in [false, true] {
        let answered = multipart(&shop, "/v1/audio/transcriptions", "gpt-4o-transcribe", stream).await;
        let row = row_of(&shop, &answered).await;
        assert_eq!((row.requested_model.as_deref(), row.usage[Kind::InputAudio]), (Some("gpt-4o-transcribe"), 70));
    }
}

#[tokio::test]
async fn azure_deployments_are_metered_by_their_own_path() {
    let shop = shop().with_provider("azure", "openai", &["flavor: azure"]).open().await;
    for stream in [false, true] {
        let path = "/openai/deployments/gpt-4o/chat/completions?api-version=2026-01-01";
        let body = json!({"messages": [{"role": "user", "content": "Hi"}], "stream": stream});
        let row = row_of(&shop, &shop.post(path, &body).answered().await).await;
        assert_eq!((row.provider.as_deref(), row.requested_model.as_deref()), (Some("azure"), Some("gpt-4o")));
        assert!(row.cost.is_some());
    }
}

#[tokio::test]
async fn a_multipart_body_passes_byte_for_byte() {
    let shop = shop().open().await;
    for path in ["/v1/files", "/v1/audio/transcriptions", "/v1/images/edits"] {
        let answered = multipart(&shop, path, "gpt-image-1", false).await;
        assert_eq!(answered.status, 200, "{}", answered.text());
        assert_eq!(shop.seen(answered.attempt()).body.unwrap(), form("gpt-image-1", false));
    }
}

#[tokio::test]
async fn what_nobody_bills_is_recorded_as_unmetered() {
    let shop = shop().open().await;
    let got = shop.ask("GET", "/v1/models").answered().await;
    assert_eq!(got.json()["data"][0]["id"], "gpt-4o");
    let echoed = shop.ask("PUT", "/v1/echo?a=1").with("content-type", "text/x").bytes("what ever").answered().await;
    assert_eq!((echoed.text(), shop.seen(2).query.as_deref()), ("what ever".to_owned(), Some("a=1")));
    let rows = shop.rows(2).await;
    for row in rows {
        assert_eq!(
            (row.pricing.as_deref(), row.usage_source.as_deref(), row.cost),
            (Some("unmetered"), Some("none"), Some(Usd::ZERO))
        );
    }
}

#[tokio::test]
async fn tools_and_schemas_pass_through_chat() {
    let shop = shop().open().await;
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    for stream in [false, true] {
        let base = json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
        let called =
            shop.post("/v1/chat/completions", &with(base.clone(), json!({"tools": tools, "tool_choice": "required"})));
        assert_eq!(row_of(&shop, &called.answered().await).await.finish_reason.as_deref(), Some("tool_calls"));
        let shaped = shop.post("/v1/chat/completions", &with(base, json!({"response_format": schema})));
        row_of(&shop, &shaped.answered().await).await;
    }
}

#[tokio::test]
async fn the_tier_that_the_response_names_is_the_tier_that_is_paid() {
    let shop = shop().open().await;
    let ask = |tier: &'static str| {
        let body = json!({"model": "gpt-5", "service_tier": "auto", "messages": [{"role": "user", "content": "Say something."}]});
        shop.post("/v1/chat/completions", &body).wishing("service-tier", tier).wishing("output-tokens", 100).answered()
    };
    let usual = row_of(&shop, &ask("default").await).await;
    let flex = row_of(&shop, &ask("flex").await).await;
    assert_eq!(flex.service_tier.as_deref(), Some("flex"));
    assert_eq!(flex.cost.unwrap().as_pico() * 2, usual.cost.unwrap().as_pico());
}

fn form(model: &str, stream: bool) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in [("model", model), ("stream", if stream { "true" } else { "false" }), ("purpose", "batch")] {
        body.extend_from_slice(
            format!("--b1\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
        );
    }
    body.extend_from_slice(
        b"--b1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n",
    );
    body.extend((0..200_000u32).map(|number| (number % 251) as u8));
    body.extend_from_slice(b"\r\n--b1--\r\n");
    body
}

async fn multipart(shop: &Shop, path: &str, model: &str, stream: bool) -> Answered {
    let asking = shop.ask("POST", path).with("content-type", "multipart/form-data; boundary=b1");
    asking.bytes(form(model, stream)).answered().await
}
