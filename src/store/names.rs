//! Texts ↔ numbers. Every text that repeats is written once, in the one table that erasure changes.

use crate::catalog::Cost;
use crate::tokens::usage::Kind;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;
use std::sync::Arc;

/// Names kept in memory per kind by a writer; beyond it the kind's memory starts anew.
const NAMES_MAX: usize = 50_000;

/// What a name names. The numbers are in the file: never renumber. Up to 11 they can name people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(super) enum NameKind {
    Organisation = 1,
    Team = 2,
    Project = 3,
    Key = 4,
    User = 5,
    EndUser = 6,
    Session = 7,
    Run = 8,
    Environment = 9,
    /// A JSON object of strings.
    Tags = 10,
    PromptName = 11,
    Provider = 12,
    Model = 13,
    /// Closed or nearly closed vocabularies: operations, outcomes, rules, finish reasons …
    Word = 14,
    ProviderKey = 15,
    Budget = 16,
}

const KINDS: usize = 17;

/// The id of "none".
pub(super) const NOBODY: i64 = 0;

/// Words whose ids the first migration fixed.
pub(super) const OK: i64 = 1;
pub(super) const PRICED: i64 = 2;
pub(super) const UNMETERED: i64 = 3;
pub(super) const REPORTED: i64 = 4;
pub(super) const COUNTED: i64 = 5;
pub(super) const ESTIMATED: i64 = 6;

/// A writer's memory of names and rate sets. What it remembers is in the file or in the running transaction.
#[derive(Debug, Default)]
pub(super) struct Interner {
    names: [HashMap<Box<str>, i64>; KINDS],
    rate_sets: HashMap<Vec<u8>, i64>,
    /// SQLite's count of other connections' commits when this was remembered.
    version: i64,
}

impl Interner {
    /// Forgets everything when another process has written: it may have erased or dropped a name. Asked inside a write
    /// transaction, so that nobody can until its end.
    pub(super) fn keep_up(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if version != self.version {
            *self = Interner { version, ..Interner::default() };
        }
        Ok(())
    }

    pub(super) fn id(&mut self, connection: &Connection, kind: NameKind, text: Option<&str>) -> rusqlite::Result<i64> {
        let Some(text) = text else { return Ok(NOBODY) };
        let known = &mut self.names[kind as usize];
        if let Some(id) = known.get(text) {
            return Ok(*id);
        }
        let key = params![kind as u8, text];
        let mut select = connection.prepare_cached("SELECT id FROM names WHERE kind = ?1 AND text = ?2")?;
        let id = match select.query_row(key, |row| row.get(0)).optional()? {
            Some(id) => id,
            None => {
                connection.prepare_cached("INSERT INTO names (kind, text) VALUES (?1, ?2)")?.execute(key)?;
                connection.last_insert_rowid()
            }
        };
        if known.len() >= NAMES_MAX {
            known.clear();
        }
        known.insert(text.into(), id);
        Ok(id)
    }

    /// The id of what a cost was computed with.
    pub(super) fn rate_set(&mut self, connection: &Connection, cost: &Cost) -> rusqlite::Result<i64> {
        let key = rate_key(cost);
        if let Some(id) = self.rate_sets.get(&key) {
            return Ok(*id);
        }
        let rates: serde_json::Map<String, serde_json::Value> = cost
            .rates
            .iter()
            .map(|(kind, rate)| (kind.name().to_owned(), rate.to_decimal_per(1_000_000).into()))
            .collect();
        let rates = serde_json::Value::Object(rates).to_string();
        let terms: serde_json::Value = cost.terms.iter().map(|term| &**term).collect();
        let text = params![&*cost.catalog, rates, terms.to_string()];
        let mut select =
            connection.prepare_cached("SELECT id FROM rate_sets WHERE catalog = ?1 AND rates = ?2 AND terms = ?3")?;
        let id = match select.query_row(text, |row| row.get(0)).optional()? {
            Some(id) => id,
            None => {
                connection
                    .prepare_cached("INSERT INTO rate_sets (catalog, rates, terms) VALUES (?1, ?2, ?3)")?
                    .execute(text)?;
                connection.last_insert_rowid()
            }
        };
        if self.rate_sets.len() >= NAMES_MAX {
            self.rate_sets.clear();
        }
        self.rate_sets.insert(key, id);
        Ok(id)
    }

    /// After a transaction that did not commit: ids given out in it do not exist.
    pub(super) fn forget(&mut self) {
        *self = Interner::default();
    }
}

/// Tells rate sets apart without writing JSON for every event.
fn rate_key(cost: &Cost) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.extend_from_slice(cost.catalog.as_bytes());
    key.push(0);
    for (kind, rate) in &cost.rates {
        key.push(*kind as u8);
        key.extend_from_slice(&rate.as_femto().to_le_bytes());
    }
    key.push(Kind::COUNT as u8);
    for term in &cost.terms {
        key.extend_from_slice(term.as_bytes());
        key.push(0);
    }
    key
}

/// A reader's memory of names, for the length of one query or export. A name has one place in it, which the next one
/// takes that falls there: bounded, and quicker than hashing.
#[derive(Debug, Default)]
pub(super) struct NameCache {
    places: Vec<Option<(i64, Arc<str>)>>,
}

/// Places in a reader's memory; a power of two. Ids count up, so that names made together do not meet.
const PLACES: usize = 1 << 14;

impl NameCache {
    pub(super) fn text(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<Option<Arc<str>>> {
        if id == NOBODY {
            return Ok(None);
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, None);
        }
        let place = id.unsigned_abs() as usize % PLACES;
        if let Some((known, text)) = &self.places[place]
            && *known == id
        {
            return Ok(Some(text.clone()));
        }
        let text: String = connection
            .prepare_cached("SELECT text FROM names WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?
            .unwrap_or_else(|| format!("#{id}"));
        let text: Arc<str> = text.into();
        self.places[place] = Some((id, text.clone()));
        Ok(Some(text))
    }
}
