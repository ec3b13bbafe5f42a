//! Providers whose answers lie, never end, or unfold.

use super::is_unharmed;
use crate::support::crooked::{Crooked, Script};
use crate::support::{Answered, Shop, chat, shop, with};
use serde_json::json;
use std::io::Write;

/// A Farebox before a provider that says what we like.
async fn crooked_shop() -> (Crooked, Shop) {
    let provider = Crooked::start().await;
    let base_url = format!("base_url: http://{}/v1", provider.address);
    let timeouts = "timeouts: {first_byte: 5s, idle: 5s, whole: 30s}";
    let shop = shop().with_provider("crooked", "openai", &[&base_url, timeouts]).open().await;
    (provider, shop)
}

/// What a caller gets; `Err` when its connection ends without an answer's head.
async fn ask(shop: &Shop, stream: bool) -> Result<Answered, String> {
    let body = with(chat("Say something."), json!({"stream": stream}));
    Ok(shop.post("/crooked/v1/chat/completions", &body).attempted().await?.finished().await)
}

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}"#;

#[tokio::test]
async fn an_answer_longer_than_its_length_reaches_no_other_caller() {
    let (provider, shop) = crooked_shop().await;
    let second = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n\"planted\"";
    provider.says(Script::json(ANSWER).then(second, 1).and_stays());
    for _ in 0..5 {
        let answered = ask(&shop, false).await.unwrap();
        assert_eq!(answered.text(), ANSWER);
    }
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn heads_that_are_no_heads_are_a_502_and_in_the_ledger() {
    let (provider, shop) = crooked_shop().await;
    let json = "content-type: application/json";
    let heads: Vec<Vec<u8>> = vec![
        b"garbage\r\n\r\n".to_vec(),
        b"HTTP/1.1 9999 Much\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nx-nul: a\0b\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
        format!("HTTP/1.1 200 OK\r\n{json}\r\ncontent-length: -5\r\n\r\n{{}}").into_bytes(),
        format!("HTTP/1.1 200 OK\r\n{json}\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{{}}").into_bytes(),
        format!("HTTP/1.1 200 OK\r\n{json}\r\ncontent-length: 99999999999999999999\r\n\r\n{{}}").into_bytes(),
        format!("HTTP/1.1 200 OK\r\nx-bomb: {}\r\n\r\n", "x".repeat(8 << 20)).into_bytes(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: y\r\n".repeat(300_000)).into_bytes(),
        Vec::new(),
    ];
    let count = heads.len();
    for head in heads {
        let shown = String::from_utf8_lossy(&head[..head.len().min(70)]).into_owned();
        provider.says(Script::new(head));
        // It is told as an error of the dialect, or as what the provider said, cut where the provider cut it.
        if let Ok(answered) = ask(&shop, false).await {
            let told = answered.status.as_u16() == 502 && answered.json()["error"]["message"].is_string();
            assert!(told || answered.status.as_u16() < 500, "{shown}: {} {}", answered.status, answered.text());
        }
    }
    let rows = shop.rows(count).await;
    assert_eq!(rows.len(), provider.requests(), "each attempt that left is a row");
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn informational_answers_without_end_end_in_time() {
    let (provider, shop) = crooked_shop().await;
    provider.says(Script::new("").then("HTTP/1.1 100 Continue\r\n\r\n", 1_000_000));
    // Its end or `first_byte`, whichever comes first.
    if let Ok(answered) = ask(&shop, false).await {
        assert!(matches!(answered.status.as_u16(), 502 | 504), "{}", answered.text());
    }
    shop.rows(1).await;
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn chunks_that_lie_cut_the_answer() {
    let (provider, shop) = crooked_shop().await;
    let head = "content-type: application/json\r\ntransfer-encoding: chunked";
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}",
        "2\r\n{}garbage",
        "-1\r\n{}\r\n0\r\n\r\n",
        "7fffffffffffffff\r\n{}",
    ] {
        provider.says(Script::answer(head, chunks));
        if let Ok(answered) = ask(&shop, false).await {
            assert!(answered.cut.is_some() || answered.status == 502, "{chunks:?}: {}", answered.text());
        }
    }
    shop.rows(5).await;
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn a_line_of_a_stream_that_never_ends_passes_in_bounded_memory() {
    let (provider, shop) = crooked_shop().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: ";
    let piece = vec![b'x'; 1 << 20];
    provider.says(Script::new(head).then(piece, 512));
    let body = with(chat("Say something."), json!({"stream": true}));
    let mut stream = shop.post("/crooked/v1/chat/completions", &body).streaming().await;
    let mut bytes = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        bytes += chunk.len();
    }
    assert_eq!(bytes, "data: ".len() + (512 << 20), "what the provider says, passes");
    let row = shop.row().await;
    assert_ne!(row.usage_source.as_deref(), Some("reported"));
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn a_small_answer_that_unfolds_to_gigabytes_passes_folded() {
    let (provider, shop) = crooked_shop().await;
    let mut folded = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0u8; 1 << 20];
    for _ in 0..2048 {
        folded.write_all(&zeros).unwrap();
    }
    let folded = folded.finish().unwrap();
    for (kind, stream) in [("application/json", false), ("text/event-stream", true)] {
        let head = format!("content-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: {}", folded.len());
        provider.says(Script::answer(&head, &folded));
        let answered = ask(&shop, stream).await.unwrap();
        assert_eq!(answered.body.len(), folded.len(), "bytes pass as they are");
    }
    for row in shop.rows(2).await {
        assert_ne!(row.usage_source.as_deref(), Some("reported"));
    }
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn usage_that_no_provider_can_mean_is_never_taken_for_money() {
    let (provider, shop) = crooked_shop().await;
    let numbers = [
        "-5",
        "1e300",
        "18446744073709551615",
        "9223372036854775807",
        "1e-5",
        "\"many\"",
        "null",
        "[]",
        "{}",
        "999999999999",
    ];
    for number in numbers {
        let answer = ANSWER.replace("\"completion_tokens\":2", &format!("\"completion_tokens\":{number}"));
        provider.says(Script::json(&answer));
        let answered = ask(&shop, false).await.unwrap();
        assert_eq!((answered.status.as_u16(), answered.text()), (200, answer), "{number}");
    }
    for (row, number) in shop.rows(numbers.len()).await.iter().zip(numbers) {
        // Booked as something: a cost that can be, or no price, and never less than what went in.
        let cost = row.cost.map(|cost| cost.as_pico());
        assert!(cost.is_none_or(|cost| cost >= 10 * 2_500_000), "{number}: {row:#?}");
    }
    let verified = shop.command(&["ledger", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_and_are_metered_as_far_as_they_can() {
    let (provider, shop) = crooked_shop().await;
    let mut body = ANSWER.as_bytes().to_vec();
    let content = body.windows(4).position(|bytes| bytes == b"\"Hi\"").unwrap();
    body.splice(content + 1..content + 3, [0xff, 0xfe, 0x00, 0xc3, 0x28]);
    provider.says(Script::json(&body));
    let answered = ask(&shop, false).await.unwrap();
    assert_eq!(answered.body, body);
    let deep = ANSWER.replace(
        "\"finish_reason\"",
        &format!("\"deep\":{}1{},\"finish_reason\"", "[".repeat(10_000), "]".repeat(10_000)),
    );
    provider.says(Script::json(&deep));
    assert_eq!(ask(&shop, false).await.unwrap().text(), deep);
    for row in shop.rows(2).await {
        assert_eq!((row.usage_source.as_deref(), row.usage.output_tokens()), (Some("reported"), 2));
    }
    is_unharmed(&shop).await;
}
