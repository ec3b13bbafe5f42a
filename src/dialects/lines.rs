//! Lines of JSON (NDJSON, as Ollama streams), split from any chunking. Each line is handed out as an event without a
//! name; blank lines are none.

use super::sse::{EVENT_BYTES_MAX, Event};

/// Splits a stream into lines of at most [`EVENT_BYTES_MAX`], or another bound; a longer one is skipped and counted.
#[derive(Clone, Debug)]
pub struct LineSplitter {
    kept: Vec<u8>,
    bytes_max: usize,
    skipping: bool,
    oversized_events: u64,
}

impl Default for LineSplitter {
    fn default() -> Self {
        LineSplitter::bounded(EVENT_BYTES_MAX)
    }
}

impl LineSplitter {
    pub fn bounded(bytes_max: usize) -> Self {
        LineSplitter { kept: Vec::new(), bytes_max, skipping: false, oversized_events: 0 }
    }

    /// Hands every line that ends in `chunk` to `sink`.
    pub fn push(&mut self, chunk: &[u8], mut sink: impl FnMut(Event<'_>)) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.complete(&rest[..end], &mut sink);
            rest = &rest[end + 1..];
        }
        if self.skipping || self.kept.len() + rest.len() > self.bytes_max {
            self.skipping = true;
            self.kept = Vec::new();
        } else {
            self.kept.extend_from_slice(rest);
        }
    }

    /// The stream is over: the last line may lack its end.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>)) {
        self.complete(&[], &mut sink);
    }

    pub fn oversized_events(&self) -> u64 {
        self.oversized_events
    }

    fn complete(&mut self, rest: &[u8], sink: &mut impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.skipping) || self.kept.len() + rest.len() > self.bytes_max {
            self.oversized_events += 1;
        } else if self.kept.is_empty() {
            line(rest, sink);
        } else {
            self.kept.extend_from_slice(rest);
            line(&self.kept, sink);
        }
        self.kept.clear();
    }
}

fn line(line: &[u8], sink: &mut impl FnMut(Event<'_>)) {
    let data = line.trim_ascii();
    if !data.is_empty() {
        sink(Event { name: None, data });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split_by(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, u64) {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for piece in stream.chunks(piece) {
            splitter.push(piece, |event| lines.push(event.data.to_vec()));
        }
        splitter.finish(|event| lines.push(event.data.to_vec()));
        (lines, splitter.oversized_events())
    }

    #[test]
    fn a_line_past_the_bound_is_skipped_and_counted() {
        let mut stream = vec![b'x'; EVENT_BYTES_MAX + 1];
        stream.extend_from_slice(b"\n{}\n");
        for piece in [100_000, stream.len()] {
            assert_eq!(split_by(&stream, piece), (vec![b"{}".to_vec()], 1));
        }
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_lines(stream in "([{}]|\r?\n| ){0,40}", piece in 1usize..9) {
            prop_assert_eq!(split_by(stream.as_bytes(), piece), split_by(stream.as_bytes(), 1_000));
        }
    }
}
