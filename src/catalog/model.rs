//! Models: names, aliases, capabilities.

use super::price::Pricing;
use crate::clock::Timestamp;
use crate::money::Usd;
use crate::tokens::usage::TokenUsage;
use std::sync::Arc;

/// All models and their prices: one immutable snapshot.
#[derive(Debug, Default)]
pub struct Catalog {}

/// One model of one provider.
#[derive(Debug)]
pub struct Model {
    /// The catalog's own name (`gpt-4o`), of which `gpt-4o-2024-08-06` may be an alias.
    pub id: Arc<str>,
    pub provider: Arc<str>,
    pub context_window: Option<u64>,
    pub max_output_tokens: Option<u64>,
}

/// What a name resolved to.
#[derive(Clone, Debug)]
pub struct Offer {
    pub model: Arc<Model>,
}

/// What else the price depends on.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The response's `service_tier` when it is known, else the request's.
    pub service_tier: Option<Arc<str>>,
    /// A batch: `processing: batch`.
    pub batch: bool,
    /// For generated images priced by the piece: their size and quality.
    pub image_size: Option<Arc<str>>,
    pub image_quality: Option<Arc<str>>,
}

impl Catalog {
    /// The version that events carry: the file's date and the first 8 letters of its hash.
    pub fn version(&self) -> &Arc<str> {
        unimplemented!()
    }

    /// The model of this name at this provider, by exact name, alias, dated snapshot, or pattern.
    pub fn resolve(&self, _provider: &str, _name: &str) -> Option<Offer> {
        None
    }

    /// The providers that have a model of this name, best match first: for routing by model.
    pub fn providers_of(&self, _name: &str) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Every model of a provider (`None`: all), for `GET /v1/models` where the provider has no such list.
    pub fn models(&self, _provider: Option<&str>) -> Vec<Arc<Model>> {
        Vec::new()
    }
}

impl Model {
    /// The list price of a usage at a moment.
    pub fn price(&self, _usage: &TokenUsage, _terms: &Terms, _now: Timestamp) -> Pricing {
        Pricing::Unmetered
    }

    /// The most that a usage within `bound` can cost: every kind at the dearest rate, tier and service tier that the
    /// terms admit (a `default` request cannot be billed above `default`; `auto` can become `priority`).
    pub fn ceiling(&self, _bound: &TokenUsage, _terms: &Terms, _now: Timestamp) -> Option<Usd> {
        None
    }
}
