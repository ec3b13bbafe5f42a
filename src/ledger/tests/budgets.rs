//! Budgets on real files: slices, charges, thresholds; killed, cut off from power, closed in order.

use super::*;
use crate::budget::{Balance, BasisPoints};
use crate::ledger::resolve::{Verdict, Which, resolve};
use crate::ledger::verify::verify;
use crate::store::{AccountQuery, Alert, AlertQuery, BudgetAccount};

const COST: u64 = 325_000_000;

fn with_thresholds(limit: u128, percent: &[u32]) -> Arc<Instance> {
    let plain = team(limit);
    let thresholds = percent.iter().map(|percent| BasisPoints(percent * 100)).collect();
    let budget = Budget { thresholds, ..(*plain.budget).clone() };
    Arc::new(Instance::new(Arc::new(budget), plain.scope.clone(), plain.window))
}

fn accounts(dir: &Path) -> Vec<BudgetAccount> {
    Reader::open(dir).unwrap().budget_accounts(&AccountQuery::default()).unwrap()
}

/// Settled and leased of the only account.
fn account(dir: &Path) -> (u128, u128) {
    let all = accounts(dir);
    assert_eq!(all.len(), 1, "{all:?}");
    (all[0].settled, all[0].leased)
}

fn alerts(dir: &Path) -> Vec<Alert> {
    Reader::open(dir).unwrap().budget_alerts(&AlertQuery::default()).unwrap()
}

fn told(dir: &Path) -> Vec<u32> {
    let mut told: Vec<u32> = alerts(dir).iter().map(|alert| alert.threshold.0 / 100).collect();
    told.sort_unstable();
    told
}

fn assert_adds_up(dir: &Path) {
    let report = verify(dir, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.faults);
}

fn balance(bench: &Bench, instance: &Arc<Instance>) -> Balance {
    now_or_soon(bench.admission.balances(std::slice::from_ref(instance)))[0].1
}

#[test]
fn a_settled_call_is_charged_once_and_a_closed_ledger_leaves_no_lease() {
    let dir = data_dir();
    let team = team(1_000_000_000);
    {
        let mut bench = Bench::start(dir.path());
        let lender = bench.lend();
        hold_with(&lender, &bench, 1, &[(&team, 900_000_000)]).unwrap().settle(closing());
        bench.sync();
        bench.fold();
        let (settled, leased) = account(dir.path());
        assert_eq!(settled, u128::from(COST));
        assert!(leased >= 900_000_000 - u128::from(COST), "the rest of the hold is free, and still leased");
        assert_eq!(balance(&bench, &team).spent, u128::from(COST));
    }
    recover(dir.path());
    assert_eq!(account(dir.path()), (u128::from(COST), 0));
    assert_adds_up(dir.path());
}

#[test]
fn a_budget_outlives_restarts_and_closing_gives_its_slices_back() {
    let dir = data_dir();
    let team = team(1_000_000_000);
    for round in 0..3 {
        let ledger = open(dir.path());
        let admission = ledger.admission();
        let call = patiently(&admission, 10 + round, &[(&team, 340_000_000)]);
        assert_eq!(call.is_ok(), round < 3, "{round}");
        call.unwrap().settle(closing());
        assert!(ledger.close().folded);
        assert_eq!(account(dir.path()), (u128::from(COST * (round + 1)), 0));
    }
    let ledger = open(dir.path());
    let refused = patiently(&ledger.admission(), 20, &[(&team, 340_000_000)]).err();
    let Some(NotAdmitted::OverBudget { blocked }) = refused else { panic!("{refused:?}") };
    assert_eq!((blocked[0].spent, blocked[0].limit), (u128::from(COST * 3), 1_000_000_000));
    drop(ledger);
    assert_adds_up(dir.path());
}

