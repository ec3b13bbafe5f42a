//! Streams: the same in any pieces.

use super::{Input, pieces};
use bytes::Bytes;
use farebox::dialects::curtail::Curtail;
use farebox::dialects::sse::{Event, Splitter};
use farebox::dialects::withhold::UsageWithholder;
use farebox::dialects::{Dialect, Operation};
use farebox::tokens::usage::TokenUsage;

/// Events are the same in any pieces; none is larger than the bound.
pub fn splitter(bytes: &[u8]) {
    let Some(input) = Input::of(bytes) else { return };
    let event_bytes_max = input.choose(&[8, 40, 300, 1 << 20]);
    let split = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut splitter = Splitter::bounded(event_bytes_max);
        let mut events = Vec::new();
        let mut sink = |event: Event<'_>| {
            assert!(event.data.len() <= event_bytes_max, "an event of {} bytes", event.data.len());
            events.push((event.name.map(str::to_owned), event.data.to_vec()));
        };
        pieces.for_each(|piece| splitter.push(piece, &mut sink));
        splitter.finish(&mut sink);
        (events, splitter.oversized_events())
    };
    assert_eq!(split(&mut std::iter::once(input.rest)), split(&mut pieces(input.rest, input.cut)));
}

/// What a filter lets pass does not depend on the pieces, and the one that only holds events back loses no byte.
pub fn filters(bytes: &[u8]) {
    let Some(input) = Input::of(bytes) else { return };
    let withheld = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut filter = UsageWithholder::default();
        let mut out: Vec<u8> = pieces.flat_map(|piece| filter.push(Bytes::copy_from_slice(piece))).collect();
        out.extend_from_slice(&filter.finish());
        out
    };
    assert_eq!(withheld(&mut std::iter::once(input.rest)), withheld(&mut pieces(input.rest, input.cut)));

    let kinds = [
        (Dialect::OpenAi, Operation::Chat),
        (Dialect::OpenAi, Operation::Completion),
        (Dialect::OpenAi, Operation::Responses),
        (Dialect::Anthropic, Operation::Chat),
        (Dialect::Gemini, Operation::Chat),
    ];
    let (dialect, operation) = input.choose(&kinds);
    let mut curtail = Curtail::new(dialect, operation);
    let mut out: Vec<u8> =
        pieces(input.rest, input.cut).flat_map(|piece| curtail.push(&Bytes::copy_from_slice(piece))).collect();
    if input.cut % 2 == 0 {
        out.extend_from_slice(&curtail.finish());
        assert_eq!(out, input.rest);
    } else {
        assert!(input.rest.starts_with(&out));
        let ending = curtail.ending(&TokenUsage::ZERO, input.variant % 3 == 0, "no room\nleft");
        assert!(ending.ends_with(b"\n\n"), "{}", ending.escape_ascii());
    }
}
