//! Bad disks: full, not syncing, broken; the store away.

use super::*;
use crate::ledger::OnFailure;
use crate::ledger::admission::{Away, NotAdmitted};
use std::fs::OpenOptions;

fn refused(bench: &Bench, sequence: u64) -> Option<Away> {
    match now_or_soon(bench.admission.reserve(opening(sequence), Vec::new(), std::time::Duration::ZERO)) {
        Err(NotAdmitted::LedgerAway { why }) => Some(why),
        Err(NotAdmitted::OverBudget { .. }) => panic!("there is no budget"),
        Ok(reservation) => {
            reservation.settle(closing());
            None
        }
    }
}

/// Writes to the null device succeed and syncs of it fail: a disk that loses what it took.
fn break_syncs(bench: &Bench) {
    bench.admission.lock().journal.replace_file(OpenOptions::new().read(true).write(true).open("/dev/null").unwrap());
}

/// Every write to this device says that no space is left.
fn break_writes(bench: &Bench) {
    bench.admission.lock().journal.replace_file(OpenOptions::new().read(true).write(true).open("/dev/full").unwrap());
}

#[test]
fn a_failed_sync_fences_the_journal_for_good_and_what_is_settled_still_reaches_the_store() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    let open = bench.reserve(1);
    bench.call(2);
    break_syncs(&bench);
    let syncer = std::thread::spawn({
        let admission = bench.admission.clone();
        move || crate::ledger::upkeep::keep_synced(&admission)
    });
    syncer.join().unwrap();
    assert!(matches!(refused(&bench, 3), Some(Away::Fenced(_))));
    open.settle(closing());
    bench.fold();
    assert_eq!(rows(dir.path()).iter().map(|row| row.id).collect::<Vec<_>>(), [id(1), id(2)]);
    bench.die(vec![]);
    recover(dir.path());
    assert_eq!(rows(dir.path()).len(), 2, "recovery books nothing twice");
}

#[test]
fn a_failed_write_fences_the_journal_and_releases_the_hold() {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    break_writes(&bench);
    assert!(matches!(refused(&bench, 1), Some(Away::Fenced(why)) if why.contains("seg-0000000001")));
    assert_eq!(bench.admission.lock().open.len(), 0);
}

#[test]
fn a_full_disk_refuses_new_calls_keeps_room_for_settlements_and_heals_by_itself() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    let mut open = Vec::new();
    let mut sequence = 0;
    let why = loop {
        sequence += 1;
        match now_or_soon(bench.admission.reserve(opening(sequence), Vec::new(), std::time::Duration::ZERO)) {
            Ok(reservation) => open.push(reservation),
            Err(error) => break error,
        }
    };
    assert!(matches!(why, NotAdmitted::LedgerAway { why: Away::NoRoom(_) }));
    assert!(matches!(bench.admission.away(), Some(Away::NoRoom(_))), "what is said is what calls meet");
    let admitted = open.len();
    for reservation in open {
        reservation.settle(closing());
    }
    assert_eq!(bench.admission.lock().counts.lost, 0);
    bench.sync();
    bench.fold();
    assert_eq!(rows(dir.path()).len(), admitted);
    assert!(bench.admission.lock().queue.is_empty(), "every settlement had its room in the journal");
    bench.spare();
    assert_eq!(bench.admission.away(), None);
    assert_eq!(refused(&bench, sequence), None);
}

#[test]
fn a_spare_that_cannot_be_made_is_told_and_tried_again() {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    while bench.admission.lock().journal.spare_wanted(0).is_none() {
        let sequence = bench.admission.lock().journal.written_bytes();
        bench.call(sequence);
    }
    let in_the_way = bench.journal_dir().join("seg-0000000002.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let spares = std::thread::spawn({
        let admission = bench.admission.clone();
        move || crate::ledger::upkeep::keep_spares(&admission)
    });
    wait_until(|| bench.admission.lock().spare_error.is_some());
    std::fs::remove_dir(&in_the_way).unwrap();
    wait_until(|| bench.admission.lock().journal.spares() > 0);
    assert!(bench.admission.lock().spare_error.is_none());
    bench.admission.lock().closed = true;
    bench.admission.spare_wanted.notify_all();
    spares.join().unwrap();
}

#[test]
fn admission_waits_while_the_disk_does_not_sync_and_goes_on_when_it_does() {
    let dir = data_dir();
    let bench = Bench::with(Settings { power_loss_window: std::time::Duration::ZERO, ..settings(dir.path()) });
    assert_eq!(refused(&bench, 1), None);
    assert!(matches!(refused(&bench, 2), Some(Away::SyncStalled(_))));
    bench.sync();
    assert_eq!(refused(&bench, 3), None);
}

#[test]
fn a_store_that_is_behind_slows_admission_and_nothing_is_dropped() {
    let dir = data_dir();
    let mut bench = Bench::with(Settings { backlog_events_max: 10, ..settings(dir.path()) });
    for call in 0..10 {
        assert_eq!(refused(&bench, call), None);
    }
    assert!(matches!(refused(&bench, 10), Some(Away::Backlog { events: 10, .. })));
    bench.sync();
    bench.fold();
    assert_eq!(refused(&bench, 11), None);
    assert_eq!(rows(dir.path()).len(), 10);
}

#[test]
fn a_waiting_call_is_admitted_as_soon_as_there_is_room() {
    let dir = data_dir();
    let window = std::time::Duration::ZERO;
    let wait = std::time::Duration::from_secs(60);
    let bench = Bench::with(Settings { power_loss_window: window, admission_wait_max: wait, ..settings(dir.path()) });
    bench.call(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let waiting = bench.admission.reserve(opening(2), Vec::new(), std::time::Duration::ZERO);
        let healing = async {
            tokio::task::yield_now().await;
            bench.sync();
            bench.admission.room.notify_waiters();
        };
        let (admitted, ()) = tokio::join!(waiting, healing);
        admitted.unwrap().settle(closing());
    });
}

#[test]
fn with_on_failure_pass_calls_go_through_counted_and_reach_the_store() {
    let dir = data_dir();
    let mut bench = Bench::with(Settings { on_failure: OnFailure::Pass, ..settings(dir.path()) });
    break_writes(&bench);
    assert_eq!(refused(&bench, 1), None, "also the call that met the error");
    assert_eq!(refused(&bench, 2), None);
    let team = team(1_000_000_000);
    assert!(hold(&bench.admission, 3, &[(&team, 1)]).is_err(), "but none that a budget binds");
    bench.fold();
    assert_eq!(rows(dir.path()).iter().map(|row| row.id).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(bench.admission.lock().counts.passed_unjournalled, 2);
}
