//! Providers that hang, stall, break off, mumble or compress.

use crate::support::{chat, shop, with};
use farebox::simulator::Ending;
use serde_json::json;
use std::io::Read;

#[tokio::test]
async fn a_provider_that_hangs_is_a_504_in_the_dialect_with_a_row() {
    let shop = shop().with_every_provider("timeouts: {first_byte: 150ms}").open().await;
    let openai = shop.chat("Say something.").wishing("first-byte-ms", 60_000).answered().await;
    assert_eq!((openai.status.as_u16(), openai.json()["error"]["message"].is_string()), (504, true));
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    let claude = shop.post("/anthropic/v1/messages", &body).wishing("first-byte-ms", 60_000).answered().await;
    assert_eq!((claude.status.as_u16(), &claude.json()["type"]), (504, &json!("error")));
    for row in shop.rows(2).await {
        assert_eq!((row.outcome.as_deref(), row.status), (Some("provider_timeout"), None));
        assert!(row.usage.input_tokens() > 0, "the provider may have read it all: {row:#?}");
    }
    shop.simulator.log.until(|log| log.totals().client_gone == 2).await;
}

#[tokio::test]
async fn a_stream_that_stalls_is_ended_and_counted() {
    let shop = shop().with_every_provider("timeouts: {idle: 150ms}").open().await;
    let answered =
        shop.stream("Say something.").wishing("output-tokens", 30).wishing("stall-after", 4).answered().await;
    assert_eq!(answered.status, 200);
    assert!(!answered.text().contains("[DONE]"));
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.usage_source.as_deref()), (Some("provider_timeout"), Some("counted")));
    assert_eq!((row.usage.input_tokens(), row.usage.output_tokens(), row.complete), (10, 4, false));
}

#[tokio::test]
async fn a_stream_that_is_cut_is_cut_for_the_caller_too_and_counted() {
    let shop = shop().open().await;
    let answered = shop.stream("Say something.").wishing("output-tokens", 30).wishing("cut-after", 5).answered().await;
    assert!(answered.cut.is_some(), "a broken stream must not look whole: {}", answered.text());
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.usage_source.as_deref()), (Some("provider_cut"), Some("counted")));
    assert_eq!((row.usage.input_tokens(), row.usage.output_tokens(), row.complete), (10, 5, false));
}

#[tokio::test]
async fn a_whole_body_that_is_cut_is_in_the_ledger() {
    let shop = shop().open().await;
    let answered = shop.chat("Say something.").wishing("cut-after", 1).attempted().await;
    if let Ok(streaming) = answered {
        let answered = streaming.finished().await;
        assert!(answered.cut.is_some() || answered.status == 502, "{}", answered.text());
    }
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.complete), (Some("provider_cut"), false));
    assert_eq!(row.usage.input_tokens(), 10);
}

#[tokio::test]
async fn a_connection_that_is_reset_is_a_502_and_is_not_tried_again() {
    let shop = shop().open().await;
    let answered = shop.chat("Say something.").wishing("reset", "yes").answered().await;
    assert_eq!((answered.status.as_u16(), answered.json()["error"]["message"].is_string()), (502, true));
    let row = shop.row().await;
    assert!(["provider_connection_failed", "provider_cut"].contains(&row.outcome.as_deref().unwrap()), "{row:#?}");
    assert_eq!((shop.simulator.log.totals().attempts, shop.seen(1).ending), (1, Ending::Reset));
}

