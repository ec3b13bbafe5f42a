//! Recording: what happens becomes series of the [`names`] table, in the `prometheus` registry.
//!
//! *Invariant:* a label's value comes from the configuration, the catalog or a closed vocabulary of ours; whatever else a
//! client sends is counted under `other`, so the number of series is bounded whoever calls. An attempt finds its series
//! with one look-up ([`Row`]).

mod money;

use super::Beside;
use super::alerts::Alerts;
use super::budgets::{Budgets, RuleCounts};
use super::late::{Corrected, LateUnread};
use super::names::{self, Family, Kind};
use super::otel::Conventions;
use super::process::Process;
use super::room::Room;
use super::series::{Cell, Tally};
use crate::catalog::Pricing;
use crate::clock::Timestamp;
use crate::dialects::{Operation, RefusalKind};
use crate::event::{Event, Outcome};
use crate::tenants::KeyHealth;
use crate::tokens::usage::{TokenUsage, UsageSource};
use money::{differ, saved_by_cache};
use parking_lot::RwLock;
use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

/// A value that is neither configured nor in the catalog.
pub(super) const OTHER: &str = "other";
/// The caller has none.
const NONE: &str = "none";

/// Lines of the exposition that one provider and model need at most: two durations, first token, token time.
const SHAPE_LINES: usize = 4 * 20;
/// Lines of one team, project, provider and model: cost, five types of tokens, and a few outcomes.
const ROW_LINES: usize = 12;

/// Which values labels may have, and how many series there may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    pub teams: Vec<Arc<str>>,
    pub projects: Vec<Arc<str>>,
    /// Lines of the exposition; a new model, team or project beyond three fifths of it is counted under `other`, the
    /// rest is for what has no bound of its own but the number of providers.
    pub series_max: usize,
    /// Which `gen_ai.*` metrics are made beside Farebox's own.
    pub gen_ai: Conventions,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        MetricsSettings { teams: Vec::new(), projects: Vec::new(), series_max: 20_000, gen_ai: Conventions::default() }
    }
}

/// What is read anew while the node runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reloaded {
    Catalog,
    Rules,
}

impl Reloaded {
    fn name(self) -> &'static str {
        match self {
            Reloaded::Catalog => "catalog",
            Reloaded::Rules => "rules",
        }
    }
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    teams: HashSet<Arc<str>>,
    projects: HashSet<Arc<str>>,
    room: Arc<Room>,
    rows: RwLock<HashMap<String, Arc<Row>>>,
    shapes: RwLock<HashMap<String, Arc<Shape>>>,
    requests: Tally,
    refusals: Tally,
    tokens: Tally,
    usage_source: Tally,
    cost: Tally,
    savings: Tally,
    unpriced: Tally,
    cost_differs: Tally,
    late_unread: Tally,
    team_overflow: Arc<Cell>,
    project_overflow: Arc<Cell>,
    reloads: Tally,
    duration: HistogramVec,
    first_token: HistogramVec,
    token_interval: HistogramVec,
    overhead: HistogramVec,
    estimate_error: HistogramVec,
    reload_successful: GaugeVec,
    reload_time: GaugeVec,
    ledger_lost: Arc<Cell>,
    ledger_unjournalled: Arc<Cell>,
    ledger_overruns: Arc<Cell>,
    pub log_lines_dropped: Arc<Cell>,
    otlp_failures: Tally,
    pub spans_dropped: Arc<Cell>,
    pub otel_notes_dropped: Arc<Cell>,
    pub otel_notes_broken: Arc<Cell>,
    pub requests_in_flight: Gauge,
    pub ledger_accepting: Gauge,
    pub ledger_store_faulty: Gauge,
    pub ledger_queue: Gauge,
    pub ledger_queue_capacity: Gauge,
    pub ledger_last_commit: Gauge,
    pub ledger_sync_age: Gauge,
    pub provider_circuit: GaugeVec,
    pub provider_failures: GaugeVec,
    pub provider_key_refused: GaugeVec,
    provider_key_state: GaugeVec,
    pub catalog_models: Gauge,
    catalog_updated: Gauge,
    pub rules_in_force: Gauge,
    pub alerts: Alerts,
    pub budgets: Budgets,
    pub rules: RuleCounts,
}

