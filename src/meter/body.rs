//! A decoded response body: which frames it has, and each frame handed to its dialect.

use super::decode::Sink;
use crate::clock::Timestamp;
use crate::dialects::json::{Reader, Shape};
use crate::dialects::lines::LineSplitter;
use crate::dialects::sse::{EVENT_BYTES_MAX, Event, Splitter};
use crate::dialects::{Dialect, Endpoint, Flavor, Observation, Operation};

/// How much of a whole JSON body is kept to be read at its end. Of a larger one the last [`TAIL_BYTES`] are searched
/// for its usage, which stands behind the bulk (embeddings, pictures).
pub const JSON_BYTES_MAX: usize = 16 * 1024 * 1024;
const TAIL_BYTES: usize = 64 * 1024;
/// How many bytes tell events from JSON from anything else.
const SNIFF_BYTES: usize = 8;

/// The frames of a body.
enum Frames {
    /// Not known before the first bytes; those are kept, leading blanks left out (OpenRouter sends them to keep the
    /// connection alive).
    Unknown {
        start: Vec<u8>,
        label: Label,
    },
    Events(Splitter),
    Lines(LineSplitter),
    Whole(Whole),
    /// Sound, pictures, text: nothing to read.
    Opaque,
}

/// What the content type says of a body that has to be looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    Events,
    /// A file, whose JSON is one object a line.
    File,
    Other,
}

/// Reads frames into an observation.
pub(super) struct Body {
    dialect: Dialect,
    endpoint: Endpoint,
    flavor: Flavor,
    frames: Frames,
    seen: Observation,
    pub now: Timestamp,
    first_bytes_at: Option<Timestamp>,
    first_content_at: Option<Timestamp>,
}

/// What a body came to.
pub(super) struct Read {
    pub seen: Observation,
    pub first_content_at: Option<Timestamp>,
    pub oversized_events: u64,
}

impl Body {
    pub fn new(dialect: Dialect, endpoint: Endpoint, flavor: Flavor, content_type: Option<&str>) -> Self {
        let frames = Frames::of(content_type, &endpoint);
        Body {
            dialect,
            endpoint,
            flavor,
            frames,
            seen: Observation::default(),
            now: Timestamp::default(),
            first_bytes_at: None,
            first_content_at: None,
        }
    }

    pub fn seen(&self) -> &Observation {
        &self.seen
    }

    pub fn first_content_at(&self) -> Option<Timestamp> {
        self.first_content_at
    }

    pub fn finish(mut self) -> Read {
        self.sniff();
        let Body { dialect, endpoint, flavor, seen, frames, .. } = &mut self;
        let mut oversized_events = 0;
        match frames {
            Frames::Events(splitter) => {
                splitter.finish(|event| dialect.observe_event(endpoint, *flavor, event, seen));
                oversized_events = splitter.oversized_events();
            }
            Frames::Lines(splitter) => {
                splitter.finish(|event| dialect.observe_event(endpoint, *flavor, event, seen));
                oversized_events = splitter.oversized_events();
            }
            Frames::Whole(whole) => {
                // Of a batch that is too large to be read, the end alone would tell too little.
                oversized_events = u64::from(whole.is_tail && endpoint.result_of.is_some());
                whole.read(|body| dialect.observe_whole(endpoint, *flavor, body, seen));
                if self.seen.has_content {
                    self.now = self.first_bytes_at.unwrap_or(self.now);
                }
            }
            Frames::Unknown { .. } | Frames::Opaque => {}
        }
        self.note_content();
        Read { seen: self.seen, first_content_at: self.first_content_at, oversized_events }
    }

    fn feed(&mut self, decoded: &[u8]) {
        let Body { dialect, endpoint, flavor, seen, .. } = self;
        let observe = |event: Event<'_>| dialect.observe_event(endpoint, *flavor, event, seen);
        match &mut self.frames {
            Frames::Events(splitter) => splitter.push(decoded, observe),
            Frames::Lines(splitter) => splitter.push(decoded, observe),
            Frames::Whole(whole) => whole.push(decoded),
            Frames::Opaque => self.seen.has_content |= !decoded.is_empty(),
            Frames::Unknown { .. } => {}
        }
        self.note_content();
    }

    fn sniff(&mut self) {
        if let Frames::Unknown { start, label } = &mut self.frames {
            let start = std::mem::take(start);
            self.frames = Frames::sniffed(&start, *label, self.endpoint.operation);
            self.feed(&start);
        }
    }

    fn note_content(&mut self) {
        if self.seen.has_content && self.first_content_at.is_none() {
            self.first_content_at = Some(self.now);
        }
    }
}

