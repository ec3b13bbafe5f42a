//! Taking back out of a stream what only our own request for usage put into it.
//!
//! OpenAI: with `stream_options.include_usage`, every chunk has `"usage":null` and one more, with `"choices":[]` and the
//! usage, comes before `[DONE]`. A caller who did not ask must see neither. An event waits only for its own end.

use super::json::{self, Reader, SameStart, Shape};
use super::sse::{Boundaries, EVENT_BYTES_MAX, Lines, field_and_value};
use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;
use std::ops::Range;
use std::sync::LazyLock;

/// In JSON text inside a string this would be `\"usage\"`: only a member has these seven bytes in a row.
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\"usage\""));

/// Members that are never cut, which every chunk begins with.
const REPEATS: [&str; 6] = ["id", "object", "created", "model", "service_tier", "system_fingerprint"];

/// The filter of one chat or completions stream for which *we* asked for usage.
#[derive(Debug, Default)]
pub struct UsageWithholder {
    boundaries: Boundaries,
    kept: Vec<u8>,
    /// The event that ended last was withheld, so the second half of its last `\r\n` is too.
    withheld: bool,
    /// The running event outgrew [`EVENT_BYTES_MAX`]: it passes as it is.
    passing: bool,
    start: SameStart,
}

impl UsageWithholder {
    /// What may go to the client now. Where nothing is to be cut and the chunk ends with an event, the chunk itself.
    pub fn push(&mut self, chunk: Bytes) -> Bytes {
        let mut out = Output::of(&chunk);
        let mut from = 0;
        loop {
            if self.boundaries.takes_newline(chunk.get(from)) {
                out.pass(from..from + usize::from(!self.withheld));
                from += 1;
            }
            let Some(end) = self.boundaries.next_end(&chunk, from) else { break };
            self.event(from..end, &mut out);
            from = end;
        }
        if from < chunk.len() {
            self.keep(from..chunk.len(), &mut out);
        }
        out.finish()
    }

    /// The stream is over: what waited for its end.
    pub fn finish(&mut self) -> Bytes {
        let kept = std::mem::take(&mut self.kept);
        let mut rest = BytesMut::new();
        if verdict(&kept, &mut self.start).write(&kept, &mut rest) { rest.freeze() } else { Bytes::new() }
    }

    fn event(&mut self, place: Range<usize>, out: &mut Output<'_>) {
        let piece = &out.chunk[place.clone()];
        if std::mem::take(&mut self.passing) || self.kept.len() + piece.len() > EVENT_BYTES_MAX {
            self.withheld = false;
            out.copy(&std::mem::take(&mut self.kept));
            return out.pass(place);
        }
        if self.kept.is_empty() {
            let verdict = verdict(piece, &mut self.start);
            self.withheld = matches!(verdict, Verdict::Withhold);
            match verdict {
                Verdict::Pass => out.pass(place),
                verdict => _ = verdict.write(piece, out.written()),
            }
        } else {
            let mut whole = std::mem::take(&mut self.kept);
            whole.extend_from_slice(piece);
            self.withheld = !verdict(&whole, &mut self.start).write(&whole, out.written());
            whole.clear();
            self.kept = whole;
        }
    }

    fn keep(&mut self, place: Range<usize>, out: &mut Output<'_>) {
        let piece = &out.chunk[place.clone()];
        if self.passing || self.kept.len() + piece.len() > EVENT_BYTES_MAX {
            self.passing = true;
            out.copy(&std::mem::take(&mut self.kept));
            out.pass(place);
        } else {
            self.kept.extend_from_slice(piece);
        }
    }
}

/// What goes out for one chunk: a slice of it for as long as that is the same, else bytes of our own.
struct Output<'a> {
    chunk: &'a Bytes,
    slice: Range<usize>,
    own: Option<BytesMut>,
}

impl<'a> Output<'a> {
    fn of(chunk: &'a Bytes) -> Self {
        Output { chunk, slice: 0..0, own: None }
    }

    fn pass(&mut self, place: Range<usize>) {
        match &mut self.own {
            None if self.slice.is_empty() => self.slice = place,
            None if self.slice.end == place.start => self.slice.end = place.end,
            _ => {
                let chunk = self.chunk;
                self.written().extend_from_slice(&chunk[place]);
            }
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.written().extend_from_slice(bytes);
        }
    }

    fn written(&mut self) -> &mut BytesMut {
        self.own.get_or_insert_with(|| {
            let mut own = BytesMut::with_capacity(self.chunk.len());
            own.extend_from_slice(&self.chunk[self.slice.clone()]);
            own
        })
    }

    fn finish(self) -> Bytes {
        match self.own {
            Some(own) => own.freeze(),
            None => self.chunk.slice(self.slice),
        }
    }
}

/// What becomes of one event.
enum Verdict {
    Pass,
    Withhold,
    Cut(Vec<Range<usize>>),
}

