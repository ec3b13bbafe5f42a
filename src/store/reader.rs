//! Reading beside the writer: connections that cannot write, each question in one snapshot.

use super::row::{COLUMNS, Decoder};
use super::usage::condition;
use super::vocabulary::{Filter, TimeRange};
use super::{EventRow, FILE_NAME, Progress, Report, StoreError, Usage, UsageQuery, saturate, schema, verify};
use crate::ids::{EventId, ExchangeId};
use parking_lot::Mutex;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Idle connections kept open.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Reads the ledger of a data directory, while a server writes it or not. Cheap to clone; every question takes a
/// connection of its own for as long as it lasts.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

/// One page of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    pub filters: Vec<Filter>,
    pub range: TimeRange,
    pub order: Order,
    /// The last event of the page before.
    pub after: Option<EventId>,
    pub limit: usize,
}

/// By event id, that is by the time at which the attempt began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    NewestFirst,
    OldestFirst,
}

impl Reader {
    pub fn open(data_dir: &Path) -> Result<Reader, StoreError> {
        let path = data_dir.join(FILE_NAME);
        let connection = schema::open_for_reading(&path)?;
        Ok(Reader { shared: Arc::new(Shared { path, idle: Mutex::new(vec![connection]) }) })
    }

    /// Sums of usage by group.
    pub fn usage(&self, query: &UsageQuery) -> Result<Usage, StoreError> {
        self.with(|connection| super::usage::usage(connection, query))
    }

    /// A page of events. Pages by `after` never show an event twice, whatever arrives between them.
    pub fn events(&self, query: &EventQuery) -> Result<Vec<EventRow>, StoreError> {
        self.with(|connection| events(connection, query).map_err(StoreError::sqlite("read events")))
    }

    pub fn event(&self, id: EventId) -> Result<Option<EventRow>, StoreError> {
        self.with(|connection| super::row::event(connection, id).map_err(StoreError::sqlite("read an event")))
    }

    /// Every attempt and adjustment of an exchange, oldest first.
    pub fn exchange(&self, id: ExchangeId) -> Result<Vec<EventRow>, StoreError> {
        let sql = format!("SELECT {} FROM events WHERE exchange = ? ORDER BY id", COLUMNS.join(", "));
        let values = [Value::from(saturate(id.0))];
        self.with(|connection| select(connection, &sql, &values).map_err(StoreError::sqlite("read an exchange")))
    }

    /// How many events there are: what an export will be long. Counted, not kept: a full pass over the key.
    pub fn count_events(&self) -> Result<u64, StoreError> {
        let count = |connection: &Connection| connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
        let count: i64 = self.with(|connection| count(connection).map_err(StoreError::sqlite("count events")))?;
        Ok(count.unsigned_abs())
    }

    /// Rebuilds every rollup from the events, checks each event against itself, and compares: in pieces of a day, each
    /// its own snapshot, so that a server can go on writing.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<Report, StoreError> {
        self.with(|connection| verify::verify(connection, progress).map_err(StoreError::sqlite("verify the ledger")))
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    pub(super) fn with<T>(&self, question: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.shared.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_for_reading(&self.shared.path)?,
        };
        let answer = question(&connection)?;
        let mut idle = self.shared.idle.lock();
        if idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
        Ok(answer)
    }
}

fn events(connection: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<EventRow>> {
    let (from, to) = query.range.ids();
    let mut values = vec![Value::from(from), Value::from(to)];
    let mut conditions = vec!["id >= ? AND id < ?".to_owned()];
    let (behind, direction) = match query.order {
        Order::NewestFirst => ("id < ?", "DESC"),
        Order::OldestFirst => ("id > ?", "ASC"),
    };
    if let Some(after) = query.after {
        conditions.push(behind.to_owned());
        values.push(saturate(after.0).into());
    }
    for filter in &query.filters {
        conditions.push(condition(filter, filter.dimension.event_expression(), &mut values));
    }
    values.push(saturate(query.limit as u64).into());
    let sql = format!(
        "SELECT {} FROM events WHERE {} ORDER BY id {direction} LIMIT ?",
        COLUMNS.join(", "),
        conditions.join(" AND ")
    );
    select(connection, &sql, &values)
}

fn select(connection: &Connection, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<EventRow>> {
    // One snapshot for the rows and the names that they point at.
    let snapshot = connection.unchecked_transaction()?;
    let mut decoder = Decoder::new(&snapshot);
    let mut statement = snapshot.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        events.push(decoder.decode(row)?);
    }
    Ok(events)
}
