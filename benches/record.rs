//! What telling of a call costs: on the request's thread (metrics, and a note for OpenTelemetry), and beside it (making
//! `gen_ai.*` of the note).
//!
//! `cargo bench --bench record`. Goal: 2 µs a call on the request's thread, at the median.
#![expect(clippy::unwrap_used, reason = "a bench stops at the first surprise")]

use farebox::catalog::{Cost, Pricing};
use farebox::clock::Timestamp;
use farebox::dialects::{Dialect, Flavor, Operation};
use farebox::event::{Closing, Event, EventKind, Opening, Outcome};
use farebox::ids::{EventId, ExchangeId};
use farebox::money::{Rate, Usd};
use farebox::telemetry::otel::{Conventions, OtelSettings, Served};
use farebox::telemetry::{Beside, Log, Metrics, MetricsSettings, Otel, Telemetry};
use farebox::tenants::Caller;
use farebox::tokens::usage::{Kind, TokenUsage, UsageSource};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MODELS: usize = 20;
const CALLS: usize = 10_000;
const ROUNDS: usize = 21;

fn main() {
    for (name, conventions) in [("without gen_ai.*", Conventions::Off), ("with gen_ai.*", Conventions::V1_41)] {
        let telemetry = telemetry(conventions);
        let calls: Vec<(Arc<Event>, Beside)> = (0..MODELS).map(call).collect();
        let (mut told, mut beside) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            for number in 0..CALLS {
                let (event, more) = &calls[number % MODELS];
                telemetry.settled(event, more.clone());
            }
            told.push(begun.elapsed());
            let begun = Instant::now();
            telemetry.otel.catch_up();
            beside.push(begun.elapsed());
        }
        println!("{name:<18} {:>7.0} ns a call on the request's thread", each(told));
        println!("{name:<18} {:>7.0} ns a call beside it, at most", each(beside));
        let begun = Instant::now();
        let lines = telemetry.exposition().lines().count();
        println!("{name:<18} {:>7.2} ms for a page of {lines} lines", begun.elapsed().as_secs_f64() * 1e3);
    }
}

/// The median round's share of one call, ns.
fn each(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort_unstable();
    rounds[rounds.len() / 2].as_secs_f64() * 1e9 / CALLS as f64
}

fn telemetry(conventions: Conventions) -> Telemetry {
    let settings = MetricsSettings { teams: vec!["search".into()], ..MetricsSettings::default() };
    let metrics = Metrics::new(&settings, &["openai"], "0.0.0").unwrap();
    let name: Arc<str> = "openai".into();
    let served = Served::new(&name, (Dialect::OpenAi, Flavor::Standard), ("api.openai.com", 443));
    let otel = Otel::start(&OtelSettings::default(), conventions, HashMap::from([(name, served)]), &metrics).unwrap();
    Telemetry::new(metrics, otel, Log::silent())
}

fn call(number: usize) -> (Arc<Event>, Beside) {
    let model: Arc<str> = format!("model-{number}").into();
    let cost = Cost {
        total: Usd::from_pico(3_500_000_000),
        by_kind: vec![(Kind::Input, Usd::from_pico(2_500_000_000)), (Kind::Output, Usd::from_pico(1_000_000_000))],
        rates: vec![(Kind::Input, Rate::from_femto(2_500_000_000)), (Kind::Output, Rate::from_femto(10_000_000_000))],
        catalog: "2026-11-21-abcd1234".into(),
        terms: Vec::new(),
    };
    let at = Timestamp(1_795_262_400_000_000);
    let opening = Opening {
        id: EventId(1),
        exchange: ExchangeId(1),
        attempt: 1,
        started_at: at,
        caller: Arc::new(Caller { team: Some("search".into()), ..Caller::default() }),
        attribution: Arc::default(),
        provider: "openai".into(),
        dialect: Dialect::OpenAi,
        operation: Operation::Chat,
        requested_model: Some(Arc::clone(&model)),
        upstream_model: Some(Arc::clone(&model)),
        stream: true,
        client_request_id: None,
        decision: "admit".into(),
        rule: None,
        ceiling: None,
        estimate: Some(Usd::from_pico(4_000_000_000)),
        estimated_usage: TokenUsage::ZERO,
        estimated_input_cost: None,
        cost_per_1k_output: None,
    };
    let closing = Closing {
        ended_at: Timestamp(at.as_micros() + 1_500_000),
        response_model: None,
        status: Some(200),
        outcome: Outcome::Ok,
        complete: true,
        usage: TokenUsage::ZERO.with(Kind::Input, 1_000).with(Kind::Output, 100),
        usage_source: UsageSource::Reported,
        pricing: Pricing::Priced(Box::new(cost)),
        service_tier: None,
        provider_cost: None,
        provider_request_id: None,
        finish_reason: None,
        overhead_micros: Some(80),
        first_token_micros: Some(300_000),
        upstream_micros: Some(1_400_000),
        request_bytes: 4_096,
        response_bytes: 900,
        withheld: Usd::ZERO,
        deferred: None,
    };
    let event = Event { kind: EventKind::Attempt, opening, closing, charges: Vec::new() };
    (Arc::new(event), Beside { model_label: Some(model), ..Beside::default() })
}
