//! What stands in the way of an attempt, and how long it is worth waiting for that to pass.
//!
//! A store that is slow makes callers wait; one that is away makes them refuse. The difference is whether it answers:
//! each answer of the lease thread begins the wait anew, so a crowd that is served in several rounds is not told that
//! the store is away. A wait that only others' holds cause has its own patience, which begins when they are all that is
//! in the way, and not while the store was asked.
//!
//! *Bound:* no call waits for slices longer than [`ROUNDS_MAX`] silences.

use super::Settings;
use super::admission::Away;
use crate::budget::book::Blocked;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Silences of `lease_wait_max` after which a store that says nothing at all counts as away. One that says that it
/// fails is given a single one.
const SILENCES_MAX: u32 = 5;
/// The whole wait for slices, in the same measure, however often the store answers.
const ROUNDS_MAX: u32 = 15;

/// What stands in the way now.
pub(super) enum Obstacle {
    Away(Away),
    /// The store was asked.
    Wanting(Asked),
    Over {
        blocked: Vec<Blocked>,
        by_holds: bool,
    },
}

/// How a question to the store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Answers of the store so far: with one more, this question may be answered.
    pub answers: u64,
    /// It says that it fails.
    pub failing: bool,
    pub why: Arc<str>,
}

/// The wait of one call.
#[derive(Clone, Debug)]
pub(super) struct Waits {
    began: Instant,
    patience: Duration,
    /// When the store was asked, and its answers until then.
    asked: Option<(Instant, u64)>,
    /// Since when only others' holds are in the way.
    over_since: Option<Instant>,
}

impl Waits {
    pub fn begin(patience: Duration) -> Waits {
        Waits { began: Instant::now(), patience, asked: None, over_since: None }
    }

    /// The store has answered since this call last asked it.
    pub fn is_answered(&self, answers: u64) -> bool {
        self.asked.is_some_and(|(_, asked_at)| answers > asked_at)
    }

    /// Until when this is worth waiting for; `None`: not at all.
    pub fn until(&mut self, obstacle: &Obstacle, settings: &Settings, now: Instant) -> Option<Instant> {
        match obstacle {
            Obstacle::Away(why) => why.may_heal().then_some(self.began + settings.admission_wait_max),
            Obstacle::Wanting(asked) => {
                let answered = self.asked.is_none_or(|(_, answers)| answers != asked.answers);
                if answered {
                    self.asked = Some((now, asked.answers));
                }
                let since = self.asked.map_or(now, |(since, _)| since);
                let silences = if asked.failing { 1 } else { SILENCES_MAX };
                let silent = since + settings.lease_wait_max * silences;
                Some(silent.min(self.began + settings.lease_wait_max * ROUNDS_MAX))
            }
            Obstacle::Over { by_holds, .. } => {
                let since = *self.over_since.get_or_insert(now);
                (*by_holds && !self.patience.is_zero()).then_some(since + self.patience)
            }
        }
    }
}

/// Counts a call among those that wait for something to be freed.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub fn begin(count: &'a AtomicUsize) -> Waiting<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn asked(answers: u64, failing: bool) -> Obstacle {
        Obstacle::Wanting(Asked { answers, failing, why: "no answer".into() })
    }

    #[test]
    fn each_answer_of_the_store_begins_the_wait_anew_and_its_silence_does_not() {
        let settings = Settings::new("unused");
        let mut waits = Waits::begin(Duration::ZERO);
        let began = waits.began;
        let silence = settings.lease_wait_max * SILENCES_MAX;
        assert_eq!(waits.until(&asked(7, false), &settings, began), Some(began + silence));
        assert!(!waits.is_answered(7) && waits.is_answered(8));
        assert_eq!(waits.until(&asked(7, false), &settings, began + SECOND), Some(began + silence), "still silent");
        assert_eq!(waits.until(&asked(8, false), &settings, began + SECOND), Some(began + SECOND + silence));
        assert!(!waits.is_answered(8), "asked anew");
        let last = waits.until(&asked(9, false), &settings, began + SECOND * 3_600);
        assert_eq!(last, Some(began + settings.lease_wait_max * ROUNDS_MAX), "not for ever");
    }

    #[test]
    fn a_store_that_says_it_fails_is_not_waited_for_so_long() {
        let settings = Settings::new("unused");
        let mut waits = Waits::begin(Duration::ZERO);
        let began = waits.began;
        assert_eq!(waits.until(&asked(0, true), &settings, began), Some(began + settings.lease_wait_max));
    }

    #[test]
    fn the_patience_with_others_begins_when_only_they_are_in_the_way() {
        let settings = Settings::new("unused");
        let mut waits = Waits::begin(SECOND * 2);
        let began = waits.began;
        waits.until(&asked(0, false), &settings, began);
        let over = Obstacle::Over { blocked: Vec::new(), by_holds: true };
        assert_eq!(waits.until(&over, &settings, began + SECOND * 3), Some(began + SECOND * 5));
        assert_eq!(waits.until(&over, &settings, began + SECOND * 4), Some(began + SECOND * 5), "once");
        let nothing_to_wait_for = Obstacle::Over { blocked: Vec::new(), by_holds: false };
        assert_eq!(waits.until(&nothing_to_wait_for, &settings, began), None);
    }
}
