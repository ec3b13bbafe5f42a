//! One account of the book: a budget's instance with what is spent, held and leased of it.

use super::{Budget, Instance};
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One instance of a budget in one window: an account of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BudgetId(pub u64);

/// All windows of one budget and scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u64);

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    PicoUsd,
    Tokens,
    Requests,
}

impl Unit {
    pub const ALL: [Unit; 3] = [Unit::PicoUsd, Unit::Tokens, Unit::Requests];

    pub fn name(self) -> &'static str {
        match self {
            Unit::PicoUsd => "pico_usd",
            Unit::Tokens => "tokens",
            Unit::Requests => "requests",
        }
    }
}

/// What is held of one account, in its unit. The journal keeps it, so that recovery can charge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub budget: BudgetId,
    pub unit: Unit,
    pub amount: u64,
}

/// What an event takes from one account. Negative where a correction gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    pub account: BudgetId,
    pub amount: i64,
}

/// What an exchange used, in every unit that a budget may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actual {
    /// `None`: not known; then the whole hold is spent. Unknown is never zero.
    pub pico_usd: Option<u64>,
    pub tokens: Option<u64>,
    pub requests: u64,
    /// Nobody settled it, and this is only the best estimate: a claim is charged no less than it held.
    pub at_least_held: bool,
}

impl Actual {
    /// What a claim is charged.
    pub fn of(&self, claim: &Claim) -> u64 {
        let used = match claim.unit {
            Unit::PicoUsd => self.pico_usd.unwrap_or(claim.amount),
            Unit::Tokens => self.tokens.unwrap_or(claim.amount),
            Unit::Requests => self.requests,
        };
        if self.at_least_held { used.max(claim.amount) } else { used }
    }
}

/// What the claims of a call are charged for what it used: one charge an account, none of zero.
pub fn charges(claims: &[Claim], actual: &Actual) -> Vec<Charge> {
    let mut charges = every_charge(claims, actual);
    charges.retain(|charge| charge.amount != 0);
    charges
}

/// The same with those of zero: a later correction finds its accounts by them.
pub fn every_charge(claims: &[Claim], actual: &Actual) -> Vec<Charge> {
    let charge = |claim: &Claim| Charge { account: claim.budget, amount: bounded(actual.of(claim)) };
    claims.iter().map(charge).collect()
}

/// An event books at most 2⁶³ of any unit.
pub(super) fn bounded(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// An account as it stands in the book of this process. 160 bytes.
#[derive(Clone, Debug)]
pub struct Account {
    pub instance: Arc<Instance>,
    /// Which budget's terms are in force.
    pub(super) terms: usize,
    /// Settled before this book had the account, or by other processes.
    pub base: i128,
    /// Settled through this book.
    pub used: i128,
    /// Of `used`: what the store has.
    pub folded: i128,
    pub held: u128,
    /// The slice: all grants of the store less what was returned. What is used and held is taken from it.
    pub granted: i128,
    /// Leased to other processes when the store was last asked.
    pub elsewhere: u128,
    /// Part of `used`: what settlements took above their holds.
    pub overrun: u128,
    pub(super) touched: Timestamp,
    /// A grant is on its way.
    pub(super) asked: bool,
    /// The store had nothing more when it was last asked, and its terms were these.
    pub(super) dry: Option<u32>,
}

impl Account {
    pub(super) fn new(instance: Arc<Instance>, terms: usize) -> Account {
        Account {
            touched: instance.window.start,
            instance,
            terms,
            base: 0,
            used: 0,
            folded: 0,
            held: 0,
            granted: 0,
            elsewhere: 0,
            overrun: 0,
            asked: false,
            dry: None,
        }
    }

    /// Known to be settled, here and elsewhere.
    pub fn spent(&self) -> i128 {
        self.base.saturating_add(self.used)
    }

    /// What is left of the slice. Negative when more was used than was granted: by an overrun, or by calls that no
    /// limit binds.
    pub fn left(&self) -> i128 {
        self.granted.saturating_sub(self.used).saturating_sub_unsigned(self.held)
    }

    /// Nothing is held, and the store has everything that was used.
    pub fn is_quiet(&self) -> bool {
        self.held == 0 && self.used == self.folded
    }
}

impl Budget {
    /// Its instances spend only what the store granted.
    pub fn is_leased(&self) -> bool {
        self.hardness == super::Hardness::Hard && !self.is_rate_limit
    }
}
