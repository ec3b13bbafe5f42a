//! The table of every metric: name, labels, meaning. A metric that is not here does not exist: the registry is filled
//! from it, and docs/metrics.md, dashboards and alert rules are tested against it.

/// One metric with all its series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Counter,
    /// A counter of pico-dollars, shown in dollars.
    Money,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter | Kind::Money => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// 10 ms to 655 s (OpenTelemetry GenAI: `gen_ai.client.operation.duration`, which ends at 82 s; models think longer).
const DURATION: &[f64] =
    &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36];
const TOKEN_TIME: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28];
const OVERHEAD: &[f64] = &[0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.25, 1.0];
const ERROR_RATIO: &[f64] = &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

macro_rules! families {
    ($($(#[$doc:meta])* $constant:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $($(#[$doc])* pub const $constant: Family =
            Family { name: $name, kind: $kind, labels: &[$($label),*], help: $help };)*
        /// Every metric, in the order of the documentation.
        pub const ALL: &[Family] = &[$($constant),*];
    };
}

families! {
    REQUESTS = Kind::Counter, "farebox_requests_total", ["team", "project", "provider", "model", "operation", "outcome"],
        "Attempts at a provider that ended, by how they ended; whose fault it was comes first: caller_, policy_, provider_, proxy_.";
    REFUSALS = Kind::Counter, "farebox_refusals_total", ["kind"],
        "Requests that Farebox itself answered with an error.";
    REQUESTS_IN_FLIGHT = Kind::Gauge, "farebox_requests_in_flight", [],
        "Requests under way.";
    REQUEST_DURATION = Kind::Histogram(DURATION), "farebox_request_duration_seconds", ["provider", "model", "stream"],
        "From the request's arrival to the response's last byte.";
    FIRST_TOKEN = Kind::Histogram(DURATION), "farebox_time_to_first_token_seconds", ["provider", "model"],
        "From the request's arrival to the first chunk with content; streams only.";
    TOKEN_INTERVAL = Kind::Histogram(TOKEN_TIME), "farebox_time_per_output_token_seconds", ["provider", "model"],
        "Time between output tokens after the first; finished streams whose provider reported its usage.";
    OVERHEAD_DURATION = Kind::Histogram(OVERHEAD), "farebox_proxy_overhead_seconds", ["provider"],
        "Time in Farebox's own hands, not spent waiting for the provider or the client.";
    TOKENS = Kind::Counter, "farebox_tokens_total", ["team", "project", "provider", "model", "type"],
        "Tokens used. The types are disjoint, so they add up: input, cache_read, cache_write, output, reasoning.";
    USAGE_SOURCE = Kind::Counter, "farebox_usage_source_total", ["provider", "source"],
        "Where the counts of good attempts come from: reported, counted, estimated, none.";
    COST = Kind::Money, "farebox_cost_usd_total", ["team", "project", "provider", "model"],
        "List price of what was used. Totals to the cent come from the ledger; this is for pace.";
    SAVINGS = Kind::Money, "farebox_savings_usd_total", ["team", "reason"],
        "List price that was not paid: provider_cache (cache reads against the input's rate), model_swap (against the model asked for).";
    ESTIMATE_ERROR = Kind::Histogram(ERROR_RATIO), "farebox_cost_estimate_error_ratio", ["provider"],
        "How far the estimate before a call was from its cost: |estimate - cost| / cost.";
    UNPRICED = Kind::Counter, "farebox_unpriced_requests_total", ["provider", "model"],
        "Attempts for which no price is known: their cost is in no sum. A model that is not in the catalog is `other`.";
    COST_DIFFERS = Kind::Counter, "farebox_provider_cost_differs_total", ["provider", "model"],
        "Calls whose cost as the provider itself reports it is more than 1 % from ours; the ledger keeps both (`provider_cost_usd`).";
    LATE_UNREAD = Kind::Counter, "farebox_late_results_unread_total", ["provider", "why"],
        "Results of background work and batches that were passed on and could not be booked: no_usage (the provider reports none), too_large (more than 16 MiB as one JSON document), unread (its encoding is not known, or broken).";
    BUDGET_LIMIT = Kind::Gauge, "farebox_budget_limit_usd", ["budget", "scope", "window"],
        "The limit in force of a budget in dollars; of each of its instances (`for_each`), at most the 300 used most.";
    BUDGET_SPENT = Kind::Gauge, "farebox_budget_spent_usd", ["budget", "scope", "window"],
        "Spent in the current window, from the ledger; falls when a window begins or money is given back.";
    BUDGET_HELD = Kind::Gauge, "farebox_budget_held_usd", ["budget", "scope", "window"],
        "Held for calls under way.";
    BUDGET_WINDOW_START = Kind::Gauge, "farebox_budget_window_start_timestamp_seconds", ["budget", "scope", "window"],
        "Since when spending counts against the limit.";
    BUDGET_WINDOW_END = Kind::Gauge, "farebox_budget_window_end_timestamp_seconds", ["budget", "scope", "window"],
        "When the window ends; none for a lifetime.";
    BUDGET_CHARGED = Kind::Money, "farebox_budget_charged_usd_total", ["budget", "scope", "window"],
        "Charged since the budget was first shown by this process, over all windows; never falls, so it is what `rate()` is for.";
    BUDGET_THRESHOLD = Kind::Gauge, "farebox_budget_threshold_ratio", ["budget", "scope", "window", "threshold"],
        "The thresholds of the rules file, as a share of the limit; `threshold` in percent.";
    ALERTS_WAITING = Kind::Gauge, "farebox_alert_deliveries_waiting", [],
        "Messages to receivers (`alerts.receivers`) that passed thresholds owe and that were not delivered yet.";
    ALERT_DELIVERIES = Kind::Counter, "farebox_alert_deliveries_total", ["receiver", "result"],
        "Attempts to tell a receiver of a passed threshold: delivered, failed (tried again), given_up. `other` is not configured.";
    RULE_DECISIONS = Kind::Counter, "farebox_rule_decisions_total", ["rule", "action"],
        "Requests that a rule changed, warned of or refused, or that a budget had no room for (`rule` is its name, `action` block): warn, swap, clamp, reroute, limit, block.";
    MODEL_SWAPS = Kind::Counter, "farebox_model_swaps_total", ["rule", "team", "from_model", "to_model"],
        "Requests whose model a rule rewrote.";
    PROVIDER_CIRCUIT = Kind::Gauge, "farebox_provider_circuit_state", ["provider"],
        "0 closed (well), 1 half open (being tried again), 2 open (not asked for now).";
    PROVIDER_FAILURES = Kind::Gauge, "farebox_provider_failures_in_a_row", ["provider"],
        "Failed attempts since the last good one.";
    PROVIDER_KEY_REFUSED = Kind::Gauge, "farebox_provider_key_refused", ["provider"],
        "Calls fail: 1 while the provider's last answer to a call with any of Farebox's own keys was 401, 402 or 403. Callers' own keys do not count.";
    PROVIDER_KEY_STATE = Kind::Gauge, "farebox_provider_key_state", ["provider", "key", "state"],
        "A key is out of use, and calls may go on with another: 1 for the state that one of Farebox's own keys is in: valid, cooling (429), invalid (401, or 403 again and again), expired; 0 for the others. `configured` is the configuration's.";
    LEDGER_ACCEPTING = Kind::Gauge, "farebox_ledger_accepting", [],
        "1 while the ledger admits requests.";
    LEDGER_STORE_FAULTY = Kind::Gauge, "farebox_ledger_store_faulty", [],
        "1 while the store does not take events; they wait in the journal.";
    LEDGER_QUEUE = Kind::Gauge, "farebox_ledger_queue_entries", [],
        "Settled events that are not yet in the store.";
    LEDGER_QUEUE_CAPACITY = Kind::Gauge, "farebox_ledger_queue_capacity_entries", [],
        "Beyond so many waiting events new calls wait (`ledger.backlog_events_max`).";
    LEDGER_LAST_COMMIT = Kind::Gauge, "farebox_ledger_last_commit_timestamp_seconds", [],
        "When the store last committed.";
    LEDGER_SYNC_AGE = Kind::Gauge, "farebox_ledger_last_sync_age_seconds", [],
        "How long ago the journal was last synced to disk.";
    LEDGER_LOST = Kind::Counter, "farebox_ledger_lost_entries_total", [],
        "Events that had no place to go. Stays 0 unless `ledger.on_failure` is `pass`.";
    LEDGER_UNJOURNALLED = Kind::Counter, "farebox_ledger_unjournalled_calls_total", [],
        "Calls let through although the ledger was away (`ledger.on_failure: pass`).";
    LEDGER_OVERRUNS = Kind::Counter, "farebox_ledger_overruns_total", [],
        "Calls that cost more than was held for them; booked in full.";
    CATALOG_MODELS = Kind::Gauge, "farebox_price_catalog_models", [],
        "Models in the catalog.";
    CATALOG_UPDATED = Kind::Gauge, "farebox_price_catalog_updated_timestamp_seconds", [],
        "The catalog's date: prices are as of then.";
    RULES_IN_FORCE = Kind::Gauge, "farebox_rules_in_force", [],
        "Rules and budgets in force.";
    RELOAD_SUCCESSFUL = Kind::Gauge, "farebox_config_last_reload_successful", ["what"],
        "1 if what is on disk is what is in force; 0 after a reload that failed.";
    RELOAD_TIME = Kind::Gauge, "farebox_config_last_reload_success_timestamp_seconds", ["what"],
        "When the catalog or the rules last took effect.";
    RELOADS = Kind::Counter, "farebox_config_reloads_total", ["what", "result"],
        "Reloads of the catalog and of the rules.";
    LABEL_OVERFLOW = Kind::Counter, "farebox_metric_label_overflow_total", ["label"],
        "Attempts counted under `other` because a value is not configured (`metrics.teams`, `metrics.projects`) or there would be too many series (`metrics.series_max`).";
    LOG_LINES_DROPPED = Kind::Counter, "farebox_log_lines_dropped_total", [],
        "Log lines lost because the log's reader is too slow.";
    OTLP_FAILURES = Kind::Counter, "farebox_otlp_export_failures_total", ["signal"],
        "Batches that an OpenTelemetry collector did not take: traces, metrics. Spans of such a batch are lost; metrics are sent again with the next.";
    TELEMETRY_DROPPED = Kind::Counter, "farebox_telemetry_dropped_total", ["what"],
        "What had no room to wait: spans (the collector is slower than they are made), notes (of calls that are in no trace and no `gen_ai_*` metric); and faults (calls whose telling broke down).";
    BUILD_INFO = Kind::Gauge, "farebox_build_info", ["version"],
        "Always 1; which build runs.";
    PROCESS_CPU = Kind::Counter, "process_cpu_seconds_total", [],
        "User and system processor time.";
    PROCESS_MEMORY = Kind::Gauge, "process_resident_memory_bytes", [],
        "Resident memory.";
    PROCESS_FILES = Kind::Gauge, "process_open_fds", [],
        "Open file descriptors.";
    PROCESS_FILES_MAX = Kind::Gauge, "process_max_fds", [],
        "File descriptors that may be open.";
    PROCESS_START = Kind::Gauge, "process_start_time_seconds", [],
        "When the process started.";
}

/// The table as docs/metrics.md shows it.
pub fn markdown() -> String {
    let row = |family: &Family| {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |\n", family.name, family.kind.name(), labels.join(", "), family.help)
    };
    let rows: String = ALL.iter().map(row).collect();
    format!("| metric | type | labels | meaning |\n|---|---|---|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_shows_the_table_as_it_is() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
        assert!(text.contains(&markdown()), "docs/metrics.md must hold:\n\n{}", markdown());
    }

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for Family { name, kind, labels, help } in ALL {
            assert!(name.starts_with("farebox_") || name.starts_with("process_"), "{name}");
            let counts = matches!(kind, Kind::Counter | Kind::Money);
            assert_eq!(counts, name.ends_with("_total"), "{name}");
            assert!(!labels.contains(&"le") && !labels.contains(&"job") && !labels.contains(&"instance"), "{name}");
            assert!(help.ends_with('.') || help.ends_with('`'), "{name}: {help}");
        }
        let mut names: Vec<&str> = ALL.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
