//! What passes of an answer's head, and callers that hold a connection up.

use super::is_unharmed;
use crate::support::crooked::{Crooked, Script};
use crate::support::wire::Wire;
use crate::support::{Shop, chat, shop, with};
use serde_json::json;
use std::time::{Duration, Instant};

async fn crooked_shop(settings: &str) -> (Crooked, Shop) {
    let provider = Crooked::start().await;
    let base_url = format!("base_url: http://{}/v1", provider.address);
    let shop = shop().with_setting(settings).with_provider("crooked", "openai", &[&base_url]).open().await;
    (provider, shop)
}

/// What is heard of one answer: by a plain request, which Farebox reads itself, and by one that pingora reads.
async fn heard_both_ways(shop: &Shop, method: &str) -> [String; 2] {
    let mut heard = Vec::new();
    for more in ["", "x-twice: a\r\nx-twice: b\r\n"] {
        let mut wire = Wire::to(shop.address()).await;
        wire.say(format!("{method} /crooked/v1/thing HTTP/1.1\r\nhost: x\r\n{more}connection: close\r\n\r\n")).await;
        heard.push(wire.rest().await);
    }
    heard.try_into().unwrap()
}

#[tokio::test]
async fn the_words_behind_a_status_pass() {
    let (provider, shop) = crooked_shop("").await;
    for words in ["529 Overloaded by far", "200 Fine", "404 Not Found"] {
        provider.says(Script::new(format!("HTTP/1.1 {words}\r\ncontent-length: 2\r\n\r\n{{}}")));
        for heard in heard_both_ways(&shop, "GET").await {
            assert!(heard.starts_with(&format!("HTTP/1.1 {words}\r\n")), "{heard}");
        }
    }
}

#[tokio::test]
async fn a_provider_does_not_speak_in_our_name() {
    let (provider, shop) = crooked_shop("").await;
    provider.says(Script::answer("content-type: text/plain\r\nX-Farebox-Cost: 0\r\ncontent-length: 2", "ok"));
    for heard in heard_both_ways(&shop, "GET").await {
        assert!(heard.contains("x-farebox-exchange-id: "), "{heard}");
        assert!(!heard.to_ascii_lowercase().contains("x-farebox-cost"), "{heard}");
    }
}

/// A length that is said twice, or of a body that cannot be, is read in more than one way by whoever stands before us.
#[tokio::test]
async fn the_length_of_an_answer_is_said_once_and_only_where_there_is_a_body() {
    let (provider, shop) = crooked_shop("").await;
    let lengths = |heard: &str| heard.to_ascii_lowercase().matches("content-length:").count();
    for said in ["content-length: 2\r\ncontent-length: 2", "content-length: 2, 2"] {
        provider.says(Script::answer(&format!("content-type: text/plain\r\n{said}"), "ok"));
        let [ours, _] = heard_both_ways(&shop, "GET").await;
        assert!(ours.contains("content-length: 2\r\n") && ours.ends_with("\r\n\r\nok"), "{ours}");
        assert_eq!(lengths(&ours), 1, "{ours}");
    }
    provider.says(Script::new("HTTP/1.1 204 No Content\r\ncontent-length: 30\r\n\r\n"));
    let [ours, _] = heard_both_ways(&shop, "DELETE").await;
    assert_eq!(lengths(&ours), 0, "{ours}");
}

#[tokio::test]
async fn a_switch_of_protocols_that_nobody_asked_for_is_a_502() {
    let (provider, shop) = crooked_shop("").await;
    let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
    provider.says(Script::new(switched).then("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 1).and_stays());
    for heard in heard_both_ways(&shop, "GET").await {
        assert!(heard.starts_with("HTTP/1.1 502"), "{heard}");
    }
}

/// Behind it, any request could be made that no rule sees and no ledger books.
#[tokio::test]
async fn no_tunnel_is_opened_for_a_protocol_that_is_no_websocket() {
    let shop = shop().open().await;
    let mut wire = Wire::to(shop.address()).await;
    let asks = "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__";
    wire.say(format!("GET /v1/models HTTP/1.1\r\nhost: x\r\n{asks}\r\n\r\n")).await;
    let heard = wire.until(|heard| heard.contains("\r\n\r\n")).await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    let seen = shop.seen(1);
    assert_eq!([seen.header("upgrade"), seen.header("connection"), seen.header("http2-settings")], [None; 3]);
}

/// It holds a budget, a provider's connection and what was read of the answer.
#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_shown_out() {
    let shop = shop().with_setting("request_timeout: 300ms").open().await;
    let body = with(chat("Say something."), json!({"stream": true})).to_string();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let framed =
        [(format!("content-length: {}", body.len()), body), ("transfer-encoding: chunked".to_owned(), chunked)];
    for (place, (framing, body)) in framed.into_iter().enumerate() {
        let mut deaf = Wire::to(shop.address()).await;
        let wish = "x-sim-output-tokens: 200000";
        deaf.say(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{wish}\r\n{framing}\r\n\r\n{body}")).await;
        let row = shop.rows(place + 1).await.remove(place);
        assert_eq!((row.outcome.as_deref(), row.complete), (Some("caller_cancelled"), false), "{row:#?}");
        drop(deaf);
    }
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn an_upload_that_stops_half_way_is_told_so() {
    let (provider, shop) = crooked_shop("request_timeout: 200ms").await;
    let mut wire = Wire::to(shop.address()).await;
    wire.say("POST /crooked/v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf").await;
    let heard = wire.rest().await;
    assert!(heard.starts_with("HTTP/1.1 408") && heard.contains("\"error\""), "{heard}");
    assert_eq!((shop.row().await.outcome.as_deref(), provider.requests()), (Some("caller_cancelled"), 0));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_its_request_is_not_lost() {
    let shop = shop().open().await;
    let mut wire = Wire::to(shop.address()).await;
    let length = 20_000_000;
    wire.say(format!("POST /farebox/me HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")).await;
    assert!(wire.say(vec![b'x'; length]).await, "it is read as far as it comes");
    let heard = wire.rest().await;
    assert!(heard.starts_with("HTTP/1.1 200") && heard.contains("connection: close"), "{heard}");
}

/// The last trusted proxy's word counts, in whichever line it stands; not the caller's own before it.
#[tokio::test]
async fn an_address_that_a_caller_makes_up_is_not_believed() {
    let shop = shop().with_setting("trusted_proxies: [127.0.0.1]").open().await;
    let cases = [
        ("x-forwarded-for: 203.0.113.9\r\nx-forwarded-for: 198.51.100.1", "198.51.100.1"),
        ("x-forwarded-for: 203.0.113.9, 198.51.100.2", "198.51.100.2"),
        ("x-forwarded-for: 203.0.113.9, 198.51.100.3:1234", "198.51.100.3"),
        ("x-forwarded-for: 203.0.113.9, unknown", "127.0.0.1"),
    ];
    for (lines, address) in cases {
        let mut wire = Wire::to(shop.address()).await;
        wire.say(format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n{lines}\r\ncontent-length: 1\r\n\r\n{{"))
            .await;
        wire.until(|heard| heard.starts_with("HTTP/1.1 400")).await;
        until_refused(&shop, address).await;
        assert!(!shop.log().contains("203.0.113.9"), "{lines}: {}", shop.log());
    }
}

async fn until_refused(shop: &Shop, address: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    let told = format!("\"client\":\"{address}\"");
    while !shop.log().lines().any(|line| line.contains("\"refused\"") && line.contains(&told)) {
        assert!(Instant::now() < until, "a refusal of {address}: {}", shop.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
