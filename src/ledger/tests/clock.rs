//! What the clock may do to budgets: windows end, it steps back, and a low threshold is passed together with a high one.

use super::*;
use crate::budget::BasisPoints;
use crate::budget::window::Every;
use crate::ledger::verify::verify;
use crate::store::{AccountQuery, AlertQuery};

const LIMIT: u128 = 1_000_000_000;

/// A day's budget, on the day that this moment is of.
fn day(at: Timestamp, percent: &[u32]) -> Arc<Instance> {
    let window = WindowRule::Calendar { every: Every::Day, zone: jiff::tz::TimeZone::UTC, from: 0 };
    let plain = instance("day", LIMIT, window);
    let thresholds = percent.iter().map(|percent| BasisPoints(percent * 100)).collect();
    let budget = Budget { thresholds, ..(*plain.budget).clone() };
    let window = budget.window.at(at);
    Arc::new(Instance::new(Arc::new(budget), plain.scope.clone(), window))
}

/// Spent of each day, in the order of the days.
fn spent(dir: &Path) -> Vec<u128> {
    let mut accounts = Reader::open(dir).unwrap().budget_accounts(&AccountQuery::default()).unwrap();
    accounts.sort_by_key(|account| account.window_start);
    accounts.iter().map(|account| account.settled).collect()
}

/// Threshold in percent, and the day it was passed on.
fn told(dir: &Path) -> Vec<(i64, u32)> {
    let alerts = Reader::open(dir).unwrap().budget_alerts(&AlertQuery::default()).unwrap();
    let mut told: Vec<_> = alerts.iter().map(|alert| (alert.window_start.0, alert.threshold.0 / 100)).collect();
    told.sort_unstable();
    told
}

#[test]
fn a_clock_that_steps_back_finds_each_day_as_it_left_it_and_nothing_is_told_twice() {
    let dir = data_dir();
    let (yesterday, today) = (day(Timestamp(START.0 - 86_400_000_000), &[50, 80]), day(START, &[50, 80]));
    let (first, second) = (yesterday.window.start.0, today.window.start.0);
    let mut bench = Bench::start(dir.path());
    let lender = bench.lend();
    let mut sequence = 0;
    let mut call = |bench: &Bench, day: &Arc<Instance>, pico: u64| {
        sequence += 1;
        let held = hold_with(&lender, bench, sequence, &[(day, pico)])?;
        held.settle(closing_of(i64::try_from(pico).unwrap()));
        Ok::<(), NotAdmitted>(())
    };
    let fold = |bench: &mut Bench| {
        bench.sync();
        bench.fold();
    };
    call(&bench, &yesterday, 600_000_000).unwrap();
    call(&bench, &today, 900_000_000).unwrap();
    fold(&mut bench);
    assert_eq!(told(dir.path()), [(first, 50), (second, 50), (second, 80)]);
    // Back over midnight: yesterday has what it had left, and no more.
    let over = call(&bench, &yesterday, 500_000_000);
    assert!(matches!(over, Err(NotAdmitted::OverBudget { .. })), "{over:?}");
    call(&bench, &yesterday, 300_000_000).unwrap();
    // And forward again: today is as it was.
    let over = call(&bench, &today, 200_000_000);
    assert!(matches!(over, Err(NotAdmitted::OverBudget { .. })), "{over:?}");
    call(&bench, &today, 100_000_000).unwrap();
    fold(&mut bench);
    assert_eq!(spent(dir.path()), [900_000_000, LIMIT]);
    let each_once = [(first, 50), (first, 80), (second, 50), (second, 80)];
    assert_eq!(told(dir.path()), each_once);
    // A start whose clock is behind, too.
    drop(lender);
    bench.die(vec![]);
    recover(dir.path());
    assert_eq!((spent(dir.path()), told(dir.path())), (vec![900_000_000, LIMIT], each_once.to_vec()));
    let report = verify(dir.path(), &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.faults);
}

/// The swallowed 5 % alert: where one call passes a low threshold together with higher ones, only the highest was told.
#[test]
fn a_low_threshold_that_is_passed_together_with_higher_ones_is_told_as_well() {
    let dir = data_dir();
    let today = day(START, &[5, 50, 95]);
    let mut bench = Bench::start(dir.path());
    let lender = bench.lend();
    for (sequence, pico) in [(1, 40_000_000), (2, 930_000_000)] {
        let held = hold_with(&lender, &bench, sequence, &[(&today, pico)]).unwrap();
        held.settle(closing_of(i64::try_from(pico).unwrap()));
        bench.sync();
        bench.fold();
    }
    let start = today.window.start.0;
    assert_eq!(told(dir.path()), [(start, 5), (start, 50), (start, 95)], "from 4 % to 97 % in one call");
}
