//! What was withheld is released or charged, once; and the ledger adds up before and after.

use super::*;
use crate::ledger::resolve::{ResolveError, Verdict, Which, resolve};
use crate::ledger::verify::{inspect, verify};

/// Two calls that died: 100 tokens in at 125 µ$, 775 µ$ withheld, each.
fn with_two_dead() -> TempDir {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    bench.call(0);
    let open = vec![bench.reserve(1), bench.reserve(2)];
    bench.die(open);
    dir
}

fn money(dir: &Path) -> (i128, i128) {
    let report = verify(dir, &mut |_| ()).unwrap();
    assert_eq!(report.faults, []);
    (report.cost_pico, report.withheld_pico)
}

#[test]
fn a_released_event_gives_back_what_was_withheld_and_a_charged_one_becomes_cost() {
    let dir = with_two_dead();
    let release = || resolve(dir.path(), Which::One(id(1)), Verdict::Release, &Still).unwrap();
    assert_eq!(
        release().iter().map(|one| (one.of, one.amount)).collect::<Vec<_>>(),
        [(id(1), Usd::from_pico(775_000_000))]
    );
    assert_eq!(money(dir.path()), (575_000_000, 775_000_000));
    assert_eq!(release(), [], "a second time there is nothing to release");
    resolve(dir.path(), Which::One(id(2)), Verdict::Charge, &Still).unwrap();
    assert_eq!(money(dir.path()), (575_000_000 + 775_000_000, 0));
    assert_eq!(rows(dir.path()).iter().filter(|row| row.adjusts.is_some()).count(), 2);
}

#[test]
fn all_older_than_a_moment_are_decided_at_once() {
    let dir = with_two_dead();
    let before = |moment| resolve(dir.path(), Which::AllBefore(moment), Verdict::Release, &Still).unwrap().len();
    assert_eq!(before(START), 0);
    assert_eq!(before(Timestamp(START.0 + 2_000)), 1);
    assert_eq!(before(Timestamp(START.0 + 10_000)), 1);
}

#[test]
fn nothing_is_decided_while_a_server_runs_or_for_an_event_that_is_not_there() {
    let dir = with_two_dead();
    let unknown = resolve(dir.path(), Which::One(id(77)), Verdict::Release, &Still);
    assert!(matches!(unknown, Err(ResolveError::NoSuchEvent(_))));
    let _running = open(dir.path());
    let held = resolve(dir.path(), Which::One(id(1)), Verdict::Release, &Still);
    assert!(matches!(held, Err(ResolveError::Running { pid: Some(_), .. })));
}

#[test]
fn a_mistyped_directory_is_not_made() {
    let dir = data_dir();
    let missing = dir.path().join("mistyped");
    assert!(resolve(&missing, Which::One(id(1)), Verdict::Release, &Still).is_err());
    assert!(!missing.exists());
}

#[test]
fn the_directory_tells_whose_journals_it_holds() {
    let dir = with_two_dead();
    let found = inspect(dir.path()).unwrap();
    assert_eq!((found.folding_pid, found.journals.len(), found.journals[0].in_use), (None, 1, false));
    let _running = open(dir.path());
    let found = inspect(dir.path()).unwrap();
    assert_eq!((found.folding_pid, found.events), (Some(std::process::id()), 3));
    assert_eq!(found.journals.iter().map(|journal| journal.in_use).collect::<Vec<_>>(), [true]);
}
