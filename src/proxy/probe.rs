//! One cheap question to a provider, as a call would ask it: the same addresses, certificates, egress proxy and key.

use super::client::Head;
use super::provider::{Provider, shared_connector};
use super::settings::ProviderSettings;
use super::upstream::{Failure, Framing, HeadPlan, Line, head, unwritable};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Flavor};
use http::header::{self, HeaderValue};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a provider answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    pub status: u16,
    /// Its clock, as the `date` header has it.
    pub date: Option<String>,
    pub took: Duration,
}

/// Asks for the list of models: no provider charges for it.
///
/// # Errors
/// In words: it cannot be set up, or not be reached.
pub async fn probe(settings: &ProviderSettings, now: Timestamp, timeout: Duration) -> Result<Probed, String> {
    let provider = Provider::new(settings.clone(), &shared_connector()).map_err(|error| error.to_string())?;
    let asked = Instant::now();
    let asking = ask(Arc::new(provider), now, timeout, asked);
    match tokio::time::timeout(timeout, asking).await {
        Ok(answered) => answered.map_err(|failure| failure.in_words()),
        Err(_) => Err(format!("no answer within {} s", timeout.as_secs())),
    }
}

async fn ask(provider: Arc<Provider>, now: Timestamp, timeout: Duration, asked: Instant) -> Result<Probed, Failure> {
    let settings = &provider.settings;
    let mut original = Head::default();
    original.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if settings.dialect == Dialect::Anthropic {
        original.headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let (rest, query) = models_of(settings.dialect, settings.flavor);
    let carried = provider.purse.take(now, &[], true).map_err(|_| unwritable())?;
    let plan = HeadPlan {
        original: &original,
        provider: &provider,
        rest,
        query,
        framing: Framing::Nothing,
        identity: true,
        caller_key_may_pass: false,
        carried: &carried,
        traceparent: None,
    };
    let head = head(&plan).ok_or_else(unwritable)?;
    let line = Line::open(&provider, now, false).await?;
    let mut connection = line.begin(head, timeout).await?;
    let response = connection.response_head(timeout).await?;
    let date = response.headers.get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
    connection.release(false).await;
    Ok(Probed { status: response.status.as_u16(), date, took: asked.elapsed() })
}

fn models_of(dialect: Dialect, flavor: Flavor) -> (&'static str, Option<&'static str>) {
    match (dialect, flavor) {
        (Dialect::OpenAi, Flavor::Azure) => ("/openai/models", Some("api-version=2024-10-21")),
        (Dialect::OpenAi, _) => ("/v1/models", None),
        (Dialect::Anthropic, _) => ("/v1/models", Some("limit=1")),
        (Dialect::Gemini, _) => ("/v1beta/models", Some("pageSize=1")),
    }
}
