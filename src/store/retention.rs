//! Dropping raw events past an age. Their sums stay in the rollups, to the day.
//!
//! May run beside a server: in small transactions, so that its folds are not held up for long. What may name people and
//! stands in no event any more is dropped with them; organisations, teams, projects, keys and users stay, since rollups
//! name them.

use super::names::NameKind;
use super::vocabulary::TimeUnit;
use super::{ChangeError, Changes, Store, StoreError, budgets, saturate, write_transaction};
use crate::budget::account::BudgetId;
use crate::clock::Timestamp;
use crate::ids::id_at;
use rusqlite::{Connection, OptionalExtension, ToSql, params};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};

/// Events of one transaction.
pub(super) const CHUNK_EVENTS: i64 = 1_000;

/// Names that only events have, and their columns.
const OF_EVENTS_ALONE: [(NameKind, &str); 6] = [
    (NameKind::EndUser, "end_user_id"),
    (NameKind::Session, "session_id"),
    (NameKind::Run, "run_id"),
    (NameKind::Environment, "environment_id"),
    (NameKind::Tags, "tags_id"),
    (NameKind::PromptName, "prompt_name_id"),
];

/// What was dropped, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The first moment of the first day that stays.
    pub before: Timestamp,
    pub events: u64,
    /// Names that no event has any more.
    pub names: u64,
}

impl Store {
    /// How many events [`Store::retire`] would drop, and from when on events would stay.
    pub fn retirable(&self, older_than: Timestamp) -> Result<Retired, StoreError> {
        let before = day_of(older_than);
        let count = "SELECT count(*) FROM events WHERE id < ?1";
        let events: i64 = self
            .connection
            .query_row(count, [first_id(before)], |row| row.get(0))
            .map_err(StoreError::sqlite("count old events"))?;
        Ok(Retired { before, events: events.unsigned_abs(), names: 0 })
    }

    /// Drops every event that began before the day of this moment. Tells after each thousand how many it were.
    pub fn retire(&mut self, older_than: Timestamp, progress: &mut dyn FnMut(u64)) -> Result<Retired, StoreError> {
        self.flush_rollups()?;
        let dropping = StoreError::sqlite("drop old events");
        let before = day_of(older_than);
        let mut retired = Retired { before, events: 0, names: 0 };
        self.connection.pragma_update(None, "secure_delete", "ON").map_err(&dropping)?;
        loop {
            let dropped = drop_some(&mut self.connection, before).map_err(&dropping)?;
            retired.events += dropped;
            progress(retired.events);
            if dropped == 0 {
                break;
            }
        }
        retired.names = drop_names(&mut self.connection).map_err(&dropping)?;
        self.interner.forget();
        self.checkpoint()?;
        Ok(retired)
    }
}

impl Changes<'_> {
    /// A line in the audit log: who dropped how much of what.
    pub fn retired(&self, retired: &Retired) -> Result<(), ChangeError> {
        let id = self.word(NameKind::Word, "retention")?;
        let detail = json!({ "before": retired.before.to_rfc3339(), "events": retired.events, "names": retired.names });
        self.note("retain", id, &detail)
    }
}

/// The first moment of which raw events are kept; `None`: nothing was ever dropped.
pub(super) fn kept_from(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let kept = connection.query_row("SELECT before_us FROM retired", [], |row| row.get::<_, i64>(0)).optional()?;
    Ok(kept.map(Timestamp))
}

pub(super) fn day_of(moment: Timestamp) -> Timestamp {
    Timestamp(TimeUnit::Day.floor(moment.as_seconds()).saturating_mul(1_000_000))
}

pub(super) fn first_id(moment: Timestamp) -> i64 {
    saturate(id_at(moment))
}

fn drop_some(connection: &mut Connection, before: Timestamp) -> rusqlite::Result<u64> {
    let transaction = write_transaction(connection)?;
    // First, so that no verification in between misses what is gone.
    transaction.execute(
        "INSERT INTO retired (one, before_us) VALUES (1, ?1)
         ON CONFLICT (one) DO UPDATE SET before_us = max(before_us, excluded.before_us)",
        [before.as_micros()],
    )?;
    let first = first_id(before);
    let choice = "SELECT id FROM events WHERE id < ?1 AND id NOT IN (SELECT id FROM unrolled) ORDER BY id LIMIT ?2";
    choose(&transaction, choice, params![first, CHUNK_EVENTS])?;
    let dropped = drop_chosen(&transaction)?;
    transaction.execute("DELETE FROM deferred WHERE event < ?1", [first])?;
    transaction.execute("DELETE FROM tracked WHERE event < ?1", [first])?;
    transaction.execute("DELETE FROM retired_usage WHERE id < ?1", [first])?;
    transaction.commit()?;
    Ok(dropped)
}

