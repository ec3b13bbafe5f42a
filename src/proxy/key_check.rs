//! Asks a provider whether it takes a key: its list of models, which costs nothing.

use super::probe::probe;
use super::provider::{Provider, Unusable, shared_connector};
use super::settings::{ProviderKey, ProviderSettings};
use crate::clock::Timestamp;
use crate::dialects::Dialect;
use crate::secret::Secret;
use crate::tenants::KeyHealth;
use std::time::Duration;

/// A provider answers its list of models at once, or is not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The provider spoke about the key.
    Found(KeyHealth),
    /// Nothing is known: why.
    Unknown(String),
}

/// Asks once.
///
/// # Errors
/// The provider's certificates cannot be used.
pub async fn check(settings: &ProviderSettings, key: &Secret<String>, now: Timestamp) -> Result<Checked, Unusable> {
    let settings = ProviderSettings { key: ProviderKey::Own(key.clone()), ..settings.clone() };
    // What cannot be set up is a fault of the settings, and not the key's.
    Provider::new(settings.clone(), &shared_connector())?;
    Ok(match probe(&settings, now, ANSWER_WITHIN).await.map(|probed| probed.status) {
        Err(why) => Checked::Unknown(why),
        Ok(200..=299 | 429) => Checked::Found(KeyHealth::Valid),
        Ok(401 | 403) => Checked::Found(KeyHealth::Invalid),
        // Gemini says 400 `API_KEY_INVALID` of a key that it does not know.
        Ok(400) if settings.dialect == Dialect::Gemini => Checked::Found(KeyHealth::Invalid),
        Ok(status) => Checked::Unknown(format!("it answered {status} to a question for its models")),
    })
}
