//! Request and response bodies.

use super::{Input, pieces};
use bytes::Bytes;
use farebox::clock::Timestamp;
use farebox::dialects::json::{Reader, Shape};
use farebox::dialects::splice::{Edits, splice};
use farebox::dialects::{Dialect, Endpoint, Flavor, openai};
use farebox::meter::{Counts, ResponseHead, ResponseMeter};
use farebox::tokens::bound::{BoundRule, input_bound, output_bound};
use farebox::tokens::count::{Counter, always};
use farebox::tokens::facts::RequestFacts;
use farebox::tokens::prompt::PromptTally;
use farebox::tokens::tokenizer::Tokenizer;
use serde_json::{Map, Value};
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

const PATHS: [(Dialect, &str); 15] = [
    (Dialect::OpenAi, "/v1/chat/completions"),
    (Dialect::OpenAi, "/v1/responses"),
    (Dialect::OpenAi, "/v1/completions"),
    (Dialect::Anthropic, "/v1/messages"),
    (Dialect::Gemini, "/v1beta/models/gemini-2.5-flash:generateContent"),
    (Dialect::OpenAi, "/v1/embeddings"),
    (Dialect::OpenAi, "/v1/images/generations"),
    (Dialect::OpenAi, "/v1/audio/speech"),
    (Dialect::OpenAi, "/v1/moderations"),
    (Dialect::OpenAi, "/v1/rerank"),
    (Dialect::OpenAi, "/api/chat"),
    (Dialect::Anthropic, "/v1/messages/count_tokens"),
    (Dialect::Anthropic, "/v1/messages/batches"),
    (Dialect::Gemini, "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
    (Dialect::Gemini, "/v1beta/models/embedding:embedContent"),
];

fn endpoint(input: &Input<'_>) -> (Dialect, Endpoint) {
    let (dialect, path) = input.choose(&PATHS);
    (dialect, dialect.recognise("POST", path))
}

/// What serde_json reads, we read, and alike.
pub fn json(bytes: &[u8]) {
    let ours = value(&mut Reader::new(bytes));
    let mut whole = Reader::new(bytes);
    let skipped = whole.skip().and_then(|_| whole.end());
    let Ok(theirs) = serde_json::from_slice::<Value>(bytes) else { return };
    assert_eq!(skipped, Ok(()));
    assert_eq!(ours, Some(theirs));
}

/// A tree of what the reader offers; `None` where it cannot.
fn value(reader: &mut Reader<'_>) -> Option<Value> {
    match reader.shape() {
        Shape::Object => {
            let (mut members, mut whole) = (Map::new(), true);
            let mut probe = reader.clone();
            let offered = probe.object(|name, value_of| {
                match value(value_of) {
                    Some(found) => _ = members.insert(name.to_owned(), found),
                    None => whole = false,
                }
                Ok(())
            });
            finished(reader, probe, offered.ok()?, whole.then_some(Value::Object(members)))
        }
        Shape::Array => {
            let (mut elements, mut whole) = (Vec::new(), true);
            let mut probe = reader.clone();
            let offered = probe.array(|element| {
                match value(element) {
                    Some(found) => elements.push(found),
                    None => whole = false,
                }
                Ok(())
            });
            finished(reader, probe, offered.ok()?, whole.then_some(Value::Array(elements)))
        }
        Shape::Text => {
            let text = reader.text().ok()??;
            let decoded = text.decode();
            if std::str::from_utf8(text.raw()).is_ok() && !decoded.contains('\u{FFFD}') {
                assert_eq!(text.size(), decoded.len(), "{decoded:?}");
            }
            Some(Value::String(decoded.into_owned()))
        }
        _ => serde_json::from_slice(reader.raw().ok()?).ok(),
    }
}

/// What is nested too deep to be offered is taken as written.
fn finished<'a>(reader: &mut Reader<'a>, probe: Reader<'a>, offered: bool, found: Option<Value>) -> Option<Value> {
    if offered {
        *reader = probe;
        return found;
    }
    serde_json::from_slice(reader.raw().ok()?).ok()
}

/// Every reader of requests takes any bytes, and says of model and streaming what serde_json says.
pub fn requests(bytes: &[u8]) {
    let Some(input) = Input::of(bytes) else { return };
    let (dialect, endpoint) = endpoint(&input);
    let read = dialect.read_request(&endpoint, input.rest);
    let mut bytes_told = 0;
    dialect.prompt_texts(&endpoint, input.rest, &mut |_| bytes_told += 1);
    openai::multipart_model(input.rest, "XX");
    openai::multipart_facts(input.rest, "XX");
    let Ok(facts) = read else { return };
    let facts_bound = output_bound(&facts, Some(1 << 20), 4_096);
    assert!(facts.choices >= 1 && facts_bound >= 1 || facts.output_limit == Some(0), "{facts:?}");
    let Ok(Value::Object(body)) = serde_json::from_slice(input.rest) else { return };
    if dialect != Dialect::Gemini {
        let model = body.get("model").and_then(Value::as_str);
        assert_eq!(facts.requested_model.as_deref(), model);
        let stream = body.get("stream").and_then(Value::as_bool);
        assert!(stream.is_none_or(|stream| stream == facts.stream), "{facts:?}");
    }
}

