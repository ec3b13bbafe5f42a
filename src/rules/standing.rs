//! What rules mean to a caller before he asks anything: for `GET /farebox/me`.

use super::condition::{Call, Truth};
use super::set::{Head, LimitRule};
use super::trace::Kind;
use super::{Question, RuleSet};
use crate::budget::{Balance, Instance};
use crate::catalog::Terms;
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation};
use crate::tenants::{Attribution, Caller};
use crate::tokens::facts::RequestFacts;
use crate::tokens::usage::TokenUsage;
use serde::Serialize;
use std::sync::Arc;

/// A rule that may act on a caller's next call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InForce {
    pub kind: Kind,
    pub rule: Arc<str>,
    /// `gpt-5* → gpt-5-mini`, `60 requests a minute`.
    pub text: String,
    /// It turns on the request whether it acts.
    pub depends_on_the_call: bool,
}

impl RuleSet {
    /// Every budget that can count this caller, whatever he asks for; but those with an instance for each model or
    /// provider, which only a request names.
    pub fn standing(&self, caller: &Caller, said: &Attribution, now: Timestamp) -> Vec<Arc<Instance>> {
        let (facts, terms) = (RequestFacts::default(), Terms::default());
        let question = nothing_asked(caller, said, now, &facts, &terms);
        let rules = self.rules().budgets.iter().filter(|rule| rule.claims(&question, false));
        let rules = rules.filter(|rule| !rule.for_each.iter().any(super::field::Field::is_of_the_request));
        rules.filter_map(|rule| rule.instance(&question)).collect()
    }

    /// Limits and swaps that may act on the caller's next call; `balances` of what [`RuleSet::standing`] gave.
    pub fn in_force(
        &self,
        caller: &Caller,
        said: &Attribution,
        now: Timestamp,
        balances: &[(Arc<Instance>, Balance)],
    ) -> Vec<InForce> {
        let (facts, terms) = (RequestFacts::default(), Terms::default());
        let question = nothing_asked(caller, said, now, &facts, &terms);
        let call = Call { question: &question, balances: Some(balances), request_is_known: false };
        let rules = self.rules();
        let mut found = Vec::new();
        let mut tell = |kind, head: &Head, text: String| {
            let truth = head.applies(&call, None);
            if truth != Truth::No && !head.shadow {
                let depends_on_the_call = truth == Truth::Open;
                found.push(InForce { kind, rule: Arc::clone(&head.name), text, depends_on_the_call });
            }
        };
        for rule in &rules.blocks {
            tell(Kind::Block, &rule.head, "refused".to_owned());
        }
        for rule in rules.own_of(caller).into_iter().chain(&rules.limits) {
            tell(Kind::Limit, &rule.head, words(rule));
        }
        for rule in &rules.swaps {
            let from: Vec<&str> = rule.from.iter().map(super::field::Pattern::text).collect();
            let to: Vec<&str> = rule.to.iter().map(|to| &**to).collect();
            tell(Kind::Swap, &rule.head, format!("{} → {}", from.join(", "), to.join(", ")));
        }
        for rule in &rules.clamps {
            tell(Kind::Clamp, &rule.head, format!("at most {} output tokens", rule.output_tokens));
        }
        found
    }
}

/// `60 requests a minute, 2.00 USD a call`
pub fn words(rule: &LimitRule) -> String {
    let parts = [
        rule.requests_per_minute.map(|limit| format!("{limit} requests a minute")),
        rule.tokens_per_minute.as_ref().map(|budget| format!("{} tokens a minute", budget.limit)),
        rule.concurrent.map(|limit| format!("{limit} calls at a time")),
        rule.input_tokens_per_call.map(|limit| format!("{limit} input tokens a call")),
        rule.output_tokens_per_call.map(|limit| format!("{limit} output tokens a call")),
        rule.cost_per_call.map(|limit| format!("{limit} USD a call")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn nothing_asked<'a>(
    caller: &'a Caller,
    attribution: &'a Attribution,
    now: Timestamp,
    facts: &'a RequestFacts,
    terms: &'a Terms,
) -> Question<'a> {
    Question {
        caller,
        attribution,
        facts,
        operation: Operation::Other,
        dialect: Dialect::OpenAi,
        metered: true,
        reads_only: false,
        provider: "",
        upstream_model: None,
        model: None,
        bound: TokenUsage::ZERO,
        input_is_counted: false,
        terms,
        ceiling: None,
        estimate: None,
        bounded_by_context: false,
        refuses_swaps: false,
        does_not_fit: false,
        applied: &[],
        now,
    }
}
