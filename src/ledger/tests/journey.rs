//! Good days: what is admitted is settled, folded, and ends in order.

use super::*;
use crate::ledger::admission::NotAdmitted;
use crate::store::Subject;

#[test]
fn a_person_who_is_erased_leaves_the_journal_of_a_running_node_as_well() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    let mut of_ann = opening(1);
    of_ann.caller = Arc::new(crate::tenants::Caller { user: Some("ann-the-caller".into()), ..Default::default() });
    let reserved = now_or_soon(bench.admission.reserve(of_ann, Vec::new(), std::time::Duration::ZERO)).unwrap();
    reserved.settle(closing());
    let holds_her = |bench: &Bench| {
        let files =
            std::fs::read_dir(bench.journal_dir()).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| memchr::memmem::find(&bytes, b"ann-the-caller").is_some())
    };
    bench.sync();
    bench.fold();
    bench.folder.leave_erased_names().unwrap();
    assert!(holds_her(&bench), "nobody was erased yet, and the segment is not full");
    let erased =
        Store::open(dir.path(), START).unwrap().erase(Subject::User, "ann-the-caller", (START, "test"), false).unwrap();
    assert_eq!(erased.events, 1);
    bench.folder.leave_erased_names().unwrap();
    bench.spare();
    bench.folder.leave_erased_names().unwrap();
    bench.fold();
    assert!(!holds_her(&bench));
    bench.call(2);
    bench.sync();
    bench.fold();
    assert_eq!(rows(dir.path()).len(), 2);
}

#[test]
fn a_settled_call_is_in_the_store_after_the_ledger_is_closed_and_its_journal_is_gone() {
    let dir = data_dir();
    let ledger = open(dir.path());
    let reservation =
        now_or_soon(ledger.admission().reserve(opening(1), Vec::new(), std::time::Duration::ZERO)).unwrap();
    let event = reservation.settle(closing());
    assert_eq!(event.cost(), Usd::from_pico(325_000_000));
    let closed = ledger.close();
    assert_eq!((closed.folded, closed.abandoned), (true, 0));
    let rows = rows(dir.path());
    assert_eq!(
        rows.iter().map(|row| (row.id, row.cost)).collect::<Vec<_>>(),
        [(id(1), Some(Usd::from_pico(325_000_000)))]
    );
    assert!(place::journals(dir.path()).unwrap().is_empty());
}

#[test]
fn a_settled_call_reaches_the_store_while_the_ledger_runs() {
    let dir = data_dir();
    let ledger = open(dir.path());
    now_or_soon(ledger.admission().reserve(opening(1), Vec::new(), std::time::Duration::ZERO))
        .unwrap()
        .settle(closing());
    wait_until(|| rows(dir.path()).len() == 1);
    assert!(ledger.status().last_commit_at.is_some());
}

#[test]
fn a_reservation_that_is_dropped_is_booked_at_its_estimate_and_the_rest_is_withheld() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    let reservation = bench.reserve(1);
    reservation.progress(30);
    drop(reservation);
    bench.sync();
    bench.fold();
    let row = &rows(dir.path())[0];
    assert_eq!(outcome(row), "proxy_internal");
    assert_eq!(row.cost, Some(Usd::from_pico(125_000_000 + 300_000_000)));
    assert_eq!(row.withheld, Usd::from_pico(900_000_000 - 425_000_000));
    assert_eq!((row.usage.input_tokens(), row.usage.output_tokens()), (100, 30));
    assert_eq!(bench.admission.lock().counts.abandoned, 1);
}

#[test]
fn only_what_is_synced_is_folded() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    bench.call(1);
    bench.fold();
    assert_eq!(rows(dir.path()).len(), 0);
    bench.sync();
    bench.fold();
    assert_eq!(rows(dir.path()).len(), 1);
}

