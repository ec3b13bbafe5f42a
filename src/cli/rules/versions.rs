//! `farebox rules diff`, `farebox rules rollback` and `farebox rules history`: earlier versions of the rules.

use super::{Found, Place, files_at};
use crate::app::history::{History, Version, bare};
use crate::app::rules::{self, Files};
use crate::cli::fault;
use crate::clock::Timestamp;
use crate::rules::{Change, ChangeKind, RuleSet, changes};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct DiffArguments {
    /// A version (number, name, `newest`, `previous`), a file or a folder; by default the version in force last.
    before: Option<String>,
    /// The same; by default the configured folder as it is now.
    after: Option<String>,
    /// The configuration to take folders from.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct RollbackArguments {
    /// The version to go back to: its number, its name, or `previous`.
    #[arg(value_name = "VERSION")]
    wanted: String,
    /// The configuration whose rules these are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct HistoryArguments {
    /// The configuration whose rules these are.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

pub fn diff(arguments: &DiffArguments) -> ExitCode {
    let outcome = Place::configured(arguments.config.as_ref()).find().and_then(|found| {
        let before = rules_named(arguments.before.as_deref().unwrap_or("newest"), &found)?;
        let after = match &arguments.after {
            Some(word) => rules_named(word, &found)?,
            None => loaded(&found.files, &found)?,
        };
        Ok(changes(&before, &after))
    });
    match outcome {
        Err(what) => return fault(what),
        Ok(changes) if arguments.json => println!("{}", json!({ "changes": changes })),
        Ok(changes) if changes.is_empty() => println!("nothing changes"),
        Ok(changes) => changes.iter().for_each(show),
    }
    ExitCode::SUCCESS
}

/// Writes a version's files into the folder; a running node takes them up like any other change.
pub fn rollback(arguments: &RollbackArguments) -> ExitCode {
    let outcome = Place::configured(arguments.config.as_ref()).find_folder().and_then(|found| {
        let history = History::beside(&found.data_dir);
        let version = history.find(&arguments.wanted).ok_or_else(|| no_version(&arguments.wanted, &history))?;
        let files = history.read(&version)?;
        loaded(&files, &found)?;
        let written = write_back(&found.rules_dir, &files)?;
        Ok((version, written))
    });
    match outcome {
        Err(what) => fault(what),
        Ok((version, written)) => {
            println!("version {} ({}) is back: {}", version.number, version.version, written.join(", "));
            ExitCode::SUCCESS
        }
    }
}

pub fn history(arguments: &HistoryArguments) -> ExitCode {
    let found = match Place::configured(arguments.config.as_ref()).find_folder() {
        Ok(found) => found,
        Err(what) => return fault(what),
    };
    let versions = History::beside(&found.data_dir).list();
    if arguments.json {
        println!("{}", json!({ "versions": versions }));
    } else if versions.is_empty() {
        println!("no version was applied yet");
    } else {
        for Version { number, version, at, files } in &versions {
            println!("{number:>5}  {version}  {}  {}", Timestamp(*at).to_rfc3339(), files.join(", "));
        }
    }
    ExitCode::SUCCESS
}

fn rules_named(word: &str, found: &Found) -> Result<RuleSet, String> {
    let path = Path::new(word);
    if path.exists() {
        return loaded(&files_at(path)?, found);
    }
    let history = History::beside(&found.data_dir);
    let version = history.find(word).ok_or_else(|| no_version(word, &history))?;
    loaded(&history.read(&version)?, found)
}

fn no_version(word: &str, history: &History) -> String {
    match history.list().len() {
        0 => "no version was applied yet: `farebox serve` keeps each set of rules that it takes up".to_owned(),
        count => format!("there is no version `{word}` among {count}: see `farebox rules history`"),
    }
}

fn loaded(files: &Files, found: &Found) -> Result<RuleSet, String> {
    rules::load(files, &found.known()).map(|loaded| loaded.rules).map_err(|faults| rules::in_words(&faults))
}

/// What stood in the folder and is not in the version stays beside it under another name: nothing is lost.
fn write_back(dir: &Path, files: &Files) -> Result<Vec<String>, String> {
    let fault = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::create_dir_all(dir).map_err(|error| fault(dir, error))?;
    for (name, text) in rules::read(dir)? {
        let path = dir.join(bare(&name));
        let kept = dir.join(format!("{}.before-rollback", bare(&name)));
        let same = files.iter().any(|(theirs, new)| bare(theirs) == bare(&name) && *new == text);
        if !same {
            std::fs::rename(&path, kept).map_err(|error| fault(&path, error))?;
        }
    }
    let mut written = Vec::new();
    for (name, text) in files {
        let (path, begun) = (dir.join(bare(name)), dir.join(format!(".{}.begun", bare(name))));
        std::fs::write(&begun, text).map_err(|error| fault(&begun, error))?;
        std::fs::rename(&begun, &path).map_err(|error| fault(&path, error))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

fn show(change: &Change) {
    let sign = match change.what {
        ChangeKind::Added => "+",
        ChangeKind::Removed => "-",
        ChangeKind::Changed => "~",
        ChangeKind::Moved => "↕",
    };
    println!("{sign} {} {}", change.kind.name(), change.rule);
    for detail in &change.details {
        println!("    {detail}");
    }
}
