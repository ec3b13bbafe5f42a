//! What reached the simulator: one record for each request whose head arrived, with what it was really given. This is
//! the truth that a ledger is held against.

use super::wishes::seed_of;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::watch;

/// One request that reached the simulator.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1; also in the response's `x-sim-attempt`, and in `x-request-id` as `sim-N`.
    pub number: u64,
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    /// As they came; of keys, only the last four letters.
    pub headers: Vec<(String, String)>,
    /// `x-client-request-id`, else `x-request-id`.
    pub client_request_id: Option<String>,
    pub operation: Option<String>,
    pub model: Option<String>,
    pub stream: bool,
    /// The body arrived whole.
    pub body_arrived: bool,
    pub body_bytes: u64,
    /// BLAKE3 of the body, hex; also in the response's `x-sim-body-blake3`.
    pub body_blake3: Option<String>,
    /// What was answered; `None` when nothing was.
    pub status: Option<u16>,
    /// What the whole answer uses, as a provider would bill it.
    pub usage: Option<Usage>,
    /// Tokens of output in the chunks that were handed to the connection.
    pub sent_output_tokens: u64,
    pub sent_bytes: u64,
    pub ending: Ending,
    /// Kept where the settings say so.
    #[serde(skip)]
    pub body: Option<Bytes>,
}

impl Attempt {
    /// The value of a header of the request.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Tokens, in the simulator's own words: input with all that was cached, output with all reasoning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub input_tokens: u64,
    pub cache_read_tokens: u64,
    pub cache_write_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Under way.
    #[default]
    Open,
    Completed,
    /// The client left first.
    ClientGone,
    /// We cut the connection in the middle, as was wished.
    Cut,
    /// We reset the connection before the head, as was wished.
    Reset,
}

/// Sums over everything, also over what is no longer kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub attempts: u64,
    pub completed: u64,
    pub client_gone: u64,
    pub cut: u64,
    pub reset: u64,
    /// Of completed answers that reported usage.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of all answers, as far as they went.
    pub sent_output_tokens: u64,
}

/// The records, newest last; the oldest make room.
#[derive(Debug)]
pub struct SeenLog {
    inner: Mutex<Inner>,
    attempts_kept_max: usize,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    totals: Totals,
    kept: VecDeque<Attempt>,
    failed_so_far: HashMap<String, u64>,
}

impl SeenLog {
    pub fn new(attempts_kept_max: usize) -> Arc<SeenLog> {
        let inner = Mutex::default();
        Arc::new(SeenLog { inner, attempts_kept_max: attempts_kept_max.max(1), changed: watch::Sender::new(0) })
    }

    pub fn attempts(&self) -> Vec<Attempt> {
        self.inner.lock().kept.iter().cloned().collect()
    }

    pub fn attempt(&self, number: u64) -> Option<Attempt> {
        self.inner.lock().find(number).cloned()
    }

    pub fn totals(&self) -> Totals {
        self.inner.lock().totals
    }

    /// Waits until the log is as asked. There is no bound: the caller has one.
    pub async fn until(&self, as_asked: impl Fn(&SeenLog) -> bool) {
        let mut changes = self.changed.subscribe();
        while !as_asked(self) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A request's head has arrived.
    pub(super) fn arrive(self: &Arc<SeenLog>, head: &Parts) -> Visit {
        let mut inner = self.inner.lock();
        inner.totals.attempts += 1;
        let number = inner.totals.attempts;
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        inner.kept.push_back(Attempt {
            number,
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(str::to_owned),
            headers: headers_of(&head.headers),
            client_request_id: text("x-client-request-id").or_else(|| text("x-request-id")),
            ..Attempt::default()
        });
        if inner.kept.len() > self.attempts_kept_max {
            inner.kept.pop_front();
        }
        drop(inner);
        self.tell();
        Visit { log: Arc::clone(self), number, ended: false }
    }

    /// Counts one failure wished by `x-sim-fail-first`; `true` while there are fewer than `first`.
    pub(super) fn fails(&self, id: &str, first: u64) -> bool {
        let mut inner = self.inner.lock();
        let failed = inner.failed_so_far.entry(id.to_owned()).or_default();
        *failed += 1;
        *failed <= first
    }

    fn tell(&self) {
        self.changed.send_modify(|version| *version = version.wrapping_add(1));
    }
}

impl Inner {
    fn find(&self, number: u64) -> Option<&Attempt> {
        let first = self.kept.front()?.number;
        self.kept.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    fn find_mut(&mut self, number: u64) -> Option<&mut Attempt> {
        let first = self.kept.front()?.number;
        self.kept.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }
}

/// One request while it is here. Dropped before it ended: the client has left.
#[derive(Debug)]
pub(super) struct Visit {
    log: Arc<SeenLog>,
    pub number: u64,
    ended: bool,
}

impl Visit {
    pub fn body(&self, body: &Bytes, keep: bool) -> String {
        let hash = blake3::hash(body).to_hex().to_string();
        self.change(|attempt| {
            attempt.body_arrived = true;
            attempt.body_bytes = body.len() as u64;
            attempt.body_blake3 = Some(hash.clone());
            attempt.body = keep.then(|| body.clone());
        });
        hash
    }

