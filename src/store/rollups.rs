//! Rollups: sums of events by window and question, so that no common question reads events.
//!
//! A fold only notes its events in `unrolled`; a flush sums those in memory and adds each sum once, so that the cost
//! per event falls with the load. Every query adds what is still in `unrolled`.

use super::measures::{COUNT, MEASURES, Values};
use super::vocabulary::{Dimension, Filter, TimeUnit, event_second_sql, second_of};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use std::collections::HashMap;
use std::sync::LazyLock;

/// A fold that leaves this many events outside the rollups flushes them; also the most that a query adds by itself.
pub(super) const UNROLLED_EVENTS_MAX: u64 = 20_000;

/// Dimensions of the widest rollup.
const KEY_MAX: usize = 5;

#[derive(Debug)]
pub(super) struct Rollup {
    pub(super) table: &'static str,
    pub(super) unit: TimeUnit,
    pub(super) dimensions: &'static [Dimension],
}

const LOW: &[Dimension] = &[Dimension::Provider, Dimension::Model, Dimension::Operation, Dimension::Outcome];
const TEAM: &[Dimension] = &[Dimension::Organisation, Dimension::Team, Dimension::Project];

/// Smallest first: the first that answers a question is taken. No hour × user × model cube: it would be as long as the
/// events.
pub(super) const ROLLUPS: [Rollup; 9] = [
    Rollup { table: "usage_day_low", unit: TimeUnit::Day, dimensions: LOW },
    Rollup { table: "usage_hour_low", unit: TimeUnit::Hour, dimensions: LOW },
    Rollup { table: "usage_day_team", unit: TimeUnit::Day, dimensions: TEAM },
    Rollup { table: "usage_hour_team", unit: TimeUnit::Hour, dimensions: TEAM },
    Rollup { table: "usage_day_key", unit: TimeUnit::Day, dimensions: &[Dimension::Key] },
    Rollup { table: "usage_hour_key", unit: TimeUnit::Hour, dimensions: &[Dimension::Key] },
    Rollup { table: "usage_month_user", unit: TimeUnit::Month, dimensions: &[Dimension::User] },
    Rollup { table: "usage_day_user", unit: TimeUnit::Day, dimensions: &[Dimension::User] },
    Rollup {
        table: "usage_day_key_model",
        unit: TimeUnit::Day,
        dimensions: &[Dimension::Key, Dimension::Provider, Dimension::Model],
    },
];

/// A rollup row's key: window and dimensions, unused places 0.
pub(super) type Key = [i64; KEY_MAX];

/// The dimensions that any rollup has, each once.
pub(super) const DIMENSIONS: [Dimension; 9] = [
    Dimension::Provider,
    Dimension::Model,
    Dimension::Operation,
    Dimension::Outcome,
    Dimension::Organisation,
    Dimension::Team,
    Dimension::Project,
    Dimension::Key,
    Dimension::User,
];

/// What a flush and a verification read of an event: its id, [`DIMENSIONS`], the measures.
static READ: LazyLock<String> = LazyLock::new(|| {
    let dimensions = DIMENSIONS.iter().map(Dimension::event_expression);
    let measures = MEASURES.iter().map(|measure| measure.expression.as_str());
    format!("id, {}", dimensions.chain(measures).collect::<Vec<_>>().join(", "))
});

/// Per rollup, where in [`DIMENSIONS`] its own are.
static PLACES: LazyLock<Vec<Vec<usize>>> = LazyLock::new(|| {
    let place = |dimension| DIMENSIONS.iter().position(|known| known == dimension);
    ROLLUPS.iter().map(|rollup| rollup.dimensions.iter().filter_map(place).collect()).collect()
});

/// Sums by rollup (in the order of [`ROLLUPS`]) and key.
#[derive(Debug, Default)]
pub(super) struct Coalesced {
    sums: [HashMap<Key, Values>; ROLLUPS.len()],
    /// The windows of the last event, by [`TimeUnit`]: start and end. Most events share them.
    windows: [(i64, i64); TimeUnit::ALL.len()],
}

impl Coalesced {
    /// The columns that [`Coalesced::add`] reads.
    pub(super) fn columns() -> &'static str {
        &READ
    }

    /// Adds one event to every rollup.
    pub(super) fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let number = |place: usize| row.get::<_, i64>(place);
        let second = second_of(number(0)?);
        let mut ids = [0i64; DIMENSIONS.len()];
        for (place, id) in ids.iter_mut().enumerate() {
            *id = number(1 + place)?;
        }
        // Most measures of most events are zero.
        let mut values = [(0usize, 0i64); COUNT];
        let mut used = 0;
        for place in 0..COUNT {
            let value = number(1 + DIMENSIONS.len() + place)?;
            if value != 0 {
                values[used] = (place, value);
                used += 1;
            }
        }
        for (place, rollup) in ROLLUPS.iter().enumerate() {
            let mut key: Key = [0; _];
            key[0] = self.window(rollup.unit, second);
            for (member, at) in key[1..].iter_mut().zip(&PLACES[place]) {
                *member = ids[*at];
            }
            let sum = self.sums[place].entry(key).or_insert([0; _]);
            for (measure, value) in &values[..used] {
                sum[*measure] = sum[*measure].saturating_add(*value);
            }
        }
        Ok(())
    }

    fn window(&mut self, unit: TimeUnit, second: i64) -> i64 {
        let known = &mut self.windows[unit as usize];
        if !(known.0..known.1).contains(&second) {
            *known = (unit.floor(second), unit.next(second));
        }
        known.0
    }

    /// The sums of one rollup, taken out.
    pub(super) fn take(&mut self, rollup: usize) -> HashMap<Key, Values> {
        self.sums.get_mut(rollup).map(std::mem::take).unwrap_or_default()
    }
}

