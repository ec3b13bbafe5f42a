//! The folder: one thread that moves settled events from the journal into the store, in batches, exactly once.
//!
//! Only what is durable in the journal is folded, the position goes into the same transaction as the events, and a
//! segment is deleted only after that transaction is on disk. When the store is away the folder tries again and again;
//! events wait in the journal, and admission slows down at the backlog's bound: nothing is dropped.

use super::admission::{Admission, Core};
use super::lender::tell_alerts;
use super::place::{self, Held};
use super::queue::{Batch, Waiting};
use super::record::{Draft, Kind, Progressed, Reserved, Settled};
use super::recovery;
use super::segment::{self, Scanner, Step};
use crate::budget::book::Charge;
use crate::budget::lease::End;
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::ids::EventId;
use crate::store::{JournalPosition, Store, StoreError, WITHOUT_JOURNAL};
use parking_lot::MutexGuard;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const BATCH_EVENTS_MAX: usize = 5_000;
const ROLLUPS_INTERVAL: Duration = Duration::from_secs(5);
const IDLE_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// How often another process's journal or lock is looked for.
const NEIGHBOURS_INTERVAL: Duration = Duration::from_secs(5);
const LOCK_INTERVAL: Duration = Duration::from_millis(100);
/// Stragglers moved at once, so that the mutex is not held for long.
const CARRIED_AT_ONCE: usize = 64;

/// Why a step of the folder failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum FoldError {
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error("the journal: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Recovery(#[from] recovery::RecoveryError),
}

/// The writing end of the store, with the lock that says that it is ours.
pub(super) struct Writer {
    pub store: Store,
    pub _lock: Held,
}

pub(super) struct Folder {
    admission: Arc<Admission>,
    /// `None` while another process folds.
    writer: Option<Writer>,
    epoch: u64,
    loose_folded: u64,
    last_fold: Instant,
    last_rollups: Instant,
    last_neighbours: Instant,
    rollups_dirty: bool,
    /// Stragglers of this segment and before are copied forward up to this position.
    carried: Option<JournalPosition>,
    /// The store knows that the journal is fenced.
    fence_noted: bool,
    /// Names that were erased from the store, and are out of the journal as well.
    erasures_seen: Option<u64>,
}

impl Folder {
    pub fn new(admission: Arc<Admission>, writer: Option<Writer>, epoch: u64) -> Folder {
        let now = Instant::now();
        admission.lock().folding = writer.is_some();
        Folder {
            admission,
            writer,
            epoch,
            loose_folded: 0,
            last_fold: now,
            last_rollups: now,
            last_neighbours: now,
            rollups_dirty: false,
            carried: None,
            fence_noted: false,
            erasures_seen: None,
        }
    }

    /// Runs until the ledger is closed and everything is folded, or `close_deadline` has passed. `true`: all folded.
    pub fn run(mut self) -> bool {
        let admission = self.admission.clone();
        loop {
            match self.step() {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => self.failed(&error),
            }
            let mut core = admission.lock();
            if let Some(deadline) = core.close_deadline {
                let late = Instant::now() >= deadline || self.writer.is_none();
                if late || (core.queue.is_empty() && core.fold_error.is_none()) {
                    drop(core);
                    return !late && self.finish();
                }
            }
            self.wait(&mut core);
        }
    }

    /// One round of work; `true` when there may be more at once.
    pub fn step(&mut self) -> Result<bool, FoldError> {
        self.become_writer()?;
        if self.writer.is_none() {
            return Ok(false);
        }
        self.note_fence()?;
        let more = self.fold_waiting()? | self.fold_loose()?;
        self.flush_rollups(ROLLUPS_INTERVAL)?;
        self.carry_stragglers();
        self.delete_segments()?;
        self.recover_neighbours()?;
        if self.admission.lock().fold_error.take().is_some() {
            tracing::info!("the store is well again");
        }
        Ok(more)
    }