#[tokio::test]
async fn broken_events_pass_as_they_are_and_what_is_readable_is_metered() {
    let shop = shop().open().await;
    let body = with(chat("Say something."), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let ask = |asking: crate::support::Asking| {
        asking.wishing("malformed", "sse").wishing("seed", 1).wishing("output-tokens", 6)
    };
    let through = ask(shop.post("/v1/chat/completions", &body)).answered().await;
    let direct = ask(shop.post_directly("/v1/chat/completions", &body)).answered().await;
    assert_eq!(through.body, direct.body);
    let row = shop.row().await;
    assert_eq!((row.usage.output_tokens(), row.usage_source.as_deref()), (6, Some("reported")));
}

#[tokio::test]
async fn a_body_that_is_no_json_passes_as_it_is_and_is_not_called_reported() {
    let shop = shop().open().await;
    let through = shop.chat("Hi").wishing("malformed", "json").wishing("seed", 1).answered().await;
    let direct =
        shop.post_directly("/v1/chat/completions", &chat("Hi")).wishing("malformed", "json").wishing("seed", 1);
    assert_eq!(through.body, direct.answered().await.body);
    assert_ne!(shop.row().await.usage_source.as_deref(), Some("reported"));
}

#[tokio::test]
async fn a_redirect_passes_and_is_not_followed() {
    let shop = shop().open().await;
    let answered = shop.chat("Hi").wishing("redirect", "http://127.0.0.1:1/elsewhere").answered().await;
    assert_eq!((answered.status.as_u16(), answered.header("location")), (307, Some("http://127.0.0.1:1/elsewhere")));
    assert_eq!(shop.row().await.status, Some(307));
}

#[tokio::test]
async fn compressed_answers_pass_compressed_and_are_metered() {
    let shop = shop().open().await;
    let mut calls = 0;
    for encoding in ["gzip", "br", "zstd"] {
        for stream in [false, true] {
            let more = json!({"stream": stream, "stream_options": {"include_usage": true}});
            let body = if stream { with(chat("Say something."), more) } else { chat("Say something.") };
            let ask =
                |asking: crate::support::Asking| asking.wishing("seed", 1).wishing("encoding", encoding).answered();
            let through = ask(shop.post("/v1/chat/completions", &body).with("accept-encoding", encoding)).await;
            let direct = ask(shop.post_directly("/v1/chat/completions", &body)).await;
            assert_eq!(through.header("content-encoding"), Some(encoding));
            assert_eq!(through.body, direct.body, "{encoding} {stream}");
            calls += 1;
            let rows = shop.rows(calls).await;
            let billed = shop.seen(through.attempt()).usage.unwrap();
            assert_eq!(rows[calls - 1].usage_source.as_deref(), Some("reported"), "{encoding} {stream}");
            assert_eq!(rows[calls - 1].usage.output_tokens(), billed.output_tokens);
        }
    }
}

#[tokio::test]
async fn where_usage_is_asked_on_the_callers_behalf_the_answer_is_asked_for_uncompressed() {
    let shop = shop().open().await;
    let asking = shop.stream("Say something.").with("accept-encoding", "gzip").wishing("encoding", "accepted");
    let answered = asking.answered().await;
    assert_eq!(answered.header("content-encoding"), None);
    assert!(answered.text().ends_with("data: [DONE]\n\n") && !answered.text().contains("usage"));
    assert_eq!(shop.row().await.usage_source.as_deref(), Some("reported"));
}

#[tokio::test]
async fn a_provider_that_compresses_unasked_is_still_readable_for_the_caller() {
    let shop = shop().open().await;
    let answered =
        shop.stream("Say something.").wishing("encoding", "gzip").wishing("output-tokens", 5).answered().await;
    let mut text = String::new();
    match answered.header("content-encoding") {
        Some("gzip") => drop(flate2::read::GzDecoder::new(&answered.body[..]).read_to_string(&mut text).unwrap()),
        _ => text = answered.text(),
    }
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(shop.row().await.usage.output_tokens(), 5);
}

#[tokio::test]
async fn an_early_413_reaches_a_caller_who_is_still_sending() {
    let shop = shop().open().await;
    let asking = shop.chat(&"x".repeat(20_000_000)).wishing("early-413", "yes");
    let answered = asking.answered().await;
    assert_eq!((answered.status.as_u16(), answered.header("x-sim-attempt")), (413, Some("1")));
    assert_eq!(shop.row().await.status, Some(413));
}

#[tokio::test]
async fn a_long_answer_of_ten_megabytes_passes_whole_and_metered() {
    let shop = shop().open().await;
    let tokens = 2_700_000;
    let answered = shop.chat("Say something.").wishing("output-tokens", tokens).answered().await;
    assert!(answered.body.len() > 10_000_000 && answered.cut.is_none());
    assert_eq!(shop.row().await.usage.output_tokens(), tokens);
}

#[tokio::test]
async fn a_stream_that_is_cut_is_counted_in_every_dialect_and_no_placeholder_is_billed() {
    let shop = shop().open().await;
    let claude = json!({"model": "claude-sonnet-5-5", "max_tokens": 90, "stream": true, "messages": [{"role": "user", "content": "Say something."}]});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]});
    let calls = [
        ("/v1/chat/completions", with(chat("Say something."), json!({"stream": true})), 20..=20),
        (
            "/v1/completions",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": "Say something.", "stream": true, "max_tokens": 90}),
            20..=20,
        ),
        ("/v1/responses", json!({"model": "gpt-5", "input": "Say something.", "stream": true}), 20..=20),
        // No public tokenizer: o200k with a documented correction.
        ("/anthropic/v1/messages", claude, 20..=30),
        // Every event reports all tokens so far.
        ("/gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse", gemini, 20..=20),
    ];
    for (place, (path, body, expected)) in calls.into_iter().enumerate() {
        let asking = shop.post(path, &body).wishing("output-tokens", 60).wishing("cut-after", 20);
        assert!(asking.answered().await.cut.is_some(), "{path}");
        let row = shop.rows(place + 1).await.remove(place);
        assert_eq!((row.outcome.as_deref(), row.complete), (Some("provider_cut"), false), "{path}");
        assert!(expected.contains(&row.usage.output_tokens()), "{path}: {row:#?}");
        assert!(row.usage.input_tokens() > 0 && row.usage_source.as_deref() != Some("none"), "{path}: {row:#?}");
    }
}

