//! Rules that no file has: budgets made over the API, and what virtual keys carry themselves.

use super::names::NameKind;
use super::tenants::generation;
use super::{ChangeError, Changes, Reader, Register, StoreError};
use crate::clock::Timestamp;
use crate::tenants::KeyLimits;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// A budget that was made over the API.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnBudget {
    pub name: Arc<str>,
    /// As the rules write it.
    pub body: Map<String, Value>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
}

/// All of them, at one moment.
#[derive(Clone, Debug, Default)]
pub struct OwnRules {
    /// Grows with every change of what the register has.
    pub generation: u64,
    pub budgets: Vec<OwnBudget>,
    pub keys: Vec<(Arc<str>, KeyLimits)>,
}

const BUDGETS: &str = "SELECT name, body, created_us, changed_us FROM own_budgets";

impl Reader {
    pub fn own_rules(&self) -> Result<OwnRules, StoreError> {
        let read = |connection: &Connection| -> rusqlite::Result<OwnRules> {
            let snapshot = connection.unchecked_transaction()?;
            let sql = "SELECT n.text, k.limits FROM virtual_keys k JOIN names n ON n.id = k.id
                       WHERE k.limits <> '{}' AND k.deleted_us IS NULL ORDER BY n.text";
            let mut statement = snapshot.prepare_cached(sql)?;
            let keys = statement.query_map([], |row| Ok((row.get(0)?, limits(row, 1)?)))?;
            let keys = keys.collect::<rusqlite::Result<_>>()?;
            Ok(OwnRules { generation: generation(&snapshot)?, budgets: budgets(&snapshot)?, keys })
        };
        self.with(|connection| read(connection).map_err(StoreError::sqlite("read the rules of the database")))
    }
}

impl Register<'_> {
    /// By name.
    pub fn own_budgets(&self) -> Result<Vec<OwnBudget>, StoreError> {
        budgets(self.connection()).map_err(StoreError::sqlite("read the budgets of the database"))
    }

    pub fn own_budget(&self, name: &str) -> Result<Option<OwnBudget>, StoreError> {
        let read = || {
            let mut statement = self.connection().prepare_cached(&format!("{BUDGETS} WHERE name = ?1"))?;
            statement.query_row([name], budget).optional()
        };
        read().map_err(StoreError::sqlite("read a budget of the database"))
    }
}

impl Changes<'_> {
    /// Makes the budget, or writes it anew.
    pub fn set_own_budget(&self, name: &str, body: &Map<String, Value>) -> Result<(), ChangeError> {
        let before = self.register().own_budget(name)?;
        self.transaction().execute(
            "INSERT INTO own_budgets (name, body, created_us, changed_us) VALUES (?1, ?2, ?3, ?3)
             ON CONFLICT (name) DO UPDATE SET body = excluded.body, changed_us = excluded.changed_us",
            params![name, Value::Object(body.clone()).to_string(), self.now().as_micros()],
        )?;
        let id = self.word(NameKind::Budget, name)?;
        let action = if before.is_some() { "change" } else { "create" };
        self.note(action, id, &json!({ "before": before.map(|before| limit(&before.body)), "after": limit(body) }))
    }

    /// What it counted stays in the ledger.
    pub fn delete_own_budget(&self, name: &str) -> Result<(), ChangeError> {
        let before = self.register().own_budget(name)?;
        let before = before.ok_or_else(|| ChangeError::Missing { kind: "budget", name: name.to_owned() })?;
        self.transaction().execute("DELETE FROM own_budgets WHERE name = ?1", [name])?;
        let id = self.word(NameKind::Budget, name)?;
        self.note("delete", id, &json!({ "before": limit(&before.body) }))
    }
}

/// For the audit log, in which nothing can be erased: what is not about people.
fn limit(body: &Map<String, Value>) -> Value {
    let said = |name: &str| body.get(name).cloned().unwrap_or_default();
    json!({ "limit": said("limit"), "window": said("window"), "hardness": said("hardness") })
}

fn budgets(connection: &Connection) -> rusqlite::Result<Vec<OwnBudget>> {
    let mut statement = connection.prepare_cached(&format!("{BUDGETS} ORDER BY name"))?;
    statement.query_map([], budget)?.collect()
}

fn budget(row: &Row<'_>) -> rusqlite::Result<OwnBudget> {
    let body = serde_json::from_str(&row.get::<_, String>(1)?).map_err(|error| unreadable(1, error))?;
    Ok(OwnBudget { name: row.get(0)?, body, created_at: Timestamp(row.get(2)?), changed_at: Timestamp(row.get(3)?) })
}

/// What a newer farebox wrote and this one cannot read must not be left out.
pub(super) fn limits(row: &Row<'_>, column: usize) -> rusqlite::Result<KeyLimits> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