    fn fold_waiting(&mut self) -> Result<bool, FoldError> {
        let core = self.admission.lock();
        let upto = core.foldable();
        let batch = core.queue.batch(upto, BATCH_EVENTS_MAX);
        let dir = core.journal.dir().to_owned();
        drop(core);
        let (events, position, read_bytes) = match batch {
            Batch::Nothing => return Ok(false),
            Batch::Events(waiting) => {
                let end = waiting.last().map_or(upto, |last| last.end);
                (waiting.iter().map(|Waiting { event, .. }| Event::clone(event)).collect(), end, 0)
            }
            Batch::Journal(from) => read_back(&dir, self.epoch, from, upto)?,
        };
        let corrected = self.fold(self.epoch, &events, position)?;
        let mut core = self.admission.lock();
        core.book_folded(&events, &corrected);
        core.queue.folded(events.len() as u64, position, read_bytes);
        let (written, bytes) = (core.journal.written(), core.journal.written_bytes());
        core.queue.caught_up(written, bytes);
        core.last_commit_at = Some(self.admission.now());
        let more = events.len() >= BATCH_EVENTS_MAX || core.queue.is_spilled();
        drop(core);
        self.admission.room.notify_waiters();
        if !corrected.is_empty() {
            self.admission.freed.notify_waiters();
        }
        Ok(more)
    }

    fn fold_loose(&mut self) -> Result<bool, FoldError> {
        let loose = self.admission.lock().queue.loose(BATCH_EVENTS_MAX);
        if loose.is_empty() {
            return Ok(false);
        }
        let events: Vec<Event> = loose.iter().map(|event| Event::clone(event)).collect();
        let position = JournalPosition { segment: 0, offset: self.loose_folded + events.len() as u64 };
        let corrected = self.fold(without_journal(self.epoch), &events, position)?;
        self.loose_folded += events.len() as u64;
        let mut core = self.admission.lock();
        core.book_folded(&events, &corrected);
        core.queue.loose_folded(events.len());
        core.last_commit_at = Some(self.admission.now());
        Ok(true)
    }

    /// Gives the corrections that the store made.
    fn fold(&mut self, epoch: u64, events: &[Event], upto: JournalPosition) -> Result<Vec<Charge>, FoldError> {
        let (Some(writer), false) = (&mut self.writer, events.is_empty()) else { return Ok(Vec::new()) };
        let turn = self.admission.store_turn.lock();
        let folded = writer.store.fold(epoch, events, upto)?;
        drop(turn);
        self.rollups_dirty = true;
        self.last_fold = Instant::now();
        tell_alerts(&folded.alerts);
        if !folded.late.is_empty() {
            self.admission.lock().late.extend(folded.late);
        }
        Ok(folded.corrected)
    }

    /// What the journal holds is then no proof of what was spent, should this process die.
    fn note_fence(&mut self) -> Result<(), FoldError> {
        let fenced = !self.fence_noted && self.admission.lock().journal.fenced().is_some();
        if let (true, Some(writer)) = (fenced, &mut self.writer) {
            writer.store.note_fence(self.epoch, self.admission.now())?;
            self.fence_noted = true;
        }
        Ok(())
    }

    fn flush_rollups(&mut self, interval: Duration) -> Result<(), FoldError> {
        if let Some(writer) = self.writer.as_mut().filter(|_| self.rollups_dirty)
            && self.last_rollups.elapsed() >= interval
        {
            let _turn = self.admission.store_turn.lock();
            writer.store.flush_rollups()?;
            self.rollups_dirty = false;
            self.last_rollups = Instant::now();
        }
        Ok(())
    }

    /// Takes over the store when the process that had it is gone.
    fn become_writer(&mut self) -> Result<(), FoldError> {
        if self.writer.is_some() {
            return Ok(());
        }
        let settings = self.admission.settings();
        let Ok(lock) = place::lock(&settings.data_dir.join("store.lock"), &place::boot_id())? else { return Ok(()) };
        let store = Store::open(&settings.data_dir, self.admission.now())?;
        tracing::info!("this process now folds the journal into the store");
        self.last_neighbours = Instant::now().checked_sub(NEIGHBOURS_INTERVAL).unwrap_or_else(Instant::now);
        self.writer = Some(Writer { store, _lock: lock });
        self.admission.lock().folding = true;
        Ok(())
    }

