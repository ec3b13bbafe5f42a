//! Sums by group: planned over the smallest rollups that answer, raw events only for what no rollup covers.

use super::measures::{self, MEASURES};
use super::names::{NameCache, NameKind};
use super::rollups::{ROLLUPS, Rollup};
use super::vocabulary::{Dimension, Filter, GroupBy, Reading, TimeRange, TimeUnit, event_second_sql};
use super::{StoreError, saturate};
use crate::clock::Timestamp;
use crate::ids::id_at;
use crate::tokens::usage::TokenUsage;
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::collections::HashMap;
use std::sync::Arc;

/// Groups that one question may have; beyond it the question is refused rather than memory filled.
const GROUPS_MAX: usize = 200_000;

/// "No value" among a group's numbers (a status that never came).
const ABSENT: i64 = i64::MIN;

/// What is asked: sums of the events in a range that pass every filter, by group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    pub group_by: Vec<GroupBy>,
    pub filters: Vec<Filter>,
    pub range: TimeRange,
}

/// The answer; groups come in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub groups: Vec<Group>,
    pub totals: Sums,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// One text per member of `group_by`; `None` where the events have no such value.
    pub key: Vec<Option<Arc<str>>>,
    pub sums: Sums,
}

/// Exact sums over events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Attempts; adjustments are not calls.
    pub calls: u64,
    pub adjustments: u64,
    /// Calls whose outcome is not `ok`.
    pub failed: u64,
    /// Calls whose cost is unknown: they are not in `cost_pico`, and are not free.
    pub unpriced: u64,
    /// Calls of paths that nobody bills.
    pub unmetered: u64,
    /// Calls by where their usage comes from; the rest have none.
    pub reported: u64,
    pub counted: u64,
    pub estimated: u64,
    pub cost_pico: i128,
    pub withheld_pico: i128,
    pub usage: TokenUsage,
}

impl Sums {
    pub fn add(&mut self, other: &Sums) {
        self.calls += other.calls;
        self.adjustments += other.adjustments;
        self.failed += other.failed;
        self.unpriced += other.unpriced;
        self.unmetered += other.unmetered;
        self.reported += other.reported;
        self.counted += other.counted;
        self.estimated += other.estimated;
        self.cost_pico += other.cost_pico;
        self.withheld_pico += other.withheld_pico;
        self.usage.add(&other.usage);
    }
}

type GroupKey = Vec<i64>;
type Totals = [i128; measures::COUNT];

pub(super) fn usage(connection: &Connection, query: &UsageQuery) -> Result<Usage, StoreError> {
    let reading = StoreError::sqlite("sum up usage");
    // One snapshot: between two statements a flush may move events from `unrolled` into the rollups.
    let snapshot = connection.unchecked_transaction().map_err(&reading)?;
    let mut groups: HashMap<GroupKey, Totals> = HashMap::new();
    for segment in plan(query) {
        for statement in segment.statements(query) {
            sum_into(&mut groups, &snapshot, query, &statement).map_err(&reading)?;
            if groups.len() > GROUPS_MAX {
                return Err(StoreError::TooManyGroups { max: GROUPS_MAX });
            }
        }
    }
    name_groups(&snapshot, query, groups).map_err(reading)
}

fn sum_into(
    groups: &mut HashMap<GroupKey, Totals>,
    connection: &Connection,
    query: &UsageQuery,
    statement: &(String, Vec<Value>),
) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached(&statement.0)?;
    let mut rows = select.query(params_from_iter(&statement.1))?;
    let width = query.group_by.len();
    while let Some(row) = rows.next()? {
        let key = (0..width).map(|place| Ok(row.get::<_, Option<i64>>(place)?.unwrap_or(ABSENT)));
        let totals = groups.entry(key.collect::<rusqlite::Result<_>>()?).or_insert([0; _]);
        for (place, total) in totals.iter_mut().enumerate() {
            *total += i128::from(row.get::<_, Option<i64>>(width + place)?.unwrap_or(0));
        }
        if groups.len() > GROUPS_MAX {
            break;
        }
    }
    Ok(())
}

