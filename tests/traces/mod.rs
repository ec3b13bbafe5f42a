//! What a collector of traces and metrics is sent, and that a bad one costs a call nothing.

mod collectors;
mod spans;

use crate::support::collector::Collector;
use crate::support::shop;
use crate::support::shop::Furnishing;

/// A Farebox that sends to this collector, soon.
fn traced(to: &Collector) -> Furnishing {
    shop()
        .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", &to.url)
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "20")
        .with_variable("OTEL_METRIC_EXPORT_INTERVAL", "50")
}
