//! The one place where a refusal or an error of ours becomes words, a status and a body in the caller's dialect.

use super::downstream::BodyFault;
use super::foresee::Foreseen;
use super::limits::Reached;
use super::upstream::Failure;
use crate::budget::Instance;
use crate::budget::account::Unit;
use crate::budget::book::Blocked;
use crate::budget::window::{Every, WindowRule};
use crate::clock::Timestamp;
use crate::dialects::{Malformed, Refusal, RefusalKind};
use crate::event::Outcome;
use crate::money::pico_to_decimal;
use crate::rules::{CallBound, CallLimit};

/// A plain refusal.
pub fn because(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), member: None, retry_after_seconds: None }
}

pub fn malformed(fault: Malformed) -> Refusal {
    Refusal {
        kind: RefusalKind::InvalidRequest,
        message: fault.message,
        member: fault.member,
        retry_after_seconds: None,
    }
}

/// A body that could not be read; `None` when nobody is there to be told.
pub fn unread_body(fault: &BodyFault, bytes_max: u64) -> Option<Refusal> {
    Some(match fault {
        BodyFault::TooLarge => because(
            RefusalKind::TooLarge,
            format!(
                "The request body is longer than Farebox's `body_bytes_max` of {bytes_max} bytes. Send less, or raise it."
            ),
        ),
        BodyFault::TooSlow => because(
            RefusalKind::RequestTimeout,
            "The request body did not arrive within Farebox's `request_timeout`. Send it again.",
        ),
        BodyFault::NoRoom => Refusal {
            retry_after_seconds: Some(1),
            ..because(
                RefusalKind::Unavailable,
                "Farebox holds as many request bodies as `bodies_bytes_max` allows. Try again in a moment.",
            )
        },
        BodyFault::ClientGone => return None,
    })
}

/// A body that is passed on as it comes, and came too slowly.
pub fn slow_body() -> Refusal {
    because(
        RefusalKind::RequestTimeout,
        "The request body did not arrive in time: no piece may take longer than Farebox's `request_timeout`, and all of \
         it no longer than the provider's `whole`. Send it again.",
    )
}

/// Every target failed; what the last one said.
pub fn no_response(provider: &str, failure: &Failure) -> Refusal {
    match failure {
        // Nothing of the request was accepted: any client may try again at once.
        Failure::NotConnected(why) | Failure::Untrusted(why) => because(
            RefusalKind::ProviderUnreachable,
            format!(
                "Farebox could not reach the provider `{provider}`: {why}. Nothing was sent and nothing is charged."
            ),
        ),
        Failure::CircuitOpen { seconds } => Refusal {
            retry_after_seconds: Some(*seconds),
            ..because(
                RefusalKind::Unavailable,
                format!(
                    "The provider `{provider}` failed too often; its circuit is open and it is tried again in {seconds} s. Nothing was sent and nothing is charged."
                ),
            )
        },
        Failure::Stale { .. } => because(
            RefusalKind::ProviderUnreachable,
            format!("The provider `{provider}` closed the connection and gave no response."),
        ),
        Failure::NoResponse(why) => {
            because(RefusalKind::ProviderUnreachable, format!("The provider `{provider}` gave no response: {why}."))
        }
        Failure::Rejected(status) => because(
            RefusalKind::ProviderUnreachable,
            format!("The provider `{provider}` answered {status}, and nothing else could be tried."),
        ),
        Failure::Timeout(which) => because(
            RefusalKind::ProviderTimeout,
            format!("The provider `{provider}` did not answer within the `{which}` timeout of its settings."),
        ),
    }
}

/// The outcome of an attempt that brought no response.
pub fn outcome(failure: &Failure) -> Outcome {
    match failure {
        Failure::NotConnected(_) | Failure::Untrusted(_) | Failure::CircuitOpen { .. } => {
            Outcome::ProviderConnectionFailed
        }
        Failure::NoResponse(_) | Failure::Stale { .. } => Outcome::ProviderCut,
        Failure::Timeout(_) => Outcome::ProviderTimeout,
        Failure::Rejected(status) => Outcome::of_status(*status),
    }
}

