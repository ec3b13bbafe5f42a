//! Budgets' accounts: what is settled of each, and the thresholds that it passed.
//!
//! *Invariant:* an account is charged in the transaction that brings the event, and a threshold is told in the
//! transaction that passes it: both exactly once, whatever dies.

use super::saturate;
use crate::budget::account::{BudgetId, Charge, Unit};
use crate::budget::lease::{End, lost};
use crate::budget::{BasisPoints, Budget, Hardness, Instance, scope};
use crate::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A threshold that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub account: BudgetId,
    pub budget: Arc<str>,
    pub scope: Arc<str>,
    pub unit: Unit,
    pub hardness: Hardness,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    pub threshold: BasisPoints,
    pub at: Timestamp,
    /// What was spent, and the limit, when it was passed.
    pub spent: u128,
    pub limit: u128,
    pub acknowledged_at: Option<Timestamp>,
    pub acknowledged_by: Option<Arc<str>>,
}

/// What one account is charged by a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    /// By attempts of the process whose lease it is.
    pub leased: i128,
    /// By corrections: they are on nobody's lease.
    pub corrected: i128,
}

pub(super) type Sums = BTreeMap<BudgetId, Sum>;

/// A row of `budget_accounts`.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub id: BudgetId,
    pub series: i64,
    pub budget: Arc<str>,
    pub scope: Arc<str>,
    pub unit: Unit,
    pub window_start: Timestamp,
    pub window_end: Timestamp,
    pub counts_from: Timestamp,
    pub hardness: Hardness,
    pub limit: u128,
    pub limit_max: u128,
    pub thresholds: String,
    pub settled: i128,
}

/// Columns as [`Account::read`] wants them, of `budget_accounts AS a`.
pub(super) const COLUMNS: &str = "a.id, a.series, a.budget, a.scope, a.unit, a.window_start, a.window_end, \
     a.counts_from, a.hardness, a.limit_units, a.limit_max, a.thresholds, a.settled";
pub(super) const WIDTH: usize = 13;

impl Account {
    pub fn read(row: &Row<'_>) -> rusqlite::Result<Account> {
        let text = |place| row.get::<_, String>(place);
        Ok(Account {
            id: id_of(row.get(0)?),
            series: row.get(1)?,
            budget: text(2)?.into(),
            scope: text(3)?.into(),
            unit: unit(&text(4)?),
            window_start: Timestamp(row.get(5)?),
            window_end: Timestamp(row.get(6)?),
            counts_from: Timestamp(row.get(7)?),
            hardness: hardness(&text(8)?),
            limit: amount(&text(9)?),
            limit_max: amount(&text(10)?),
            thresholds: text(11)?,
            settled: signed(&text(12)?),
        })
    }

    pub fn is_rolling(&self) -> bool {
        self.counts_from < self.window_start
    }
}

pub(super) fn account(connection: &Connection, id: BudgetId) -> rusqlite::Result<Option<Account>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM budget_accounts AS a WHERE a.id = ?1"))?
        .query_row([key(id)], Account::read)
        .optional()
}

