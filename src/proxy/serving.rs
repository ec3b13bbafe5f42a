//! The server span of an exchange, made when its response has been written, also when its future is dropped.

use super::Proxy;
use super::client::Session;
use super::exchange::Arrived;
use crate::telemetry::otel::{Arrival, ExchangeTrace};
use std::time::Instant;

/// An exchange under way, of which spans are made.
pub struct Serving<'a> {
    under_way: Option<(&'a Proxy, &'a Arrived)>,
    status: Option<u16>,
}

impl<'a> Serving<'a> {
    pub fn begin(proxy: &'a Proxy, arrived: &'a Arrived) -> Serving<'a> {
        Serving { under_way: arrived.is_sampled().then_some((proxy, arrived)), status: None }
    }

    pub fn ended(mut self, session: &Session) {
        if self.under_way.is_some() {
            self.status = session.status().map(|status| status.as_u16());
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let Some((proxy, arrived)) = self.under_way else { return };
        let Some(trace) = arrived.trace.clone() else { return };
        proxy.telemetry.otel.exchange(ExchangeTrace {
            trace,
            arrival: Arrival { at: arrived.at, started: arrived.started },
            ended: Instant::now(),
            exchange: arrived.id,
            method: arrived.head.method.to_string(),
            operation: arrived.endpoint.operation.name(),
            caller: arrived.caller.clone(),
            status: self.status,
        });
    }
}
