//! One segment's file looked at by itself, without a store: what recovery would read in it. Writes the same from bytes
//! that nobody vouches for, so that what reads records meets payloads of every kind. Nothing of a running node is here.

use super::record::{Draft, salt};
use super::recovery::{RecoveryError, Replay};
use super::segment::Scanner;
use crate::store::JournalPosition;
use std::path::Path;

/// What a segment told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub records: u64,
    /// Of attempts that were settled.
    pub settled: u64,
    /// Of attempts that were open at its end.
    pub open: u64,
    /// There is a hole in it.
    pub power_loss: bool,
}

/// Reads a segment as recovery does.
///
/// # Errors
/// As recovery: it cannot be read, or is of another version of Farebox.
pub fn read(path: &Path, epoch: u64, number: u64) -> Result<Told, RecoveryError> {
    let unreadable = |error| RecoveryError::Io { path: path.into(), error };
    let mut scanner = Scanner::open(path, epoch, number, 0).map_err(unreadable)?;
    let mut replay = Replay::new(epoch, JournalPosition::default());
    let mut told = Told::default();
    while replay.step(&mut scanner, number, path)? {
        told.records += 1;
        told.settled += replay.batch.len() as u64;
        replay.batch.clear();
    }
    told.power_loss = replay.has_hole();
    told.open = replay.deaths(None).len() as u64;
    Ok(told)
}

/// Records of these kinds and payloads in a row, each with its header and a true checksum.
pub fn sealed(records: &[(u8, &[u8])], epoch: u64, number: u64) -> Vec<u8> {
    let mut segment = Vec::new();
    for (sequence, (kind, payload)) in records.iter().enumerate() {
        segment.extend_from_slice(Draft::of_bytes(*kind, payload).seal(salt(epoch, number), sequence as u64));
    }
    segment
}
