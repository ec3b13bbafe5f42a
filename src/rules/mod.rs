//! The decision about a request: pure, from values to a value. Files become a [`RuleSet`] by [`load`]; without rules,
//! every request is admitted with no claims.
//!
//! [`syntax`]: what people write → [`set`]: the compiled rules → `decide`: the decision and its explanation.
#![deny(clippy::float_arithmetic)]

mod charge;
mod condition;
mod decide;
mod decision;
mod field;
mod own;
mod question;
mod ruled;
pub mod selftest;
mod set;
mod standing;
pub mod syntax;
pub mod target;
mod timing;
mod trace;
mod words;

pub use decide::{OUTPUT_TOKENS_MIN, PossibleSwap, affordable_output, demand_of};
pub use decision::{CallBound, CallLimit, Decision, Otherwise, Refused, Swap, Verdict, Warning};
pub use own::budget_of;
pub use question::Question;
pub use ruled::RuledBudget;
pub use standing::InForce;
pub use trace::{Found, Kind, Tried};
pub use words::{Change, ChangeKind, changes};

use std::sync::Arc;

/// A compiled set of rules: immutable, cheap to clone, swapped whole.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Arc<set::Rules>,
    index: set::Index,
}

#[cfg(test)]
mod tests;
