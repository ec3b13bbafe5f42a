//! Reading budgets beside the writer: how accounts stand, which thresholds were passed; and noting that a person knows.

use super::budgets::{self, Account, Alert, amount, id_of, key, signed};
use super::names::NameKind;
use super::{ChangeError, Changes, FILE_NAME, Reader, StoreError, saturate, schema};
use crate::budget::account::{BudgetId, Unit};
use crate::budget::{BasisPoints, Hardness};
use crate::clock::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// How an account stands in the store. What is held, and used but not folded yet, is part of what is leased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetAccount {
    pub account: BudgetId,
    pub budget: Arc<str>,
    pub scope: Arc<str>,
    pub unit: Unit,
    pub hardness: Hardness,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    /// Before `window_start`: one bucket of a rolling window.
    pub counts_from: Timestamp,
    pub limit: u128,
    pub settled: u128,
    /// What running processes may still spend without asking.
    pub leased: u128,
}

/// Which accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountQuery {
    pub budget: Option<Arc<str>>,
    pub scope: Option<Arc<str>>,
    /// Only those whose spending counts at this moment.
    pub at: Option<Timestamp>,
    /// The last account of the page before.
    pub after: Option<BudgetId>,
    /// 0: all of them.
    pub limit: usize,
}

/// Which alerts, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertQuery {
    pub budget: Option<Arc<str>>,
    /// `None`: known to a person or not.
    pub acknowledged: Option<bool>,
    /// Only those told before this moment.
    pub before: Option<Timestamp>,
    /// 0: all of them.
    pub limit: usize,
}

impl Reader {
    /// Budgets' accounts by id.
    pub fn budget_accounts(&self, query: &AccountQuery) -> Result<Vec<BudgetAccount>, StoreError> {
        self.with(|connection| accounts(connection, query).map_err(StoreError::sqlite("read budget accounts")))
    }

    /// Thresholds that were passed.
    pub fn budget_alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, StoreError> {
        self.with(|connection| alerts(connection, query).map_err(StoreError::sqlite("read budget alerts")))
    }
}

/// Notes that a person knows of an alert; a second time changes nothing. `None`: there is no such alert. A short write of
/// its own, beside a running server or without one.
pub fn acknowledge_alert(
    data_dir: &Path,
    account: BudgetId,
    threshold: BasisPoints,
    now: Timestamp,
    by: &str,
) -> Result<Option<Alert>, StoreError> {
    // Opened to read first, so that a mistyped directory is not made.
    Reader::open(data_dir)?;
    let connection = schema::open_for_writing(&data_dir.join(FILE_NAME), now)?;
    acknowledge(&connection, account, threshold, now, by).map_err(StoreError::sqlite("acknowledge a budget alert"))
}

impl Changes<'_> {
    /// The same, as a change with its line in the audit log.
    pub fn acknowledge_alert(
        &self,
        account: BudgetId,
        threshold: BasisPoints,
        by: &str,
    ) -> Result<Option<Alert>, ChangeError> {
        let found = acknowledge(self.transaction(), account, threshold, self.now(), by)?;
        if let Some(alert) = &found {
            let id = self.word(NameKind::Budget, &alert.budget)?;
            self.note("acknowledge", id, &json!({ "threshold_basis_points": threshold.0 }))?;
        }
        Ok(found)
    }
}

fn acknowledge(
    connection: &Connection,
    account: BudgetId,
    threshold: BasisPoints,
    now: Timestamp,
    by: &str,
) -> rusqlite::Result<Option<Alert>> {
    connection.execute(
        "UPDATE budget_alerts SET acknowledged_us = ?3, acknowledged_by = ?4
         WHERE account = ?1 AND threshold = ?2 AND acknowledged_us IS NULL",
        params![key(account), threshold.0, now.0, by],
    )?;
    let mut read = connection.prepare(&format!("{ALERTS} WHERE t.account = ?1 AND t.threshold = ?2"))?;
    read.query_row(params![key(account), threshold.0], alert).optional()
}

#[cfg(test)]
impl Changes<'_> {
    /// As if a budget of this name had passed 80 %, on an account of this number.
    pub fn insert_alert(&self, account: i64, budget: &str) -> Result<(), ChangeError> {
        self.transaction().execute(
            "INSERT INTO budget_accounts (id, series, budget, scope, unit, window_start, window_end, counts_from,
                 hardness, limit_units, limit_max, thresholds, settled)
             VALUES (?1, ?1, ?2, '', 'requests', 0, 9223372036854775807, 0, 'hard', '100', '100', ',8000,', '85')",
            params![account, budget],
        )?;
        self.transaction().execute(
            "INSERT INTO budget_alerts (account, threshold, at_us, spent, limit_units) VALUES (?1, 8000, 1, '85', '100')",
            [account],
        )?;
        Ok(())
    }
}

