//! Provider keys: reading them, and changing them with a line in the audit log.

use super::changes::{ChangeError, Changes, Named};
use super::names::NameKind;
use super::tenants::moment;
use super::{Reader, Store, StoreError};
use crate::clock::Timestamp;
use crate::tenants::{KeyHealth, MasterKeyId, ProviderKeyRecord};
use rusqlite::{Connection, params};
use serde_json::json;
use std::sync::Arc;

/// A provider key that is to be kept.
#[derive(Clone, Debug)]
pub struct NewProviderKey<'a> {
    pub name: &'a str,
    pub provider: &'a str,
    pub sealed: &'a [u8],
    pub master: MasterKeyId,
    pub weight: u32,
    pub not_after: Option<Timestamp>,
}

/// A kept provider key with its sealed text; empty when it was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    pub record: ProviderKeyRecord,
    pub sealed: Arc<[u8]>,
}

impl Reader {
    /// By provider and name; with the removed ones, or without.
    pub fn provider_keys(&self, removed: bool) -> Result<Vec<SealedKey>, StoreError> {
        self.with(|connection| list(connection, removed).map_err(StoreError::sqlite("read provider keys")))
    }
}

impl Store {
    /// Keeps what a provider said of its keys; no change that anybody made, so the audit log has no line of it.
    pub fn provider_keys_seen(&mut self, seen: &[(Arc<str>, KeyHealth, Timestamp)]) -> Result<(), StoreError> {
        let write = |connection: &mut Connection| {
            let transaction = super::write_transaction(connection)?;
            for (name, health, at) in seen {
                transaction
                    .prepare_cached(
                        "UPDATE provider_keys SET seen = ?2, seen_us = ?3 WHERE id =
                         (SELECT id FROM names WHERE kind = ?4 AND text = ?1)",
                    )?
                    .execute(params![name, health.name(), at.as_micros(), NameKind::ProviderKey as u8])?;
            }
            transaction.commit()
        };
        write(&mut self.connection).map_err(StoreError::sqlite("keep how provider keys stand"))
    }
}

impl Changes<'_> {
    pub fn add_provider_key(&self, new: &NewProviderKey<'_>) -> Result<(), ChangeError> {
        let id = self.fresh_name(Named::ProviderKey, new.name)?;
        let provider = self.word(NameKind::Provider, new.provider)?;
        self.transaction()
            .prepare_cached(
                "INSERT INTO provider_keys (id, provider, sealed, master, weight, created_us, not_after_us)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                id,
                provider,
                new.sealed,
                new.master,
                new.weight,
                self.now().as_micros(),
                new.not_after.map(Timestamp::as_micros)
            ])?;
        let not_after = new.not_after.map(Timestamp::to_rfc3339);
        self.note("create", id, &json!({ "provider": provider, "weight": new.weight, "not_after": not_after }))
    }

    /// Its provider was asked; a running node that thought otherwise of it thinks so too within a second.
    pub fn provider_key_checked(&self, name: &str, health: KeyHealth) -> Result<(), ChangeError> {
        let id = self.living(Named::ProviderKey, name)?;
        self.transaction().execute(
            "UPDATE provider_keys SET seen = ?2, seen_us = ?3 WHERE id = ?1",
            params![id, health.name(), self.now().as_micros()],
        )?;
        self.note("check", id, &json!({ "found": health.name() }))
    }

    /// Seals every text anew: all, or none when one cannot be opened. How many it were.
    pub fn reseal(
        &self,
        master: MasterKeyId,
        again: impl Fn(&SealedKey) -> Result<Vec<u8>, ChangeError>,
    ) -> Result<u64, ChangeError> {
        let mut count = 0;
        for key in list(self.transaction(), false)? {
            let sealed = again(&key)?;
            let id = self.living(Named::ProviderKey, &key.record.name)?;
            self.transaction()
                .prepare_cached("UPDATE provider_keys SET sealed = ?2, master = ?3 WHERE id = ?1")?
                .execute(params![id, sealed, master])?;
            count += 1;
        }
        let subject = self.word(NameKind::Word, "master-key")?;
        self.note("rotate", subject, &json!({ "resealed": count }))?;
        Ok(count)
    }
}

fn list(connection: &Connection, removed: bool) -> rusqlite::Result<Vec<SealedKey>> {
    let sql = "SELECT n.text, p.text, k.weight, k.created_us, k.not_after_us, k.disabled_us, k.deleted_us, k.seen,
                      k.seen_us, k.master, k.sealed
               FROM provider_keys k JOIN names n ON n.id = k.id JOIN names p ON p.id = k.provider
               WHERE ?1 OR k.deleted_us IS NULL ORDER BY p.text, n.text";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([removed], |row| {
        let health = row.get::<_, Option<String>>(7)?.and_then(|name| KeyHealth::of_name(&name));
        let record = ProviderKeyRecord {
            name: row.get(0)?,
            provider: row.get(1)?,
            weight: row.get(2)?,
            created_at: Timestamp(row.get(3)?),
            not_after: moment(row, 4)?,
            disabled_at: moment(row, 5)?,
            deleted_at: moment(row, 6)?,
            seen: health.zip(moment(row, 8)?),
            master: row.get(9)?,
        };
        Ok(SealedKey { record, sealed: row.get::<_, Vec<u8>>(10)?.into() })
    })?;
    rows.collect()
}
