//! Who is calling, and what he may do: tenants, virtual keys, and the keyring that a call is looked up in. Pure.
//!
//! Names are unique in the whole installation, each kind for itself, and are never given out twice, also not after a
//! deletion: rules, budgets and the ledger's rows say a name alone, and must not mean two.

mod key;
mod keyring;
mod limits;
mod name;
mod network;
mod permissions;
mod provider_key;
mod role;
mod seal;
mod totp;

pub use key::{Digest, KEY_LETTERS, KeyText, PREFIX_LETTERS, Pepper, looks_like_a_key, looks_like_a_token};
pub use keyring::{Closed, Credential, Keyring, NotAdmitted};
pub use limits::KeyLimits;
pub use name::{NAME_LETTERS_MAX, NotAName, check_name};
pub use network::{Network, NotANetwork};
pub use permissions::{Forbidden, GUARDED_OPERATIONS, Permissions, matches_glob};
pub use provider_key::{KeyHealth, PROVIDER_SECRET_BYTES_MAX, ProviderKeyRecord, WEIGHT_MAX, is_a_provider_secret};
pub use role::{Action, Grant, Principal, Role, Scope};
pub use seal::{MasterKey, MasterKeyId, NotAMasterKey, NotOpened};
pub use totp::TotpSecret;

use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The authenticated caller of an exchange. In open mode the caller is named by the keyed hash of the key that he
/// brought; organisation, team and project are the defaults or what the attribution headers say. In keys mode all of it
/// is what the virtual key says, whatever the headers do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    pub organisation: Option<Arc<str>>,
    pub team: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    /// The key's public name (`caller-3f9a12c4`, or the virtual key's own), never the key nor its full hash.
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
    pub tags: Tags,
    pub prompt_name: Option<Arc<str>>,
    /// Keyed hash of the system/template prefix: top prompts by cost can be shown without their content.
    pub prompt_hash: Option<u64>,
}

/// Names and values, in order.
pub type Tags = Vec<(Arc<str>, Arc<str>)>;

/// What a tenant is. Organisation → team → project; users belong to an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantKind {
    Organisation,
    Team,
    Project,
    User,
}

impl TenantKind {
    pub const ALL: [TenantKind; 4] =
        [TenantKind::Organisation, TenantKind::Team, TenantKind::Project, TenantKind::User];

    pub fn name(self) -> &'static str {
        match self {
            TenantKind::Organisation => "organisation",
            TenantKind::Team => "team",
            TenantKind::Project => "project",
            TenantKind::User => "user",
        }
    }

    /// What one of this kind belongs to.
    pub fn parent(self) -> Option<TenantKind> {
        match self {
            TenantKind::Organisation => None,
            TenantKind::Team | TenantKind::User => Some(TenantKind::Organisation),
            TenantKind::Project => Some(TenantKind::Team),
        }
    }
}

impl fmt::Display for TenantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An organisation, team, project or user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    pub kind: TenantKind,
    pub name: Arc<str>,
    pub parent: Option<Arc<str>>,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
    /// Days after which its events are dropped; `None`: as those of all.
    pub keep_days: Option<u32>,
}

/// A virtual key as it is kept: without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualKey {
    pub name: Arc<str>,
    pub organisation: Arc<str>,
    pub team: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub permissions: Permissions,
    pub limits: KeyLimits,
    /// Written beside every call of this key; they win over what the caller says.
    pub tags: Tags,
    pub created_at: Timestamp,
    pub not_after: Option<Timestamp>,
    pub disabled_at: Option<Timestamp>,
    pub deleted_at: Option<Timestamp>,
    /// What switches it off: itself, or something that it belongs to.
    pub closed: Option<Closed>,
    /// Newest first; older ones are those that a rotation left valid for a while.
    pub secrets: Vec<KeySecret>,
}

/// One text by which a virtual key is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySecret {
    /// The first letters of the text, by which people tell keys apart.
    pub prefix: Arc<str>,
    pub created_at: Timestamp,
    /// Set by a rotation.
    pub not_after: Option<Timestamp>,
}

/// How it stands with a tenant or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Active,
    Disabled,
    Expired,
    Deleted,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Active => "active",
            State::Disabled => "disabled",
            State::Expired => "expired",
            State::Deleted => "deleted",
        }
    }
}

impl Tenant {
    pub fn state(&self) -> State {
        match (self.deleted_at, self.disabled_at) {
            (Some(_), _) => State::Deleted,
            (None, Some(_)) => State::Disabled,
            (None, None) => State::Active,
        }
    }
}

impl VirtualKey {
    /// Whether it opens anything at `now`, and if not, why.
    pub fn state(&self, now: Timestamp) -> State {
        if self.deleted_at.is_some() {
            State::Deleted
        } else if self.closed.is_some() {
            State::Disabled
        } else if self.not_after.is_some_and(|end| now >= end) {
            State::Expired
        } else {
            State::Active
        }
    }
}