/// A body stays JSON and keeps every member that was not written.
pub fn splicing(bytes: &[u8]) {
    let Some(input) = Input::of(bytes) else { return };
    let (dialect, endpoint) = endpoint(&input);
    let Ok(facts) = dialect.read_request(&endpoint, input.rest) else { return };
    let body = Bytes::copy_from_slice(input.rest);
    let edits = Edits {
        model: Some("a \"new\" one"),
        output_limit: (input.cut & 1 == 1).then_some(("max_tokens", 77)),
        include_usage: input.cut & 2 == 2,
        ..Edits::default()
    };
    let spliced = splice(&body, &facts.splice, &edits);
    let removed: [Arc<str>; 2] = ["temperature".into(), "top_p".into()];
    let pared = splice(&body, &facts.splice, &Edits { remove: &removed, ..edits });
    let Ok(Value::Object(before)) = serde_json::from_slice(&body) else { return };
    let after = object(&spliced);
    if before.contains_key("model") && facts.splice.model.is_some() {
        assert_eq!(after["model"], "a \"new\" one");
    }
    if edits.output_limit.is_none() && !edits.include_usage {
        assert_eq!(before.len(), after.len());
    }
    let written = ["model", "max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "stream_options"];
    let nested = ["generationConfig", "generation_config", "options"];
    for (name, value) in &before {
        if !written.contains(&name.as_str()) && !nested.contains(&name.as_str()) {
            assert_eq!(after.get(name), Some(value), "{name} in {}", spliced.escape_ascii());
        }
    }
    let pared = object(&pared);
    let stays = before.keys().all(|name| removed.iter().any(|gone| **gone == **name));
    assert!(stays || removed.iter().all(|gone| !pared.contains_key(&**gone)), "{pared:?}");
}

fn object(body: &[u8]) -> Map<String, Value> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => members,
        other => panic!("{other:?} of {}", body.escape_ascii()),
    }
}

/// What is held for a request is never below its count.
pub fn bounds(bytes: &[u8]) {
    static COUNTER: OnceLock<Counter> = OnceLock::new();
    let Some(input) = Input::of(bytes) else { return };
    let (dialect, endpoint) = endpoint(&input);
    let Ok(facts) = dialect.read_request(&endpoint, input.rest) else { return };
    let models = ["gpt-4o", "gpt-4", "gpt-5.1", "claude-opus-4-8", "gemini-2.5-pro", "grok-4", "unheard-of"];
    let tokenizer = Tokenizer::customary(models[usize::from(input.cut) % models.len()]);
    let mut go_on = always;
    let mut tally = PromptTally::new(COUNTER.get_or_init(|| Counter::new([7; 32])), &tokenizer, &mut go_on);
    dialect.prompt_texts(&endpoint, input.rest, &mut |text| tally.push(text));
    let count = tally.finish().expect("nobody calls it off").tokens;
    let bound = input_bound(&facts, &BoundRule { tokenizer, ..BoundRule::default() }).input_tokens();
    assert!(bound >= count, "{bound} are held and {count} counted");
}

/// The meter on any pieces is the meter on the whole.
pub fn responses(bytes: &[u8]) {
    let Some(input) = Input::of(bytes) else { return };
    let (dialect, endpoint) = endpoint(&input);
    let types = ["text/event-stream", "application/json", "application/x-ndjson", ""];
    let flavors = [Flavor::Standard, Flavor::Xai, Flavor::Ollama, Flavor::Openrouter, Flavor::Cohere, Flavor::Llamacpp];
    let encodings =
        [None, None, Some("gzip"), Some("gzip"), Some("br"), Some("zstd"), Some("deflate"), Some("gzip, br")];
    let encoding = encodings[usize::from(input.cut >> 5)];
    let head = ResponseHead {
        status: if input.cut & 7 == 7 { 400 } else { 200 },
        content_type: Some(types[usize::from(input.cut & 3)]),
        content_encoding: encoding,
    };
    // Of two that are called gzip, one is.
    let zipped = (input.cut >> 5 == 3).then(|| gzip(input.rest));
    let body = zipped.as_deref().unwrap_or(input.rest);
    let metered = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut meter = ResponseMeter::new(dialect, &endpoint, flavors[usize::from(input.cut >> 2) % 6], &head);
        for piece in pieces {
            meter.observe(piece, Timestamp(5));
            meter.output_tokens_so_far();
        }
        meter.finish()
    };
    let one = metered(&mut std::iter::once(body));
    let many = metered(&mut pieces(body, input.cut));
    if one.unreadable || many.unreadable {
        // How much of what is broken was decoded before that showed depends on the pieces.
        return assert_eq!(one.unreadable, many.unreadable);
    }
    assert_eq!(format!("{one:?}"), format!("{many:?}"));
    let facts = RequestFacts::default();
    assert_eq!(one.reading(&facts, &Counts::default()), many.reading(&facts, &Counts::default()));
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("writing to memory")
}
