//! The decision about a request. Until rules can be written, every request is admitted with no claims.

use crate::budget::book::Claim;
use crate::money::Usd;
use crate::tenants::Caller;
use crate::tokens::facts::RequestFacts;
use std::sync::Arc;

/// What the rules answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Admit { claims: Vec<Claim>, rule: Option<Arc<str>> },
}

impl Decision {
    /// The word in the ledger.
    pub fn name(&self) -> &'static str {
        match self {
            Decision::Admit { .. } => "admit",
        }
    }

    pub fn rule(&self) -> Option<&Arc<str>> {
        match self {
            Decision::Admit { rule, .. } => rule.as_ref(),
        }
    }
}

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    pub facts: &'a RequestFacts,
    pub ceiling: Option<Usd>,
}

/// A compiled set of rules; pure: `decide` takes values and returns a value.
#[derive(Clone, Debug, Default)]
pub struct RuleSet;

impl RuleSet {
    pub fn decide(&self, _question: Question<'_>) -> Decision {
        Decision::Admit { claims: Vec::new(), rule: None }
    }
}
