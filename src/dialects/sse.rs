//! Server-sent events, split from any chunking (WHATWG HTML, "Server-sent events", 9.2.6).
//!
//! An event is handed out as soon as its own end is there, never later. Within one chunk nothing is copied; what is cut
//! by a chunk's end is kept, up to a bound, past which the event is skipped and counted instead of growing.

use memchr::memchr2;

/// How large one event may grow while it is read.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event of a stream; `data` is its data lines joined by `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub name: Option<&'a str>,
    pub data: &'a [u8],
}

/// Finds where events end in a stream that comes in pieces. Knows no bytes, only what the last one was.
#[derive(Clone, Debug)]
pub struct Boundaries {
    line_is_empty: bool,
    after_cr: bool,
    between_events: bool,
}

impl Default for Boundaries {
    fn default() -> Self {
        Boundaries { line_is_empty: true, after_cr: false, between_events: true }
    }
}

impl Boundaries {
    /// The offset just behind the next event's blank line, looking at `bytes[from..]`, which follow what was looked at
    /// before. `None`: no event ends in them.
    ///
    /// An event that ends in `\r\n` ends at the `\r` for this, so that it need not wait for the next piece; ask
    /// [`Boundaries::takes_newline`] before each call.
    pub fn next_end(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while let Some(&byte) = bytes.get(at) {
            self.between_events = false;
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                at += 1;
                continue;
            }
            if byte != b'\n' && byte != b'\r' {
                self.line_is_empty = false;
                at += memchr2(b'\n', b'\r', &bytes[at..])?;
                continue;
            }
            at += 1;
            self.after_cr = byte == b'\r';
            if std::mem::replace(&mut self.line_is_empty, true) {
                self.between_events = true;
                return Some(at);
            }
        }
        None
    }

    /// Whether this byte, directly behind an event's end, is the second half of that event's last `\r\n`.
    pub fn takes_newline(&mut self, byte: Option<&u8>) -> bool {
        let takes = self.between_events && self.after_cr && byte == Some(&b'\n');
        if takes {
            self.after_cr = false;
        }
        takes
    }
}

/// Splits a stream into events.
#[derive(Clone, Debug)]
pub struct Splitter {
    boundaries: Boundaries,
    /// The bytes so far of an event that began in an earlier chunk.
    kept: Vec<u8>,
    event_bytes_max: usize,
    at_start: bool,
    skipping: bool,
    oversized_events: u64,
}

impl Default for Splitter {
    fn default() -> Self {
        Splitter::bounded(EVENT_BYTES_MAX)
    }
}

impl Splitter {
    pub fn bounded(event_bytes_max: usize) -> Self {
        Splitter {
            boundaries: Boundaries::default(),
            kept: Vec::new(),
            event_bytes_max,
            at_start: true,
            skipping: false,
            oversized_events: 0,
        }
    }

    /// Hands every event that ends in `chunk` to `sink`.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Event<'_>)) {
        let mut from = 0;
        loop {
            from += usize::from(self.boundaries.takes_newline(chunk.get(from)));
            let Some(end) = self.boundaries.next_end(chunk, from) else { break };
            self.complete(&chunk[from..end], &mut sink);
            from = end;
        }
        self.keep(&chunk[from..]);
    }

    /// The stream is over: what came without its blank line is handed out too, as the SDKs do.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>)) {
        if !self.kept.is_empty() || self.skipping {
            self.complete(&[], &mut sink);
        }
    }

    /// Events that were larger than the bound, and so were not handed out.
    pub fn oversized_events(&self) -> u64 {
        self.oversized_events
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.skipping || self.kept.len() + rest.len() > self.event_bytes_max {
            self.skipping = true;
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(rest);
        }
    }

    fn complete(&mut self, rest: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        if self.skipping || self.kept.len() + rest.len() > self.event_bytes_max {
            self.skipping = false;
            self.oversized_events += 1;
            self.kept.clear();
            self.at_start = false;
            return;
        }
        if self.kept.is_empty() {
            self.read(rest, sink);
        } else {
            let mut whole = std::mem::take(&mut self.kept);
            whole.extend_from_slice(rest);
            self.read(&whole, sink);
            whole.clear();
            self.kept = whole;
        }
    }

    fn read(&mut self, event: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        let at_start = std::mem::take(&mut self.at_start);
        let event = if at_start { event.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(event) } else { event };
        read_event(event, sink);
    }
}

