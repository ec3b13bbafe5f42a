//! What answers were long lately: for the estimate of the next one, by whom, by model and by operation.
//!
//! A table of fixed size in which a look-up is one hash and a few neighbouring words, without a lock: an estimate may be
//! read while another call learns, and may miss one that is learned at the same moment. Callers that have not called
//! for long give their place to others.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Places in the table: half a megabyte.
const PLACES: usize = 1 << 16;
/// A caller's words may stand in any of so many neighbours: one cache line.
const NEIGHBOURS: usize = 8;
/// Up to here the average is the mean of all calls; then each new call moves it by this part of the difference.
const CALLS_COUNTED_MAX: u64 = 16;
/// Fewer calls say nothing yet.
const CALLS_MIN: u64 = 3;
/// The average is kept in sixteenths of a token.
const FRACTION: u64 = 16;
const AVERAGE_BITS: u32 = 34;
const COUNT_BITS: u32 = 5;
const AVERAGE_MAX: u64 = (1 << AVERAGE_BITS) - 1;

/// Whose answers, of which model, to which kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who(u64);

impl Who {
    /// Stands for every operation: what a sum over a caller's calls of a model tells.
    pub const ANY_OPERATION: &str = "";

    pub fn new(key: &str, model: &str, operation: &str) -> Who {
        let mut hasher = DefaultHasher::new();
        (key, model, operation).hash(&mut hasher);
        Who(hasher.finish())
    }
}

/// Moving averages of output tokens an answer.
#[derive(Debug)]
pub struct OutputHistory {
    places: Box<[AtomicU64]>,
}

