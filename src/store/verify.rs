//! Does the ledger add up? Everything that can be rebuilt is rebuilt from the events and compared.

use super::measures::{MEASURES, Values};
use super::names::PRICED;
use super::rollups::{Coalesced, Key, ROLLUPS, Rollup, key_columns};
use super::vocabulary::{TimeUnit, second_of};
use super::{budgets, retention, saturate, tenant_retention};
use crate::budget::account::BudgetId;
use crate::clock::Timestamp;
use crate::ids::{EventId, id_at};
use crate::tokens::usage::Kind;
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::fmt;

/// Faults told one by one; the rest are counted.
const FAULTS_MAX: usize = 100;

const DAY_SECONDS: i64 = 86_400;

/// How far a verification is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub events_done: u64,
    pub events_total: u64,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub events: u64,
    pub adjustments: u64,
    pub cost_pico: i128,
    pub withheld_pico: i128,
    /// Rollup rows that were compared.
    pub rollup_rows: u64,
    /// Raw events before this were dropped; of them only the sums are left.
    pub kept_from: Option<Timestamp>,
    /// Budgets' accounts that were compared.
    pub budget_accounts: u64,
    /// Of these, with slices charged whole because nothing proved what was spent of them.
    pub budget_losses: u64,
    pub faults: Vec<Fault>,
    /// Faults beyond those told.
    pub faults_more: u64,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn tell(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MAX { self.faults.push(fault) } else { self.faults_more += 1 }
    }
}

/// One thing that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SQLite's own check of the file.
    File(String),
    /// A rollup's row is not the sum of its events. The key is as in the table, the window first.
    Rollup { table: &'static str, window: String, key: Vec<i64>, measure: String, expected: i64, found: i64 },
    /// The parts of an event's cost do not sum to it.
    Parts(EventId),
    /// A priced event without the rates that it was priced with.
    Rates(EventId),
    /// An adjustment of an event that does not exist.
    Orphan(EventId),
    /// What is settled of a budget is not what its events charge and what was lost of it.
    Budget { account: BudgetId, budget: String, expected: i128, found: i128 },
    /// More of a limit is settled and leased than it allows, and no overrun or correction explains it.
    Overcommitted { account: BudgetId, budget: String, taken: i128, limit: u128 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::File(complaint) => write!(f, "the file is damaged: {complaint}"),
            Fault::Rollup { table, window, key, measure, expected, found } => {
                write!(f, "{table}, window {window}, key {key:?}: {measure} is {found}, the events sum to {expected}")
            }
            Fault::Parts(id) => write!(f, "{id}: the costs by kind do not sum to the cost"),
            Fault::Rates(id) => write!(f, "{id}: priced, but its rates are missing"),
            Fault::Orphan(id) => write!(f, "{id}: adjusts an event that does not exist"),
            Fault::Budget { account, budget, expected, found } => write!(
                f,
                "budget {budget:?}, account {:016x}: {found} is settled, its events and losses sum to {expected}",
                account.0
            ),
            Fault::Overcommitted { account, budget, taken, limit } => write!(
                f,
                "budget {budget:?}, account {:016x}: {taken} is settled or leased within a limit of {limit}",
                account.0
            ),
        }
    }
}

pub(super) fn verify(connection: &Connection, progress: &mut dyn FnMut(Progress)) -> rusqlite::Result<Report> {
    let mut report = Report::default();
    check_file(connection, &mut report)?;
    let events_total: i64 = connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    report.kept_from = retention::kept_from(connection)?;
    check_budgets(connection, &mut report)?;
    check_limits(connection, &mut report)?;
    let Some((first, last)) = days(connection)? else { return Ok(report) };
    let mut day = report.kept_from.map_or(first, |kept| first.max(kept.as_seconds()));
    while day <= last {
        // A day is a snapshot: between two of them the server goes on, and SQLite can reset its log.
        let snapshot = connection.unchecked_transaction()?;
        check_day(&snapshot, day, &mut report)?;
        drop(snapshot);
        progress(Progress { events_done: report.events, events_total: events_total.unsigned_abs().max(report.events) });
        day += DAY_SECONDS;
    }
    check_months(connection, &mut report)?;
    Ok(report)
}

