//! The ledger's event: what one attempt was, what it used, what it cost. Written once, never changed; a correction is
//! another event.

use crate::budget::account::Charge;
use crate::catalog::Pricing;
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation};
use crate::ids::{EventId, ExchangeId};
use crate::money::Usd;
use crate::tenants::{Attribution, Caller};
use crate::tokens::usage::{TokenUsage, UsageSource};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The decision's word for usage that was told from outside the proxy: nothing was decided about it.
pub const TRACKED: &str = "tracked";

/// What is known when an attempt is admitted: the journal has it before the first byte leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    pub id: EventId,
    pub exchange: ExchangeId,
    /// 1 for the first attempt of its exchange.
    pub attempt: u16,
    pub started_at: Timestamp,
    pub caller: Arc<Caller>,
    pub attribution: Arc<Attribution>,
    pub provider: Arc<str>,
    pub dialect: Dialect,
    pub operation: Operation,
    pub requested_model: Option<Arc<str>>,
    pub upstream_model: Option<Arc<str>>,
    pub stream: bool,
    /// `x-request-id` and the like, as the client sent it.
    pub client_request_id: Option<Arc<str>>,
    /// The decision's word and the rule that made it.
    pub decision: Arc<str>,
    pub rule: Option<Arc<str>>,
    /// Upper bound of the cost; `None` for unmetered or unpriced calls.
    pub ceiling: Option<Usd>,
    /// Our best prediction of the cost before the call.
    pub estimate: Option<Usd>,
    /// Our best prediction of the input, for the event of an attempt that dies with the process.
    pub estimated_usage: TokenUsage,
    /// The estimated input's price and the price of 1,000 output tokens, so that recovery prices without a catalog.
    pub estimated_input_cost: Option<Usd>,
    pub cost_per_1k_output: Option<Usd>,
}

/// What is known when an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Closing {
    pub ended_at: Timestamp,
    pub response_model: Option<Arc<str>>,
    /// The provider's HTTP status; `None` when none came.
    pub status: Option<u16>,
    pub outcome: Outcome,
    /// The response was seen to its end.
    pub complete: bool,
    pub usage: TokenUsage,
    pub usage_source: UsageSource,
    pub pricing: Pricing,
    /// As billed: the response's `service_tier`.
    pub service_tier: Option<Arc<str>>,
    /// What the provider itself reported as cost; kept beside, never instead.
    pub provider_cost: Option<Usd>,
    pub provider_request_id: Option<Arc<str>>,
    pub finish_reason: Option<Arc<str>>,
    /// Time not spent waiting for the provider, µs.
    pub overhead_micros: Option<u64>,
    /// From the request's arrival to the first chunk with content, µs.
    pub first_token_micros: Option<u64>,
    /// From sending the request to the end of the provider's response, µs.
    pub upstream_micros: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Charged to budgets above the best estimate: of a process that died, until `farebox ledger resolve` releases it; of
    /// work that goes on after its answer, until its result is seen.
    pub withheld: Usd,
    pub deferred: Option<Box<Deferred>>,
}

/// Work that goes on after its answer: a background response, a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Deferred {
    /// What it used is told later, under this name of the provider's.
    Begun { reference: Arc<str> },
    /// It is done. The store books what is missing on the event that began it, once, however often it is told.
    Ended {
        reference: Arc<str>,
        uses: Vec<LateUse>,
        /// Where no event of ours began it, it is booked on this one.
        adopt: bool,
    },
}

/// What background work used, of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateUse {
    /// Of the adjustment, if it comes to one.
    pub id: EventId,
    pub model: Option<Arc<str>>,
    pub service_tier: Option<Arc<str>>,
    pub usage: TokenUsage,
    pub pricing: Pricing,
}

impl Closing {
    /// What it uses is told later.
    pub fn goes_on(&self) -> bool {
        matches!(self.deferred.as_deref(), Some(Deferred::Begun { .. }))
    }

    /// Of an attempt, or a correction, of which nothing was observed.
    pub fn unseen(ended_at: Timestamp, outcome: Outcome, pricing: Pricing) -> Closing {
        Closing {
            ended_at,
            response_model: None,
            status: None,
            outcome,
            complete: false,
            usage: TokenUsage::ZERO,
            usage_source: UsageSource::None,
            pricing,
            service_tier: None,
            provider_cost: None,
            provider_request_id: None,
            finish_reason: None,
            overhead_micros: None,
            first_token_micros: None,
            upstream_micros: None,
            request_bytes: 0,
            response_bytes: 0,
            withheld: Usd::ZERO,
            deferred: None,
        }
    }

