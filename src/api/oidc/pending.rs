//! Logins that are under way: what must not leave this process until the browser comes back. In memory, so that a restart
//! ends them; bounded in number and time.

use super::super::problem::Problem;
use crate::clock::Timestamp;
use crate::secret::Secret;
use parking_lot::Mutex;
use std::collections::HashMap;

/// A person has so long to log in at his provider.
pub(super) const SECONDS: i64 = 600;
/// Logins under way; one more is refused until others end.
const LOGINS_MAX: usize = 1_000;

/// What the provider's answer is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secrets {
    pub nonce: Secret<String>,
    pub verifier: Secret<String>,
}

/// What is kept of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub provider: String,
    pub secrets: Secrets,
    /// The user in whose session it was begun.
    pub logged_in: Option<String>,
}

struct Login {
    kept: Kept,
    not_after: Timestamp,
}

/// By state.
#[derive(Default)]
pub(super) struct Pending(Mutex<HashMap<String, Login>>);

impl Pending {
    pub(super) fn keep(&self, state: &str, kept: Kept, now: Timestamp) -> Result<(), Problem> {
        let mut logins = self.0.lock();
        if logins.len() >= LOGINS_MAX {
            logins.retain(|_, login| login.not_after > now);
        }
        if logins.len() >= LOGINS_MAX {
            return Err(Problem::busy("too many are logging in", 60));
        }
        let not_after = Timestamp(now.as_micros().saturating_add(SECONDS * 1_000_000));
        logins.insert(state.to_owned(), Login { kept, not_after });
        Ok(())
    }

    /// Once; `None` when it is over, was taken, or is of another provider.
    pub(super) fn take(&self, state: &str, provider: &str, now: Timestamp) -> Option<Kept> {
        let Login { kept, not_after } = self.0.lock().remove(state)?;
        (kept.provider == provider && not_after > now).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let secrets = Secrets { nonce: Secret::new("nonce".to_owned()), verifier: Secret::new("verifier".to_owned()) };
        Kept { provider: "corp".to_owned(), secrets, logged_in: None }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000)
    }

    #[test]
    fn a_login_is_finished_once_in_time_and_by_its_own_provider() {
        let pending = Pending::default();
        let keep = |state: &str| pending.keep(state, kept(), at(0)).is_ok();
        assert!(["once", "late", "other"].into_iter().all(keep));
        assert_eq!(pending.take("once", "corp", at(599)), Some(kept()));
        assert_eq!(pending.take("once", "corp", at(599)), None, "taken");
        assert_eq!(pending.take("late", "corp", at(600)), None, "over");
        assert_eq!(pending.take("other", "elsewhere", at(1)), None, "of another provider");
        assert_eq!(pending.take("never", "corp", at(1)), None);
    }

    #[test]
    fn more_than_a_thousand_wait_until_others_are_over() {
        let pending = Pending::default();
        let waiting = (0..1_001).filter(|n| pending.keep(&n.to_string(), kept(), at(0)).is_ok()).count();
        assert_eq!(waiting, 1_000);
        assert!(pending.keep("later", kept(), at(600)).is_ok());
    }
}
