//! Limits on calls: so many a minute, so many at once. Each rule has one limiter for each set of scope values.
//!
//! A call is taken from its limits once, when it arrives, whatever becomes of it: one that a budget refuses counts, as
//! at the providers. Further attempts of the same exchange are not further calls. A preview only asks.
//!
//! *Bound:* [`LIMITERS_MAX`]; those that nobody used for a minute make room, and while none did, new ones refuse.

use crate::rules::{CallBound, CallLimit};
use governor::clock::{Clock, MonotonicClock};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Limiters in memory; about 200 bytes each.
pub const LIMITERS_MAX: usize = 100_000;
/// A limiter of calls a minute is as good as new when it was not used for so long.
const IDLE: Duration = Duration::from_secs(60);
/// Nobody knows when one of the calls under way will end.
const RETRY_CONCURRENT: Duration = Duration::from_secs(1);

/// All limiters of the process.
#[derive(Default)]
pub struct CallLimits {
    limiters: Mutex<HashMap<Name, Limiter>>,
}

/// What an exchange has taken. Dropped, its places among the calls under way are free again.
#[derive(Default)]
pub struct Passes {
    taken: Vec<Name>,
    under_way: Vec<Place>,
}

/// A limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    pub limit: CallLimit,
    pub retry_after: Duration,
}

/// Rule, scope and sort: one rule may limit both.
type Name = (Arc<str>, Arc<str>, bool);

fn name(limit: &CallLimit) -> Name {
    (Arc::clone(&limit.rule), Arc::clone(&limit.scope), matches!(limit.bound, CallBound::Concurrent(_)))
}

struct Limiter {
    bound: CallBound,
    used: Instant,
    kind: Kind,
}

enum Kind {
    PerMinute(Box<RateLimiter<Use, Cell, MonotonicClock>>),
    Concurrent(Arc<AtomicU32>),
}

struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CallLimits {
    /// Takes the call from every limit from which this exchange has not taken it yet. The first that is reached ends it:
    /// what was taken before stays taken.
    pub fn take(&self, limits: &[CallLimit], passes: &mut Passes) -> Result<(), Reached> {
        for limit in limits {
            let name = name(limit);
            if !passes.taken.contains(&name) {
                passes.under_way.extend(self.with(limit, |limiter| limiter.take(limit))?);
                passes.taken.push(name);
            }
        }
        Ok(())
    }

    /// Whether [`CallLimits::take`] would pass now.
    pub fn would_pass(&self, limit: &CallLimit) -> Result<(), Reached> {
        self.with(limit, |limiter| limiter.ask(limit))
    }

    /// Calls under way of a limit on those; `None` where nobody came yet, or it is of another sort.
    pub fn under_way(&self, limit: &CallLimit) -> Option<u32> {
        let limiters = self.limiters.lock();
        match &limiters.get(&name(limit))?.kind {
            Kind::Concurrent(count) => Some(count.load(Ordering::Relaxed)),
            Kind::PerMinute(_) => None,
        }
    }

    fn with<T>(&self, limit: &CallLimit, act: impl FnOnce(&mut Limiter) -> Result<T, Reached>) -> Result<T, Reached> {
        let mut limiters = self.limiters.lock();
        let name = name(limit);
        if limiters.len() >= LIMITERS_MAX && !limiters.contains_key(&name) {
            limiters.retain(|_, limiter| !limiter.is_idle());
            if limiters.len() >= LIMITERS_MAX {
                return Err(Reached { limit: limit.clone(), retry_after: IDLE });
            }
        }
        let limiter = limiters.entry(name).or_insert_with(|| Limiter::of(limit.bound));
        // The rule was changed: calls under way go on counting where they were counted.
        if limiter.bound != limit.bound {
            limiter.change(limit.bound);
        }
        act(limiter)
    }
}

impl Limiter {
    fn of(bound: CallBound) -> Limiter {
        let kind = match bound {
            CallBound::PerMinute(calls) => Kind::PerMinute(Box::new(per_minute(calls))),
            CallBound::Concurrent(_) => Kind::Concurrent(Arc::default()),
        };
        Limiter { bound, used: Instant::now(), kind }
    }

    fn change(&mut self, bound: CallBound) {
        match (&self.kind, bound) {
            (Kind::Concurrent(_), CallBound::Concurrent(_)) => self.bound = bound,
            _ => *self = Limiter::of(bound),
        }
    }

    fn take(&mut self, limit: &CallLimit) -> Result<Option<Place>, Reached> {
        self.used = Instant::now();
        match &self.kind {
            Kind::PerMinute(limiter) => checked(limiter, limit, Use::Take).map(|()| None),
            Kind::Concurrent(count) => {
                self.ask(limit)?;
                count.fetch_add(1, Ordering::Relaxed);
                Ok(Some(Place(Arc::clone(count))))
            }
        }
    }

