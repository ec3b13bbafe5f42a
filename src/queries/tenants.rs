//! How tenants and keys are written as JSON, by the command line and the API alike.

use crate::clock::Timestamp;
use crate::store::{AuditLine, Member, Token};
use crate::tenants::{KeyLimits, Permissions, Role, Scope, State, Tenant, TenantKind, VirtualKey};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An organisation, team, project or user.
#[derive(Clone, Debug, Serialize)]
pub struct TenantView {
    pub object: &'static str,
    pub name: Arc<str>,
    /// What it belongs to: a team's organisation, a project's team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Arc<str>>,
    pub state: State,
    pub created_at: String,
    pub disabled_at: Option<String>,
    pub deleted_at: Option<String>,
    /// Days after which its events are dropped; null: as those of all. A user has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<Option<u32>>,
}

/// A virtual key. Its text is in it only where it was just made.
#[derive(Clone, Debug, Serialize)]
pub struct KeyView {
    pub object: &'static str,
    pub name: Arc<str>,
    pub organisation: Arc<str>,
    pub team: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub state: State,
    /// Where it is disabled by: the key itself, or something that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<&'static str>,
    pub permissions: Permissions,
    pub limits: KeyLimits,
    pub tags: BTreeMap<Arc<str>, Arc<str>>,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub secrets: Vec<SecretView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One of the texts of a key, by its first letters.
#[derive(Clone, Debug, Serialize)]
pub struct SecretView {
    pub prefix: Arc<str>,
    pub created_at: String,
    pub expires_at: Option<String>,
}

/// A place, innermost name last; none of the three: the whole installation.
#[derive(Clone, Debug, Serialize)]
pub struct ScopeView {
    pub organisation: Option<Arc<str>>,
    pub team: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
}

/// Somebody's role on a place.
#[derive(Clone, Debug, Serialize)]
pub struct MemberView {
    pub object: &'static str,
    pub user: Arc<str>,
    pub role: Role,
    pub scope: ScopeView,
    pub granted_at: String,
}

/// A personal token. Its text is in it only where it was just made.
#[derive(Clone, Debug, Serialize)]
pub struct TokenView {
    pub object: &'static str,
    pub id: i64,
    pub user: String,
    pub label: String,
    pub prefix: String,
    pub created_at: String,
    pub expires_at: Option<String>,
    pub revoked_at: Option<String>,
}

/// A line of the audit log.
#[derive(Clone, Debug, Serialize)]
pub struct AuditView {
    pub object: &'static str,
    pub number: u64,
    pub at: String,
    pub actor: String,
    pub action: String,
    pub kind: &'static str,
    pub subject: String,
    pub detail: serde_json::Value,
    pub hash: String,
}

impl From<&Scope> for ScopeView {
    fn from(scope: &Scope) -> Self {
        let Scope { organisation, team, project } = scope.clone();
        ScopeView { organisation, team, project }
    }
}

impl From<&Member> for MemberView {
    fn from(member: &Member) -> Self {
        MemberView {
            object: "member",
            user: Arc::clone(&member.user),
            role: member.role,
            scope: ScopeView::from(&member.scope),
            granted_at: member.granted_at.to_rfc3339(),
        }
    }
}

impl TokenView {
    pub fn new(user: &str, token: &Token) -> Self {
        TokenView {
            object: "token",
            id: token.id,
            user: user.to_owned(),
            label: token.label.clone(),
            prefix: token.prefix.clone(),
            created_at: token.created_at.to_rfc3339(),
            expires_at: token.not_after.map(Timestamp::to_rfc3339),
            revoked_at: token.revoked_at.map(Timestamp::to_rfc3339),
        }
    }
}

impl From<&AuditLine> for AuditView {
    fn from(line: &AuditLine) -> Self {
        AuditView {
            object: "audit_line",
            number: line.id,
            at: line.at.to_rfc3339(),
            actor: line.actor.clone(),
            action: line.action.clone(),
            kind: line.kind,
            subject: line.subject.clone(),
            detail: serde_json::from_str(&line.detail).unwrap_or_default(),
            hash: blake3::Hash::from(line.hash).to_hex().to_string(),
        }
    }
}

impl From<&Tenant> for TenantView {
    fn from(tenant: &Tenant) -> Self {
        TenantView {
            object: tenant.kind.name(),
            name: Arc::clone(&tenant.name),
            parent: tenant.parent.clone(),
            state: tenant.state(),
            created_at: tenant.created_at.to_rfc3339(),
            disabled_at: tenant.disabled_at.map(Timestamp::to_rfc3339),
            deleted_at: tenant.deleted_at.map(Timestamp::to_rfc3339),
            keep_days: (tenant.kind != TenantKind::User).then_some(tenant.keep_days),
        }
    }
}

impl KeyView {
    pub fn new(key: &VirtualKey, now: Timestamp) -> Self {
        let secret = |secret: &crate::tenants::KeySecret| SecretView {
            prefix: Arc::clone(&secret.prefix),
            created_at: secret.created_at.to_rfc3339(),
            expires_at: secret.not_after.map(Timestamp::to_rfc3339),
        };
        KeyView {
            object: "key",
            name: Arc::clone(&key.name),
            organisation: Arc::clone(&key.organisation),
            team: key.team.clone(),
            project: key.project.clone(),
            user: key.user.clone(),
            state: key.state(now),
            closed_by: key.closed.map(|closed| closed.name()),
            permissions: key.permissions.clone(),
            limits: key.limits.clone(),
            tags: key.tags.iter().cloned().collect(),
            created_at: key.created_at.to_rfc3339(),
            expires_at: key.not_after.map(Timestamp::to_rfc3339),
            secrets: key.secrets.iter().map(secret).collect(),
            last_used_at: None,
            key: None,
        }
    }
}
