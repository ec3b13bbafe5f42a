//! The meter of one response.

use super::body::{Body, Read};
use super::decode::Decoder;
use super::ladder::{Counts, Reading, estimated_output, reading};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Endpoint, Flavor, Observation};
use crate::tokens::facts::RequestFacts;

/// What the head of a response says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    pub status: u16,
    pub content_type: Option<&'a str>,
    pub content_encoding: Option<&'a str>,
}

/// Reads one response as it passes.
pub struct ResponseMeter {
    endpoint: Endpoint,
    status: u16,
    state: State,
    body_bytes: u64,
}

enum State {
    Reading(Decoder<Body>),
    /// Its encoding is unknown or broken: nothing more can be read.
    Unreadable(Read),
}

/// What a response came to.
#[derive(Clone, Debug)]
pub struct Metered {
    pub endpoint: Endpoint,
    pub status: u16,
    pub observation: Observation,
    pub first_content_at: Option<Timestamp>,
    /// As they came, before decoding.
    pub body_bytes: u64,
    /// Events that were too large to be read.
    pub oversized_events: u64,
    /// The content encoding was unknown or broken, or decoded to too much; the rest was not read.
    pub unreadable: bool,
}

impl ResponseMeter {
    pub fn new(dialect: Dialect, endpoint: &Endpoint, flavor: Flavor, head: &ResponseHead<'_>) -> Self {
        let body = Body::new(dialect, endpoint.clone(), flavor, head.content_type);
        let state = match Decoder::of(head.content_encoding, body) {
            Ok(decoder) => State::Reading(decoder),
            Err(body) => State::Unreadable(body.finish()),
        };
        ResponseMeter { endpoint: endpoint.clone(), status: head.status, state, body_bytes: 0 }
    }

    /// The next bytes of the body, which came at `now`.
    pub fn observe(&mut self, chunk: &[u8], now: Timestamp) {
        self.body_bytes = self.body_bytes.saturating_add(chunk.len() as u64);
        let State::Reading(decoder) = &mut self.state else { return };
        if let Some(body) = decoder.sink() {
            body.now = now;
        }
        if decoder.write(chunk).is_err() {
            let broken = Decoder::Deflate(None);
            if let State::Reading(decoder) = std::mem::replace(&mut self.state, State::Reading(broken))
                && let Some(body) = decoder.into_sink()
            {
                self.state = State::Unreadable(body.finish());
            }
        }
    }

    /// When the first content came: text, reasoning, a tool call, sound.
    pub fn first_content_at(&mut self) -> Option<Timestamp> {
        match &mut self.state {
            State::Reading(decoder) => decoder.sink().and_then(|body| body.first_content_at()),
            State::Unreadable(read) => read.first_content_at,
        }
    }

    /// What was observed so far.
    pub fn seen(&mut self) -> Option<&Observation> {
        match &mut self.state {
            State::Reading(decoder) => decoder.sink().map(|body| body.seen()),
            State::Unreadable(read) => Some(&read.seen),
        }
    }

    /// Roughly, for progress records: a token for every four bytes of output, or what the provider says so far.
    pub fn output_tokens_so_far(&mut self) -> u64 {
        self.seen().map_or(0, |seen| {
            let reported = seen.usage.map_or(0, |usage| usage.output_tokens());
            match seen.reported_upto {
                Some(_) => reported.saturating_add(estimated_output(seen)),
                None => estimated_output(seen).max(reported),
            }
        })
    }

    /// The body is over, or was cut.
    pub fn finish(self) -> Metered {
        let (read, unreadable) = match self.state {
            State::Reading(decoder) => (decoder.into_sink().map(Body::finish), false),
            State::Unreadable(read) => (Some(read), true),
        };
        let read = read.unwrap_or(Read { seen: Observation::default(), first_content_at: None, oversized_events: 0 });
        Metered {
            endpoint: self.endpoint,
            status: self.status,
            observation: read.seen,
            first_content_at: read.first_content_at,
            body_bytes: self.body_bytes,
            oversized_events: read.oversized_events,
            unreadable,
        }
    }
}

impl Metered {
    /// Whether [`Metered::reading`] would use counts.
    pub fn needs_counts(&self) -> bool {
        Counts::are_needed_for(&self.endpoint, self.status, &self.observation)
    }

    /// What is booked.
    pub fn reading(&self, facts: &RequestFacts, counts: &Counts) -> Reading {
        reading(&self.endpoint, self.status, &self.observation, facts, counts)
    }
}

#[cfg(test)]
mod tests;