type RequestsOf = ((Operation, Outcome), Arc<Cell>);

/// The series of one team, project, provider and model.
struct Row {
    shape: Arc<Shape>,
    cost: Arc<Cell>,
    cache_savings: Arc<Cell>,
    swap_savings: Arc<Cell>,
    tokens: [OnceLock<Arc<Cell>>; TokenType::ALL.len()],
    requests: RwLock<Vec<RequestsOf>>,
    labels: [Box<str>; 4],
}

/// The series of one provider and model.
struct Shape {
    provider: Box<str>,
    model: Box<str>,
    duration: [OnceLock<Histogram>; 2],
    first_token: OnceLock<Histogram>,
    token_interval: OnceLock<Histogram>,
    overhead: Histogram,
    estimate_error: Histogram,
    usage_source: [Arc<Cell>; UsageSource::ALL.len()],
    unpriced: OnceLock<Arc<Cell>>,
    cost_differs: OnceLock<Arc<Cell>>,
}

/// Kinds of tokens as the label `type` has them: disjoint, so they add up.
#[derive(Clone, Copy)]
enum TokenType {
    Input,
    CacheRead,
    CacheWrite,
    Output,
    Reasoning,
}

impl TokenType {
    const ALL: [TokenType; 5] =
        [TokenType::Input, TokenType::CacheRead, TokenType::CacheWrite, TokenType::Output, TokenType::Reasoning];

    fn name(self) -> &'static str {
        match self {
            TokenType::Input => "input",
            TokenType::CacheRead => "cache_read",
            TokenType::CacheWrite => "cache_write",
            TokenType::Output => "output",
            TokenType::Reasoning => "reasoning",
        }
    }

    fn units(self, used: &TokenUsage) -> u64 {
        let (cache_read, cache_write) = (used.cache_read_input_tokens(), used.cache_write_input_tokens());
        let reasoning = used.reasoning_output_tokens();
        match self {
            TokenType::Input => used.input_tokens().saturating_sub(cache_read).saturating_sub(cache_write),
            TokenType::CacheRead => cache_read,
            TokenType::CacheWrite => cache_write,
            TokenType::Output => used.output_tokens().saturating_sub(reasoning),
            TokenType::Reasoning => reasoning,
        }
    }
}

