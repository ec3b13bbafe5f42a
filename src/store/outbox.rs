//! The outbox of alerts: who is to be told of which, and whether he was. An alert is recorded exactly once, by whom it
//! passed (`budgets::tell`), and delivered at least once: a delivery that was begun is tried again unless its end is
//! noted here.
//!
//! *Invariant:* an alert is queued for all of its receivers in one transaction, or not at all.

use super::alerts::{ALERTS, alert};
use super::budgets::{Alert, key};
use super::{FILE_NAME, StoreError, saturate, schema, write_transaction};
use crate::clock::Timestamp;
use rusqlite::{Connection, params};
use std::path::Path;
use std::sync::Arc;

/// Alerts that are queued, and deliveries that are taken, in one transaction.
const AT_ONCE: usize = 100;

/// The outbox, on a connection of its own.
#[derive(Debug)]
pub struct Outbox {
    connection: Connection,
}

/// One alert for one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub alert: Alert,
    pub receiver: Arc<str>,
    /// Those before this one.
    pub attempts: u32,
}

/// How a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryState {
    pub receiver: Arc<str>,
    pub attempts: u32,
    pub delivered_at: Option<Timestamp>,
    /// `None`: delivered, or given up.
    pub next_at: Option<Timestamp>,
    pub error: Option<Arc<str>>,
}

impl Outbox {
    /// Opens the outbox of a ledger that [`super::Store::open`] has opened before.
    pub fn open(data_dir: &Path, now: Timestamp) -> Result<Outbox, StoreError> {
        Ok(Outbox { connection: schema::open_for_writing(&data_dir.join(FILE_NAME), now)? })
    }

    /// Queues alerts that nobody looked at yet, each for the receivers of its budget. Gives how many there were.
    pub fn queue(
        &mut self,
        receivers_of: &dyn Fn(&Alert) -> Vec<Arc<str>>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.queue_unqueued(receivers_of, now).map_err(StoreError::sqlite("queue alerts"))
    }

    /// What is due now. It is not due again before `again_at`: a process that dies meanwhile leaves it to the next one.
    pub fn take_due(&mut self, now: Timestamp, again_at: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        self.take(now, again_at).map_err(StoreError::sqlite("take due alerts"))
    }

    /// When the next delivery is due; `None`: none is.
    pub fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        let next = self.connection.query_row("SELECT min(next_us) FROM alert_deliveries", [], |row| row.get(0));
        next.map(|next: Option<i64>| next.map(Timestamp)).map_err(StoreError::sqlite("look for due alerts"))
    }

    /// Deliveries that are still to be made.
    pub fn waiting(&self) -> Result<u32, StoreError> {
        self.connection
            .prepare_cached("SELECT count(*) FROM alert_deliveries WHERE next_us IS NOT NULL")
            .and_then(|mut count| count.query_row([], |row| row.get(0)))
            .map_err(StoreError::sqlite("count waiting alerts"))
    }

    pub fn delivered(&self, delivery: &Delivery, now: Timestamp) -> Result<(), StoreError> {
        self.note(delivery, "delivered_us = ?4, next_us = NULL, error = NULL", Some(now), None)
    }

    /// It could not be delivered. `next`: when it is tried again; `None`: never.
    pub fn failed(&self, delivery: &Delivery, why: &str, next: Option<Timestamp>) -> Result<(), StoreError> {
        self.note(delivery, "next_us = ?4, error = ?5", next, Some(why))
    }

    fn note(
        &self,
        Delivery { alert, receiver, .. }: &Delivery,
        what: &str,
        at: Option<Timestamp>,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE alert_deliveries SET {what}, attempts = attempts + 1
             WHERE account = ?1 AND threshold = ?2 AND receiver = ?3 AND ?5 IS ?5"
        );
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut note| {
                let at = at.map(Timestamp::as_micros);
                note.execute(params![key(alert.account), alert.threshold.0, &**receiver, at, why])
            })
            .map(drop)
            .map_err(StoreError::sqlite("note a delivery"))
    }

    fn queue_unqueued(
        &mut self,
        receivers_of: &dyn Fn(&Alert) -> Vec<Arc<str>>,
        now: Timestamp,
    ) -> rusqlite::Result<usize> {
        let is_none: bool = self.connection.query_row(
            "SELECT NOT EXISTS (SELECT 1 FROM budget_alerts WHERE queued_us IS NULL)",
            [],
            |row| row.get(0),
        )?;
        if is_none {
            return Ok(0);
        }
        let transaction = write_transaction(&mut self.connection)?;
        let unqueued: Vec<Alert> = transaction
            .prepare_cached(&format!("{ALERTS} WHERE t.queued_us IS NULL LIMIT {AT_ONCE}"))?
            .query_map([], alert)?
            .collect::<rusqlite::Result<_>>()?;
        for alert in &unqueued {
            for receiver in receivers_of(alert) {
                transaction
                    .prepare_cached(
                        "INSERT INTO alert_deliveries (account, threshold, receiver, next_us) VALUES (?1, ?2, ?3, ?4)
                         ON CONFLICT DO NOTHING",
                    )?
                    .execute(params![key(alert.account), alert.threshold.0, &*receiver, now.as_micros()])?;
            }
            transaction
                .prepare_cached("UPDATE budget_alerts SET queued_us = ?3 WHERE account = ?1 AND threshold = ?2")?
                .execute(params![key(alert.account), alert.threshold.0, now.as_micros()])?;
        }
        transaction.commit()?;
        Ok(unqueued.len())
    }

    fn take(&mut self, now: Timestamp, again_at: Timestamp) -> rusqlite::Result<Vec<Delivery>> {
        let transaction = write_transaction(&mut self.connection)?;
        let sql = format!(
            "{} JOIN alert_deliveries AS d ON d.account = t.account AND d.threshold = t.threshold
             WHERE d.next_us <= ?1 ORDER BY d.next_us LIMIT {AT_ONCE}",
            ALERTS.replacen(" FROM budget_alerts", ", d.receiver, d.attempts FROM budget_alerts", 1)
        );
        let due: Vec<Delivery> = transaction
            .prepare_cached(&sql)?
            .query_map([now.as_micros()], |row| {
                let receiver: String = row.get(13)?;
                Ok(Delivery { alert: alert(row)?, receiver: receiver.into(), attempts: row.get(14)? })
            })?
            .collect::<rusqlite::Result<_>>()?;
        for Delivery { alert, receiver, .. } in &due {
            transaction
                .prepare_cached(
                    "UPDATE alert_deliveries SET next_us = ?4 WHERE account = ?1 AND threshold = ?2 AND receiver = ?3",
                )?
                .execute(params![key(alert.account), alert.threshold.0, &**receiver, again_at.as_micros()])?;
        }
        transaction.commit()?;
        Ok(due)
    }
}