impl Verdict {
    /// Writes what is left of the event; `false`: nothing is.
    fn write(&self, event: &[u8], out: &mut BytesMut) -> bool {
        let cuts: &[Range<usize>] = match self {
            Verdict::Withhold => return false,
            Verdict::Pass => &[],
            Verdict::Cut(cuts) => cuts,
        };
        let mut from = 0;
        for cut in cuts {
            out.extend_from_slice(&event[from..cut.start]);
            from = cut.end;
        }
        out.extend_from_slice(&event[from..]);
        true
    }
}

fn verdict(event: &[u8], start: &mut SameStart) -> Verdict {
    if USAGE.find(event).is_none() {
        return Verdict::Pass;
    }
    let Some((json, offset)) = json_of(event) else { return Verdict::Pass };
    let found = read_chunk(&json, start).unwrap_or_default();
    if found.choices_are_empty && found.has_usage {
        return Verdict::Withhold;
    }
    if found.cuts.is_empty() {
        return Verdict::Pass;
    }
    Verdict::Cut(found.cuts.into_iter().map(|cut| cut.start + offset..cut.end + offset).collect())
}

/// The event's data and where it stands. Data over several lines becomes a copy of the event in which all else is
/// blank, so that places in it are places in the event.
fn json_of(event: &[u8]) -> Option<(std::borrow::Cow<'_, [u8]>, usize)> {
    let mut lines = Lines(event);
    let mut places = std::iter::from_fn(|| {
        loop {
            let start = event.len() - lines.0.len();
            let line = lines.next()?;
            let (field, value) = field_and_value(line);
            let field = field.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(field);
            if field == b"data" && !value.is_empty() {
                return Some(start + line.len() - value.len()..start + line.len());
            }
        }
    });
    let first = places.next()?;
    let Some(second) = places.next() else { return Some((event[first.clone()].into(), first.start)) };
    let mut blank = vec![b' '; event.len()];
    for place in [first, second].into_iter().chain(places) {
        blank[place.clone()].copy_from_slice(&event[place]);
    }
    Some((blank.into(), 0))
}

#[derive(Default)]
struct Chunk {
    choices_are_empty: bool,
    has_usage: bool,
    cuts: Vec<Range<usize>>,
}

