//! Retention by tenant: events of an organisation, a team or a project past its own age are dropped, while those of
//! others stay. Of several ages that hold for an event, the shortest counts.
//!
//! As with all that is dropped past its age, the rollups keep the sums. What was dropped is summed here once more, by hour
//! and by all that any rollup is grouped by, so that a verification can still rebuild every rollup of those days.

use super::changes::{ChangeError, Changes, Named};
use super::measures::MEASURES;
use super::retention::{CHUNK_EVENTS, Retired, choose, day_of, drop_chosen, drop_names, first_id};
use super::rollups::{Coalesced, DIMENSIONS};
use super::vocabulary::Dimension;
use super::{Store, StoreError, write_transaction};
use crate::clock::Timestamp;
use crate::ids::MILLIS_SHIFT;
use crate::tenants::TenantKind;
use rusqlite::{Connection, params};
use serde_json::json;

/// Days that an age may have.
pub const KEEP_DAYS_MAX: u32 = 36_500;

const HOUR_MILLIS: i64 = 3_600_000;

/// What was dropped of a tenant's events, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetiredOfTenant {
    pub kind: TenantKind,
    pub name: String,
    pub retired: Retired,
}

/// A tenant that has an age of its own.
struct Aged {
    id: i64,
    kind: TenantKind,
    name: String,
    days: i64,
}

impl Changes<'_> {
    /// From now on a tenant's events are dropped after so many days; `None`: as those of all.
    pub fn keep_days(&self, kind: TenantKind, name: &str, days: Option<u32>) -> Result<(), ChangeError> {
        let id = self.living(Named::Tenant(kind), name)?;
        let sql = "SELECT keep_days FROM tenants WHERE id = ?1";
        let before: Option<u32> = self.transaction.query_row(sql, [id], |row| row.get(0))?;
        self.transaction.execute("UPDATE tenants SET keep_days = ?2 WHERE id = ?1", params![id, days])?;
        self.note("set_retention", id, &json!({ "before_days": before, "days": days }))
    }

    /// A line in the audit log: how much of a tenant's was dropped.
    fn retired_of(&self, of: &RetiredOfTenant) -> Result<(), ChangeError> {
        let id = self.word(of.kind.name_kind(), &of.name)?;
        let detail = json!({ "before": of.retired.before.to_rfc3339(), "events": of.retired.events });
        self.note("retain", id, &detail)
    }
}

impl Store {
    /// What [`Store::retire_tenants`] would drop; of tenants whose age has nothing to drop, nothing.
    pub fn tenants_retirable(&self, now: Timestamp) -> Result<Vec<RetiredOfTenant>, StoreError> {
        let counting = StoreError::sqlite("count old events");
        let mut found = Vec::new();
        for aged in aged(&self.connection).map_err(&counting)? {
            let before = aged.before(now);
            let sql = format!("SELECT count(*) FROM events WHERE id < ?1 AND {} = ?2", aged.column());
            let count = self.connection.query_row(&sql, [first_id(before), aged.id], |row| row.get::<_, i64>(0));
            let events = count.map_err(&counting)?.unsigned_abs();
            if events > 0 {
                found.push(aged.retired(Retired { before, events, names: 0 }));
            }
        }
        Ok(found)
    }

    /// Drops the events of every tenant past its own age, with a line in the audit log for each. Tells after each
    /// thousand how many it were in all. `actor` is who does it.
    pub fn retire_tenants(
        &mut self,
        now: Timestamp,
        actor: &str,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<RetiredOfTenant>, ChangeError> {
        let dropping = StoreError::sqlite("drop old events");
        let aged = aged(&self.connection).map_err(&dropping)?;
        let mut found = Vec::new();
        if aged.is_empty() {
            return Ok(found);
        }
        self.flush_rollups()?;
        self.connection.pragma_update(None, "secure_delete", "ON").map_err(&dropping)?;
        let mut all = 0;
        for aged in aged {
            let before = aged.before(now);
            let mut tell = |events| progress(all + events);
            let events = drop_of(&mut self.connection, &aged, first_id(before), &mut tell).map_err(&dropping)?;
            all += events;
            if events > 0 {
                let of = aged.retired(Retired { before, events, names: 0 });
                self.change(now, actor, |changes| changes.retired_of(&of))?;
                found.push(of);
            }
        }
        if all > 0 {
            drop_references(&self.connection).map_err(&dropping)?;
            drop_names(&mut self.connection).map_err(&dropping)?;
            self.interner.forget();
            self.checkpoint()?;
        }
        Ok(found)
    }
}

impl Aged {
    fn before(&self, now: Timestamp) -> Timestamp {
        let age = self.days.saturating_mul(86_400_000_000);
        day_of(Timestamp(now.as_micros().saturating_sub(age)))
    }

    fn column(&self) -> &'static str {
        match self.kind {
            TenantKind::Organisation => "organisation_id",
            TenantKind::Team => "team_id",
            TenantKind::Project => "project_id",
            TenantKind::User => "user_id",
        }
    }

    fn retired(&self, retired: Retired) -> RetiredOfTenant {
        RetiredOfTenant { kind: self.kind, name: self.name.clone(), retired }
    }
}

