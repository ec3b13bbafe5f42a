//! The ledger: every attempt that reached a provider is in it exactly once, whatever dies and whenever.
//!
//! Three layers. The **journal** ([`admission`] writes it): before a request leaves, one `pwrite` of a checksummed
//! record; a second one with the whole event when it is settled. It survives `kill -9` whole and a power cut but for
//! the last `power_loss_window`. The **store**: a folder thread brings what is durable into SQLite, exactly once.
//! **Recovery** does the same at the next start with what a process left that died.
//!
//! *Invariant:* one process, one epoch, one journal directory, locked for the process's life; recovery touches only
//! journals whose lock is free, and never appends to them.

pub mod admission;
mod desk;
mod fold;
mod journal;
mod lender;
mod orphan;
mod place;
mod queue;
mod record;
pub mod recovery;
pub mod reservation;
pub mod resolve;
mod segment;
pub mod segments;
mod upkeep;
pub mod verify;
pub mod volume;
mod waits;

use crate::clock::{Clock, Timestamp};
use crate::event::Outcome;
use crate::ids::{EventId, ExchangeId, IdSource};
use crate::store::{EventRow, Leases, Store, StoreError};
use admission::{Admission, Away, Counts};
use fold::{Folder, Writer};
use journal::Journal;
use lender::Lender;
use parking_lot::Mutex;
use record::{Clean, Draft, Kind};
use recovery::{Recovered, RecoveryError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What the ledger needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    /// Join a data directory that another `serve` is still using: it drains while this one takes over.
    pub upgrade: bool,
    /// Admission waits while a written record is older than this without being synced.
    pub power_loss_window: Duration,
    /// The journal is synced at most this often.
    pub sync_interval: Duration,
    pub segment_bytes: u64,
    /// Journal bytes that may wait for the store; beyond it admission waits.
    pub backlog_bytes_max: u64,
    /// Events that may wait for the store; beyond it admission waits.
    pub backlog_events_max: u64,
    /// Of these, how many are kept in memory; the others are read back from the journal.
    pub queue_events_max: usize,
    /// A settled event is in the store at most about this much later, when the store is well.
    pub fold_interval: Duration,
    /// Output progress of a stream is journalled this often.
    pub progress_interval: Duration,
    /// How long an attempt waits for a ledger that is away before it is refused.
    pub admission_wait_max: Duration,
    /// How long an attempt waits for a budget's slice from a store that says that it fails; some times that from one
    /// that is only slow (`waits`).
    pub lease_wait_max: Duration,
    /// How long an attempt waits for others to settle, once only what they hold is in its way.
    pub hold_wait_max: Duration,
    /// How long [`Ledger::close`] waits for the store.
    pub close_wait_max: Duration,
    pub on_failure: OnFailure,
}

impl Settings {
    pub fn new(data_dir: impl Into<PathBuf>) -> Settings {
        Settings {
            data_dir: data_dir.into(),
            upgrade: false,
            power_loss_window: Duration::from_millis(100),
            sync_interval: Duration::from_millis(10),
            segment_bytes: 64 << 20,
            backlog_bytes_max: 1 << 30,
            backlog_events_max: 1_000_000,
            queue_events_max: 10_000,
            fold_interval: Duration::from_millis(50),
            progress_interval: Duration::from_secs(1),
            admission_wait_max: Duration::from_secs(2),
            lease_wait_max: Duration::from_secs(2),
            hold_wait_max: Duration::from_secs(2),
            close_wait_max: Duration::from_secs(10),
            on_failure: OnFailure::Refuse,
        }
    }
}

/// What becomes of a call when the ledger cannot record it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// It is refused. The only mode in which a hard budget applies.
    #[default]
    Refuse,
    /// It is let through, counted and logged, unless a budget claims it.
    Pass,
}

