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
use std::sync::Arc;

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

/// A text of the rules about a call, without what was spent of budgets that this caller is not shown.
pub fn without_amounts(text: &str, balances: &[(Arc<Instance>, Balance)]) -> String {
    let mut told = text.to_owned();
    let hidden = balances.iter().filter(|(instance, _)| !instance.budget.show_amounts);
    for (instance, _) in hidden {
        let stands = format!("budget {} is ", instance.budget.name);
        let mut from = 0;
        while let Some(start) = told[from..].find(&stands).map(|at| from + at + stands.len()) {
            let end = told[start..].find(" (wanted").map_or(told.len(), |at| start + at);
            told.replace_range(start..end, "as it is");
            from = start;
        }
    }
    told
}

/// Whether the caller may be told what was spent of this budget; of what is no budget, always.
pub fn is_shown(name: &str, balances: &[(Arc<Instance>, Balance)]) -> bool {
    !balances.iter().any(|(instance, _)| *instance.budget.name == *name && !instance.budget.show_amounts)
}

fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::PicoUsd => "usd",
        Unit::Tokens => "tokens",
        Unit::Requests => "requests",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::window::{Window, WindowRule};
    use crate::budget::{Budget, Hardness};
    use crate::clock::Timestamp;

    #[test]
    fn what_others_spent_is_cut_out_of_a_rules_words() {
        let budget = |name: &str, show_amounts| {
            let budget = Budget {
                name: name.into(),
                unit: Unit::PicoUsd,
                limit: 1,
                hardness: Hardness::Hard,
                window: WindowRule::Lifetime,
                thresholds: Vec::new(),
                is_rate_limit: false,
                clamp: true,
                show_amounts,
                message: None,
            };
            let window = Window { start: Timestamp(0), end: Timestamp(1), counts_from: Timestamp(0) };
            (Arc::new(Instance::new(Arc::new(budget), "".into(), window)), Balance::default())
        };
        let balances = [budget("team", false), budget("mine", true)];
        let text = "budget team is 81% used, 3 USD remain (wanted used >= 80%) and budget mine is 5% used (wanted 1%)";
        let told = "budget team is as it is (wanted used >= 80%) and budget mine is 5% used (wanted 1%)";
        assert_eq!(without_amounts(text, &balances), told);
        assert_eq!(
            (is_shown("team", &balances), is_shown("mine", &balances), is_shown("x", &balances)),
            (false, true, true)
        );
    }
}