/// `None`: the chunk is no JSON object; then it is not ours to touch.
fn read_chunk(json: &[u8], start: &mut SameStart) -> Option<Chunk> {
    let mut chunk = Chunk::default();
    let mut members: Vec<(Range<usize>, bool)> = Vec::with_capacity(8);
    let left_out = start.end_in(json);
    if left_out > 0 {
        // All that is not offered again is one member that stays.
        members.push((0..left_out, false));
    }
    let mut reader = Reader::new(json);
    let is_object = start.object(&mut reader, &REPEATS, |name, value| {
        let start = value.name_place().start;
        let mut is_null_usage = false;
        match (name, value.shape()) {
            ("choices", Shape::Array) => {
                chunk.choices_are_empty = true;
                value.array(|_| {
                    chunk.choices_are_empty = false;
                    Ok(())
                })?;
            }
            ("usage", Shape::Null) => {
                is_null_usage = true;
                value.skip()?;
            }
            ("usage", _) => {
                chunk.has_usage = true;
                value.skip()?;
            }
            _ => _ = value.skip()?,
        }
        members.push((start..value.place(), is_null_usage));
        Ok(())
    });
    reader.end().ok()?;
    is_object.ok().filter(|is_object| *is_object)?;
    chunk.cuts = json::cuts(&members);
    Some(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(pieces: &[&[u8]]) -> String {
        let mut withholder = UsageWithholder::default();
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&withholder.push(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&withholder.finish());
        String::from_utf8(out).unwrap()
    }

    fn filtered(stream: &str) -> String {
        filter(&[stream.as_bytes()])
    }

    #[test]
    fn the_usage_chunk_is_withheld_and_the_null_member_is_cut() {
        let choices = r#""choices":[{"delta":{"content":"say \"usage\":null"}}]"#;
        let stream = format!(
            "data: {{\"id\":\"a\",{choices},\"usage\":null}}\n\ndata: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":1}}}}\n\ndata: [DONE]\n\n"
        );
        assert_eq!(filtered(&stream), format!("data: {{\"id\":\"a\",{choices}}}\n\ndata: [DONE]\n\n"));
    }

    #[test]
    fn the_member_is_cut_wherever_it_stands() {
        for (with, without) in [
            (r#"{"usage":null}"#, "{}"),
            (r#"{"usage":null,"a":1}"#, r#"{"a":1}"#),
            (r#"{"a": 1, "usage" : null, "b": 2}"#, r#"{"a": 1, "b": 2}"#),
            (r#"{ "a": 1 , "usage": null }"#, r#"{ "a": 1 }"#),
            (r#"{"a":1,"usage":null,"usage":null}"#, r#"{"a":1}"#),
            (r#"{"usage":null,"a":1,"usage":null}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(filtered(&format!("data: {with}\n\n")), format!("data: {without}\n\n"));
        }
    }

    #[test]
    fn what_is_not_ours_passes() {
        for stream in [
            ": OPENROUTER PROCESSING \"usage\"\n\n",
            "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
            "data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
            "data: {\"x_groq\":{\"usage\":null}}\n\n",
            "data: {\"choices\":[],\"usage\":{\n\n",
            "data: [{\"usage\":null}]\n\n",
            "\n\n\r\n\r",
            "data: {\"usage\":",
        ] {
            assert_eq!(filtered(stream), stream);
        }
    }

    #[test]
    fn data_over_several_lines_is_cut_in_its_place() {
        let stream = "data: {\"choices\":[],\ndata: \"usage\":null,\n: note\ndata: \"b\":2}\n\n";
        assert_eq!(filtered(stream), "data: {\"choices\":[],\ndata: \"b\":2}\n\n");
    }

    #[test]
    fn an_untouched_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: {\"choices\":[{}]}\n\ndata: {\"choices\":[{}]}\n\n");
        let out = UsageWithholder::default().push(chunk.clone());
        assert_eq!((out.as_ptr(), out.len()), (chunk.as_ptr(), chunk.len()));
    }

    #[test]
    fn an_event_goes_out_when_its_own_end_is_there() {
        let mut withholder = UsageWithholder::default();
        assert_eq!(withholder.push(Bytes::from_static(b"data: {\"a\":1}\n\ndata: {\"b")), "data: {\"a\":1}\n\n");
        assert_eq!(withholder.push(Bytes::from_static(b"\":2}\n")), "");
        assert_eq!(withholder.push(Bytes::from_static(b"\n")), "data: {\"b\":2}\n\n");
    }

    #[test]
    fn an_event_past_the_bound_passes_as_it_is() {
        let stream = format!("data: {{\"usage\":null,\"a\":\"{}\"}}\n\n", "x".repeat(EVENT_BYTES_MAX));
        assert_eq!(filtered(&stream), stream);
        let pieces: Vec<&[u8]> = stream.as_bytes().chunks(100_000).collect();
        assert_eq!(filter(&pieces), stream);
    }

    /// A stream as OpenAI sends it with `include_usage`, and as it would have sent it without.
    fn stream_pair() -> impl Strategy<Value = (String, String)> {
        let begin = prop_oneof![Just(""), Just("\"id\":\"a\","), Just("\"id\":\"a\", \"model\":\"m\" ,")];
        let event = (0..6usize, "[a-z]{0,5}", prop_oneof![Just("\n"), Just("\r\n"), Just("\r")], begin);
        proptest::collection::vec(event, 0..8).prop_map(|events| {
            let (mut with, mut without) = (String::new(), String::new());
            for (kind, text, end, begin) in events {
                let (asked, plain) = match kind {
                    0 => (Some(format!("{{\"choices\":[],\"usage\":{{\"x\":\"{text}\"}}}}")), None),
                    1 => (Some("[DONE]".to_owned()), Some("[DONE]".to_owned())),
                    2 => (
                        Some(format!("{{\"{text}\":[],\"choices\":[]}}")),
                        Some(format!("{{\"{text}\":[],\"choices\":[]}}")),
                    ),
                    3 => (
                        Some(format!("{{{begin}\"usage\":null,\"c\":\"{text}\"}}")),
                        Some(format!("{{{begin}\"c\":\"{text}\"}}")),
                    ),
                    4 => (
                        Some(format!("{{\"c\": \"{text}\", \"usage\": null, \"o\": 1}}")),
                        Some(format!("{{\"c\": \"{text}\", \"o\": 1}}")),
                    ),
                    _ => (
                        Some(format!("{{{begin}\"c\":\"{text}\",\"usage\":null}}")),
                        Some(format!("{{{begin}\"c\":\"{text}\"}}")),
                    ),
                };
                for (stream, json) in [(&mut with, asked), (&mut without, plain)] {
                    if let Some(json) = json {
                        stream.push_str(&format!("data: {json}{end}{end}"));
                    }
                }
            }
            (with, without)
        })
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_stream_as_it_would_have_been_unasked(
            (with, without) in stream_pair(),
            cuts in proptest::collection::vec(1usize..25, 1..30),
        ) {
            let (mut rest, mut pieces) = (with.as_bytes(), Vec::new());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(&filter(&pieces), &without);
            prop_assert_eq!(&filtered(&with), &without);
        }

        #[test]
        fn no_bytes_make_it_panic_or_lose_what_is_not_usage(stream in proptest::collection::vec(any::<u8>(), 0..100)) {
            let pieces: Vec<&[u8]> = stream.chunks(3).collect();
            let mut withholder = UsageWithholder::default();
            let mut out = Vec::new();
            for piece in pieces {
                out.extend_from_slice(&withholder.push(Bytes::copy_from_slice(piece)));
            }
            out.extend_from_slice(&withholder.finish());
            prop_assert_eq!(out, stream);
        }
    }
}