/// Numbers → texts; groups that differ only in what a tag dimension does not show become one.
fn name_groups(
    connection: &Connection,
    query: &UsageQuery,
    groups: HashMap<GroupKey, Totals>,
) -> rusqlite::Result<Usage> {
    let mut names = NameCache::default();
    let mut usage = Usage::default();
    let mut places: HashMap<Vec<Option<Arc<str>>>, usize> = HashMap::new();
    for (numbers, totals) in groups {
        let sums = measures::sums(&totals);
        usage.totals.add(&sums);
        if sums == Sums::default() {
            continue;
        }
        let key =
            query.group_by.iter().zip(numbers).map(|(by, number)| name_member(connection, &mut names, by, number));
        let key = key.collect::<rusqlite::Result<Vec<_>>>()?;
        match places.get(&key) {
            Some(place) => usage.groups[*place].sums.add(&sums),
            None => {
                places.insert(key.clone(), usage.groups.len());
                usage.groups.push(Group { key, sums });
            }
        }
    }
    Ok(usage)
}

fn name_member(
    connection: &Connection,
    names: &mut NameCache,
    by: &GroupBy,
    number: i64,
) -> rusqlite::Result<Option<Arc<str>>> {
    if number == ABSENT {
        return Ok(None);
    }
    let dimension = match by {
        GroupBy::Time(unit) => return Ok(Some(unit.write(number).into())),
        GroupBy::Dimension(dimension) => dimension,
    };
    Ok(match (dimension.reading(), dimension) {
        (Reading::Integer, _) => Some(number.to_string().into()),
        (Reading::Flag, _) => Some(if number == 0 { "false" } else { "true" }.into()),
        (Reading::Name(_), Dimension::Tag(tag)) => names.text(connection, number)?.and_then(|tags| {
            let tags: HashMap<String, String> = serde_json::from_str(&tags).unwrap_or_default();
            tags.get(tag).map(|value| value.as_str().into())
        }),
        (Reading::Name(_), _) => names.text(connection, number)?,
    })
}

/// A stretch of time and where its sums are read. Milliseconds since 1970, half-open.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// `None`: raw events.
    rollup: Option<&'static Rollup>,
    from: i64,
    to: i64,
}

const OPEN_START: i64 = i64::MIN;
const OPEN_END: i64 = i64::MAX;

/// Covers the range by rollups, the coarsest first, and its ragged edges by finer ones down to raw events.
fn plan(query: &UsageQuery) -> Vec<Segment> {
    let mut needed: Vec<&Dimension> = query.filters.iter().map(|filter| &filter.dimension).collect();
    let mut unit_max = TimeUnit::Month;
    for by in &query.group_by {
        match by {
            GroupBy::Time(unit) => unit_max = unit_max.min(*unit),
            GroupBy::Dimension(dimension) => needed.push(dimension),
        }
    }
    let answers = |rollup: &&Rollup| needed.iter().all(|dimension| rollup.dimensions.contains(dimension));
    let levels: Vec<&'static Rollup> = TimeUnit::ALL
        .into_iter()
        .rev()
        .filter(|unit| *unit <= unit_max)
        .filter_map(|unit| ROLLUPS.iter().filter(|rollup| rollup.unit == unit).find(answers))
        .collect();
    let mut segments = Vec::new();
    let from = query.range.from.map_or(OPEN_START, Timestamp::as_millis);
    let to = query.range.to.map_or(OPEN_END, Timestamp::as_millis);
    cover(&levels, from, to, &mut segments);
    segments
}

