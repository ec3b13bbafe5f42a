//! Admission: the one mutex around book and journal, and the reservation that settles itself.
//!
//! **When the ledger is away** (its disk does not sync, is full or broken, or the store is too far behind) nothing is
//! admitted: a budget that cannot be charged must not be spent. Admission waits up to `admission_wait_max` for it to
//! heal and then says why. `on_failure: pass` lets calls without claims through instead; each is counted, and its
//! event goes to the store without passing the journal.
//!
//! *Invariant:* [`Admission::reserve`] returns only after the record's `pwrite` returned, so no byte leaves before.
//! *Invariant:* every reservation ends in exactly one event: settled, or closed by its drop, or by recovery.

use super::desk::{Desk, grant_from_memory};
use super::journal::{Journal, NotAppended};
use super::queue::FoldQueue;
use super::record::{Draft, Kind, Reserved};
use super::reservation::Open;
use super::waits::{Asked, Obstacle, Waiting, Waits};
use super::{OnFailure, Settings};
use crate::budget::account::BudgetId;
use crate::budget::book::{Blocked, Book, Denied, Hold, HoldId};
use crate::budget::by_id::ById;
use crate::budget::{Balance, Budget, Demand, Instance};
use crate::clock::{Clock, Timestamp};
use crate::event::Opening;
use crate::ids::EventId;
use crate::store::{EventRow, JournalPosition};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

pub use super::reservation::Reservation;

/// Kept free for the settlement of a reservation, above the length of its own record.
const SETTLEMENT_BYTES: u64 = 2 << 10;
/// Kept free for what a settlement charges one account.
const CHARGE_BYTES: u64 = 20;

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
    /// A budget's slice could not be had from the store in time.
    #[error("the store leases no budget ({0}); it goes on by itself when the store is well")]
    NotLeased(Arc<str>),
    #[error("Farebox is stopping")]
    Stopping,
    #[error("the attempt cannot be recorded: {0}")]
    Unwritable(Arc<str>),
}

/// The gate of the ledger.
pub struct Admission {
    settings: Settings,
    clock: Arc<dyn Clock>,
    pub(super) core: Mutex<Core>,
    /// Something was written: the syncer has work.
    pub(super) dirty: Condvar,
    /// Something became durable, or the end is near: the folder has work.
    pub(super) foldable: Condvar,
    /// Room is running out: the maker of spares has work.
    pub(super) spare_wanted: Condvar,
    /// The ledger is being closed.
    pub(super) closing: Condvar,
    /// Slices are wanted from the store.
    pub(super) lease_wanted: Condvar,
    /// Admission may go on.
    pub(super) room: Notify,
    /// Something of a budget became free, or was granted.
    pub(super) freed: Notify,
    /// The store has answered the lease thread.
    pub(super) answered: Notify,
    /// Whose turn it is to write to the store. SQLite would make one of two writers sleep, and for longer.
    pub(super) store_turn: Mutex<()>,
    /// Calls that wait for that.
    pub(super) waiting: AtomicUsize,
}

/// Everything behind the mutex.
pub(super) struct Core {
    pub book: Book,
    pub desk: Desk,
    pub journal: Journal,
    pub open: ById<EventId, Open>,
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
    /// What background work and batches came to, for whoever counts: see [`super::Ledger::take_late`].
    pub late: Vec<EventRow>,
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
    /// Times that book and store disagreed about a lease. Stays 0.
    pub disagreements: u64,
    /// Events that had no place to go. Stays 0 unless `on_failure: pass` and the store is away as well.
    pub lost: u64,
}