#[tokio::test]
async fn a_provider_with_all_its_calls_under_way_is_a_503_that_did_not_reach_it() {
    let shop = shop().with_every_provider("concurrency_max: 1").with_every_provider("timeouts: {connect: 100ms}");
    let shop = shop.open().await;
    let mut first = shop.stream("Say something.").wishing("stall-after", 1).streaming().await;
    first.read_until(|body| body.contains("data: ")).await;
    assert_eq!(shop.chat("Hi").answered().await.status, 503);
    drop(first);
    shop.rows(1).await;
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
    assert_eq!(shop.simulator.log.totals().attempts, 2);
}

#[tokio::test]
async fn a_provider_that_fails_in_a_row_is_left_alone_and_then_tried_again() {
    let shop = shop().with_every_provider("circuit: {failures: 3, open_for: 300ms}").open().await;
    for _ in 0..3 {
        assert_eq!(shop.chat("Hi").wishing("reset", "yes").answered().await.status, 502);
    }
    let left_alone = shop.chat("Hi").answered().await;
    assert_eq!((left_alone.status.as_u16(), shop.simulator.log.totals().attempts), (503, 3));
    assert_eq!(left_alone.header("retry-after"), Some("1"));
    assert!(left_alone.text().contains("circuit"), "{}", left_alone.text());
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while shop.chat("Hi").answered().await.status != 200 {
        assert!(std::time::Instant::now() < until, "it is tried again in time");
    }
}

#[tokio::test]
async fn retries_end_when_they_open_the_circuit_and_what_the_provider_said_passes() {
    let settings = ["circuit: {failures: 2, open_for: 60s}", "retries: {max: 5, statuses: [503], pause: 1ms}"];
    let shop = settings.iter().fold(shop(), |shop, line| shop.with_every_provider(line)).open().await;
    let answered = shop.chat("Hi").wishing("status", 503).answered().await;
    assert_eq!((answered.status.as_u16(), shop.simulator.log.totals().attempts), (503, 2));
    assert!(answered.text().contains("simulated 503"), "{}", answered.text());
    assert_eq!(shop.rows(2).await.len(), 2);
}