/// The ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "another farebox{} is using {}; stop it, or start this one with `--upgrade` to take over from it",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), data_dir.display()
    )]
    Held { data_dir: PathBuf, pid: Option<u32> },
    #[error(
        "{} is on a network file system ({kind}), where locks and syncs cannot be trusted; set `data_dir` to a local disk",
        data_dir.display()
    )]
    NetworkFileSystem { data_dir: PathBuf, kind: &'static str },
    #[error("cannot use the data directory {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("cannot open the store: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

/// How the ledger is, for `/readyz` and `/metrics`.
#[derive(Clone, Debug)]
pub struct Status {
    /// A call without claims would be admitted now.
    pub accepting: bool,
    pub reason: Option<Away>,
    pub fenced: bool,
    /// This process folds into the store (of two that overlap in an upgrade, one does).
    pub folding: bool,
    pub epoch: u64,
    pub open_reservations: u64,
    /// Events that are not in the store yet, and the journal bytes that hold them.
    pub backlog_events: u64,
    pub backlog_bytes: u64,
    /// Age of the oldest record that a power cut would lose; `None`: all is synced.
    pub unsynced_for: Option<Duration>,
    pub last_sync_age: Duration,
    pub last_commit_at: Option<Timestamp>,
    /// Why the store does not take events; tried again all the time.
    pub fold_error: Option<Arc<str>>,
    /// Why the journal cannot grow; tried again all the time.
    pub spare_error: Option<Arc<str>>,
    pub segments: u64,
    /// Accounts of budgets that this process has open.
    pub open_accounts: u64,
    /// Why the store leases no budgets; tried again all the time.
    pub lease_error: Option<Arc<str>>,
    pub counts: Counts,
}

/// The open ledger of this process.
pub struct Ledger {
    admission: Arc<Admission>,
    ids: IdSource,
    epoch: u64,
    recovered: Vec<Recovered>,
    threads: Mutex<Option<Threads>>,
    lock: Mutex<Option<place::Held>>,
}

struct Threads {
    syncer: JoinHandle<()>,
    spares: JoinHandle<()>,
    folder: JoinHandle<bool>,
    lender: JoinHandle<()>,
}

impl Ledger {
    /// Opens the data directory, recovers what earlier processes left, and starts the threads.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is held by another process, on a network file system, not writable, or holds
    /// something that cannot be read.
    pub fn open(settings: Settings, clock: Arc<dyn Clock>) -> Result<Ledger, OpenError> {
        let data_dir = settings.data_dir.clone();
        let journals = place::journals_dir(&data_dir);
        place::make_directory(&journals).map_err(io_at(&journals))?;
        segment::sync_directory(&data_dir).map_err(io_at(&data_dir))?;
        if let Some(kind) = place::network_file_system(&data_dir).map_err(io_at(&data_dir))? {
            return Err(OpenError::NetworkFileSystem { data_dir, kind });
        }
        let boot = place::boot_id();
        let store_lock = take_store(&settings, &boot)?;
        let mut store = Store::open(&data_dir, clock.now())?;
        let recovered = match store_lock {
            Some(_) => recovery::recover_all(&data_dir, None, &mut store)?,
            None => Vec::new(),
        };
        let greatest = recovered.iter().map(|found| found.greatest_id).fold(store.greatest_event_id()?, u64::max);
        let epoch = store.open_epoch(&boot, clock.now())?;
        let dir = place::journal_dir(&data_dir, epoch);
        let (lock, journal) = begin_journal(&dir, epoch, &boot, settings.segment_bytes).map_err(io_at(&dir))?;
        let leases = Leases::open(&data_dir, clock.now())?;
        let admission = Arc::new(Admission::new(settings, clock, journal));
        // Without the lock, the store is opened anew when it is free: rollups in memory would be stale by then.
        let writer = store_lock.map(|lock| Writer { store, _lock: lock });
        let threads = start_threads(&admission, writer, leases, epoch).map_err(io_at(&data_dir))?;
        Ok(Ledger {
            admission,
            ids: IdSource::new(epoch, greatest),
            epoch,
            recovered,
            threads: Mutex::new(Some(threads)),
            lock: Mutex::new(Some(lock)),
        })
    }

    pub fn admission(&self) -> Arc<Admission> {
        self.admission.clone()
    }

    pub fn next_event_id(&self, now: Timestamp) -> EventId {
        EventId(self.ids.next(now))
    }

    pub fn next_exchange_id(&self, now: Timestamp) -> ExchangeId {
        ExchangeId(self.ids.next(now))
    }

    /// What was found at the start.
    pub fn recovered(&self) -> &[Recovered] {
        &self.recovered
    }

    pub fn status(&self) -> Status {
        let reason = self.admission.away();
        let core = self.admission.lock();
        let (backlog_events, backlog_bytes) = core.queue.backlog(core.journal.written_bytes());
        Status {
            accepting: reason.is_none(),
            reason,
            fenced: core.journal.fenced().is_some(),
            folding: core.folding,
            epoch: self.epoch,
            open_reservations: core.open.len() as u64,
            backlog_events,
            backlog_bytes,
            unsynced_for: core.journal.unsynced_for(),
            last_sync_age: core.last_synced.elapsed(),
            last_commit_at: core.last_commit_at,
            fold_error: core.fold_error.clone(),
            spare_error: core.spare_error.clone(),
            segments: core.journal.written().segment - core.journal.first_segment() + 1 + core.journal.spares() as u64,
            open_accounts: core.book.open_accounts() as u64,
            lease_error: core.desk.error.clone(),
            counts: core.counts,
        }
    }

    /// Adjustments that background work and batches came to since this was last asked.
    pub fn take_late(&self) -> Vec<EventRow> {
        std::mem::take(&mut self.admission.lock().late)
    }

    /// Stops admitting, books what is still open as abandoned, folds everything, and ends the journal in order.
    /// Blocks up to `close_wait_max`; what the store did not take by then is folded at the next start.
    pub fn close(&self) -> Closed {
        self.shut()
    }

    fn shut(&self) -> Closed {
        let Some(threads) = self.threads.lock().take() else { return Closed { folded: false, abandoned: 0 } };
        let abandoned = self.abandon_open();
        let admission = &self.admission;
        // No slice may be granted any more when the folder gives all of them back.
        admission.lock().desk.closed = true;
        admission.lease_wanted.notify_all();
        let lent = threads.lender.join().is_ok();
        admission.lock().close_deadline = Some(Instant::now() + admission.settings().close_wait_max);
        admission.foldable.notify_all();
        let folded = threads.folder.join().unwrap_or(false);
        self.write_clean();
        admission.lock().closed = true;
        for condition in [&admission.dirty, &admission.closing, &admission.spare_wanted] {
            condition.notify_all();
        }
        let synced = threads.syncer.join().is_ok() & threads.spares.join().is_ok() & lent;
        let lock = self.lock.lock().take();
        if folded && synced && admission.lock().journal.fenced().is_none() {
            let dir = admission.lock().journal.dir().to_owned();
            if let Err(error) = place::remove_journal(&dir) {
                tracing::warn!(%error, dir = %dir.display(), "the folded journal stays; the next start removes it");
            }
        }
        drop(lock);
        Closed { folded, abandoned }
    }

    fn abandon_open(&self) -> u64 {
        let mut core = self.admission.lock();
        core.stopping = true;
        let open: Vec<_> = core
            .open
            .values()
            .map(|open| {
                let hold = core.book.held(open.hold).cloned().unwrap_or_default();
                (open.opening.clone(), hold, open.output_tokens.load(Ordering::Relaxed))
            })
            .collect();
        drop(core);
        self.admission.room.notify_waiters();
        for (opening, hold, tokens) in &open {
            let now = self.admission.now();
            let closing = orphan::closing(opening, &hold.claims, *tokens, now, Outcome::ProxyInternal);
            self.admission.book(opening, hold, closing);
        }
        open.len() as u64
    }

    /// Tells the next start, should it find this journal, that nothing died. A journal that cannot take it is fenced or
    /// full; then the next start looks at every record instead.
    fn write_clean(&self) {
        if let Ok(mut draft) = Draft::new(Kind::Clean, &Clean { at: self.admission.now() }) {
            let _ = self.admission.lock().journal.append(&mut draft, 0);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shut();
    }
}

/// How [`Ledger::close`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Everything is in the store.
    pub folded: bool,
    /// Reservations that were still open.
    pub abandoned: u64,
}

/// The store's lock, or `None` when another process has it and we came to take over.
fn take_store(settings: &Settings, boot: &str) -> Result<Option<place::Held>, OpenError> {
    let data_dir = &settings.data_dir;
    let path = data_dir.join("store.lock");
    match place::lock_patiently(&path, boot).map_err(io_at(&path))? {
        Ok(_) if !settings.upgrade && living_journal(data_dir)?.is_some() => {
            let pid = living_journal(data_dir)?.and_then(|holder| holder.pid);
            Err(OpenError::Held { data_dir: data_dir.clone(), pid })
        }
        Ok(lock) => Ok(Some(lock)),
        Err(_) if settings.upgrade => Ok(None),
        Err(holder) => Err(OpenError::Held { data_dir: data_dir.clone(), pid: holder.pid }),
    }
}

/// Another process's journal that is in use.
fn living_journal(data_dir: &Path) -> Result<Option<place::Holder>, OpenError> {
    for (_, dir) in place::journals(data_dir).map_err(io_at(data_dir))? {
        let path = dir.join("lock");
        if place::lock_silently(&path).map_err(io_at(&path))?.is_none() {
            return Ok(Some(place::Holder { pid: place::lock_text(&path).map_err(io_at(&path))?.pid }));
        }
    }
    Ok(None)
}

fn begin_journal(dir: &Path, epoch: u64, boot: &str, segment_bytes: u64) -> io::Result<(place::Held, Journal)> {
    place::make_directory(dir)?;
    let lock = place::lock(&dir.join("lock"), boot)?
        .map_err(|_| io::Error::other("the directory of a new journal is in use by another process"))?;
    let journal = Journal::create(dir, epoch, segment_bytes)?;
    dir.parent().map_or(Ok(()), segment::sync_directory)?;
    Ok((lock, journal))
}

fn start_threads(
    admission: &Arc<Admission>,
    writer: Option<Writer>,
    leases: Leases,
    epoch: u64,
) -> io::Result<Threads> {
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    let (sync, spares) = (admission.clone(), admission.clone());
    let folder = Folder::new(admission.clone(), writer, epoch);
    let lender = Lender::new(admission.clone(), leases, epoch);
    Ok(Threads {
        syncer: thread("journal-sync").spawn(move || upkeep::keep_synced(&sync))?,
        spares: thread("journal-spares").spawn(move || upkeep::keep_spares(&spares))?,
        folder: thread("ledger-fold").spawn(move || folder.run())?,
        lender: thread("budget-leases").spawn(move || lender.run())?,
    })
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { path: path.clone(), error }
}

#[cfg(test)]
mod tests;