#[test]
fn a_kill_charges_what_was_held_and_frees_what_was_not() {
    let dir = data_dir();
    let team = team(10_000_000_000);
    let bench = Bench::start(dir.path());
    let lender = bench.lend();
    hold_with(&lender, &bench, 1, &[(&team, 900_000_000)]).unwrap().settle(closing());
    let open = hold_with(&lender, &bench, 2, &[(&team, 700_000_000)]).unwrap();
    now_or_soon(open.top_up(&[demand(&team, 50_000_000)], std::time::Duration::ZERO)).unwrap();
    assert_eq!(open.held()[0].amount, 750_000_000);
    drop(lender);
    bench.die(vec![open]);
    let found = recover(dir.path());
    assert!(!found[0].power_loss);
    assert_eq!(account(dir.path()), (u128::from(COST) + 750_000_000, 0));
    let died = &rows(dir.path())[1];
    assert_eq!(died.withheld, Usd::from_pico(750_000_000 - 125_000_000), "what was held, not the ceiling");
    assert_adds_up(dir.path());
    resolve(dir.path(), Which::One(id(2)), Verdict::Release, &Still).unwrap();
    assert_eq!(account(dir.path()).0, u128::from(COST) + 125_000_000, "the budget gets back what was withheld");
    assert_adds_up(dir.path());
}

#[test]
fn after_a_power_loss_the_whole_slice_is_charged_and_told_as_lost() {
    let dir = data_dir();
    let team = team(6_400_000_000);
    let mut bench = Bench::start(dir.path());
    let lender = bench.lend();
    hold_with(&lender, &bench, 1, &[(&team, 500_000_000)]).unwrap().settle(closing());
    bench.sync();
    bench.fold();
    let (settled, leased) = account(dir.path());
    let lock = bench.journal_dir().join("lock");
    drop(lender);
    bench.die(vec![]);
    std::fs::write(lock, "pid 1\nboot another\n").unwrap();
    assert!(recover(dir.path())[0].power_loss);
    assert_eq!(account(dir.path()), (settled + leased, 0));
    let report = verify(dir.path(), &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.faults);
    assert_eq!(report.budget_losses, 1);
}

#[test]
fn a_journal_that_is_gone_proves_nothing() {
    let dir = data_dir();
    let team = team(6_400_000_000);
    let bench = Bench::start(dir.path());
    let lender = bench.lend();
    hold_with(&lender, &bench, 1, &[(&team, 100_000_000)]).unwrap().settle(closing());
    let journal = bench.journal_dir();
    let leased = account(dir.path()).1;
    drop(lender);
    bench.die(vec![]);
    std::fs::remove_dir_all(journal).unwrap();
    recover(dir.path());
    assert_eq!(account(dir.path()), (leased, 0));
    assert_adds_up(dir.path());
}

#[test]
fn every_threshold_is_told_once_also_those_that_one_call_jumps_over_and_across_restarts() {
    let dir = data_dir();
    let team = with_thresholds(1_000_000_000, &[5, 30, 50, 80, 100]);
    for round in 0..3 {
        let mut bench = Bench::start(dir.path());
        let lender = bench.lend();
        hold_with(&lender, &bench, 10 + round, &[(&team, 330_000_000)]).unwrap().settle(closing());
        bench.sync();
        bench.fold();
        let expected: &[u32] = [&[5, 30][..], &[5, 30, 50], &[5, 30, 50, 80]][round as usize];
        assert_eq!(told(dir.path()), expected);
        drop(lender);
        bench.die(vec![]);
        recover(dir.path());
        assert_eq!(told(dir.path()), expected);
    }
    let first = alerts(dir.path()).into_iter().find(|alert| alert.threshold.0 == 500).unwrap();
    assert_eq!((first.spent, first.limit, first.acknowledged_at), (u128::from(COST), 1_000_000_000, None));
    let known = crate::store::acknowledge_alert(dir.path(), first.account, first.threshold, START, "ann").unwrap();
    assert_eq!(known.and_then(|alert| alert.acknowledged_by).as_deref(), Some("ann"));
    let unknown = AlertQuery { acknowledged: Some(false), ..AlertQuery::default() };
    assert_eq!(Reader::open(dir.path()).unwrap().budget_alerts(&unknown).unwrap().len(), 3);
}