/// Notes the events that are to be dropped; the last of them.
pub(super) fn choose(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Option<i64>> {
    connection.execute_batch(
        "CREATE TEMP TABLE IF NOT EXISTS dropping (id INTEGER PRIMARY KEY); DELETE FROM temp.dropping;",
    )?;
    connection.prepare_cached(&format!("INSERT INTO temp.dropping {sql}"))?.execute(values)?;
    connection.query_row("SELECT max(id) FROM temp.dropping", [], |row| row.get(0))
}

/// Drops the chosen events; how many they were. What they charged stays, as a sum by account.
pub(super) fn drop_chosen(connection: &Connection) -> rusqlite::Result<u64> {
    keep_charges(connection)?;
    let sql = "DELETE FROM events WHERE id IN (SELECT id FROM temp.dropping)";
    Ok(connection.prepare_cached(sql)?.execute([])? as u64)
}

fn keep_charges(connection: &Connection) -> rusqlite::Result<()> {
    let mut sums: BTreeMap<BudgetId, i128> = BTreeMap::new();
    {
        let mut read =
            connection.prepare_cached("SELECT charges FROM events WHERE id IN (SELECT id FROM temp.dropping)")?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            for charge in row.get::<_, Option<Vec<u8>>>(0)?.iter().flat_map(|blob| budgets::from_blob(blob)) {
                *sums.entry(charge.account).or_default() += i128::from(charge.amount);
            }
        }
    }
    for (account, sum) in sums {
        let kept: Option<String> = connection
            .prepare_cached("SELECT amount FROM budget_retired WHERE account = ?1")?
            .query_row([budgets::key(account)], |row| row.get(0))
            .optional()?;
        let sum = kept.map_or(0, |kept| budgets::signed(&kept)).saturating_add(sum);
        connection
            .prepare_cached(
                "INSERT INTO budget_retired (account, amount) VALUES (?1, ?2)
                 ON CONFLICT (account) DO UPDATE SET amount = excluded.amount",
            )?
            .execute(params![budgets::key(account), sum.to_string()])?;
    }
    Ok(())
}

pub(super) fn drop_names(connection: &mut Connection) -> rusqlite::Result<u64> {
    let transaction = write_transaction(connection)?;
    let columns = OF_EVENTS_ALONE.map(|(_, column)| column).join(", ");
    let mut named: HashSet<i64> = HashSet::new();
    {
        let mut read = transaction.prepare(&format!("SELECT {columns} FROM events"))?;
        let mut rows = read.query([])?;
        while let Some(row) = rows.next()? {
            for place in 0..OF_EVENTS_ALONE.len() {
                named.insert(row.get(place)?);
            }
        }
    }
    let kinds = OF_EVENTS_ALONE.map(|(kind, _)| (kind as u8).to_string()).join(", ");
    let unnamed: Vec<i64> = {
        let mut read = transaction.prepare(&format!("SELECT id FROM names WHERE kind IN ({kinds})"))?;
        let ids = read.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
        ids.into_iter().filter(|id| !named.contains(id)).collect()
    };
    for id in &unnamed {
        transaction.prepare_cached("DELETE FROM names WHERE id = ?1")?.execute([id])?;
    }
    transaction.commit()?;
    Ok(unnamed.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::store::fixtures::{NOON, call, later};
    use crate::store::{EventQuery, JournalPosition, Reader, UsageQuery};

    const DAY: i64 = 86_400;

    fn of_session(mut event: Event, session: &str) -> Event {
        std::sync::Arc::make_mut(&mut event.opening.attribution).session = Some(session.into());
        event
    }

    #[test]
    fn old_events_go_and_their_sums_stay_and_everything_still_adds_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        let old = call(later(-3 * DAY), 0);
        let events = [
            of_session(old.clone(), "old"),
            of_session(call(later(-2 * DAY), 0), "both"),
            of_session(call(NOON, 0), "both"),
            old.adjusted(later(60), 5),
        ];
        store.fold(1, &events, JournalPosition { segment: 1, offset: 1 }).unwrap();
        let reader = Reader::open(dir.path()).unwrap();
        let sums = |reader: &Reader| reader.usage(&UsageQuery::default()).unwrap().totals;
        let before = sums(&reader);
        let older_than = later(-DAY);
        assert_eq!(store.retirable(older_than).unwrap().events, 2);
        let retired = store.retire(older_than, &mut |_| {}).unwrap();
        assert_eq!(
            (retired.events, retired.names, retired.before.to_rfc3339().as_str()),
            (2, 1, "2026-11-20T00:00:00.000000Z")
        );
        assert_eq!(sums(&reader), before, "the rollups keep what the events were");
        let rows = reader.events(&EventQuery { limit: 10, ..EventQuery::default() }).unwrap();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().any(|row| row.session.as_deref() == Some("both")));
        let report = reader.verify(&mut |_| {}).unwrap();
        assert!(report.is_clean(), "{:?}", report.faults);
        assert_eq!(report.kept_from, Some(retired.before));
        let connection = rusqlite::Connection::open(store.path()).unwrap();
        connection.execute("UPDATE usage_day_user SET calls = calls + 1 WHERE t >= 1795219200", []).unwrap();
        assert!(!reader.verify(&mut |_| {}).unwrap().is_clean(), "what is kept is still checked");
    }

    #[test]
    fn who_dropped_what_is_in_the_audit_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        let retired = Retired { before: NOON, events: 7, names: 2 };
        store.change(NOON, "command line, uid 5", |changes| changes.retired(&retired)).unwrap();
        let line = Reader::open(dir.path()).unwrap().audit(None, 1).unwrap().remove(0);
        assert_eq!((line.action.as_str(), line.actor.as_str()), ("retain", "command line, uid 5"));
        assert!(line.detail.contains("\"events\":7"), "{}", line.detail);
    }

    #[test]
    fn dropping_again_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        store.fold(1, &[call(NOON, 0)], JournalPosition { segment: 1, offset: 1 }).unwrap();
        assert_eq!(store.retire(later(2 * DAY), &mut |_| {}).unwrap().events, 1);
        assert_eq!(store.retire(NOON, &mut |_| {}).unwrap().events, 0);
        assert!(store.verify(&mut |_| {}).unwrap().is_clean());
    }
}