impl Admission {
    pub(super) fn new(settings: Settings, clock: Arc<dyn Clock>, journal: Journal) -> Admission {
        let queue = FoldQueue::new(settings.queue_events_max, journal.written());
        let core = Core {
            book: Book::default(),
            desk: Desk::default(),
            journal,
            open: ById::default(),
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
            late: Vec::new(),
        };
        Admission {
            settings,
            clock,
            core: Mutex::new(core),
            dirty: Condvar::new(),
            foldable: Condvar::new(),
            spare_wanted: Condvar::new(),
            closing: Condvar::new(),
            lease_wanted: Condvar::new(),
            room: Notify::new(),
            freed: Notify::new(),
            answered: Notify::new(),
            store_turn: Mutex::new(()),
            waiting: AtomicUsize::new(0),
        }
    }

    /// How these budgets stand. At once when all their accounts are open here; waits for the store for those that are
    /// not. One that the store does not open in time is left out.
    pub async fn balances(&self, instances: &[Arc<Instance>]) -> Vec<(Arc<Instance>, Balance)> {
        if instances.is_empty() {
            return Vec::new();
        }
        let mut waits = Waits::begin(Duration::ZERO);
        let mut waiting = None;
        loop {
            let mut answered = std::pin::pin!(self.answered.notified());
            answered.as_mut().enable();
            let (known, asked) = self.balances_now(instances);
            let Some(asked) = asked else { return known };
            waiting.get_or_insert_with(|| Waiting::begin(&self.waiting));
            let until = waits.until(&Obstacle::Wanting(asked), &self.settings, tokio::time::Instant::now());
            let Some(until) = until else { return known };
            if tokio::time::timeout_at(until, answered).await.is_err() {
                return known;
            }
        }
    }

    /// Holds the demands and journals the attempt. Usually returns at once; waits while the disk or the store is behind,
    /// for slices of budgets that are not leased yet, and up to `patience` where only what other calls hold is in the
    /// way. Dropping the future before it is ready reserves nothing.
    ///
    /// # Errors
    /// [`NotAdmitted`]; then nothing is held.
    pub async fn reserve(
        self: &Arc<Self>,
        opening: Opening,
        demands: Vec<Demand>,
        patience: Duration,
    ) -> Result<Reservation, NotAdmitted> {
        let mut ask = Ask::new(opening, demands)?;
        let mut waits = Waits::begin(patience);
        match self.try_reserve(&mut ask, &waits) {
            Ok(reservation) => Ok(reservation),
            Err(obstacle) => match waits.until(&obstacle, &self.settings, tokio::time::Instant::now()) {
                // Boxed: waiting is rare, and every call would carry its room.
                Some(_) => Box::pin(self.reserve_later(ask, waits)).await,
                None => self.pass_or_refuse(&mut ask, obstacle),
            },
        }
    }

    /// The limits in force from now on: a raised one frees at once, a lowered one holds at once. Whoever knows the rules
    /// says so at the start, at each reload and when a prepaid budget is topped up. Cheap when nothing differs.
    pub fn rules_changed(&self, budgets: &[Arc<Budget>]) {
        let mut core = self.core.lock();
        let changed = core.book.set_terms(budgets);
        if changed.is_empty() {
            return;
        }
        core.desk.tell(changed);
        drop(core);
        self.lease_wanted.notify_one();
        self.freed.notify_waiters();
    }

    /// How the open accounts of all budgets stand, for metrics. Never holds the lock for long.
    pub fn standing(&self) -> Vec<(Arc<Instance>, Balance)> {
        const AT_ONCE: usize = 500;
        let accounts: Vec<BudgetId> =
            self.core.lock().book.accounts().map(|account| account.instance.account).collect();
        let mut standing = Vec::with_capacity(accounts.len());
        for some in accounts.chunks(AT_ONCE) {
            let mut core = self.core.lock();
            for id in some {
                let Some(instance) = core.book.account(*id).map(|account| account.instance.clone()) else { continue };
                standing.extend(core.book.balance(&instance).map(|balance| (instance, balance)));
            }
        }
        standing
    }

    /// Settlements above their hold since the start, by budget.
    pub fn overruns(&self) -> Vec<(Arc<Budget>, u64)> {
        self.core.lock().book.overruns().map(|(budget, count)| (budget.clone(), count)).collect()
    }

