//! A key of Farebox's own for a provider, as it is kept: sealed, by a name, with how it stands.

use crate::clock::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// Longest secret.
pub const PROVIDER_SECRET_BYTES_MAX: usize = 16 * 1024;
/// Largest weight.
pub const WEIGHT_MAX: u32 = 1_000;

/// What is known of a provider key; its text is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderKeyRecord {
    pub name: Arc<str>,
    pub provider: Arc<str>,
    /// Its share of the calls among the provider's keys that are well.
    pub weight: u32,
    pub created_at: Timestamp,
    pub not_after: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
    /// What the provider said of it last, and when.
    pub seen: Option<(KeyHealth, Timestamp)>,
    /// By which master key it is sealed.
    pub master: [u8; 8],
}

/// How a provider key stands with its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyHealth {
    /// Nothing speaks against it.
    Valid,
    /// Its provider asked for a pause: 429.
    Cooling,
    /// Its provider refused it: 401, or 403 again and again.
    Invalid,
    /// Its time is over.
    Expired,
}

impl KeyHealth {
    pub const ALL: [KeyHealth; 4] = [KeyHealth::Valid, KeyHealth::Invalid, KeyHealth::Expired, KeyHealth::Cooling];

    pub fn name(self) -> &'static str {
        match self {
            KeyHealth::Valid => "valid",
            KeyHealth::Cooling => "cooling",
            KeyHealth::Invalid => "invalid",
            KeyHealth::Expired => "expired",
        }
    }

    pub fn of_name(name: &str) -> Option<KeyHealth> {
        KeyHealth::ALL.into_iter().find(|health| health.name() == name)
    }
}

impl ProviderKeyRecord {
    /// What the sealed text is bound to: it opens in no other place.
    pub fn purpose(name: &str, provider: &str) -> String {
        format!("farebox provider key v1: {name} at {provider}")
    }

    /// In one word.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if self.deleted_at.is_some() {
            "removed"
        } else if self.disabled_at.is_some() {
            "disabled"
        } else if self.not_after.is_some_and(|end| now >= end) {
            KeyHealth::Expired.name()
        } else {
            self.seen.map_or("unchecked", |(health, _)| health.name())
        }
    }
}

/// Whether a text can be a provider's key: one word of printable letters.
pub fn is_a_provider_secret(text: &str) -> bool {
    !text.is_empty() && text.len() <= PROVIDER_SECRET_BYTES_MAX && text.chars().all(|letter| letter.is_ascii_graphic())
}