/// Reads one event's lines. An event without a data line is none, as the standard says.
pub fn read_event(event: &[u8], sink: &mut impl FnMut(Event<'_>)) {
    let mut name = None;
    let mut first: Option<&[u8]> = None;
    let mut joined: Vec<u8> = Vec::new();
    for line in Lines(event) {
        let (field, value) = field_and_value(line);
        match (field, first) {
            (b"event", _) => name = std::str::from_utf8(value).ok(),
            (b"data", None) => first = Some(value),
            (b"data", Some(before)) => {
                if joined.is_empty() {
                    joined.extend_from_slice(before);
                }
                joined.push(b'\n');
                joined.extend_from_slice(value);
            }
            _ => {}
        }
    }
    if let Some(first) = first {
        sink(Event { name, data: if joined.is_empty() { first } else { &joined } });
    }
}

/// A line's field and value; a comment has an empty field.
pub fn field_and_value(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        Some(colon) => (&line[..colon], line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..])),
        None => (line, b""),
    }
}

/// The lines of an event without their ends.
pub struct Lines<'a>(pub &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', self.0).unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.strip_prefix(b"\r\n").or_else(|| rest.get(1..)).unwrap_or_default();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Option<String>, String);

    fn split_in(pieces: &[&[u8]], event_bytes_max: usize) -> (Vec<Owned>, u64) {
        let mut splitter = Splitter::bounded(event_bytes_max);
        let mut events = Vec::new();
        let mut sink = |event: Event<'_>| {
            events.push((event.name.map(str::to_owned), String::from_utf8_lossy(event.data).into_owned()));
        };
        for piece in pieces {
            splitter.push(piece, &mut sink);
        }
        splitter.finish(&mut sink);
        (events, splitter.oversized_events())
    }

    fn split(stream: &str) -> Vec<Owned> {
        split_in(&[stream.as_bytes()], EVENT_BYTES_MAX).0
    }

    fn event(name: Option<&str>, data: &str) -> Owned {
        (name.map(str::to_owned), data.to_owned())
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = ["data: a", "", "event: e", "data:b", "", ""].join(end);
            assert_eq!(split(&stream), [event(None, "a"), event(Some("e"), "b")], "{end:?}");
        }
    }

    #[test]
    fn comments_ids_and_events_without_data_are_no_events() {
        assert_eq!(
            split(": ping\n\nid: 7\nevent: e\n\n\n\ndata\n\nretry: 1\ndata: x\n\n"),
            [event(None, ""), event(None, "x")]
        );
    }

    #[test]
    fn data_lines_are_joined_and_a_byte_order_mark_is_passed_over() {
        assert_eq!(split("\u{FEFF}data: {\ndata:  1\ndata: }\n\n"), [event(None, "{\n 1\n}")]);
    }

    #[test]
    fn an_event_is_there_as_soon_as_its_own_end_is() {
        let mut splitter = Splitter::default();
        let mut seen = 0;
        splitter.push(b"data: a\r\n\r", |_| seen += 1);
        assert_eq!(seen, 1);
        splitter.push(b"\ndata: b\r\n\r\n", |event| assert_eq!(event.data, b"b"));
    }

    #[test]
    fn what_comes_without_its_blank_line_is_handed_out_at_the_end() {
        assert_eq!(split("data: a\n\ndata: [DONE]\n"), [event(None, "a"), event(None, "[DONE]")]);
    }

    #[test]
    fn an_event_past_the_bound_is_skipped_and_counted_and_the_next_is_read() {
        let stream = format!("data: {}\n\ndata: b\n\n", "x".repeat(50));
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(7).collect();
        assert_eq!(split_in(&pieces, 30), (vec![event(None, "b")], 1));
        assert_eq!(split_in(&[stream.as_bytes()], 30), (vec![event(None, "b")], 1));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(
            stream in "(data: ?[a-c]{0,9}|event: e|:|[\r\n]|\r\n|\n\n|\u{FEFF}){0,40}",
            cuts in proptest::collection::vec(1usize..12, 1..40),
            event_bytes_max in 5usize..60,
        ) {
            let whole = split_in(&[stream.as_bytes()], event_bytes_max);
            let (mut rest, mut pieces) = (stream.as_bytes(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(split_in(&pieces, event_bytes_max), whole);
        }
    }
}
