//! Admission: the one mutex around book and journal, and the reservation that settles itself.
//!
//! **When the ledger is away** (its disk does not sync, is full or broken, or the store is too far behind) nothing is
//! admitted: a budget that cannot be charged must not be spent. Admission waits up to `admission_wait_max` for it to
//! heal and then says why. `on_failure: pass` lets calls without claims through instead; each is counted, and its
//! event goes to the store without passing the journal.
//!
//! *Invariant:* [`Admission::reserve`] returns only after the record's `pwrite` returned, so no byte leaves before.
//! *Invariant:* every reservation ends in exactly one event: settled, or closed by its drop, or by recovery.

use super::journal::{Journal, NotAppended};
use super::orphan;
use super::queue::FoldQueue;
use super::record::{Draft, Kind, Progressed, Reserved, Settled};
use super::{OnFailure, Settings};
use crate::budget::book::{Actual, Blocked, Book, Claim, HoldId, Overrun};
use crate::catalog::Pricing;
use crate::clock::{Clock, Timestamp};
use crate::event::{Closing, Event, EventKind, Opening, Outcome};
use crate::ids::EventId;
use crate::store::JournalPosition;
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Output tokens between two progress records of a stream.
const PROGRESS_TOKENS: u64 = 1_000;
/// Kept free for the settlement of a reservation, above the length of its own record.
const SETTLEMENT_BYTES: u64 = 2 << 10;

/// Why an attempt was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    #[error("the ledger is away: {why}")]
    LedgerAway { why: Away },
    /// Every budget that blocked.
    #[error("{} budget(s) have no room for it", blocked.len())]
    OverBudget { blocked: Vec<Blocked> },
}

/// Why the ledger cannot take another attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// A write or a sync failed: this process must be replaced.
    #[error("its journal is fenced after an I/O error ({0}); restart Farebox when the disk is well")]
    Fenced(Arc<str>),
    #[error("the disk has not synced for {0:?}, longer than `ledger.power_loss_window`")]
    SyncStalled(Duration),
    #[error("no room for the journal ({0}); free disk space and it goes on by itself")]
    NoRoom(Arc<str>),
    #[error("{events} events wait for the store ({why}); it goes on by itself when they are stored")]
    Backlog { events: u64, why: Arc<str> },
    #[error("Farebox is stopping")]
    Stopping,
    #[error("the attempt cannot be recorded: {0}")]
    Unwritable(Arc<str>),
}

/// The gate of the ledger.
pub struct Admission {
    settings: Settings,
    clock: Arc<dyn Clock>,
    core: Mutex<Core>,
    /// Something was written: the syncer has work.
    pub(super) dirty: Condvar,
    /// Something became durable, or the end is near: the folder has work.
    pub(super) foldable: Condvar,
    /// Room is running out: the maker of spares has work.
    pub(super) spare_wanted: Condvar,
    /// The ledger is being closed.
    pub(super) closing: Condvar,
    /// Admission may go on.
    pub(super) room: Notify,
}

/// Everything behind the mutex.
pub(super) struct Core {
    pub book: Book,
    pub journal: Journal,
    pub open: HashMap<EventId, Open>,
    /// Open reservations by the segment that carries their record.
    pub open_in: BTreeMap<u64, usize>,
    /// Bytes that must stay free for the settlements of what is open.
    pub owed_bytes: u64,
    /// What the newest attempt asked for, with its settlement: what the next one will ask for, as far as we know.
    pub asked_bytes: u64,
    pub queue: FoldQueue,
    /// Nothing more is admitted.
    pub stopping: bool,
    /// Set by [`super::Ledger::close`]: the folder ends when all is folded, or then.
    pub close_deadline: Option<Instant>,
    /// The folder has ended: syncer and maker of spares end as well.
    pub closed: bool,
    /// This process folds into the store.
    pub folding: bool,
    pub last_synced: Instant,
    pub last_commit_at: Option<Timestamp>,
    pub spare_error: Option<Arc<str>>,
    pub fold_error: Option<Arc<str>>,
    pub counts: Counts,
}

/// Things that happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Let through although the ledger was away (`on_failure: pass`).
    pub passed_unjournalled: u64,
    /// Closed by drop: their task vanished.
    pub abandoned: u64,
    /// Settled above their hold.
    pub overruns: u64,
    /// Events that had no place to go. Stays 0 unless `on_failure: pass` and the store is away as well.
    pub lost: u64,
}

/// A reservation that is not settled.
pub(super) struct Open {
    pub opening: Arc<Opening>,
    pub claims: Arc<[Claim]>,
    pub hold: HoldId,
    /// Where its record is; `None` when it was let through without one.
    pub segment: Option<u64>,
    pub owed_bytes: u64,
    pub output_tokens: Arc<AtomicU64>,
}