    /// Somebody was erased: the journal goes on in a new segment, and the old ones, which have the name as it was said, are
    /// deleted when they are folded.
    pub(super) fn leave_erased_names(&mut self) -> Result<(), FoldError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let erasures = writer.store.erasures()?;
        let mut core = self.admission.lock();
        let owed = core.owed_bytes;
        if self.erasures_seen.is_none_or(|seen| seen == erasures) || core.journal.turn(owed) {
            self.erasures_seen = Some(erasures);
        }
        drop(core);
        // What is made at the next write is wanted now, so that the next look can turn.
        self.admission.spare_wanted.notify_one();
        Ok(())
    }

    /// Books what processes left behind that died while this one ran.
    fn recover_neighbours(&mut self) -> Result<(), FoldError> {
        if self.writer.is_some() && self.last_neighbours.elapsed() >= NEIGHBOURS_INTERVAL {
            self.leave_erased_names()?;
        }
        if let Some(writer) = &mut self.writer
            && self.last_neighbours.elapsed() >= NEIGHBOURS_INTERVAL
        {
            self.last_neighbours = Instant::now();
            let data_dir = &self.admission.settings().data_dir;
            let recovered = recovery::recover_all(data_dir, Some(self.epoch), &mut writer.store)?;
            self.rollups_dirty |= !recovered.is_empty();
        }
        Ok(())
    }

    /// A reservation that stays open for long would keep its segment, and all behind it, on disk: its record is written
    /// again at the end of the journal. Only done when that segment is the oldest and nothing else needs it.
    fn carry_stragglers(&mut self) {
        let admission = self.admission.clone();
        let mut core = admission.lock();
        let Some(oldest) = core.open_in.keys().next().copied() else { return };
        let blocks =
            oldest + 1 < core.journal.written().segment && oldest < core.queue.oldest_needed(core.journal.durable());
        if !blocks || core.journal.fenced().is_some() {
            return;
        }
        let stuck = core.open.iter().filter(|(_, open)| open.segment == Some(oldest)).map(|(id, _)| *id);
        for id in stuck.take(CARRIED_AT_ONCE).collect::<Vec<EventId>>() {
            if carry(&mut core, id, admission.now()).is_none() {
                break;
            }
        }
        self.carried = Some(core.journal.written());
        admission.dirty.notify_one();
    }

    /// Deletes from the oldest segment on what is folded, has nothing open and is not written any more.
    fn delete_segments(&mut self) -> Result<(), FoldError> {
        let core = self.admission.lock();
        let durable = core.journal.durable();
        if self.carried.is_some_and(|carried| carried > durable) {
            return Ok(());
        }
        let mut keep = core.queue.oldest_needed(durable).min(core.journal.written().segment).min(durable.segment);
        keep = core.open_in.keys().next().map_or(keep, |open| keep.min(*open));
        if core.journal.fenced().is_some() || core.journal.first_segment() >= keep {
            return Ok(());
        }
        let (dir, first) = (core.journal.dir().to_owned(), core.journal.first_segment());
        drop(core);
        for number in first..keep {
            match std::fs::remove_file(dir.join(segment::name(number))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => segment::sync_directory(&dir)?,
            }
            self.admission.lock().journal.set_first_segment(number + 1);
        }
        Ok(())
    }

    /// The end: rollups are flushed, and the store knows that this process stopped in order.
    fn finish(mut self) -> bool {
        let now = self.admission.now();
        let flushed = self.flush_rollups(Duration::ZERO).and_then(|()| match &mut self.writer {
            Some(writer) => {
                // Everything is settled and in the store: what is left of the slices is proven unspent.
                let lost = self.admission.lock().counts.lost > 0;
                let end = if lost { End::Unproven } else { End::Proven };
                tell_alerts(&writer.store.end_leases(self.epoch, end, now)?);
                Ok(writer.store.close_epoch(self.epoch, now)?)
            }
            None => Ok(()),
        });
        if let Err(error) = flushed {
            // Events are in the store; queries add what the rollups miss.
            tracing::warn!(%error, "the last rollups were not flushed; the next start does it");
        }
        self.writer.is_some()
    }

    fn failed(&mut self, error: &FoldError) {
        let mut core = self.admission.lock();
        if core.fold_error.is_none() {
            tracing::error!(%error, "events wait in the journal: the store does not take them");
        }
        core.fold_error = Some(error.to_string().into());
    }

    /// Until there is a batch worth a transaction, or the end is asked for.
    fn wait(&self, core: &mut MutexGuard<'_, Core>) {
        let settings = self.admission.settings();
        let pause = match (&self.writer, &core.fold_error) {
            (_, Some(_)) => RETRY_PAUSE,
            (None, None) => LOCK_INTERVAL,
            (Some(_), None) if core.queue.is_empty() => {
                // The syncer tells when something was written; what is settled then waits for its interval.
                self.admission.foldable.wait_for(core, IDLE_PAUSE);
                settings.fold_interval.saturating_sub(self.last_fold.elapsed())
            }
            (Some(_), None) => settings.fold_interval,
        };
        let deadline = Instant::now() + pause;
        loop {
            let timed_out = self.admission.foldable.wait_until(core, deadline).timed_out();
            if timed_out || (core.close_deadline.is_some() && core.fold_error.is_none()) {
                return;
            }
        }
    }
}

