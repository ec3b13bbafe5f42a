//! The one place where a refusal or an error of ours becomes words, a status and a body in the caller's dialect.

use super::downstream::BodyFault;
use super::upstream::Failure;
use crate::dialects::{Malformed, Refusal, RefusalKind};
use crate::event::Outcome;

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
        Failure::NoResponse(_) => Outcome::ProviderCut,
        Failure::Timeout(_) => Outcome::ProviderTimeout,
        Failure::Rejected(status) => Outcome::of_status(*status),
    }
}
