//! Does it add up, and what is on disk? Read beside a running server, or without one.

use super::{place, segment};
use crate::clock::Timestamp;
use crate::store::{EventQuery, Progress, Reader, Report, StoreError};
use std::io;
use std::path::{Path, PathBuf};

/// The ledger as it lies in its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnDisk {
    pub store: PathBuf,
    pub events: u64,
    /// When the newest event's attempt began.
    pub newest_at: Option<Timestamp>,
    /// The process that folds, when one is running.
    pub folding_pid: Option<u32>,
    pub journals: Vec<JournalOnDisk>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOnDisk {
    pub epoch: u64,
    pub pid: Option<u32>,
    /// Its process lives. The next start recovers those that do not.
    pub in_use: bool,
    pub segments: u64,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot read {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Rebuilds every rollup from the events, checks each event against itself, and compares.
pub fn verify(data_dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Report, InspectError> {
    Ok(Reader::open(data_dir)?.verify(progress)?)
}

/// Looks at a data directory without changing anything in it.
pub fn inspect(data_dir: &Path) -> Result<OnDisk, InspectError> {
    let io_at = |error| InspectError::Io { path: data_dir.to_owned(), error };
    let reader = Reader::open(data_dir)?;
    let newest = reader.events(&EventQuery { limit: 1, ..EventQuery::default() })?;
    let journals = place::journals(data_dir).map_err(io_at)?;
    Ok(OnDisk {
        store: reader.path().to_owned(),
        events: reader.count_events()?,
        newest_at: newest.first().map(|row| row.started_at),
        folding_pid: place::holder(&data_dir.join("store.lock")).map_err(io_at)?.and_then(|holder| holder.pid),
        journals: journals.iter().map(|(epoch, dir)| look(*epoch, dir)).collect::<io::Result<_>>().map_err(io_at)?,
    })
}

fn look(epoch: u64, dir: &Path) -> io::Result<JournalOnDisk> {
    let segments = segment::list(dir)?;
    let sizes = segments.iter().map(|(_, path)| Ok(path.metadata()?.len()));
    let lock = dir.join("lock");
    Ok(JournalOnDisk {
        epoch,
        pid: place::lock_text(&lock).unwrap_or_default().pid,
        in_use: place::holder(&lock)?.is_some(),
        segments: segments.len() as u64,
        bytes: sizes.sum::<io::Result<u64>>()?,
    })
}
