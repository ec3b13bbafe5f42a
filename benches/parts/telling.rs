//! What telling of a call costs: on the request's thread (metrics, and a note for OpenTelemetry), and beside it (making
//! `gen_ai.*` of the note).
//!
//! `benches/run telling`. Goal: 2 µs a call on the request's thread, at the median.

use super::month;
use farebox::dialects::{Dialect, Flavor};
use farebox::event::Event;
use farebox::telemetry::otel::{Conventions, OtelSettings, Served};
use farebox::telemetry::{Beside, Log, Metrics, MetricsSettings, Otel, Telemetry};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MODELS: usize = 20;
const CALLS: usize = 10_000;
const ROUNDS: usize = 21;

pub fn run(_: &[String]) {
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
    let mut event = month::event(number as u64, 1_000, 1);
    event.opening.provider = "openai".into();
    (Arc::new(event), Beside { model_label: Some(model), ..Beside::default() })
}