impl Metrics {
    /// What can be known beforehand is initialised, so that it is there to be looked at before it happens.
    pub fn new(settings: &MetricsSettings, providers: &[&str], version: &str) -> Result<Metrics, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(Process::new()?))?;
        let tally = |family: Family| registered(&registry, Tally::new(family)?);
        let single = |family: Family| tally(family).map(|tally| tally.cell(&[]));
        let gauge = |family: Family| registered(&registry, Gauge::new(family.name, family.help)?);
        let gauges = |family: Family| registered(&registry, GaugeVec::new(options(&family), family.labels)?);
        let histograms = |family: Family| registered(&registry, HistogramVec::new(buckets(&family), family.labels)?);
        gauges(names::BUILD_INFO)?.with_label_values(&[version]).set(1.0);
        let overflow = tally(names::LABEL_OVERFLOW)?;
        let dropped = tally(names::TELEMETRY_DROPPED)?;
        let metrics = Metrics {
            teams: settings.teams.iter().cloned().collect(),
            projects: settings.projects.iter().cloned().collect(),
            room: Arc::new(Room::new(settings.series_max / 5 * 3, overflow.cell(&["model"]))),
            rows: RwLock::default(),
            shapes: RwLock::default(),
            requests: tally(names::REQUESTS)?,
            refusals: tally(names::REFUSALS)?,
            tokens: tally(names::TOKENS)?,
            usage_source: tally(names::USAGE_SOURCE)?,
            cost: tally(names::COST)?,
            savings: tally(names::SAVINGS)?,
            unpriced: tally(names::UNPRICED)?,
            cost_differs: tally(names::COST_DIFFERS)?,
            late_unread: tally(names::LATE_UNREAD)?,
            team_overflow: overflow.cell(&["team"]),
            project_overflow: overflow.cell(&["project"]),
            reloads: tally(names::RELOADS)?,
            duration: histograms(names::REQUEST_DURATION)?,
            first_token: histograms(names::FIRST_TOKEN)?,
            token_interval: histograms(names::TOKEN_INTERVAL)?,
            overhead: histograms(names::OVERHEAD_DURATION)?,
            estimate_error: histograms(names::ESTIMATE_ERROR)?,
            reload_successful: gauges(names::RELOAD_SUCCESSFUL)?,
            reload_time: gauges(names::RELOAD_TIME)?,
            ledger_lost: single(names::LEDGER_LOST)?,
            ledger_unjournalled: single(names::LEDGER_UNJOURNALLED)?,
            ledger_overruns: single(names::LEDGER_OVERRUNS)?,
            log_lines_dropped: single(names::LOG_LINES_DROPPED)?,
            otlp_failures: tally(names::OTLP_FAILURES)?,
            spans_dropped: dropped.cell(&["spans"]),
            otel_notes_dropped: dropped.cell(&["notes"]),
            otel_notes_broken: dropped.cell(&["faults"]),
            requests_in_flight: gauge(names::REQUESTS_IN_FLIGHT)?,
            ledger_accepting: gauge(names::LEDGER_ACCEPTING)?,
            ledger_store_faulty: gauge(names::LEDGER_STORE_FAULTY)?,
            ledger_queue: gauge(names::LEDGER_QUEUE)?,
            ledger_queue_capacity: gauge(names::LEDGER_QUEUE_CAPACITY)?,
            ledger_last_commit: gauge(names::LEDGER_LAST_COMMIT)?,
            ledger_sync_age: gauge(names::LEDGER_SYNC_AGE)?,
            provider_circuit: gauges(names::PROVIDER_CIRCUIT)?,
            provider_failures: gauges(names::PROVIDER_FAILURES)?,
            provider_key_refused: gauges(names::PROVIDER_KEY_REFUSED)?,
            provider_key_state: gauges(names::PROVIDER_KEY_STATE)?,
            catalog_models: gauge(names::CATALOG_MODELS)?,
            catalog_updated: gauge(names::CATALOG_UPDATED)?,
            rules_in_force: gauge(names::RULES_IN_FORCE)?,
            alerts: Alerts::new(gauge(names::ALERTS_WAITING)?, tally(names::ALERT_DELIVERIES)?),
            budgets: registered(&registry, Budgets::new()?)?,
            rules: RuleCounts::new(tally(names::RULE_DECISIONS)?, tally(names::MODEL_SWAPS)?),
            registry,
        };
        metrics.begin_at_zero(providers);
        Ok(metrics)
    }

    /// The exposition, Prometheus text format.
    pub fn text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// Farebox itself answered a request with an error.
    pub fn refused(&self, kind: RefusalKind) {
        self.refusals.add(&[kind.name()], 1);
    }

    /// A catalog took effect: how many models it has, and its version, which begins with its date.
    pub fn catalog_in_force(&self, models: usize, version: &str) {
        #[expect(clippy::cast_precision_loss, reason = "a count shown")]
        self.catalog_models.set(models as f64);
        let date = version.get(..10).and_then(|date| date.parse::<jiff::civil::Date>().ok());
        let midnight = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
        if let Some(midnight) = midnight {
            self.catalog_updated.set(seconds_of(Timestamp(midnight.timestamp().as_microsecond())));
        }
    }

    /// The label of a team: as configured, else `other`, `none` for a caller without one.
    pub fn team_label<'a>(&self, team: Option<&'a str>) -> &'a str {
        known(&self.teams, &self.team_overflow, team)
    }

    /// Something was read anew; at `now`, with success or not.
    pub fn reloaded(&self, what: Reloaded, successful: bool, now: Timestamp) {
        self.reloads.add(&[what.name(), if successful { "ok" } else { "error" }], 1);
        self.in_force(what, successful, now);
    }

    /// As at the start: in force since `now`, and not read anew.
    pub fn in_force(&self, what: Reloaded, successful: bool, now: Timestamp) {
        self.reload_successful.with_label_values(&[what.name()]).set(f64::from(u8::from(successful)));
        if successful {
            self.reload_time.with_label_values(&[what.name()]).set(seconds_of(now));
        }
    }

    /// How Farebox's own keys stand, by provider and name; those that are gone have no series any more.
    pub fn provider_keys(&self, keys: impl Iterator<Item = (Arc<str>, Arc<str>, KeyHealth)>) {
        self.provider_key_state.reset();
        for (provider, key, health) in keys {
            for state in KeyHealth::ALL {
                let one = f64::from(u8::from(state == health));
                self.provider_key_state.with_label_values(&[&*provider, &*key, state.name()]).set(one);
            }
        }
    }

    /// What the ledger has counted since the start.
    pub fn ledger_counts(&self, lost: u64, unjournalled: u64, overruns: u64) {
        for (cell, now) in
            [(&self.ledger_lost, lost), (&self.ledger_unjournalled, unjournalled), (&self.ledger_overruns, overruns)]
        {
            let before = u64::try_from(cell.units()).unwrap_or(u64::MAX);
            cell.add(now.saturating_sub(before));
        }
    }

    pub(super) fn settled(&self, event: &Event, beside: &Beside) {
        let (opening, closing) = (&event.opening, &event.closing);
        let who = [opening.caller.team.as_deref(), opening.caller.project.as_deref()];
        let row = self.row(who, &opening.provider, beside.model_label.as_deref().unwrap_or(OTHER));
        row.requests(&self.requests, opening.operation, closing.outcome).add(1);
        for (kind, cell) in TokenType::ALL.into_iter().zip(&row.tokens) {
            let units = kind.units(&closing.usage);
            if units > 0 {
                cell.get_or_init(|| self.tokens.cell(&row.labelled(kind.name()))).add(units);
            }
        }
        match &closing.pricing {
            Pricing::Priced(cost) => {
                row.cost.add(u64::try_from(cost.total.as_pico()).unwrap_or(0));
                row.cache_savings.add(saved_by_cache(cost));
                if closing.provider_cost.is_some_and(|theirs| differ(theirs, cost.total)) {
                    row.shape.cost_differs(&self.cost_differs).add(1);
                }
            }
            Pricing::Unpriced(_) => row.shape.unpriced(&self.unpriced).add(1),
            Pricing::Unmetered => {}
        }
        if let Some(saved) = beside.saved_by_swap {
            row.swap_savings.add(u64::try_from(saved.as_pico()).unwrap_or(0));
        }
        self.timed(&row.shape, event);
    }

    /// A result of background work or of a batch was passed on and says nothing that could be booked.
    pub fn late_unread(&self, provider: &str, why: LateUnread) {
        self.late_unread.add(&[provider, why.name()], 1);
    }

    /// Background work or a batch came to more than was counted when it began. What it came to less stays: these series
    /// never go down.
    pub fn corrected(&self, corrected: &Corrected<'_>) {
        let row = self.row([corrected.team, corrected.project], corrected.provider, corrected.model.unwrap_or(OTHER));
        for (kind, cell) in TokenType::ALL.into_iter().zip(&row.tokens) {
            let units = kind.units(corrected.more).saturating_sub(kind.units(corrected.less));
            if units > 0 {
                cell.get_or_init(|| self.tokens.cell(&row.labelled(kind.name()))).add(units);
            }
        }
        row.cost.add(u64::try_from(corrected.cost.as_pico()).unwrap_or(0));
    }

    fn timed(&self, shape: &Shape, event: &Event) {
        let (opening, closing) = (&event.opening, &event.closing);
        let duration = closing.ended_at.micros_since(opening.started_at);
        shape.duration(&self.duration, opening.stream).observe(seconds(duration));
        if let Some(overhead) = closing.overhead_micros {
            shape.overhead.observe(seconds(overhead));
        }
        if closing.outcome == Outcome::Ok {
            shape.usage_source[closing.usage_source as usize].add(1);
        }
        if let (Some(estimate), Pricing::Priced(cost)) = (opening.estimate, &closing.pricing) {
            let (estimate, cost) = (estimate.as_pico(), cost.total.as_pico());
            if closing.complete && cost > 0 {
                #[expect(clippy::cast_precision_loss, reason = "a ratio in a histogram")]
                shape.estimate_error.observe(estimate.abs_diff(cost) as f64 / cost as f64);
            }
        }
        let Some(first) = closing.first_token_micros.filter(|_| opening.stream) else { return };
        shape.first_token(&self.first_token).observe(seconds(first));
        let after_the_first = closing.usage.output_tokens().saturating_sub(1);
        if closing.complete && closing.usage_source == UsageSource::Reported && after_the_first > 0 {
            #[expect(clippy::cast_precision_loss, reason = "a duration in a histogram")]
            let each = seconds(duration.saturating_sub(first)) / after_the_first as f64;
            shape.token_interval(&self.token_interval).observe(each);
        }
    }

    /// The series of an attempt.
    fn row(&self, [team, project]: [Option<&str>; 2], provider: &str, model: &str) -> Arc<Row> {
        let team = known(&self.teams, &self.team_overflow, team);
        let project = known(&self.projects, &self.project_overflow, project);
        let key = [team, project, provider, model].join("\u{1f}");
        if let Some(row) = self.rows.read().get(&key) {
            return Arc::clone(row);
        }
        if self.has_room_for(provider, model) {
            return self.remembered(key, [team, project, provider, model]);
        }
        self.room.overflowed();
        // Not remembered by its full name: such names have no bound.
        let folded = [OTHER, OTHER, provider, OTHER];
        let key = folded.join("\u{1f}");
        let known = self.rows.read().get(&key).map(Arc::clone);
        known.unwrap_or_else(|| self.remembered(key, folded))
    }

    fn remembered(&self, key: String, labels: [&str; 4]) -> Arc<Row> {
        let row = Arc::new(self.new_row(labels));
        Arc::clone(self.rows.write().entry(key).or_insert(row))
    }

    fn new_row(&self, labels: [&str; 4]) -> Row {
        let [team, _, provider, model] = labels;
        Row {
            shape: self.shape(provider, model),
            cost: self.cost.cell(&labels),
            cache_savings: self.savings.cell(&[team, "provider_cache"]),
            swap_savings: self.savings.cell(&[team, "model_swap"]),
            tokens: Default::default(),
            requests: RwLock::default(),
            labels: labels.map(Box::from),
        }
    }

    fn shape(&self, provider: &str, model: &str) -> Arc<Shape> {
        let key = [provider, model].join("\u{1f}");
        if let Some(shape) = self.shapes.read().get(&key) {
            return Arc::clone(shape);
        }
        let shape = Shape {
            provider: provider.into(),
            model: model.into(),
            duration: Default::default(),
            first_token: OnceLock::new(),
            token_interval: OnceLock::new(),
            overhead: self.overhead.with_label_values(&[provider]),
            estimate_error: self.estimate_error.with_label_values(&[provider]),
            usage_source: UsageSource::ALL.map(|source| self.usage_source.cell(&[provider, source.name()])),
            unpriced: OnceLock::new(),
            cost_differs: OnceLock::new(),
        };
        Arc::clone(self.shapes.write().entry(key).or_insert(Arc::new(shape)))
    }

    /// Takes the lines that a new combination may need at most.
    fn has_room_for(&self, provider: &str, model: &str) -> bool {
        let is_new = !self.shapes.read().contains_key(&[provider, model].join("\u{1f}"));
        let lines = ROW_LINES + if is_new { SHAPE_LINES } else { 0 };
        self.room.take(lines)
    }

    /// Where `gen_ai.*` take their lines from as well.
    pub(super) fn room(&self) -> Arc<Room> {
        Arc::clone(&self.room)
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn otlp_failures(&self, signal: &str) -> Arc<Cell> {
        self.otlp_failures.cell(&[signal])
    }

    fn begin_at_zero(&self, providers: &[&str]) {
        for provider in providers {
            for source in UsageSource::ALL {
                self.usage_source.cell(&[provider, source.name()]);
            }
            self.unpriced.cell(&[provider, OTHER]);
            self.cost_differs.cell(&[provider, OTHER]);
            for why in LateUnread::ALL {
                self.late_unread.cell(&[provider, why.name()]);
            }
            self.provider_circuit.with_label_values(&[*provider]).set(0.0);
            self.provider_failures.with_label_values(&[*provider]).set(0.0);
            self.provider_key_refused.with_label_values(&[*provider]).set(0.0);
        }
        for kind in RefusalKind::ALL {
            self.refusals.cell(&[kind.name()]);
        }
        for team in self.teams.iter().map(|team| &**team).chain([NONE]) {
            for reason in ["provider_cache", "model_swap"] {
                self.savings.cell(&[team, reason]);
            }
        }
        for signal in ["traces", "metrics"] {
            self.otlp_failures.cell(&[signal]);
        }
        for what in [Reloaded::Catalog, Reloaded::Rules] {
            for result in ["ok", "error"] {
                self.reloads.cell(&[what.name(), result]);
            }
        }
    }
}

