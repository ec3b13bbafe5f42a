//! Every budget of a replay, in memory and one call after the other: what the ledger's book would have held, without
//! leases, journal or waiting.
//!
//! A call holds its ceiling from its start to its end, as it does live. Beside it stands what the call will have spent:
//! live, a call that does not fit beside others' ceilings waits for them, counts exactly, holds in slices or is clamped;
//! a replay knows how all of that ends, and asks whether it fits beside what the others will have spent.

use crate::budget::book::BudgetId;
use crate::budget::by_id::ById;
use crate::budget::{Balance, BasisPoints, Budget, Demand, Instance};
use crate::clock::Timestamp;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

/// Accounts of ended windows are looked for when there are so many, then at twice what was left.
const SWEEP_AT_MIN: usize = 10_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// All accounts, and the calls under way.
#[derive(Debug, Default)]
pub struct Book {
    accounts: ById<BudgetId, Account>,
    /// The buckets of each rolling instance, oldest first.
    series: HashMap<(Arc<str>, Arc<str>), Vec<BudgetId>>,
    under_way: BinaryHeap<Reverse<(Timestamp, u64)>>,
    holds: ById<u64, Vec<Hold>>,
    holds_made: u64,
    sweep_at: usize,
    /// The end of the day that is being replayed, UTC.
    day_ends: Option<Timestamp>,
    curves: BTreeMap<Arc<str>, Curve>,
}

/// What one call asks of one account.
#[derive(Clone, Debug)]
pub struct Claim {
    pub demand: Demand,
    /// What it will have spent, in the budget's unit.
    pub actual: u64,
}

/// How a budget stood at the end of each day on which it was claimed.
#[derive(Clone, Debug)]
pub struct Curve {
    pub budget: Arc<Budget>,
    pub points: Vec<Point>,
}

/// The end of one day, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The first moment of the day.
    pub day: Timestamp,
    /// Spent in the windows that were under way, all instances together.
    pub spent: u128,
    pub instances: u64,
    /// Of the instance that was nearest to its limit.
    pub used_max: BasisPoints,
}

#[derive(Debug)]
struct Account {
    instance: Arc<Instance>,
    spent: u128,
    held: u128,
    /// What the calls that hold will have spent.
    coming: u128,
}

#[derive(Debug)]
struct Hold {
    account: BudgetId,
    held: u64,
    actual: u64,
}

impl Book {
    /// Settles the calls that ended up to `now`, and notes how the budgets stood at the end of each day that passed.
    pub fn advance(&mut self, now: Timestamp) {
        let first_end = Timestamp(now.0.div_euclid(DAY_MICROS).saturating_add(1).saturating_mul(DAY_MICROS));
        let mut day_ends = *self.day_ends.get_or_insert(first_end);
        while day_ends <= now {
            self.settle_until(Timestamp(day_ends.0 - 1));
            self.note_day(day_ends);
            day_ends = Timestamp(day_ends.0.saturating_add(DAY_MICROS));
            self.day_ends = Some(day_ends);
        }
        self.settle(now);
    }

    /// Settles the calls that ended up to `now`, without a note of how the budgets stood.
    pub fn settle(&mut self, now: Timestamp) {
        self.settle_until(now);
        if self.accounts.len() >= self.sweep_at.max(SWEEP_AT_MIN) {
            self.forget_ended(now);
            self.sweep_at = self.accounts.len() * 2;
        }
    }

    /// Settles everything and notes the last day.
    pub fn finish(mut self) -> Vec<Curve> {
        self.settle_until(Timestamp(i64::MAX));
        if let Some(day_ends) = self.day_ends {
            self.note_day(day_ends);
        }
        self.curves.into_values().collect()
    }

    pub fn balance(&self, instance: &Instance) -> Balance {
        let limit = instance.budget.limit;
        let add = |sum: Balance, account: &Account| Balance {
            spent: sum.spent.saturating_add(account.spent),
            held: sum.held.saturating_add(account.held),
            limit,
        };
        self.counting(instance).fold(Balance { limit, ..Balance::default() }, add)
    }

