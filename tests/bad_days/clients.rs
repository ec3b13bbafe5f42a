//! Clients that leave, dawdle, shout or cheat.

use crate::support::unending::Unending;
use crate::support::wire::Wire;
use crate::support::{Shop, chat, shop};
use farebox::simulator::Ending;
use farebox::store::EventRow;
use serde_json::json;

async fn stalled_and_left(shop: &Shop, chunks: u64) -> EventRow {
    let asking = shop.stream("Say something.").wishing("output-tokens", 30).wishing("stall-after", chunks);
    let mut stream = asking.streaming().await;
    // The opening event, and the chunks.
    stream.read_until(|body| body.matches("data: ").count() as u64 > chunks).await;
    drop(stream);
    shop.row().await
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_pays_for_what_flowed() {
    let shop = shop().open().await;
    let row = stalled_and_left(&shop, 3).await;
    assert_eq!((row.outcome.as_deref(), row.usage_source.as_deref()), (Some("caller_cancelled"), Some("counted")));
    assert_eq!((row.usage.input_tokens(), row.usage.output_tokens(), row.complete), (10, 3, false));
    assert_eq!(row.cost.unwrap().as_pico(), 10 * 2_500_000 + 3 * 10_000_000);
    shop.simulator.log.until(|log| log.attempt(1).unwrap().ending == Ending::ClientGone).await;
}

#[tokio::test]
async fn where_the_provider_is_drained_a_client_that_left_pays_what_was_reported() {
    let shop = shop().with_every_provider("on_client_gone: drain").open().await;
    let mut stream =
        shop.stream("Say something.").wishing("output-tokens", 30).wishing("chunk-ms", 5).streaming().await;
    stream.read_until(|body| body.matches("data: ").count() > 3).await;
    drop(stream);
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.usage_source.as_deref()), (Some("caller_cancelled"), Some("reported")));
    assert_eq!((row.usage.output_tokens(), shop.seen(1).ending), (30, Ending::Completed));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_in_the_ledger_with_its_input() {
    let shop = shop().open().await;
    let asked = tokio::spawn(shop.chat("Say something.").wishing("first-byte-ms", 60_000).attempted());
    shop.simulator.log.until(|log| log.attempt(1).is_some_and(|attempt| attempt.body_arrived)).await;
    asked.abort();
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.status), (Some("caller_cancelled"), None));
    assert_eq!((row.usage.input_tokens(), row.usage.output_tokens()), (10, 0));
}

#[tokio::test]
async fn a_client_that_leaves_before_its_body_is_whole_costs_nothing() {
    let shop = shop().open().await;
    let mut wire = Wire::to(shop.address()).await;
    wire.say("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"model\":").await;
    drop(wire);
    // The next call is served, and is the only one that any provider saw.
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
    shop.rows(1).await;
    assert_eq!(shop.simulator.log.totals().attempts, 1);
}