    /// How long a call waits for others to settle before it is refused.
    pub fn hold_wait_max(&self) -> Duration {
        self.settings.hold_wait_max
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

    /// What is known now, and how the question for the rest stands.
    fn balances_now(&self, instances: &[Arc<Instance>]) -> (Vec<(Arc<Instance>, Balance)>, Option<Asked>) {
        let mut core = self.core.lock();
        let mut known = Vec::with_capacity(instances.len());
        known.extend(instances.iter().filter_map(|instance| Some((instance.clone(), core.book.balance(instance)?))));
        if known.len() == instances.len() {
            return (known, None);
        }
        let closed = instances.iter().filter(|instance| known.iter().all(|(other, _)| !Arc::ptr_eq(other, instance)));
        core.desk.open(closed);
        let asked = core.desk.asked();
        self.attend(&mut core);
        (known, Some(asked))
    }

    async fn reserve_later(self: &Arc<Self>, mut ask: Ask, mut waits: Waits) -> Result<Reservation, NotAdmitted> {
        let _waiting = Waiting::begin(&self.waiting);
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            let mut freed = std::pin::pin!(self.freed.notified());
            let mut answered = std::pin::pin!(self.answered.notified());
            room.as_mut().enable();
            freed.as_mut().enable();
            answered.as_mut().enable();
            let obstacle = match self.try_reserve(&mut ask, &waits) {
                Ok(reservation) => return Ok(reservation),
                Err(obstacle) => obstacle,
            };
            let now = tokio::time::Instant::now();
            let until = waits.until(&obstacle, &self.settings, now).filter(|until| *until > now);
            let Some(until) = until else { return self.pass_or_refuse(&mut ask, obstacle) };
            // Passed or not: what stands in the way then decides.
            let _ = match obstacle {
                Obstacle::Away(_) => tokio::time::timeout_at(until, room).await,
                // Not at each settlement of the others: a crowd would do nothing but look.
                Obstacle::Wanting(_) => tokio::time::timeout_at(until, answered).await,
                Obstacle::Over { .. } => tokio::time::timeout_at(until, freed).await,
            };
        }
    }

    fn try_reserve(self: &Arc<Self>, ask: &mut Ask, waits: &Waits) -> Result<Reservation, Obstacle> {
        let owed_bytes = ask.draft.len() + SETTLEMENT_BYTES + CHARGE_BYTES * ask.hold.claims.len() as u64;
        let mut core = self.core.lock();
        core.asked_bytes = owed_bytes;
        let keep_free = core.owed_bytes + owed_bytes;
        if let Some(why) = self.away_in(&core, keep_free) {
            return Err(Obstacle::Away(why));
        }
        let asked = waits.is_answered(core.desk.answers) && !core.desk.owes(&ask.demands);
        let hold = match core.book.reserve(&ask.demands, asked, ask.opening.started_at) {
            Ok(hold) => hold,
            Err(denied) => return Err(self.denied(&mut core, denied)),
        };
        let was_clean = core.journal.unsynced_for().is_none();
        let end = match core.journal.append(&mut ask.draft, keep_free) {
            Ok(end) => end,
            Err(error) => {
                // It was held a moment ago under this same lock, so it cannot be settled already.
                let _ = core.book.release(hold);
                return Err(Obstacle::Away(self.away_after(&mut core, error)));
            }
        };
        let reservation = self.open(&mut core, ask, hold, Some((end.segment, owed_bytes)));
        self.wake_after_write(&core, was_clean);
        if core.book.has_low() {
            self.lease_wanted.notify_one();
        }
        Ok(reservation)
    }

    /// What is wanted goes to the desk.
    pub(super) fn denied(&self, core: &mut Core, denied: Denied) -> Obstacle {
        match denied {
            Denied::Wanting(wants) => {
                core.desk.want(wants);
                let asked = core.desk.asked();
                self.attend(core);
                Obstacle::Wanting(asked)
            }
            Denied::Over { blocked, by_holds } => Obstacle::Over { blocked, by_holds },
        }
    }