/// Makes the account's row, or gives the one that is there the terms in force; whether there was one. `None`: the id has
/// another meaning.
pub(super) fn open(
    connection: &Connection,
    instance: &Instance,
    terms: &Budget,
) -> rusqlite::Result<Option<(Account, bool)>> {
    let known = account(connection, instance.account)?;
    let is_new = known.as_ref().is_none_or(|known| known.budget.is_empty());
    let same = |known: &Account| {
        let of = (&*known.budget, known.unit, known.window_start);
        // Who was erased and comes again goes on where the account stood.
        of == (&*instance.budget.name, instance.budget.unit, instance.window.start)
            && (known.scope == instance.scope || scope::may_be_left_of(&known.scope, &instance.scope))
    };
    if !is_new && !known.as_ref().is_some_and(same) {
        return Ok(None);
    }
    let is_known = known.is_some();
    let settled = known.as_ref().map_or(0, |known| known.settled);
    let limit_max = known.as_ref().map_or(0, |known| known.limit_max).max(terms.limit);
    let open = Account {
        id: instance.account,
        series: instance.series.0.cast_signed(),
        budget: instance.budget.name.clone(),
        scope: instance.scope.clone(),
        unit: instance.budget.unit,
        window_start: instance.window.start,
        window_end: instance.window.end,
        counts_from: instance.window.counts_from,
        hardness: terms.hardness,
        limit: terms.limit,
        limit_max,
        thresholds: thresholds_text(&terms.thresholds),
        settled,
    };
    let unchanged = known.is_some_and(|known| {
        !is_new
            && (known.hardness, known.limit, known.limit_max) == (open.hardness, open.limit, open.limit_max)
            && known.thresholds == open.thresholds
    });
    if !unchanged {
        write(connection, &open)?;
    }
    Ok(Some((open, is_known)))
}

fn write(connection: &Connection, account: &Account) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO budget_accounts (id, series, budget, scope, unit, window_start, window_end, counts_from,
                 hardness, limit_units, limit_max, thresholds, settled)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
             ON CONFLICT (id) DO UPDATE SET series = excluded.series, budget = excluded.budget, scope = excluded.scope,
                 unit = excluded.unit, window_start = excluded.window_start, window_end = excluded.window_end,
                 counts_from = excluded.counts_from, hardness = excluded.hardness, limit_units = excluded.limit_units,
                 limit_max = excluded.limit_max, thresholds = excluded.thresholds, settled = excluded.settled",
        )?
        .execute(params![
            key(account.id),
            account.series,
            &*account.budget,
            &*account.scope,
            account.unit.name(),
            account.window_start.0,
            account.window_end.0,
            account.counts_from.0,
            hardness_name(account.hardness),
            account.limit.to_string(),
            account.limit_max.to_string(),
            &account.thresholds,
            account.settled.to_string(),
        ])
        .map(drop)
}

/// Notes what an event takes.
pub(super) fn add(sums: &mut Sums, charges: &[Charge], is_correction: bool) {
    for Charge { account, amount } in charges {
        let sum = sums.entry(*account).or_default();
        let side = if is_correction { &mut sum.corrected } else { &mut sum.leased };
        *side = side.saturating_add(i128::from(*amount));
    }
}

