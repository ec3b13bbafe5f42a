//! How a caller stands: his budgets with what is spent, held and left, when they reset, and the limits on him.

use super::Proxy;
use super::door::{self, Identity};
use crate::budget::account::Unit;
use crate::budget::window::WindowRule;
use crate::budget::{Balance, Instance};
use crate::money::pico_to_decimal;
use crate::rules::{CallBound, CallLimit};
use crate::tokens::facts::RequestFacts;
use http::HeaderMap;
use serde_json::{Value, json};

/// What the holder of a key is told of himself: `GET /farebox/me`.
pub async fn of(proxy: &Proxy, identity: &Identity, headers: &HeaderMap) -> Value {
    let (caller, credential) = (&*identity.caller, identity.credential.as_deref());
    let said = door::attribution(proxy, credential, headers, &RequestFacts::default(), b"");
    let rules = proxy.rules.load_full();
    let now = proxy.clock.now();
    let instances = rules.standing(caller, &said, now);
    let admission = proxy.ledger.admission();
    let balances = if instances.is_empty() { Vec::new() } else { admission.balances(&instances).await };
    let in_force = rules.in_force(caller, &said, now, &balances);
    json!({
        "object": "farebox.caller",
        "key": caller.key,
        "organisation": caller.organisation,
        "team": caller.team,
        "project": caller.project,
        "user": caller.user,
        "permissions": credential.map(|credential| &*credential.permissions),
        "expires_at": credential.and_then(|credential| credential.not_after).map(|at| at.to_rfc3339_seconds()),
        "budgets": balances.iter().map(|(instance, balance)| budget(instance, balance)).collect::<Vec<_>>(),
        "rules": in_force,
    })
}

/// One budget. What others spent of it is left out unless the budget says otherwise.
pub fn budget(instance: &Instance, balance: &Balance) -> Value {
    let budget = &instance.budget;
    let resets_at = match budget.window {
        WindowRule::Lifetime => None,
        WindowRule::Calendar { .. } | WindowRule::Rolling { .. } => Some(instance.window.end.to_rfc3339_seconds()),
    };
    let mut told = json!({
        "budget": budget.name,
        "scope": instance.scope,
        "unit": unit(budget.unit),
        "limit": number(instance, balance.limit),
        "hardness": budget.hardness,
        "window_start": instance.window.counts_from.to_rfc3339_seconds(),
        "resets_at": resets_at,
    });
    if budget.show_amounts {
        told["spent"] = number(instance, balance.spent);
        told["held"] = number(instance, balance.held);
        told["left"] = number(instance, balance.available());
        told["used_percent"] = (f64::from(balance.used().0) / 100.0).into();
    }
    told
}

/// A limit on calls, and whether one more would pass now.
pub fn limit(limit: &CallLimit, passes: bool) -> Value {
    let (bound, calls) = match limit.bound {
        CallBound::PerMinute(calls) => ("requests_per_minute", calls),
        CallBound::Concurrent(calls) => ("concurrent_requests", calls),
    };
    json!({ "limit": limit.rule, "scope": limit.scope, "kind": bound, "calls": calls, "passes_now": passes })
}

/// Dollars as an exact decimal text, anything else as a number.
pub fn number(instance: &Instance, amount: u128) -> Value {
    match instance.budget.unit {
        Unit::PicoUsd => pico_to_decimal(i128::try_from(amount).unwrap_or(i128::MAX)).into(),
        Unit::Tokens | Unit::Requests => u64::try_from(amount).unwrap_or(u64::MAX).into(),
    }
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::PicoUsd => "usd",
        Unit::Tokens => "tokens",
        Unit::Requests => "requests",
    }
}