fn accounts(connection: &Connection, query: &AccountQuery) -> rusqlite::Result<Vec<BudgetAccount>> {
    let mut values: Vec<Value> = Vec::new();
    let mut conditions = vec!["a.budget <> ''".to_owned()];
    let mut condition = |text: &str, value: Value| {
        conditions.push(text.to_owned());
        values.push(value);
    };
    if let Some(budget) = &query.budget {
        condition("a.budget = ?", budget.to_string().into());
    }
    if let Some(scope) = &query.scope {
        condition("a.scope = ?", scope.to_string().into());
    }
    if let Some(at) = query.at {
        // A bucket of a rolling window counts for as long again as it reaches back.
        condition("a.window_start <= ?", at.0.into());
        condition(
            "(a.window_end = 9223372036854775807 OR a.window_end + (a.window_start - a.counts_from) > ?)",
            at.0.into(),
        );
    }
    if let Some(after) = query.after {
        condition("a.id > ?", key(after).into());
    }
    values.push(if query.limit == 0 { -1 } else { saturate(query.limit as u64) }.into());
    let sql = format!(
        "SELECT {}, (SELECT group_concat(remaining) FROM budget_leases WHERE account = a.id) FROM budget_accounts AS a
         WHERE {} ORDER BY a.id LIMIT ?",
        budgets::COLUMNS,
        conditions.join(" AND ")
    );
    let mut read = connection.prepare_cached(&sql)?;
    let rows = read.query_map(params_from_iter(values), |row| {
        let Account {
            id, budget, scope, unit, hardness, window_start, window_end, counts_from, limit, settled, ..
        } = Account::read(row)?;
        let leases: Option<String> = row.get(budgets::WIDTH)?;
        Ok(BudgetAccount {
            account: id,
            budget,
            scope,
            unit,
            hardness,
            window_start,
            window_end,
            counts_from,
            limit,
            settled: u128::try_from(settled).unwrap_or(0),
            leased: leases.iter().flat_map(|leases| leases.split(',')).map(amount).sum(),
        })
    })?;
    rows.collect()
}

pub(super) const ALERTS: &str = "SELECT t.account, a.budget, a.scope, a.unit, a.hardness, a.window_start, a.window_end, t.threshold, \
     t.at_us, t.spent, t.limit_units, t.acknowledged_us, t.acknowledged_by \
     FROM budget_alerts AS t JOIN budget_accounts AS a ON a.id = t.account";

fn alerts(connection: &Connection, query: &AlertQuery) -> rusqlite::Result<Vec<Alert>> {
    let mut values: Vec<Value> = Vec::new();
    let mut conditions = vec!["1".to_owned()];
    if let Some(budget) = &query.budget {
        conditions.push("a.budget = ?".to_owned());
        values.push(budget.to_string().into());
    }
    if let Some(acknowledged) = query.acknowledged {
        conditions.push(format!("t.acknowledged_us IS {}NULL", if acknowledged { "NOT " } else { "" }));
    }
    if let Some(before) = query.before {
        conditions.push("t.at_us < ?".to_owned());
        values.push(before.0.into());
    }
    values.push(if query.limit == 0 { -1 } else { saturate(query.limit as u64) }.into());
    let order = "ORDER BY t.at_us DESC, t.account, t.threshold DESC LIMIT ?";
    let sql = format!("{ALERTS} WHERE {} {order}", conditions.join(" AND "));
    let mut read = connection.prepare_cached(&sql)?;
    let rows = read.query_map(params_from_iter(values), alert)?;
    rows.collect()
}

pub(super) fn alert(row: &Row<'_>) -> rusqlite::Result<Alert> {
    let text = |place| row.get::<_, String>(place);
    Ok(Alert {
        account: id_of(row.get(0)?),
        budget: text(1)?.into(),
        scope: text(2)?.into(),
        unit: budgets::unit(&text(3)?),
        hardness: budgets::hardness(&text(4)?),
        window_start: Timestamp(row.get(5)?),
        window_end: Timestamp(row.get(6)?),
        threshold: BasisPoints(row.get(7)?),
        at: Timestamp(row.get(8)?),
        spent: u128::try_from(signed(&text(9)?)).unwrap_or(0),
        limit: amount(&text(10)?),
        acknowledged_at: row.get::<_, Option<i64>>(11)?.map(Timestamp),
        acknowledged_by: row.get::<_, Option<String>>(12)?.map(Arc::from),
    })
}
