//! Which data directory a command means.

use super::fault;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Surroundings};
use crate::store::{ChangeError, Changes, Reader, Store, StoreError};
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Place {
    /// The data directory; by default the configured one.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The configuration to take the data directory from.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

impl Place {
    /// The whole configuration, which must be without a fault.
    pub fn settings(&self) -> Result<config::Settings, String> {
        config::load(self.config.clone(), &Surroundings::of_this_process()).map_err(|faults| faults.to_string())
    }

    /// The directory that is named, else the configured one; whatever else is wrong with the configuration.
    pub fn data_dir(&self) -> Result<PathBuf, String> {
        match &self.data_dir {
            Some(dir) => Ok(dir.clone()),
            None => config::data_dir(self.config.clone(), &Surroundings::of_this_process())
                .map_err(|faults| faults.to_string()),
        }
    }
}

/// What whoever looks after tenants and keys wants: where, how it is answered, and what is to be done.
#[derive(Debug, clap::Args)]
pub struct Errand<Command: clap::Subcommand> {
    #[command(flatten)]
    pub place: Place,
    /// As JSON.
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

impl<Command: clap::Subcommand> Errand<Command> {
    /// Does it there.
    pub fn run<E: fmt::Display>(&self, done: impl FnOnce(&Office, &Command, bool) -> Result<ExitCode, E>) -> ExitCode {
        match Office::of(&self.place) {
            Ok(office) => done(&office, &self.command, self.json).unwrap_or_else(fault),
            Err(why) => fault(why),
        }
    }

    /// The same, of something that is done or fails.
    pub fn run_through<E: fmt::Display>(
        &self,
        done: impl FnOnce(&Office, &Command, bool) -> Result<(), E>,
    ) -> ExitCode {
        self.run(|office, command, json| done(office, command, json).map(|()| ExitCode::SUCCESS))
    }
}

/// The store of a ledger that is there. Opened to read first, so that a mistyped directory is not made.
pub fn store_in(data_dir: &Path) -> Result<Store, StoreError> {
    Reader::open(data_dir)?;
    Store::open(data_dir, SystemClock.now())
}

/// Where tenants and keys are looked after: a data directory, whether a server runs on it or not.
pub struct Office {
    pub data_dir: PathBuf,
}

impl Office {
    pub fn of(place: &Place) -> Result<Office, String> {
        place.data_dir().map(|data_dir| Office { data_dir })
    }

    pub fn reader(&self) -> Result<Reader, ChangeError> {
        Ok(Reader::open(&self.data_dir)?)
    }

    /// Changes something; a running server sees it within a second.
    pub fn change<T>(&self, work: impl FnOnce(&Changes<'_>) -> Result<T, ChangeError>) -> Result<T, ChangeError> {
        let now = SystemClock.now();
        Store::open(&self.data_dir, now)?.change(now, &actor(), work)
    }
}

/// Whoever types: by the number that the system knows him by, for names are erasable and the audit log is not.
pub fn actor() -> String {
    match std::fs::metadata("/proc/self") {
        Ok(of_us) => format!("command line, uid {}", of_us.uid()),
        Err(_) => "command line".to_owned(),
    }
}