/// Every account is what its events charge and what was lost of it. In one snapshot: a server goes on meanwhile.
fn check_budgets(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let snapshot = connection.unchecked_transaction()?;
    let mut expected: HashMap<BudgetId, i128> = HashMap::new();
    let mut add = |account, amount: i128| {
        let sum = expected.entry(account).or_default();
        *sum = sum.saturating_add(amount);
    };
    let mut read = snapshot.prepare("SELECT charges FROM events WHERE charges IS NOT NULL")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        for charge in budgets::from_blob(row.get_ref(0)?.as_blob().unwrap_or_default()) {
            add(charge.account, i128::from(charge.amount));
        }
    }
    let mut read = snapshot.prepare("SELECT account, amount FROM budget_losses")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        add(budgets::id_of(row.get(0)?), budgets::signed(&row.get::<_, String>(1)?));
        report.budget_losses += 1;
    }
    // What events charged that were dropped past their age.
    let mut read = snapshot.prepare("SELECT account, amount FROM budget_retired")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        add(budgets::id_of(row.get(0)?), budgets::signed(&row.get::<_, String>(1)?));
    }
    let mut read = snapshot.prepare("SELECT id, budget, settled FROM budget_accounts")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        report.budget_accounts += 1;
        let account = budgets::id_of(row.get(0)?);
        let (budget, found) = (row.get(1)?, budgets::signed(&row.get::<_, String>(2)?));
        let expected = expected.remove(&account).unwrap_or(0);
        if expected != found {
            report.tell(Fault::Budget { account, budget, expected, found });
        }
    }
    for (account, expected) in expected.into_iter().filter(|(_, expected)| *expected != 0) {
        report.tell(Fault::Budget { account, budget: String::new(), expected, found: 0 });
    }
    Ok(())
}

/// Of every hard budget: what its processes charged to their leases and what is left of these is within the greatest
/// limit under which they were granted. What was charged beyond any lease (by callers whom the budget excepts, overruns,
/// corrections) is kept apart. Of a rolling window, its buckets count together.
fn check_limits(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let snapshot = connection.unchecked_transaction()?;
    let mut leased: HashMap<i64, i128> = HashMap::new();
    let mut read = snapshot.prepare("SELECT account, remaining FROM budget_leases")?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let sum = leased.entry(row.get(0)?).or_default();
        *sum = sum.saturating_add(budgets::signed(&row.get::<_, String>(1)?));
    }
    let mut read = snapshot.prepare(
        "SELECT id, budget, settled, beyond, limit_max, series, window_start, counts_from FROM budget_accounts
         WHERE hardness = 'hard' AND budget <> '' ORDER BY series, window_start",
    )?;
    let mut rows = read.query([])?;
    // Of the rolling series that is being read: start, taken and limit of each bucket.
    let mut buckets: Vec<(i64, i128, u128)> = Vec::new();
    let mut series_read = None;
    while let Some(row) = rows.next()? {
        let (id, series): (i64, i64) = (row.get(0)?, row.get(5)?);
        let settled = budgets::signed(&row.get::<_, String>(2)?);
        let beyond = budgets::signed(&row.get::<_, String>(3)?);
        let own = settled.saturating_sub(beyond).saturating_add(leased.get(&id).copied().unwrap_or(0));
        let limit = budgets::amount(&row.get::<_, String>(4)?);
        let (start, counts_from): (i64, i64) = (row.get(6)?, row.get(7)?);
        if series_read != Some(series) {
            series_read = Some(series);
            buckets.clear();
        }
        buckets.retain(|(begun, ..)| *begun >= counts_from);
        buckets.push((start, own, limit));
        let is_rolling = counts_from < start;
        let (taken, limit) = match is_rolling {
            true => buckets.iter().fold((0, 0), |(taken, most): (i128, u128), (_, own, limit)| {
                (taken.saturating_add(*own), most.max(*limit))
            }),
            false => (own, limit),
        };
        if taken > i128::try_from(limit).unwrap_or(i128::MAX) {
            report.tell(Fault::Overcommitted { account: budgets::id_of(id), budget: row.get(1)?, taken, limit });
        }
    }
    Ok(())
}

fn check_file(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let mut check = connection.prepare("PRAGMA quick_check(10)")?;
    let mut rows = check.query([])?;
    while let Some(row) = rows.next()? {
        let complaint: String = row.get(0)?;
        if complaint != "ok" {
            report.tell(Fault::File(complaint));
        }
    }
    Ok(())
}