#[test]
fn events_that_do_not_fit_into_memory_are_read_back_from_the_journal() {
    let dir = data_dir();
    // Two hundred calls without a sync between them, on whatever machine.
    let patient = Settings { power_loss_window: std::time::Duration::from_secs(60), ..settings(dir.path()) };
    let mut bench = Bench::with(Settings { queue_events_max: 3, ..patient });
    for round in 0..3 {
        for call in 0..200 {
            bench.spare();
            bench.call(round * 200 + call);
        }
        bench.sync();
        bench.fold();
        assert_eq!(rows(dir.path()).len() as u64, (round + 1) * 200);
        assert!(bench.admission.lock().queue.is_empty());
    }
}

#[test]
fn segments_are_deleted_behind_the_folder_and_a_straggler_is_carried_forward() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    let straggler = bench.reserve(1);
    straggler.progress(1_000);
    for call in 2..2_000 {
        bench.spare();
        bench.call(call);
        if call % 50 == 0 {
            bench.sync();
            bench.fold();
        }
    }
    bench.sync();
    bench.fold();
    assert!(bench.admission.lock().journal.written().segment > 10, "it rotated");
    assert!(bench.segments().len() <= 4, "{:?}", bench.segments());
    bench.die(vec![straggler]);
    let found = recover(dir.path());
    assert_eq!(found[0].died, 1);
    let rows = rows(dir.path());
    assert_eq!(rows.len(), 1_999);
    assert_eq!((outcome(&rows[0]), rows[0].usage.output_tokens()), ("proxy_died", 1_000));
}

#[test]
fn a_call_over_budget_is_refused_with_the_budget_named_and_nothing_is_journalled() {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    let team = team(1_000_000_000);
    let first = hold(&bench.admission, 1, &[(&team, 900_000_000)]).unwrap();
    let written = bench.admission.lock().journal.written();
    let refused = hold(&bench.admission, 2, &[(&team, 900_000_000)]).err();
    assert!(matches!(refused, Some(NotAdmitted::OverBudget { blocked }) if blocked[0].instance == team));
    assert_eq!(bench.admission.lock().journal.written(), written);
    first.settle(closing());
    assert!(hold(&bench.admission, 3, &[(&team, 600_000_000)]).is_ok(), "the rest of the hold is free");
}

#[test]
fn what_is_still_open_at_the_end_is_booked_by_close_and_a_late_settlement_changes_nothing() {
    let dir = data_dir();
    let ledger = open(dir.path());
    let late = now_or_soon(ledger.admission().reserve(opening(1), Vec::new(), std::time::Duration::ZERO)).unwrap();
    let closed = ledger.close();
    assert_eq!((closed.folded, closed.abandoned), (true, 1));
    late.settle(closing());
    let rows = rows(dir.path());
    assert_eq!((rows.len(), outcome(&rows[0])), (1, "proxy_internal"));
}

#[test]
fn nothing_is_admitted_while_the_ledger_stops() {
    let dir = data_dir();
    let ledger = open(dir.path());
    let admission = ledger.admission();
    ledger.close();
    assert!(now_or_soon(admission.reserve(opening(1), Vec::new(), std::time::Duration::ZERO)).is_err());
}

#[test]
fn ids_go_on_where_the_store_ends_whatever_the_clock_says() {
    let dir = data_dir();
    let ledger = open(dir.path());
    let far = opening(1_000_000);
    now_or_soon(ledger.admission().reserve(far.clone(), Vec::new(), std::time::Duration::ZERO))
        .unwrap()
        .settle(closing());
    ledger.close();
    let ledger = open(dir.path());
    assert!(ledger.next_event_id(START) > far.id);
}

#[test]
fn a_segment_with_an_open_reservation_stays_until_that_is_carried_forward() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    let straggler = bench.reserve(0);
    for call in 1.. {
        bench.spare();
        bench.call(call);
        if bench.admission.lock().journal.written().segment == 2 {
            break;
        }
    }
    bench.sync();
    bench.fold();
    bench.die(vec![straggler]);
    assert_eq!(recover(dir.path())[0].died, 1);
    assert_eq!(outcome(&rows(dir.path())[0]), "proxy_died");
}
