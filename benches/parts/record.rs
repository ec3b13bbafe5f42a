//! What it costs to record one settled call in the metrics: finding its series, counters, money and histograms. The log
//! is silent here: handing over its line is the request's, writing it another thread's.
//!
//! `benches/run record`. Goal: ≤ 2 µs of the calling thread.

use super::machine::{percentiles, thread_cpu_time};
use super::month;
use farebox::event::Event;
use farebox::telemetry::otel::Otel;
use farebox::telemetry::{Beside, Log, Metrics, MetricsSettings, Telemetry};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CALLS: u64 = 400_000;
/// One look at the clock is shared by so many calls.
const CALLS_AT_ONCE: u64 = 100;

pub fn run(_: &[String]) {
    let events: Vec<Arc<Event>> = (0..2_000).map(|n| Arc::new(month::event(n, 1_000, 1))).collect();
    let teams: Vec<Arc<str>> = (0..40).map(|n| format!("team-{n}").into()).collect();
    for (what, projects) in [("40 teams", 0), ("40 teams, 20 projects", 20)] {
        let projects = (0..projects).map(|n| format!("project-{n}").into()).collect();
        let settings = MetricsSettings { teams: teams.clone(), projects, ..MetricsSettings::default() };
        let metrics = Metrics::new(&settings, &["openai", "anthropic"], "bench").unwrap();
        let telemetry = Telemetry::new(metrics, Otel::off(), Log::silent());
        let mut shares: Vec<Duration> = Vec::new();
        let cpu = thread_cpu_time();
        for batch in 0..CALLS / CALLS_AT_ONCE {
            let began = Instant::now();
            for n in 0..CALLS_AT_ONCE {
                let event = &events[((batch * CALLS_AT_ONCE + n) * 7 % 2_000) as usize];
                let model_label = event.opening.requested_model.clone();
                telemetry.settled(black_box(event), Beside { model_label, ..Beside::default() });
            }
            shares.push(began.elapsed() / CALLS_AT_ONCE as u32);
        }
        let cpu = thread_cpu_time().saturating_sub(cpu).as_secs_f64() * 1e6 / CALLS as f64;
        println!("record a call, {what}: {cpu:.2} µs CPU (goal: 2); {}", percentiles(&mut shares));
        println!("  {} lines in the exposition", telemetry.metrics.text().lines().count());
    }
}
