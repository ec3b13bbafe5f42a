//! The writing end of a journal: appends records in the order of decisions and knows how far they are safe.
//!
//! It is owned by the one mutex. What takes time happens outside: [`Journal::unsynced`] hands out what the syncer has
//! to sync, and spares are made by their own thread and only pushed in here.
//!
//! *Invariant:* a record is written whole by one `pwrite`, and its position is given out only after that returned.
//! *Invariant:* after any error of a write or a sync the journal is fenced: the file is not touched again, because a
//! failed `fsync` may have thrown away what it did not write, and a second one would lie.

use super::record::Draft;
use super::segment::{self, Segment};
use crate::store::JournalPosition;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A process's first segment is small, so that starting is quick; each further one is four times as large, up to the
/// configured size.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
const SPARES_MAX: usize = 8;

/// Why a record was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAppended {
    /// What must stay free for the settlement of open reservations would not; heals when a spare arrives.
    #[error("no room left in the journal")]
    NoRoom,
    #[error("the journal is fenced: {0}")]
    Fenced(Arc<str>),
}

#[derive(Debug)]
pub(super) struct Journal {
    epoch: u64,
    dir: PathBuf,
    segment_bytes: u64,
    active: Segment,
    spares: VecDeque<Segment>,
    /// Full segments that the syncer has not synced to their end.
    retired: Vec<Arc<File>>,
    /// The oldest segment on disk.
    first_segment: u64,
    sequence: u64,
    written_bytes: u64,
    durable: JournalPosition,
    unsynced_since: Option<Instant>,
    fence: Option<Arc<str>>,
    /// It is to go on in another segment, as soon as there is one.
    turn_wanted: bool,
}

/// What the syncer has to do: sync these files, then report `upto`.
#[derive(Debug)]
pub(super) struct Unsynced {
    files: Vec<Arc<File>>,
    upto: JournalPosition,
    began: Instant,
}

impl Unsynced {
    pub fn sync(&self) -> io::Result<()> {
        self.files.iter().try_for_each(|file| file.sync_data())
    }
}

impl Journal {
    /// Begins the journal of an epoch in its own, still empty directory.
    pub fn create(dir: &Path, epoch: u64, segment_bytes: u64) -> io::Result<Journal> {
        let active = Segment::create(dir, epoch, 1, segment_bytes.min(FIRST_SEGMENT_BYTES))?;
        Ok(Journal {
            epoch,
            dir: dir.to_owned(),
            segment_bytes,
            durable: JournalPosition { segment: active.number, offset: 0 },
            first_segment: active.number,
            active,
            spares: VecDeque::new(),
            retired: Vec::new(),
            sequence: 0,
            written_bytes: 0,
            unsynced_since: None,
            fence: None,
            turn_wanted: false,
        })
    }

    /// Writes a record and gives the position behind it. `keep_free` bytes must be left for others afterwards.
    pub fn append(&mut self, draft: &mut Draft, keep_free: u64) -> Result<JournalPosition, NotAppended> {
        if let Some(why) = &self.fence {
            return Err(NotAppended::Fenced(why.clone()));
        }
        let length = draft.len();
        if length > self.active.free() {
            self.rotate(length, keep_free)?;
        } else if self.room() < length.saturating_add(keep_free) {
            return Err(NotAppended::NoRoom);
        }
        let Segment { number, at, salt, .. } = self.active;
        if let Err(error) = self.active.file.write_all_at(draft.seal(salt, self.sequence), at) {
            return Err(NotAppended::Fenced(self.fence(&format!("writing {}: {error}", segment::name(number)))));
        }
        self.sequence += 1;
        self.active.at += length;
        self.written_bytes += length;
        self.unsynced_since.get_or_insert_with(Instant::now);
        Ok(self.written())
    }