#[test]
fn a_lowered_limit_tells_the_thresholds_that_it_passes_and_a_raised_one_admits_at_once() {
    let dir = data_dir();
    let team = with_thresholds(10_000_000_000, &[80]);
    let limit = |limit| Arc::new(Budget { limit, ..(*team.budget).clone() });
    let mut bench = Bench::start(dir.path());
    let lender = bench.lend();
    bench.admission.rules_changed(&[limit(10_000_000_000)]);
    hold_with(&lender, &bench, 1, &[(&team, 330_000_000)]).unwrap().settle(closing());
    bench.sync();
    bench.fold();
    bench.admission.rules_changed(&[limit(400_000_000)]);
    lender.borrow_mut().gather();
    lender.borrow_mut().exchange();
    assert_eq!(told(dir.path()), [80]);
    assert!(matches!(hold_with(&lender, &bench, 2, &[(&team, 100_000_000)]), Err(NotAdmitted::OverBudget { .. })));
    bench.admission.rules_changed(&[limit(500_000_000)]);
    hold_with(&lender, &bench, 3, &[(&team, 100_000_000)]).unwrap().settle(closing());
}

#[test]
fn overruns_are_booked_counted_and_never_leave_the_budget_with_more() {
    let dir = data_dir();
    let team = team(1_000_000_000);
    let mut bench = Bench::start(dir.path());
    let lender = bench.lend();
    hold_with(&lender, &bench, 1, &[(&team, 100_000_000)]).unwrap().settle(closing());
    assert_eq!(bench.admission.lock().counts.overruns, 1);
    assert_eq!(bench.admission.overruns(), [(team.budget.clone(), 1)]);
    bench.sync();
    bench.fold();
    let refused = hold_with(&lender, &bench, 2, &[(&team, 1_000_000_000 - COST + 1)]).err();
    assert!(matches!(refused, Some(NotAdmitted::OverBudget { .. })));
    assert!(hold_with(&lender, &bench, 3, &[(&team, 1_000_000_000 - COST)]).is_ok(), "to the last pico-dollar");
}

#[test]
fn a_call_that_others_holds_keep_out_waits_until_they_settle() {
    let dir = data_dir();
    let ledger = open(dir.path());
    let admission = ledger.admission();
    let team = team(1_000_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let none = std::time::Duration::ZERO;
        let first = admission.reserve(opening(1), vec![demand(&team, 900_000_000)], none).await.unwrap();
        let second = admission.reserve(opening(2), vec![demand(&team, 600_000_000)], none).await;
        assert!(matches!(second, Err(NotAdmitted::OverBudget { .. })), "without patience");
        let waiting =
            admission.reserve(opening(3), vec![demand(&team, 600_000_000)], std::time::Duration::from_secs(60));
        let settling = async {
            tokio::task::yield_now().await;
            first.settle(closing());
        };
        let (admitted, ()) = tokio::join!(waiting, settling);
        admitted.unwrap().settle(closing());
    });
}

/// A call, and a store that answers every 1.5 s; after each answer the test may act. And the time that passed.
fn slowly<T>(
    bench: &Bench,
    lender: &RefCell<Lender>,
    asking: impl Future<Output = T>,
    mut after_each: impl FnMut(u64),
) -> (T, std::time::Duration) {
    assert_eq!(bench.admission.settings().lease_wait_max, std::time::Duration::from_secs(2), "one answer is in time");
    now_or_soon(async {
        let began = tokio::time::Instant::now();
        let answering = async {
            for round in 0.. {
                tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
                lender.borrow_mut().gather();
                lender.borrow_mut().exchange();
                after_each(round);
            }
        };
        let answer = tokio::select! {
            biased;
            answer = asking => answer,
            () = answering => unreachable!("it answers for ever"),
        };
        (answer, began.elapsed())
    })
}

