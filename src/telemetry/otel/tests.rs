//! `gen_ai.*` on the page of metrics: what it shows, and that it has a bound.

use super::*;
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Flavor};
use crate::event::Outcome;
use crate::store::fixtures::call;
use crate::telemetry::MetricsSettings;
use crate::tokens::usage::{Kind, TokenUsage, UsageSource};

const AT: Timestamp = Timestamp(1_795_302_453_000_000);

fn served() -> HashMap<Arc<str>, Served> {
    let name: Arc<str> = "openai".into();
    let served = Served::new(&name, (Dialect::OpenAi, Flavor::Standard), ("api.openai.com", 443));
    [(name, served)].into()
}

fn metrics() -> Metrics {
    Metrics::new(&MetricsSettings::default(), &["openai"], "0.0.0").unwrap()
}

fn used() -> Event {
    let mut event = call(AT, 1).costing(1_000);
    event.opening.provider = "openai".into();
    event.closing.outcome = Outcome::Ok;
    event.closing.usage_source = UsageSource::Reported;
    event.closing.usage = TokenUsage::ZERO.with(Kind::Input, 1_000).with(Kind::Output, 10);
    event.closing.upstream_micros = Some(300_000);
    event
}

fn beside(model: &str) -> Beside {
    Beside { model_label: Some(model.into()), ..Beside::default() }
}

#[test]
fn a_scrape_shows_what_happened_before_it_in_the_buckets_of_the_conventions() {
    let metrics = metrics();
    let otel = Otel::start(&OtelSettings::default(), Conventions::V1_41, served(), &metrics).unwrap();
    otel.attempt(&Arc::new(used()), &beside("gpt-4o"));
    otel.catch_up();
    let text = metrics.text();
    let labels = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"gpt-4o\"";
    let tokens = format!("gen_ai_client_token_usage_bucket{{{labels},gen_ai_token_type=\"input\",");
    let line = |le: &str, count: u64| {
        let found = text.lines().any(|line| {
            line.starts_with(&tokens) && line.contains(&format!("le=\"{le}\"")) && line.ends_with(&format!(" {count}"))
        });
        assert!(found, "le {le} of {count} in\n{text}");
    };
    line("256", 0);
    line("1024", 1);
    line("67108864", 1);
    assert!(text.contains("gen_ai_client_operation_duration_seconds_bucket{") && text.contains("le=\"81.92\""));
    assert!(!text.contains("otel_scope"), "{text}");
}

#[test]
fn switched_off_there_is_none_of_it() {
    let metrics = metrics();
    let otel = Otel::start(&OtelSettings::default(), Conventions::Off, served(), &metrics).unwrap();
    otel.attempt(&Arc::new(used()), &beside("gpt-4o"));
    otel.catch_up();
    assert!(!metrics.text().contains("# TYPE gen_ai"));
}

#[test]
fn models_without_end_are_other_and_counted_and_nothing_overflows_in_silence() {
    let metrics = metrics();
    let meters = meters(&OtelSettings::default(), &metrics, &resource(&OtelSettings::default())).unwrap();
    let mut gen_ai = GenAi::new(&meters, metrics.room());
    let served = served().remove("openai").unwrap();
    let mut event = used();
    for number in 0..100_000usize {
        event.closing.outcome = Outcome::ALL[number % Outcome::ALL.len()];
        let model = format!("model-{}", number / 10);
        metrics.settled(&event, &beside(&model));
        gen_ai.record(&event, &model, &served);
    }
    let text = metrics.text();
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(lines < 20_000, "{lines} series");
    assert!(text.contains("gen_ai_request_model=\"other\"") && !text.contains("otel_metric_overflow"));
    let counts = text.lines().filter(|line| line.starts_with("gen_ai_client_operation_duration_seconds_count{"));
    let counted: f64 = counts.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
    assert_eq!(counted, 100_000.0);
    // Of Farebox's own rows and of these together; a series is shown at zero first.
    let overflow = "farebox_metric_label_overflow_total{label=\"model\"} ";
    let folded = metrics.text().lines().find_map(|line| line.strip_prefix(overflow)?.parse::<f64>().ok());
    assert!(folded.is_some_and(|folded| folded > 100_000.0), "{folded:?}");
}

#[test]
fn a_note_that_breaks_down_is_counted_and_those_after_it_are_told() {
    let metrics = metrics();
    let otel = Otel::start(&OtelSettings::default(), Conventions::V1_41, served(), &metrics).unwrap();
    let notes = otel.notes.as_ref().unwrap();
    for _ in 0..2 {
        // Whoever takes it up, the thread or a scrape, survives it.
        notes.push(Note::Faulty);
        otel.catch_up();
    }
    otel.attempt(&Arc::new(used()), &beside("gpt-4o"));
    otel.catch_up();
    assert_eq!(metrics.otel_notes_broken.units(), 2);
    // A series is shown at zero first.
    metrics.text();
    let text = metrics.text();
    assert!(text.contains("farebox_telemetry_dropped_total{what=\"faults\"} 2"), "{text}");
    assert!(text.contains("gen_ai_client_operation_duration_seconds_count{") && text.contains("gpt-4o"), "{text}");
    notes.push(Note::Faulty);
    otel.finish();
    assert_eq!(metrics.otel_notes_broken.units(), 3, "its thread took up the last one and ended in order");
}

#[test]
fn notes_beyond_the_bound_are_dropped_and_counted() {
    let metrics = metrics();
    let otel = Otel::start(&OtelSettings::default(), Conventions::V1_41, served(), &metrics).unwrap();
    let (event, beside) = (Arc::new(used()), beside("gpt-4o"));
    let recorder = otel.notes.as_ref().unwrap().recorder.lock();
    for _ in 0..2 * NOTES_MAX {
        otel.attempt(&event, &beside);
    }
    drop(recorder);
    // The thread may have taken one heap of them before it stood still.
    let dropped = metrics.otel_notes_dropped.units();
    assert!((1..=NOTES_MAX as u128).contains(&dropped), "{dropped}");
}
