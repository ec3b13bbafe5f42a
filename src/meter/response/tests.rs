use super::*;
use crate::tokens::usage::{Kind, UsageSource};
use proptest::prelude::*;
use std::io::Write;

fn metered(content_type: &str, encoding: Option<&str>, pieces: &[&[u8]]) -> Metered {
    let endpoint = Dialect::OpenAi.recognise("POST", "/v1/chat/completions");
    let head = ResponseHead { status: 200, content_type: Some(content_type), content_encoding: encoding };
    let mut meter = ResponseMeter::new(Dialect::OpenAi, &endpoint, Flavor::Standard, &head);
    for piece in pieces {
        meter.observe(piece, Timestamp(5));
    }
    meter.finish()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const STREAM: &str = "data: {\"id\":\"c1\",\"model\":\"gpt-4o\",\"choices\":[{\"delta\":{\"content\":\"Hello wörld\"}}]}\r\n\r\n\
    data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n";

#[test]
fn a_stream_is_read_while_it_flows() {
    let endpoint = Dialect::OpenAi.recognise("POST", "/v1/chat/completions");
    let head = ResponseHead { status: 200, content_type: Some("text/event-stream"), content_encoding: None };
    let mut meter = ResponseMeter::new(Dialect::OpenAi, &endpoint, Flavor::Standard, &head);
    assert_eq!(meter.first_content_at(), None);
    meter.observe(&STREAM.as_bytes()[..100], Timestamp(7));
    assert_eq!((meter.first_content_at(), meter.output_tokens_so_far()), (Some(Timestamp(7)), 3));
    meter.observe(&STREAM.as_bytes()[100..], Timestamp(9));
    let metered = meter.finish();
    let reading = metered.reading(&RequestFacts::default(), &Counts::default());
    assert_eq!((reading.usage[Kind::Input], reading.usage[Kind::Output]), (9, 3));
    assert_eq!((reading.source, metered.observation.finished), (UsageSource::Reported, true));
    assert_eq!(metered.body_bytes, STREAM.len() as u64);
}

#[test]
fn a_stream_that_is_cut_is_not_finished_and_wants_counts() {
    let metered = metered("text/event-stream", None, &[&STREAM.as_bytes()[..100]]);
    assert!(metered.needs_counts());
    assert!(!metered.observation.finished);
    assert_eq!(metered.reading(&RequestFacts::default(), &Counts::default()).source, UsageSource::Estimated);
}

#[test]
fn a_broken_or_unknown_encoding_is_said_and_what_was_read_is_kept() {
    let mut bytes = gzip(STREAM.as_bytes());
    assert!(metered("text/event-stream", Some("zip"), &[&bytes]).unreadable);
    let checksum = bytes.len() - 8;
    bytes[checksum..].fill(0xFF);
    let broken = metered("text/event-stream", Some("gzip"), &[&bytes, b"more"]);
    assert!(broken.unreadable);
    assert_eq!(broken.observation.response_id.as_deref(), Some("c1"));
}

#[test]
fn a_response_nested_without_end_exhausts_no_stack() {
    for (open, close) in [("{\"choices\":[{\"message\":{\"tool_calls\":[", "]}}]}"), ("{\"usage\":", "}")] {
        for name in ["function", "billed_units", "cost"] {
            let outer = format!("{{\"{name}\":").repeat(50_000);
            let body = format!("{open}{outer}0{}{close}", "}".repeat(50_000));
            assert!(metered("application/json", None, &[body.as_bytes()]).observation.finished);
        }
    }
}

fn pieces<'a>(mut rest: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Bodies of every framing, whole, cut and damaged.
fn body() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let whole = "{\"id\":\"c1\",\"choices\":[{\"message\":{\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],\
        \"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3}}";
    let lines = "{\"message\":{\"content\":\"Hello\"}}\n{\"done\":true,\"prompt_eval_count\":9,\"eval_count\":3}\n";
    let bodies = [("text/event-stream", STREAM), ("application/json", whole), ("application/x-ndjson", lines)];
    (proptest::sample::select(bodies.to_vec()), 0usize..500, any::<u8>(), any::<bool>()).prop_map(
        |((content_type, text), at, byte, cut)| {
            let mut bytes = text.as_bytes().to_vec();
            match (cut, bytes.get_mut(at)) {
                (true, _) => bytes.truncate(at),
                (false, Some(place)) => *place = byte,
                (false, None) => {}
            }
            (content_type, bytes)
        },
    )
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_reading(
        (content_type, bytes) in body(),
        cuts in proptest::collection::vec(1usize..40, 1..30),
        compressed in any::<bool>(),
    ) {
        let (bytes, encoding) = if compressed { (gzip(&bytes), Some("gzip")) } else { (bytes, None) };
        let one = metered(content_type, encoding, &[&bytes]);
        let many = metered(content_type, encoding, &pieces(&bytes, &cuts));
        prop_assert_eq!(format!("{:?}", &one), format!("{:?}", &many));
        let facts = RequestFacts::default();
        prop_assert_eq!(one.reading(&facts, &Counts::default()), many.reading(&facts, &Counts::default()));
    }

    #[test]
    fn no_bytes_make_it_panic_or_report_usage(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        encoding in proptest::sample::select(vec!["", "gzip", "deflate", "br", "zstd"]),
        content_type in proptest::sample::select(vec!["", "text/event-stream", "application/json", "application/x-ndjson"]),
    ) {
        let metered = metered(content_type, Some(encoding), &pieces(&bytes, &[7]));
        prop_assert_eq!(metered.observation.usage, None);
    }
}
