//! What the store costs: microseconds an event to fold and to roll up, seconds to export, milliseconds of the common
//! questions, on a ledger of many keys, users and models.
//!
//! `benches/run store [EVENTS]` (default 1,000,000; 2,000 keys, 5,000 users, 20 models). Half of them come as
//! from a live node, 20,000 a second; the other half is spread over 30 days, so that almost nothing falls together: the
//! worst case of the rollups.

use super::machine::{cpu_time, memory_peak_kib};
use super::month::{DAYS, START, event};
use farebox::event::Event;
use farebox::queries::{Export, ask};
use farebox::store::{EventQuery, Filter, JournalPosition, Reader, Store, TimeRange, UsageQuery};
use std::time::{Duration, Instant};

pub fn run(words: &[String]) {
    let events: u64 = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), START).unwrap();
    let second = 1_000_000;
    fold(&mut store, "live", events / 4, 1_000, second / 20_000);
    fold(&mut store, "live", events / 4, 5_000, second / 20_000);
    fold(&mut store, "spread", events / 2, 5_000, DAYS * 86_400 * second / (events as i64 / 2));
    store.checkpoint().unwrap();
    let bytes = std::fs::metadata(store.path()).unwrap().len();
    println!("{} bytes an event, rollups included", bytes / events);
    let reader = Reader::open(dir.path()).unwrap();
    export(&reader);
    questions(&reader);
    let start = Instant::now();
    let report = store.verify(&mut |_| {}).unwrap();
    println!("verify {} events, {} rollup rows: {:?}", report.events, report.rollup_rows, start.elapsed());
    assert!(report.is_clean(), "{:?}", report.faults);
}

/// Folds events that begin so many microseconds apart, flushes included.
fn fold(store: &mut Store, what: &str, events: u64, batch: u64, apart: i64) {
    let mut made = 0;
    let (mut folding, mut longest) = (Duration::ZERO, Duration::ZERO);
    let cpu = cpu_time();
    let mut making = Duration::ZERO;
    while made < events {
        let start = Instant::now();
        let events: Vec<Event> = (made..made + batch).map(|n| event(n, apart, batch)).collect();
        making += start.elapsed();
        made += batch;
        let start = Instant::now();
        store.fold(batch + apart as u64, &events, JournalPosition { segment: 0, offset: made }).unwrap();
        let took = start.elapsed();
        folding += took;
        longest = longest.max(took);
    }
    let start = Instant::now();
    store.flush_rollups().unwrap();
    folding += start.elapsed();
    let cpu = cpu_time().saturating_sub(cpu).saturating_sub(making);
    println!(
        "fold {made} {what} events in batches of {batch}: {:.0} events/s (goal: 20,000), {:.1} µs CPU an event (goal: 35), longest {longest:?}",
        made as f64 / folding.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / made as f64,
    );
}

fn export(reader: &Reader) {
    let mut export = Export::new(reader.clone(), Vec::new(), TimeRange::default()).unwrap();
    let memory_before = memory_peak_kib();
    let (start, cpu, mut bytes) = (Instant::now(), cpu_time(), 0);
    while let Some(chunk) = export.next_chunk().unwrap() {
        bytes += chunk.len();
    }
    println!(
        "export {} rows, {} MB: {:.2?}, {:.2?} CPU (goal: 5 s a million); peak memory {} MB, {} MB before",
        export.rows(),
        bytes >> 20,
        start.elapsed(),
        cpu_time().saturating_sub(cpu),
        memory_peak_kib() >> 10,
        memory_before >> 10
    );
}

fn questions(reader: &Reader) {
    let of = |text: &str| Some(ask::moment("from", text, START).unwrap());
    let month = TimeRange::default();
    let ragged = TimeRange { from: of("2026-11-20T10:30:00Z"), to: of("2026-11-27T10:30:00Z") };
    for (what, groups, filter, range) in [
        ("by day and model, 30 d", "day,model", None, month),
        ("by hour, 7 d", "hour", None, ragged),
        ("by model, a ragged week", "model", None, ragged),
        ("by user, 30 d", "user", None, month),
        ("by month and user", "month,user", None, month),
        ("by key, 30 d", "key", None, month),
        ("one key by hour, 7 d", "hour", Some("key=caller-17"), ragged),
        ("one key by model, 30 d", "model", Some("key=caller-17"), month),
        ("by environment (raw events), 30 d", "environment", None, month),
    ] {
        let mut filters: Vec<Filter> = Vec::new();
        if let Some(filter) = filter {
            ask::filter_pair(&mut filters, "where", filter).unwrap();
        }
        let query = UsageQuery { group_by: ask::group_by("by", &[groups.to_owned()]).unwrap(), filters, range };
        timed(what, || reader.usage(&query).unwrap().groups.len());
    }
    let mut filters = Vec::new();
    ask::filter_pair(&mut filters, "where", "key=caller-17").unwrap();
    let page = EventQuery { filters, limit: 50, ..EventQuery::default() };
    timed("last 50 events of a key", || reader.events(&page).unwrap().len());
    let page = EventQuery { limit: 50, ..EventQuery::default() };
    timed("last 50 events", || reader.events(&page).unwrap().len());
}

fn timed(what: &str, question: impl Fn() -> usize) {
    let start = Instant::now();
    let rows = question();
    let first = start.elapsed();
    let best = (0..3).map(|_| {
        let start = Instant::now();
        std::hint::black_box(question());
        start.elapsed()
    });
    println!("{what}: {rows} rows, first {first:?}, best {:?}", best.min().unwrap());
}
