//! Who somebody at an identity provider is here.

use super::changes::{ChangeError, Changes, Named};
use super::register::reading;
use super::{Register, StoreError};
use crate::tenants::{Digest, TenantKind};
use rusqlite::{OptionalExtension, params};
use serde_json::json;

impl Changes<'_> {
    /// From now on, whoever logs in as this is this user.
    pub fn identify(&self, user: &str, digest: &Digest) -> Result<(), ChangeError> {
        let id = self.living(Named::Tenant(TenantKind::User), user)?;
        self.transaction.execute(
            "INSERT INTO identities (digest, user, created_us) VALUES (?1, ?2, ?3)",
            params![digest.0, id, self.now.as_micros()],
        )?;
        self.note("identify", id, &json!({}))
    }
}

impl Register<'_> {
    /// The user whom an identity provider calls so, and whether he may come in: neither he nor his organisation is
    /// switched off.
    pub fn identified(&self, digest: &Digest) -> Result<Option<(String, bool)>, StoreError> {
        let sql = "SELECT n.text, t.disabled_us IS NULL AND t.deleted_us IS NULL
                                  AND o.disabled_us IS NULL AND o.deleted_us IS NULL
                   FROM identities i JOIN tenants t ON t.id = i.user JOIN names n ON n.id = i.user
                   JOIN tenants o ON o.id = t.parent WHERE i.digest = ?1";
        let found = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        self.connection().query_row(sql, [digest.0], found).optional().map_err(reading)
    }
}
