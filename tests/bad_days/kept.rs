//! Kept connections that a provider closes at the moment of the next request.

use crate::support::crooked::{Crooked, Script};
use crate::support::wire::Wire;
use crate::support::{Shop, chat, shop};

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}"#;

/// The request is read, and the connection is closed without a word.
fn closes() -> Script {
    Script::new("")
}

async fn before(provider: &Crooked) -> Shop {
    let base_url = format!("base_url: http://{}/v1", provider.address);
    shop().with_provider("crooked", "openai", &[&base_url]).open().await
}

fn request(method: &str, path: &str, body: &str) -> String {
    let length = body.len();
    format!("{method} /crooked/v1/{path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Two requests on one connection of a client: when the second is read, the provider's connection is kept already.
async fn asked_twice(shop: &Shop, second: &str) -> String {
    let mut wire = Wire::to(shop.address()).await;
    wire.say(request("POST", "chat/completions", &chat("Hi").to_string())).await;
    wire.until(|heard| heard.ends_with(ANSWER)).await;
    wire.say(second).await;
    wire.end_our_half_when_heard(|heard| heard.contains("\r\n\r\n")).await
}

fn outcomes(rows: &[farebox::store::EventRow]) -> Vec<&str> {
    rows.iter().map(|row| row.outcome.as_deref().unwrap()).collect()
}

#[tokio::test]
async fn a_call_whose_kept_connection_closes_is_made_once_more_and_each_attempt_is_a_row() {
    let provider = Crooked::start().await;
    let shop = before(&provider).await;
    let keeps = || Script::json(ANSWER).and_stays();
    provider.says_in_turn([keeps(), closes(), keeps()]);
    let heard = asked_twice(&shop, &request("POST", "chat/completions", &chat("Hi").to_string())).await;
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
    let rows = shop.rows(3).await;
    assert_eq!((rows.len(), provider.requests()), (3, 3), "{rows:#?}");
    assert_eq!(outcomes(&rows), ["ok", "provider_cut", "ok"]);
    assert_eq!((rows[1].exchange, rows[1].attempt, rows[2].attempt), (rows[2].exchange, 1, 2));
    assert!(rows[1].usage.input_tokens() > 0, "whoever read it all may have begun: {:#?}", rows[1]);
}

#[tokio::test]
async fn a_list_whose_kept_connection_closes_is_asked_for_once_more() {
    let provider = Crooked::start().await;
    let shop = before(&provider).await;
    provider.says_in_turn([Script::json(ANSWER).and_stays(), closes(), Script::json("{\"data\":[]}")]);
    let heard = asked_twice(&shop, &request("GET", "models", "")).await;
    assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("{\"data\":[]}"), "{heard}");
    assert_eq!(shop.rows(3).await.len(), 3);
}

#[tokio::test]
async fn a_connection_that_closes_again_is_a_502() {
    let provider = Crooked::start().await;
    let shop = before(&provider).await;
    provider.says_in_turn([Script::json(ANSWER).and_stays(), closes()]);
    let heard = asked_twice(&shop, &request("POST", "chat/completions", &chat("Hi").to_string())).await;
    assert!(heard.starts_with("HTTP/1.1 502"), "{heard}");
    assert_eq!((outcomes(&shop.rows(3).await), provider.requests()), (vec!["ok", "provider_cut", "provider_cut"], 3));
}

/// A batch that was begun twice would be charged twice, and nobody would know the first.
#[tokio::test]
async fn what_leaves_something_at_the_provider_is_not_asked_for_twice() {
    let provider = Crooked::start().await;
    let shop = before(&provider).await;
    provider.says_in_turn([Script::json(ANSWER).and_stays(), closes(), Script::json("{}")]);
    let heard = asked_twice(&shop, &request("POST", "batches", "{\"input_file_id\":\"f\"}")).await;
    assert!(heard.starts_with("HTTP/1.1 502"), "{heard}");
    assert_eq!(provider.requests(), 2);
}
