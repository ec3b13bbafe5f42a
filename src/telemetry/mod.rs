//! Log lines and metrics. One emit an exchange: [`Telemetry::settled`] feeds both.

pub mod budgets;
mod line;
pub mod log;
pub mod metrics;
pub mod names;
mod process;
pub mod series;

pub use log::{Log, LogFormat, LogSettings};
pub use metrics::{Corrected, Metrics, MetricsSettings, Reloaded};

use crate::event::Event;
use crate::money::Usd;
use std::sync::Arc;

/// What an attempt's event does not hold, but its log line and metrics show.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    /// The catalog's name of the model: the metric label; `None` becomes `other`.
    pub model_label: Option<Arc<str>>,
    /// The client's address, behind trusted proxies the forwarded one.
    pub client: Option<Arc<str>>,
    /// What went wrong inward, for the operator; nothing secret.
    pub detail: Option<Arc<str>>,
    /// List price of the same usage at the model asked for, less the cost: what a swap saved.
    pub saved_by_swap: Option<Usd>,
}

/// Where everything that happens is told.
pub struct Telemetry {
    pub metrics: Metrics,
    log: Log,
}

impl Telemetry {
    pub fn new(metrics: Metrics, log: Log) -> Self {
        Telemetry { metrics, log }
    }

    /// An attempt was settled.
    pub fn settled(&self, event: &Arc<Event>, beside: Beside) {
        self.metrics.settled(event, &beside);
        if !self.log.exchange(Arc::clone(event), beside) {
            self.metrics.log_lines_dropped.add(1);
        }
    }
}
