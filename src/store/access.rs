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

impl Changes<'_> {
    /// Gives a user a role on a place, in the stead of the one that he had there.
    ///
    /// # Errors
    /// The place is in another organisation than the user, or one of both is not there.
    pub fn grant(&self, user: &str, place: Place<'_>, role: Role) -> Result<(), ChangeError> {
        let user_id = self.living(Named::Tenant(TenantKind::User), user)?;
        let scope = self.scope_of(place)?;
        if let Some((_, name)) = place {
            let (his, its) = (self.organisation_of(user_id)?, self.organisation_of(scope)?);
            if his != its {
                return Err(ChangeError::Foreign { user: user.to_owned(), place: name.to_owned() });
            }
        }
        let before = self.role_of(user_id, scope)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO members (user, scope, role, granted_us) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (user, scope) DO UPDATE SET role = ?3, granted_us = ?4",
            )?
            .execute(params![user_id, scope, role as u8, self.now.as_micros()])?;
        let detail = json!({ "scope": scope, "before": before.map(Role::name), "role": role.name() });
        self.note("grant", user_id, &detail)
    }

    /// Takes a user's role on a place away; whether he had one.
    pub fn take_role(&self, user: &str, place: Place<'_>) -> Result<bool, ChangeError> {
        let user_id = self.living(Named::Tenant(TenantKind::User), user)?;
        let scope = self.scope_of(place)?;
        let Some(before) = self.role_of(user_id, scope)? else { return Ok(false) };
        self.transaction.execute("DELETE FROM members WHERE user = ?1 AND scope = ?2", [user_id, scope])?;
        self.note("take_role", user_id, &json!({ "scope": scope, "before": before.name() }))?;
        Ok(true)
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
        for of_his in ["members", "sessions", "passwords", "invitations", "second_factors"] {
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

    fn role_of(&self, user: i64, scope: i64) -> Result<Option<Role>, ChangeError> {
        let sql = "SELECT role FROM members WHERE user = ?1 AND scope = ?2";
        let role: Option<u8> =
            self.transaction.prepare_cached(sql)?.query_row([user, scope], |row| row.get(0)).optional()?;
        Ok(role.map(role_numbered))
    }
}

/// What is unknown, a newer farebox's role, is the least.
pub(super) fn role_numbered(number: u8) -> Role {
    Role::ALL.into_iter().find(|role| *role as u8 == number).unwrap_or(Role::Viewer)
}
