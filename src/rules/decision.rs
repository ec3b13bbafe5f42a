//! What the rules answer.

use crate::budget::{Demand, Hardness};
use crate::dialects::RefusalKind;
use std::sync::Arc;

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
    /// A rule turns on the input's exact size: count it, and ask again with [`Question::input_is_counted`].
    Count,
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
    /// Soft and shadow limits refuse nobody; what a hard one would have refused is a warning.
    pub hardness: Hardness,
    /// More for the refused caller.
    pub message: Option<Arc<str>>,
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
            Verdict::Count => "count",
            Verdict::Refuse(_) => "refuse",
        }
    }
}