/// The first and the last day (their first seconds) of which anything is told.
fn days(connection: &Connection) -> rusqlite::Result<Option<(i64, i64)>> {
    let ends = |sql: &str| {
        connection.query_row(sql, [], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))
    };
    let of_ids = ends("SELECT min(id), max(id) FROM events")?;
    let mut found: Vec<i64> = [of_ids.0, of_ids.1].into_iter().flatten().map(second_of).collect();
    for rollup in &ROLLUPS {
        let of_windows = ends(&format!("SELECT min(t), max(t) FROM {}", rollup.table))?;
        found.extend([of_windows.0, of_windows.1].into_iter().flatten());
    }
    let bounds = found.iter().min().zip(found.iter().max());
    Ok(bounds.map(|(first, last)| (TimeUnit::Day.floor(*first), TimeUnit::Day.floor(*last))))
}

fn check_day(snapshot: &Connection, day: i64, report: &mut Report) -> rusqlite::Result<()> {
    let id = |second: i64| saturate(id_at(Timestamp(second.saturating_mul(1_000_000))));
    let ids = params![id(day), id(day + DAY_SECONDS)];
    let sql = format!(
        "SELECT {}, adjusts IS NOT NULL, cost_pico, withheld_pico, unrolled.id IS NOT NULL
         FROM events LEFT JOIN unrolled USING (id) WHERE id >= ?1 AND id < ?2 ORDER BY id",
        Coalesced::columns().replacen("id", "events.id", 1)
    );
    let mut coalesced = Coalesced::default();
    let mut read = snapshot.prepare_cached(&sql)?;
    let behind = read.column_count() - 4;
    let mut rows = read.query(ids)?;
    while let Some(row) = rows.next()? {
        report.events += 1;
        report.adjustments += u64::from(row.get::<_, bool>(behind)?);
        report.cost_pico += i128::from(row.get::<_, i64>(behind + 1)?);
        report.withheld_pico += i128::from(row.get::<_, i64>(behind + 2)?);
        if !row.get::<_, bool>(behind + 3)? {
            coalesced.add(row)?;
        }
    }
    tenant_retention::add_retired(snapshot, id(day), id(day + DAY_SECONDS), &mut coalesced)?;
    check_events(snapshot, id(day), id(day + DAY_SECONDS), report)?;
    for (place, rollup) in ROLLUPS.iter().enumerate().filter(|(_, rollup)| rollup.unit <= TimeUnit::Day) {
        compare(snapshot, rollup, day, coalesced.take(place), report)?;
    }
    Ok(())
}

/// Each event against itself.
fn check_events(snapshot: &Connection, from: i64, to: i64, report: &mut Report) -> rusqlite::Result<()> {
    let parts: Vec<String> = Kind::ALL.into_iter().map(|kind| format!("cost_{}", kind.name())).collect();
    let sql = format!(
        "SELECT * FROM (
             SELECT id, cost_pico <> {} AS parts, pricing_id = {PRICED} AND rate_set IS NULL AS rates,
                    adjusts IS NOT NULL AND adjusts >= ?3
                        AND NOT EXISTS (SELECT 1 FROM events AS other WHERE other.id = events.adjusts)
                        AND NOT EXISTS (SELECT 1 FROM tenants WHERE kept_from > events.adjusts
                            AND id IN (organisation_id, team_id, project_id)) AS orphan
             FROM events WHERE id >= ?1 AND id < ?2
         ) WHERE parts OR rates OR orphan",
        parts.join(" + ")
    );
    let mut read = snapshot.prepare_cached(&sql)?;
    let kept_from = report.kept_from.map_or(0, |kept| saturate(id_at(kept)));
    let mut rows = read.query(params![from, to, kept_from])?;
    while let Some(row) = rows.next()? {
        let id = EventId(row.get::<_, i64>(0)?.unsigned_abs());
        for (place, fault) in [Fault::Parts(id), Fault::Rates(id), Fault::Orphan(id)].into_iter().enumerate() {
            if row.get(1 + place)? {
                report.tell(fault);
            }
        }
    }
    Ok(())
}