impl Admission {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, journal: Journal) -> Admission {
        let queue = FoldQueue::new(settings.queue_events_max, journal.written());
        let core = Core {
            book: Book::default(),
            journal,
            open: HashMap::new(),
            open_in: BTreeMap::new(),
            owed_bytes: 0,
            asked_bytes: 2 * SETTLEMENT_BYTES,
            queue,
            stopping: false,
            close_deadline: None,
            closed: false,
            folding: false,
            last_synced: Instant::now(),
            last_commit_at: None,
            spare_error: None,
            fold_error: None,
            counts: Counts::default(),
        };
        Admission {
            settings,
            clock,
            core: Mutex::new(core),
            dirty: Condvar::new(),
            foldable: Condvar::new(),
            spare_wanted: Condvar::new(),
            closing: Condvar::new(),
            room: Notify::new(),
        }
    }

    /// Holds the claims and journals the attempt. Usually returns at once; waits while the disk or the store is behind.
    /// Dropping the future before it is ready reserves nothing.
    ///
    /// # Errors
    /// [`NotAdmitted`]; then nothing is held.
    pub async fn reserve(self: &Arc<Self>, opening: Opening, claims: Vec<Claim>) -> Result<Reservation, NotAdmitted> {
        let (opening, claims) = (Arc::new(opening), Arc::from(claims));
        match self.try_reserve(&opening, &claims) {
            Err(NotAdmitted::LedgerAway { why }) if why.may_heal() => self.reserve_later(opening, claims).await,
            answer => answer,
        }
    }

    /// Why an attempt like the last one would not be admitted now; `None` when the ledger is well.
    pub fn away(&self) -> Option<Away> {
        let core = self.core.lock();
        self.away_in(&core, core.owed_bytes + core.asked_bytes)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Fences the journal and wakes everyone who waits for it.
    pub(super) fn fence(&self, why: &str) {
        tracing::error!(why, "the journal is fenced: nothing more is admitted by this process");
        self.core.lock().journal.fence(why);
        self.foldable.notify_all();
        self.room.notify_waiters();
    }

    async fn reserve_later(
        self: &Arc<Self>,
        opening: Arc<Opening>,
        claims: Arc<[Claim]>,
    ) -> Result<Reservation, NotAdmitted> {
        let deadline = tokio::time::Instant::now() + self.settings.admission_wait_max;
        loop {
            let mut changed = std::pin::pin!(self.room.notified());
            changed.as_mut().enable();
            let why = match self.try_reserve(&opening, &claims) {
                Err(NotAdmitted::LedgerAway { why }) if why.may_heal() => why,
                answer => return answer,
            };
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return self.pass_or_refuse(opening, claims, why);
            }
        }
    }

    fn try_reserve(
        self: &Arc<Self>,
        opening: &Arc<Opening>,
        claims: &Arc<[Claim]>,
    ) -> Result<Reservation, NotAdmitted> {
        let content = Reserved { opening: Cow::Borrowed(&**opening), claims: Cow::Borrowed(&**claims) };
        let mut draft = match Draft::new(Kind::Reserve, &content) {
            Ok(draft) => draft,
            Err(error) => return Err(Away::Unwritable(error.to_string().into()).into()),
        };
        let owed_bytes = draft.len() + SETTLEMENT_BYTES;
        let mut core = self.core.lock();
        core.asked_bytes = owed_bytes;
        let away = self.away_in(&core, core.owed_bytes + owed_bytes);
        if let Some(why) = away {
            drop(core);
            return if why.may_heal() {
                Err(why.into())
            } else {
                self.pass_or_refuse(opening.clone(), claims.clone(), why)
            };
        }
        let hold = core.book.reserve(claims).map_err(|blocked| NotAdmitted::OverBudget { blocked })?;
        let keep_free = core.owed_bytes + owed_bytes;
        let was_clean = core.journal.unsynced_for().is_none();
        let end = match core.journal.append(&mut draft, keep_free) {
            Ok(end) => end,
            Err(error) => {
                // It was held a moment ago under this same lock, so it cannot be settled already.
                let _ = core.book.release(hold);
                return Err(self.away_after(&mut core, error).into());
            }
        };
        let reservation = self.open(&mut core, opening, claims, hold, Some((end.segment, owed_bytes)));
        self.wake_after_write(&core, was_clean);
        Ok(reservation)
    }

    fn open(
        self: &Arc<Self>,
        core: &mut Core,
        opening: &Arc<Opening>,
        claims: &Arc<[Claim]>,
        hold: HoldId,
        journalled: Option<(u64, u64)>,
    ) -> Reservation {
        let output_tokens = Arc::new(AtomicU64::new(0));
        let (segment, owed_bytes) = match journalled {
            Some((segment, owed_bytes)) => (Some(segment), owed_bytes),
            None => (None, 0),
        };
        if let Some(segment) = segment {
            *core.open_in.entry(segment).or_default() += 1;
        }
        core.owed_bytes += owed_bytes;
        let (id, tokens) = (opening.id, output_tokens.clone());
        let open =
            Open { opening: opening.clone(), claims: claims.clone(), hold, segment, owed_bytes, output_tokens: tokens };
        core.open.insert(id, open);
        Reservation {
            admission: self.clone(),
            opening: opening.clone(),
            claims: claims.clone(),
            output_tokens,
            journalled_tokens: AtomicU64::new(0),
            journalled_millis: AtomicU64::new(0),
            since: Instant::now(),
            is_open: true,
        }
    }

    /// The end of `on_failure`: let through without a record, or refuse.
    fn pass_or_refuse(
        self: &Arc<Self>,
        opening: Arc<Opening>,
        claims: Arc<[Claim]>,
        why: Away,
    ) -> Result<Reservation, NotAdmitted> {
        let may_pass = self.settings.on_failure == OnFailure::Pass && claims.is_empty() && why != Away::Stopping;
        if !may_pass {
            return Err(why.into());
        }
        let mut core = self.core.lock();
        let hold = core.book.reserve(&claims).map_err(|blocked| NotAdmitted::OverBudget { blocked })?;
        core.counts.passed_unjournalled += 1;
        tracing::warn!(event = %opening.id, %why, "let through without a journal record (ledger.on_failure: pass)");
        Ok(self.open(&mut core, &opening, &claims, hold, None))
    }

    /// `keep_free`: bytes that the journal must still have.
    fn away_in(&self, core: &Core, keep_free: u64) -> Option<Away> {
        let settings = &self.settings;
        if core.stopping {
            return Some(Away::Stopping);
        }
        if let Some(why) = core.journal.fenced() {
            return Some(Away::Fenced(why.clone()));
        }
        if let Some(waited) = core.journal.unsynced_for().filter(|waited| *waited > settings.power_loss_window) {
            return Some(Away::SyncStalled(waited));
        }
        let (events, bytes) = core.queue.backlog(core.journal.written_bytes());
        if events >= settings.backlog_events_max || bytes >= settings.backlog_bytes_max {
            let why = core.fold_error.clone().unwrap_or_else(|| "it is slower than the traffic".into());
            return Some(Away::Backlog { events, why });
        }
        (!core.journal.has_room(keep_free)).then(|| Away::NoRoom(core.no_room()))
    }

    fn away_after(&self, core: &mut Core, error: NotAppended) -> Away {
        self.spare_wanted.notify_one();
        match error {
            NotAppended::NoRoom => Away::NoRoom(core.no_room()),
            NotAppended::Fenced(why) => {
                self.foldable.notify_all();
                self.room.notify_waiters();
                Away::Fenced(why)
            }
        }
    }

    fn wake_after_write(&self, core: &Core, was_clean: bool) {
        if was_clean {
            self.dirty.notify_one();
        }
        if core.journal.spare_wanted(core.owed_bytes).is_some() {
            self.spare_wanted.notify_one();
        }
    }

    fn progress(&self, id: EventId, output_tokens: u64) {
        let Ok(mut draft) = Draft::new(Kind::Progress, &Progressed { id, output_tokens, at: self.clock.now() }) else {
            return;
        };
        let mut core = self.core.lock();
        if core.open.get(&id).is_none_or(|open| open.segment.is_none()) {
            return;
        }
        let (owed, was_clean) = (core.owed_bytes, core.journal.unsynced_for().is_none());
        // Progress only sharpens an estimate: without room for it, the settlements' space is worth more.
        if core.journal.append(&mut draft, owed).is_ok() {
            self.wake_after_write(&core, was_clean);
        }
    }

    /// Ends a reservation with its event. `None`: it was ended before, by [`super::Ledger::close`].
    pub(super) fn book(&self, opening: &Opening, claims: &[Claim], closing: Closing) -> Arc<Event> {
        let event = Arc::new(Event { kind: EventKind::Attempt, opening: opening.clone(), closing });
        let content = Settled { event: Cow::Borrowed(&*event), claims: Cow::Borrowed(claims) };
        let draft = Draft::new(Kind::Settle, &content);
        let mut core = self.core.lock();
        let Some(open) = core.take(event.opening.id) else { return event };
        let overruns = core.book.settle(open.hold, actual(&event)).unwrap_or_default();
        let was_clean = core.journal.unsynced_for().is_none();
        let written = match (draft, open.segment) {
            (Ok(mut draft), Some(_)) => core.journal.append(&mut draft, 0).ok(),
            (Err(_), _) | (_, None) => None,
        };
        let bytes = core.journal.written_bytes();
        match written {
            Some(end) => core.queue.push(event.clone(), end, bytes),
            None => {
                if !core.queue.push_loose(event.clone()) {
                    core.counts.lost += 1;
                    tracing::error!(event = %event.opening.id, "journal and store are away: this event is lost");
                }
                self.foldable.notify_one();
            }
        }
        core.counts.overruns += overruns.len() as u64;
        self.wake_after_write(&core, was_clean);
        drop(core);
        tell_overruns(&event, &overruns);
        event
    }
}