fn aged(connection: &Connection) -> rusqlite::Result<Vec<Aged>> {
    let sql = "SELECT t.id, t.kind, n.text, t.keep_days FROM tenants t JOIN names n ON n.id = t.id
               WHERE t.keep_days IS NOT NULL ORDER BY t.kind, n.text";
    let mut read = connection.prepare_cached(sql)?;
    let rows = read.query_map([], |row| Ok((row.get(0)?, row.get::<_, u8>(1)?, row.get(2)?, row.get(3)?)))?;
    let known = |number: u8| TenantKind::ALL.into_iter().find(|kind| kind.name_kind() as u8 == number);
    let aged = |(id, number, name, days)| known(number).map(|kind| Aged { id, kind, name, days });
    rows.filter_map(|row| row.map(aged).transpose()).collect()
}

fn drop_of(
    connection: &mut Connection,
    aged: &Aged,
    before: i64,
    progress: &mut dyn FnMut(u64),
) -> rusqlite::Result<u64> {
    let choice = format!(
        "SELECT id FROM events WHERE id > ?1 AND id < ?2 AND {} = ?3 AND id NOT IN (SELECT id FROM unrolled)
         ORDER BY id LIMIT {CHUNK_EVENTS}",
        aged.column()
    );
    let (mut after, mut events) = (0, 0);
    // Chosen outside of the transaction: others' events are many, and folds should not wait until they are passed over.
    while let Some(last) = choose(connection, &choice, params![after, before, aged.id])? {
        let transaction = write_transaction(connection)?;
        // First, so that no verification in between misses what is gone.
        transaction.execute(
            "UPDATE tenants SET kept_from = max(ifnull(kept_from, 0), ?2) WHERE id = ?1",
            params![aged.id, before],
        )?;
        keep_sums(&transaction)?;
        events += drop_chosen(&transaction)?;
        transaction.commit()?;
        after = last;
        progress(events);
    }
    Ok(events)
}

/// What the chosen events sum to is added to what was kept of those before them.
fn keep_sums(connection: &Connection) -> rusqlite::Result<()> {
    let hour = HOUR_MILLIS << MILLIS_SHIFT;
    let dimensions: Vec<&str> = DIMENSIONS.iter().map(Dimension::rollup_column).collect();
    let read: Vec<&str> = DIMENSIONS.iter().map(Dimension::event_expression).collect();
    let names: Vec<&str> = MEASURES.iter().map(|measure| measure.name.as_str()).collect();
    let sums: Vec<String> = MEASURES.iter().map(|measure| format!("SUM({})", measure.expression)).collect();
    let adds: Vec<String> = names.iter().map(|name| format!("{name} = {name} + excluded.{name}")).collect();
    let places: Vec<String> = (1..=1 + DIMENSIONS.len()).map(|place| place.to_string()).collect();
    let sql = format!(
        "INSERT INTO retired_usage (id, {0}, {1})
         SELECT id / {hour} * {hour}, {2}, {3} FROM events WHERE id IN (SELECT id FROM temp.dropping) GROUP BY {4}
         ON CONFLICT (id, {0}) DO UPDATE SET {5}",
        dimensions.join(", "),
        names.join(", "),
        read.join(", "),
        sums.join(", "),
        places.join(", "),
        adds.join(", ")
    );
    connection.prepare_cached(&sql)?.execute([])?;
    Ok(())
}

/// Adds what was dropped between these ids to the sums of what is left.
pub(super) fn add_retired(connection: &Connection, from: i64, to: i64, sums: &mut Coalesced) -> rusqlite::Result<()> {
    let dimensions = DIMENSIONS.iter().map(Dimension::rollup_column);
    let columns: Vec<&str> = dimensions.chain(MEASURES.iter().map(|measure| measure.name.as_str())).collect();
    let sql = format!("SELECT id, {} FROM retired_usage WHERE id >= ?1 AND id < ?2", columns.join(", "));
    let mut read = connection.prepare_cached(&sql)?;
    let mut rows = read.query([from, to])?;
    while let Some(row) = rows.next()? {
        sums.add(row)?;
    }
    Ok(())
}