#[test]
fn a_store_that_is_slow_makes_calls_wait_and_refuses_none() {
    let dir = data_dir();
    let team = team(64_000);
    let bench = Bench::start(dir.path());
    let lender = bench.lend();
    let mut rivals = Vec::new();
    let none = std::time::Duration::ZERO;
    let asking = bench.admission.reserve(opening(1), vec![demand(&team, 1_000)], none);
    // A rival takes each of the first three slices before the call wakes.
    let (answer, waited) = slowly(&bench, &lender, asking, |round| {
        if round < 3 {
            let rival = bench.admission.reserve(opening(10 + round), vec![demand(&team, 1_000)], none);
            rivals.extend(futures_util::FutureExt::now_or_never(rival).and_then(Result::ok));
        }
    });
    assert_eq!(rivals.len(), 3);
    assert!(answer.is_ok(), "{:?}", answer.err());
    assert_eq!(waited.as_millis(), 6_000, "in the fourth round");
}

#[test]
fn where_the_store_has_nothing_left_every_waiting_call_hears_of_the_budget_at_its_first_answer() {
    let dir = data_dir();
    let team = team(1_000);
    let before = Bench::start(dir.path());
    hold_with(&before.lend(), &before, 0, &[(&team, 1_000)]).unwrap().settle(closing_of(1_000));
    before.die(vec![]);
    recover(dir.path());
    let bench = Bench::start(dir.path());
    let lender = bench.lend();
    let none = std::time::Duration::ZERO;
    let calls = (1..=100).map(|call| bench.admission.reserve(opening(call), vec![demand(&team, 1)], none));
    let (answers, waited) = slowly(&bench, &lender, futures_util::future::join_all(calls), |_| {});
    for answer in answers {
        let Err(NotAdmitted::OverBudget { blocked }) = answer else { panic!("{:?}", answer.err()) };
        assert_eq!((&*blocked[0].instance.budget.name, blocked[0].limit), ("team", 1_000));
    }
    assert_eq!(waited.as_millis(), 1_500);
}

#[test]
fn only_a_store_that_does_not_answer_at_all_is_away() {
    let dir = data_dir();
    let team = team(1_000);
    let bench = Bench::start(dir.path());
    let _lender = bench.lend();
    let (refused, waited) = now_or_soon(async {
        let began = tokio::time::Instant::now();
        let none = std::time::Duration::ZERO;
        (bench.admission.reserve(opening(1), vec![demand(&team, 1)], none).await.err(), began.elapsed())
    });
    assert!(matches!(refused, Some(NotAdmitted::LedgerAway { .. })), "{refused:?}");
    assert_eq!(waited.as_secs(), 10);
}

#[test]
fn a_cap_that_nobody_spent_of_admits() {
    // LiteLLM #38647: a budget of 25 dollars was exhausted with 0 spent, by holds that nobody ended.
    let dir = data_dir();
    let team = team(25_000_000_000_000);
    let mut bench = Bench::start(dir.path());
    let lender = bench.lend();
    for call in 0..30 {
        hold_with(&lender, &bench, call, &[(&team, 1_000_000_000_000)]).unwrap().settle(closing_of(0));
        bench.sync();
        bench.fold();
    }
    assert_eq!((balance(&bench, &team).spent, balance(&bench, &team).held), (0, 0));
    drop(hold_with(&lender, &bench, 50, &[(&team, 1_000_000_000_000)]).unwrap());
    assert_eq!(balance(&bench, &team).held, 0, "an abandoned hold ends with its call");
}

#[test]
fn two_processes_share_a_limit_and_never_pass_it() {
    let dir = data_dir();
    let team = team(1_000_000_000);
    let old = open(dir.path());
    let new = Ledger::open(Settings { upgrade: true, ..settings(dir.path()) }, Arc::new(Still)).unwrap();
    let mut held = Vec::new();
    for call in 0..40 {
        let ledger = if call % 2 == 0 { &old } else { &new };
        held.extend(patiently(&ledger.admission(), call, &[(&team, 60_000_000)]).ok());
    }
    assert_eq!(held.len(), 16, "960 of 1,000, whoever asks");
    held.into_iter().for_each(|call| drop(call.settle(closing_of(60_000_000))));
    old.close();
    new.close();
    drop((old, new));
    drop(open(dir.path()));
    assert_eq!(account(dir.path()), (960_000_000, 0));
    assert_adds_up(dir.path());
}