/// A limit on calls is reached.
pub fn limit_reached(reached: &Reached) -> Refusal {
    let CallLimit { rule, scope, bound, message: more, .. } = &reached.limit;
    let whose = if scope.is_empty() { String::new() } else { format!(" ({scope})") };
    let seconds = reached.retry_after.as_secs().saturating_add(1);
    let mut message = match bound {
        CallBound::PerMinute(calls) => format!(
            "The limit `{rule}`{whose} of {calls} requests a minute is reached. Nothing was sent. Try again in {seconds} s."
        ),
        CallBound::Concurrent(calls) => format!(
            "The limit `{rule}`{whose} of {calls} requests at once is reached. Nothing was sent. Try again when one of \
             them has ended."
        ),
    };
    if let Some(more) = more {
        message.push_str(&format!(" {more}"));
    }
    Refusal { retry_after_seconds: Some(seconds), ..because(RefusalKind::RateLimited, message) }
}

/// Budgets have no room for a call. Names every one of them, when it is free again, and what to do; what others spent is
/// told only where the budget says so.
pub fn over_budget(blocked: &[Blocked], foreseen: &Foreseen, affordable: Option<u64>, now: Timestamp) -> Refusal {
    let named: Vec<String> = blocked.iter().map(|one| of_budget(one, foreseen)).collect();
    let mut message = named.join(" ");
    if let Some(limit) = affordable {
        message.push_str(&format!(" With an output limit of {limit} tokens this call would fit."));
    }
    let minutes_only = !blocked.is_empty() && blocked.iter().all(|one| one.instance.budget.is_rate_limit);
    let advice = match (minutes_only, affordable) {
        (true, _) => " Nothing was sent. Try again then.",
        (false, Some(_)) => " Nothing was sent. Ask for less output, or for a cheaper model, or wait.",
        (false, None) => {
            " Nothing was sent. Ask for a cheaper model or send less, wait until it frees, or ask whoever keeps the \
             budget to raise it."
        }
    };
    message.push_str(advice);
    for more in blocked.iter().filter_map(|one| one.instance.budget.message.as_deref()) {
        message.push_str(&format!(" {more}"));
    }
    if !minutes_only {
        return because(RefusalKind::BudgetExceeded, message);
    }
    let frees = blocked.iter().map(frees_at).max().unwrap_or(now);
    let seconds = frees.micros_since(now).div_ceil(1_000_000).max(1);
    Refusal { retry_after_seconds: Some(seconds), ..because(RefusalKind::RateLimited, message) }
}

fn of_budget(blocked: &Blocked, foreseen: &Foreseen) -> String {
    let Instance { budget, scope, .. } = &*blocked.instance;
    let unit = budget.unit;
    let whose = if scope.is_empty() { String::new() } else { format!(" ({scope})") };
    let limit = amount(unit, blocked.limit);
    let period = period(&budget.window);
    let wants = amount(unit, blocked.requested.into());
    let unpriced = unit == Unit::PicoUsd && foreseen.ceiling.is_none();
    let wants = if unpriced { "whose cost is not known".to_owned() } else { format!("which may use {wants}") };
    let room = if budget.show_amounts {
        let spent = amount(unit, blocked.spent);
        let held = if blocked.held > 0 {
            format!(", {} is held for calls under way", amount(unit, blocked.held))
        } else {
            String::new()
        };
        format!(": {spent} is spent{held}")
    } else {
        String::new()
    };
    let frees = match budget.window {
        WindowRule::Lifetime => "It does not reset by itself.".to_owned(),
        WindowRule::Rolling { .. } => format!("Room comes back from {} on.", frees_at(blocked).to_rfc3339_seconds()),
        WindowRule::Calendar { .. } => format!("It resets at {}.", frees_at(blocked).to_rfc3339_seconds()),
    };
    format!("The budget `{}`{whose} of {limit}{period} has no room for this call, {wants}{room}. {frees}", budget.name)
}

fn frees_at(blocked: &Blocked) -> Timestamp {
    blocked.frees_at.unwrap_or(blocked.instance.window.end)
}

/// An amount in its unit, in words: `1.25 USD`, `3000 tokens`.
pub fn amount(unit: Unit, amount: u128) -> String {
    match unit {
        Unit::PicoUsd => format!("{} USD", pico_to_decimal(i128::try_from(amount).unwrap_or(i128::MAX))),
        Unit::Tokens => format!("{amount} tokens"),
        Unit::Requests => format!("{amount} requests"),
    }
}

fn period(window: &WindowRule) -> String {
    match window {
        WindowRule::Calendar { every, .. } => match every {
            Every::Minute => " a minute",
            Every::Hour => " an hour",
            Every::Day => " a day",
            Every::Week => " a week",
            Every::Month => " a month",
            Every::Year => " a year",
        }
        .to_owned(),
        WindowRule::Rolling { length } => format!(" in any {} hours", length.as_secs().div_ceil(3_600)),
        WindowRule::Lifetime => String::new(),
    }
}