    fn ask(&self, limit: &CallLimit) -> Result<(), Reached> {
        match (&self.kind, self.bound) {
            (Kind::PerMinute(limiter), _) => checked(limiter, limit, Use::Ask),
            (Kind::Concurrent(count), CallBound::Concurrent(max)) if count.load(Ordering::Relaxed) >= max => {
                Err(Reached { limit: limit.clone(), retry_after: RETRY_CONCURRENT })
            }
            (Kind::Concurrent(_), _) => Ok(()),
        }
    }

    fn is_idle(&self) -> bool {
        match &self.kind {
            Kind::PerMinute(_) => self.used.elapsed() >= IDLE,
            Kind::Concurrent(count) => count.load(Ordering::Relaxed) == 0,
        }
    }
}

/// A limit of 0 calls a minute is a block, and the rules say so themselves; here it is one.
fn per_minute(calls: u32) -> RateLimiter<Use, Cell, MonotonicClock> {
    let quota = Quota::per_minute(NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN));
    RateLimiter::new(quota, Cell::default(), MonotonicClock)
}

fn checked(limiter: &RateLimiter<Use, Cell, MonotonicClock>, limit: &CallLimit, by: Use) -> Result<(), Reached> {
    limiter.check_key(&by).map_err(|until| {
        let retry_after = until.wait_time_from(MonotonicClock.now());
        Reached { limit: limit.clone(), retry_after }
    })
}

/// Whether a check takes from the limiter or only asks it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    Take,
    Ask,
}

/// The state of one limiter, for `governor`. Asking computes the new state and forgets it.
#[derive(Default)]
struct Cell(Mutex<Option<Nanos>>);

impl StateStore for Cell {
    type Key = Use;

    fn measure_and_replace<T, F, E>(&self, by: &Use, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut state = self.0.lock();
        let (outcome, next) = measure(*state)?;
        if *by == Use::Take {
            *state = Some(next);
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Hardness;

    fn limit(rule: &str, scope: &str, bound: CallBound) -> CallLimit {
        CallLimit { rule: rule.into(), scope: scope.into(), bound, hardness: Hardness::Hard, message: None }
    }

    #[test]
    fn so_many_calls_pass_in_a_minute_and_the_next_is_told_when_to_come_again() {
        let limits = CallLimits::default();
        let three = [limit("three a minute", "user=ann", CallBound::PerMinute(3))];
        for _ in 0..3 {
            assert_eq!(limits.take(&three, &mut Passes::default()), Ok(()));
        }
        let reached = limits.take(&three, &mut Passes::default()).unwrap_err();
        assert!(reached.retry_after > Duration::ZERO && reached.retry_after <= Duration::from_secs(20), "{reached:?}");
        let other = [limit("three a minute", "user=bob", CallBound::PerMinute(3))];
        assert_eq!(limits.take(&other, &mut Passes::default()), Ok(()), "another user has a limiter of his own");
    }

    #[test]
    fn asking_takes_nothing_and_says_what_taking_would() {
        let limits = CallLimits::default();
        let one = limit("one", "", CallBound::PerMinute(1));
        for _ in 0..5 {
            assert_eq!(limits.would_pass(&one), Ok(()));
        }
        assert_eq!(limits.take(std::slice::from_ref(&one), &mut Passes::default()), Ok(()));
        assert!(limits.would_pass(&one).is_err());
    }

    #[test]
    fn further_attempts_of_an_exchange_are_no_further_calls() {
        let limits = CallLimits::default();
        let one = [limit("one", "", CallBound::PerMinute(1))];
        let mut passes = Passes::default();
        assert_eq!((limits.take(&one, &mut passes), limits.take(&one, &mut passes)), (Ok(()), Ok(())));
    }

    #[test]
    fn a_place_among_the_calls_under_way_is_free_again_when_the_exchange_ends() {
        let limits = CallLimits::default();
        let two = [limit("two at once", "", CallBound::Concurrent(2))];
        let (mut first, mut second) = (Passes::default(), Passes::default());
        assert_eq!((limits.take(&two, &mut first), limits.take(&two, &mut second)), (Ok(()), Ok(())));
        assert!(limits.take(&two, &mut Passes::default()).is_err());
        drop(first);
        assert_eq!(limits.take(&two, &mut Passes::default()), Ok(()));
        assert_eq!(limits.under_way(&two[0]), Some(1));
    }

    #[test]
    fn a_changed_rule_counts_those_who_are_under_way() {
        let limits = CallLimits::default();
        let mut held = Passes::default();
        assert_eq!(limits.take(&[limit("n", "", CallBound::Concurrent(5))], &mut held), Ok(()));
        assert!(limits.take(&[limit("n", "", CallBound::Concurrent(1))], &mut Passes::default()).is_err());
    }

    #[test]
    fn idle_limiters_make_room() {
        let limits = CallLimits::default();
        for user in 0..LIMITERS_MAX + 10 {
            let each = [limit("each", &user.to_string(), CallBound::Concurrent(1))];
            assert_eq!(limits.take(&each, &mut Passes::default()), Ok(()));
        }
        assert!(limits.limiters.lock().len() <= LIMITERS_MAX);
    }
}
