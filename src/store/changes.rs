//! Writing tenants and keys. A change is one transaction with its line in the audit log; a running node sees it by that
//! line's number.

use super::names::NameKind;
use super::{Store, StoreError, audit, write_transaction};
use crate::clock::Timestamp;
use crate::tenants::{Digest, KeyLimits, NotAName, Permissions, Tags, TenantKind, check_name};
use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::{Value, json};
use std::sync::Arc;

/// The organisation that is made when a team, user or key needs one and there is none.
pub const FIRST_ORGANISATION: &str = "default";
/// So many names are told of those that stand in the way.
const TOLD_MAX: usize = 5;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    Tenant(TenantKind),
    Key,
    ProviderKey,
}

/// A key that is to be made.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    pub name: &'a str,
    /// What it hangs from; `None`: the only organisation.
    pub holder: Option<(TenantKind, &'a str)>,
    pub user: Option<&'a str>,
    pub permissions: &'a Permissions,
    pub limits: &'a KeyLimits,
    pub tags: &'a Tags,
    pub not_after: Option<Timestamp>,
    pub digest: Digest,
    pub prefix: &'a str,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Name(#[from] NotAName),
    #[error("there is a {kind} called `{name}` already: names are unique in the whole installation")]
    Taken { kind: &'static str, name: String },
    #[error(
        "`{name}` was the name of a {kind} that is deleted; what it used is in the ledger under that name: choose another"
    )]
    WasTaken { kind: &'static str, name: String },
    #[error("there is no {kind} called `{name}`; `farebox {kind} list` shows those that there are")]
    Missing { kind: &'static str, name: String },
    #[error("the {kind} `{name}` is deleted")]
    Deleted { kind: &'static str, name: String },
    #[error("there are several organisations ({}): say which with --organisation", .0.join(", "))]
    WhichOrganisation(Vec<String>),
    #[error("the user `{user}` belongs to the organisation `{his}`, the key to `{its}`")]
    OtherOrganisation { user: String, his: String, its: String },
    #[error("there is no user called `{user}` in the organisation of `{place}`")]
    Foreign { user: String, place: String },
    #[error("the {kind} `{name}` still holds {}: delete these first, or disable the {kind} with all that it holds", .held.join(", "))]
    Holds { kind: &'static str, name: String, held: Vec<String> },
    #[error(
        "the provider key `{name}` is sealed under another master key than the one that was given; nothing was changed"
    )]
    SealedOtherwise { name: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for ChangeError {
    fn from(source: rusqlite::Error) -> Self {
        ChangeError::Store(StoreError::Sqlite { doing: "change tenants or keys", source })
    }
}

impl Named {
    pub fn name(self) -> &'static str {
        match self {
            Named::Tenant(kind) => kind.name(),
            Named::Key => "key",
            Named::ProviderKey => "provider-key",
        }
    }

    fn kind(self) -> NameKind {
        match self {
            Named::Tenant(kind) => kind.name_kind(),
            Named::Key => NameKind::Key,
            Named::ProviderKey => NameKind::ProviderKey,
        }
    }

    fn table(self) -> &'static str {
        match self {
            Named::Tenant(_) => "tenants",
            Named::Key => "virtual_keys",
            Named::ProviderKey => "provider_keys",
        }
    }
}

impl Store {
    /// Changes tenants and keys: all of `work`, or nothing when it fails. `actor` is who does it, for the audit log.
    pub fn change<T>(
        &mut self,
        now: Timestamp,
        actor: &str,
        work: impl FnOnce(&Changes<'_>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        self.change_or(now, actor, work)
    }

    /// The same, for work that can fail in ways of its own.
    pub fn change_or<T, E: From<ChangeError>>(
        &mut self,
        now: Timestamp,
        actor: &str,
        work: impl FnOnce(&Changes<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = write_transaction(&mut self.connection).map_err(ChangeError::from)?;
        let changes = Changes { transaction, now, actor };
        let done = work(&changes)?;
        changes.transaction.commit().map_err(ChangeError::from)?;
        Ok(done)
    }
}

/// A change under way.
pub struct Changes<'a> {
    pub(super) transaction: Transaction<'a>,
    pub(super) now: Timestamp,
    actor: &'a str,
}

impl Changes<'_> {
    /// Makes a tenant below its parent, which may be left out where there is only one organisation.
    pub fn create_tenant(&self, kind: TenantKind, name: &str, parent: Option<&str>) -> Result<(), ChangeError> {
        let parent = match kind.parent() {
            None => None,
            Some(TenantKind::Organisation) if parent.is_none() => Some(self.only_organisation()?),
            Some(above) => Some(self.living(Named::Tenant(above), parent.unwrap_or_default())?),
        };
        let id = self.fresh_name(Named::Tenant(kind), name)?;
        self.transaction
            .prepare_cached("INSERT INTO tenants (id, kind, parent, created_us) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, kind.name_kind() as u8, parent, self.now.as_micros()])?;
        self.note("create", id, &json!({ "kind": kind, "parent": parent }))
    }

    pub fn create_key(&self, new: &NewKey<'_>) -> Result<(), ChangeError> {
        let holder = match new.holder {
            None => self.only_organisation()?,
            Some((kind, name)) => self.living(Named::Tenant(kind), name)?,
        };
        let user = new.user.map(|user| self.living(Named::Tenant(TenantKind::User), user)).transpose()?;
        if let Some(user) = user {
            self.same_organisation(user, holder)?;
        }
        let id = self.fresh_name(Named::Key, new.name)?;
        let (permissions, tags) = (permissions_json(new.permissions), tags_json(new.tags));
        let limits = limits_json(new.limits);
        self.transaction
            .prepare_cached(
                "INSERT INTO virtual_keys (id, holder, user, permissions, tags, created_us, not_after_us, limits)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                id,
                holder,
                user,
                permissions.to_string(),
                tags.to_string(),
                self.now.as_micros(),
                new.not_after.map(Timestamp::as_micros),
                limits.to_string(),
            ])?;
        self.add_secret(id, &new.digest, new.prefix)?;
        let detail = json!({
            "holder": holder, "user": user, "permissions": permissions, "limits": limits, "prefix": new.prefix,
            "not_after": new.not_after.map(Timestamp::to_rfc3339),
        });
        self.note("create", id, &detail)
    }

    /// Gives a key a further text; those before it stay valid until `until`.
    pub fn rotate_key(&self, name: &str, digest: &Digest, prefix: &str, until: Timestamp) -> Result<(), ChangeError> {
        let id = self.living(Named::Key, name)?;
        self.transaction.execute(
            "UPDATE key_secrets SET not_after_us = ?2 WHERE key = ?1 AND ifnull(not_after_us, ?2) >= ?2",
            params![id, until.as_micros()],
        )?;
        self.add_secret(id, digest, prefix)?;
        self.note("rotate", id, &json!({ "prefix": prefix, "before_until": until.to_rfc3339() }))
    }

    /// Writes anew what a key may do, its tags and its end.
    pub fn change_key(
        &self,
        name: &str,
        permissions: &Permissions,
        limits: &KeyLimits,
        tags: &Tags,
        not_after: Option<Timestamp>,
    ) -> Result<(), ChangeError> {
        let id = self.living(Named::Key, name)?;
        let (permissions, tags) = (permissions_json(permissions), tags_json(tags));
        let limits = limits_json(limits);
        let sql = "SELECT permissions, limits FROM virtual_keys WHERE id = ?1";
        let before: (String, String) = self.transaction.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.transaction.execute(
            "UPDATE virtual_keys SET permissions = ?2, tags = ?3, not_after_us = ?4, limits = ?5 WHERE id = ?1",
            params![
                id,
                permissions.to_string(),
                tags.to_string(),
                not_after.map(Timestamp::as_micros),
                limits.to_string()
            ],
        )?;
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
        let not_after = not_after.map(Timestamp::to_rfc3339);
        let detail = json!({
            "before": { "permissions": read(&before.0), "limits": read(&before.1) },
            "permissions": permissions, "limits": limits, "not_after": not_after,
        });
        self.note("change", id, &detail)
    }

    /// Switches it off or on again; everything below a disabled tenant is off with it.
    pub fn set_disabled(&self, subject: Named, name: &str, disabled: bool) -> Result<(), ChangeError> {
        let id = self.living(subject, name)?;
        let at = disabled.then_some(self.now.as_micros());
        let sql = format!("UPDATE {} SET disabled_us = ?2 WHERE id = ?1", subject.table());
        self.transaction.execute(&sql, params![id, at])?;
        self.note(if disabled { "disable" } else { "enable" }, id, &json!({}))
    }

    /// For good; the name stays taken. A tenant must hold nothing any more.
    pub fn delete(&self, subject: Named, name: &str) -> Result<(), ChangeError> {
        let id = self.living(subject, name)?;
        let held = self.held_by(id)?;
        if matches!(subject, Named::Tenant(_)) && !held.is_empty() {
            return Err(ChangeError::Holds { kind: subject.name(), name: name.to_owned(), held });
        }
        let sql = format!("UPDATE {} SET deleted_us = ?2 WHERE id = ?1", subject.table());
        self.transaction.execute(&sql, params![id, self.now.as_micros()])?;
        match subject {
            Named::Key => drop(self.transaction.execute("DELETE FROM key_secrets WHERE key = ?1", [id])?),
            Named::Tenant(TenantKind::User) => self.shut_out(id)?,
            Named::ProviderKey => {
                self.transaction.execute("UPDATE provider_keys SET sealed = x'' WHERE id = ?1", [id])?;
            }
            Named::Tenant(_) => {}
        }
        self.note("delete", id, &json!({}))
    }

    /// What is kept of a person was handed out; the audit log says so, by the person's number.
    pub fn exported(&self, user: &str, events: u64) -> Result<(), ChangeError> {
        let id = self.word(NameKind::User, user)?;
        self.note("export", id, &json!({ "events": events }))
    }

    fn add_secret(&self, key: i64, digest: &Digest, prefix: &str) -> Result<(), ChangeError> {
        self.transaction
            .prepare_cached("INSERT INTO key_secrets (digest, key, prefix, created_us) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![digest.0, key, prefix, self.now.as_micros()])?;
        Ok(())
    }

    pub(super) fn transaction(&self) -> &Transaction<'_> {
        &self.transaction
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of a word of this kind, which may be new.
    pub(super) fn word(&self, kind: NameKind, text: &str) -> Result<i64, ChangeError> {
        self.transaction
            .prepare_cached("INSERT INTO names (kind, text) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![kind as u8, text])?;
        let mut select = self.transaction.prepare_cached("SELECT id FROM names WHERE kind = ?1 AND text = ?2")?;
        Ok(select.query_row(params![kind as u8, text], |row| row.get(0))?)
    }

    pub(super) fn note(&self, action: &str, subject: i64, detail: &Value) -> Result<(), ChangeError> {
        Ok(audit::append(&self.transaction, self.now, self.actor, action, subject, &detail.to_string())?)
    }

    /// The number of a name that nobody of this kind had before.
    pub(super) fn fresh_name(&self, subject: Named, name: &str) -> Result<i64, ChangeError> {
        check_name(name)?;
        let name_of = || name.to_owned();
        // The ledger may know the name already, from what headers said in open mode.
        let id = self.word(subject.kind(), name)?;
        match self.deleted(subject, id)? {
            None => Ok(id),
            Some(false) => Err(ChangeError::Taken { kind: subject.name(), name: name_of() }),
            Some(true) => Err(ChangeError::WasTaken { kind: subject.name(), name: name_of() }),
        }
    }

    /// The number of one that is there.
    pub(super) fn living(&self, subject: Named, name: &str) -> Result<i64, ChangeError> {
        let id: Option<i64> = self
            .transaction
            .prepare_cached("SELECT id FROM names WHERE kind = ?1 AND text = ?2")?
            .query_row(params![subject.kind() as u8, name], |row| row.get(0))
            .optional()?;
        let (kind, name) = (subject.name(), || name.to_owned());
        match id.map(|id| Ok::<_, ChangeError>((id, self.deleted(subject, id)?))).transpose()? {
            Some((id, Some(false))) => Ok(id),
            Some((_, Some(true))) => Err(ChangeError::Deleted { kind, name: name() }),
            Some((_, None)) | None => Err(ChangeError::Missing { kind, name: name() }),
        }
    }

    /// Whether it is deleted; `None`: it never was.
    fn deleted(&self, subject: Named, id: i64) -> Result<Option<bool>, ChangeError> {
        let sql = format!("SELECT deleted_us IS NOT NULL FROM {} WHERE id = ?1", subject.table());
        Ok(self.transaction.prepare_cached(&sql)?.query_row([id], |row| row.get(0)).optional()?)
    }

    fn only_organisation(&self) -> Result<i64, ChangeError> {
        let sql = "SELECT t.id, n.text FROM tenants t JOIN names n ON n.id = t.id
                   WHERE t.kind = ?1 AND t.deleted_us IS NULL ORDER BY n.text";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let found: Vec<(i64, String)> = statement
            .query_map([NameKind::Organisation as u8], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        match found.as_slice() {
            [(id, _)] => Ok(*id),
            [] => {
                self.create_tenant(TenantKind::Organisation, FIRST_ORGANISATION, None)?;
                self.living(Named::Tenant(TenantKind::Organisation), FIRST_ORGANISATION)
            }
            several => Err(ChangeError::WhichOrganisation(
                several.iter().take(TOLD_MAX).map(|(_, name)| name.clone()).collect(),
            )),
        }
    }

    fn same_organisation(&self, user: i64, holder: i64) -> Result<(), ChangeError> {
        let (his, its) = (self.organisation_of(user)?, self.organisation_of(holder)?);
        if his == its {
            return Ok(());
        }
        let text = |id: i64| self.transaction.query_row("SELECT text FROM names WHERE id = ?1", [id], |row| row.get(0));
        Err(ChangeError::OtherOrganisation { user: text(user)?, his: text(his)?, its: text(its)? })
    }

    pub(super) fn organisation_of(&self, tenant: i64) -> Result<i64, ChangeError> {
        let sql = "WITH RECURSIVE above (id, parent) AS (
                       SELECT id, parent FROM tenants WHERE id = ?1
                       UNION ALL SELECT t.id, t.parent FROM tenants t JOIN above ON t.id = above.parent
                   ) SELECT id FROM above WHERE parent IS NULL";
        Ok(self.transaction.prepare_cached(sql)?.query_row([tenant], |row| row.get(0))?)
    }

    /// What hangs from a tenant, by kind and name; the first few.
    fn held_by(&self, id: i64) -> Result<Vec<String>, ChangeError> {
        let sql = "SELECT n.kind, n.text FROM names n WHERE n.id IN (
                       SELECT id FROM tenants WHERE parent = ?1 AND deleted_us IS NULL
                       UNION ALL SELECT id FROM virtual_keys WHERE (holder = ?1 OR user = ?1) AND deleted_us IS NULL
                   ) ORDER BY n.kind, n.text LIMIT ?2";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let rows = statement.query_map(params![id, TOLD_MAX as i64], |row| {
            let kind = TenantKind::ALL
                .into_iter()
                .find(|kind| row.get(0).is_ok_and(|told: u8| told == kind.name_kind() as u8));
            Ok(format!("the {} `{}`", kind.map_or("key", TenantKind::name), row.get::<_, String>(1)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

fn limits_json(limits: &KeyLimits) -> Value {
    serde_json::to_value(limits).unwrap_or_default()
}

fn permissions_json(permissions: &Permissions) -> Value {
    serde_json::to_value(permissions).unwrap_or_default()
}

fn tags_json(tags: &[(Arc<str>, Arc<str>)]) -> Value {
    Value::Object(tags.iter().map(|(name, value)| (name.to_string(), Value::from(&**value))).collect())
}
