//! What the ledger costs: microseconds of an admission and a settlement at a steady pace, with the syncer and the
//! folder into SQLite at work; and how many events a second the folder sustains.
//!
//! `benches/run journal [SECONDS]`. The first lines are the numbers; the machine's disk decides the tails.

use super::machine::percentiles;
use farebox::catalog::{Cost, Pricing};
use farebox::clock::{Clock, SystemClock, Timestamp};
use farebox::dialects::{Dialect, Operation};
use farebox::event::{Closing, Opening, Outcome};
use farebox::ledger::{Ledger, Settings};
use farebox::money::{Rate, Usd};
use farebox::tenants::{Attribution, Caller};
use farebox::tokens::usage::{Kind, TokenUsage, UsageSource};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Calls of one pace come in bunches of a millisecond, as a sleeping generator can make them.
const BUNCH: Duration = Duration::from_millis(1);

pub fn run(words: &[String]) {
    let seconds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(5);
    for (calls_per_second, threads) in [(1_000, 1), (10_000, 1), (10_000, 4)] {
        paced(calls_per_second, threads, Duration::from_secs(seconds));
    }
    folding(200_000);
}

fn paced(calls_per_second: u32, threads: u32, length: Duration) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(open(&dir, u64::MAX));
    let generators: Vec<_> = (0..threads)
        .map(|_| {
            std::thread::spawn({
                let ledger = ledger.clone();
                move || generate(&ledger, calls_per_second / threads, length)
            })
        })
        .collect();
    let (mut reserve, mut settle) = (Vec::new(), Vec::new());
    for generator in generators {
        let (reserved, settled) = generator.join().unwrap();
        reserve.extend(reserved);
        settle.extend(settled);
    }
    let status = ledger.status();
    println!("{calls_per_second} calls/s from {threads} thread(s), {} calls:", reserve.len());
    println!("  reserve {} (goal: p50 6 µs, p99 50)", percentiles(&mut reserve));
    println!("  settle  {} (goal: the same)", percentiles(&mut settle));
    println!("  backlog {} events; refused or waiting: {}", status.backlog_events, !status.accepting);
}

fn generate(ledger: &Ledger, calls_per_second: u32, length: Duration) -> (Vec<Duration>, Vec<Duration>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (mut reserve, mut settle) = (Vec::new(), Vec::new());
    let admission = ledger.admission();
    let per_bunch = (f64::from(calls_per_second) * BUNCH.as_secs_f64()).max(1.0) as usize;
    let began = Instant::now();
    let mut due = began;
    while began.elapsed() < length {
        for _ in 0..per_bunch {
            let now = SystemClock.now();
            let (opening, closing) = call(ledger, now);
            let start = Instant::now();
            let reservation = runtime.block_on(admission.reserve(opening, Vec::new(), Duration::ZERO)).unwrap();
            reserve.push(start.elapsed());
            let start = Instant::now();
            std::hint::black_box(reservation.settle(closing));
            settle.push(start.elapsed());
        }
        due += BUNCH;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    (reserve, settle)
}

fn folding(events: u64) {
    let dir = tempfile::tempdir().unwrap();
    let ledger = open(&dir, events);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let admission = ledger.admission();
    let began = Instant::now();
    for _ in 0..events {
        let (opening, closing) = call(&ledger, SystemClock.now());
        runtime.block_on(admission.reserve(opening, Vec::new(), Duration::ZERO)).unwrap().settle(closing);
    }
    let journalled = began.elapsed();
    let closed = ledger.close();
    let folded = began.elapsed();
    let rate = |length: Duration| events as f64 / length.as_secs_f64();
    println!(
        "{events} events: journalled at {:.0}/s, in the store at {:.0}/s ({closed:?})",
        rate(journalled),
        rate(folded)
    );
}

fn open(dir: &tempfile::TempDir, backlog_events_max: u64) -> Ledger {
    let wait = Duration::from_secs(60);
    let settings = Settings {
        backlog_events_max: backlog_events_max.max(1),
        backlog_bytes_max: u64::MAX,
        close_wait_max: wait,
        admission_wait_max: wait,
        ..Settings::new(dir.path())
    };
    Ledger::open(settings, Arc::new(SystemClock)).unwrap()
}

fn call(ledger: &Ledger, now: Timestamp) -> (Opening, Closing) {
    let id = ledger.next_event_id(now);
    let text = |text: &str| Some(Arc::from(text));
    let opening = Opening {
        id,
        exchange: ledger.next_exchange_id(now),
        attempt: 1,
        started_at: now,
        caller: Arc::new(Caller { key: text("caller-3f9a12c4"), team: text("search"), ..Caller::default() }),
        attribution: Arc::new(Attribution { session: text("session-1"), ..Attribution::default() }),
        provider: Arc::from("openai"),
        dialect: Dialect::OpenAi,
        operation: Operation::Chat,
        requested_model: text("gpt-5-mini"),
        upstream_model: text("gpt-5-mini-2025-08-07"),
        stream: true,
        client_request_id: None,
        decision: Arc::from("admit"),
        rule: None,
        ceiling: Some(Usd::from_pico(2_000_000_000)),
        estimate: Some(Usd::from_pico(700_000_000)),
        estimated_usage: TokenUsage::ZERO.with(Kind::Input, 512),
        estimated_input_cost: Some(Usd::from_pico(128_000_000)),
        cost_per_1k_output: Some(Usd::from_pico(2_000_000_000)),
    };
    let (input, output) = (Usd::from_pico(128_000_000), Usd::from_pico(256_000_000));
    let cost = Cost {
        total: Usd::from_pico(384_000_000),
        by_kind: vec![(Kind::Input, input), (Kind::Output, output)],
        rates: vec![(Kind::Input, Rate::from_femto(250_000_000)), (Kind::Output, Rate::from_femto(2_000_000_000))],
        catalog: Arc::from("2026-11-21"),
        terms: Vec::new(),
    };
    let closing = Closing {
        ended_at: now,
        response_model: text("gpt-5-mini-2025-08-07"),
        status: Some(200),
        outcome: Outcome::Ok,
        complete: true,
        usage: TokenUsage::ZERO.with(Kind::Input, 512).with(Kind::Output, 128),
        usage_source: UsageSource::Reported,
        pricing: Pricing::Priced(Box::new(cost)),
        service_tier: text("default"),
        provider_cost: None,
        provider_request_id: text("req_0123456789abcdef0123456789abcdef"),
        finish_reason: text("stop"),
        overhead_micros: Some(120),
        first_token_micros: Some(310_000),
        upstream_micros: Some(1_400_000),
        request_bytes: 2_048,
        response_bytes: 9_000,
        withheld: Usd::ZERO,
        deferred: None,
    };
    (opening, closing)
}