impl Default for OutputHistory {
    fn default() -> Self {
        OutputHistory { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl OutputHistory {
    /// Output tokens of an answer to this caller; `None` when too few are known.
    pub fn expected(&self, who: Who) -> Option<u64> {
        let mut words = self.neighbours(who).iter().map(|place| Word(place.load(Ordering::Relaxed)));
        let known = words.find(|word| word.is_of(who)).filter(|word| word.calls() >= CALLS_MIN)?;
        Some(known.average().div_ceil(FRACTION))
    }

    /// An answer had so many output tokens.
    pub fn learn(&self, who: Who, output_tokens: u64) {
        self.learn_many(who, output_tokens, 1);
    }

    /// So many answers had so many output tokens on average: what the ledger remembers at the start.
    pub fn learn_many(&self, who: Who, output_tokens: u64, calls: u64) {
        if calls == 0 {
            return;
        }
        let neighbours = self.neighbours(who);
        let words = || neighbours.iter().enumerate().map(|(at, place)| (at, Word(place.load(Ordering::Relaxed))));
        let own = words().find(|(_, word)| word.is_of(who));
        let least_known = || words().min_by_key(|(_, word)| word.calls());
        let Some((at, before)) = own.or_else(least_known) else { return };
        let before = if before.is_of(who) { before } else { Word::new(who, 0, 0) };
        // Another call that learns at this moment may win: one of two answers is missed, none is made up.
        neighbours[at].store(before.moved(who, output_tokens, calls).0, Ordering::Relaxed);
        // Who is crowded in on loses a call each time, so that who no longer calls makes room at last.
        if own.is_none() {
            for (_, place) in neighbours.iter().enumerate().filter(|(other, _)| *other != at) {
                let word = place.load(Ordering::Relaxed);
                if Word(word).calls() > 1 {
                    place.store(word - 1, Ordering::Relaxed);
                }
            }
        }
    }

    fn neighbours(&self, who: Who) -> &[AtomicU64] {
        let line = (who.0 as usize % (PLACES / NEIGHBOURS)) * NEIGHBOURS;
        &self.places[line..line + NEIGHBOURS]
    }
}

/// One place, high to low: whose it is (25 bits), the average (34), how many calls it is made from (5). 0 is empty.
#[derive(Clone, Copy, Debug)]
struct Word(u64);

impl Word {
    fn new(who: Who, average: u64, calls: u64) -> Word {
        // The low bits chose the line; the high ones tell apart who is in it.
        let mark = who.0 >> (AVERAGE_BITS + COUNT_BITS);
        let average = average.min(AVERAGE_MAX);
        Word(mark << (AVERAGE_BITS + COUNT_BITS) | average << COUNT_BITS | calls.min(CALLS_COUNTED_MAX))
    }

    fn is_of(self, who: Who) -> bool {
        self.calls() > 0 && self.0 >> (AVERAGE_BITS + COUNT_BITS) == who.0 >> (AVERAGE_BITS + COUNT_BITS)
    }

    fn average(self) -> u64 {
        self.0 >> COUNT_BITS & AVERAGE_MAX
    }

    fn calls(self) -> u64 {
        self.0 & ((1 << COUNT_BITS) - 1)
    }

    fn moved(self, who: Who, output_tokens: u64, calls: u64) -> Word {
        let tokens = output_tokens.saturating_mul(FRACTION).min(AVERAGE_MAX);
        let calls = calls.min(CALLS_COUNTED_MAX);
        let known = self.calls().min(CALLS_COUNTED_MAX - 1);
        let weights = known + calls;
        let sum = self.average() * known + tokens * calls;
        Word::new(who, (sum + weights / 2) / weights, self.calls() + calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ann() -> Who {
        Who::new("caller-ann", "gpt-4o", "chat")
    }

    #[test]
    fn nothing_is_expected_of_a_caller_who_is_hardly_known() {
        let history = OutputHistory::default();
        assert_eq!(history.expected(ann()), None);
        history.learn(ann(), 100);
        history.learn(ann(), 100);
        assert_eq!(history.expected(ann()), None);
        history.learn(ann(), 100);
        assert_eq!(history.expected(ann()), Some(100));
    }

    #[test]
    fn callers_models_and_operations_are_told_apart() {
        let history = OutputHistory::default();
        history.learn_many(ann(), 1_000, 5);
        for other in
            [("caller-bob", "gpt-4o", "chat"), ("caller-ann", "o3", "chat"), ("caller-ann", "gpt-4o", "images")]
        {
            assert_eq!(history.expected(Who::new(other.0, other.1, other.2)), None);
        }
    }

    #[test]
    fn who_changes_his_ways_is_followed_within_some_dozen_calls() {
        let history = OutputHistory::default();
        history.learn_many(ann(), 4_000, 1_000);
        (0..60).for_each(|_| history.learn(ann(), 200));
        let expected = history.expected(ann()).unwrap();
        assert!((200..320).contains(&expected), "{expected}");
    }

    #[test]
    fn a_full_table_forgets_who_calls_least_and_keeps_who_calls_much() {
        let history = OutputHistory::default();
        for call in 0..500_000u64 {
            history.learn(Who::new(&format!("caller-{call}"), "m", "chat"), 10);
            if call % 1_000 == 0 {
                (0..8).for_each(|_| history.learn(ann(), 700));
            }
        }
        assert_eq!(history.expected(ann()), Some(700));
    }

    proptest! {
        #[test]
        fn what_is_expected_lies_between_what_was_seen(seen in prop::collection::vec(0u64..2_000_000, 3..100)) {
            let history = OutputHistory::default();
            seen.iter().for_each(|tokens| history.learn(ann(), *tokens));
            let expected = history.expected(ann()).unwrap();
            let (least, most) = (seen.iter().min().unwrap(), seen.iter().max().unwrap());
            prop_assert!(expected >= *least && expected <= most + 1, "{expected} is not in {least}..{most}");
        }

        #[test]
        fn no_number_of_tokens_overflows(tokens in any::<u64>(), calls in any::<u64>()) {
            let history = OutputHistory::default();
            history.learn_many(ann(), tokens, calls);
            let _ = history.expected(ann());
        }
    }
}
