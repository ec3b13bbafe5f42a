//! How budgets stand and which thresholds they passed, for people: accounts of a rolling window are one, amounts are in
//! the budget's own unit.

use super::Misasked;
use crate::budget::account::{BudgetId, Unit};
use crate::budget::{Balance, BasisPoints, Hardness};
use crate::clock::Timestamp;
use crate::money::pico_to_decimal;
use crate::store::{AccountQuery, Alert, AlertQuery, BudgetAccount, DeliveryState, Reader, StoreError};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Budgets of one answer when nothing is said, and at most.
pub const BUDGETS_DEFAULT: usize = 100;
pub const BUDGETS_MAX: usize = 10_000;
/// Accounts that one question reads; beyond it a filter is needed.
const ACCOUNTS_MAX: usize = 200_000;
/// Alerts of one page when nothing is said, and at most.
pub const ALERTS_DEFAULT: usize = 50;
pub const ALERTS_MAX: usize = 1_000;
/// Whoever acknowledges has a name, of at most so many bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// One instance of a budget in the window of a moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetView {
    pub budget: Arc<str>,
    /// The `for_each` values: `team=research`; empty where there are none.
    pub scope: Arc<str>,
    /// `usd`, `tokens` or `requests`.
    pub unit: &'static str,
    pub hardness: Hardness,
    /// `hour`, `day`, `week`, `month`, `year`, `rolling` or `lifetime`.
    pub window: &'static str,
    pub window_start: String,
    /// When something is freed: all of it, or the oldest part of a rolling window. `None`: never.
    pub resets_at: Option<String>,
    /// In the unit; dollars are exact decimals.
    pub limit: String,
    pub spent: String,
    /// What running processes may still spend without asking the store: holds of calls under way are in it.
    pub leased: String,
    /// Of the limit, to a hundredth.
    pub used_percent: f64,
    #[serde(skip)]
    pub used: BasisPoints,
}

/// How budgets stand, the nearest to its limit first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    pub budgets: Vec<BudgetView>,
    /// Budgets beyond the limit of the answer.
    pub budgets_more: usize,
}

/// A threshold that was passed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertView {
    pub id: String,
    pub budget: Arc<str>,
    pub scope: Arc<str>,
    pub unit: &'static str,
    pub hardness: Hardness,
    pub window: &'static str,
    pub window_start: String,
    /// `None`: it never ends.
    pub window_end: Option<String>,
    pub threshold_percent: f64,
    pub at: String,
    /// When it was passed.
    pub spent: String,
    pub limit: String,
    pub acknowledged_at: Option<String>,
    pub acknowledged_by: Option<Arc<str>>,
    /// To whom it went, or is to go; of a single alert that was just acknowledged it is not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<Vec<DeliveryView>>,
}

/// One receiver of an alert.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeliveryView {
    pub receiver: Arc<str>,
    pub attempts: u32,
    pub delivered_at: Option<String>,
    /// `None`: delivered, or given up.
    pub next_attempt_at: Option<String>,
    pub error: Option<Arc<str>>,
}

impl DeliveryView {
    fn new(state: DeliveryState) -> DeliveryView {
        DeliveryView {
            receiver: state.receiver,
            attempts: state.attempts,
            delivered_at: state.delivered_at.map(Timestamp::to_rfc3339),
            next_attempt_at: state.next_at.map(Timestamp::to_rfc3339),
            error: state.error,
        }
    }
}

/// A page of alerts, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlertsPage {
    pub alerts: Vec<AlertView>,
    /// Give it as `cursor` for the next page; `null` at the end.
    pub next_cursor: Option<String>,
}

/// Names an alert: its account and its threshold. Written `0123456789abcdef-8000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertId {
    pub account: BudgetId,
    pub threshold: BasisPoints,
}

/// Where a page of alerts ended: the moment of its last one, and how many of that moment were seen. One transaction
/// tells many alerts of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertCursor {
    at: Timestamp,
    seen: usize,
}

