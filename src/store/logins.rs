//! Passwords and sessions of people.

use super::changes::{ChangeError, Changes, Named};
use super::register::reading;
use super::{Register, StoreError};
use crate::clock::Timestamp;
use crate::tenants::{Digest, Principal, TenantKind};
use rusqlite::{OptionalExtension, params};
use serde_json::json;
use std::sync::Arc;

/// A session, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: i64,
    /// The address it was opened from.
    pub opened_from: String,
    pub created_at: Timestamp,
    pub not_after: Timestamp,
}

impl Changes<'_> {
    /// Sets a person's password, by its hash, and ends all of his sessions.
    pub fn set_password(&self, user: &str, hash: &str) -> Result<(), ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        self.transaction.execute(
            "INSERT INTO passwords (user, hash, changed_us) VALUES (?1, ?2, ?3)
             ON CONFLICT (user) DO UPDATE SET hash = ?2, changed_us = ?3",
            params![id, hash, self.now.as_micros()],
        )?;
        self.transaction.execute("DELETE FROM sessions WHERE user = ?1", [id])?;
        self.note("set_password", id, &json!({}))
    }

    /// Opens a session; its number. Those of anybody that are over are forgotten.
    pub fn open_session(
        &self,
        user: &str,
        digest: &Digest,
        opened_from: &str,
        not_after: Timestamp,
    ) -> Result<i64, ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        self.transaction.execute("DELETE FROM sessions WHERE not_after_us <= ?1", [self.now.as_micros()])?;
        self.transaction.execute(
            "INSERT INTO sessions (user, digest, opened_from, created_us, not_after_us) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, digest.0, opened_from, self.now.as_micros(), not_after.as_micros()],
        )?;
        let session = self.transaction.last_insert_rowid();
        self.note("open_session", id, &json!({ "session": session }))?;
        Ok(session)
    }

    /// Ends a session of a user's; whether there was one.
    pub fn end_session(&self, user: &str, session: i64) -> Result<bool, ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        let ended = self.transaction.execute("DELETE FROM sessions WHERE id = ?1 AND user = ?2", [session, id])?;
        if ended > 0 {
            self.note("end_session", id, &json!({ "session": session }))?;
        }
        Ok(ended > 0)
    }
}

impl Register<'_> {
    /// The hash of the password of a user that is not switched off.
    pub fn password_of(&self, user: &str) -> Result<Option<String>, StoreError> {
        let sql = "SELECT p.hash FROM passwords p JOIN tenants t ON t.id = p.user JOIN names n ON n.id = p.user
                   JOIN tenants o ON o.id = t.parent
                   WHERE n.text = ?1 AND t.disabled_us IS NULL AND t.deleted_us IS NULL
                   AND o.disabled_us IS NULL AND o.deleted_us IS NULL";
        self.connection().query_row(sql, [user], |row| row.get(0)).optional().map_err(reading)
    }

    /// Whose session this is, and its number, unless it is over, or he or his organisation is switched off.
    pub fn holder_of_session(&self, digest: &Digest, now: Timestamp) -> Result<Option<(Principal, i64)>, StoreError> {
        let sql = "SELECT n.text, s.id FROM sessions s JOIN tenants t ON t.id = s.user JOIN names n ON n.id = s.user
                   JOIN tenants o ON o.id = t.parent
                   WHERE s.digest = ?1 AND s.not_after_us > ?2
                   AND t.disabled_us IS NULL AND t.deleted_us IS NULL
                   AND o.disabled_us IS NULL AND o.deleted_us IS NULL";
        let read = || {
            let mut statement = self.connection().prepare_cached(sql)?;
            let found = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Arc<str>>(0)?, row.get(1)?));
            statement.query_row(params![digest.0, now.as_micros()], found).optional()
        };
        let Some((user, session)) = read().map_err(reading)? else { return Ok(None) };
        Ok(Some((Principal { grants: self.grants(&user)?, user: Some(user) }, session)))
    }

    /// A user's sessions that are not over; newest first.
    pub fn sessions(&self, user: &str, now: Timestamp) -> Result<Vec<Session>, StoreError> {
        let sql = "SELECT s.id, s.opened_from, s.created_us, s.not_after_us FROM sessions s
                   JOIN names n ON n.id = s.user WHERE n.text = ?1 AND s.not_after_us > ?2 ORDER BY s.id DESC";
        let read = || {
            let mut statement = self.connection().prepare_cached(sql)?;
            let rows = statement.query_map(params![user, now.as_micros()], |row| {
                Ok(Session {
                    id: row.get(0)?,
                    opened_from: row.get(1)?,
                    created_at: Timestamp(row.get(2)?),
                    not_after: Timestamp(row.get(3)?),
                })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        read().map_err(reading)
    }
}
