//! What the store costs: microseconds an event to fold and to roll up, seconds to export, milliseconds of the common
//! questions, on a ledger of many keys, users and models.
//!
//! `cargo bench --bench store [-- EVENTS]` (default 1,000,000; 2,000 keys, 5,000 users, 20 models). Half of them come as
//! from a live node, 20,000 a second; the other half is spread over 30 days, so that almost nothing falls together: the
//! worst case of the rollups.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use farebox::catalog::{Cost, Pricing};
use farebox::clock::Timestamp;
use farebox::dialects::{Dialect, Operation};
use farebox::event::{Closing, Event, EventKind, Opening, Outcome};
use farebox::ids::{EventId, ExchangeId, id_at};
use farebox::money::{Rate, Usd};
use farebox::queries::{Export, ask};
use farebox::store::{EventQuery, Filter, JournalPosition, Reader, Store, TimeRange, UsageQuery};
use farebox::tenants::{Attribution, Caller};
use farebox::tokens::usage::{Kind, TokenUsage, UsageSource};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// 2026-11-01T00:00:00Z
const START: Timestamp = Timestamp(1_793_491_200_000_000);
const DAYS: i64 = 30;
const KEYS: u64 = 2_000;
const USERS: u64 = 5_000;
const MODELS: u64 = 20;

fn main() {
    let events: u64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
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
        "fold {made} {what} events in batches of {batch}: {:.0} events/s, {:.1} µs CPU an event, longest {longest:?}",
        made as f64 / folding.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / made as f64,
    );
}

fn export(reader: &Reader) {
    let mut export = Export::new(reader.clone(), Vec::new(), TimeRange::default());
    let memory_before = memory_peak_kib();
    let (start, cpu, mut bytes) = (Instant::now(), cpu_time(), 0);
    while let Some(chunk) = export.next_chunk().unwrap() {
        bytes += chunk.len();
    }
    println!(
        "export {} rows, {} MB: {:?}, {:?} CPU; peak memory {} MB, {} MB before",
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

/// The `n`th event; who and what are spread without a pattern.
fn event(n: u64, apart: i64, salt: u64) -> Event {
    let at = Timestamp(START.as_micros() + apart * n as i64 + apart.min(salt as i64));
    let draw = |below: u64, way: u64| (n ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(way as u32) % below;
    let (key, user, model) = (draw(KEYS, 7), draw(USERS, 19), draw(MODELS, 31));
    let (input, output) = (200 + draw(4_000, 11), 20 + draw(900, 23));
    let costs = [(Kind::Input, input * 2_500_000), (Kind::Output, output * 10_000_000)];
    let name: Arc<str> = format!("model-{model}").into();
    // Batch sizes and spacings tell the three runs apart.
    let run = u64::from(salt == 1_000) | u64::from(apart > 1_000) << 1;
    let id = id_at(at) + (run << 12) + 2 * (n % 1_000);
    Event {
        kind: EventKind::Attempt,
        opening: Opening {
            id: EventId(id + 1),
            exchange: ExchangeId(id),
            attempt: 1,
            started_at: at,
            caller: Arc::new(Caller {
                organisation: Some("acme".into()),
                team: Some(format!("team-{}", key % 40).into()),
                project: Some(format!("project-{}", key % 100).into()),
                key: Some(format!("caller-{key}").into()),
                user: Some(format!("user-{user}").into()),
            }),
            attribution: Arc::new(Attribution {
                environment: Some("prod".into()),
                tags: vec![("feature".into(), format!("f{}", key % 50).into())],
                ..Attribution::default()
            }),
            provider: if model % 2 == 0 { "openai" } else { "anthropic" }.into(),
            dialect: Dialect::OpenAi,
            operation: Operation::Chat,
            requested_model: Some(name.clone()),
            upstream_model: Some(name.clone()),
            stream: n.is_multiple_of(2),
            client_request_id: None,
            decision: "admit".into(),
            rule: None,
            ceiling: Some(Usd::from_pico(9_000_000_000)),
            estimate: Some(Usd::from_pico(4_000_000_000)),
            estimated_usage: TokenUsage::ZERO,
            estimated_input_cost: None,
            cost_per_1k_output: None,
        },
        closing: Closing {
            ended_at: Timestamp(at.as_micros() + 1_500_000),
            response_model: Some(name),
            status: Some(200),
            outcome: Outcome::Ok,
            complete: true,
            usage: TokenUsage::ZERO.with(Kind::Input, input).with(Kind::Output, output),
            usage_source: UsageSource::Reported,
            pricing: Pricing::Priced(Box::new(Cost {
                total: Usd::from_pico(costs.iter().map(|(_, pico)| *pico as i64).sum()),
                by_kind: costs.map(|(kind, pico)| (kind, Usd::from_pico(pico as i64))).to_vec(),
                rates: vec![
                    (Kind::Input, Rate::from_femto(2_500_000_000)),
                    (Kind::Output, Rate::from_femto(10_000_000_000)),
                ],
                catalog: "2026-11-21-abcd1234".into(),
                terms: Vec::new(),
            })),
            service_tier: Some("default".into()),
            provider_cost: None,
            provider_request_id: Some(format!("chatcmpl-{n:024x}").into()),
            finish_reason: Some("stop".into()),
            overhead_micros: Some(80),
            first_token_micros: Some(300_000),
            upstream_micros: Some(1_400_000),
            request_bytes: 4_096,
            response_bytes: 900,
            withheld: Usd::ZERO,
            deferred: None,
        },
        charges: Vec::new(),
    }
}

/// User and system time of this process so far.
fn cpu_time() -> Duration {
    // SAFETY: a zeroed `rusage` is a valid one, and the call only writes into it.
    #[expect(unsafe_code, reason = "the standard library does not tell what a process used")]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let of = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1_000);
    of(usage.ru_utime) + of(usage.ru_stime)
}

/// The largest resident size so far.
fn memory_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}
