//! Reading tenants, keys, members, tokens and the audit log for somebody who may see a part of them: each comes with the
//! place that it is in, and a page holds only what its asker keeps. Reads alike on a reader's connection and inside a
//! change.

use super::access::{INSTALLATION, role_numbered};
use super::names::NameKind;
use super::tenants::{House, moment};
use super::{AuditLine, Changes, Reader, StoreError, audit};
use crate::clock::Timestamp;
use crate::tenants::{Caller, Digest, Grant, Principal, Role, Scope, Tenant, TenantKind, VirtualKey};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::Arc;

pub struct Register<'a> {
    connection: &'a Connection,
}

/// A page of things by name.
pub struct Page<'a> {
    /// The last name of the page before.
    pub after: &'a str,
    pub limit: usize,
    /// The deleted ones too.
    pub deleted: bool,
}

/// Somebody's role on a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub user: Arc<str>,
    pub role: Role,
    pub scope: Scope,
    pub granted_at: Timestamp,
}

/// A personal token, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: i64,
    pub label: String,
    pub prefix: String,
    pub created_at: Timestamp,
    pub not_after: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl Reader {
    /// Reads the register in one snapshot.
    pub fn register<T, E: From<StoreError>>(&self, ask: impl FnOnce(&Register<'_>) -> Result<T, E>) -> Result<T, E> {
        let asked = self.with(|connection| {
            let snapshot = connection.unchecked_transaction().map_err(reading)?;
            Ok(ask(&Register { connection: &snapshot }))
        });
        asked?
    }
}

impl Changes<'_> {
    /// As it is inside this change.
    pub fn register(&self) -> Register<'_> {
        Register { connection: &self.transaction }
    }
}

pub(super) fn reading(source: rusqlite::Error) -> StoreError {
    StoreError::Sqlite { doing: "read tenants, members and keys", source }
}

const TENANTS: &str = "SELECT t.kind, n.text, p.text, t.created_us, t.disabled_us, t.deleted_us, g.text, t.keep_days
     FROM tenants t JOIN names n ON n.id = t.id
     LEFT JOIN tenants up ON up.id = t.parent LEFT JOIN names p ON p.id = t.parent
     LEFT JOIN names g ON g.id = up.parent";

