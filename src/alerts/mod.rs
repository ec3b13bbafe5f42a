//! Telling people: alerts of budgets go from the store's outbox to Slack and to webhooks. An alert is recorded exactly
//! once and delivered at least once, under an id that stays the same, so that a receiver can tell a repetition.
//!
//! E-mail and paging are Alertmanager's: it has the same thresholds as series (docs/decisions/0010).

mod message;
mod outgoing;
mod send;

use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;
use crate::store::{Alert, Delivery, Outbox, StoreError};
use crate::telemetry::Telemetry;
use crate::telemetry::alerts::Told;
pub use outgoing::Outgoing;
use send::{Failed, Sender};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks for alerts that were passed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A delivery that a process has taken is left to it for so long.
const TAKEN_FOR: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// With the pauses above, about two days; then a receiver is not told of this alert any more.
const ATTEMPTS_MAX: u32 = 60;

/// Whom the rules' `receivers:` name.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub receivers: Vec<Receiver>,
}

#[derive(Clone, Debug)]
pub struct Receiver {
    pub name: Arc<str>,
    pub way: Way,
    /// What leads to it; `None`: straight out.
    pub egress: Option<Egress>,
}

/// A proxy that is asked to CONNECT.
#[derive(Clone, Debug)]
pub struct Egress {
    pub host: String,
    pub port: u16,
    /// `user:password`
    pub credentials: Option<Secret<String>>,
}

#[derive(Clone, Debug)]
pub enum Way {
    /// An incoming webhook of Slack, or of whoever takes the same `{"text": …}` (Mattermost, Discord's `/slack`).
    Slack { url: Secret<String> },
    /// Our own JSON.
    Webhook { url: Secret<String>, token: Option<Secret<String>> },
}

/// Delivers what is due, until its future is dropped.
pub struct Postman {
    outbox: Outbox,
    settings: Settings,
    sender: Sender,
    clock: Arc<dyn Clock>,
    telemetry: Arc<Telemetry>,
    /// The store's last failure, told once.
    failing: bool,
}

impl Postman {
    pub fn new(
        settings: Settings,
        data_dir: &Path,
        clock: Arc<dyn Clock>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Postman, StoreError> {
        let outbox = Outbox::open(data_dir, clock.now())?;
        telemetry.metrics.alerts.begin_at_zero(settings.receivers.iter().map(|receiver| &*receiver.name));
        telemetry.metrics.alerts.waiting(outbox.waiting()?);
        Ok(Postman { outbox, settings, sender: Sender::default(), clock, telemetry, failing: false })
    }

    /// `receivers_of`: by the rules in force.
    pub async fn run(mut self, receivers_of: impl Fn(&Alert) -> Vec<Arc<str>> + Send + Sync) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let done = self.round(&receivers_of).await;
            if let (Err(error), false) = (&done, self.failing) {
                tracing::error!(%error, "alerts wait in the outbox");
            }
            self.failing = done.is_err();
        }
    }

    async fn round(
        &mut self,
        receivers_of: &(impl Fn(&Alert) -> Vec<Arc<str>> + Send + Sync),
    ) -> Result<(), StoreError> {
        let now = self.clock.now();
        let queued = self.outbox.queue(receivers_of, now)?;
        if queued == 0 && self.outbox.next_due()?.is_none_or(|due| due > now) {
            return Ok(());
        }
        for delivery in self.outbox.take_due(now, later(now, TAKEN_FOR))? {
            // As long as a receiver is slow, the number is true.
            self.telemetry.metrics.alerts.waiting(self.outbox.waiting()?);
            self.deliver(&delivery).await?;
        }
        self.telemetry.metrics.alerts.waiting(self.outbox.waiting()?);
        Ok(())
    }

    async fn deliver(&mut self, delivery: &Delivery) -> Result<(), StoreError> {
        let Delivery { alert, receiver, attempts } = delivery;
        let known = self.settings.receivers.iter().find(|known| known.name == *receiver);
        let sent = match known {
            Some(known) => self.sender.send(known, alert).await,
            None => Err(Failed::gone("no receiver of this name is configured under `alerts.receivers`")),
        };
        let now = self.clock.now();
        let id = message::id(alert);
        let known = known.map(|known| &*known.name);
        let counted = &self.telemetry.metrics.alerts;
        let Failed { why, again } = match sent {
            Ok(()) => {
                counted.told(known, Told::Delivered);
                tracing::info!(alert = id, receiver = &**receiver, attempts = attempts + 1, "an alert was delivered");
                return self.outbox.delivered(delivery, now);
            }
            Err(failed) => failed,
        };
        let next = (again && attempts + 1 < ATTEMPTS_MAX).then(|| later(now, pause(*attempts)));
        counted.told(known, if next.is_some() { Told::Failed } else { Told::GivenUp });
        match next {
            Some(_) => {
                tracing::warn!(alert = id, receiver = &**receiver, attempts = attempts + 1, why, "not delivered")
            }
            None => tracing::error!(alert = id, receiver = &**receiver, why, "an alert will not be delivered"),
        }
        self.outbox.failed(delivery, &why, next)
    }
}

/// Twice as long after each attempt.
fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(16)).min(PAUSE_MAX)
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    Timestamp(now.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_end_after_two_days() {
        assert_eq!([0, 1, 2].map(|attempts| pause(attempts).as_secs()), [2, 4, 8]);
        assert_eq!(pause(40), PAUSE_MAX);
        let all: Duration = (0..ATTEMPTS_MAX).map(pause).sum();
        assert!(all > Duration::from_secs(2 * 86_400 - 7_200) && all < Duration::from_secs(3 * 86_400), "{all:?}");
    }
}
