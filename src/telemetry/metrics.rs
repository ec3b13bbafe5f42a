//! Every metric's name, in the `prometheus` registry. Labels come only from the configuration and the catalog, else
//! `other`, so the number of series is bounded.

use crate::catalog::Pricing;
use crate::dialects::RefusalKind;
use crate::event::{Event, Outcome};
use crate::tokens::usage::TokenUsage;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    CounterVec, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Histogram bounds of durations from 10 ms to 655 s (OpenTelemetry GenAI: `gen_ai.client.operation.duration`, and more).
const DURATION_BUCKETS: [f64; 17] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36];
const OVERHEAD_BUCKETS: [f64; 10] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0];
const OTHER: &str = "other";

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_duration: HistogramVec,
    first_token: HistogramVec,
    overhead: HistogramVec,
    pub requests_in_flight: IntGauge,
    tokens: IntCounterVec,
    usage_source: IntCounterVec,
    cost: CostCounter,
    unpriced: IntCounterVec,
    refusals: IntCounterVec,
    pub log_lines_dropped: IntCounter,
    pub ledger_accepting: IntGauge,
    pub ledger_backlog_events: IntGauge,
    pub ledger_last_commit: Gauge,
    pub ledger_last_sync_age: Gauge,
    pub provider_circuit: IntGaugeVec,
    pub provider_failures_in_a_row: IntGaugeVec,
    pub catalog_models: IntGauge,
    pub catalog_reloads: IntCounterVec,
    pub rules_reloads: IntCounterVec,
    pub rules_in_force: IntGauge,
    /// 1 while the files on disk have faults and older rules stay in force.
    pub rules_faulty: IntGauge,
    pub rules_loaded_at: Gauge,
}

/// Money as a counter: whole pico-dollars are kept, their nearest double in dollars is shown.
#[derive(Clone)]
struct CostCounter {
    pico: Arc<Mutex<HashMap<(String, String), i128>>>,
    described: CounterVec,
}

