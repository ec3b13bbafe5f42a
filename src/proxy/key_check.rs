//! Asks a provider whether it takes a key: its list of models, which costs nothing.

use super::provider::{Provider, Unusable, shared_connector};
use super::purse::Carried;
use super::settings::{ProviderKey, ProviderSettings};
use super::upstream::{Framing, HeadPlan, Line};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Flavor};
use crate::secret::Secret;
use crate::tenants::KeyHealth;
use bytes::Bytes;
use pingora_http::RequestHeader;
use std::sync::Arc;
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
    let provider = Arc::new(Provider::new(settings, &shared_connector())?);
    let Ok(carried) = provider.purse.take(now, &[], true) else {
        return Ok(Checked::Unknown("the key cannot be sent".to_owned()));
    };
    let asked = tokio::time::timeout(ANSWER_WITHIN, ask(&provider, &carried, now)).await;
    Ok(match asked {
        Err(_) => Checked::Unknown("it did not answer in time".to_owned()),
        Ok(Err(why)) => Checked::Unknown(why),
        Ok(Ok(200..=299 | 429)) => Checked::Found(KeyHealth::Valid),
        Ok(Ok(401 | 403)) => Checked::Found(KeyHealth::Invalid),
        // Gemini says 400 `API_KEY_INVALID` of a key that it does not know.
        Ok(Ok(400)) if provider.settings.dialect == Dialect::Gemini => Checked::Found(KeyHealth::Invalid),
        Ok(Ok(status)) => Checked::Unknown(format!("it answered {status} to a question for its models")),
    })
}

async fn ask(provider: &Arc<Provider>, carried: &Carried, now: Timestamp) -> Result<u16, String> {
    let (rest, query) = match (provider.settings.dialect, provider.settings.flavor) {
        (Dialect::OpenAi, Flavor::Azure) => ("/openai/models", Some("api-version=2024-10-21")),
        (Dialect::OpenAi | Dialect::Anthropic, _) => ("/v1/models", None),
        (Dialect::Gemini, _) => ("/v1beta/models", Some("pageSize=1")),
    };
    let mut original = RequestHeader::build("GET", rest.as_bytes(), None).map_err(|error| error.to_string())?;
    if provider.settings.dialect == Dialect::Anthropic {
        let _ = original.insert_header("anthropic-version", "2023-06-01");
    }
    let (original, framing) = (&original, Framing::Nothing);
    let plan =
        HeadPlan { original, provider, rest, query, framing, identity: true, caller_key_may_pass: false, carried };
    let line = Line::open(provider, now).await.map_err(|failure| format!("{failure:?}"))?;
    let sent = line.send(&plan, Bytes::new(), ANSWER_WITHIN).await;
    let mut connection = sent.map_err(|failure| format!("{failure:?}"))?;
    let head = connection.response_head(ANSWER_WITHIN).await;
    connection.release(false).await;
    head.map(|head| head.status.as_u16()).map_err(|failure| format!("{failure:?}"))
}