    pub fn asked(&self, operation: &str, model: Option<&str>, stream: bool) {
        self.change(|attempt| {
            attempt.operation = Some(operation.to_owned());
            attempt.model = model.map(str::to_owned);
            attempt.stream = stream;
        });
    }

    pub fn answered(&self, status: u16, usage: Option<Usage>) {
        self.change(|attempt| {
            attempt.status = Some(status);
            attempt.usage = usage;
        });
        self.log.tell();
    }

    pub fn sent(&self, bytes: u64, tokens: u64) {
        let mut inner = self.log.inner.lock();
        inner.totals.sent_output_tokens += tokens;
        if let Some(attempt) = inner.find_mut(self.number) {
            attempt.sent_bytes += bytes;
            attempt.sent_output_tokens += tokens;
        }
        drop(inner);
        self.log.tell();
    }

    pub fn end(&mut self, ending: Ending) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let mut inner = self.log.inner.lock();
        let mut usage = None;
        if let Some(attempt) = inner.find_mut(self.number) {
            attempt.ending = ending;
            usage = attempt.usage;
        }
        let totals = &mut inner.totals;
        match ending {
            Ending::Open => {}
            Ending::Completed => {
                totals.completed += 1;
                totals.input_tokens += usage.map_or(0, |usage| usage.input_tokens);
                totals.output_tokens += usage.map_or(0, |usage| usage.output_tokens);
            }
            Ending::ClientGone => totals.client_gone += 1,
            Ending::Cut => totals.cut += 1,
            Ending::Reset => totals.reset += 1,
        }
        drop(inner);
        self.log.tell();
    }

    fn change(&self, with: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.log.inner.lock().find_mut(self.number) {
            with(attempt);
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.end(Ending::ClientGone);
    }
}

/// A seed for what nobody seeded: the body's own bytes.
pub(super) fn seed_of_body(seed: u64, body: &Bytes) -> u64 {
    seed ^ seed_of(body)
}

fn headers_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let secret = ["authorization", "x-api-key", "api-key", "x-goog-api-key"].contains(&name.as_str());
        (name.as_str().to_owned(), if secret { masked(&value) } else { value })
    };
    headers.iter().map(shown).collect()
}

/// `Bearer …cdef`
fn masked(value: &str) -> String {
    let (scheme, key) = value.split_once(' ').map_or(("", value), |(scheme, key)| (scheme, key));
    let last: String = key.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    format!("{scheme} …{last}").trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Parts {
        http::Request::get("/v1/models?a=1")
            .header("authorization", "Bearer sk-secret-abcd")
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn a_visit_that_is_dropped_says_that_the_client_left() {
        let log = SeenLog::new(10);
        drop(log.arrive(&head()));
        let seen = log.attempt(1).unwrap();
        assert_eq!(
            (seen.ending, seen.path.as_str(), seen.query.as_deref()),
            (Ending::ClientGone, "/v1/models", Some("a=1"))
        );
        assert_eq!(seen.header("authorization"), Some("Bearer …abcd"));
    }

    #[test]
    fn the_oldest_records_make_room_and_the_totals_stay() {
        let log = SeenLog::new(2);
        for _ in 0..5 {
            log.arrive(&head()).end(Ending::Completed);
        }
        assert_eq!(log.attempts().iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [4, 5]);
        assert_eq!((log.totals().attempts, log.totals().completed), (5, 5));
        assert_eq!(log.attempt(3), None);
    }
}
