//! The common questions about usage, over 10,000,000 events of 90 days.
//!
//! `benches/run usage [EVENTS]`. Goal: < 200 ms each, from rollups. The events are made in bulk: 20,000 are folded as a
//! node folds them, and each further stretch of time gets the same ones, moved there inside the database; the rollups
//! are summed by the store as ever. It needs memory for one stretch only, and some 500 bytes of disk an event until its
//! end (5 GB).

use super::month;
use farebox::queries::ask;
use farebox::store::{EventQuery, Filter, JournalPosition, Reader, Store, TimeRange, UsageQuery};
use rusqlite::{Connection, params};
use std::time::{Duration, Instant};

const EVENTS: u64 = 10_000_000;
const STRETCH_EVENTS: u64 = 20_000;
const DAYS: i64 = 90;
const GOAL: Duration = Duration::from_millis(200);
/// Event ids hold milliseconds above so many bits.
const ID_BITS: u32 = 21;
const RUNS: usize = 5;

pub fn run(words: &[String]) {
    let events = words.iter().find_map(|word| word.parse().ok()).unwrap_or(EVENTS);
    let dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let stretches = (events / STRETCH_EVENTS).max(1);
    make(dir.path(), stretches);
    let bytes: u64 = std::fs::read_dir(dir.path()).unwrap().flatten().map(|file| file.metadata().unwrap().len()).sum();
    println!(
        "{} events of {DAYS} days made in {:.0?}, {} MB",
        stretches * STRETCH_EVENTS,
        began.elapsed(),
        bytes >> 20
    );
    let reader = Reader::open(dir.path()).unwrap();
    let moment = |text: &str| Some(ask::moment("from", text, month::START).unwrap());
    let all = TimeRange::default();
    let ragged = TimeRange { from: moment("2027-01-10T10:30:00Z"), to: moment("2027-01-17T10:30:00Z") };
    for (what, groups, filter, range) in [
        ("all of it, one number", "", None, all),
        ("by day and model", "day,model", None, all),
        ("by hour, a ragged week", "hour", None, ragged),
        ("by model, a ragged week", "model", None, ragged),
        ("by team", "team", None, all),
        ("by day and team", "day,team", None, all),
        ("by user", "user", None, all),
        ("by month and user", "month,user", None, all),
        ("by key", "key", None, all),
        ("one key by hour, a ragged week", "hour", Some("key=caller-17"), ragged),
        ("one key by model", "model", Some("key=caller-17"), all),
        ("one user by day", "day", Some("user=user-170"), all),
    ] {
        let mut filters: Vec<Filter> = Vec::new();
        if let Some(filter) = filter {
            ask::filter_pair(&mut filters, "where", filter).unwrap();
        }
        let groups: Vec<String> = Some(groups.to_owned()).filter(|groups| !groups.is_empty()).into_iter().collect();
        let query = UsageQuery { group_by: ask::group_by("by", &groups).unwrap(), filters, range };
        timed(what, || reader.usage(&query).unwrap().groups.len());
    }
    let mut filters = Vec::new();
    ask::filter_pair(&mut filters, "where", "key=caller-17").unwrap();
    let page = EventQuery { filters, limit: 50, ..EventQuery::default() };
    timed("last 50 events of a key", || reader.events(&page).unwrap().len());
}

fn make(dir: &std::path::Path, stretches: u64) {
    let mut store = Store::open(dir, month::START).unwrap();
    let stretch_millis = DAYS * 86_400_000 / stretches as i64;
    let apart = stretch_millis * 1_000 / STRETCH_EVENTS as i64;
    let folded: Vec<_> = (0..STRETCH_EVENTS).map(|n| month::event(n, apart, 1)).collect();
    store.fold(1, &folded, JournalPosition { segment: 0, offset: 1 }).unwrap();
    store.flush_rollups().unwrap();
    let connection = Connection::open(store.path()).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let columns: Vec<String> = {
        let mut statement = connection.prepare("SELECT name FROM pragma_table_info('events')").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let moved = |column: &String| match column.as_str() {
        "id" | "exchange" => format!("{column} + (?1 << {ID_BITS})"),
        "started_us" | "ended_us" => format!("{column} + ?1 * 1000"),
        _ => column.clone(),
    };
    let (names, values) = (columns.join(", "), columns.iter().map(moved).collect::<Vec<_>>().join(", "));
    let last: i64 = connection.query_row("SELECT max(id) FROM events", [], |row| row.get(0)).unwrap();
    let copy = format!("INSERT INTO events ({names}) SELECT {values} FROM events WHERE id <= ?2");
    let note = format!("INSERT INTO unrolled (id) SELECT id + (?1 << {ID_BITS}) FROM events WHERE id <= ?2");
    for stretch in 1..stretches as i64 {
        let transaction = connection.unchecked_transaction().unwrap();
        for sql in [&copy, &note] {
            transaction.prepare_cached(sql).unwrap().execute(params![stretch * stretch_millis, last]).unwrap();
        }
        transaction.commit().unwrap();
        store.flush_rollups().unwrap();
    }
    store.checkpoint().unwrap();
}

fn timed(what: &str, question: impl Fn() -> usize) {
    let began = Instant::now();
    let rows = question();
    let first = began.elapsed();
    let best = (0..RUNS).map(|_| {
        let began = Instant::now();
        std::hint::black_box(question());
        began.elapsed()
    });
    let best = best.min().unwrap();
    let verdict = if first.max(best) < GOAL { "" } else { "  MISSED" };
    println!("{what}: {rows} rows, first {first:.1?}, best of {RUNS} {best:.1?} (goal: 200 ms){verdict}");
}
