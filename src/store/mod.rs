//! The only place that knows SQL: SQLite, bundled.
//!
//! One [`Store`] writes, any number of [`Reader`]s read beside it (WAL). What it keeps: one row per event, written once;
//! the texts that events name, each once, in the one table that can be erased; and rollups, which are sums of events
//! and can be rebuilt from them.
//!
//! *Invariant:* a fold's events and its journal position are one transaction, with `synchronous = FULL`: after any
//! crash the journal is folded again from exactly where the rows end. Events are also told apart by their id, so that
//! folding one twice changes nothing.
//!
//! *Invariant:* an event belongs to the window of its id's millisecond ([`crate::ids::made_at`]), in rollups and in raw
//! rows alike. An adjustment has a new id, so it is booked when it was made, and past windows never change.
//!
//! *Invariant:* sums of money never pass through SQLite's 64-bit `SUM` whole: it overflows at 9.2 million dollars.

mod access;
mod ahead;
mod alerts;
mod audit;
mod backup;
mod budgets;
mod changes;
mod deferred;
mod erasure;
mod fold;
mod identities;
mod invitations;
mod leases;
mod logins;
mod made_once;
mod measures;
mod names;
mod outbox;
mod own_rules;
mod pepper;
mod provider_keys;
mod reader;
mod register;
mod replays;
mod retention;
mod rollups;
mod row;
mod schema;
mod second_factors;
mod tenant_retention;
mod tenants;
mod tracked;
mod usage;
mod vault;
mod verify;
mod vocabulary;

pub use access::Place;
pub use ahead::{Ahead, PAGE_ROWS};
pub use alerts::{AccountQuery, AlertQuery, BudgetAccount, acknowledge_alert};
pub use audit::{AuditLine, AuditReport};
pub use backup::Copied;
pub use budgets::Alert;
pub use changes::{ChangeError, Changes, FIRST_ORGANISATION, Named, NewKey};
pub use erasure::{Erased, Subject};
pub use fold::{Folded, WITHOUT_JOURNAL};
pub use invitations::invitation_end;
pub use leases::{Exchanged, Leases};
pub use logins::Session;
pub use made_once::make_once;
pub use outbox::{Delivery, DeliveryState, Outbox};
pub use own_rules::{OwnBudget, OwnRules};
pub use pepper::{PEPPER_FILE, drawn, pepper};
pub use provider_keys::{NewProviderKey, SealedKey};
pub use reader::{EventQuery, Order, Reader};
pub use register::{Member, Page, Register, Token};
pub use replays::Replay;
pub use retention::Retired;
pub use row::{EventRow, RateSet, Remembered};
pub use schema::SCHEMA_VERSION;
pub use second_factors::SecondFactor;
pub use tenant_retention::{KEEP_DAYS_MAX, RetiredOfTenant};
pub use tenants::Holder;
pub use tracked::TrackedName;
pub use usage::{Group, Sums, Usage, UsageQuery};
pub use vault::{MASTER_KEY_FILE, MasterKeySource, nonce};
pub use verify::{Fault, Progress, Report};
pub use vocabulary::{Dimension, Filter, GroupBy, TimeRange, TimeUnit};

use crate::budget::account::{BudgetId, Unit};
use crate::budget::lease::End;
use crate::clock::Timestamp;
use crate::event::Event;
use names::Interner;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The ledger's file in the data directory.
pub const FILE_NAME: &str = "ledger.sqlite3";

/// Where a journal stands: everything before it has been folded into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPosition {
    pub segment: u64,
    pub offset: u64,
}

/// The one writer.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    interner: Interner,
    path: PathBuf,
    /// Events that the rollups do not have yet.
    unrolled: u64,
}

impl Store {
    /// Opens the ledger of a data directory, making and migrating it as needed.
    pub fn open(data_dir: &Path, now: Timestamp) -> Result<Store, StoreError> {
        let path = data_dir.join(FILE_NAME);
        let connection = schema::open_for_writing(&path, now)?;
        let unrolled = connection
            .query_row("SELECT count(*) FROM unrolled", [], |row| row.get::<_, i64>(0))
            .map_err(StoreError::sqlite("count events outside the rollups"))?;
        Ok(Store { connection, interner: Interner::default(), path, unrolled: unrolled.unsigned_abs() })
    }

