//! Many calls at once through the real admission, threads and store: the limit holds on every shape of scope, nothing is
//! stranded, and nothing stays held.

use super::*;
use crate::ledger::verify::verify;
use crate::store::AccountQuery;
use std::time::Duration;

const CEILING: u64 = 1_000_000;

fn scoped(name: &str, scope: &str, limit: u128) -> Arc<Instance> {
    let plain = instance(name, limit, WindowRule::Lifetime);
    Arc::new(Instance::new(plain.budget.clone(), Arc::from(scope), plain.window))
}

/// Sends the calls all at once; each uses so much of its ceiling. How many were admitted.
fn storm(dir: &Path, calls: u64, cost: u64, claimed: impl Fn(u64) -> Vec<Arc<Instance>>) -> u64 {
    let ledger = Ledger::open(Settings::new(dir), Arc::new(Still)).unwrap();
    let admission = ledger.admission();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let tasks: Vec<_> = (0..calls)
        .map(|call| {
            let demands: Vec<Demand> = claimed(call).iter().map(|instance| demand(instance, CEILING)).collect();
            let admission = admission.clone();
            runtime.spawn(async move {
                let reserved = admission.reserve(opening(call), demands, Duration::from_secs(60)).await;
                let Ok(reservation) = reserved else { return 0 };
                tokio::task::yield_now().await;
                reservation.settle(closing_of(i64::try_from(cost).unwrap()));
                1
            })
        })
        .collect();
    let admitted = runtime.block_on(async {
        let mut admitted = 0;
        for task in tasks {
            admitted += task.await.unwrap();
        }
        admitted
    });
    assert_eq!(admission.lock().book.open_holds(), 0);
    assert!(admission.standing().iter().all(|(_, balance)| balance.held == 0));
    assert!(ledger.close().folded);
    let accounts = Reader::open(dir).unwrap().budget_accounts(&AccountQuery::default()).unwrap();
    assert!(accounts.iter().all(|account| account.settled <= account.limit && account.leased == 0), "{accounts:?}");
    let report = verify(dir, &mut |_| {}).unwrap();
    assert!(report.is_clean(), "{:?}", report.faults);
    assert_eq!((report.events, report.cost_pico), (admitted, i128::from(admitted * cost)));
    admitted
}

#[test]
fn a_global_cap_admits_to_the_last_call_and_not_one_more() {
    for calls in [500, 1_000] {
        let global = scoped("global", "", u128::from(CEILING * calls / 2));
        assert_eq!(storm(data_dir().path(), calls, CEILING, |_| vec![global.clone()]), calls / 2);
    }
}

#[test]
fn what_calls_leave_of_their_ceiling_admits_others() {
    let global = scoped("global", "", u128::from(CEILING * 100));
    assert_eq!(storm(data_dir().path(), 500, CEILING / 4, |_| vec![global.clone()]), 397, "the last needs its ceiling");
}

#[test]
fn every_value_of_a_scope_has_a_cap_of_its_own() {
    let models: Vec<_> =
        (0..4).map(|model| scoped("per model", &format!("model=m{model}"), u128::from(CEILING * 100))).collect();
    assert_eq!(storm(data_dir().path(), 1_000, CEILING, |call| vec![models[call as usize % 4].clone()]), 400);
}

#[test]
fn the_first_calls_of_a_user_whom_nobody_knew_do_not_pass_by_his_cap() {
    // LiteLLM #40095: concurrent first requests of an unknown end user were admitted without a budget.
    let seen_first = |_| vec![scoped("per user", "end_user=new", u128::from(CEILING * 7))];
    assert_eq!(storm(data_dir().path(), 500, CEILING, seen_first), 7);
}

#[test]
fn of_two_budgets_that_overlap_both_hold() {
    let (team, global) =
        (scoped("team", "team=a", u128::from(CEILING * 60)), scoped("global", "", u128::from(CEILING * 90)));
    let claimed = |call| match call % 2 {
        0 => vec![team.clone(), global.clone()],
        _ => vec![global.clone()],
    };
    assert_eq!(storm(data_dir().path(), 500, CEILING, claimed), 90);
}
