//! The scopes of budgets that name whoever is erased. Accounts count on under another name, with their balances; budgets
//! that were made over the API ask for that other name from then on.
//!
//! Values of a call's metadata stand in no event: only the scopes of budgets that count by them have them.

use super::super::names::NameKind;
use super::Subject;
use crate::budget::scope;
use crate::clock::Timestamp;
use rusqlite::{Connection, params};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Names that budgets may count by, with the field of their scopes.
const SCOPED: [(NameKind, &str); 5] = [
    (NameKind::User, "user"),
    (NameKind::EndUser, "end_user"),
    (NameKind::Session, "session"),
    (NameKind::Run, "run"),
    (NameKind::PromptName, "prompt"),
];

/// A tag whose field has its own name.
const DEPARTMENT: &str = "department";
/// Fields of a call's metadata begin so.
pub(super) const METADATA: &str = "metadata.";

/// A value of a field, and what it becomes.
#[derive(Clone, Debug)]
struct Renamed {
    field: String,
    value: String,
    by: String,
}

/// What is to be written anew.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    accounts: Vec<(i64, String)>,
    budgets: Vec<(String, String)>,
    /// What somebody is called from now on whom no event names.
    pub by: String,
}

impl Rewritten {
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.budgets.is_empty()
    }

    pub fn write(&self, connection: &Connection, now: Timestamp) -> rusqlite::Result<()> {
        let mut accounts = connection.prepare_cached("UPDATE budget_accounts SET scope = ?2 WHERE id = ?1")?;
        for (account, scope) in &self.accounts {
            accounts.execute(params![account, scope])?;
        }
        let mut budgets =
            connection.prepare_cached("UPDATE own_budgets SET body = ?2, changed_us = ?3 WHERE name = ?1")?;
        for (name, body) in &self.budgets {
            budgets.execute(params![name, body, now.as_micros()])?;
        }
        Ok(())
    }
}

/// What must be written anew when the subject, called `name`, goes with the names of these ids.
pub(super) fn rewritten(
    connection: &Connection,
    subject: Subject,
    name: &str,
    ids: &HashSet<i64>,
) -> rusqlite::Result<Rewritten> {
    let random: String = connection.query_row("SELECT lower(hex(randomblob(6)))", [], |row| row.get(0))?;
    let by = format!("{}{random}", scope::ERASED);
    let renamed = renamed(connection, subject, (name, &by), ids)?;
    // People are named in metadata as well.
    let in_metadata = renamed.iter().find(|renamed| subject == Subject::User && renamed.field == "user").cloned();
    Ok(Rewritten {
        accounts: accounts(connection, &renamed, in_metadata.as_ref())?,
        budgets: budgets(connection, &renamed, in_metadata.as_ref())?,
        by,
    })
}

/// Parts of scopes that are a value of metadata, each once: `metadata.ticket=12`.
pub(super) fn in_metadata(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut read = connection.prepare("SELECT scope FROM budget_accounts WHERE scope <> ''")?;
    let scopes: Vec<String> = read.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let parts = scopes.iter().flat_map(|scope| scope.split(' ')).filter(|part| part.starts_with(METADATA));
    let parts: HashSet<&str> = parts.collect();
    Ok(parts.into_iter().map(str::to_owned).collect())
}

fn renamed(
    connection: &Connection,
    subject: Subject,
    (name, by): (&str, &str),
    ids: &HashSet<i64>,
) -> rusqlite::Result<Vec<Renamed>> {
    let mut all: Vec<Renamed> = Vec::new();
    let mut read = connection.prepare_cached("SELECT kind, text FROM names WHERE id = ?1")?;
    for id in ids {
        let (kind, text): (u8, String) = read.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let by = format!("{}{id}", scope::ERASED);
        if kind == NameKind::Tags as u8 {
            all.extend(tags(&text).into_iter().map(|(field, value)| Renamed { field, value, by: by.clone() }));
        } else if let Some((_, field)) = SCOPED.iter().find(|(scoped, _)| *scoped as u8 == kind) {
            all.push(Renamed { field: (*field).to_owned(), value: text, by });
        }
    }
    keep_others_tags(connection, ids, &mut all)?;
    let said = |part: &str| scope::value_of(part).map(|(field, value)| (field.to_owned(), value));
    let asked: Vec<(String, String)> = match subject {
        Subject::User => vec![("user".into(), name.into()), ("end_user".into(), name.into())],
        Subject::EndUser => vec![("end_user".into(), name.into())],
        Subject::Session => vec![("session".into(), name.into())],
        Subject::Metadata => said(name).into_iter().collect(),
    };
    // Who never called may still be named by a budget.
    for (field, value) in asked {
        if !all.iter().any(|renamed| renamed.field == field && renamed.value == value) {
            all.push(Renamed { field, value, by: by.to_owned() });
        }
    }
    Ok(all)
}