    /// Whether every claim that binds fits with its ceiling; of those that do not, whether it fits with what the call
    /// will have spent. The claims that do not fit either way.
    pub fn blocking<'c>(&self, claims: &'c [Claim]) -> Vec<&'c Claim> {
        let blocks = |claim: &&Claim| {
            let demand = &claim.demand;
            let fits_whole = u128::from(demand.amount) <= self.balance(&demand.instance).available();
            demand.binds && !fits_whole && u128::from(claim.actual) > self.left(&demand.instance)
        };
        claims.iter().filter(blocks).collect()
    }

    /// What is left of an instance when the calls under way have ended.
    pub fn left(&self, instance: &Instance) -> u128 {
        let used = |sum: u128, account: &Account| sum.saturating_add(account.spent).saturating_add(account.coming);
        instance.budget.limit.saturating_sub(self.counting(instance).fold(0, used))
    }

    /// The call goes: it holds its ceilings until `ends_at`, and then spends what it used.
    pub fn hold(&mut self, claims: &[Claim], ends_at: Timestamp) {
        if claims.is_empty() {
            return;
        }
        let mut holds = Vec::with_capacity(claims.len());
        for Claim { demand, actual } in claims {
            let account = self.account(&demand.instance);
            account.held = account.held.saturating_add(u128::from(demand.amount));
            account.coming = account.coming.saturating_add(u128::from(*actual));
            holds.push(Hold { account: demand.instance.account, held: demand.amount, actual: *actual });
        }
        self.holds_made += 1;
        self.holds.insert(self.holds_made, holds);
        self.under_way.push(Reverse((ends_at, self.holds_made)));
    }

    fn account(&mut self, instance: &Arc<Instance>) -> &mut Account {
        let id = instance.account;
        if instance.window.is_rolling() && !self.accounts.contains_key(&id) {
            let name = (Arc::clone(&instance.budget.name), Arc::clone(&instance.scope));
            self.series.entry(name).or_default().push(id);
        }
        let fresh = || Account { instance: Arc::clone(instance), spent: 0, held: 0, coming: 0 };
        self.accounts.entry(id).or_insert_with(fresh)
    }

    /// The accounts that count against an instance's limit: its own, or the buckets of its window.
    fn counting(&self, instance: &Instance) -> impl Iterator<Item = &Account> {
        let own = if instance.window.is_rolling() { None } else { self.accounts.get(&instance.account) };
        let buckets = match own {
            None if instance.window.is_rolling() => {
                self.series.get(&(Arc::clone(&instance.budget.name), Arc::clone(&instance.scope)))
            }
            _ => None,
        };
        let from = instance.window.counts_from;
        let buckets = buckets.into_iter().flatten().filter_map(|id| self.accounts.get(id));
        own.into_iter().chain(buckets.filter(move |account| account.instance.window.start >= from))
    }

    fn settle_until(&mut self, moment: Timestamp) {
        while let Some(Reverse((ends_at, _))) = self.under_way.peek()
            && *ends_at <= moment
        {
            let Some(Reverse((_, hold))) = self.under_way.pop() else { return };
            for Hold { account, held, actual } in self.holds.remove(&hold).unwrap_or_default() {
                let Some(account) = self.accounts.get_mut(&account) else { continue };
                account.held = account.held.saturating_sub(u128::from(held));
                account.coming = account.coming.saturating_sub(u128::from(actual));
                account.spent = account.spent.saturating_add(u128::from(actual));
            }
        }
    }

    fn note_day(&mut self, day_ends: Timestamp) {
        let last = Timestamp(day_ends.0 - 1);
        let day = Timestamp(day_ends.0.saturating_sub(DAY_MICROS));
        let mut points: BTreeMap<Arc<str>, (Arc<Budget>, Point)> = BTreeMap::new();
        for account in self.accounts.values() {
            let Instance { budget, window, .. } = &*account.instance;
            let shown = !budget.is_rate_limit && (window.contains(last) || window.is_rolling());
            // Of a rolling window, the newest bucket speaks for all of them.
            if !shown || !self.is_newest(&account.instance) {
                continue;
            }
            let counts_from = if window.is_rolling() { budget.window.at(last).counts_from } else { window.counts_from };
            let standing = Instance {
                window: crate::budget::window::Window { counts_from, ..*window },
                ..Instance::clone(&account.instance)
            };
            let balance = self.balance(&standing);
            let (_, point) = points.entry(Arc::clone(&budget.name)).or_insert_with(|| {
                (Arc::clone(budget), Point { day, spent: 0, instances: 0, used_max: BasisPoints(0) })
            });
            point.spent = point.spent.saturating_add(balance.spent);
            point.instances += 1;
            point.used_max = point.used_max.max(balance.used());
        }
        for (name, (budget, point)) in points {
            let fresh = || Curve { budget: Arc::clone(&budget), points: Vec::new() };
            let curve = self.curves.entry(name).or_insert_with(fresh);
            curve.points.push(point);
            curve.budget = budget;
        }
    }

    fn is_newest(&self, instance: &Instance) -> bool {
        if !instance.window.is_rolling() {
            return true;
        }
        let buckets = self.series.get(&(Arc::clone(&instance.budget.name), Arc::clone(&instance.scope)));
        buckets.is_some_and(|buckets| buckets.last() == Some(&instance.account))
    }

    /// Accounts whose windows no longer count, and which no call holds, are of no use.
    fn forget_ended(&mut self, now: Timestamp) {
        let counts = |account: &Account| {
            let window = &account.instance.window;
            let until = if window.is_rolling() { window.leaves_at(window.start) } else { window.end };
            account.held > 0 || account.coming > 0 || until > now
        };
        self.accounts.retain(|_, account| counts(account));
        let accounts = &self.accounts;
        self.series.retain(|_, buckets| {
            buckets.retain(|id| accounts.contains_key(id));
            !buckets.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Hardness;
    use crate::budget::book::Unit;
    use crate::budget::window::{Every, WindowRule};
    use jiff::tz::TimeZone;
    use std::time::Duration;

    /// 2026-11-21T00:00:00Z
    const MIDNIGHT: i64 = 1_795_219_200;

    fn at(second: i64) -> Timestamp {
        Timestamp((MIDNIGHT + second) * 1_000_000)
    }

    fn budget(limit: u128, window: WindowRule) -> Arc<Budget> {
        Arc::new(Budget {
            name: "team".into(),
            unit: Unit::PicoUsd,
            limit,
            hardness: Hardness::Hard,
            window,
            thresholds: Vec::new(),
            is_rate_limit: false,
            clamp: true,
            show_amounts: false,
            message: None,
        })
    }

    fn claim(budget: &Arc<Budget>, scope: &str, now: Timestamp, amount: u64, actual: u64) -> Claim {
        let instance = Arc::new(Instance::new(Arc::clone(budget), scope.into(), budget.window.at(now)));
        Claim { demand: Demand { instance, amount, binds: true }, actual }
    }

    #[test]
    fn a_call_holds_its_ceiling_until_it_ends_and_then_spends_what_it_used() {
        let daily = budget(100, WindowRule::Calendar { every: Every::Day, zone: TimeZone::UTC, from: 0 });
        let mut book = Book::default();
        let one = claim(&daily, "", at(0), 80, 30);
        book.advance(at(0));
        book.hold(std::slice::from_ref(&one), at(10));
        let balance = book.balance(&one.demand.instance);
        assert_eq!((balance.spent, balance.held), (0, 80));
        book.advance(at(10));
        let balance = book.balance(&one.demand.instance);
        assert_eq!((balance.spent, balance.held), (30, 0));
    }

    #[test]
    fn a_call_is_blocked_only_where_its_true_cost_does_not_fit_beside_what_others_will_have_spent() {
        let daily = budget(100, WindowRule::Calendar { every: Every::Day, zone: TimeZone::UTC, from: 0 });
        let mut book = Book::default();
        book.advance(at(0));
        book.hold(&[claim(&daily, "", at(0), 90, 60)], at(60));
        assert!(book.blocking(&[claim(&daily, "", at(1), 90, 40)]).is_empty());
        assert_eq!(book.blocking(&[claim(&daily, "", at(1), 90, 41)]).len(), 1);
        let mut excepted = claim(&daily, "", at(1), 90, 90);
        excepted.demand.binds = false;
        assert!(book.blocking(&[excepted]).is_empty());
    }

    #[test]
    fn a_curve_shows_each_day_with_all_instances_together_and_the_tightest_of_them() {
        let daily = budget(100, WindowRule::Calendar { every: Every::Day, zone: TimeZone::UTC, from: 0 });
        let mut book = Book::default();
        for (second, user, cost) in [(5, "user=ann", 20), (6, "user=bob", 50), (90_000, "user=ann", 7)] {
            book.advance(at(second));
            book.hold(&[claim(&daily, user, at(second), 99, cost)], at(second + 1));
        }
        let curves = book.finish();
        let points: Vec<_> = curves[0].points.iter().map(|p| (p.day, p.spent, p.instances, p.used_max.0)).collect();
        assert_eq!(points, [(at(0), 70, 2, 5_000), (at(86_400), 7, 1, 700)]);
    }

    #[test]
    fn a_rolling_window_counts_its_buckets_and_forgets_them() {
        let rolling = budget(100, WindowRule::Rolling { length: Duration::from_secs(3_600) });
        let mut book = Book::default();
        for second in [0, 1_800] {
            book.advance(at(second));
            book.hold(&[claim(&rolling, "", at(second), 40, 40)], at(second));
        }
        book.advance(at(3_000));
        assert_eq!(book.left(&claim(&rolling, "", at(3_000), 1, 1).demand.instance), 20);
        assert_eq!(book.left(&claim(&rolling, "", at(3_700), 1, 1).demand.instance), 60);
        book.forget_ended(at(86_400));
        assert_eq!((book.accounts.len(), book.series.len()), (0, 0));
    }

    #[test]
    fn memory_follows_the_windows_that_count_not_the_calls() {
        let minute = budget(100, WindowRule::Calendar { every: Every::Minute, zone: TimeZone::UTC, from: 0 });
        let mut book = Book::default();
        for call in 0..60_000 {
            book.advance(at(call * 60));
            book.hold(&[claim(&minute, "", at(call * 60), 1, 1)], at(call * 60));
        }
        assert!(book.accounts.len() <= 2 * SWEEP_AT_MIN, "{}", book.accounts.len());
        assert!(book.holds.len() <= 1);
    }
}