impl Metrics {
    /// `providers` × outcomes are initialised at zero, so that the first increment is not lost to `rate()`.
    pub fn new(providers: &[&str], version: &str) -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            registered(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help)?);
        let seconds = |name: &str, help: &str| registered(&registry, Gauge::new(name, help)?);
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            registered(&registry, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?)
        };
        let build = gauges("farebox_build_info", "Always 1; which build runs.", &["version"])?;
        build.with_label_values(&[version]).set(1);
        let metrics = Metrics {
            requests: counter(
                "farebox_requests_total",
                "Attempts that ended, by how they ended.",
                &["provider", "model", "operation", "outcome"],
            )?,
            request_duration: histogram(
                "farebox_request_duration_seconds",
                "From the request's arrival to the response's last byte.",
                &["provider", "model", "stream"],
                &DURATION_BUCKETS,
            )?,
            first_token: histogram(
                "farebox_time_to_first_token_seconds",
                "From the request's arrival to the first chunk with content; streams only.",
                &["provider", "model"],
                &DURATION_BUCKETS,
            )?,
            overhead: histogram(
                "farebox_proxy_overhead_seconds",
                "Time not spent waiting for the provider.",
                &["provider"],
                &OVERHEAD_BUCKETS,
            )?,
            requests_in_flight: gauge("farebox_requests_in_flight", "Requests under way.")?,
            tokens: counter(
                "farebox_tokens_total",
                "Tokens used; the types are disjoint.",
                &["provider", "model", "type"],
            )?,
            usage_source: counter(
                "farebox_usage_source_total",
                "Where the counts of metered attempts come from.",
                &["provider", "source"],
            )?,
            cost: registered(&registry, CostCounter::new()?)?,
            unpriced: counter(
                "farebox_unpriced_requests_total",
                "Attempts for which no price is known.",
                &["provider"],
            )?,
            refusals: counter(
                "farebox_refusals_total",
                "Requests that Farebox itself answered with an error.",
                &["kind"],
            )?,
            log_lines_dropped: registered(
                &registry,
                IntCounter::new(
                    "farebox_log_lines_dropped_total",
                    "Log lines lost because the log's reader is too slow.",
                )?,
            )?,
            ledger_accepting: gauge("farebox_ledger_accepting", "1 while the ledger admits requests.")?,
            ledger_backlog_events: gauge(
                "farebox_ledger_queue_entries",
                "Settled events that are not yet in the store.",
            )?,
            ledger_last_commit: seconds(
                "farebox_ledger_last_commit_timestamp_seconds",
                "When the store last committed.",
            )?,
            ledger_last_sync_age: seconds(
                "farebox_ledger_last_sync_age_seconds",
                "Age of the oldest journal write that is not on disk.",
            )?,
            provider_circuit: gauges(
                "farebox_provider_circuit_state",
                "0 closed, 1 half open, 2 open.",
                &["provider"],
            )?,
            provider_failures_in_a_row: gauges(
                "farebox_provider_failures_in_a_row",
                "Failed attempts since the last good one.",
                &["provider"],
            )?,
            catalog_models: gauge("farebox_price_catalog_models", "Models in the catalog.")?,
            rules_reloads: counter("farebox_rules_reloads_total", "Reloads of the rules.", &["result"])?,
            rules_in_force: gauge("farebox_rules_in_force", "Rules and budgets in force.")?,
            rules_faulty: gauge("farebox_rules_faulty", "1: the rules on disk have faults; older ones stay in force.")?,
            rules_loaded_at: seconds("farebox_rules_loaded_timestamp_seconds", "When the rules in force were loaded.")?,
            catalog_reloads: counter("farebox_config_reloads_total", "Reloads of the catalog.", &["result"])?,
            registry,
        };
        for provider in providers {
            for source in crate::tokens::usage::UsageSource::ALL {
                metrics.usage_source.with_label_values(&[*provider, source.name()]);
            }
            metrics.unpriced.with_label_values(&[*provider]);
            metrics.provider_circuit.with_label_values(&[*provider]).set(0);
        }
        Ok(metrics)
    }

    /// The exposition, Prometheus text format.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// Farebox itself answered a request with an error.
    pub fn refused(&self, kind: RefusalKind) {
        self.refusals.with_label_values(&[kind.name()]).inc();
    }

    pub(super) fn settled(&self, event: &Event, model: Option<&str>) {
        let (opening, closing) = (&event.opening, &event.closing);
        let model = model.unwrap_or(OTHER);
        let provider = &*opening.provider;
        self.requests.with_label_values(&[provider, model, opening.operation.name(), closing.outcome.name()]).inc();
        let stream = if opening.stream { "true" } else { "false" };
        let seconds = micros(closing.ended_at.micros_since(opening.started_at));
        self.request_duration.with_label_values(&[provider, model, stream]).observe(seconds);
        if let Some(first) = closing.first_token_micros.filter(|_| opening.stream) {
            self.first_token.with_label_values(&[provider, model]).observe(micros(first));
        }
        if let Some(overhead) = closing.overhead_micros {
            self.overhead.with_label_values(&[provider]).observe(micros(overhead));
        }
        self.used(provider, model, &closing.usage);
        if closing.outcome == Outcome::Ok {
            self.usage_source.with_label_values(&[provider, closing.usage_source.name()]).inc();
        }
        match &closing.pricing {
            Pricing::Priced(cost) => self.cost.add(provider, model, cost.total.widen()),
            Pricing::Unpriced(_) => self.unpriced.with_label_values(&[provider]).inc(),
            Pricing::Unmetered => {}
        }
    }

    fn used(&self, provider: &str, model: &str, usage: &TokenUsage) {
        for (kind, units) in usage.used().filter(|(kind, _)| kind.is_input_token() || kind.is_output_token()) {
            self.tokens.with_label_values(&[provider, model, kind.name()]).inc_by(units);
        }
    }
}

impl CostCounter {
    fn new() -> Result<Self, prometheus::Error> {
        let described = CounterVec::new(
            Opts::new(
                "farebox_cost_usd_total",
                "List price of what was used. Totals to the cent come from the ledger.",
            ),
            &["provider", "model"],
        )?;
        Ok(CostCounter { pico: Arc::default(), described })
    }

    fn add(&self, provider: &str, model: &str, pico: i128) {
        *self.pico.lock().entry((provider.to_owned(), model.to_owned())).or_default() += pico.max(0);
    }
}

impl Collector for CostCounter {
    fn desc(&self) -> Vec<&Desc> {
        self.described.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shown = self.described.clone();
        shown.reset();
        for ((provider, model), pico) in &*self.pico.lock() {
            #[expect(clippy::cast_precision_loss, reason = "shown only; the integer is kept")]
            shown.with_label_values(&[provider, model]).inc_by(*pico as f64 / 1e12);
        }
        shown.collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations in a histogram")]
fn micros(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