/// Adds what is in `unrolled` to the rollups and empties it: one transaction.
pub(super) fn flush(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = super::write_transaction(connection)?;
    let mut coalesced = Coalesced::default();
    {
        let sql = format!("SELECT {} FROM unrolled JOIN events USING (id) ORDER BY id", Coalesced::columns());
        let mut read = transaction.prepare_cached(&sql)?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            coalesced.add(row)?;
        }
    }
    for (place, rollup) in ROLLUPS.iter().enumerate() {
        let mut sums: Vec<(Key, Values)> = coalesced.take(place).into_iter().collect();
        sums.sort_unstable_by_key(|(key, _)| *key);
        // A few kinds of units are used at all: the rest is neither bound nor added.
        let used = |measure: &usize| sums.iter().any(|(_, values)| values[*measure] != 0);
        let used: Vec<usize> = (0..COUNT).filter(used).collect();
        let mut upsert = transaction.prepare_cached(&upsert_sql(rollup, &used))?;
        for (key, values) in &sums {
            let values = used.iter().map(|measure| &values[*measure]);
            upsert.execute(params_from_iter(key[..=rollup.dimensions.len()].iter().chain(values)))?;
        }
    }
    transaction.execute("DELETE FROM unrolled", [])?;
    transaction.commit()
}

/// The days in which events may be that pass the filters, in order; `None` where no rollup knows. A question about a
/// rare key then reads a few days instead of all.
pub(super) fn days_with(connection: &Connection, filters: &[Filter]) -> rusqlite::Result<Option<Vec<i64>>> {
    let knows = |rollup: &Rollup| filters.iter().filter(|filter| rollup.dimensions.contains(&filter.dimension)).count();
    let of_days = ROLLUPS.iter().filter(|rollup| rollup.unit == TimeUnit::Day && knows(rollup) > 0);
    // Of those that know the most filters, the one of the most particular dimension: people and keys come last.
    let Some(rollup) = of_days.max_by_key(|rollup| knows(rollup)) else { return Ok(None) };
    let mut values: Vec<Value> = Vec::new();
    let known = filters.iter().filter(|filter| rollup.dimensions.contains(&filter.dimension));
    let conditions: Vec<String> =
        known.map(|filter| super::usage::condition(filter, filter.dimension.rollup_column(), &mut values)).collect();
    let sql = format!(
        "SELECT DISTINCT t FROM {} WHERE {} UNION SELECT DISTINCT {} FROM unrolled ORDER BY 1",
        rollup.table,
        conditions.join(" AND "),
        TimeUnit::Day.floor_sql(&event_second_sql("id"))
    );
    let mut read = connection.prepare_cached(&sql)?;
    let days = read.query_map(params_from_iter(values), |row| row.get(0))?;
    days.collect::<rusqlite::Result<Vec<i64>>>().map(Some)
}

/// A rollup's key columns, the window first.
pub(super) fn key_columns(rollup: &Rollup) -> Vec<&'static str> {
    std::iter::once("t").chain(rollup.dimensions.iter().map(Dimension::rollup_column)).collect()
}

/// Adds to the measures that are `used`; the others of a new row are zero.
fn upsert_sql(rollup: &Rollup, used: &[usize]) -> String {
    let keys = key_columns(rollup).join(", ");
    let names: Vec<&str> = MEASURES.iter().map(|measure| measure.name.as_str()).collect();
    let key_places = vec!["?"; rollup.dimensions.len() + 1];
    let places = (0..COUNT).map(|measure| if used.contains(&measure) { "?" } else { "0" });
    let places: Vec<&str> = key_places.into_iter().chain(places).collect();
    let adds = |measure: &usize| format!("{name} = {name} + excluded.{name}", name = names[*measure]);
    let action = match used {
        [] => "NOTHING".to_owned(),
        used => format!("UPDATE SET {}", used.iter().map(adds).collect::<Vec<_>>().join(", ")),
    };
    format!(
        "INSERT INTO {} ({keys}, {}) VALUES ({}) ON CONFLICT ({keys}) DO {action}",
        rollup.table,
        names.join(", "),
        places.join(", ")
    )
}