    /// Up to where this journal has been folded; the beginning for an unknown one.
    pub fn position(&self, journal_epoch: u64) -> Result<JournalPosition, StoreError> {
        fold::position(&self.connection, journal_epoch).map_err(StoreError::sqlite("read the fold position"))
    }

    /// Folds a batch: events, what they charge, position, all or nothing, on disk when this returns. A batch that was
    /// folded already (by position or by event id) changes nothing. Keep batches at 5,000 events or fewer.
    ///
    /// # Errors
    /// Nothing of the batch was written, or the batch was and only the rollups behind it were not: in both cases fold
    /// the same batch again.
    pub fn fold(&mut self, journal_epoch: u64, events: &[Event], upto: JournalPosition) -> Result<Folded, StoreError> {
        let folded = fold::fold(&mut self.connection, &mut self.interner, journal_epoch, events, upto);
        let folded = match folded {
            Ok(folded) => folded,
            Err(source) => {
                self.interner.forget();
                return Err(StoreError::sqlite("fold events")(source));
            }
        };
        self.unrolled += folded.fresh;
        if self.unrolled >= rollups::UNROLLED_EVENTS_MAX {
            self.flush_rollups()?;
        }
        Ok(folded)
    }

    /// Ends what a process had leased, when all of its journal is folded. Doing it twice changes nothing.
    pub fn end_leases(&mut self, epoch: u64, end: End, at: Timestamp) -> Result<Vec<Alert>, StoreError> {
        let ending = StoreError::sqlite("end budget leases");
        let transaction = write_transaction(&mut self.connection).map_err(&ending)?;
        let alerts = budgets::end_leases(&transaction, epoch, end, at).map_err(&ending)?;
        transaction.commit().map_err(ending)?;
        Ok(alerts)
    }

    /// What is left of each lease of a process.
    pub fn leased(&self, epoch: u64) -> Result<HashMap<BudgetId, i128>, StoreError> {
        let leases = budgets::leases_of(&self.connection, epoch).map_err(StoreError::sqlite("list budget leases"))?;
        Ok(leases.into_iter().collect())
    }

    /// Processes that lease slices of budgets.
    pub fn leasing_epochs(&self) -> Result<Vec<u64>, StoreError> {
        budgets::leasing_epochs(&self.connection).map_err(StoreError::sqlite("list budget leases"))
    }

    /// What an account counts; `None` for an unknown one.
    pub fn budget_unit(&self, account: BudgetId) -> Result<Option<Unit>, StoreError> {
        let found = budgets::account(&self.connection, account).map_err(StoreError::sqlite("read a budget account"))?;
        Ok(found.map(|account| account.unit))
    }

    /// Notes that this epoch's journal took an error: what it holds is no proof of what was spent.
    pub fn note_fence(&mut self, epoch: u64, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .execute(
                "UPDATE epochs SET fenced_us = ?2 WHERE epoch = ?1 AND fenced_us IS NULL",
                params![saturate(epoch), now.as_micros()],
            )
            .map(drop)
            .map_err(StoreError::sqlite("note a fenced journal"))
    }

    /// Brings the rollups up to the last fold. Queries are right without it (they add what the rollups miss), only
    /// slower: call it every few seconds and at the end.
    pub fn flush_rollups(&mut self) -> Result<(), StoreError> {
        if self.unrolled == 0 {
            return Ok(());
        }
        rollups::flush(&mut self.connection).map_err(StoreError::sqlite("flush the rollups"))?;
        self.unrolled = 0;
        Ok(())
    }

    /// The greatest id that any event or exchange of this ledger carries; 0 for an empty one.
    pub fn greatest_event_id(&self) -> Result<u64, StoreError> {
        self.connection
            .query_row(
                "SELECT max((SELECT ifnull(max(id), 0) FROM events), (SELECT ifnull(max(exchange), 0) FROM events))",
                [],
                |row| row.get::<_, i64>(0),
            )
            .map(|id| u64::try_from(id).unwrap_or(0))
            .map_err(StoreError::sqlite("read the greatest id"))
    }

    /// A new epoch for this process: a number that no process before it had.
    pub fn open_epoch(&mut self, boot_id: &str, now: Timestamp) -> Result<u64, StoreError> {
        self.connection
            .execute("INSERT INTO epochs (boot_id, opened_us) VALUES (?1, ?2)", params![boot_id, now.as_micros()])
            .map_err(StoreError::sqlite("open an epoch"))?;
        Ok(self.connection.last_insert_rowid().unsigned_abs())
    }