    /// Goes on in the next segment, if one is ready: what stands in the present one can then be deleted.
    pub fn turn(&mut self, keep_free: u64) -> bool {
        if self.fence.is_some() || self.rotate(0, keep_free).is_err() {
            self.turn_wanted = true;
            return false;
        }
        self.turn_wanted = false;
        if self.unsynced_since.is_none() {
            self.durable = self.written();
        }
        true
    }

    /// The position behind the last record.
    pub fn written(&self) -> JournalPosition {
        JournalPosition { segment: self.active.number, offset: self.active.at }
    }

    /// The position up to which records survive a power cut.
    pub fn durable(&self) -> JournalPosition {
        self.durable
    }

    /// All bytes ever appended.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// How long the oldest record that a power cut would lose has been waiting for its sync.
    pub fn unsynced_for(&self) -> Option<Duration> {
        self.unsynced_since.map(|since| since.elapsed())
    }

    pub fn unsynced(&self) -> Option<Unsynced> {
        self.unsynced_since?;
        let files = self.retired.iter().chain([&self.active.file]).cloned().collect();
        Some(Unsynced { files, upto: self.written(), began: Instant::now() })
    }

    /// The syncer's report. What was written since it began is as old as that at most.
    pub fn synced(&mut self, done: &Unsynced) {
        self.durable = done.upto;
        self.retired.drain(..done.files.len().saturating_sub(1));
        self.unsynced_since = (self.written() > done.upto).then_some(done.began);
    }

    /// Stops all writing for good. Gives the first reason.
    pub fn fence(&mut self, why: &str) -> Arc<str> {
        self.fence.get_or_insert_with(|| why.into()).clone()
    }

    pub fn fenced(&self) -> Option<&Arc<str>> {
        self.fence.as_ref()
    }

    /// Number and size of the spare that should be made now, so that rotation never waits; `owed` is what must stay
    /// free for settlements.
    pub fn spare_wanted(&self, owed: u64) -> Option<(u64, u64)> {
        let ahead = owed.saturating_add(self.active.size / 4 * 3);
        let short = self.room() < ahead || self.turn_wanted && self.spares.is_empty();
        let wanted = short && self.spares.len() < SPARES_MAX && self.fence.is_none();
        let last = self.spares.back().unwrap_or(&self.active);
        wanted.then(|| (last.number + 1, last.size.saturating_mul(4).min(self.segment_bytes)))
    }

    pub fn push_spare(&mut self, spare: Segment) {
        self.spares.push_back(spare);
    }

    pub fn spares(&self) -> usize {
        self.spares.len()
    }

    pub fn first_segment(&self) -> u64 {
        self.first_segment
    }

    /// Everything before `number` was deleted.
    pub fn set_first_segment(&mut self, number: u64) {
        self.first_segment = number;
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether `keep_free` bytes could be written without asking the file system for anything.
    pub fn has_room(&self, keep_free: u64) -> bool {
        self.room() >= keep_free
    }

    fn room(&self) -> u64 {
        self.spares.iter().fold(self.active.free(), |sum, spare| sum.saturating_add(spare.size))
    }

    /// Puts a broken device in the place of the active segment.
    #[cfg(test)]
    pub fn replace_file(&mut self, file: File) {
        self.active.file = Arc::new(file);
    }

    /// Writes what a later version might.
    #[cfg(test)]
    pub fn append_foreign(&mut self) -> io::Result<()> {
        let bytes = Draft::foreign().seal(self.active.salt, self.sequence).to_vec();
        self.active.file.write_all_at(&bytes, self.active.at)
    }

    /// What was left of the old segment is given up, so it does not count as room.
    fn rotate(&mut self, length: u64, keep_free: u64) -> Result<(), NotAppended> {
        let behind = self.room() - self.active.free();
        let fits = self.spares.front().is_some_and(|spare| spare.size >= length);
        if !fits || behind < length.saturating_add(keep_free) {
            return Err(NotAppended::NoRoom);
        }
        if let Some(next) = self.spares.pop_front() {
            let full = std::mem::replace(&mut self.active, next);
            self.retired.push(full.file);
        }
        Ok(())
    }
}
