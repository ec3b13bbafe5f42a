//! The accidents that a request may wish for happen.

use crate::support::{Asking, asking, simulator};
use farebox::simulator::{Ending, Running, SimulatorSettings, start};
use serde_json::json;
use std::io::Read;

fn chat(simulator: &Running, stream: bool) -> Asking {
    let body = json!({"model": "gpt-4o", "stream": stream, "messages": [{"role": "user", "content": "Hi"}]});
    asking("POST", &format!("{}/v1/chat/completions", simulator.url())).json(&body)
}

#[tokio::test]
async fn a_status_comes_in_the_shape_of_the_dialect() {
    let simulator = simulator().await;
    let answered = chat(&simulator, false).wishing("status", 429).wishing("retry-after", 7).answered().await;
    assert_eq!((answered.status.as_u16(), answered.header("retry-after")), (429, Some("7")));
    assert_eq!(answered.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(simulator.log.attempt(1).unwrap().usage, None);
}

#[tokio::test]
async fn the_first_attempts_of_an_id_fail_and_then_it_works() {
    let simulator = simulator().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        let answered = chat(&simulator, false).wishing("fail-first", 2).wishing("id", "a").wishing("status", 500);
        statuses.push(answered.answered().await.status.as_u16());
    }
    assert_eq!(statuses, [500, 500, 200]);
}

#[tokio::test]
async fn a_cut_stream_ends_without_its_end_after_so_many_chunks() {
    let simulator = simulator().await;
    let answered = chat(&simulator, true).wishing("output-tokens", 9).wishing("cut-after", 3).answered().await;
    assert!(answered.cut.is_some());
    assert_eq!(answered.events().len(), 4);
    let seen = simulator.log.attempt(1).unwrap();
    assert_eq!((seen.ending, seen.sent_output_tokens), (Ending::Cut, 3));
}

#[tokio::test]
async fn a_cut_whole_body_is_shorter_than_it_said() {
    let simulator = simulator().await;
    let answered = chat(&simulator, false).wishing("cut-after", 1).answered().await;
    assert!(answered.cut.is_some());
    let length: usize = answered.header("content-length").unwrap().parse().unwrap();
    assert_eq!(answered.body.len(), length / 2);
}

#[tokio::test]
async fn a_stalled_stream_is_silent_until_the_client_leaves() {
    let simulator = simulator().await;
    let mut stream = chat(&simulator, true).wishing("stall-after", 2).streaming().await;
    stream.read_until(|body| body.matches("data: ").count() == 3).await;
    assert_eq!(simulator.log.attempt(1).unwrap().ending, Ending::Open);
    drop(stream);
    simulator.log.until(|log| log.attempt(1).unwrap().ending == Ending::ClientGone).await;
    assert_eq!(simulator.log.attempt(1).unwrap().sent_output_tokens, 2);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_is_seen_to_leave() {
    let simulator = simulator().await;
    let asked = tokio::spawn(chat(&simulator, false).wishing("first-byte-ms", 60_000).attempted());
    simulator.log.until(|log| log.attempt(1).is_some_and(|attempt| attempt.body_arrived)).await;
    asked.abort();
    simulator.log.until(|log| log.attempt(1).unwrap().ending == Ending::ClientGone).await;
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let simulator = simulator().await;
    let why = chat(&simulator, false).wishing("reset", "yes").attempted().await.err().unwrap();
    assert!(why.contains("ConnectionReset") || why.contains("reset by peer"), "{why}");
    assert_eq!(simulator.log.attempt(1).unwrap().ending, Ending::Reset);
}

#[tokio::test]
async fn an_early_413_is_read_by_a_client_that_is_still_sending() {
    let simulator = simulator().await;
    let url = format!("{}/v1/chat/completions", simulator.url());
    let answered = asking("POST", &url).bytes(vec![b'x'; 20_000_000]).wishing("early-413", "yes").answered().await;
    assert_eq!(answered.status.as_u16(), 413);
}

#[tokio::test]
async fn a_gzipped_stream_is_readable_event_by_event() {
    let simulator = simulator().await;
    let plain = chat(&simulator, true).wishing("seed", 1).answered().await;
    for encoding in ["gzip", "br", "zstd"] {
        let answered = chat(&simulator, true).wishing("seed", 1).wishing("encoding", encoding).answered().await;
        assert_eq!(answered.header("content-encoding"), Some(encoding));
        assert_eq!(unpacked(encoding, &answered.body), plain.body);
    }
}

#[tokio::test]
async fn a_key_is_asked_for_where_the_settings_say_so() {
    let simulator = start(SimulatorSettings { require_key: true, ..SimulatorSettings::default() }).await.unwrap();
    assert_eq!(chat(&simulator, false).answered().await.status.as_u16(), 401);
    let answered = chat(&simulator, false).with("authorization", "Bearer sk-test-0001").answered().await;
    assert_eq!(answered.status.as_u16(), 200);
    assert_eq!(simulator.log.attempt(2).unwrap().header("authorization"), Some("Bearer …0001"));
}

#[tokio::test]
async fn the_log_is_also_told_over_http() {
    let simulator = simulator().await;
    chat(&simulator, false).answered().await;
    let attempts = asking("GET", &format!("{}/simulator/attempts", simulator.url())).answered().await.json();
    assert_eq!((attempts.as_array().unwrap().len(), &attempts[0]["model"]), (1, &json!("gpt-4o")));
    let totals = asking("GET", &format!("{}/simulator/totals", simulator.url())).answered().await.json();
    assert_eq!((&totals["attempts"], &totals["completed"]), (&json!(1), &json!(1)));
}

fn unpacked(encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match encoding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut out).unwrap(),
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut out).unwrap(),
        _ => zstd::stream::read::Decoder::new(body).unwrap().read_to_end(&mut out).unwrap(),
    };
    out
}
