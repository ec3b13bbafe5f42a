//! Passwords: argon2id, and how often one may guess.

use super::problem::Problem;
use crate::queries::Misasked;
use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::time::Duration;

/// Letters of a password.
const LETTERS_MIN: usize = 12;
/// An attempt more is allowed after each such interval.
const NEXT_AFTER: Duration = Duration::from_secs(12);
/// The same for codes of second factors: whoever tries one has the password already, and a code is six digits.
const NEXT_CODE_AFTER: Duration = Duration::from_secs(300);
/// Names and addresses whose attempts are remembered; beyond it those that have rested are forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// What a guess costs, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guesses {
    /// argon2id's memory, in KiB.
    pub memory_kib: u32,
    /// argon2id's passes over it.
    pub passes: u32,
    /// So many attempts at once for one name, and from one address.
    pub of_name: NonZeroU32,
    pub of_address: NonZeroU32,
    /// So many codes of a second factor at once for one name.
    pub codes: NonZeroU32,
}

impl Default for Guesses {
    /// argon2id as OWASP's password storage cheat sheet has it: 19 MiB, two passes.
    fn default() -> Self {
        let attempts = |count: u32| NonZeroU32::MIN.saturating_add(count - 1);
        Guesses { memory_kib: 19_456, passes: 2, of_name: attempts(5), of_address: attempts(20), codes: attempts(5) }
    }
}

impl Guesses {
    fn argon2(&self) -> Argon2<'static> {
        let params = Params::new(self.memory_kib, self.passes, 1, None).unwrap_or_default();
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
    }

    /// The hash that is kept.
    pub(super) fn hashed(&self, password: &str) -> Result<String, Problem> {
        if password.chars().count() < LETTERS_MIN {
            let problem = format!("it has fewer than {LETTERS_MIN} letters");
            return Err(Misasked::new("password", problem, "choose a longer one, several words for example").into());
        }
        let mut salt = [0u8; 16];
        let unable = || Problem::busy("no password can be kept just now", 1);
        getrandom::fill(&mut salt).map_err(|_| unable())?;
        let salt = SaltString::encode_b64(&salt).map_err(|_| unable())?;
        let hash = self.argon2().hash_password(password.as_bytes(), &salt).map_err(|_| unable())?;
        Ok(hash.to_string())
    }

    /// Whether it is the password. Without a hash the same work is done in vain, so that the time tells no names.
    pub(super) fn is_right(&self, password: &str, hash: Option<&str>) -> bool {
        let Guesses { memory_kib, passes, .. } = self;
        let nobodys = || format!("$argon2id$v=19$m={memory_kib},t={passes},p=1${}${}", "A".repeat(22), "A".repeat(43));
        let hash_or_nobodys = hash.map_or_else(nobodys, str::to_owned);
        let Ok(parsed) = PasswordHash::new(&hash_or_nobodys) else { return false };
        // The parameters are those of the hash.
        Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok() && hash.is_some()
    }
}

type Limiter = RateLimiter<String, HashMapStateStore<String>, DefaultClock>;

/// Counts attempts, good or bad.
pub(super) struct Attempts {
    by_name: Limiter,
    by_address: Limiter,
    codes: Limiter,
}

impl Attempts {
    pub(super) fn new(guesses: &Guesses) -> Attempts {
        let limiter = |burst, next_after| {
            let quota = Quota::with_period(next_after).map_or(Quota::per_hour(burst), |quota| quota.allow_burst(burst));
            RateLimiter::hashmap(quota)
        };
        Attempts {
            by_name: limiter(guesses.of_name, NEXT_AFTER),
            by_address: limiter(guesses.of_address, NEXT_AFTER),
            codes: limiter(guesses.codes, NEXT_CODE_AFTER),
        }
    }

    /// As [`Attempts::count`], where no name is guessed.
    pub(super) fn count_address(&self, address: &str) -> Result<(), Problem> {
        count(&self.by_address, address)
    }

    /// A code of this user's second factor is tried.
    pub(super) fn count_code(&self, name: &str) -> Result<(), Problem> {
        count(&self.codes, name)
    }

    /// # Errors
    /// 429 with `retry-after` when there were too many of late.
    pub(super) fn count(&self, name: &str, address: &str) -> Result<(), Problem> {
        count(&self.by_name, name)?;
        count(&self.by_address, address)
    }
}

fn count(limiter: &Limiter, key: &str) -> Result<(), Problem> {
    if limiter.len() > REMEMBERED_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(&key.chars().take(100).collect()).map_err(|wait| {
        let seconds = wait.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
        Problem::busy("too many attempts to log in", u32::try_from(seconds).unwrap_or(u32::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_as_argon2id_and_only_the_right_one_opens() {
        let guesses = Guesses::default();
        let hash = guesses.hashed("correct horse battery").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(guesses.is_right("correct horse battery", Some(&hash)));
        assert!(!guesses.is_right("correct horse batterx", Some(&hash)));
        assert!(!guesses.is_right("", None));
        assert!(guesses.hashed("short").is_err());
    }

    #[test]
    fn the_sixth_guess_in_a_row_waits_and_another_name_does_not() {
        let attempts = Attempts::new(&Guesses::default());
        assert!((0..5).all(|n| attempts.count("ann", &format!("10.0.0.{n}")).is_ok()));
        assert!(attempts.count("ann", "10.0.0.9").is_err());
        assert!(attempts.count("bob", "10.0.0.9").is_ok());
        let codes = (0..20).filter(|_| attempts.count_code("ann").is_ok()).count();
        assert_eq!(codes, 5, "codes are counted apart");
        assert!(attempts.count_code("bob").is_ok());
        let from_one = (0..30).filter(|n| attempts.count(&format!("user-{n}"), "10.0.0.7").is_ok()).count();
        assert_eq!(from_one, 20);
    }
}
