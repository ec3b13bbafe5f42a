//! Two threads that do for the journal what takes time: one syncs it, one makes its next segments.

use super::admission::Admission;
use super::segment::Segment;
use std::time::{Duration, Instant};

/// A full or read-only disk is asked again this often.
const SPARE_RETRY: Duration = Duration::from_secs(1);

/// Syncs what was written, at most once in `sync_interval`, until the ledger is closed. An error fences the journal.
pub(super) fn keep_synced(admission: &Admission) {
    let interval = admission.settings().sync_interval;
    let mut core = admission.lock();
    loop {
        let Some(unsynced) = core.journal.unsynced() else {
            if core.closed {
                return;
            }
            admission.dirty.wait(&mut core);
            continue;
        };
        drop(core);
        let began = Instant::now();
        if let Err(error) = unsynced.sync() {
            admission.fence(&format!("syncing the journal: {error}"));
            return;
        }
        core = admission.lock();
        core.journal.synced(&unsynced);
        core.last_synced = Instant::now();
        admission.foldable.notify_one();
        admission.room.notify_waiters();
        if !core.closed {
            // `closed` is told by a notification, so that closing does not wait for the interval.
            admission.closing.wait_until(&mut core, began + interval);
        }
    }
}

/// Keeps the next segment ready, so that no attempt waits for a file to be zeroed.
pub(super) fn keep_spares(admission: &Admission) {
    let mut core = admission.lock();
    while !core.closed {
        let Some((number, size)) = core.journal.spare_wanted(core.owed_bytes) else {
            admission.spare_wanted.wait(&mut core);
            continue;
        };
        let (dir, epoch) = (core.journal.dir().to_owned(), core.journal.epoch());
        drop(core);
        let made = Segment::create(&dir, epoch, number, size);
        core = admission.lock();
        match made {
            Ok(spare) => {
                core.journal.push_spare(spare);
                if core.spare_error.take().is_some() {
                    tracing::info!("the journal has room again");
                }
                admission.room.notify_waiters();
            }
            Err(error) => {
                let why = format!("making the next journal segment in {}: {error}", dir.display());
                if core.spare_error.is_none() {
                    tracing::error!(why, "the journal cannot grow; admission stops when its present segment is full");
                }
                core.spare_error = Some(why.into());
                admission.spare_wanted.wait_for(&mut core, SPARE_RETRY);
            }
        }
    }
}