impl super::Reader {
    /// Who was told of an alert, or is to be.
    pub fn deliveries(&self, of: &Alert) -> Result<Vec<DeliveryState>, StoreError> {
        let reading = StoreError::sqlite("read deliveries of an alert");
        self.with(|connection| states(connection, of).map_err(&reading))
    }
}

fn states(connection: &Connection, of: &Alert) -> rusqlite::Result<Vec<DeliveryState>> {
    let mut read = connection.prepare_cached(
        "SELECT receiver, attempts, delivered_us, next_us, error FROM alert_deliveries
         WHERE account = ?1 AND threshold = ?2 ORDER BY receiver",
    )?;
    let rows = read.query_map(params![key(of.account), saturate(of.threshold.0.into())], |row| {
        let text = |place| row.get::<_, Option<String>>(place).map(|text| text.map(Arc::from));
        Ok(DeliveryState {
            receiver: row.get::<_, String>(0)?.into(),
            attempts: row.get(1)?,
            delivered_at: row.get::<_, Option<i64>>(2)?.map(Timestamp),
            next_at: row.get::<_, Option<i64>>(3)?.map(Timestamp),
            error: text(4)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{NOON, call, daily, later, open_accounts};
    use crate::store::{AlertQuery, JournalPosition, Reader, Store};

    fn ledger() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        let (day, quiet) = (daily("day", "", 1_000), daily("quiet", "", 1_000));
        open_accounts(dir.path(), &[&day, &quiet]);
        let event = call(NOON, 0).charged_to(&day, 900).charged_to(&quiet, 600);
        store.fold(1, &[event], JournalPosition { segment: 1, offset: 1 }).unwrap();
        (dir, store)
    }

    fn of_day(alert: &Alert) -> Vec<Arc<str>> {
        if &*alert.budget == "day" { vec!["finops".into(), "pager".into()] } else { Vec::new() }
    }

    #[test]
    fn each_alert_is_queued_once_for_each_receiver_and_is_due_until_it_is_taken() {
        let (dir, _store) = ledger();
        let mut outbox = Outbox::open(dir.path(), NOON).unwrap();
        assert_eq!(outbox.queue(&of_day, NOON).unwrap(), 3, "50 % and 80 % of one, 50 % of the other");
        assert_eq!(outbox.queue(&of_day, NOON).unwrap(), 0);
        let due = outbox.take_due(NOON, later(60)).unwrap();
        let mut told: Vec<_> = due.iter().map(|due| (&*due.receiver, due.alert.threshold.0)).collect();
        told.sort_unstable();
        assert_eq!(told, [("finops", 5_000), ("finops", 8_000), ("pager", 5_000), ("pager", 8_000)]);
        assert_eq!(outbox.take_due(later(59), later(99)).unwrap(), [], "somebody is at it");
        outbox.delivered(&due[0], later(1)).unwrap();
        outbox.failed(&due[1], "closed", Some(later(30))).unwrap();
        outbox.failed(&due[2], "closed", None).unwrap();
        assert_eq!(outbox.next_due().unwrap(), Some(later(30)));
        let mut second = Outbox::open(dir.path(), later(60)).unwrap();
        let again = second.take_due(later(60), later(120)).unwrap();
        let mut again: Vec<_> =
            again.iter().map(|due| (due.receiver.clone(), due.alert.threshold, due.attempts)).collect();
        let mut expected = vec![
            (due[1].receiver.clone(), due[1].alert.threshold, 1),
            // Its process died while it was at it.
            (due[3].receiver.clone(), due[3].alert.threshold, 0),
        ];
        again.sort();
        expected.sort();
        assert_eq!(again, expected);
        let reader = Reader::open(dir.path()).unwrap();
        let alerts = reader.budget_alerts(&AlertQuery::default()).unwrap();
        let states: Vec<_> = alerts.iter().flat_map(|alert| reader.deliveries(alert).unwrap()).collect();
        assert_eq!(states.iter().filter(|state| state.delivered_at == Some(later(1))).count(), 1);
        assert!(states.iter().any(|state| state.error.as_deref() == Some("closed") && state.next_at.is_none()));
    }
}