    /// The cost that counts: pico-dollars of a priced attempt, zero (with a named reason beside) of any other.
    pub fn cost(&self) -> Usd {
        match &self.pricing {
            Pricing::Priced(cost) => cost.total,
            Pricing::Unpriced(_) | Pricing::Unmetered => Usd::ZERO,
        }
    }
}

/// One row of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    pub opening: Opening,
    pub closing: Closing,
    /// What it takes from budgets, an account each.
    pub charges: Vec<Charge>,
}

impl Event {
    pub fn cost(&self) -> Usd {
        self.closing.cost()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    Attempt,
    /// A later correction of another event: its usage and cost are differences.
    Adjustment {
        of: EventId,
    },
}

/// How an attempt ended; whose domain it was comes first (a closed vocabulary, also a metric label).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    CallerInvalidRequest,
    CallerUnauthenticated,
    CallerCancelled,
    CallerModelUnknown,
    PolicyBudgetExceeded,
    PolicyModelBlocked,
    PolicyRateLimited,
    ProviderAuthFailed,
    ProviderBilling,
    ProviderRateLimited,
    ProviderOverloaded,
    ProviderInvalidRequest,
    ProviderServerError,
    ProviderTimeout,
    ProviderConnectionFailed,
    /// The provider's response ended before its end.
    ProviderCut,
    ProxyInternal,
    ProxyOverloaded,
    /// The process died; the event was written by recovery.
    ProxyDied,
}

impl Outcome {
    pub const ALL: [Outcome; 20] = [
        Outcome::Ok,
        Outcome::CallerInvalidRequest,
        Outcome::CallerUnauthenticated,
        Outcome::CallerCancelled,
        Outcome::CallerModelUnknown,
        Outcome::PolicyBudgetExceeded,
        Outcome::PolicyModelBlocked,
        Outcome::PolicyRateLimited,
        Outcome::ProviderAuthFailed,
        Outcome::ProviderBilling,
        Outcome::ProviderRateLimited,
        Outcome::ProviderOverloaded,
        Outcome::ProviderInvalidRequest,
        Outcome::ProviderServerError,
        Outcome::ProviderTimeout,
        Outcome::ProviderConnectionFailed,
        Outcome::ProviderCut,
        Outcome::ProxyInternal,
        Outcome::ProxyOverloaded,
        Outcome::ProxyDied,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::CallerInvalidRequest => "caller_invalid_request",
            Outcome::CallerUnauthenticated => "caller_unauthenticated",
            Outcome::CallerCancelled => "caller_cancelled",
            Outcome::CallerModelUnknown => "caller_model_unknown",
            Outcome::PolicyBudgetExceeded => "policy_budget_exceeded",
            Outcome::PolicyModelBlocked => "policy_model_blocked",
            Outcome::PolicyRateLimited => "policy_rate_limited",
            Outcome::ProviderAuthFailed => "provider_auth_failed",
            Outcome::ProviderBilling => "provider_billing",
            Outcome::ProviderRateLimited => "provider_rate_limited",
            Outcome::ProviderOverloaded => "provider_overloaded",
            Outcome::ProviderInvalidRequest => "provider_invalid_request",
            Outcome::ProviderServerError => "provider_server_error",
            Outcome::ProviderTimeout => "provider_timeout",
            Outcome::ProviderConnectionFailed => "provider_connection_failed",
            Outcome::ProviderCut => "provider_cut",
            Outcome::ProxyInternal => "proxy_internal",
            Outcome::ProxyOverloaded => "proxy_overloaded",
            Outcome::ProxyDied => "proxy_died",
        }
    }

    /// The outcome that a provider's status alone tells.
    pub fn of_status(status: u16) -> Outcome {
        match status {
            401 | 403 => Outcome::ProviderAuthFailed,
            402 => Outcome::ProviderBilling,
            408 | 504 => Outcome::ProviderTimeout,
            429 => Outcome::ProviderRateLimited,
            503 | 529 => Outcome::ProviderOverloaded,
            400..=499 => Outcome::ProviderInvalidRequest,
            500..=599 => Outcome::ProviderServerError,
            _ => Outcome::Ok,
        }
    }
}
