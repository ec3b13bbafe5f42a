//! Second factors: a salt for each, from which and the pepper the secret is derived, and which code was used last.

use super::changes::{ChangeError, Changes, Named};
use super::register::reading;
use super::tenants::moment;
use super::{Register, StoreError};
use crate::clock::Timestamp;
use crate::tenants::{Pepper, TenantKind, TotpSecret};
use rusqlite::{OptionalExtension, params};
use serde_json::json;

/// What the secret is derived for.
const PURPOSE: &str = "farebox second factor v1";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    pub salt: [u8; 16],
    pub created_at: Timestamp,
    /// Since when it is asked for.
    pub confirmed_at: Option<Timestamp>,
    /// The time step of the last code that was used.
    pub used_step: i64,
}

impl SecondFactor {
    pub fn secret(&self, pepper: &Pepper) -> TotpSecret {
        TotpSecret::new(&pepper.derived(PURPOSE, &self.salt))
    }
}

impl Changes<'_> {
    /// Begins one, in the stead of one that was begun and never confirmed.
    pub fn begin_second_factor(&self, user: &str, salt: &[u8; 16]) -> Result<(), ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        self.transaction.execute(
            "INSERT INTO second_factors (user, salt, created_us, used_step) VALUES (?1, ?2, ?3, 0)
             ON CONFLICT (user) DO UPDATE SET salt = ?2, created_us = ?3, used_step = 0 WHERE confirmed_us IS NULL",
            params![id, salt, self.now.as_micros()],
        )?;
        self.note("begin_second_factor", id, &json!({}))
    }

    /// The first code was right: from now on one is asked for.
    pub fn confirm_second_factor(&self, user: &str, step: i64) -> Result<(), ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        self.transaction.execute(
            "UPDATE second_factors SET confirmed_us = ?2, used_step = ?3 WHERE user = ?1",
            params![id, self.now.as_micros(), step],
        )?;
        self.note("confirm_second_factor", id, &json!({}))
    }

    /// Uses up the codes to this step; false when another was quicker with it.
    pub fn use_code(&self, user: &str, step: i64) -> Result<bool, ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        let sql = "UPDATE second_factors SET used_step = ?2 WHERE user = ?1 AND used_step < ?2";
        Ok(self.transaction.execute(sql, [id, step])? > 0)
    }

    /// Whether there was one.
    pub fn end_second_factor(&self, user: &str) -> Result<bool, ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        let ended = self.transaction.execute("DELETE FROM second_factors WHERE user = ?1", [id])? > 0;
        if ended {
            self.note("end_second_factor", id, &json!({}))?;
        }
        Ok(ended)
    }
}

impl Register<'_> {
    /// A user's second factor, confirmed or not.
    pub fn second_factor(&self, user: &str) -> Result<Option<SecondFactor>, StoreError> {
        let sql = "SELECT f.salt, f.created_us, f.confirmed_us, f.used_step
                   FROM second_factors f JOIN names n ON n.id = f.user WHERE n.text = ?1";
        let found = |row: &rusqlite::Row<'_>| {
            Ok(SecondFactor {
                salt: row.get(0)?,
                created_at: Timestamp(row.get(1)?),
                confirmed_at: moment(row, 2)?,
                used_step: row.get(3)?,
            })
        };
        self.connection().query_row(sql, [user], found).optional().map_err(reading)
    }
}
