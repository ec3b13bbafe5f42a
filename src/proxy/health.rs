//! Whether a provider counts as up: a circuit that opens on failures and is closed by a probe. Pure: `now` is passed in.

use super::settings::Circuit;
use crate::clock::Timestamp;

const BUCKETS: usize = 10;

/// One provider's circuit.
#[derive(Clone, Debug)]
pub struct Health {
    circuit: Circuit,
    state: State,
    in_a_row: u32,
    last_failure: Option<String>,
    key_refused: bool,
    buckets: [Bucket; BUCKETS],
}

/// What is known of a provider, for `/readyz` and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Open {
        until: Timestamp,
    },
    /// One call is let through to see; no other until it is back or `retry_at`.
    HalfOpen {
        retry_at: Timestamp,
    },
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// Which slice of time it holds: micros / width.
    slice: i64,
    calls: u32,
    failures: u32,
}

impl Health {
    pub fn new(circuit: Circuit) -> Self {
        let buckets = [Bucket::default(); BUCKETS];
        Health { circuit, state: State::Closed, in_a_row: 0, last_failure: None, key_refused: false, buckets }
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn failures_in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// What went wrong last; nothing secret.
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// The provider's last word on our own key was no.
    pub fn key_is_refused(&self) -> bool {
        self.key_refused
    }

    /// A call with our own key was answered. 401, 402 and 403 refuse it (or its payment); a 5xx says nothing of it.
    pub fn own_key_answered(&mut self, status: u16) {
        match status {
            401..=403 => self.key_refused = true,
            500.. => {}
            _ => self.key_refused = false,
        }
    }

    /// May a call be made now? Half open, only one is let through at a time.
    pub fn permit(&mut self, now: Timestamp) -> bool {
        match self.state {
            State::Closed => true,
            State::Open { until: at } | State::HalfOpen { retry_at: at } if now >= at => {
                self.state = State::HalfOpen { retry_at: self.after_pause(now) };
                true
            }
            State::Open { .. } | State::HalfOpen { .. } => false,
        }
    }

    /// Until the next call is let through, at least one: for `retry-after`.
    pub fn seconds_to_probe(&self, now: Timestamp) -> u64 {
        let at = match self.state {
            State::Closed => now,
            State::Open { until: at } | State::HalfOpen { retry_at: at } => at,
        };
        at.micros_since(now).div_ceil(1_000_000).max(1)
    }

    /// No call may be made now. Unlike [`Health::permit`], asking changes nothing.
    pub fn is_down(&self, now: Timestamp) -> bool {
        match self.state {
            State::Closed => false,
            State::Open { until: at } | State::HalfOpen { retry_at: at } => now < at,
        }
    }

    /// A call came back. `failure`: not connected, timed out, cut, or a 5xx.
    pub fn record(&mut self, failure: Option<String>, now: Timestamp) {
        self.count(failure.is_some(), now);
        let failed = failure.is_some();
        self.last_failure = failure.or(self.last_failure.take());
        if !failed {
            self.in_a_row = 0;
            if self.state != State::Closed {
                self.state = State::Closed;
                self.buckets = [Bucket::default(); BUCKETS];
            }
            return;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let probe_failed = matches!(self.state, State::HalfOpen { .. });
        if probe_failed || (self.state == State::Closed && self.too_many(now)) {
            self.state = State::Open { until: self.after_pause(now) };
        }
    }

    fn too_many(&self, now: Timestamp) -> bool {
        if self.circuit.failures == 0 {
            return false;
        }
        let oldest = self.slice(now) - BUCKETS as i64;
        let recent = self.buckets.iter().filter(|bucket| bucket.slice > oldest);
        let (calls, failures) =
            recent.fold((0u64, 0u64), |(c, f), b| (c + u64::from(b.calls), f + u64::from(b.failures)));
        let share = calls >= u64::from(self.circuit.calls_min)
            && failures * 100 >= calls * u64::from(self.circuit.error_percent);
        self.in_a_row >= self.circuit.failures || share
    }

    fn count(&mut self, failed: bool, now: Timestamp) {
        let slice = self.slice(now);
        let bucket = &mut self.buckets[usize::try_from(slice.rem_euclid(BUCKETS as i64)).unwrap_or(0)];
        if bucket.slice != slice {
            *bucket = Bucket { slice, ..Bucket::default() };
        }
        bucket.calls = bucket.calls.saturating_add(1);
        bucket.failures = bucket.failures.saturating_add(u32::from(failed));
    }

    fn slice(&self, now: Timestamp) -> i64 {
        let width = i64::try_from(self.circuit.window.as_micros() / BUCKETS as u128).unwrap_or(i64::MAX).max(1);
        now.as_micros().div_euclid(width)
    }

    fn after_pause(&self, now: Timestamp) -> Timestamp {
        let pause = i64::try_from(self.circuit.open_for.as_micros()).unwrap_or(i64::MAX);
        Timestamp(now.as_micros().saturating_add(pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: i64 = 1_000_000;

    fn failure() -> Option<String> {
        Some("connection refused".to_owned())
    }

    fn circuit() -> Circuit {
        Circuit {
            failures: 3,
            error_percent: 50,
            calls_min: 10,
            window: Duration::from_secs(30),
            open_for: Duration::from_secs(10),
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_good_probe_closes_it() {
        let mut health = Health::new(circuit());
        for second in 0..3 {
            assert!(health.permit(Timestamp(second * SECOND)));
            health.record(failure(), Timestamp(second * SECOND));
        }
        assert!(!health.permit(Timestamp(5 * SECOND)), "open");
        assert_eq!(health.seconds_to_probe(Timestamp(5 * SECOND)), 7);
        assert!(health.permit(Timestamp(12 * SECOND)), "the probe");
        assert!(!health.permit(Timestamp(12 * SECOND)), "only one probe");
        health.record(None, Timestamp(13 * SECOND));
        assert_eq!(health.state(), State::Closed);
        assert!(health.permit(Timestamp(13 * SECOND)));
    }

    #[test]
    fn a_failed_probe_opens_it_again() {
        let mut health = Health::new(circuit());
        (0..3).for_each(|_| health.record(failure(), Timestamp(0)));
        assert!(health.permit(Timestamp(10 * SECOND)));
        health.record(failure(), Timestamp(11 * SECOND));
        assert_eq!(health.state(), State::Open { until: Timestamp(21 * SECOND) });
    }

    #[test]
    fn a_probe_that_never_comes_back_does_not_hold_it_for_ever() {
        let mut health = Health::new(circuit());
        (0..3).for_each(|_| health.record(failure(), Timestamp(0)));
        assert!(health.permit(Timestamp(10 * SECOND)));
        assert!(health.permit(Timestamp(20 * SECOND)), "another probe after the pause");
    }

    #[test]
    fn half_the_calls_failing_opens_it_without_three_in_a_row() {
        let mut health = Health::new(circuit());
        for call in 0..10 {
            health.record((call % 2 == 1).then(String::new), Timestamp(call * SECOND));
        }
        assert!(matches!(health.state(), State::Open { .. }));
    }

    #[test]
    fn a_key_is_refused_until_a_call_with_it_gets_through() {
        let mut health = Health::new(circuit());
        for (status, refused) in [(200, false), (401, true), (503, true), (429, false), (402, true), (200, false)] {
            health.own_key_answered(status);
            assert_eq!(health.key_is_refused(), refused, "after {status}");
        }
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut health = Health::new(circuit());
        for call in 0..9 {
            health.record((call % 2 == 1).then(String::new), Timestamp(call * SECOND));
        }
        health.record(None, Timestamp(200 * SECOND));
        health.record(failure(), Timestamp(201 * SECOND));
        assert_eq!(health.state(), State::Closed);
    }
}
