//! The trace of a decision: each rule that was tried, with the values that made it true or false. It is written by the
//! decision itself, so that it cannot tell another story.

use super::condition::{Tested, Truth};
use serde::Serialize;
use std::sync::Arc;

/// The kinds of rules, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Block,
    Limit,
    Route,
    Swap,
    Clamp,
    Budget,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Block => "block",
            Kind::Limit => "limit",
            Kind::Route => "route",
            Kind::Swap => "swap",
            Kind::Clamp => "clamp",
            Kind::Budget => "budget",
        }
    }
}

/// One rule that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tried {
    pub kind: Kind,
    pub rule: Arc<str>,
    /// `rules/team.yaml:14`
    pub place: Arc<str>,
    /// It applies to the call.
    pub matched: bool,
    /// What it does to the call, or why it does not.
    pub outcome: String,
    pub conditions: Vec<Found>,
}

/// One condition and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    pub text: String,
    /// `None`: turns on the input's exact size, which was not counted.
    pub holds: Option<bool>,
}

impl From<Tested> for Found {
    fn from(tested: Tested) -> Found {
        let holds = match tested.truth {
            Truth::Yes => Some(true),
            Truth::No => Some(false),
            Truth::Open => None,
        };
        Found { text: tested.text, holds }
    }
}