impl Row {
    fn requests(&self, requests: &Tally, operation: Operation, outcome: Outcome) -> Arc<Cell> {
        let key = (operation, outcome);
        let found = |known: &[((Operation, Outcome), Arc<Cell>)]| {
            known.iter().find(|(one, _)| *one == key).map(|(_, cell)| Arc::clone(cell))
        };
        if let Some(cell) = found(&self.requests.read()) {
            return cell;
        }
        let [team, project, provider, model] = self.labels.each_ref().map(|label| &**label);
        let cell = requests.cell(&[team, project, provider, model, operation.name(), outcome.name()]);
        let mut known = self.requests.write();
        if let Some(cell) = found(&known) {
            return cell;
        }
        known.push((key, Arc::clone(&cell)));
        cell
    }

    fn labelled<'a>(&'a self, last: &'a str) -> [&'a str; 5] {
        let [team, project, provider, model] = self.labels.each_ref().map(|label| &**label);
        [team, project, provider, model, last]
    }
}

impl Shape {
    fn duration(&self, family: &HistogramVec, stream: bool) -> &Histogram {
        let word = if stream { "true" } else { "false" };
        self.duration[usize::from(stream)]
            .get_or_init(|| family.with_label_values(&[&*self.provider, &*self.model, word]))
    }

