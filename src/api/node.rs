//! What the admin port asks of the running node, beyond its ledger's file.

use crate::budget::{Balance, Instance};
use crate::catalog::Catalog;
use crate::rules::RuleSet;
use crate::tracking::{NotTracked, Told, Tracked};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Books usage from outside. Blocks.
pub type Track = Arc<dyn Fn(&Told) -> Result<Tracked, NotTracked> + Send + Sync>;

pub type RulesFiles = Arc<dyn Fn() -> Vec<(String, String)> + Send + Sync>;
pub type Standing = Arc<dyn Fn() -> Vec<(Arc<Instance>, Balance)> + Send + Sync>;

#[derive(Clone)]
pub struct Node {
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// Names of the configured providers.
    pub providers: Vec<Arc<str>>,
    pub track: Track,
    /// In force.
    pub rules: Arc<ArcSwap<RuleSet>>,
    /// The files that they come from: names and texts.
    pub rules_files: RulesFiles,
    /// How the accounts stand that the node has open.
    pub standing: Standing,
    /// Every version that was ever in force, as JSON.
    pub rules_versions: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
}

#[cfg(test)]
impl Node {
    /// One that books nothing, and says that it did.
    pub fn of_nothing() -> Node {
        use crate::ids::{EventId, ExchangeId};
        let tracked =
            Tracked { event: EventId(1), exchange: ExchangeId(1), cost: None, pricing: "no_rate".into(), known: None };
        Node {
            catalog: Arc::default(),
            providers: vec!["openai".into()],
            track: Arc::new(move |_| Ok(tracked.clone())),
            rules: Arc::default(),
            rules_files: Arc::new(Vec::new),
            standing: Arc::new(Vec::new),
            rules_versions: Arc::new(|| serde_json::json!([])),
        }
    }
}