impl Sink for Body {
    fn take(&mut self, decoded: &[u8]) {
        if decoded.is_empty() {
            return;
        }
        self.first_bytes_at.get_or_insert(self.now);
        let Frames::Unknown { start, .. } = &mut self.frames else { return self.feed(decoded) };
        let blanks = if start.is_empty() { leading_blanks(decoded) } else { 0 };
        start.extend_from_slice(&decoded[blanks..]);
        if start.len() >= SNIFF_BYTES {
            self.sniff();
        }
    }
}

impl Frames {
    fn of(content_type: Option<&str>, endpoint: &Endpoint) -> Self {
        let is_file = endpoint.operation == Operation::Files && endpoint.result_of.is_some();
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let media_type = media_type.to_ascii_lowercase();
        match media_type.as_str() {
            "application/x-ndjson"
            | "application/ndjson"
            | "application/jsonl"
            | "application/x-jsonl"
            | "application/x-jsonlines" => Frames::Lines(LineSplitter::default()),
            // A file of results may be called anything.
            "application/octet-stream" | "application/json" | "text/plain" | "" if is_file => {
                Frames::Unknown { start: Vec::new(), label: Label::File }
            }
            "application/octet-stream" | "application/pdf" => Frames::Opaque,
            other if other.starts_with("audio/") || other.starts_with("image/") || other.starts_with("video/") => {
                Frames::Opaque
            }
            // Also what calls itself JSON or text: some send events under either name.
            "text/event-stream" => Frames::Unknown { start: Vec::new(), label: Label::Events },
            _ => Frames::Unknown { start: Vec::new(), label: Label::Other },
        }
    }

    fn sniffed(start: &[u8], label: Label, operation: Operation) -> Self {
        let start = start.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(start);
        let fields: [&[u8]; 5] = [b"data:", b"event:", b":", b"id:", b"retry:"];
        match start.first() {
            Some(b'{') if label == Label::File => Frames::Lines(LineSplitter::bounded(JSON_BYTES_MAX)),
            Some(b'{' | b'[') => Frames::Whole(Whole::default()),
            _ if label == Label::Events || fields.iter().any(|field| start.starts_with(field)) => {
                Frames::events(operation)
            }
            _ => Frames::Opaque,
        }
    }

    /// The events of these carry pictures, or repeat the whole response at its end.
    fn events(operation: Operation) -> Self {
        let bytes_max = match operation {
            Operation::Images | Operation::Responses | Operation::StoredResponse => JSON_BYTES_MAX,
            _ => EVENT_BYTES_MAX,
        };
        Frames::Events(Splitter::bounded(bytes_max))
    }
}

fn leading_blanks(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len())
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A whole body: all of it, or of a very large one its end.
#[derive(Default)]
struct Whole {
    kept: Vec<u8>,
    is_tail: bool,
}

impl Whole {
    fn push(&mut self, decoded: &[u8]) {
        if self.kept.len() + decoded.len() > JSON_BYTES_MAX && !self.is_tail {
            self.is_tail = true;
            self.kept = self.kept.split_off(self.kept.len().saturating_sub(TAIL_BYTES));
        }
        if self.is_tail {
            let decoded = &decoded[decoded.len().saturating_sub(TAIL_BYTES)..];
            let surplus = (self.kept.len() + decoded.len()).saturating_sub(2 * TAIL_BYTES);
            if surplus > 0 {
                self.kept.drain(..(surplus + TAIL_BYTES).min(self.kept.len()));
            }
            self.kept.extend_from_slice(decoded);
        } else {
            self.kept.extend_from_slice(decoded);
        }
    }

    fn read(&mut self, observe: impl FnOnce(&[u8])) {
        if !self.is_tail {
            return observe(&self.kept);
        }
        let tail = &self.kept[self.kept.len().saturating_sub(TAIL_BYTES)..];
        observe(&members_of_tail(tail));
    }
}

/// A small object of the members that matter, found in the last bytes of a large one.
fn members_of_tail(tail: &[u8]) -> Vec<u8> {
    let mut object = Vec::from(*b"{");
    for name in ["usage", "usageMetadata", "model", "modelVersion", "id", "responseId", "service_tier"] {
        let Some(value) = last_member(tail, name) else { continue };
        if object.len() > 1 {
            object.push(b',');
        }
        object.extend_from_slice(format!("\"{name}\":").as_bytes());
        object.extend_from_slice(value);
    }
    object.push(b'}');
    object
}

fn last_member<'a>(tail: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let quoted = format!("\"{name}\"");
    memchr::memmem::rfind_iter(tail, quoted.as_bytes()).find_map(|at| {
        let behind = &tail[at + quoted.len()..];
        let colon = Some(leading_blanks(behind)).filter(|colon| behind.get(*colon) == Some(&b':'))?;
        let mut reader = Reader::new(&behind[colon + 1..]);
        let wanted = matches!(reader.shape(), Shape::Object | Shape::Text);
        reader.raw().ok().filter(|_| wanted)
    })
}

#[cfg(test)]
mod tests;
