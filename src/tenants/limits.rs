//! What a virtual key may use, beside the rules: they hold too.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Each left out: no bound of the key's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Calls at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u32>,
    /// `50 USD/month`, `2M tokens/day`, `1000 requests/rolling 5h`: as the rules write limit and window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Arc<str>>,
}

impl KeyLimits {
    pub fn is_empty(&self) -> bool {
        *self == KeyLimits::default()
    }
}
