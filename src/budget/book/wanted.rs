//! What the book wants of the store, and what it gets and gives back.

use super::super::Instance;
use super::super::account::BudgetId;
use super::Blocked;
use crate::clock::Timestamp;
use std::sync::Arc;

/// What is wanted from the store: an account, and how much more of its limit; 0 to open it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    pub instance: Arc<Instance>,
    pub amount: u128,
}

/// Why a demand is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It fits, or may fit, when the store gives this; then ask again.
    Wanting(Vec<Want>),
    /// Every budget that blocked. `by_holds`: each would fit if others settled for nothing, so waiting may help.
    Over { blocked: Vec<Blocked>, by_holds: bool },
}

/// What the store gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    pub instance: Arc<Instance>,
    pub amount: u128,
    /// Settled in the store, less what the store has from this book since it opened the account.
    pub base: i128,
    pub elsewhere: u128,
    /// The other accounts that share the limit: buckets of a rolling window.
    pub siblings: Vec<Sibling>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sibling {
    pub start: Timestamp,
    pub base: i128,
    pub elsewhere: u128,
}

/// What goes back to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Returned {
    pub account: BudgetId,
    pub amount: u128,
    /// The book has forgotten the account: nothing of its lease may be left.
    pub forgotten: bool,
}
