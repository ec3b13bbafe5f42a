//! The log: one line per attempt that reads alone, written by a thread of its own so that no request waits for a slow
//! terminal. Keys, bodies and queries never get here.

use super::Beside;
use crate::catalog::Pricing;
use crate::event::Event;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tracing_subscriber::filter::EnvFilter;

/// Lines that may wait for the writer; beyond it they are dropped and counted.
const QUEUE_LINES_MAX: usize = 16_384;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Json,
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// `info`, or a filter such as `farebox=debug,pingora_core=warn`.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

/// The writer of exchange lines. Dropped, it writes what waits and ends.
pub struct Log {
    queue: Option<SyncSender<(Arc<Event>, Beside)>>,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Starts the writer (stderr) and installs the subscriber for all other messages.
    pub fn start(settings: &LogSettings) -> Log {
        let json = match settings.format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !std::io::IsTerminal::is_terminal(&std::io::stderr()),
        };
        install(settings, json);
        let exchanges =
            EnvFilter::new(&settings.level).max_level_hint().is_none_or(|level| level >= tracing::Level::INFO);
        if !exchanges {
            return Log { queue: None, writer: None };
        }
        let (queue, lines) = sync_channel(QUEUE_LINES_MAX);
        let writer = std::thread::Builder::new().name("log".to_owned()).spawn(move || write_lines(&lines, json));
        Log { queue: Some(queue), writer: writer.ok() }
    }

    /// A log that says nothing, for tests and tools.
    pub fn silent() -> Log {
        Log { queue: None, writer: None }
    }

    /// False when the line was dropped.
    pub(super) fn exchange(&self, event: Arc<Event>, beside: Beside) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.try_send((event, beside)).is_ok())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn install(settings: &LogSettings, json: bool) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    } else {
        builder.compact().try_init()
    };
}

fn write_lines(lines: &Receiver<(Arc<Event>, Beside)>, json: bool) {
    let mut batch = String::new();
    while let Ok(first) = lines.recv() {
        batch.clear();
        for (event, beside) in std::iter::once(first).chain(lines.try_iter().take(512)) {
            if json {
                batch.push_str(&as_json(&event, &beside).to_string());
            } else {
                batch.push_str(&as_text(&event));
            }
            batch.push('\n');
        }
        let _ = std::io::stderr().lock().write_all(batch.as_bytes());
    }
}

fn as_json(event: &Event, beside: &Beside) -> Value {
    let (opening, closing) = (&event.opening, &event.closing);
    let usage = &closing.usage;
    json!({
        "timestamp": closing.ended_at.to_rfc3339(),
        "level": "INFO",
        "message": "exchange",
        "exchange_id": opening.exchange.to_string(),
        "attempt": opening.attempt,
        "outcome": closing.outcome.name(),
        "status": closing.status,
        "provider": opening.provider,
        "dialect": opening.dialect.name(),
        "operation": opening.operation.name(),
        "requested_model": opening.requested_model,
        "upstream_model": opening.upstream_model,
        "response_model": closing.response_model,
        "stream": opening.stream,
        "complete": closing.complete,
        "input_tokens": usage.input_tokens(),
        "cache_read_input_tokens": usage.cache_read_input_tokens(),
        "output_tokens": usage.output_tokens(),
        "reasoning_output_tokens": usage.reasoning_output_tokens(),
        "usage_source": closing.usage_source.name(),
        "cost_usd": cost_text(event),
        "pricing": pricing_word(&closing.pricing),
        "estimated_cost_usd": opening.estimate.map(|usd| usd.to_string()),
        "ceiling_cost_usd": opening.ceiling.map(|usd| usd.to_string()),
        "decision": opening.decision,
        "rule": opening.rule,
        "team": opening.caller.team,
        "project": opening.caller.project,
        "key": opening.caller.key,
        "client": beside.client,
        "client_request_id": opening.client_request_id,
        "provider_request_id": closing.provider_request_id,
        "exchange_duration_ms": closing.ended_at.micros_since(opening.started_at) / 1_000,
        "time_to_first_token_ms": closing.first_token_micros.map(|micros| micros / 1_000),
        "upstream_duration_ms": closing.upstream_micros.map(|micros| micros / 1_000),
        "overhead_duration_us": closing.overhead_micros,
        "detail": beside.detail,
    })
}

fn as_text(event: &Event) -> String {
    let (opening, closing) = (&event.opening, &event.closing);
    let model = opening.upstream_model.as_deref().unwrap_or("-");
    let status = closing.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    format!(
        "{} {status} {:<12} {}/{model} in {} out {} ({}) {} {} ms {}",
        closing.ended_at.to_rfc3339(),
        opening.operation.name(),
        opening.provider,
        closing.usage.input_tokens(),
        closing.usage.output_tokens(),
        closing.usage_source.name(),
        cost_text(event).map_or_else(|| pricing_word(&closing.pricing).to_owned(), |usd| format!("${usd}")),
        closing.ended_at.micros_since(opening.started_at) / 1_000,
        closing.outcome.name(),
    )
}

fn cost_text(event: &Event) -> Option<String> {
    match &event.closing.pricing {
        Pricing::Priced(cost) => Some(cost.total.to_string()),
        Pricing::Unpriced(_) | Pricing::Unmetered => None,
    }
}

fn pricing_word(pricing: &Pricing) -> &'static str {
    match pricing {
        Pricing::Priced(_) => "priced",
        Pricing::Unpriced(_) => "unpriced",
        Pricing::Unmetered => "unmetered",
    }
}
