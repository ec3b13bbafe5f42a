//! Budgets: the arithmetic of limits, windows and holds. [`book`] is the serial core behind the ledger's one mutex.
//!
//! A [`Budget`] is what a person wrote. An [`Instance`] is that budget for one set of scope values in one window: an
//! account of its own, whose id is derived from those three, so that every process and every start names it alike.
#![deny(clippy::float_arithmetic)]

pub mod account;
pub mod book;
pub mod by_id;
pub mod lease;
pub mod scope;
pub mod window;

use crate::clock::Timestamp;
use account::{BudgetId, SeriesId, Unit};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use window::{Window, WindowRule};

/// One budget as written, in its own unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub name: Arc<str>,
    pub unit: Unit,
    /// Top-ups of prepaid credit are in it.
    pub limit: u128,
    pub hardness: Hardness,
    pub window: WindowRule,
    /// Ascending; each is told once per instance and window.
    pub thresholds: Vec<BasisPoints>,
    /// A limit per minute: lives in the book alone, is never leased from the store and raises no alert.
    pub is_rate_limit: bool,
    /// Where a call does not fit, its output limit may be lowered to what does.
    pub clamp: bool,
    /// A refusal may tell the caller what was spent of it: the rule says so, or it is the caller's own.
    pub show_amounts: bool,
    /// More for the refused caller, in the author's words.
    pub message: Option<Arc<str>>,
}

/// Hundredths of a percent of a limit: 80 % is 8,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BasisPoints(pub u32);

/// What happens at the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hardness {
    /// Nothing above it is admitted.
    #[default]
    Hard,
    /// Admitted, with a warning.
    Soft,
    /// Admitted; what a hard one would have done is only recorded.
    Shadow,
}

/// A budget for one set of scope values in one window: an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    pub account: BudgetId,
    /// The same for every window of one budget and scope.
    pub series: SeriesId,
    pub budget: Arc<Budget>,
    /// The `for_each` values, canonical and readable: `team=research user=ann`; empty where there are none.
    pub scope: Arc<str>,
    pub window: Window,
}

impl Instance {
    /// The account's id is the first 8 bytes of BLAKE3 over name, unit, scope and window start, so that no table is
    /// needed to agree on it. The store keeps all of them beside the id and refuses a second meaning.
    pub fn new(budget: Arc<Budget>, scope: Arc<str>, window: Window) -> Instance {
        // In one piece: a call names each of its budgets so, and hashing in pieces was most of what that cost.
        let mut named = Vec::with_capacity(budget.name.len() + scope.len() + 12);
        for part in [budget.name.as_bytes(), b"\0", &[budget.unit as u8], b"\0", scope.as_bytes(), b"\0"] {
            named.extend_from_slice(part);
        }
        let series = SeriesId(first_8_bytes(&named));
        named.extend_from_slice(&window.start.as_micros().to_le_bytes());
        Instance { account: BudgetId(first_8_bytes(&named)), series, budget, scope, window }
    }

    /// The same budget and scope in the window (of a rolling one: in the bucket) that began at `start`.
    pub fn sibling(&self, start: Timestamp) -> Instance {
        let shifted = |moment: Timestamp| {
            if moment.0 == i64::MAX { moment } else { Timestamp(moment.0 - self.window.start.0 + start.0) }
        };
        let Window { end, counts_from, .. } = self.window;
        let window = Window { start, end: shifted(end), counts_from: shifted(counts_from) };
        Instance::new(self.budget.clone(), self.scope.clone(), window)
    }
}

fn first_8_bytes(named: &[u8]) -> u64 {
    let mut id = [0u8; 8];
    id.copy_from_slice(&blake3::hash(named).as_bytes()[..8]);
    u64::from_le_bytes(id)
}

/// What a request wants of one instance, in its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub instance: Arc<Instance>,
    pub amount: u64,
    /// It stands in the way where it does not fit. `false` for soft and shadow budgets, and for callers whom a hard one
    /// excepts: booked all the same.
    pub binds: bool,
}

/// How an instance stands. `limit` is the limit in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    pub spent: u128,
    pub held: u128,
    pub limit: u128,
}

impl Balance {
    /// What may still be held. 0 when more is spent or held than a lowered limit allows.
    pub fn available(&self) -> u128 {
        self.limit.saturating_sub(self.spent.saturating_add(self.held))
    }

    /// Spent of the limit; a limit of 0 is used up.
    pub fn used(&self) -> BasisPoints {
        share(self.spent, self.limit)
    }

    /// Spent and held of the limit.
    pub fn committed(&self) -> BasisPoints {
        share(self.spent.saturating_add(self.held), self.limit)
    }
}

fn share(part: u128, whole: u128) -> BasisPoints {
    let share = part.saturating_mul(10_000).checked_div(whole).unwrap_or(10_000);
    BasisPoints(u32::try_from(share).unwrap_or(u32::MAX))
}
