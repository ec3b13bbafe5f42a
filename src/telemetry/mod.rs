//! Log lines and metrics. One emit an exchange: [`Telemetry::settled`] feeds both.

mod line;
pub mod log;
pub mod metrics;

pub use log::{Log, LogFormat, LogSettings};
pub use metrics::Metrics;

use crate::event::Event;
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
        self.metrics.settled(event, beside.model_label.as_deref());
        if !self.log.exchange(Arc::clone(event), beside) {
            self.metrics.log_lines_dropped.inc();
        }
    }
}