    fn first_token(&self, family: &HistogramVec) -> &Histogram {
        self.first_token.get_or_init(|| family.with_label_values(&[&self.provider, &self.model]))
    }

    fn token_interval(&self, family: &HistogramVec) -> &Histogram {
        self.token_interval.get_or_init(|| family.with_label_values(&[&self.provider, &self.model]))
    }

    fn unpriced(&self, family: &Tally) -> &Cell {
        self.unpriced.get_or_init(|| family.cell(&[&self.provider, &self.model]))
    }

    fn cost_differs(&self, family: &Tally) -> &Cell {
        self.cost_differs.get_or_init(|| family.cell(&[&self.provider, &self.model]))
    }
}

/// The label of a caller's team or project.
fn known<'a>(configured: &HashSet<Arc<str>>, overflow: &Cell, value: Option<&'a str>) -> &'a str {
    match value {
        None => NONE,
        Some(value) if configured.contains(value) => value,
        Some(_) => {
            overflow.add(1);
            OTHER
        }
    }
}

fn options(family: &Family) -> Opts {
    Opts::new(family.name, family.help)
}

fn buckets(family: &Family) -> HistogramOpts {
    let bounds = match family.kind {
        Kind::Histogram(bounds) => bounds.to_vec(),
        Kind::Counter | Kind::Money | Kind::Gauge => Vec::new(),
    };
    HistogramOpts::new(family.name, family.help).buckets(bounds)
}

#[expect(clippy::cast_precision_loss, reason = "durations in a histogram")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "a moment as Prometheus writes it")]
fn seconds_of(moment: Timestamp) -> f64 {
    moment.as_micros() as f64 / 1e6
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests;