fn cover(levels: &[&'static Rollup], from: i64, to: i64, segments: &mut Vec<Segment>) {
    if from >= to {
        return;
    }
    let Some((rollup, finer)) = levels.split_first() else {
        segments.push(Segment { rollup: None, from, to });
        return;
    };
    let floor = |millis: i64| rollup.unit.floor(millis.div_euclid(1_000)) * 1_000;
    let start = match from {
        OPEN_START => OPEN_START,
        from if floor(from) == from => from,
        from => rollup.unit.next(from.div_euclid(1_000)) * 1_000,
    };
    let end = if to == OPEN_END { OPEN_END } else { floor(to) };
    if start < end {
        cover(finer, from, start, segments);
        segments.push(Segment { rollup: Some(rollup), from: start, to: end });
        cover(finer, end, to, segments);
    } else {
        cover(finer, from, to, segments);
    }
}

impl Segment {
    /// The statements whose rows add up to the segment's sums.
    fn statements(&self, query: &UsageQuery) -> Vec<(String, Vec<Value>)> {
        match self.rollup {
            None => vec![self.over_events("events", query)],
            Some(rollup) => {
                vec![self.over_rollup(rollup, query), self.over_events("unrolled CROSS JOIN events USING (id)", query)]
            }
        }
    }

    fn over_rollup(&self, rollup: &Rollup, query: &UsageQuery) -> (String, Vec<Value>) {
        let seconds = |millis: i64| match millis {
            OPEN_START | OPEN_END => millis,
            millis => millis.div_euclid(1_000),
        };
        let keys = query.group_by.iter().map(|by| match by {
            GroupBy::Time(unit) if *unit == rollup.unit => "t".to_owned(),
            GroupBy::Time(unit) => unit.floor_sql("t"),
            GroupBy::Dimension(dimension) => dimension.rollup_column().to_owned(),
        });
        let sums = MEASURES.iter().map(|measure| format!("SUM({})", measure.name));
        let mut values = vec![Value::from(seconds(self.from)), Value::from(seconds(self.to))];
        let mut conditions = vec!["t >= ? AND t < ?".to_owned()];
        conditions.extend(
            query.filters.iter().map(|filter| condition(filter, filter.dimension.rollup_column(), &mut values)),
        );
        (select(keys.chain(sums), rollup.table, &conditions, query.group_by.len()), values)
    }

    fn over_events(&self, from: &str, query: &UsageQuery) -> (String, Vec<Value>) {
        let id = |millis: i64| match millis {
            OPEN_START => 0,
            OPEN_END => i64::MAX,
            millis => saturate(id_at(Timestamp(millis.saturating_mul(1_000)))),
        };
        let keys = query.group_by.iter().map(|by| match by {
            GroupBy::Time(unit) => unit.floor_sql(&event_second_sql("id")),
            GroupBy::Dimension(dimension) => dimension.event_expression().to_owned(),
        });
        let sums = MEASURES.iter().map(|measure| format!("SUM({})", measure.expression));
        let mut values = vec![Value::from(id(self.from)), Value::from(id(self.to))];
        let mut conditions = vec!["id >= ? AND id < ?".to_owned()];
        conditions.extend(
            query.filters.iter().map(|filter| condition(filter, filter.dimension.event_expression(), &mut values)),
        );
        (select(keys.chain(sums), from, &conditions, query.group_by.len()), values)
    }
}

fn select(columns: impl Iterator<Item = String>, from: &str, conditions: &[String], keys: usize) -> String {
    let columns: Vec<String> = columns.collect();
    let mut sql = format!("SELECT {} FROM {from} WHERE {}", columns.join(", "), conditions.join(" AND "));
    if keys > 0 {
        let places: Vec<String> = (1..=keys).map(|place| place.to_string()).collect();
        sql.push_str(&format!(" GROUP BY {}", places.join(", ")));
    }
    sql
}

/// A filter as SQL over `column`; its values are appended in the order of the question marks.
pub(super) fn condition(filter: &Filter, column: &str, values: &mut Vec<Value>) -> String {
    let alternatives: Vec<String> =
        filter.values.iter().map(|wanted| alternative(&filter.dimension, wanted, column, values)).collect();
    if alternatives.is_empty() { "1".to_owned() } else { format!("({})", alternatives.join(" OR ")) }
}

fn alternative(dimension: &Dimension, wanted: &str, column: &str, values: &mut Vec<Value>) -> String {
    let number = match dimension.reading() {
        Reading::Integer if wanted.is_empty() => return format!("{column} IS NULL"),
        Reading::Integer => wanted.parse::<i64>().ok(),
        Reading::Flag => wanted.parse::<bool>().ok().map(i64::from),
        Reading::Name(kind) => return named(dimension, kind, wanted, column, values),
    };
    match number {
        Some(number) => {
            values.push(number.into());
            format!("{column} = ?")
        }
        None => "0".to_owned(),
    }
}

fn named(dimension: &Dimension, kind: NameKind, wanted: &str, column: &str, values: &mut Vec<Value>) -> String {
    let (compare, wanted_text) = match wanted.contains('*') {
        true => ("GLOB", wanted.replace('[', "[[]").replace('?', "[?]")),
        false => ("=", wanted.to_owned()),
    };
    match dimension {
        Dimension::Tag(tag) => {
            values.extend([Value::from(kind as i64), Value::from(tag.clone())]);
            let having = format!(
                "{column} {} (SELECT id FROM names WHERE kind = ? AND EXISTS (SELECT 1 FROM json_each(names.text) WHERE key = ?",
                if wanted.is_empty() { "NOT IN" } else { "IN" }
            );
            if wanted.is_empty() {
                return format!("{having}))");
            }
            values.push(wanted_text.into());
            format!("{having} AND value {compare} ?))")
        }
        _ if wanted.is_empty() => format!("{column} = 0"),
        _ => {
            values.extend([Value::from(kind as i64), Value::from(wanted_text)]);
            format!("{column} IN (SELECT id FROM names WHERE kind = ? AND text {compare} ?)")
        }
    }
}
