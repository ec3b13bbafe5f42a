//! The store's promises, on real files.

use super::fixtures::{NOON, call, daily, later};
use super::*;
use crate::event::Outcome;
use crate::ids::EventId;
use crate::money::pico_to_decimal;
use crate::tokens::usage::Kind;
use proptest::prelude::*;
use std::sync::Arc;
use tempfile::TempDir;

/// A store in a directory of its own, with a reader beside it.
struct Shop {
    dir: TempDir,
    store: Store,
    folded: u64,
}

fn shop() -> Shop {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), NOON).unwrap();
    Shop { dir, store, folded: 0 }
}

impl Shop {
    fn with(mut self, events: &[Event]) -> Shop {
        self.fold(events);
        self
    }

    fn fold(&mut self, events: &[Event]) {
        self.folded += 1;
        self.store.fold(1, events, at(0, self.folded)).unwrap();
    }

    fn reader(&self) -> Reader {
        Reader::open(self.dir.path()).unwrap()
    }

    fn totals(&self) -> Sums {
        self.reader().usage(&UsageQuery::default()).unwrap().totals
    }

    fn faults(&self) -> Vec<String> {
        self.store.verify(&mut |_| {}).unwrap().faults.iter().map(ToString::to_string).collect()
    }

    /// `(group, calls, cost in pico-dollars)`, sorted.
    fn by(&self, group_by: &[&str], filters: &[(&str, &str)], range: TimeRange) -> Vec<(String, u64, i128)> {
        let query = UsageQuery {
            group_by: group_by.iter().map(|name| GroupBy::named(name).unwrap()).collect(),
            filters: filters.iter().map(|(name, value)| filter(name, value)).collect(),
            range,
        };
        let groups = self.reader().usage(&query).unwrap().groups;
        let name =
            |group: &Group| group.key.iter().map(|key| key.as_deref().unwrap_or("-")).collect::<Vec<_>>().join("/");
        let mut found: Vec<_> = groups.iter().map(|g| (name(g), g.sums.calls, g.sums.cost_pico)).collect();
        found.sort();
        found
    }
}

fn at(segment: u64, offset: u64) -> JournalPosition {
    JournalPosition { segment, offset }
}

fn filter(name: &str, value: &str) -> Filter {
    Filter { dimension: Dimension::named(name).unwrap(), values: vec![value.to_owned()] }
}

const CALL: i128 = 3_500_000_000;

