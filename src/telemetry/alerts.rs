//! Alerts of budgets on their way to their receivers.

use super::series::Tally;
use prometheus::Gauge;

/// What became of an attempt to tell a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Delivered,
    /// It is tried again.
    Failed,
    /// It is not tried again.
    GivenUp,
}

impl Told {
    const ALL: [Told; 3] = [Told::Delivered, Told::Failed, Told::GivenUp];

    fn name(self) -> &'static str {
        match self {
            Told::Delivered => "delivered",
            Told::Failed => "failed",
            Told::GivenUp => "given_up",
        }
    }
}

pub struct Alerts {
    waiting: Gauge,
    deliveries: Tally,
}

impl Alerts {
    pub(super) fn new(waiting: Gauge, deliveries: Tally) -> Alerts {
        Alerts { waiting, deliveries }
    }

    /// These receivers are configured: their series begin at zero.
    pub fn begin_at_zero<'a>(&self, receivers: impl Iterator<Item = &'a str>) {
        for receiver in receivers.chain([super::metrics::OTHER]) {
            Told::ALL.into_iter().for_each(|told| self.deliveries.add(&[receiver, told.name()], 0));
        }
    }

    /// `None`: a receiver that is not configured.
    pub fn told(&self, receiver: Option<&str>, told: Told) {
        self.deliveries.add(&[receiver.unwrap_or(super::metrics::OTHER), told.name()], 1);
    }

    /// So many deliveries are still to be made.
    pub fn waiting(&self, deliveries: u32) {
        self.waiting.set(f64::from(deliveries));
    }
}
