//! The tests that stand in a rules file: given a caller, a request, what was spent and a time, the decision.

use super::condition::Need;
use crate::clock::Timestamp;
use crate::dialects::Operation;
use crate::tenants::{Attribution, Caller};
use std::sync::Arc;

/// One test, as read.
#[derive(Clone, Debug, Default)]
pub struct SelfTest {
    pub name: Arc<str>,
    /// `rules/team.yaml:40`
    pub place: Arc<str>,
    pub caller: Caller,
    pub attribution: Attribution,
    pub request: Request,
    /// Of budgets by name, in their units; all of it in the instance that the call is counted in.
    pub spent: Vec<(Arc<str>, u128)>,
    pub now: Timestamp,
    pub expected: Expected,
}

#[derive(Clone, Debug)]
pub struct Request {
    /// `gpt-5` or `provider/model`.
    pub model: Option<Arc<str>>,
    pub provider: Option<Arc<str>>,
    pub operation: Operation,
    pub stream: bool,
    pub input_tokens: u64,
    pub output_limit: Option<u64>,
    pub choices: u64,
    pub needs: Vec<Need>,
    pub refuses_swaps: bool,
    pub is_bounded: bool,
    pub is_metered: bool,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            model: None,
            provider: None,
            operation: Operation::Chat,
            stream: false,
            input_tokens: 1_000,
            output_limit: None,
            choices: 1,
            needs: Vec::new(),
            refuses_swaps: false,
            is_bounded: true,
            is_metered: true,
        }
    }
}

/// What must come of it; what is not written is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// `admit`, `swap`, `clamp`, `reroute`, `refuse`.
    pub decision: &'static str,
    pub rule: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub provider: Option<Arc<str>>,
    pub output_tokens: Option<u64>,
    pub says: Option<Arc<str>>,
    pub warns: Vec<Arc<str>>,
}
