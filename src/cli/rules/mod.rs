//! `farebox rules …`: check the files, run their tests, see why a call is decided as it is.

mod backtest;
mod check;
mod explain;
mod test;
mod versions;

use crate::app::rules::{self, Files};
use crate::catalog::Catalog;
use crate::config::{self, Surroundings};
use crate::dialects::Dialect;
use crate::store::{FILE_NAME, OwnRules, Reader};
use clap::{Args, Subcommand};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read the rules; show all faults and warnings at once.
    Check(check::Arguments),
    /// Run the tests that stand in the rules.
    Test(test::Arguments),
    /// Replay the ledger through other rules: what they would have blocked, swapped and saved.
    Backtest(backtest::Arguments),
    /// Show what the rules do with a call, and why.
    Explain(Box<explain::Arguments>),
    /// Write the JSON Schema of rules files, for editors, to standard output.
    Schema,
    /// Show what another version of the rules says otherwise.
    Diff(versions::DiffArguments),
    /// Go back to an earlier version; a running node takes it up.
    Rollback(versions::RollbackArguments),
    /// List the versions that were applied.
    History(versions::HistoryArguments),
}

/// Which rules a command is about.
#[derive(Debug, Args)]
pub struct Place {
    /// Files or a folder of rules; by default the configured folder.
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// The configuration to take the folder, the catalog and the providers from.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The rules' texts and what they may name.
pub struct Found {
    pub files: Files,
    pub catalog: Catalog,
    pub providers: Vec<Arc<str>>,
    /// Of alerts.
    pub receivers: Vec<Arc<str>>,
    /// What each of them speaks.
    pub dialects: HashMap<Arc<str>, Dialect>,
    pub data_dir: PathBuf,
    pub rules_dir: PathBuf,
    /// What the ledger's database has beside the files, where there is one.
    pub own: OwnRules,
}

pub fn run(arguments: &RulesArgs) -> ExitCode {
    match &arguments.command {
        Command::Check(arguments) => check::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Backtest(arguments) => backtest::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Schema => {
            println!("{:#}", crate::rules::syntax::schema());
            ExitCode::SUCCESS
        }
        Command::Diff(arguments) => versions::diff(arguments),
        Command::Rollback(arguments) => versions::rollback(arguments),
        Command::History(arguments) => versions::history(arguments),
    }
}

impl Place {
    /// Reads them.
    ///
    /// # Errors
    /// The configuration, the catalog or a file cannot be read.
    pub fn find(&self) -> Result<Found, String> {
        let mut found = self.find_folder()?;
        let paths = if self.paths.is_empty() { std::slice::from_ref(&found.rules_dir) } else { &self.paths };
        let mut files = Vec::new();
        for path in paths {
            files.extend(if path == &found.rules_dir { rules::read(path)? } else { files_at(path)? });
        }
        found.files = files;
        Ok(found)
    }

    /// The configured folder.
    pub fn configured(config: Option<&PathBuf>) -> Place {
        Place { paths: Vec::new(), config: config.cloned() }
    }

    /// Everything but the files.
    pub fn find_folder(&self) -> Result<Found, String> {
        let settings = config::load(self.config.clone(), &Surroundings::of_this_process());
        let settings = settings.map_err(|faults| faults.to_string())?;
        let providers = &settings.proxy.providers;
        Ok(Found {
            files: Vec::new(),
            catalog: crate::app::load_catalog(&settings.catalog_overlays)?,
            receivers: settings.alerts.receivers.iter().map(|receiver| Arc::clone(&receiver.name)).collect(),
            providers: providers.iter().map(|provider| Arc::clone(&provider.name)).collect(),
            dialects: providers.iter().map(|provider| (Arc::clone(&provider.name), provider.dialect)).collect(),
            own: own_rules(&settings.data_dir),
            data_dir: settings.data_dir,
            rules_dir: settings.rules_dir,
        })
    }
}

/// Budgets that were made over the API and what keys carry. A database that cannot be read does not stop a check of files.
fn own_rules(data_dir: &Path) -> OwnRules {
    if !data_dir.join(FILE_NAME).exists() {
        return OwnRules::default();
    }
    let read = Reader::open(data_dir).and_then(|reader| reader.own_rules());
    read.unwrap_or_else(|error| {
        eprintln!("warning: {error}; budgets that were made over the API are not known here");
        OwnRules::default()
    })
}

/// Held, not held, not known.
fn mark(holds: Option<bool>) -> &'static str {
    match holds {
        Some(true) => "✓",
        Some(false) => "✗",
        None => "?",
    }
}

/// `1 test`, `2 tests`.
fn many(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {}", what.trim_end_matches('s')),
        _ => format!("{count} {what}"),
    }
}

/// One file, or all of a folder.
pub fn files_at(path: &Path) -> Result<Files, String> {
    if path.is_dir() {
        return rules::read(path);
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(vec![(path.display().to_string(), text)])
}

impl Found {
    pub fn known(&self) -> crate::rules::syntax::Known<'_> {
        crate::rules::syntax::Known {
            catalog: Some(&self.catalog),
            providers: &self.providers,
            receivers: Some(&self.receivers),
        }
    }
}