    /// Notes that the process of this epoch stopped cleanly.
    pub fn close_epoch(&mut self, epoch: u64, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .execute(
                "UPDATE epochs SET closed_us = ?2 WHERE epoch = ?1 AND closed_us IS NULL",
                params![saturate(epoch), now.as_micros()],
            )
            .map(drop)
            .map_err(StoreError::sqlite("close an epoch"))
    }

    /// The boot id under which an epoch was opened, and whether it was closed cleanly.
    pub fn epoch(&self, epoch: u64) -> Result<Option<Epoch>, StoreError> {
        self.connection
            .query_row(
                "SELECT boot_id, opened_us, closed_us, fenced_us FROM epochs WHERE epoch = ?1",
                params![saturate(epoch)],
                |row| {
                    Ok(Epoch {
                        boot_id: row.get(0)?,
                        opened_at: Timestamp(row.get(1)?),
                        closed_at: row.get::<_, Option<i64>>(2)?.map(Timestamp),
                        fenced_at: row.get::<_, Option<i64>>(3)?.map(Timestamp),
                    })
                },
            )
            .optional()
            .map_err(StoreError::sqlite("read an epoch"))
    }

    /// Forgets a journal whose every segment is folded and gone.
    pub fn forget_journal(&mut self, journal_epoch: u64) -> Result<(), StoreError> {
        self.connection
            .execute("DELETE FROM fold_positions WHERE journal_epoch = ?1", params![saturate(journal_epoch)])
            .map(drop)
            .map_err(StoreError::sqlite("forget a journal"))
    }

    /// Moves what the write-ahead log holds into the main file, so that the log does not grow. Never waits for readers.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(StoreError::sqlite("checkpoint the write-ahead log"))
    }

    pub fn event(&self, id: crate::ids::EventId) -> Result<Option<EventRow>, StoreError> {
        row::event(&self.connection, id).map_err(StoreError::sqlite("read an event"))
    }

    /// Rebuilds everything that can be rebuilt from the events and compares. See [`Reader::verify`].
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report, StoreError> {
        verify::verify(&self.connection, progress).map_err(StoreError::sqlite("verify the ledger"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// One process's time as a writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub boot_id: String,
    pub opened_at: Timestamp,
    /// `None`: still running, or it died.
    pub closed_at: Option<Timestamp>,
    /// Its journal took an error.
    pub fenced_at: Option<Timestamp>,
}

/// What went wrong with the ledger's file, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the SQLite library is {found}, which can corrupt a database in WAL mode; {needed} or newer is needed: build with the bundled one"
    )]
    OldLibrary { found: String, needed: &'static str },
    #[error(
        "{} has schema {found}, this farebox knows up to {known}: run the newer farebox that wrote it, or restore a backup made before the upgrade",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is not a farebox ledger: choose another data directory", path.display())]
    NotALedger { path: PathBuf },
    #[error("no ledger at {}: start `farebox serve` with this data directory first, or name another", path.display())]
    Missing { path: PathBuf },
    #[error(
        "migration `{name}` was applied to {} in another wording than this farebox has: the file was changed by another build; restore a backup",
        path.display()
    )]
    Rewritten { path: PathBuf, name: String },
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("could not {doing}: {source}")]
    Thread { doing: &'static str, source: std::io::Error },
    #[error("could not {doing}: {source}")]
    Sqlite { doing: &'static str, source: rusqlite::Error },
    #[error("more than {max} groups: narrow the time range, add a filter, or group by something coarser")]
    TooManyGroups { max: usize },
}

impl StoreError {
    pub(crate) fn sqlite(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
        move |source| StoreError::Sqlite { doing, source }
    }

    fn thread(doing: &'static str) -> impl Fn(std::io::Error) -> StoreError {
        move |source| StoreError::Thread { doing, source }
    }

    /// It may heal by itself (full disk, a lock held too long): try the same again later.
    pub fn may_heal(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked, DiskFull, OutOfMemory};
        match self {
            StoreError::Sqlite { source, .. } => {
                matches!(source.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | DiskFull | OutOfMemory))
            }
            _ => false,
        }
    }
}

/// SQLite's integers are signed; what does not fit is nonsense and saturates.
fn saturate(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A write transaction: takes the write lock at once, so that it cannot fail half-way for want of it.
fn write_transaction(connection: &mut Connection) -> rusqlite::Result<rusqlite::Transaction<'_>> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
