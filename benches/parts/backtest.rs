//! What a backtest costs: a month of a ledger, 1,000,000 calls of 2,000 keys in 40 teams, through a dozen rules.
//!
//! `benches/run backtest [EVENTS]`. Goal: 1,000,000 events in less than 10 s, in constant memory apart from
//! the budgets' instances.

use super::machine::{cpu_time, memory_peak_kib};
use super::month::{self, DAYS, START};
use farebox::backtest::{Backtest, Premises, replay};
use farebox::catalog::{Catalog, Terms, file};
use farebox::dialects::Dialect;
use farebox::event::Event;
use farebox::money::pico_to_decimal;
use farebox::rules::syntax;
use farebox::store::{JournalPosition, Reader, Store, TimeRange};
use std::sync::Arc;
use std::time::Instant;

const BATCH: u64 = 5_000;
const MODELS: [&str; 6] = ["gpt-5", "gpt-5-mini", "gpt-4o", "gpt-4o-mini", "o3", "gpt-4.1"];

const RULES: &str = "
version: 1
zone: UTC
budgets:
  - {name: everybody, window: month, limit: 4000 USD, thresholds: [50%, 80%, 100%]}
  - {name: team-month, for_each: team, window: month, limit: 150 USD, thresholds: [80%, 100%]}
  - {name: key-day, for_each: key, window: day, limit: 0.40 USD}
  - {name: key-tokens, for_each: key, window: rolling 5h, limit: 2000000 tokens, hardness: soft}
  - {name: user-week, for_each: user, window: week, limit: 3 USD, hardness: shadow}
swaps:
  - {name: o3-late, when: {budget: {name: everybody, used: '>= 60%'}}, from: [o3], to: [gpt-5]}
  - {name: teams-save, when: {budget: {name: team-month, used: '>= 80%'}}, from: [gpt-5, gpt-4o, gpt-4.1], to: [gpt-5-mini]}
  - {name: rather-mini, when: {budget: {name: key-day, fits: false}}, from: [gpt-5, gpt-4o, gpt-4.1], to: [gpt-4o-mini]}
clamps:
  - {name: short-o3, when: {model: o3}, output_tokens: 800}
blocks:
  - {name: no-4o-for-one, when: {team: team-13, model: gpt-4o}}
limits:
  - {name: calm, for_each: key, requests_per_minute: 60}
  - {name: no-dear-call, cost_per_call: 2 USD}
";

pub fn run(words: &[String]) {
    let events: u64 = words.iter().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let catalog = Arc::new(file::load(file::SHIPPED, &[]).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path(), START).unwrap();
    let apart = DAYS * 86_400 * 1_000_000 / events as i64;
    for batch in (0..events).step_by(BATCH as usize) {
        let end = (batch + BATCH).min(events);
        let events: Vec<Event> = (batch..end).map(|n| call(&catalog, n, apart)).collect();
        store.fold(1, &events, JournalPosition { segment: 0, offset: end }).unwrap();
    }
    store.flush_rollups().unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let known = syntax::Known { catalog: Some(&catalog), providers: &[], receivers: None };
    let rules = syntax::load(&[("rules/bench.yaml", RULES)], &known).unwrap().rules;
    for (what, rules) in [("no rules", farebox::rules::RuleSet::default()), ("12 rules", rules)] {
        let providers = [("openai".into(), Dialect::OpenAi)].into();
        let mut backtest = Backtest::new(Premises { rules: Arc::new(rules), catalog: Arc::clone(&catalog), providers });
        let memory_before = memory_peak_kib();
        let (start, cpu) = (Instant::now(), cpu_time());
        replay(&reader, TimeRange::default(), &mut backtest, &mut |_| {}).unwrap();
        let took = start.elapsed();
        let report = backtest.finish();
        println!(
            "{what}: {} calls in {took:.2?} (goal: 10 s a million), {:.2?} CPU, {:.1} µs a call; peak memory {} MB, {} MB before",
            report.calls,
            cpu_time().saturating_sub(cpu),
            took.as_secs_f64() * 1e6 / report.calls as f64,
            memory_peak_kib() >> 10,
            memory_before >> 10,
        );
        let totals = report.totals;
        println!(
            "  {} unchanged, {} blocked, {} swapped, {} clamped; {} USD, then {} USD, {} USD saved",
            totals.unchanged,
            totals.blocked,
            totals.swapped,
            totals.clamped,
            pico_to_decimal(totals.cost_pico),
            pico_to_decimal(totals.cost_after_pico),
            pico_to_decimal(totals.saved_pico),
        );
        for line in report.by_rule.iter().take(10) {
            println!("  {} {} {} calls, {} USD", line.rule, line.action, line.calls, pico_to_decimal(line.saved_pico));
        }
    }
}

/// The made-up month's `n`th call, of a model that the catalog knows and at its price.
fn call(catalog: &Catalog, n: u64, apart: i64) -> Event {
    let mut event = month::event(n, apart, BATCH);
    let name = MODELS[(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % MODELS.len()];
    let (opening, closing) = (&mut event.opening, &mut event.closing);
    opening.provider = "openai".into();
    (opening.requested_model, opening.upstream_model) = (Some(name.into()), Some(name.into()));
    closing.response_model = Some(name.into());
    let model = catalog.resolve("openai", name).unwrap().model;
    closing.pricing = model.price(&closing.usage, &Terms::default(), opening.started_at);
    event
}