impl Core {
    /// Takes a reservation out of what is open.
    pub fn take(&mut self, id: EventId) -> Option<Open> {
        let open = self.open.remove(&id)?;
        self.owed_bytes = self.owed_bytes.saturating_sub(open.owed_bytes);
        if let Some(segment) = open.segment {
            self.leave_segment(segment);
        }
        Some(open)
    }

    pub fn leave_segment(&mut self, segment: u64) {
        if let Some(count) = self.open_in.get_mut(&segment) {
            *count -= 1;
            if *count == 0 {
                self.open_in.remove(&segment);
            }
        }
    }

    /// Up to here events may be folded: what is durable; of a fenced journal everything, since only the store is left.
    pub fn foldable(&self) -> JournalPosition {
        if self.journal.fenced().is_some() { self.journal.written() } else { self.journal.durable() }
    }

    fn no_room(&self) -> Arc<str> {
        self.spare_error.clone().unwrap_or_else(|| "the next segment is being made".into())
    }
}

impl Away {
    /// Worth waiting for.
    fn may_heal(&self) -> bool {
        matches!(self, Away::SyncStalled(_) | Away::NoRoom(_) | Away::Backlog { .. })
    }
}

impl From<Away> for NotAdmitted {
    fn from(why: Away) -> Self {
        NotAdmitted::LedgerAway { why }
    }
}

