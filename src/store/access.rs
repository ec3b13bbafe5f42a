//! Writing who may do what on the admin port: roles, accounts of programs, personal tokens.

use super::changes::{ChangeError, Changes, Named};
use crate::clock::Timestamp;
use crate::tenants::{Digest, Role, TenantKind};
use rusqlite::{OptionalExtension, params};
use serde_json::json;

/// Where a role is granted: on a tenant, or (`None`) in the whole installation.
pub type Place<'a> = Option<(TenantKind, &'a str)>;

/// The scope's number for the whole installation.
pub(super) const INSTALLATION: i64 = 0;

/// A role that somebody has on a place, and the identity whose group gave it; `None`: a person did.
struct Held {
    role: Role,
    by: Option<[u8; 32]>,
}

impl Changes<'_> {
    /// Gives a user a role on a place, in the stead of the one that he had there.
    ///
    /// # Errors
    /// The place is in another organisation than the user, or one of both is not there.
    pub fn grant(&self, user: &str, place: Place<'_>, role: Role) -> Result<(), ChangeError> {
        let (user, scope) = self.member(user, place)?;
        self.give(user, scope, role, None)
    }

    /// Gives the role that a group of this identity has on a place, unless a role that is as high was given there
    /// otherwise.
    pub fn grant_by_group(
        &self,
        user: &str,
        place: Place<'_>,
        role: Role,
        identity: &Digest,
    ) -> Result<(), ChangeError> {
        let (user, scope) = self.member(user, place)?;
        match self.role_of(user, scope)? {
            Some(has) if has.role == role || (has.role > role && has.by != Some(identity.0)) => Ok(()),
            _ => self.give(user, scope, role, Some(identity)),
        }
    }

    /// Takes the roles away that groups of this identity gave once, but on these places.
    pub fn take_other_group_roles(&self, identity: &Digest, kept: &[Place<'_>]) -> Result<(), ChangeError> {
        let kept: Vec<i64> = kept.iter().map(|place| self.scope_of(*place)).collect::<Result<_, _>>()?;
        let mut statement = self.transaction.prepare("SELECT user, scope, role FROM members WHERE identity = ?1")?;
        let given: Vec<(i64, i64, u8)> = statement
            .query_map([identity.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (user, scope, role) in given.into_iter().filter(|(_, scope, _)| !kept.contains(scope)) {
            self.take(user, scope, role_numbered(role))?;
        }
        Ok(())
    }

    fn give(&self, user: i64, scope: i64, role: Role, by: Option<&Digest>) -> Result<(), ChangeError> {
        let before = self.role_of(user, scope)?.map(|held| held.role.name());
        self.transaction
            .prepare_cached(
                "INSERT INTO members (user, scope, role, granted_us, identity) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (user, scope) DO UPDATE SET role = ?3, granted_us = ?4, identity = ?5",
            )?
            .execute(params![user, scope, role as u8, self.now.as_micros(), by.map(|digest| digest.0)])?;
        self.note("grant", user, &json!({ "scope": scope, "before": before, "role": role.name() }))
    }

    /// Takes a user's role on a place away; whether he had one.
    pub fn take_role(&self, user: &str, place: Place<'_>) -> Result<bool, ChangeError> {
        let user_id = self.living(Named::Tenant(TenantKind::User), user)?;
        let scope = self.scope_of(place)?;
        let Some(before) = self.role_of(user_id, scope)? else { return Ok(false) };
        self.take(user_id, scope, before.role)?;
        Ok(true)
    }

    fn take(&self, user: i64, scope: i64, before: Role) -> Result<(), ChangeError> {
        self.transaction.execute("DELETE FROM members WHERE user = ?1 AND scope = ?2", [user, scope])?;
        self.note("take_role", user, &json!({ "scope": scope, "before": before.name() }))
    }

    /// Makes a user that is a program.
    pub fn create_program(&self, name: &str, organisation: Option<&str>) -> Result<(), ChangeError> {
        self.create_tenant(TenantKind::User, name, organisation)?;
        let id = self.living(Named::Tenant(TenantKind::User), name)?;
        self.transaction.execute("INSERT INTO programs (user) VALUES (?1)", [id])?;
        Ok(())
    }

    /// A personal token; its number.
    pub fn create_token(
        &self,
        user: &str,
        label: &str,
        digest: &Digest,
        prefix: &str,
        not_after: Option<Timestamp>,
    ) -> Result<i64, ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        self.transaction.execute(
            "INSERT INTO api_tokens (user, label, prefix, digest, created_us, not_after_us)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![id, label, prefix, digest.0, self.now.as_micros(), not_after.map(Timestamp::as_micros)],
        )?;
        let token = self.transaction.last_insert_rowid();
        let not_after = not_after.map(Timestamp::to_rfc3339);
        self.note("create_token", id, &json!({ "token": token, "prefix": prefix, "not_after": not_after }))?;
        Ok(token)
    }

    /// Ends a token of a user's; whether there was one to end.
    pub fn revoke_token(&self, user: &str, token: i64) -> Result<bool, ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        let ended = self.transaction.execute(
            "UPDATE api_tokens SET revoked_us = ?3 WHERE id = ?2 AND user = ?1 AND revoked_us IS NULL",
            params![id, token, self.now.as_micros()],
        )?;
        if ended == 0 {
            return Ok(false);
        }
        self.note("revoke_token", id, &json!({ "token": token }))?;
        Ok(true)
    }

    /// What opens the admin port to a deleted user ends with him.
    pub(super) fn shut_out(&self, user: i64) -> Result<(), ChangeError> {
        for of_his in ["members", "sessions", "passwords", "invitations", "second_factors", "identities"] {
            self.transaction.execute(&format!("DELETE FROM {of_his} WHERE user = ?1"), [user])?;
        }
        self.transaction.execute(
            "UPDATE api_tokens SET revoked_us = ?2 WHERE user = ?1 AND revoked_us IS NULL",
            params![user, self.now.as_micros()],
        )?;
        Ok(())
    }

    fn scope_of(&self, place: Place<'_>) -> Result<i64, ChangeError> {
        place.map_or(Ok(INSTALLATION), |(kind, name)| self.living(Named::Tenant(kind), name))
    }

    /// Of somebody who may have a role on this place.
    fn member(&self, user: &str, place: Place<'_>) -> Result<(i64, i64), ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        let scope = self.scope_of(place)?;
        match place {
            Some((_, name)) if self.organisation_of(id)? != self.organisation_of(scope)? => {
                Err(ChangeError::Foreign { user: user.to_owned(), place: name.to_owned() })
            }
            _ => Ok((id, scope)),
        }
    }

    fn role_of(&self, user: i64, scope: i64) -> Result<Option<Held>, ChangeError> {
        let sql = "SELECT role, identity FROM members WHERE user = ?1 AND scope = ?2";
        let found = |row: &rusqlite::Row<'_>| Ok((row.get::<_, u8>(0)?, row.get(1)?));
        let role = self.transaction.prepare_cached(sql)?.query_row([user, scope], found).optional()?;
        Ok(role.map(|(role, by)| Held { role: role_numbered(role), by }))
    }
}

/// What is unknown, a newer farebox's role, is the least.
pub(super) fn role_numbered(number: u8) -> Role {
    Role::ALL.into_iter().find(|role| *role as u8 == number).unwrap_or(Role::Viewer)
}