/// Every account whose spending counts at `now`, of one budget or all.
pub fn budgets(reader: &Reader, now: Timestamp, budget: Option<&str>, limit: usize) -> Result<Standing, StoreError> {
    let query = AccountQuery {
        budget: budget.map(Arc::from),
        at: Some(now),
        limit: ACCOUNTS_MAX + 1,
        ..AccountQuery::default()
    };
    let accounts = reader.budget_accounts(&query)?;
    if accounts.len() > ACCOUNTS_MAX {
        return Err(StoreError::TooManyGroups { max: ACCOUNTS_MAX });
    }
    let mut budgets: Vec<BudgetView> = merged(accounts).iter().map(BudgetView::new).collect();
    budgets.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| (&a.budget, &a.scope).cmp(&(&b.budget, &b.scope))));
    let budgets_more = budgets.len().saturating_sub(limit);
    budgets.truncate(limit);
    Ok(Standing { budgets, budgets_more })
}

/// A page of alerts, newest first. `query.before` is the cursor's.
pub fn alerts(reader: &Reader, query: &AlertQuery, cursor: Option<AlertCursor>) -> Result<AlertsPage, StoreError> {
    let skip = cursor.map_or(0, |cursor| cursor.seen);
    let before = cursor.map(|cursor| Timestamp(cursor.at.0.saturating_add(1)));
    let asked = AlertQuery { before, limit: query.limit + skip, ..query.clone() };
    let mut found = reader.budget_alerts(&asked)?;
    let is_full = found.len() == asked.limit;
    found.drain(..skip.min(found.len()));
    let last = found.last().filter(|_| is_full).map(|last| {
        let same = found.iter().rev().take_while(|alert| alert.at == last.at).count();
        let carried =
            cursor.filter(|cursor| cursor.at == last.at && same == found.len()).map_or(0, |cursor| cursor.seen);
        AlertCursor { at: last.at, seen: same + carried }
    });
    let view = |alert: &Alert| {
        let deliveries = reader.deliveries(alert)?.into_iter().map(DeliveryView::new).collect();
        Ok(AlertView { deliveries: Some(deliveries), ..AlertView::new(alert) })
    };
    Ok(AlertsPage {
        alerts: found.iter().map(view).collect::<Result<_, StoreError>>()?,
        next_cursor: last.map(|cursor| cursor.to_string()),
    })
}

/// Reads who acknowledges.
pub fn name(field: &str, text: &str) -> Result<String, Misasked> {
    let text = text.trim();
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        let remedy = format!("give 1 to {NAME_BYTES_MAX} bytes of text, such as `ann`");
        return Err(Misasked::new(field, "this is no name", remedy));
    }
    Ok(text.to_owned())
}

/// One instance in its window: an account, or the buckets of a rolling window together.
#[derive(Debug)]
struct Instance {
    /// The newest of them, with what all of them settled.
    account: BudgetAccount,
    frees_at: Timestamp,
}

fn merged(accounts: Vec<BudgetAccount>) -> Vec<Instance> {
    let mut instances: Vec<Instance> = Vec::with_capacity(accounts.len());
    let mut rolling: HashMap<(Arc<str>, Arc<str>), usize> = HashMap::new();
    for account in accounts {
        let is_rolling = account.counts_from < account.window_start;
        let name = || (Arc::clone(&account.budget), Arc::clone(&account.scope));
        match is_rolling.then(|| rolling.get(&name()).copied()).flatten() {
            Some(place) => instances[place].join(account),
            None => {
                if is_rolling {
                    rolling.insert(name(), instances.len());
                }
                instances.push(Instance { frees_at: frees_at(&account), account });
            }
        }
    }
    instances
}

/// A bucket leaves a rolling window when it lies as far back as the window reaches.
fn frees_at(account: &BudgetAccount) -> Timestamp {
    if account.window_end.0 == i64::MAX {
        return account.window_end;
    }
    let reach = account.window_start.0.saturating_sub(account.counts_from.0).max(0);
    Timestamp(account.window_end.0.saturating_add(reach))
}

impl Instance {
    fn join(&mut self, mut other: BudgetAccount) {
        self.frees_at = self.frees_at.min(frees_at(&other));
        if other.window_start > self.account.window_start {
            std::mem::swap(&mut self.account, &mut other);
        }
        self.account.settled = self.account.settled.saturating_add(other.settled);
        self.account.leased = self.account.leased.saturating_add(other.leased);
    }
}

