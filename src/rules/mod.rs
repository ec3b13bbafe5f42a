//! The decision about a request: pure, from values to a value. Until a rules file is loaded, every request is admitted
//! with no claims.

mod decision;
mod question;

pub use decision::{CallBound, CallLimit, Decision, Otherwise, Refused, Swap, Verdict, Warning};
pub use question::Question;

use crate::budget::{Balance, Budget, Instance};
use crate::clock::Timestamp;
use std::sync::Arc;

/// A compiled set of rules: immutable, swapped whole.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {}

impl RuleSet {
    /// Every budget instance that the request claims or that a condition of a rule about it asks for: their balances
    /// are wanted by [`RuleSet::decide`]. Empty costs nothing.
    pub fn instances(&self, _question: &Question<'_>) -> Vec<Arc<Instance>> {
        Vec::new()
    }

    /// First match wins per kind: blocks, then limits, routes, swaps, clamps; then the budgets.
    pub fn decide(&self, _question: &Question<'_>, _balances: &[(Arc<Instance>, Balance)]) -> Decision {
        Decision::admit()
    }

    /// Nothing is ruled: asking costs nothing and can be left out.
    pub fn is_empty(&self) -> bool {
        true
    }

    /// Every budget as it is in force at `now`: a top-up changes a limit at its date.
    pub fn budgets(&self, _now: Timestamp) -> Vec<Arc<Budget>> {
        Vec::new()
    }
}
