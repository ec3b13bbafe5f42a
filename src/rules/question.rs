//! What the rules are asked: one possible attempt, bounded.

use crate::catalog::{Model, Terms};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation};
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
    /// Upper bound of what it uses, by kind.
    pub bound: TokenUsage,
    /// The input in `bound` is as exact as it can be had: counted, or there is no tokenizer to count it with.
    pub input_is_counted: bool,
    /// What else the price depends on: for finding the output that a sum of money buys.
    pub terms: &'a Terms,
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