/// An admitted attempt. Ends by [`Reservation::settle`]; dropped without, it is booked at its best estimate and the
/// rest of its hold is withheld.
#[must_use = "a reservation that is dropped is booked as abandoned"]
pub struct Reservation {
    admission: Arc<Admission>,
    opening: Arc<Opening>,
    claims: Arc<[Claim]>,
    output_tokens: Arc<AtomicU64>,
    journalled_tokens: AtomicU64,
    journalled_millis: AtomicU64,
    since: Instant,
    is_open: bool,
}

impl Reservation {
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Output tokens seen so far, all together. Cheap: journalled every 1,000 tokens or `progress_interval`, so call it
    /// with every chunk.
    pub fn progress(&self, output_tokens: u64) {
        self.output_tokens.store(output_tokens, Ordering::Relaxed);
        let interval = u64::try_from(self.admission.settings.progress_interval.as_millis()).unwrap_or(u64::MAX);
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tokens_due =
            output_tokens >= self.journalled_tokens.load(Ordering::Relaxed).saturating_add(PROGRESS_TOKENS);
        let time_due = millis >= self.journalled_millis.load(Ordering::Relaxed).saturating_add(interval);
        let is_new = output_tokens > self.journalled_tokens.load(Ordering::Relaxed);
        if is_new && (tokens_due || time_due) {
            self.journalled_tokens.store(output_tokens, Ordering::Relaxed);
            self.journalled_millis.store(millis, Ordering::Relaxed);
            self.admission.progress(self.opening.id, output_tokens);
        }
    }

    /// Books what the attempt was. The event is on its way to the store when this returns.
    pub fn settle(mut self, closing: Closing) -> Arc<Event> {
        self.is_open = false;
        self.admission.book(&self.opening, &self.claims, closing)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_open {
            let tokens = self.output_tokens.load(Ordering::Relaxed);
            let now = self.admission.now();
            let closing = orphan::closing(&self.opening, tokens, now, Outcome::ProxyInternal);
            let event = self.admission.book(&self.opening, &self.claims, closing);
            self.admission.core.lock().counts.abandoned += 1;
            tracing::error!(event = %event.opening.id, exchange = %event.opening.exchange,
                "an attempt was dropped without a settlement; it is booked at its estimate");
        }
    }
}

/// What the budgets are charged: the cost and what is withheld above it.
pub(super) fn actual(event: &Event) -> Actual {
    let charged = event.cost().checked_add(event.closing.withheld);
    let pico_usd = match &event.closing.pricing {
        Pricing::Unpriced(_) => None,
        Pricing::Priced(_) | Pricing::Unmetered => charged.and_then(|usd| u64::try_from(usd.as_pico()).ok()),
    };
    let usage = &event.closing.usage;
    Actual { pico_usd, tokens: Some(usage.input_tokens().saturating_add(usage.output_tokens())), requests: 1 }
}

fn tell_overruns(event: &Event, overruns: &[Overrun]) {
    for Overrun { budget, above } in overruns {
        tracing::error!(event = %event.opening.id, budget = budget.0, above,
            "an attempt used more than was held for it; the overrun is booked");
    }
}
