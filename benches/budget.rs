//! What budgets cost: hot instances (they hold a lease), cold ones (one commit of the store), and memory.
//!
//! `cargo bench --bench budget [-- INSTANCES HOT]`: by default 1,000,000 instances of 10,000 budgets, 10,000 of them hot.
//! Goals: hot p50 10 µs and p99 50 µs for balances and reserve together, cold p50 10 ms.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use farebox::budget::account::Unit;
use farebox::budget::window::WindowRule;
use farebox::budget::{BasisPoints, Budget, Demand, Hardness, Instance};
use farebox::catalog::{Cost, Pricing};
use farebox::clock::{Clock, SystemClock};
use farebox::dialects::{Dialect, Operation};
use farebox::event::{Closing, Opening, Outcome};
use farebox::ledger::{Ledger, Settings};
use farebox::money::Usd;
use farebox::tokens::usage::{Kind, TokenUsage, UsageSource};
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUDGETS: u64 = 10_000;
const OPENED_AT_ONCE: usize = 2_000;

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let instances = numbers.first().copied().unwrap_or(1_000_000);
    let hot = numbers.get(1).copied().unwrap_or(10_000).min(instances);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(Settings::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let budgets: Vec<Arc<Budget>> = (0..BUDGETS).map(budget).collect();
    let all: Vec<Arc<Instance>> = (0..instances)
        .map(|n| {
            let budget = &budgets[(n % BUDGETS) as usize];
            let window = budget.window.at(SystemClock.now());
            Arc::new(Instance::new(budget.clone(), format!("user=u{n}").into(), window))
        })
        .collect();
    let admission = ledger.admission();
    admission.rules_changed(&budgets);

    let mut cold: Vec<Duration> = Vec::new();
    for instance in all.iter().take(200) {
        let began = Instant::now();
        call(&ledger, &runtime, std::slice::from_ref(instance));
        cold.push(began.elapsed());
    }
    println!("cold, one by one: {}", percentiles(&mut cold));

    let before = resident_bytes();
    let began = Instant::now();
    for some in all.chunks(OPENED_AT_ONCE) {
        runtime.block_on(admission.balances(some));
    }
    let opened = began.elapsed();
    let bytes = resident_bytes().saturating_sub(before);
    println!(
        "{instances} instances of {BUDGETS} budgets opened in {opened:.1?}, {} bytes each in memory",
        bytes / instances.max(1)
    );

    for demands in [1usize, 6] {
        let mut times: Vec<Duration> = Vec::new();
        for n in 0..20 * hot {
            let at = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % hot) as usize;
            let claimed: Vec<_> = (0..demands).map(|k| all[(at + k) % hot as usize].clone()).collect();
            times.push(call(&ledger, &runtime, &claimed));
        }
        println!("hot, {demands} budget(s) a call: balances and reserve {}", percentiles(&mut times));
    }
    println!("{:?}", ledger.status().counts);
}

/// Asks, reserves and settles; the time until it was admitted.
fn call(ledger: &Ledger, runtime: &tokio::runtime::Runtime, claimed: &[Arc<Instance>]) -> Duration {
    let admission = ledger.admission();
    let opening = opening(ledger);
    let demand = |instance: &Arc<Instance>| Demand { instance: instance.clone(), amount: 2_000, binds: true };
    let demands: Vec<Demand> = claimed.iter().map(demand).collect();
    let began = Instant::now();
    let reservation = runtime.block_on(async {
        std::hint::black_box(admission.balances(claimed).await);
        admission.reserve(opening, demands, Duration::ZERO).await.unwrap()
    });
    let took = began.elapsed();
    reservation.settle(closing());
    took
}

fn budget(n: u64) -> Arc<Budget> {
    Arc::new(Budget {
        name: format!("budget-{n}").into(),
        unit: Unit::PicoUsd,
        limit: 500_000_000_000_000,
        hardness: Hardness::Hard,
        window: WindowRule::Lifetime,
        thresholds: vec![BasisPoints(8_000), BasisPoints(10_000)],
        is_rate_limit: false,
        clamp: true,
        show_amounts: false,
        message: None,
    })
}

fn opening(ledger: &Ledger) -> Opening {
    let now = SystemClock.now();
    Opening {
        id: ledger.next_event_id(now),
        exchange: ledger.next_exchange_id(now),
        attempt: 1,
        started_at: now,
        caller: Arc::default(),
        attribution: Arc::default(),
        provider: Arc::from("openai"),
        dialect: Dialect::OpenAi,
        operation: Operation::Chat,
        requested_model: Some(Arc::from("gpt-5-mini")),
        upstream_model: Some(Arc::from("gpt-5-mini")),
        stream: true,
        client_request_id: None,
        decision: Arc::from("admit"),
        rule: None,
        ceiling: Some(Usd::from_pico(2_000)),
        estimate: Some(Usd::from_pico(700)),
        estimated_usage: TokenUsage::ZERO.with(Kind::Input, 512),
        estimated_input_cost: Some(Usd::from_pico(128)),
        cost_per_1k_output: Some(Usd::from_pico(2_000)),
    }
}

fn closing() -> Closing {
    let cost = Usd::from_pico(700);
    let priced = Cost {
        total: cost,
        by_kind: vec![(Kind::Output, cost)],
        rates: Vec::new(),
        catalog: Arc::from("2026-11-22"),
        terms: Vec::new(),
    };
    Closing {
        ended_at: SystemClock.now(),
        response_model: None,
        status: Some(200),
        outcome: Outcome::Ok,
        complete: true,
        usage: TokenUsage::ZERO.with(Kind::Input, 512).with(Kind::Output, 128),
        usage_source: UsageSource::Reported,
        pricing: Pricing::Priced(Box::new(priced)),
        service_tier: None,
        provider_cost: None,
        provider_request_id: None,
        finish_reason: None,
        overhead_micros: None,
        first_token_micros: None,
        upstream_micros: None,
        request_bytes: 2_048,
        response_bytes: 9_000,
        withheld: Usd::ZERO,
        deferred: None,
    }
}

/// Memory in use, as the kernel counts it; 0 where it does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

fn percentiles(lengths: &mut [Duration]) -> String {
    lengths.sort_unstable();
    let at = |share: f64| lengths[((lengths.len() - 1) as f64 * share) as usize].as_nanos() as f64 / 1_000.0;
    format!("p50 {:.1} µs, p99 {:.1}, p99.9 {:.1}, max {:.0}", at(0.5), at(0.99), at(0.999), at(1.0))
}