/// What named a dropped event.
fn drop_references(connection: &Connection) -> rusqlite::Result<()> {
    for table in ["deferred", "tracked"] {
        let sql = format!("DELETE FROM {table} WHERE event NOT IN (SELECT id FROM events)");
        connection.execute(&sql, [])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::store::fixtures::{NOON, call, later};
    use crate::store::{EventQuery, JournalPosition, Reader, UsageQuery};
    use std::sync::Arc;

    const DAY: i64 = 86_400;

    fn of_team(mut event: Event, team: &str) -> Event {
        Arc::make_mut(&mut event.opening.caller).team = Some(team.into());
        event
    }

    /// Two teams with two old events each and a new one, and an adjustment of an old one of research's.
    fn ledger() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        store
            .change(NOON, "test", |changes| {
                changes.create_tenant(TenantKind::Organisation, "acme", None)?;
                changes.create_tenant(TenantKind::Team, "research", Some("acme"))?;
                changes.create_tenant(TenantKind::Team, "sales", Some("acme"))
            })
            .unwrap();
        let old = of_team(call(later(-3 * DAY), 0), "research");
        let events = [
            old.clone(),
            of_team(call(later(-3 * DAY + 60), 0), "research"),
            of_team(call(later(-3 * DAY), 1), "sales"),
            of_team(call(later(-2 * DAY), 1), "sales"),
            of_team(call(NOON, 0), "research"),
            of_team(call(NOON, 1), "sales"),
            old.adjusted(later(60), 5),
        ];
        store.fold(1, &events, JournalPosition { segment: 1, offset: 1 }).unwrap();
        store.flush_rollups().unwrap();
        (dir, store)
    }

    fn keep(store: &mut Store, kind: TenantKind, name: &str, days: Option<u32>) {
        store.change(NOON, "test", |changes| changes.keep_days(kind, name, days)).unwrap();
    }

    fn teams(dir: &tempfile::TempDir) -> Vec<String> {
        let query = EventQuery { limit: 100, ..EventQuery::default() };
        let rows = Reader::open(dir.path()).unwrap().events(&query).unwrap();
        let mut teams: Vec<String> = rows.iter().filter_map(|row| Some(row.team.as_ref()?.to_string())).collect();
        teams.sort();
        teams
    }

    #[test]
    fn a_teams_old_events_go_those_of_others_stay_and_everything_still_adds_up() {
        let (dir, mut store) = ledger();
        let reader = Reader::open(dir.path()).unwrap();
        let sums = || reader.usage(&UsageQuery::default()).unwrap().totals;
        let before = sums();
        keep(&mut store, TenantKind::Team, "research", Some(1));
        let would = store.tenants_retirable(NOON).unwrap();
        let dropped = store.retire_tenants(NOON, "test", &mut |_| {}).unwrap();
        assert_eq!(would, dropped);
        assert_eq!((dropped.len(), &*dropped[0].name, dropped[0].retired.events), (1, "research", 2));
        assert_eq!(teams(&dir), ["research", "research", "sales", "sales", "sales"]);
        let line = reader.audit(None, 1).unwrap().remove(0);
        assert_eq!((line.action.as_str(), line.subject.as_str()), ("retain", "research"));
        assert!(line.detail.contains("\"events\":2"), "{}", line.detail);
        assert_eq!(sums(), before, "the sums stay");
        let report = reader.verify(&mut |_| {}).unwrap();
        assert!(report.is_clean(), "{:?}", report.faults);
        assert_eq!(report.kept_from, None, "all days are checked against their events");
        let connection = rusqlite::Connection::open(store.path()).unwrap();
        connection.execute("UPDATE retired_usage SET calls = calls + 1", []).unwrap();
        assert!(!reader.verify(&mut |_| {}).unwrap().is_clean(), "what was dropped is still checked");
    }

    #[test]
    fn the_shortest_age_that_holds_counts_and_without_one_nothing_is_dropped() {
        let (dir, mut store) = ledger();
        assert_eq!(store.retire_tenants(NOON, "test", &mut |_| {}).unwrap(), []);
        keep(&mut store, TenantKind::Organisation, "acme", Some(2));
        keep(&mut store, TenantKind::Team, "sales", Some(1));
        let dropped = store.retire_tenants(NOON, "test", &mut |_| {}).unwrap();
        let told: Vec<(&str, u64)> = dropped.iter().map(|of| (&*of.name, of.retired.events)).collect();
        assert_eq!(told, [("acme", 3), ("sales", 1)]);
        assert_eq!(store.retire_tenants(NOON, "test", &mut |_| {}).unwrap(), [], "once");
        keep(&mut store, TenantKind::Team, "sales", None);
        assert_eq!(store.retire_tenants(later(2 * DAY), "test", &mut |_| {}).unwrap(), []);
        assert_eq!(teams(&dir), ["research", "research", "sales"]);
        let line = Reader::open(dir.path()).unwrap().audit(None, 1).unwrap().remove(0);
        assert_eq!((line.action.as_str(), line.subject.as_str()), ("set_retention", "sales"));
        assert!(line.detail.contains("\"before_days\":1,\"days\":null"), "{}", line.detail);
    }

    #[test]
    fn more_than_one_transaction_of_events_and_the_ages_of_all_together_still_add_up() {
        let (_dir, mut store) = ledger();
        let many: Vec<Event> = (0..2_100).map(|n| of_team(call(later(-2 * DAY + n), 2), "research")).collect();
        store.fold(1, &many, JournalPosition { segment: 1, offset: 2 }).unwrap();
        keep(&mut store, TenantKind::Team, "research", Some(1));
        assert_eq!(store.retire_tenants(NOON, "test", &mut |_| {}).unwrap()[0].retired.events, 2_102);
        assert!(store.verify(&mut |_| {}).unwrap().is_clean());
        store.retire(later(-2 * DAY), &mut |_| {}).unwrap();
        let report = store.verify(&mut |_| {}).unwrap();
        assert!(report.is_clean(), "{:?}", report.faults);
    }
}