fn accounts(
    connection: &Connection,
    renamed: &[Renamed],
    in_metadata: Option<&Renamed>,
) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut read = connection.prepare("SELECT id, scope FROM budget_accounts WHERE scope <> ''")?;
    let mut rows = read.query([])?;
    let mut changed = Vec::new();
    while let Some(row) = rows.next()? {
        let before: String = row.get(1)?;
        let mut after = before.clone();
        for Renamed { field, value, by } in renamed {
            after = scope::replaced(&after, field, value, by).unwrap_or(after);
        }
        for part in before.split(' ').filter(|part| part.starts_with(METADATA)) {
            let (Some(person), Some((field, _))) = (in_metadata, scope::value_of(part)) else { continue };
            after = scope::replaced(&after, field, &person.value, &person.by).unwrap_or(after);
        }
        if after != before {
            changed.push((row.get(0)?, after));
        }
    }
    Ok(changed)
}

/// Budgets of the database: names and new bodies of those that name somebody.
fn budgets(
    connection: &Connection,
    renamed: &[Renamed],
    in_metadata: Option<&Renamed>,
) -> rusqlite::Result<Vec<(String, String)>> {
    let mut read = connection.prepare("SELECT name, body FROM own_budgets")?;
    let mut rows = read.query([])?;
    let mut changed = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, text): (String, String) = (row.get(0)?, row.get(1)?);
        // What a newer farebox wrote stays: it is refused wherever it is read.
        let Ok(mut body) = serde_json::from_str::<Map<String, Value>>(&text) else { continue };
        let mut found = false;
        for member in ["scope", "except"] {
            let Some(Value::Object(fields)) = body.get_mut(member) else { continue };
            for (field, value) in fields.iter_mut() {
                for one in renamed.iter().filter(|one| one.field == *field) {
                    found |= replace(value, one);
                }
                if let Some(person) = in_metadata.filter(|_| field.starts_with(METADATA)) {
                    found |= replace(value, person);
                }
            }
        }
        if found {
            changed.push((name, Value::Object(body).to_string()));
        }
    }
    Ok(changed)
}

/// In a text, or in a list of them. Whether it was there.
fn replace(value: &mut Value, renamed: &Renamed) -> bool {
    match value {
        Value::String(text) if *text == renamed.value => {
            text.clone_from(&renamed.by);
            true
        }
        // All of them: none may be left.
        Value::Array(values) => values.iter_mut().filter_map(|value| replace(value, renamed).then_some(())).count() > 0,
        _ => false,
    }
}

/// The tags of one set, as the fields of scopes that they are.
fn tags(text: &str) -> Vec<(String, String)> {
    let set: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    let field = |tag: String| if tag == DEPARTMENT { tag } else { format!("tag.{tag}") };
    set.into_iter().filter_map(|(tag, value)| Some((field(tag), value.as_str()?.to_owned()))).collect()
}

/// A tag that stands in a set of somebody else's as well is not the person's.
fn keep_others_tags(connection: &Connection, ids: &HashSet<i64>, all: &mut Vec<Renamed>) -> rusqlite::Result<()> {
    if !all.iter().any(|renamed| renamed.field.starts_with("tag.") || renamed.field == DEPARTMENT) {
        return Ok(());
    }
    let mut read = connection.prepare("SELECT id, text FROM names WHERE kind = ?1")?;
    let mut rows = read.query([NameKind::Tags as u8])?;
    while let Some(row) = rows.next()? {
        if !ids.contains(&row.get(0)?) {
            let others = tags(&row.get::<_, String>(1)?);
            let is_others =
                |one: &Renamed| others.iter().any(|(field, value)| (field, value) == (&one.field, &one.value));
            all.retain(|one| !is_others(one));
        }
    }
    Ok(())
}
