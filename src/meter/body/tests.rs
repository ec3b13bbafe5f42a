use super::*;
use crate::tokens::usage::Kind;

fn read_by(path: &str, content_type: &str, bytes: &[u8], piece: usize) -> Read {
    let endpoint = Dialect::OpenAi.recognise("POST", path);
    let mut body = Body::new(Dialect::OpenAi, endpoint, Flavor::Standard, Some(content_type));
    for (nth, piece) in bytes.chunks(piece).enumerate() {
        body.now = Timestamp(i64::try_from(nth).unwrap());
        body.take(piece);
    }
    body.finish()
}

#[test]
fn usage_at_the_end_of_a_huge_body_is_found() {
    let numbers = "0.123456789,".repeat(JSON_BYTES_MAX / 12 + 10);
    let body =
        format!("{{\"data\":[{{\"embedding\":[{numbers}0]}}],\"model\":\"e\", \"usage\" : {{\"prompt_tokens\":7}}}}");
    for piece in [body.len(), 1_000_000, 70_001] {
        let read = read_by("/v1/embeddings", "application/json", body.as_bytes(), piece);
        assert_eq!(read.seen.usage.map(|usage| usage[Kind::Input]), Some(7), "in pieces of {piece}");
        assert_eq!(read.seen.response_model.as_deref(), Some("e"));
    }
}

#[test]
fn events_and_json_are_told_apart_whatever_the_content_type_says() {
    let json = b"\n \n{\"usage\":{\"prompt_tokens\":7}}";
    let events = b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7}}\n\n";
    let lines = b"{\"done\":true,\"prompt_eval_count\":7}\n";
    for piece in [1, 5, 100] {
        for (content_type, bytes) in [
            ("application/json; charset=utf-8", &json[..]),
            ("text/event-stream", json),
            ("TEXT/Event-Stream; charset=utf-8", events),
            ("application/json", events),
            ("", events),
            ("application/x-ndjson", lines),
        ] {
            let read = read_by("/v1/chat/completions", content_type, bytes, piece);
            assert_eq!(read.seen.usage.map(|usage| usage[Kind::Input]), Some(7), "{content_type} by {piece}");
        }
    }
}

#[test]
fn sound_is_content_from_its_first_byte() {
    let read = read_by("/v1/audio/speech", "audio/mpeg", b"\xFF\xFB\x90", 1);
    assert_eq!((read.first_content_at, read.seen.usage), (Some(Timestamp(0)), None));
}

#[test]
fn the_first_content_of_a_stream_is_its_first_text_and_of_a_body_its_first_byte() {
    let events = b"data: {\"choices\":[{\"delta\":{\"content\":\"\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let read = read_by("/v1/chat/completions", "text/event-stream", events, events.len().div_ceil(2));
    assert_eq!(read.first_content_at, Some(Timestamp(1)));
    let whole = b"{\"choices\":[{\"message\":{\"content\":\"x\"}}]}";
    assert_eq!(read_by("/v1/chat/completions", "application/json", whole, 9).first_content_at, Some(Timestamp(0)));
}

#[test]
fn events_too_large_to_read_are_counted() {
    let stream = format!("data: {}\n\ndata: [DONE]\n\n", "x".repeat(EVENT_BYTES_MAX));
    let read = read_by("/v1/chat/completions", "text/event-stream", stream.as_bytes(), 100_000);
    assert_eq!((read.oversized_events, read.seen.finished), (1, true));
}

#[test]
fn of_a_body_without_a_byte_nothing_is_content() {
    let read = read_by("/v1/audio/speech", "", b"", 1);
    assert_eq!((read.first_content_at, read.seen.has_content), (None, false));
}