    /// Sees to it that what lies at the desk is looked at.
    fn attend(&self, core: &mut Core) {
        if core.desk.attended {
            self.lease_wanted.notify_one();
        } else {
            let wants = core.desk.take(usize::MAX);
            grant_from_memory(&mut core.book, &wants, self.now());
            wants.iter().for_each(|want| core.desk.done(want.instance.account));
            core.desk.answers += 1;
            self.freed.notify_waiters();
            self.answered.notify_waiters();
        }
    }

    fn open(
        self: &Arc<Self>,
        core: &mut Core,
        ask: &mut Ask,
        hold: HoldId,
        journalled: Option<(u64, u64)>,
    ) -> Reservation {
        if let Some((segment, owed_bytes)) = journalled {
            *core.open_in.entry(segment).or_default() += 1;
            core.owed_bytes += owed_bytes;
        }
        let held = std::mem::take(&mut ask.hold);
        let (reservation, open) = Reservation::begin(self.clone(), ask.opening.clone(), held, hold, journalled);
        core.open.insert(ask.opening.id, open);
        reservation
    }

    /// The end of `on_failure`: let through without a record, or refuse. A call that a limit binds is never let
    /// through; budgets that only watch are not charged then.
    fn pass_or_refuse(self: &Arc<Self>, ask: &mut Ask, obstacle: Obstacle) -> Result<Reservation, NotAdmitted> {
        let why = match obstacle {
            Obstacle::Over { blocked, .. } => return Err(NotAdmitted::OverBudget { blocked }),
            Obstacle::Away(why) => why,
            Obstacle::Wanting(asked) => Away::NotLeased(asked.why),
        };
        let bound = ask.demands.iter().any(|demand| demand.binds);
        let may_pass = self.settings.on_failure == OnFailure::Pass && !bound && why != Away::Stopping;
        if !may_pass {
            return Err(why.into());
        }
        let mut core = self.core.lock();
        let hold = core.book.reserve(&ask.demands, true, ask.opening.started_at).ok();
        if hold.is_none() {
            ask.hold = Hold::default();
        }
        core.counts.passed_unjournalled += 1;
        tracing::warn!(event = %ask.opening.id, %why, "let through without a journal record (ledger.on_failure: pass)");
        Ok(self.open(&mut core, ask, hold.unwrap_or(HoldId::NOTHING), None))
    }

    /// `keep_free`: bytes that the journal must still have.
    pub(super) fn away_in(&self, core: &Core, keep_free: u64) -> Option<Away> {
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

    pub(super) fn away_after(&self, core: &mut Core, error: NotAppended) -> Away {
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

    pub(super) fn wake_after_write(&self, core: &Core, was_clean: bool) {
        if was_clean {
            self.dirty.notify_one();
        }
        if core.journal.spare_wanted(core.owed_bytes).is_some() {
            self.spare_wanted.notify_one();
        }
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
    pub(super) fn may_heal(&self) -> bool {
        matches!(self, Away::SyncStalled(_) | Away::NoRoom(_) | Away::Backlog { .. })
    }
}

impl From<Away> for NotAdmitted {
    fn from(why: Away) -> Self {
        NotAdmitted::LedgerAway { why }
    }
}

/// What is asked for, once however often it is tried.
struct Ask {
    opening: Arc<Opening>,
    demands: Vec<Demand>,
    hold: Hold,
    draft: Draft,
}

impl Ask {
    fn new(opening: Opening, demands: Vec<Demand>) -> Result<Ask, NotAdmitted> {
        let hold = Hold::of(&demands);
        let content = Reserved { opening: Cow::Borrowed(&opening), claims: Cow::Borrowed(&hold.claims) };
        match Draft::new(Kind::Reserve, &content) {
            Ok(draft) => Ok(Ask { opening: Arc::new(opening), demands, hold, draft }),
            Err(error) => Err(Away::Unwritable(error.to_string().into()).into()),
        }
    }
}