impl<'a> Register<'a> {
    /// The same, once more.
    pub fn again(&self) -> Register<'a> {
        Register { connection: self.connection }
    }

    pub(super) fn connection(&self) -> &'a Connection {
        self.connection
    }

    pub fn tenant(&self, kind: TenantKind, name: &str) -> Result<Option<(Tenant, Scope)>, StoreError> {
        let sql = format!("{TENANTS} WHERE n.kind = ?1 AND n.text = ?2");
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            statement.query_row(params![kind.name_kind() as u8, name], placed).optional()
        };
        read().map_err(reading)
    }

    /// By name; `programs`: users that are programs, or those that are not.
    pub fn tenants(
        &self,
        kind: TenantKind,
        programs: Option<bool>,
        page: &Page<'_>,
        keep: &dyn Fn(&Tenant, &Scope) -> bool,
    ) -> Result<Vec<Tenant>, StoreError> {
        let sql = format!(
            "{TENANTS} WHERE t.kind = ?1 AND n.text > ?2 AND (?3 OR t.deleted_us IS NULL)
             AND (?4 IS NULL OR ?4 = EXISTS (SELECT 1 FROM programs WHERE user = t.id)) ORDER BY n.text"
        );
        let read = || {
            let mut statement = self.connection.prepare_cached(&sql)?;
            let asked = params![kind.name_kind() as u8, page.after, page.deleted, programs];
            let mut kept = Vec::new();
            for row in statement.query_map(asked, placed)? {
                let (tenant, scope) = row?;
                if keep(&tenant, &scope) {
                    kept.push(tenant);
                    if kept.len() >= page.limit {
                        break;
                    }
                }
            }
            Ok(kept)
        };
        read().map_err(reading)
    }

    pub fn is_program(&self, user: &str) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM programs p JOIN names n ON n.id = p.user WHERE n.text = ?1)";
        self.connection.query_row(sql, [user], |row| row.get(0)).map_err(reading)
    }

    pub fn key(&self, name: &str) -> Result<Option<VirtualKey>, StoreError> {
        let read = || House::read(self.connection)?.keys_behind(self.connection, Some(name), "", 1, &|_| true);
        Ok(read().map_err(reading)?.pop())
    }

    pub fn keys(&self, page: &Page<'_>, keep: &dyn Fn(&VirtualKey) -> bool) -> Result<Vec<VirtualKey>, StoreError> {
        let living = |key: &VirtualKey| (page.deleted || key.deleted_at.is_none()) && keep(key);
        let read = || House::read(self.connection)?.keys_behind(self.connection, None, page.after, page.limit, &living);
        read().map_err(reading)
    }

    /// Roles on exactly this place (`None`: the whole installation), or of this user everywhere.
    pub fn members(&self, on: Option<(TenantKind, &str)>) -> Result<Vec<Member>, StoreError> {
        let sql = "SELECT n.text, m.role, m.scope, m.granted_us FROM members m JOIN names n ON n.id = m.user
                   WHERE m.scope = CASE WHEN ?1 IS NULL THEN 0 ELSE (SELECT id FROM names WHERE kind = ?1 AND text = ?2) END
                   ORDER BY n.text";
        let kind = on.map(|(kind, _)| kind.name_kind() as u8);
        self.read_members(sql, params![kind, on.map(|(_, name)| name)]).map_err(reading)
    }

    pub fn grants(&self, user: &str) -> Result<Vec<Grant>, StoreError> {
        let sql = "SELECT n.text, m.role, m.scope, m.granted_us FROM members m JOIN names n ON n.id = m.user
                   WHERE n.kind = ?1 AND n.text = ?2 ORDER BY m.scope";
        let members = self.read_members(sql, params![NameKind::User as u8, user]).map_err(reading)?;
        Ok(members.into_iter().map(|member| Grant { role: member.role, scope: member.scope }).collect())
    }

    fn read_members(&self, sql: &str, asked: impl rusqlite::Params) -> rusqlite::Result<Vec<Member>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(asked, |row| {
            Ok((row.get(0)?, row.get::<_, u8>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?))
        })?;
        let mut members = Vec::new();
        for row in rows {
            let (user, role, scope, granted_us) = row?;
            // A role on what is gone holds nowhere.
            let Some(scope) = self.scope_numbered(scope)? else { continue };
            members.push(Member { user, role: role_numbered(role), scope, granted_at: Timestamp(granted_us) });
        }
        Ok(members)
    }

    fn scope_numbered(&self, id: i64) -> rusqlite::Result<Option<Scope>> {
        if id == INSTALLATION {
            return Ok(Some(Scope::installation()));
        }
        let sql = format!("{TENANTS} WHERE t.id = ?1 AND t.deleted_us IS NULL");
        let mut statement = self.connection.prepare_cached(&sql)?;
        Ok(statement.query_row([id], placed).optional()?.map(|(_, scope)| scope))
    }

    /// The user's number, which stands for him where his name could not be erased.
    pub fn number_of(&self, user: &str) -> Result<Option<i64>, StoreError> {
        let sql = "SELECT t.id FROM tenants t JOIN names n ON n.id = t.id WHERE n.kind = ?1 AND n.text = ?2";
        let read = || self.connection.query_row(sql, params![NameKind::User as u8, user], |row| row.get(0)).optional();
        read().map_err(reading)
    }

    /// The name of a number.
    pub fn name_of(&self, number: i64) -> Result<Option<String>, StoreError> {
        let read = || {
            let mut statement = self.connection.prepare_cached("SELECT text FROM names WHERE id = ?1")?;
            statement.query_row([number], |row| row.get(0)).optional()
        };
        read().map_err(reading)
    }

    /// Whether anybody has a role yet.
    pub fn has_members(&self) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM members)";
        self.connection.query_row(sql, [], |row| row.get(0)).map_err(reading)
    }

    /// Whose token this is, unless it ended, or he or his organisation is switched off.
    pub fn holder_of_token(&self, digest: &Digest, now: Timestamp) -> Result<Option<Principal>, StoreError> {
        let sql = "SELECT n.text FROM api_tokens k JOIN tenants t ON t.id = k.user JOIN names n ON n.id = k.user
                   JOIN tenants o ON o.id = t.parent
                   WHERE k.digest = ?1 AND k.revoked_us IS NULL AND ifnull(k.not_after_us > ?2, 1)
                   AND t.disabled_us IS NULL AND t.deleted_us IS NULL
                   AND o.disabled_us IS NULL AND o.deleted_us IS NULL";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_row(params![digest.0, now.as_micros()], |row| row.get::<_, Arc<str>>(0)).optional()
        };
        let Some(user) = read().map_err(reading)? else { return Ok(None) };
        Ok(Some(Principal { grants: self.grants(&user)?, user: Some(user) }))
    }

    /// A user's tokens, those that ended too; newest first.
    pub fn tokens(&self, user: &str) -> Result<Vec<Token>, StoreError> {
        let sql = "SELECT k.id, k.label, k.prefix, k.created_us, k.not_after_us, k.revoked_us
                   FROM api_tokens k JOIN names n ON n.id = k.user WHERE n.text = ?1 ORDER BY k.id DESC";
        let read = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map([user], |row| {
                Ok(Token {
                    id: row.get(0)?,
                    label: row.get(1)?,
                    prefix: row.get(2)?,
                    created_at: Timestamp(row.get(3)?),
                    not_after: moment(row, 4)?,
                    revoked_at: moment(row, 5)?,
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(reading)
    }

    /// Lines of the audit log from before this number whose subject is in a place that is kept; newest first.
    pub fn audit(
        &self,
        before: Option<u64>,
        limit: usize,
        keep: &dyn Fn(&Scope) -> bool,
    ) -> Result<Vec<AuditLine>, StoreError> {
        let read = || {
            let house = House::read(self.connection)?;
            let kept = |subject: i64| Ok(keep(&self.place_of(&house, subject)?));
            audit::kept(self.connection, before, limit, &kept)
        };
        read().map_err(reading)
    }

    /// The place of a tenant or key, by its number.
    fn place_of(&self, house: &House, id: i64) -> rusqlite::Result<Scope> {
        let mut statement = self.connection.prepare_cached("SELECT holder FROM virtual_keys WHERE id = ?1")?;
        let holder: Option<i64> = statement.query_row([id], |row| row.get(0)).optional()?;
        let Caller { organisation, team, project, .. } = house.place(holder.unwrap_or(id), None).caller;
        Ok(Scope { organisation, team, project })
    }
}

fn placed(row: &Row<'_>) -> rusqlite::Result<(Tenant, Scope)> {
    let number: u8 = row.get(0)?;
    let (name, parent, above): (Arc<str>, Option<Arc<str>>, Option<Arc<str>>) = (row.get(1)?, row.get(2)?, row.get(6)?);
    let kind = TenantKind::ALL.into_iter().find(|kind| kind.name_kind() as u8 == number);
    let kind = kind.unwrap_or(TenantKind::User);
    let own = Some(Arc::clone(&name));
    let scope = match kind {
        TenantKind::Organisation => Scope { organisation: own, team: None, project: None },
        TenantKind::Team => Scope { organisation: parent.clone(), team: own, project: None },
        TenantKind::Project => Scope { organisation: above, team: parent.clone(), project: own },
        TenantKind::User => Scope { organisation: parent.clone(), team: None, project: None },
    };
    let tenant = Tenant {
        kind,
        name,
        parent,
        created_at: Timestamp(row.get(3)?),
        disabled_at: moment(row, 4)?,
        deleted_at: moment(row, 5)?,
        keep_days: row.get(7)?,
    };
    Ok((tenant, scope))
}
