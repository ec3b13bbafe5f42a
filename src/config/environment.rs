//! `FAREBOX_*` variables: every setting by its name in capitals, `__` for each section deeper
//! (`FAREBOX_LEDGER__SYNC_INTERVAL`, `FAREBOX_PROVIDERS__OPENAI__BASE_URL`), and a few words that no file may say.

use super::diagnose::nearest;
use super::file;
use super::section::Notes;
use super::tree::{self, Entry, Node, Origin, Shape};
use crate::secret::Secret;
use crate::store::MasterKeySource;
use std::collections::BTreeMap;

pub const CONFIG: &str = "FAREBOX_CONFIG";
pub const ADMIN_TOKEN: &str = "FAREBOX_ADMIN_TOKEN";
/// `yes` opens a public address to whoever brings a key of his own.
pub const OPEN_ON_PUBLIC: &str = "FAREBOX_OPEN_ON_PUBLIC";
/// `yes` lets providers without a `key` setting use the key in their standard variable (`OPENAI_API_KEY` …).
pub const USE_ENV_KEYS: &str = "FAREBOX_USE_ENV_KEYS";
/// `yes` gives the first start in keys mode an owner's token and a virtual key, which it prints.
pub const MINT_ON_FIRST_START: &str = "FAREBOX_MINT_ON_FIRST_START";
/// What provider keys are sealed under, or the file that it is in; neither: `master.key` in the data directory.
pub const MASTER_KEY: &str = "FAREBOX_MASTER_KEY";
pub const MASTER_KEY_FILE: &str = "FAREBOX_MASTER_KEY_FILE";

const PREFIX: &str = "FAREBOX_";
const WORDS: [&str; 7] =
    [CONFIG, ADMIN_TOKEN, OPEN_ON_PUBLIC, USE_ENV_KEYS, MINT_ON_FIRST_START, MASTER_KEY, MASTER_KEY_FILE];
/// Shorter spellings.
const SHORT: [(&str, [&str; 2]); 2] =
    [("FAREBOX_LOG_FORMAT", ["log", "format"]), ("FAREBOX_LOG_LEVEL", ["log", "level"])];

/// Whether a word that wants a clear yes got it.
pub fn says_yes(variables: &BTreeMap<String, String>, name: &str, notes: &Notes) -> bool {
    match variables.get(name).map(String::as_str) {
        Some("yes") => true,
        None | Some("" | "no") => false,
        Some(_) => {
            let origin = Origin::Variable(name.to_owned());
            notes.fault(&origin, "it is neither yes nor no".to_owned(), "write `yes`, or unset it");
            false
        }
    }
}

/// Where the master key is.
pub fn master_key(variables: &BTreeMap<String, String>) -> MasterKeySource {
    let said = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    match (said(MASTER_KEY), said(MASTER_KEY_FILE)) {
        (Some(text), _) => MasterKeySource::Text(Secret::new(text.clone())),
        (None, Some(path)) => MasterKeySource::File(path.into()),
        (None, None) => MasterKeySource::DataDir,
    }
}

/// Lays the variables over the file's tree. The answer: whether every preset stands, because the file names no
/// providers.
pub fn lay_over(root: &mut Node, variables: &BTreeMap<String, String>, notes: &Notes) -> bool {
    let every_preset = root.entry("providers").is_none_or(|entry| matches!(entry.value.shape, Shape::Nothing));
    let paths = paths(variables, notes);
    let about_providers = |(path, _): &&(Vec<String>, String)| path.first().is_some_and(|key| key == "providers");
    if every_preset && paths.values().find(about_providers).is_some() {
        begin_providers(root);
    }
    notes.faults.borrow_mut().extend(tree::overlay(root, &paths).into_iter().map(Into::into));
    every_preset
}

/// The settings among the variables: name → path of keys and value. An empty value is not set (as `${X:-}` gives it).
fn paths(variables: &BTreeMap<String, String>, notes: &Notes) -> BTreeMap<String, (Vec<String>, String)> {
    let known = file::keys();
    let mut paths = BTreeMap::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if value.is_empty() || WORDS.contains(&name.as_str()) || is_of_a_container_link(rest, value) {
            continue;
        }
        let path: Vec<String> = match SHORT.iter().find(|(short, _)| short == name) {
            Some((_, path)) => path.iter().map(|key| (*key).to_owned()).collect(),
            None => rest.split("__").map(str::to_ascii_lowercase).collect(),
        };
        let first = path.first().map_or("", String::as_str);
        let begins = |key: &&String| key.split('.').next() == Some(first);
        if known.iter().any(|key| begins(&key)) {
            paths.insert(name.clone(), (provider_spelled(path), value.clone()));
        } else {
            no_such_variable(name, &known, notes);
        }
    }
    paths
}

/// Providers' names have `-` where a variable can only have `_`.
fn provider_spelled(mut path: Vec<String>) -> Vec<String> {
    if let [first, name, ..] = path.as_mut_slice()
        && first == "providers"
    {
        *name = name.replace('_', "-");
    }
    path
}

/// A service called `farebox` makes Kubernetes and Docker set `FAREBOX_PORT=tcp://…`, `FAREBOX_SERVICE_HOST` and the
/// like in every container beside it; they are not ours.
fn is_of_a_container_link(rest: &str, value: &str) -> bool {
    rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || (rest == "PORT" && value.contains("://"))
        || (rest.starts_with("PORT_") && (rest.contains("_TCP") || rest.contains("_UDP")))
}

fn no_such_variable(name: &str, known: &[String], notes: &Notes) {
    let settings = known.iter().filter(|key| !key.starts_with("providers.")).map(|key| variable_of(key));
    let all: Vec<String> = settings.chain(WORDS.map(str::to_owned)).collect();
    let one_underscore = all.iter().find(|variable| variable.replace("__", "_") == *name).map(String::as_str);
    let remedy = match one_underscore.or_else(|| nearest(name, all.iter().map(String::as_str))) {
        Some(near) => format!("write {near}"),
        None => "every setting of farebox.yaml is one in capitals: FAREBOX_LISTEN, FAREBOX_LOG__LEVEL".to_owned(),
    };
    notes.fault(&Origin::Variable(name.to_owned()), "there is no such setting".to_owned(), remedy);
}

fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

fn begin_providers(root: &mut Node) {
    let Shape::Section(entries) = &mut root.shape else { return };
    entries.retain(|entry| entry.key != "providers");
    let value = Node { origin: Origin::Whole, shape: Shape::List(Vec::new()) };
    entries.push(Entry { key: "providers".to_owned(), origin: Origin::Whole, value });
}
