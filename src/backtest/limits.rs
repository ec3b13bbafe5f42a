//! Limits on calls in a replay: the generic cell rate algorithm that `governor` keeps live, on the events' own times,
//! and calls under way.

use crate::clock::Timestamp;
use crate::rules::{CallBound, CallLimit};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

const MINUTE_MICROS: i64 = 60_000_000;
/// Limiters that are idle are looked for when there are so many, then at twice what was left.
const SWEEP_AT_MIN: usize = 10_000;

type Key = (Arc<str>, Arc<str>);

/// The limiters of a replay.
#[derive(Debug, Default)]
pub struct Limiters {
    /// When each would be whole again.
    whole_at: HashMap<Key, i64>,
    under_way: HashMap<Key, u32>,
    ends: BinaryHeap<Reverse<(Timestamp, Key)>>,
    sweep_at: usize,
}

impl Limiters {
    /// Forgets the calls that ended up to `now`.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(Reverse((ended, _))) = self.ends.peek()
            && *ended <= now
        {
            let Some(Reverse((_, key))) = self.ends.pop() else { return };
            if let Some(count) = self.under_way.get_mut(&key) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.under_way.remove(&key);
                }
            }
        }
        if self.whole_at.len() >= self.sweep_at.max(SWEEP_AT_MIN) {
            self.whole_at.retain(|_, whole_at| *whole_at > now.0);
            self.sweep_at = self.whole_at.len() * 2;
        }
    }

    /// A call arrives and takes one of the limit, also where it is refused then; whether there was one.
    pub fn take(&mut self, limit: &CallLimit, now: Timestamp, ends_at: Timestamp) -> bool {
        let key = (Arc::clone(&limit.rule), Arc::clone(&limit.scope));
        match limit.bound {
            CallBound::PerMinute(calls) => {
                let each = MINUTE_MICROS / i64::from(calls.max(1));
                let whole_at = self.whole_at.entry(key).or_insert(now.0);
                let taken = (*whole_at).max(now.0).saturating_add(each);
                let fits = calls > 0 && taken.saturating_sub(now.0) <= MINUTE_MICROS;
                if fits {
                    *whole_at = taken;
                }
                fits
            }
            CallBound::Concurrent(calls) => {
                let count = self.under_way.entry(key.clone()).or_default();
                let fits = *count < calls;
                if fits {
                    *count += 1;
                    self.ends.push(Reverse((ends_at, key)));
                }
                fits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Hardness;

    fn at(second: i64) -> Timestamp {
        Timestamp(second * 1_000_000)
    }

    fn limit(bound: CallBound) -> CallLimit {
        CallLimit { rule: "calm".into(), scope: "key=a".into(), bound, hardness: Hardness::Hard, message: None }
    }

    #[test]
    fn a_minute_has_room_for_so_many_calls_and_gets_it_back_evenly() {
        let mut limiters = Limiters::default();
        let calm = limit(CallBound::PerMinute(3));
        let taken: Vec<bool> =
            [0, 0, 0, 0, 19, 20, 21].iter().map(|second| limiters.take(&calm, at(*second), at(*second))).collect();
        assert_eq!(taken, [true, true, true, false, false, true, false]);
    }

    #[test]
    fn calls_under_way_count_until_they_end() {
        let mut limiters = Limiters::default();
        let two = limit(CallBound::Concurrent(2));
        assert!(limiters.take(&two, at(0), at(10)) && limiters.take(&two, at(1), at(5)));
        assert!(!limiters.take(&two, at(2), at(3)));
        limiters.advance(at(5));
        assert!(limiters.take(&two, at(5), at(6)));
    }
}
