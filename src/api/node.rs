//! What the admin port asks of the running node, beyond its ledger's file.

use crate::catalog::Catalog;
use crate::tracking::{NotTracked, Told, Tracked};
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Books usage from outside. Blocks.
pub type Track = Arc<dyn Fn(&Told) -> Result<Tracked, NotTracked> + Send + Sync>;

#[derive(Clone)]
pub struct Node {
    pub catalog: Arc<ArcSwap<Catalog>>,
    /// Names of the configured providers.
    pub providers: Vec<Arc<str>>,
    pub track: Track,
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
        }
    }
}