/// Charges the accounts of a batch and tells the thresholds that they passed.
pub(super) fn charge(connection: &Connection, epoch: u64, sums: &Sums, at: Timestamp) -> rusqlite::Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    for (id, sum) in sums {
        let added = sum.leased.saturating_add(sum.corrected);
        let mut unleased = sum.corrected;
        let account = settle(connection, *id, added)?;
        let lease: Option<(String, String)> = connection
            .prepare_cached("SELECT remaining, charged FROM budget_leases WHERE account = ?1 AND epoch = ?2")?
            .query_row(params![key(*id), saturate(epoch)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((remaining, charged)) = lease {
            let remaining = signed(&remaining).saturating_sub(sum.leased);
            let charged = signed(&charged).saturating_add(sum.leased);
            put_lease(connection, *id, epoch, remaining, charged)?;
        } else {
            unleased = unleased.saturating_add(sum.leased);
        }
        spent_beyond(connection, *id, unleased)?;
        alerts.extend(tell(connection, &account, at)?);
    }
    Ok(alerts)
}

/// Notes what an account was charged beyond every lease: by corrections, by calls that no limit binds, by overruns of a
/// process that ended. What is given back does not lessen it, since that can be leased again.
pub(super) fn spent_beyond(connection: &Connection, id: BudgetId, amount: i128) -> rusqlite::Result<()> {
    if amount <= 0 {
        return Ok(());
    }
    let known: Option<String> = connection
        .prepare_cached("SELECT beyond FROM budget_accounts WHERE id = ?1")?
        .query_row([key(id)], |row| row.get(0))
        .optional()?;
    let beyond = signed(&known.unwrap_or_default()).saturating_add(amount);
    connection
        .prepare_cached("UPDATE budget_accounts SET beyond = ?2 WHERE id = ?1")?
        .execute(params![key(id), beyond.to_string()])
        .map(drop)
}

/// Adds to what is settled. An account that the store does not know (a backup was restored) gets a row without a name.
fn settle(connection: &Connection, id: BudgetId, added: i128) -> rusqlite::Result<Account> {
    let known = account(connection, id)?;
    let is_known = known.is_some();
    let mut account = known.unwrap_or(Account {
        id,
        series: 0,
        budget: "".into(),
        scope: "".into(),
        unit: Unit::PicoUsd,
        window_start: Timestamp(0),
        window_end: Timestamp(i64::MAX),
        counts_from: Timestamp(0),
        hardness: Hardness::Soft,
        limit: 0,
        limit_max: 0,
        thresholds: String::new(),
        settled: 0,
    });
    account.settled = account.settled.saturating_add(added);
    if is_known {
        connection
            .prepare_cached("UPDATE budget_accounts SET settled = ?2 WHERE id = ?1")?
            .execute(params![key(id), account.settled.to_string()])?;
    } else {
        write(connection, &account)?;
    }
    Ok(account)
}

pub(super) fn put_lease(
    connection: &Connection,
    account: BudgetId,
    epoch: u64,
    remaining: i128,
    charged: i128,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO budget_leases (account, epoch, remaining, charged) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (account, epoch) DO UPDATE SET remaining = excluded.remaining, charged = excluded.charged",
        )?
        .execute(params![key(account), saturate(epoch), remaining.to_string(), charged.to_string()])
        .map(drop)
}

/// Notes the thresholds that are passed and were not told. Of a rolling window each is told at most once in its length.
pub(super) fn tell(connection: &Connection, account: &Account, at: Timestamp) -> rusqlite::Result<Vec<Alert>> {
    if account.thresholds.is_empty() || account.settled <= 0 {
        return Ok(Vec::new());
    }
    let spent = u128::try_from(if account.is_rolling() { window_sum(connection, account)? } else { account.settled });
    let (spent, limit) = (spent.unwrap_or(0), account.limit);
    let used = crate::budget::Balance { spent, held: 0, limit }.used();
    let mut alerts = Vec::new();
    for threshold in thresholds(&account.thresholds).filter(|threshold| *threshold <= used) {
        let told_before: bool = account.is_rolling()
            && connection
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM budget_accounts AS a JOIN budget_alerts AS t ON t.account = a.id
                     WHERE a.series = ?1 AND a.window_start >= ?2 AND t.threshold = ?3)",
                )?
                .query_row(params![account.series, account.counts_from.0, threshold.0], |row| row.get(0))?;
        let is_new = !told_before
            && connection
                .prepare_cached(
                    "INSERT INTO budget_alerts (account, threshold, at_us, spent, limit_units)
                     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                )?
                .execute(params![key(account.id), threshold.0, at.0, spent.to_string(), limit.to_string()])?
                == 1;
        if is_new {
            alerts.push(Alert {
                account: account.id,
                budget: account.budget.clone(),
                scope: account.scope.clone(),
                unit: account.unit,
                hardness: account.hardness,
                window_start: account.window_start,
                window_end: account.window_end,
                threshold,
                at,
                spent,
                limit,
                acknowledged_at: None,
                acknowledged_by: None,
            });
        }
    }
    Ok(alerts)
}

fn window_sum(connection: &Connection, account: &Account) -> rusqlite::Result<i128> {
    let mut read =
        connection.prepare_cached("SELECT settled FROM budget_accounts WHERE series = ?1 AND window_start >= ?2")?;
    let mut rows = read.query(params![account.series, account.counts_from.0])?;
    let mut sum = 0i128;
    while let Some(row) = rows.next()? {
        sum = sum.saturating_add(signed(&row.get::<_, String>(0)?));
    }
    Ok(sum)
}

