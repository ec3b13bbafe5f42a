//! Two processes on one data directory: refused, or one taking over from the other.

use super::*;
use crate::ledger::OpenError;

#[test]
fn a_second_process_is_refused_and_the_holder_is_named() {
    let dir = data_dir();
    let _first = open(dir.path());
    let refused = Ledger::open(settings(dir.path()), Arc::new(Still)).err();
    let Some(OpenError::Held { pid, .. }) = refused else { panic!("it was let in: {refused:?}") };
    assert_eq!(pid, Some(std::process::id()));
}

#[test]
fn an_upgrade_journals_beside_the_old_process_and_folds_when_that_is_gone() {
    let dir = data_dir();
    let old = open(dir.path());
    let new = Ledger::open(Settings { upgrade: true, ..settings(dir.path()) }, Arc::new(Still)).unwrap();
    now_or_soon(new.admission().reserve(opening(1), Vec::new(), std::time::Duration::ZERO)).unwrap().settle(closing());
    now_or_soon(old.admission().reserve(opening(2), Vec::new(), std::time::Duration::ZERO)).unwrap().settle(closing());
    assert!(!new.status().folding);
    assert!(old.close().folded);
    assert_eq!(rows(dir.path()).iter().map(|row| row.id).collect::<Vec<_>>(), [id(2)]);
    assert!(new.close().folded);
    assert_eq!(rows(dir.path()).len(), 2);
}

#[test]
fn what_an_upgrade_leaves_when_it_stops_first_is_folded_by_the_next_start() {
    let dir = data_dir();
    let old = open(dir.path());
    let new = Ledger::open(Settings { upgrade: true, ..settings(dir.path()) }, Arc::new(Still)).unwrap();
    now_or_soon(new.admission().reserve(opening(1), Vec::new(), std::time::Duration::ZERO)).unwrap().settle(closing());
    assert!(!new.close().folded);
    old.close();
    let next = open(dir.path());
    assert_eq!(
        next.recovered().iter().map(|found| (found.settled, found.died, found.clean)).collect::<Vec<_>>(),
        [(1, 0, true)]
    );
    assert_eq!(rows(dir.path()).len(), 1);
}
