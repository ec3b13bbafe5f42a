//! One call, whole and streamed: what the caller gets, what the provider saw, what the ledger has.

use crate::support::{chat, shop, with};
use farebox::money::Usd;
use farebox::tokens::usage::Kind;
use serde_json::json;

#[tokio::test]
async fn a_whole_chat_is_one_row_with_its_exact_tokens_and_cost() {
    let shop = shop().open().await;
    let answered = shop.chat("Say something.").wishing("output-tokens", 5).wishing("cached-tokens", 4).answered().await;
    assert_eq!(answered.status, 200);
    assert_eq!(answered.json()["usage"]["completion_tokens"], 5);

    let row = shop.row().await;
    assert_eq!((row.usage.input_tokens(), row.usage[Kind::CacheRead], row.usage[Kind::Output]), (10, 4, 5));
    assert_eq!(
        (row.usage_source.as_deref(), row.outcome.as_deref(), row.status),
        (Some("reported"), Some("ok"), Some(200))
    );
    // gpt-4o: $2.50 in, $1.25 cached, $10 out, a million: 6 × 2.5 + 4 × 1.25 + 5 × 10 millionths.
    assert_eq!(row.cost, Some(Usd::from_pico(70_000_000)));
    assert_eq!(answered.header("x-farebox-cost"), Some("0.00007"));
    assert_eq!(answered.header("x-farebox-exchange-id"), Some(row.exchange.to_string().as_str()));
    assert_eq!((row.provider.as_deref(), row.operation.as_deref(), row.attempt), (Some("openai"), Some("chat"), 1));
    assert_eq!((row.requested_model.as_deref(), row.upstream_model.as_deref()), (Some("gpt-4o"), Some("gpt-4o")));
    assert_eq!(row.provider_request_id.as_deref(), Some("sim-1"));
    assert!(row.complete && !row.stream);
    assert_eq!(shop.simulator.log.totals().attempts, 1);
}

#[tokio::test]
async fn a_streamed_chat_is_one_row_with_its_exact_tokens_and_cost() {
    let shop = shop().open().await;
    let answered =
        shop.stream("Say something.").wishing("output-tokens", 20).wishing("reasoning-tokens", 7).answered().await;
    assert_eq!(answered.events().len(), 22);

    let row = shop.row().await;
    assert_eq!((row.usage.input_tokens(), row.usage.output_tokens(), row.usage[Kind::Reasoning]), (10, 27, 7));
    assert_eq!((row.usage_source.as_deref(), row.finish_reason.as_deref()), (Some("reported"), Some("stop")));
    assert_eq!(row.cost, Some(Usd::from_pico(295_000_000)));
    assert!(row.complete && row.stream);
}

#[tokio::test]
async fn usage_asked_for_on_the_callers_behalf_stays_with_us() {
    let shop = shop().open().await;
    let answered = shop.stream("Say something.").wishing("output-tokens", 3).answered().await;
    assert!(!answered.text().contains("usage"), "{}", answered.text());
    let sent = shop.seen(1).body.unwrap();
    let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["stream_options"], json!({"include_usage": true}));
    assert_eq!(shop.row().await.usage_source.as_deref(), Some("reported"));
}

#[tokio::test]
async fn a_caller_who_asks_for_usage_gets_it_untouched() {
    let shop = shop().open().await;
    let body = with(chat("Hi"), json!({"stream": true, "stream_options": {"include_usage": true}}));
    let asked = shop.post("/v1/chat/completions", &body).wishing("seed", 1).answered().await;
    let direct = shop.post_directly("/v1/chat/completions", &body).wishing("seed", 1).answered().await;
    assert_eq!(asked.body, direct.body);
    assert!(asked.events().last().unwrap()["usage"].is_object());
}

#[tokio::test]
async fn a_provider_that_is_silent_about_usage_is_counted() {
    let shop = shop().open().await;
    for stream in [false, true] {
        let body = with(chat("Say something."), json!({"stream": stream}));
        let answered = shop.post("/v1/chat/completions", &body).wishing("usage", "none").wishing("output-tokens", 9);
        assert_eq!(answered.answered().await.status, 200);
    }
    for row in shop.rows(2).await {
        assert_eq!(row.usage_source.as_deref(), Some("counted"), "{row:#?}");
        assert_eq!((row.usage.input_tokens(), row.usage.output_tokens()), (10, 9));
        assert_eq!(row.cost, Some(Usd::from_pico(115_000_000)));
    }
}

#[tokio::test]
async fn a_model_that_the_catalog_does_not_know_is_unpriced_and_not_free() {
    let shop = shop().open().await;
    let body = with(chat("Hi"), json!({"model": "nobody-knows-1"}));
    assert_eq!(shop.post("/v1/chat/completions", &body).answered().await.status, 200);
    let row = shop.row().await;
    assert_eq!(row.cost, None);
    assert!(row.usage.output_tokens() > 0 && row.pricing.as_deref() != Some("priced"));
}

#[tokio::test]
async fn a_hundred_calls_at_once_are_a_hundred_rows_that_say_what_the_provider_says() {
    let shop = shop().open().await;
    let calls = (0..100u32).map(|place| {
        let asking = if place % 2 == 0 { shop.chat("Say something.") } else { shop.stream("Say something.") };
        asking.with("x-request-id", &format!("call-{place}")).answered()
    });
    for answered in futures_util::future::join_all(calls).await {
        assert_eq!(answered.status, 200);
    }
    let rows = shop.rows(100).await;
    assert_eq!(rows.len(), 100);
    for row in rows {
        let number: u64 = row.provider_request_id.unwrap().trim_start_matches("sim-").parse().unwrap();
        let (seen, said) = (shop.seen(number), shop.seen(number).usage.unwrap());
        assert_eq!(row.client_request_id.as_deref(), seen.client_request_id.as_deref());
        assert_eq!((row.usage.input_tokens(), row.usage.output_tokens()), (said.input_tokens, said.output_tokens));
    }
}
