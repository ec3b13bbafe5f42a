use super::*;
use crate::budget::window::WindowRule;
use crate::event::Event;
use crate::store::fixtures::{NOON, call, daily, instance, later, open_accounts};
use crate::store::{JournalPosition, Store};
use std::time::Duration;
use tempfile::TempDir;

const USD: u128 = 1_000_000_000_000;

fn fold(dir: &TempDir, events: &[Event]) -> Reader {
    let mut store = Store::open(dir.path(), NOON).unwrap();
    let offset = store.position(1).unwrap().offset + 1;
    store.fold(1, events, JournalPosition { segment: 0, offset }).unwrap();
    Reader::open(dir.path()).unwrap()
}

/// A ledger with these accounts open and nothing charged yet.
fn ledger(instances: &[&Arc<crate::budget::Instance>]) -> TempDir {
    let dir = TempDir::new().unwrap();
    drop(Store::open(dir.path(), NOON).unwrap());
    open_accounts(dir.path(), instances);
    dir
}

#[test]
fn budgets_stand_with_exact_amounts_the_nearest_to_its_limit_first() {
    let (ann, bob) = (daily("people", "user=ann", 2 * USD), daily("people", "user=bob", 2 * USD));
    let dir = ledger(&[&ann, &bob]);
    let events = [call(later(1), 0).charged_to(&ann, 1), call(later(2), 0).charged_to(&bob, 1_600_000_000_000)];
    let reader = fold(&dir, &events);
    let standing = budgets(&reader, later(60), None, 10).unwrap();
    let shown: Vec<_> =
        standing.budgets.iter().map(|view| (&*view.scope, view.spent.as_str(), view.used_percent)).collect();
    assert_eq!(shown, [("user=bob", "1.60", 80.0), ("user=ann", "0.000000000001", 0.0)]);
    let bob = &standing.budgets[0];
    assert_eq!((bob.unit, bob.window, bob.limit.as_str()), ("usd", "day", "2.00"));
    assert_eq!(bob.window_start, "2026-11-21T00:00:00.000000Z");
    assert_eq!(bob.resets_at.as_deref(), Some("2026-11-22T00:00:00.000000Z"));
    let cut = budgets(&reader, later(60), Some("people"), 1).unwrap();
    assert_eq!((cut.budgets.len(), cut.budgets_more), (1, 1));
    assert!(budgets(&reader, later(86_400), None, 10).unwrap().budgets.is_empty(), "the day is over");
    assert!(budgets(&reader, later(60), Some("nobody"), 10).unwrap().budgets.is_empty());
}

#[test]
fn the_buckets_of_a_rolling_window_are_one_budget_that_frees_with_its_oldest() {
    let hour = WindowRule::Rolling { length: Duration::from_secs(3_600) };
    let early = instance("rolling", "", 10 * USD, hour.clone(), NOON);
    let late = instance("rolling", "", 10 * USD, hour, later(600));
    let dir = ledger(&[&early, &late]);
    let events = [
        call(later(1), 0).charged_to(&early, 2_000_000_000_000),
        call(later(601), 0).charged_to(&late, 3_000_000_000_000),
    ];
    let reader = fold(&dir, &events);
    let standing = budgets(&reader, later(700), None, 10).unwrap();
    let [view] = standing.budgets.as_slice() else { panic!("{standing:?}") };
    assert_eq!((view.window, view.spent.as_str(), view.used_percent), ("rolling", "5.00", 50.0));
    assert_eq!(view.resets_at, Some(later(3_660).to_rfc3339()), "the first minute leaves an hour after its end");
    let later_on = budgets(&reader, later(3_700), None, 10).unwrap();
    assert_eq!(later_on.budgets[0].spent, "3.00");
}

#[test]
fn pages_of_alerts_show_each_once_though_many_are_of_one_moment() {
    let people: Vec<_> = (0..7).map(|user| daily("people", &format!("user={user}"), 2 * USD)).collect();
    let dir = ledger(&people.iter().collect::<Vec<_>>());
    let events: Vec<Event> = people
        .iter()
        .enumerate()
        .map(|(place, user)| call(later(1), place as u64).charged_to(user, 1_700_000_000_000))
        .collect();
    let reader = fold(&dir, &events);
    let mut seen: Vec<String> = Vec::new();
    let mut cursor = None;
    loop {
        let page = alerts(&reader, &AlertQuery { limit: 3, ..AlertQuery::default() }, cursor).unwrap();
        seen.extend(page.alerts.into_iter().map(|alert| alert.id));
        let Some(next) = page.next_cursor else { break };
        cursor = Some(next.parse().unwrap());
    }
    assert_eq!(seen.len(), 14, "half and four fifths of each");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 14);
}

#[test]
fn an_alert_is_named_by_its_account_and_threshold_and_nothing_else_is_taken_for_one() {
    let id = AlertId { account: BudgetId(0xab), threshold: BasisPoints(8_000) };
    assert_eq!(id.to_string(), "00000000000000ab-8000");
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in ["", "ab-8000", "00000000000000ab", "00000000000000ab-", "zz000000000000ab-1", "00000000000000ab--1"] {
        assert!(text.parse::<AlertId>().is_err(), "{text}");
    }
    for text in ["", "5", "5.", "x.1", "5.99999999"] {
        assert!(text.parse::<AlertCursor>().is_err(), "{text}");
    }
    assert!(name("by", "ann").is_ok() && name("by", " ").is_err() && name("by", "a\u{1b}[2J").is_err());
}

#[test]
fn windows_are_named_by_their_length_also_where_clocks_change() {
    let hours = |hours: i64| window_word(NOON, Timestamp(NOON.0 + hours * 3_600_000_000), false);
    let words = [1, 23, 24, 25, 167, 168, 169, 671, 744, 745, 8_760].map(hours);
    let (day, week, month) = ("day", "week", "month");
    assert_eq!(words, ["hour", day, day, day, week, week, week, month, month, month, "year"]);
    assert_eq!(window_word(NOON, Timestamp(i64::MAX), false), "lifetime");
}
