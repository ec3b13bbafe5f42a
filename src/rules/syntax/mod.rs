//! What people write: `rules/*.yaml`, all files of a folder as one set. Texts go in; a [`RuleSet`] comes out, or every
//! fault of all files at once. No file is opened here.
//!
//! [`keys`]: the table of all keys → [`section`]: a section held against it → `read`: rules → `lint`: what is wrong
//! between rules.

pub mod keys;
mod lint;
pub mod made;
mod read;
pub mod scalar;
mod schema;
mod section;
mod tests_of_files;
mod values;

pub use schema::schema;

use super::selftest::SelfTest;
use super::{RuleSet, set};
use crate::catalog::Catalog;
use crate::yaml::{self, Fault, Node, Place};
use section::Notes;
use std::sync::Arc;

/// More text than this is no rules.
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// What a file may name. Where it is not known, nothing is said about such names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    pub catalog: Option<&'a Catalog>,
    pub providers: &'a [Arc<str>],
    /// Of alerts, as configured.
    pub receivers: Option<&'a [Arc<str>]>,
}

/// Rules that can be used.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub rules: RuleSet,
    pub tests: Vec<SelfTest>,
    /// What is probably not meant; the rules are used all the same.
    pub warnings: Vec<Fault>,
}

/// Reads files (name, text) as one set, in this order.
///
/// # Errors
/// Every fault of every file, in their order; then nothing is used.
pub fn load(files: &[(&str, &str)], known: &Known<'_>) -> Result<Loaded, Vec<Fault>> {
    let notes = Notes::default();
    let mut roots: Vec<(Arc<str>, Node)> = Vec::new();
    for (place, (name, text)) in files.iter().enumerate() {
        let file = u16::try_from(place).unwrap_or(u16::MAX);
        if text.len() > TEXT_BYTES_MAX {
            notes.fault(
                Place { file, line: 1, column: 1 },
                "the file has more than 16 MiB",
                "split it, or mend what writes it",
            );
        } else if let Some(root) = yaml::parse(text, file, &mut notes.faults.borrow_mut()) {
            roots.push((Arc::from(*name), root));
        }
    }
    let mut read = read::files(&roots, &notes);
    lint::between(&mut read, known, &notes);
    let faults = yaml::told(notes.faults.into_inner(), files);
    if !faults.is_empty() {
        return Err(faults);
    }
    read.rules.version = version(files);
    let rules = RuleSet::new(read.rules);
    Ok(Loaded { rules, tests: read.tests, warnings: yaml::told(notes.warnings.into_inner(), files) })
}

/// A test as it would stand in a file, of `key=value` words: for `farebox rules explain`.
///
/// # Errors
/// What cannot be read, placed in the file that the words would make.
pub fn described(
    caller: &[String],
    request: &[String],
    spent: &[String],
    at: Option<&str>,
) -> Result<SelfTest, Vec<Fault>> {
    let mut text = "version: 1\ntests:\n  - name: explained\n    expect: {decision: admit}\n    given:\n".to_owned();
    for (section, words) in [("caller", caller), ("request", request), ("spent", spent)] {
        text.push_str(&format!("      {section}:{}\n", if words.is_empty() { " ~" } else { "" }));
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            text.push_str(&format!("        {}: {}\n", quoted(key), quoted(value)));
        }
    }
    text.push_str(&format!("      at: {}\n", at.map_or("~".to_owned(), quoted)));
    let files = [("command line", text.as_str())];
    let notes = Notes::default();
    let root = yaml::parse(&text, 0, &mut notes.faults.borrow_mut());
    let roots: Vec<(Arc<str>, Node)> = root.into_iter().map(|root| (Arc::from(files[0].0), root)).collect();
    let tests = read::files(&roots, &notes).tests;
    let faults = yaml::told(notes.faults.into_inner(), &files);
    match tests.into_iter().next().filter(|_| faults.is_empty()) {
        Some(test) => Ok(test),
        None => Err(faults),
    }
}

fn quoted(text: &str) -> String {
    let plain: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    format!("'{}'", plain.replace('\'', "''"))
}

/// The first 8 letters of BLAKE3 over all names (without their folder) and texts, each with its length before it; empty
/// for no files.
pub fn version(files: &[(&str, &str)]) -> Arc<str> {
    if files.is_empty() {
        return Arc::default();
    }
    let mut hasher = blake3::Hasher::new();
    for part in files.iter().flat_map(|(name, text)| [name.rsplit('/').next().unwrap_or(name), text]) {
        hasher.update(&part.len().to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().chars().take(8).collect::<String>().into()
}

/// What was read, with the places of what may be wrong between rules.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub rules: set::Rules,
    pub tests: Vec<SelfTest>,
    /// In the order of `rules`, one for each rule of each kind.
    pub places: Places,
    pub alerts: Vec<read::Alert>,
}

/// Where rules stand, in the order of their lists.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub budgets: Vec<Place>,
    pub blocks: Vec<Place>,
    pub limits: Vec<Place>,
    pub routes: Vec<Place>,
    pub swaps: Vec<Place>,
    pub clamps: Vec<Place>,
    /// Every name with its place, of all kinds.
    pub names: Vec<(Arc<str>, Place)>,
    /// Names of budgets in conditions, with the measures they are compared in.
    pub asked_budgets: Vec<(super::condition::BudgetState, Place)>,
    /// Targets of swaps, and of tests.
    pub models: Vec<(Arc<str>, Place)>,
    pub providers: Vec<(Arc<str>, Place)>,
    /// Budgets of tests.
    pub spent: Vec<(Arc<str>, crate::budget::book::Unit, Place)>,
}

#[cfg(test)]
mod tests;