/// Ends the leases of a process: what it proved unspent is free, the rest is charged and kept as a loss.
pub(super) fn end_leases(connection: &Connection, epoch: u64, end: End, at: Timestamp) -> rusqlite::Result<Vec<Alert>> {
    let leases = leases_of(connection, epoch)?;
    let mut alerts = Vec::new();
    for (id, remaining) in leases {
        spent_beyond(connection, id, remaining.saturating_neg())?;
        let amount = lost(end, remaining);
        if amount > 0 {
            let account = settle(connection, id, i128::try_from(amount).unwrap_or(i128::MAX))?;
            connection
                .prepare_cached("INSERT INTO budget_losses (account, epoch, amount, at_us) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![key(id), saturate(epoch), amount.to_string(), at.0])?;
            alerts.extend(tell(connection, &account, at)?);
        }
    }
    connection.prepare_cached("DELETE FROM budget_leases WHERE epoch = ?1")?.execute([saturate(epoch)])?;
    Ok(alerts)
}

/// The leases of a process, with what is left of each.
pub(super) fn leases_of(connection: &Connection, epoch: u64) -> rusqlite::Result<Vec<(BudgetId, i128)>> {
    let mut read =
        connection.prepare_cached("SELECT account, remaining FROM budget_leases WHERE epoch = ?1 ORDER BY account")?;
    let leases =
        read.query_map([saturate(epoch)], |row| Ok((id_of(row.get(0)?), signed(&row.get::<_, String>(1)?))))?;
    leases.collect()
}

/// Processes that hold leases.
pub(super) fn leasing_epochs(connection: &Connection) -> rusqlite::Result<Vec<u64>> {
    let mut read = connection.prepare_cached("SELECT DISTINCT epoch FROM budget_leases ORDER BY epoch")?;
    let epochs = read.query_map([], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))?;
    epochs.collect()
}

/// An event's charges as its column has them; `None` for none.
pub(super) fn to_blob(charges: &[Charge]) -> Option<Vec<u8>> {
    let bytes = |charge: &Charge| [charge.account.0.to_le_bytes(), charge.amount.to_le_bytes()].concat();
    (!charges.is_empty()).then(|| charges.iter().flat_map(bytes).collect())
}

pub(super) fn from_blob(blob: &[u8]) -> Vec<Charge> {
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(0);
    let charge =
        |bytes: &[u8]| Charge { account: BudgetId(number(&bytes[..8])), amount: number(&bytes[8..]).cast_signed() };
    blob.chunks_exact(16).map(charge).collect()
}

pub(super) fn key(id: BudgetId) -> i64 {
    id.0.cast_signed()
}

pub(super) fn id_of(key: i64) -> BudgetId {
    BudgetId(key.cast_unsigned())
}

pub(super) fn amount(text: &str) -> u128 {
    text.parse().unwrap_or(0)
}

pub(super) fn signed(text: &str) -> i128 {
    text.parse().unwrap_or(0)
}

pub(super) fn unit(name: &str) -> Unit {
    Unit::ALL.into_iter().find(|unit| unit.name() == name).unwrap_or(Unit::PicoUsd)
}

pub(super) fn hardness(name: &str) -> Hardness {
    [Hardness::Hard, Hardness::Shadow].into_iter().find(|known| hardness_name(*known) == name).unwrap_or(Hardness::Soft)
}

pub(super) fn hardness_name(hardness: Hardness) -> &'static str {
    match hardness {
        Hardness::Hard => "hard",
        Hardness::Soft => "soft",
        Hardness::Shadow => "shadow",
    }
}

pub(super) fn thresholds_text(thresholds: &[BasisPoints]) -> String {
    thresholds.iter().map(|threshold| threshold.0.to_string()).collect::<Vec<_>>().join(",")
}

fn thresholds(text: &str) -> impl Iterator<Item = BasisPoints> {
    text.split(',').filter_map(|part| part.parse().ok()).map(BasisPoints)
}
