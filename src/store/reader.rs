//! Reading beside the writer: connections that cannot write, each question in one snapshot.

use super::names::NameKind;
use super::row::{COLUMNS, Decoder, Remembered};
use super::usage::condition;
use super::vocabulary::{Dimension, Filter, TimeRange, TimeUnit};
use super::{EventRow, FILE_NAME, Progress, Report, StoreError, Usage, UsageQuery, rollups, saturate, schema, verify};
use crate::clock::Timestamp;
use crate::ids::{EventId, ExchangeId, id_at};
use parking_lot::Mutex;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
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

impl EventQuery {
    /// What of these ids, half-open, is not behind us. A bound beside it (`id > ?`) would have SQLite begin every page
    /// at the stretch's own beginning, and step over all pages before: 3,200,000 reads of a file of 92,000 pages.
    pub(super) fn left_of(&self, (from, to): (i64, i64)) -> Option<(i64, i64)> {
        let after = self.after.map(|after| saturate(after.0));
        let (from, to) = match (after, self.order) {
            (None, _) => (from, to),
            (Some(after), Order::OldestFirst) => (from.max(after.saturating_add(1)), to),
            (Some(after), Order::NewestFirst) => (from, to.min(after)),
        };
        (from < to).then_some((from, to))
    }
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
        let mut rows = Vec::new();
        self.visit_events(query, &mut Remembered::default(), &mut |row| rows.push(row))?;
        Ok(rows)
    }

    /// Shows a page of events one by one, without keeping them; the last one's id. Made for long pages.
    pub fn visit_events(
        &self,
        query: &EventQuery,
        remembered: &mut Remembered,
        visit: &mut dyn FnMut(EventRow),
    ) -> Result<Option<EventId>, StoreError> {
        self.with(|connection| {
            visit_events(connection, query, remembered, visit).map_err(StoreError::sqlite("read events"))
        })
    }

    /// These events, as far as they are there and pass the filters; oldest first.
    pub fn events_of(&self, ids: &[u64], filters: &[Filter]) -> Result<Vec<EventRow>, StoreError> {
        let mut values = Vec::new();
        let listed: Vec<String> = ids.iter().map(u64::to_string).collect();
        let mut conditions = vec![format!("id IN ({})", listed.join(", "))];
        let by_column = |filter: &Filter| condition(filter, filter.dimension.event_expression(), &mut values);
        conditions.extend(filters.iter().map(by_column));
        let sql = format!("SELECT {} FROM events WHERE {} ORDER BY id", COLUMNS.join(", "), conditions.join(" AND "));
        let read = |connection: &Connection| -> rusqlite::Result<Vec<EventRow>> {
            let snapshot = connection.unchecked_transaction()?;
            let mut remembered = Remembered::default();
            let mut decoder = Decoder::new(&snapshot, &mut remembered);
            let mut statement = snapshot.prepare(&sql)?;
            let rows = statement.query_map(params_from_iter(&values), |row| decoder.decode(row))?;
            rows.collect()
        };
        self.with(|connection| read(connection).map_err(StoreError::sqlite("read events")))
    }

    /// The numbers of all events from `from` on whose exchange began then, and of all above `greatest`; oldest first.
    pub fn ids_since(&self, from: u64, greatest: u64) -> Result<Vec<u64>, StoreError> {
        // An attempt is found by its exchange's index, which is a tenth of the table; a correction by its own number.
        let sql = "SELECT id FROM events WHERE exchange >= ?1 UNION SELECT id FROM events WHERE id > ?2 ORDER BY 1";
        let read = |connection: &Connection| -> rusqlite::Result<Vec<u64>> {
            let mut statement = connection.prepare_cached(sql)?;
            let ids = statement.query_map([saturate(from), saturate(greatest)], |row| row.get::<_, i64>(0))?;
            ids.map(|id| id.map(i64::unsigned_abs)).collect()
        };
        self.with(|connection| read(connection).map_err(StoreError::sqlite("look for new events")))
    }

    pub fn event(&self, id: EventId) -> Result<Option<EventRow>, StoreError> {
        self.with(|connection| super::row::event(connection, id).map_err(StoreError::sqlite("read an event")))
    }

    /// Every attempt and adjustment of an exchange, oldest first.
    pub fn exchange(&self, id: ExchangeId) -> Result<Vec<EventRow>, StoreError> {
        self.with(|connection| exchange(connection, id).map_err(StoreError::sqlite("read an exchange")))
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

/// The ids of each stretch of time that can hold what is asked, half-open, in the order asked for.
fn stretches(connection: &Connection, query: &EventQuery) -> rusqlite::Result<Vec<(i64, i64)>> {
    let (from, to) = query.range.ids();
    let Some(mut days) = rollups::days_with(connection, &query.filters)? else { return Ok(vec![(from, to)]) };
    if query.order == Order::NewestFirst {
        days.reverse();
    }
    let id = |second: i64| saturate(id_at(Timestamp(second.saturating_mul(1_000_000))));
    let ends = days.into_iter().map(|day| (id(day).max(from), id(TimeUnit::Day.next(day)).min(to)));
    Ok(ends.filter(|(start, end)| start < end).collect())
}

/// The number of the one key that the filters let through.
fn one_key(connection: &Connection, filters: &[Filter]) -> rusqlite::Result<Option<i64>> {
    let named = filters.iter().find(|filter| filter.dimension == Dimension::Key).map(|filter| &filter.values[..]);
    let Some([name]) = named else { return Ok(None) };
    if name.is_empty() || name.contains('*') {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT id FROM names WHERE kind = ?1 AND text = ?2")?
        .query_row(params![NameKind::Key as u8, name], |row| row.get(0))
        .optional()
}

fn visit_events(
    connection: &Connection,
    query: &EventQuery,
    remembered: &mut Remembered,
    visit: &mut dyn FnMut(EventRow),
) -> rusqlite::Result<Option<EventId>> {
    // One snapshot for the rows, the names that they point at, and the days that they are looked for in.
    let snapshot = connection.unchecked_transaction()?;
    let direction = match query.order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    let mut values = Vec::new();
    let mut conditions = vec!["id >= ? AND id < ?".to_owned()];
    let by_column = |filter: &Filter| condition(filter, filter.dimension.event_expression(), &mut values);
    conditions.extend(query.filters.iter().map(by_column));
    // One key's events are found by their index, without a look at days that others fill.
    let key = one_key(&snapshot, &query.filters)?;
    let by_key = key.map_or("", |_| " INDEXED BY events_by_key");
    if let Some(key) = key {
        conditions.push(format!("key_id = {key}"));
    }
    let sql = format!(
        "SELECT {} FROM events{by_key} WHERE {} ORDER BY id {direction} LIMIT ?",
        COLUMNS.join(", "),
        conditions.join(" AND ")
    );
    let mut statement = snapshot.prepare_cached(&sql)?;
    let mut decoder = Decoder::new(&snapshot, remembered);
    let (mut left, mut last) = (query.limit, None);
    let stretches = if key.is_some() { vec![query.range.ids()] } else { stretches(&snapshot, query)? };
    for stretch in stretches {
        let Some((from, to)) = query.left_of(stretch) else { continue };
        let bounds = [Value::from(from), Value::from(to)];
        let all = bounds.iter().chain(&values);
        let limit = Value::from(saturate(left as u64));
        let mut rows = statement.query(params_from_iter(all.chain([&limit])))?;
        while let Some(row) = rows.next()? {
            let row = decoder.decode(row)?;
            last = Some(row.id);
            visit(row);
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    Ok(last)
}

fn exchange(connection: &Connection, id: ExchangeId) -> rusqlite::Result<Vec<EventRow>> {
    let snapshot = connection.unchecked_transaction()?;
    let sql = format!("SELECT {} FROM events WHERE exchange = ? ORDER BY id", COLUMNS.join(", "));
    let mut remembered = Remembered::default();
    let mut decoder = Decoder::new(&snapshot, &mut remembered);
    let mut statement = snapshot.prepare_cached(&sql)?;
    let rows = statement.query_map([saturate(id.0)], |row| decoder.decode(row))?;
    rows.collect()
}