#[tokio::test]
async fn a_body_of_ten_megabytes_passes_unchanged() {
    let shop = shop().open().await;
    let body = chat(&"All work and no play. ".repeat(470_000)).to_string();
    let answered = shop.ask("POST", "/v1/chat/completions").bytes(body.clone()).answered().await;
    assert_eq!(answered.status, 200);
    assert_eq!(answered.header("x-sim-body-blake3"), Some(blake3::hash(body.as_bytes()).to_hex().as_str()));
    assert_eq!(shop.row().await.request_bytes, body.len() as u64);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_a_413_in_the_dialect() {
    let shop = shop().with_setting("body_bytes_max: 1MiB").open().await;
    let big = "x".repeat(1 << 20);
    let openai = shop.chat(&big).answered().await;
    assert_eq!((openai.status.as_u16(), openai.json()["error"]["message"].is_string()), (413, true));
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": big}]});
    let claude = shop.post("/anthropic/v1/messages", &body).answered().await;
    assert_eq!((claude.status.as_u16(), &claude.json()["error"]["type"]), (413, &json!("request_too_large")));
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn the_bound_without_settings_is_64_mib_and_is_known_from_the_length_alone() {
    let shop = shop().open().await;
    let mut wire = Wire::to(shop.address()).await;
    let length = 64 * 1024 * 1024 + 1;
    wire.say(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")).await;
    let heard = wire.until(|heard| heard.contains("\r\n\r\n")).await;
    assert!(heard.starts_with("HTTP/1.1 413"), "{heard}");
}

#[tokio::test]
async fn a_client_that_sends_its_head_too_slowly_is_shown_out() {
    let shop = shop().with_setting("request_timeout: 200ms").with_setting("client_keepalive: 200ms").open().await;
    let mut wire = Wire::to(shop.address()).await;
    wire.say("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow:").await;
    let heard = wire.rest().await;
    assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 408"), "{heard}");
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
}

#[tokio::test]
async fn a_head_has_its_own_time_on_a_new_connection_and_on_a_kept_one() {
    // Far below the time for which a connection may idle (75 s), which a test would not wait for.
    let shop = shop().with_setting("request_timeout: 300ms").open().await;
    let mut fresh = Wire::to(shop.address()).await;
    fresh.say("POST /v1/chat/completions HTTP/1.1\r\n").await;
    assert!(!fresh.rest().await.contains("200 OK"));
    let mut kept = Wire::to(shop.address()).await;
    let body = chat("Hi").to_string();
    let length = body.len();
    kept.say(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")).await;
    kept.until(|heard| heard.contains("fp_simulator")).await;
    // By now the connection idles, and is woken by the beginning of a head.
    shop.rows(1).await;
    kept.say("POST /v1/chat").await;
    assert!(!kept.rest().await.contains("200 OK"));
    assert_eq!(shop.rows(1).await.len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_right_at_the_dialects_ending_has_heard_it_all() {
    let provider = Unending::start().await;
    let base_url = format!("base_url: http://{}/v1", provider.address);
    let shop = shop().with_provider("unending", "openai", &[&base_url]).open().await;
    for (events, outcome, complete) in [(3, "caller_cancelled", false), (4, "ok", true)] {
        provider.say_only(events);
        let body = crate::support::with(chat("Say something."), json!({"stream": true}));
        let mut stream = shop.post("/unending/v1/chat/completions", &body).streaming().await;
        let ending = if complete { "[DONE]" } else { "\"two\"" };
        stream.read_until(|body| body.contains(ending)).await;
        drop(stream);
        let count = usize::from(complete) + 1;
        let row = shop.rows(count).await.remove(count - 1);
        assert_eq!((row.outcome.as_deref(), row.complete), (Some(outcome), complete), "{row:#?}");
    }
    // What it reported came before its end: the true usage.
    let rows = shop.rows(2).await;
    assert_eq!((rows[1].usage_source.as_deref(), rows[1].usage.output_tokens()), (Some("reported"), 2));
}

#[tokio::test]
async fn a_client_that_sends_its_body_too_slowly_gets_a_408_in_the_dialect() {
    let shop = shop().with_setting("request_timeout: 200ms").open().await;
    let mut wire = Wire::to(shop.address()).await;
    wire.say("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{\"model\":").await;
    let heard = wire.rest().await;
    assert!(heard.starts_with("HTTP/1.1 408") && heard.contains("\"error\""), "{heard}");
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn a_bomb_of_headers_hurts_nobody_else() {
    let shop = shop().open().await;
    for bomb in [format!("x-bomb: {}\r\n", "x".repeat(2 << 20)), "x-many: y\r\n".repeat(200_000)] {
        let mut wire = Wire::to(shop.address()).await;
        wire.say("GET /v1/models HTTP/1.1\r\nhost: x\r\n").await;
        wire.say(bomb).await;
        wire.say("\r\n").await;
        let heard = wire.rest().await;
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 4"), "{heard}");
    }
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
    assert_eq!(shop.simulator.log.totals().attempts, 1);
}

#[tokio::test]
async fn two_lengths_for_one_body_are_refused() {
    let shop = shop().open().await;
    for heads in ["content-length: 5\r\ncontent-length: 6", "content-length: 5\r\ntransfer-encoding: chunked"] {
        let mut wire = Wire::to(shop.address()).await;
        wire.say(format!("POST /v1/echo HTTP/1.1\r\nhost: x\r\n{heads}\r\nconnection: close\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")).await;
        let heard = wire.rest().await;
        let smuggled = shop.simulator.log.attempts().iter().any(|attempt| attempt.path.contains("smuggled"));
        assert!(!smuggled, "{heard}");
    }
}

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_their_order() {
    let shop = shop().open().await;
    let one = |text: &str| {
        let body = chat(text).to_string();
        let length = body.len();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-sim-seed: {text}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let mut wire = Wire::to(shop.address()).await;
    wire.say(format!("{}{}", one("first"), one("second"))).await;
    let whole = |heard: &str| heard.matches("fp_simulator").count() == 2;
    let heard = wire.until(whole).await;
    assert_eq!(heard.matches("HTTP/1.1 200").count(), 2);
    assert_eq!(shop.rows(2).await.len(), 2);
    let first = shop.simulator.log.attempt(1).unwrap();
    assert!(String::from_utf8_lossy(&first.body.unwrap()).contains("first"));
}

#[tokio::test]
async fn a_body_that_is_no_json_is_a_400_that_says_where() {
    let shop = shop().open().await;
    for body in ["{\"model\":\"gpt-4o\",", "[]", "\u{0}", "{\"model\":\"gpt-4o\"} trailing"] {
        let answered = shop.ask("POST", "/v1/chat/completions").bytes(body).answered().await;
        assert_eq!(answered.status, 400, "{body}: {}", answered.text());
        assert!(answered.json()["error"]["message"].is_string());
    }
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn a_client_that_has_said_everything_and_ended_its_half_is_no_secret() {
    let shop = shop().open().await;
    let body = chat("Say something.").to_string();
    let mut wire = Wire::to(shop.address()).await;
    let length = body.len();
    wire.say(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")).await;
    wire.end_our_half().await;
    let heard = wire.rest().await;
    // Whether it is answered or taken for gone: what reached the provider is in the ledger.
    let row = shop.row().await;
    assert_eq!(row.outcome.as_deref() == Some("ok"), heard.starts_with("HTTP/1.1 200"), "{heard} {row:#?}");
}
