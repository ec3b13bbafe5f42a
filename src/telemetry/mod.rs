//! Log lines, metrics and traces. One emit an attempt: [`Telemetry::settled`] feeds them all.

pub mod alerts;
pub mod budgets;
mod late;
mod line;
pub mod log;
pub mod metrics;
pub mod names;
pub mod otel;
mod process;
mod room;
pub mod series;

pub use late::{Corrected, LateUnread};
pub use log::{Log, LogFormat, LogSettings};
pub use metrics::{Metrics, MetricsSettings, Reloaded};
pub use otel::Otel;

use crate::event::Event;
use crate::money::Usd;
use otel::AttemptTrace;
use std::net::IpAddr;
use std::sync::Arc;

/// What an attempt's event does not hold, but its log line and metrics show.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The catalog's name of the model: the metric label; `None` becomes `other`.
    pub model_label: Option<Arc<str>>,
    /// The client's address, behind trusted proxies the forwarded one.
    pub client: Option<IpAddr>,
    /// What went wrong inward, for the operator; nothing secret.
    pub detail: Option<Arc<str>>,
    /// List price of the same usage at the model asked for, less the cost: what a swap saved.
    pub saved_by_swap: Option<Usd>,
    /// Its place in a trace, where there is one.
    pub trace: Option<Box<AttemptTrace>>,
}

/// Where everything that happens is told.
pub struct Telemetry {
    pub metrics: Metrics,
    pub otel: Otel,
    log: Log,
}

impl Telemetry {
    pub fn new(metrics: Metrics, otel: Otel, log: Log) -> Self {
        Telemetry { metrics, otel, log }
    }

    /// What a scrape is answered.
    pub fn exposition(&self) -> String {
        self.otel.catch_up();
        self.metrics.text()
    }

    /// An attempt was settled.
    pub fn settled(&self, event: &Arc<Event>, beside: Beside) {
        self.metrics.settled(event, &beside);
        self.otel.attempt(event, &beside);
        if !self.log.exchange(Arc::clone(event), beside) {
            self.metrics.log_lines_dropped.add(1);
        }
    }
}
