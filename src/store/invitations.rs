//! Invitations: whoever has the text of one sets the password of its user, once.

use super::changes::{ChangeError, Changes, Named};
use super::register::reading;
use super::{Register, StoreError};
use crate::clock::Timestamp;
use crate::tenants::{Digest, TenantKind};
use rusqlite::{OptionalExtension, params};
use serde_json::json;

const INVITATION_SECONDS: i64 = 7 * 24 * 3_600;

/// When an invitation of now is over, if nothing else is said.
pub fn invitation_end(now: Timestamp) -> Timestamp {
    Timestamp(now.as_micros().saturating_add(INVITATION_SECONDS * 1_000_000))
}

impl Changes<'_> {
    /// Invites a user; the invitation that he had before ends.
    pub fn invite(&self, user: &str, digest: &Digest, not_after: Timestamp) -> Result<(), ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        self.transaction.execute(
            "INSERT INTO invitations (user, digest, created_us, not_after_us) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user) DO UPDATE SET digest = ?2, created_us = ?3, not_after_us = ?4",
            params![id, digest.0, self.now.as_micros(), not_after.as_micros()],
        )?;
        self.note("invite", id, &json!({ "not_after": not_after.to_rfc3339() }))
    }

    /// Ends a user's invitation; whether there was one.
    pub fn end_invitation(&self, user: &str) -> Result<bool, ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        let ended = self.transaction.execute("DELETE FROM invitations WHERE user = ?1", [id])? > 0;
        if ended {
            self.note("end_invitation", id, &json!({}))?;
        }
        Ok(ended)
    }

    /// Sets the invited user's password and ends the invitation; whether it was still there.
    pub fn accept_invitation(&self, user: &str, digest: &Digest, hash: &str) -> Result<bool, ChangeError> {
        let sql = "DELETE FROM invitations WHERE digest = ?1 AND not_after_us > ?2";
        let was_there = self.transaction.execute(sql, params![digest.0, self.now.as_micros()])? > 0;
        if was_there {
            self.set_password(user, hash)?;
        }
        Ok(was_there)
    }
}

impl Register<'_> {
    /// Whom this invitation is for, unless it is over, or he or his organisation is switched off.
    pub fn invited(&self, digest: &Digest, now: Timestamp) -> Result<Option<String>, StoreError> {
        let sql = "SELECT n.text FROM invitations i JOIN tenants t ON t.id = i.user JOIN names n ON n.id = i.user
                   JOIN tenants o ON o.id = t.parent
                   WHERE i.digest = ?1 AND i.not_after_us > ?2
                   AND t.disabled_us IS NULL AND t.deleted_us IS NULL
                   AND o.disabled_us IS NULL AND o.deleted_us IS NULL";
        let read = || {
            let mut statement = self.connection().prepare_cached(sql)?;
            statement.query_row(params![digest.0, now.as_micros()], |row| row.get(0)).optional()
        };
        read().map_err(reading)
    }
}