impl Core {
    /// The store has these events, and corrected what these charges say.
    fn book_folded(&mut self, events: &[Event], corrected: &[Charge]) {
        for event in events.iter().filter(|event| event.kind == EventKind::Attempt) {
            self.book.folded(&event.charges);
        }
        self.book.corrected(corrected);
    }
}

/// Events that never were in a journal (the process's fenced, or `on_failure: pass`) are folded under an epoch of their
/// own, so that their positions do not stand in the way of the journal's.
pub(super) fn without_journal(epoch: u64) -> u64 {
    epoch | WITHOUT_JOURNAL
}

/// Reads settlements that did not fit into memory. Gives them with the position behind the last and the bytes read.
fn read_back(
    dir: &std::path::Path,
    epoch: u64,
    from: JournalPosition,
    upto: JournalPosition,
) -> io::Result<(Vec<Event>, JournalPosition, u64)> {
    let (mut events, mut position, mut bytes) = (Vec::new(), from, 0);
    while position < upto && events.len() < BATCH_EVENTS_MAX {
        let mut scanner =
            Scanner::open(&dir.join(segment::name(position.segment)), epoch, position.segment, position.offset)?;
        while events.len() < BATCH_EVENTS_MAX && position < upto {
            let Step::Record(raw) = scanner.next()? else { break };
            if raw.kind == Kind::Settle {
                let settled: Settled<'_> = postcard::from_bytes(raw.payload).map_err(io::Error::other)?;
                events.push(settled.event.into_owned());
            }
            bytes += raw.end - raw.start;
            position.offset = raw.end;
        }
        let segment_done = events.len() < BATCH_EVENTS_MAX && position.segment < upto.segment;
        match segment_done {
            true => position = JournalPosition { segment: position.segment + 1, offset: 0 },
            false if position < upto && events.len() < BATCH_EVENTS_MAX => {
                return Err(io::Error::other(format!("{} does not read back", segment::name(position.segment))));
            }
            false => {}
        }
    }
    Ok((events, position, bytes))
}

/// Writes the record of an open reservation again, and how far it has come.
fn carry(core: &mut Core, id: EventId, now: Timestamp) -> Option<()> {
    let open = core.open.get(&id)?;
    let claims = core.book.held(open.hold).map_or(&[][..], |hold| &hold.claims);
    let content = Reserved { opening: Cow::Borrowed(&*open.opening), claims: Cow::Borrowed(claims) };
    let mut reserve = Draft::new(Kind::Reserve, &content).ok()?;
    let output_tokens = open.output_tokens.load(Ordering::Relaxed);
    let mut progress = Draft::new(Kind::Progress, &Progressed { id, output_tokens, at: now }).ok()?;
    let (owed, old) = (core.owed_bytes, open.segment?);
    let end = core.journal.append(&mut reserve, owed).ok()?;
    // Without room for it, recovery estimates from the last progress that is still there.
    let _ = core.journal.append(&mut progress, owed);
    core.leave_segment(old);
    *core.open_in.entry(end.segment).or_default() += 1;
    if let Some(open) = core.open.get_mut(&id) {
        open.segment = Some(end.segment);
    }
    Some(())
}
