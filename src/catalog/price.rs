//! Usage → cost: the one rounding.

use crate::money::{Rate, Usd};
use crate::tokens::usage::Kind;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an attempt costs at list price, or why that is not known. Unknown is never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pricing {
    Priced(Box<Cost>),
    Unpriced(Unpriced),
    /// Nothing there is billed (a model list, a file's metadata).
    Unmetered,
}

/// A priced usage. The parts sum to the total by construction: they are the differences of the rounded running sums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub total: Usd,
    /// By kind, in the order of [`Kind::ALL`]; only kinds that were used.
    pub by_kind: Vec<(Kind, Usd)>,
    /// The rates that were applied, before `multiplier`: kept with the event so that history can be priced again.
    pub rates: Vec<(Kind, Rate)>,
    /// Version of the catalog that they come from.
    pub catalog: Arc<str>,
    /// What was applied in words: `tier >272000`, `service_tier flex`, `region eu ×1.1`.
    pub terms: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpriced {
    /// No catalog entry for the model at this provider.
    UnknownModel,
    /// The entry has no rate for a kind that was used.
    NoRate,
    /// What was used is not known.
    UnknownUsage,
    /// The sum does not fit: nonsense from a provider.
    OutOfRange,
}