#[test]
fn an_event_reads_back_as_it_was_folded() {
    let event = call(NOON, 0);
    let shop = shop().with(std::slice::from_ref(&event));
    let row = shop.reader().event(event.opening.id).unwrap().unwrap();
    assert_eq!(row.exchange, event.opening.exchange);
    assert_eq!((row.user.as_deref(), row.upstream_model.as_deref()), (Some("alice"), Some("gpt-4o")));
    assert_eq!(row.tags.as_deref(), Some(r#"{"feature":"answers"}"#));
    assert_eq!(row.usage, event.closing.usage);
    assert_eq!(row.cost, Some(event.cost()));
    assert_eq!(row.cost_by_kind[Kind::Output as usize], 1_000_000_000);
    assert_eq!(row.rates.as_ref().map(|set| &*set.rates), Some(r#"{"input":"2.5","output":"10"}"#));
    assert_eq!((row.status, row.outcome.as_deref()), (Some(200), Some("ok")));
    assert_eq!(row.ceiling, event.opening.ceiling);
    assert_eq!(row.end_user, None);
    assert_eq!(shop.reader().exchange(event.opening.exchange).unwrap(), [row]);
}

#[test]
fn a_batch_folded_twice_is_booked_once() {
    let mut shop = shop();
    let events = [call(NOON, 0), call(NOON, 1)];
    for _ in 0..2 {
        shop.store.fold(1, &events, at(0, 100)).unwrap();
    }
    assert_eq!(shop.store.position(1).unwrap(), at(0, 100));
    assert_eq!((shop.totals().calls, shop.totals().cost_pico), (2, 2 * CALL));
}

#[test]
fn batches_that_overlap_are_booked_once_also_over_a_restart_and_after_a_flush() {
    let mut shop = shop();
    let events: Vec<Event> = (0..6).map(|n| call(NOON, n)).collect();
    shop.store.fold(1, &events[..4], at(0, 40)).unwrap();
    shop.store.flush_rollups().unwrap();
    shop.store = Store::open(shop.dir.path(), NOON).unwrap();
    shop.store.fold(1, &events[2..], at(0, 60)).unwrap();
    shop.store.fold(2, &events[3..], at(7, 0)).unwrap();
    assert_eq!(shop.totals().calls, 6);
    shop.store.flush_rollups().unwrap();
    assert_eq!((shop.totals().calls, shop.totals().cost_pico), (6, 6 * CALL));
    assert_eq!(shop.store.position(2).unwrap(), at(7, 0));
    assert_eq!(shop.faults(), [""; 0]);
}

#[test]
fn an_unknown_journal_starts_at_its_beginning() {
    assert_eq!(shop().store.position(9).unwrap(), JournalPosition::default());
}

#[test]
fn the_greatest_id_is_of_events_and_exchanges() {
    let mut shop = shop();
    assert_eq!(shop.store.greatest_event_id().unwrap(), 0);
    let mut event = call(NOON, 5);
    shop.fold(std::slice::from_ref(&event));
    assert_eq!(shop.store.greatest_event_id().unwrap(), event.opening.id.0);
    event.opening.id.0 += 1;
    event.opening.exchange.0 += 10;
    shop.fold(std::slice::from_ref(&event));
    assert_eq!(shop.store.greatest_event_id().unwrap(), event.opening.exchange.0);
}

#[test]
fn epochs_count_on_and_tell_a_clean_stop_from_a_death() {
    let mut shop = shop();
    let first = shop.store.open_epoch("boot-a", NOON).unwrap();
    let second = shop.store.open_epoch("boot-a", later(1)).unwrap();
    assert!(second > first);
    shop.store.close_epoch(first, later(2)).unwrap();
    assert_eq!(shop.store.epoch(first).unwrap().unwrap().closed_at, Some(later(2)));
    assert_eq!(shop.store.epoch(second).unwrap().unwrap().closed_at, None);
    assert_eq!(shop.store.epoch(99).unwrap(), None);
}

#[test]
fn usage_is_the_same_before_and_after_a_flush() {
    let mut shop = shop().with(&[
        call(NOON, 0),
        call(later(3_600), 0).by("bob", "caller-bob"),
        call(later(86_400), 0).of_model("anthropic", "claude-opus-4-5").costing(1),
        call(later(86_401), 0).ending(Outcome::ProviderTimeout).unpriced(),
    ]);
    let ask = |shop: &Shop| {
        [
            shop.by(&["model"], &[], TimeRange::default()),
            shop.by(&["day", "provider"], &[], TimeRange::default()),
            shop.by(&["hour"], &[("key", "caller-bob")], TimeRange::default()),
            shop.by(&["month", "user"], &[], TimeRange::default()),
            shop.by(&["user"], &[("model", "gpt-*")], TimeRange { from: Some(later(1)), to: Some(later(86_402)) }),
            shop.by(&["tag.feature"], &[("outcome", "ok")], TimeRange::default()),
            shop.by(&["status", "stream"], &[("tag.feature", "answ*")], TimeRange::default()),
        ]
    };
    let before = ask(&shop);
    assert_eq!(before[0], [("claude-opus-4-5".to_owned(), 1, 1), ("gpt-4o".to_owned(), 3, 2 * CALL)]);
    assert_eq!(before[2], [("2026-11-21T13:00Z".to_owned(), 1, CALL)]);
    assert_eq!(before[3][0], ("2026-11/alice".to_owned(), 3, CALL + 1));
    assert_eq!(before[4], [("alice".to_owned(), 1, 0), ("bob".to_owned(), 1, CALL)]);
    assert_eq!(before[5], [("answers".to_owned(), 3, 2 * CALL + 1)]);
    shop.store.flush_rollups().unwrap();
    assert_eq!(ask(&shop), before);
    assert_eq!(shop.totals().failed, 1);
    assert_eq!(shop.totals().unpriced, 1);
}

#[test]
fn an_empty_value_filters_for_none_and_an_unknown_one_finds_nothing() {
    let mut nameless = call(NOON, 1);
    std::sync::Arc::make_mut(&mut nameless.opening.caller).user = None;
    std::sync::Arc::make_mut(&mut nameless.opening.attribution).tags.clear();
    let shop = shop().with(&[call(NOON, 0), nameless]);
    assert_eq!(shop.by(&["user"], &[("user", "")], TimeRange::default()), [("-".to_owned(), 1, CALL)]);
    assert_eq!(shop.by(&["user"], &[("tag.feature", "")], TimeRange::default()), [("-".to_owned(), 1, CALL)]);
    assert_eq!(shop.by(&["user"], &[("user", "nobody-we-know")], TimeRange::default()), []);
    assert_eq!(shop.by(&["user"], &[("status", "two hundred")], TimeRange::default()), []);
}

#[test]
fn sums_above_the_64_bits_of_pico_dollars_are_exact() {
    let shop = shop();
    let dear = i64::MAX - 5;
    let events: Vec<Event> = (0..5).map(|n| call(NOON, n).costing(dear)).collect();
    let mut shop = shop.with(&events);
    let expected = 5 * i128::from(dear);
    assert_eq!(shop.totals().cost_pico, expected);
    shop.store.flush_rollups().unwrap();
    assert_eq!(shop.totals().cost_pico, expected);
    assert_eq!(shop.by(&["day"], &[], TimeRange::default()), [("2026-11-21".to_owned(), 5, expected)]);
    assert_eq!(pico_to_decimal(expected), "46116860.18427387901");
    assert_eq!(shop.faults(), [""; 0]);
}

#[test]
fn an_adjustment_changes_the_total_and_is_no_call() {
    let event = call(NOON, 0);
    let mut shop = shop().with(&[event.clone(), event.adjusted(later(86_400), -500_000_000)]);
    for _ in 0..2 {
        let totals = shop.totals();
        assert_eq!((totals.calls, totals.adjustments, totals.cost_pico), (1, 1, CALL - 500_000_000));
        assert_eq!(
            shop.by(&["day"], &[], TimeRange::default()),
            [("2026-11-21".to_owned(), 1, CALL), ("2026-11-22".to_owned(), 0, -500_000_000)],
            "a correction is booked when it was made"
        );
        shop.store.flush_rollups().unwrap();
    }
    assert_eq!(shop.faults(), [""; 0]);
}

#[test]
fn nonsense_from_a_provider_cannot_break_the_sums() {
    let mut event = call(NOON, 0);
    event.closing.usage = event.closing.usage.with(Kind::Input, u64::MAX);
    let mut shop = shop().with(&[event]);
    shop.store.flush_rollups().unwrap();
    assert_eq!(shop.totals().usage[Kind::Input], fold::UNITS_MAX);
}

#[test]
fn verification_names_a_rollup_that_was_tampered_with() {
    let mut shop = shop().with(&[call(NOON, 0), call(later(40 * 86_400), 0)]);
    shop.store.flush_rollups().unwrap();
    assert_eq!(shop.faults(), [""; 0]);
    let tamper = |sql: &str| Connection::open(shop.dir.path().join(FILE_NAME)).unwrap().execute(sql, []).unwrap();
    tamper("UPDATE usage_day_key SET cost_rest = cost_rest + 1 WHERE t = unixepoch('2026-11-21')");
    tamper("UPDATE usage_month_user SET calls = 7 WHERE t = unixepoch('2026-12-01')");
    tamper("DELETE FROM usage_hour_team WHERE t < unixepoch('2026-12-01')");
    let faults = shop.faults().join("\n");
    assert!(faults.contains("usage_day_key, window 2026-11-21"), "{faults}");
    assert!(faults.contains("cost_rest is 1, the events sum to 0"), "{faults}");
    assert!(faults.contains("usage_month_user, window 2026-12, key"), "{faults}");
    assert!(faults.contains("calls is 7, the events sum to 1"), "{faults}");
    assert!(faults.contains("usage_hour_team, window 2026-11-21T12:00Z"), "{faults}");
}

#[test]
fn verification_names_an_event_whose_parts_do_not_sum_up() {
    let event = call(NOON, 0);
    let shop = shop().with(&[event.clone(), call(NOON, 7).adjusted(later(9), 1)]);
    let tamper = |sql: &str| Connection::open(shop.dir.path().join(FILE_NAME)).unwrap().execute(sql, []).unwrap();
    tamper("UPDATE events SET cost_input = cost_input - 1, rate_set = NULL WHERE adjusts IS NULL");
    let faults = shop.faults().join("\n");
    assert!(faults.contains(&format!("{}: the costs by kind do not sum", event.opening.id)), "{faults}");
    assert!(faults.contains("its rates are missing"), "{faults}");
    assert!(faults.contains("adjusts an event that does not exist"), "{faults}");
}

#[test]
fn more_settled_and_leased_than_a_limit_allows_is_a_fault_unless_it_was_beyond_every_lease() {
    let mut shop = shop();
    let team = daily("team", "", 1_000);
    let mut leases = Leases::open(shop.dir.path(), NOON).unwrap();
    let mut lease = |amount| {
        let want = crate::budget::book::Want { instance: Arc::clone(&team), amount };
        leases.exchange(1, &[], &[], &[(want, Arc::clone(&team.budget))], NOON).unwrap().granted[0].amount
    };
    assert_eq!(lease(600), 600);
    let over = |shop: &Shop| {
        let faults = shop.faults().into_iter();
        faults.filter(|fault| fault.contains("within a limit")).collect::<Vec<_>>()
    };
    // An overrun: 1,500 of the 600 that were leased, and then the process ends in order.
    shop.fold(&[call(NOON, 0).charged_to(&team, 1_500)]);
    // What was granted is counted against the limit, not what was spent beyond it; the book knows that nothing is left.
    assert_eq!((lease(100), over(&shop)), (100, vec![]));
    shop.store.end_leases(1, crate::budget::lease::End::Proven, NOON).unwrap();
    assert_eq!(over(&shop), [""; 0], "it is known to be beyond the lease");
    let tamper = |sql: &str| Connection::open(shop.dir.path().join(FILE_NAME)).unwrap().execute(sql, []).unwrap();
    tamper("INSERT INTO budget_leases SELECT id, 7, '600', '0' FROM budget_accounts");
    let told = over(&shop);
    assert!(told.len() == 1 && told[0].contains("1300 is settled or leased within a limit of 1000"), "{told:?}");
}

#[test]
fn a_newer_schema_is_refused_by_name() {
    let shop = shop();
    shop.store.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(shop.store);
    let refused = Store::open(shop.dir.path(), NOON).unwrap_err().to_string();
    assert!(refused.contains(&format!("has schema 99, this farebox knows up to {SCHEMA_VERSION}")), "{refused}");
    assert!(matches!(Reader::open(shop.dir.path()), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn a_rewritten_migration_and_a_foreign_file_are_refused() {
    let shop = shop();
    shop.store.connection.execute("UPDATE migrations SET checksum = 'other'", []).unwrap();
    drop(shop.store);
    let refused = Store::open(shop.dir.path(), NOON).unwrap_err().to_string();
    assert!(refused.contains("`0001_ledger` was applied"), "{refused}");

    let foreign = TempDir::new().unwrap();
    let file = Connection::open(foreign.path().join(FILE_NAME)).unwrap();
    file.execute_batch("CREATE TABLE recipes (id)").unwrap();
    assert!(matches!(Store::open(foreign.path(), NOON), Err(StoreError::NotALedger { .. })));
}

#[test]
fn a_reader_works_before_during_and_after_the_writer_and_cannot_write() {
    let empty = TempDir::new().unwrap();
    assert!(matches!(Reader::open(empty.path()), Err(StoreError::Missing { .. })));
    let mut shop = shop().with(&[call(NOON, 0)]);
    let reader = shop.reader();
    shop.fold(&[call(NOON, 1)]);
    assert_eq!(reader.usage(&UsageQuery::default()).unwrap().totals.calls, 2);
    drop(shop.store);
    drop(reader);
    let reader = Reader::open(shop.dir.path()).unwrap();
    assert_eq!(reader.usage(&UsageQuery::default()).unwrap().totals.calls, 2);
    assert!(reader.with(|connection| Ok(connection.execute("DELETE FROM events", []).is_err())).unwrap());
}

#[test]
fn pages_show_every_event_once_also_while_new_ones_arrive() {
    let mut shop = shop().with(&(0..25).map(|n| call(later(n), 0)).collect::<Vec<_>>());
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let reader = shop.reader();
        let mut query = EventQuery {
            order,
            limit: 4,
            range: TimeRange { from: None, to: Some(later(25)) },
            ..EventQuery::default()
        };
        let mut seen = Vec::new();
        loop {
            let page = reader.events(&query).unwrap();
            let Some(last) = page.last() else { break };
            query.after = Some(last.id);
            seen.extend(page.iter().map(|row| row.id.0));
            shop.fold(&[call(later(1_000), shop.folded)]);
        }
        seen.sort_unstable();
        let expected: Vec<u64> = (0..25).map(|n| call(later(n), 0).opening.id.0).collect();
        assert_eq!(seen, expected);
    }
}

/// What SQLite is asked for of a page must begin (or end) behind the page before, or it steps over all of them again.
#[test]
fn a_later_page_is_looked_for_behind_the_one_before() {
    let oldest = EventQuery { order: Order::OldestFirst, after: Some(EventId(500)), ..EventQuery::default() };
    assert_eq!(oldest.left_of((100, 900)), Some((501, 900)));
    assert_eq!(oldest.left_of((600, 900)), Some((600, 900)));
    assert_eq!(oldest.left_of((100, 501)), None);
    let newest = EventQuery { order: Order::NewestFirst, ..oldest };
    assert_eq!(newest.left_of((100, 900)), Some((100, 500)));
    assert_eq!(newest.left_of((500, 900)), None);
    assert_eq!(EventQuery::default().left_of((100, 900)), Some((100, 900)));
}

#[test]
fn a_copy_is_a_ledger_of_that_moment() {
    let mut shop = shop().with(&[call(NOON, 0)]);
    let place = TempDir::new().unwrap();
    let copy = place.path().join(FILE_NAME);
    shop.reader().copy_into(&copy).unwrap();
    shop.fold(&[call(NOON, 1)]);
    assert!(shop.reader().copy_into(&copy).is_err(), "a copy never overwrites");
    let reader = Reader::open(place.path()).unwrap();
    assert_eq!(reader.usage(&UsageQuery::default()).unwrap().totals.calls, 1);
    let restored = Store::open(place.path(), NOON).unwrap();
    assert_eq!(restored.position(1).unwrap(), at(0, 1));
    assert!(restored.verify(&mut |_| {}).unwrap().is_clean());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is folded in whatever order and batches: the rollups are the sums of the events, and every way to ask
    /// gives the same total.
    #[test]
    fn rollups_are_the_sums_of_events(
        calls in proptest::collection::vec((0i64..100 * 86_400, 0usize..4, 0usize..4, -5i64..i64::MAX / 2, 0u8..8), 1..60),
        flush_every in 1usize..30,
        edges in (0i64..100 * 86_400_000, 0i64..100 * 86_400_000),
    ) {
        let mut shop = shop();
        let names = ["alice", "bob", "", "ünï\"c"];
        let models = ["gpt-4o", "claude-opus-4-5", "*", "[x]?"];
        let mut events = Vec::new();
        for (n, (second, user, model, pico, how)) in calls.iter().enumerate() {
            let event = call(later(*second), n as u64).by(names[*user], names[3 - *user]).of_model("p", models[*model]);
            let event = match how {
                0 => event.unpriced(),
                1 => event.ending(Outcome::ProviderCut).costing(*pico),
                2 => event.costing(0).adjusted(later(*second + 7), *pico),
                _ => event.costing(*pico),
            };
            shop.fold(std::slice::from_ref(&event));
            if n % flush_every == 0 {
                shop.store.flush_rollups().unwrap();
            }
            events.push(event);
        }
        // Orphan adjustments are ours: this test is about sums.
        prop_assert_eq!(shop.faults().into_iter().filter(|fault| !fault.contains("does not exist")).collect::<Vec<_>>(), [""; 0]);
        let moment = |millis: i64| Timestamp(NOON.as_micros() + millis * 1_000);
        let range = TimeRange { from: Some(moment(edges.0.min(edges.1))), to: Some(moment(edges.0.max(edges.1))) };
        let inside = |event: &&Event| {
            let made = crate::ids::made_at(event.opening.id.0);
            Some(made) >= range.from && Some(made) < range.to
        };
        let expected: i128 = events.iter().filter(inside).map(|event| event.cost().widen()).sum();
        for group in ["model", "key", "user", "team", "hour", "day", "month", "session", "tag.feature"] {
            let total: i128 = shop.by(&[group], &[], range).iter().map(|(_, _, pico)| pico).sum();
            prop_assert_eq!(total, expected, "by {}", group);
        }
        prop_assert_eq!(shop.totals().cost_pico, events.iter().map(|event| event.cost().widen()).sum::<i128>());
    }
}

#[test]
fn the_last_events_of_a_key_are_read_by_its_index_in_order() {
    let mut shop = shop();
    let keys = ["rare", "common", "common", "common"];
    let events = |from: i64| (from..from + 40).map(|n| call(later(n * 7_200), 0).by("ann", keys[n as usize % 4]));
    shop.fold(&events(0).collect::<Vec<_>>());
    shop.fold(&events(40).collect::<Vec<_>>());
    let mut query = EventQuery { filters: vec![filter("key", "rare")], limit: 7, ..EventQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = shop.reader().events(&query).unwrap();
        query.after = page.last().map(|row| row.id);
        seen.extend(page.iter().map(|row| row.started_at));
        if page.len() < 7 {
            break;
        }
    }
    assert_eq!(seen, (0..20).rev().map(|n| later(n * 4 * 7_200)).collect::<Vec<_>>());
    query = EventQuery { filters: vec![filter("key", "nobody's")], limit: 7, ..EventQuery::default() };
    assert!(shop.reader().events(&query).unwrap().is_empty());
    let plan = "EXPLAIN QUERY PLAN SELECT id FROM events INDEXED BY events_by_key
                WHERE id >= 0 AND id < 9 AND id < 8 AND key_id = 3 ORDER BY id DESC LIMIT 5";
    let steps: Vec<String> = {
        let mut read = shop.store.connection.prepare(plan).unwrap();
        read.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    assert!(!steps.join(" ").contains("TEMP B-TREE"), "{steps:?}");
}