fn compare(
    snapshot: &Connection,
    rollup: &Rollup,
    day: i64,
    mut expected: HashMap<Key, Values>,
    report: &mut Report,
) -> rusqlite::Result<()> {
    let width = 1 + rollup.dimensions.len();
    let names: Vec<&str> = MEASURES.iter().map(|measure| measure.name.as_str()).collect();
    let columns = key_columns(rollup).join(", ");
    let sql = format!("SELECT {columns}, {} FROM {} WHERE t >= ?1 AND t < ?2", names.join(", "), rollup.table);
    let mut read = snapshot.prepare_cached(&sql)?;
    let mut rows = read.query(params![day, day + DAY_SECONDS])?;
    while let Some(row) = rows.next()? {
        report.rollup_rows += 1;
        let mut key: Key = [0; _];
        for (place, number) in key.iter_mut().take(width).enumerate() {
            *number = row.get(place)?;
        }
        let mut found: Values = [0; _];
        for (place, number) in found.iter_mut().enumerate() {
            *number = row.get(width + place)?;
        }
        let expected = expected.remove(&key).unwrap_or([0; _]);
        differ(rollup, &key[..width], &expected, &found, report);
    }
    for (key, expected) in expected {
        differ(rollup, &key[..width], &expected, &[0; _], report);
    }
    Ok(())
}

fn differ(rollup: &Rollup, key: &[i64], expected: &Values, found: &Values, report: &mut Report) {
    let Some((window, key)) = key.split_first() else { return };
    for ((measure, expected), found) in MEASURES.iter().zip(expected).zip(found) {
        if expected != found {
            report.tell(Fault::Rollup {
                table: rollup.table,
                window: rollup.unit.write(*window),
                key: key.to_vec(),
                measure: measure.name.clone(),
                expected: *expected,
                found: *found,
            });
        }
    }
}

/// Months are too long to rebuild from events at once: each must be the sum of its days, which were checked.
fn check_months(connection: &Connection, report: &mut Report) -> rusqlite::Result<()> {
    let month = TimeUnit::Month.floor_sql("t");
    for rollup in ROLLUPS.iter().filter(|rollup| rollup.unit == TimeUnit::Month) {
        let same = |day: &&Rollup| day.unit == TimeUnit::Day && day.dimensions == rollup.dimensions;
        let Some(days) = ROLLUPS.iter().find(same) else { continue };
        let keys = key_columns(rollup);
        let dimensions = keys[1..].join(", ");
        let sums: Vec<String> = MEASURES.iter().map(|measure| format!("SUM({0}) AS {0}", measure.name)).collect();
        let columns: Vec<String> = MEASURES
            .iter()
            .flat_map(|m| [format!("ifnull(d.{}, 0)", m.name), format!("ifnull(m.{}, 0)", m.name)])
            .collect();
        let joined: Vec<String> = keys.iter().map(|key| format!("d.{key} = m.{key}")).collect();
        let either: Vec<String> = keys.iter().map(|key| format!("ifnull(m.{key}, d.{key})")).collect();
        let differs: Vec<String> =
            MEASURES.iter().map(|m| format!("ifnull(d.{0}, 0) <> ifnull(m.{0}, 0)", m.name)).collect();
        let sql = format!(
            "WITH d AS (SELECT {month} AS t, {dimensions}, {} FROM {} GROUP BY 1, {dimensions})
             SELECT {}, {} FROM d FULL JOIN {} AS m ON {} WHERE {}",
            sums.join(", "),
            days.table,
            either.join(", "),
            columns.join(", "),
            rollup.table,
            joined.join(" AND "),
            differs.join(" OR ")
        );
        let mut read = connection.prepare(&sql)?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            let key = (0..keys.len()).map(|place| row.get(place)).collect::<rusqlite::Result<Vec<i64>>>()?;
            let (mut expected, mut found): (Values, Values) = ([0; _], [0; _]);
            for place in 0..MEASURES.len() {
                expected[place] = row.get(keys.len() + 2 * place)?;
                found[place] = row.get(keys.len() + 2 * place + 1)?;
            }
            differ(rollup, &key, &expected, &found, report);
        }
        let counted = format!("SELECT count(*) FROM {}", rollup.table);
        report.rollup_rows += connection.query_row(&counted, [], |row| row.get::<_, i64>(0))?.unsigned_abs();
    }
    Ok(())
}
