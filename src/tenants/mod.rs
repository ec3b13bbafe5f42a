//! Who is calling.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The authenticated caller of an exchange. In open mode the caller is named by the keyed hash of the key that he
/// brought; organisation, team and project are the defaults or what the attribution headers say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub organisation: Option<Arc<str>>,
    pub team: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    /// The key's public name (`caller-3f9a12c4`), never the key nor its full hash.
    pub key: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
}

/// What the caller said about this one call (`x-farebox-*` headers, LiteLLM's headers, `user`, `metadata`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribution {
    pub end_user: Option<Arc<str>>,
    pub session: Option<Arc<str>>,
    pub run: Option<Arc<str>>,
    pub environment: Option<Arc<str>>,
    pub tags: Vec<(Arc<str>, Arc<str>)>,
    pub prompt_name: Option<Arc<str>>,
    /// Keyed hash of the system/template prefix: top prompts by cost can be shown without their content.
    pub prompt_hash: Option<u64>,
}
