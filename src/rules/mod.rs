//! The decision about a request: pure, from values to a value. Until a rules file is loaded, every request is admitted
//! with no claims.

use crate::budget::{Balance, Demand, Instance};
use crate::catalog::Model;
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation, RefusalKind};
use crate::money::Usd;
use crate::tenants::{Attribution, Caller};
use crate::tokens::facts::RequestFacts;
use crate::tokens::usage::TokenUsage;
use std::sync::Arc;

/// What a decision is made from: one possible attempt, bounded. After a swap, clamp or reroute the proxy asks again with
/// the new target.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub caller: &'a Caller,
    pub attribution: &'a Attribution,
    pub facts: &'a RequestFacts,
    pub operation: Operation,
    pub dialect: Dialect,
    /// There is something to meter; `false` on unknown paths and tunnels.
    pub metered: bool,
    /// A path that only reads (GET, HEAD, DELETE): never refused for being unmetered.
    pub reads_only: bool,
    pub provider: &'a str,
    pub upstream_model: Option<&'a str>,
    /// The catalog's entry; `None`: unpriced.
    pub model: Option<&'a Model>,
    /// Upper bound of what it uses, by kind; [`Question::input_is_counted`] says whether its input was counted exactly.
    pub bound: TokenUsage,
    pub input_is_counted: bool,
    /// `None`: unmetered or unpriced.
    pub ceiling: Option<Usd>,
    pub estimate: Option<Usd>,
    /// What the body cannot bound (stored conversations, server tools, file ids) was bounded by the context window.
    pub bounded_by_context: bool,
    /// `x-farebox-no-swap: true`.
    pub refuses_swaps: bool,
    /// The budgets have no room for exactly this, neither counted exactly, nor in slices, nor with a lower output limit.
    pub does_not_fit: bool,
    /// Rules that already swapped, clamped or rerouted this request: each acts once.
    pub applied: &'a [Arc<str>],
    pub now: Timestamp,
}

/// The rules' answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    pub verdict: Verdict,
    /// The rule that made it; `None`: nothing objected.
    pub rule: Option<Arc<str>>,
    /// In a sentence, with the values that made it true.
    pub why: Arc<str>,
    /// To be held, when it is admitted: all or none.
    pub demands: Vec<Demand>,
    /// To be consumed on arrival, when it is admitted.
    pub call_limits: Vec<CallLimit>,
    /// Soft and shadow budgets that a hard one would have refused, limits likewise: for header, log and metric.
    pub warnings: Vec<Warning>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Admit,
    /// Try these in order; the first that can and may serve the request is taken, else [`Swap::otherwise`].
    Swap(Swap),
    /// Lower the output limit to this and ask again.
    Clamp {
        output_tokens: u64,
    },
    /// Send it to this provider and ask again.
    Reroute {
        provider: Arc<str>,
    },
    Refuse(Refused),
}

/// A rewrite of the model's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Swap {
    /// `gpt-5-mini`, or `provider/model`.
    pub targets: Arc<[Arc<str>]>,
    /// When no target can serve: go on with the requested model, or refuse.
    pub otherwise: Otherwise,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    #[default]
    Admit,
    Refuse,
}

/// A no, before any budget was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    pub kind: RefusalKind,
    /// For the caller: what, why, until when, what to do.
    pub message: Arc<str>,
    pub retry_after_seconds: Option<u64>,
}

/// A limit on calls, kept by the proxy's rate limiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallLimit {
    pub rule: Arc<str>,
    /// The `for_each` values: one limiter each.
    pub scope: Arc<str>,
    pub bound: CallBound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallBound {
    PerMinute(u32),
    Concurrent(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub rule: Arc<str>,
    pub message: Arc<str>,
}

impl Decision {
    /// Nothing objects, nothing is claimed.
    pub fn admit() -> Decision {
        Decision {
            verdict: Verdict::Admit,
            rule: None,
            why: "no rule objects".into(),
            demands: Vec::new(),
            call_limits: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The word in the ledger.
    pub fn name(&self) -> &'static str {
        match self.verdict {
            Verdict::Admit => "admit",
            Verdict::Swap(_) => "swap",
            Verdict::Clamp { .. } => "clamp",
            Verdict::Reroute { .. } => "reroute",
            Verdict::Refuse(_) => "refuse",
        }
    }
}

/// A compiled set of rules: immutable, swapped whole.
#[derive(Clone, Debug, Default)]
pub struct RuleSet;

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
}