impl BudgetView {
    fn new(Instance { account, frees_at }: &Instance) -> BudgetView {
        let balance = Balance { spent: account.settled, held: account.leased, limit: account.limit };
        let used = balance.used();
        let (start, end) = (account.window_start, account.window_end);
        BudgetView {
            budget: Arc::clone(&account.budget),
            scope: Arc::clone(&account.scope),
            unit: unit_name(account.unit),
            hardness: account.hardness,
            window: window_word(start, end, account.counts_from < start),
            window_start: account.counts_from.min(start).to_rfc3339(),
            resets_at: (end.0 != i64::MAX).then(|| frees_at.to_rfc3339()),
            limit: amount(account.unit, account.limit),
            spent: amount(account.unit, account.settled),
            leased: amount(account.unit, account.leased),
            used_percent: percent(used),
            used,
        }
    }
}

impl AlertView {
    pub fn new(alert: &Alert) -> AlertView {
        let (start, end) = (alert.window_start, alert.window_end);
        AlertView {
            id: AlertId { account: alert.account, threshold: alert.threshold }.to_string(),
            budget: Arc::clone(&alert.budget),
            scope: Arc::clone(&alert.scope),
            unit: unit_name(alert.unit),
            hardness: alert.hardness,
            window: window_word(start, end, false),
            window_start: start.to_rfc3339(),
            window_end: (end.0 != i64::MAX).then(|| end.to_rfc3339()),
            threshold_percent: percent(alert.threshold),
            at: alert.at.to_rfc3339(),
            spent: amount(alert.unit, alert.spent),
            limit: amount(alert.unit, alert.limit),
            acknowledged_at: alert.acknowledged_at.map(Timestamp::to_rfc3339),
            acknowledged_by: alert.acknowledged_by.clone(),
            deliveries: None,
        }
    }
}

/// An amount in a budget's unit: dollars as exact decimals.
pub fn amount(unit: Unit, amount: u128) -> String {
    match unit {
        Unit::PicoUsd => pico_to_decimal(i128::try_from(amount).unwrap_or(i128::MAX)),
        Unit::Tokens | Unit::Requests => amount.to_string(),
    }
}

/// `usd`, `tokens`, `requests`: what amounts are written in.
pub fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::PicoUsd => "usd",
        Unit::Tokens => "tokens",
        Unit::Requests => "requests",
    }
}

/// The word for a window of this length: what the rules call it.
pub fn window_word(start: Timestamp, end: Timestamp, is_rolling: bool) -> &'static str {
    const HOUR: i64 = 3_600_000_000;
    if is_rolling {
        return "rolling";
    }
    // Days have 25 hours where clocks are put back, and so an hour more is in weeks and months.
    match end.0.saturating_sub(start.0) / HOUR {
        _ if end.0 == i64::MAX => "lifetime",
        0 if end.0 - start.0 <= 60_000_000 => "minute",
        0 | 1 => "hour",
        2..=25 => "day",
        26..=169 => "week",
        170..=745 => "month",
        _ => "year",
    }
}

fn percent(share: BasisPoints) -> f64 {
    f64::from(share.0) / 100.0
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.account.0, self.threshold.0)
    }
}

impl FromStr for AlertId {
    type Err = Misasked;
    fn from_str(text: &str) -> Result<AlertId, Misasked> {
        let read = || {
            let (account, threshold) = text.split_once('-').filter(|(account, _)| account.len() == 16)?;
            let account = BudgetId(u64::from_str_radix(account, 16).ok()?);
            Some(AlertId { account, threshold: BasisPoints(threshold.parse().ok()?) })
        };
        read().ok_or_else(|| {
            let shown: String = text.chars().take(60).collect();
            Misasked::new("id", format!("`{shown}` is not the id of an alert"), "take it from `farebox alerts`")
        })
    }
}

impl fmt::Display for AlertCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.0, self.seen)
    }
}

impl FromStr for AlertCursor {
    type Err = Misasked;
    fn from_str(text: &str) -> Result<AlertCursor, Misasked> {
        let read = || {
            let (at, seen) = text.split_once('.')?;
            // What one page carries over is bounded by what one transaction tells.
            let seen = seen.parse().ok().filter(|seen| *seen <= ACCOUNTS_MAX)?;
            Some(AlertCursor { at: Timestamp(at.parse().ok()?), seen })
        };
        let remedy = "give `next_cursor` of the page before, or leave it out";
        read().ok_or_else(|| Misasked::new("cursor", "this is no cursor", remedy))
    }
}

#[cfg(test)]
mod tests;
