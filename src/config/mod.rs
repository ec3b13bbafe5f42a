//! The files people write: `farebox.yaml` and `FAREBOX_*` variables become [`Settings`], or a list of every fault.
//!
//! text → [`tree`] (places) → [`file`] (as written) → [`check`] (what each module needs); [`diagnose`] shows the faults.
//! A variable wins over the file. Nothing here is read again while the node runs: a changed file needs a restart
//! (`farebox serve --upgrade` drops no request); the catalog and the rules reload by themselves.

pub mod check;
pub mod diagnose;
mod egress;
pub mod environment;
pub mod file;
mod login;
pub mod presets;
mod receivers;
mod section;
pub mod tree;
mod values;

pub use diagnose::{Fault, Faults};

use crate::alerts;
use crate::api;
use crate::ledger;
use crate::proxy;
use crate::secret::Secret;
use crate::store::MasterKeySource;
use crate::telemetry::otel::OtelSettings;
use crate::telemetry::{LogSettings, MetricsSettings};
use section::Notes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tree::{Node, Origin};

/// Longer files are not configurations.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Everything that a node needs to start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where they were read from; `None` without a file.
    pub file: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub proxy: proxy::settings::Settings,
    pub admin_listen: SocketAddr,
    /// Opens the admin port's read side on addresses that are not loopback.
    pub admin_token: Option<Secret<String>>,
    /// The first start makes an owner's token and a virtual key, and prints them.
    pub mints_on_first_start: bool,
    /// What sealed keys are opened with.
    pub master_key: MasterKeySource,
    pub ledger: ledger::Settings,
    pub catalog_overlays: Vec<PathBuf>,
    /// Where rules stand; without such a folder there are none.
    pub rules_dir: PathBuf,
    pub alerts: alerts::Settings,
    /// Identity providers that people may log in by.
    pub oidc: Vec<api::OidcSettings>,
    pub log: LogSettings,
    pub metrics: MetricsSettings,
    pub otel: OtelSettings,
    /// Of the request threads.
    pub threads: usize,
    /// Take the sockets over from the running node; from the command line.
    pub upgrade: bool,
}

/// What the process finds around it; tests give their own.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub variables: BTreeMap<String, String>,
}

impl Surroundings {
    pub fn of_this_process() -> Self {
        let lossy = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
        };
        Surroundings { variables: std::env::vars_os().map(lossy).collect() }
    }
}

/// Finds the file (the one named, else `FAREBOX_CONFIG`, else `farebox.yaml` here, else none) and reads it.
pub fn load(named: Option<PathBuf>, around: &Surroundings) -> Result<Settings, Faults> {
    let (file, text) = found(named, around)?;
    read(file.as_deref(), &text, around)
}

/// Only where the data is, from the same places. Other faults are no matter: who looks after keys or makes a backup
/// need not have the providers' keys in his own environment.
pub fn data_dir(named: Option<PathBuf>, around: &Surroundings) -> Result<PathBuf, Faults> {
    let (file, text) = found(named, around)?;
    let (settings, faults) = understood(file.as_deref(), &text, around);
    match tree::read(&text) {
        Ok(_) => Ok(settings.data_dir),
        Err(_) => Err(Faults { file, text, faults }),
    }
}

/// The file and its text; none is an empty one.
fn found(named: Option<PathBuf>, around: &Surroundings) -> Result<(Option<PathBuf>, String), Faults> {
    let from_variable = around.variables.get(environment::CONFIG).filter(|path| !path.is_empty()).map(PathBuf::from);
    let usual = || Some(PathBuf::from("farebox.yaml")).filter(|path| path.exists());
    let file = named.or(from_variable).or_else(usual);
    let Some(path) = &file else { return Ok((None, String::new())) };
    match text_of(path) {
        Ok(text) => Ok((file, text)),
        Err(what) => {
            let remedy = "name a file that can be read with --config or FAREBOX_CONFIG".to_owned();
            let faults = vec![Fault { origin: Origin::Whole, what, remedy }];
            Err(Faults { file, text: String::new(), faults })
        }
    }
}

/// Reads settings from a text; `file` is its name in faults.
pub fn read(file: Option<&Path>, text: &str, around: &Surroundings) -> Result<Settings, Faults> {
    let (settings, faults) = understood(file, text, around);
    if faults.is_empty() {
        return Ok(settings);
    }
    Err(Faults { file: file.map(Path::to_owned), text: text.to_owned(), faults })
}

/// As much as can be understood, and every fault.
fn understood(file: Option<&Path>, text: &str, around: &Surroundings) -> (Settings, Vec<Fault>) {
    let notes = Notes::default();
    let mut root = tree::read(text).unwrap_or_else(|unreadable| {
        notes.faults.borrow_mut().extend(unreadable.into_iter().map(Fault::from));
        Node::empty()
    });
    let readable = notes.faults.borrow().is_empty();
    let every_preset = environment::lay_over(&mut root, &around.variables, &notes);
    let written = file::read(&root, &notes);
    let mut settings = check::settings(&written, every_preset, &around.variables, &notes);
    settings.file = file.map(Path::to_owned);
    if let (None, Some(beside)) = (&written.rules_dir, file.and_then(Path::parent)) {
        settings.rules_dir = beside.join(check::RULES_DIR);
    }
    let mut faults = notes.faults.into_inner();
    if !readable {
        // Without the file, what it would have said is not missing.
        faults.retain(|fault| matches!(fault.origin, Origin::File { .. }));
    }
    faults.sort_by(|a, b| a.origin.cmp(&b.origin));
    faults.dedup();
    (settings, faults)
}

fn text_of(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it has {bytes} bytes; a configuration has at most {FILE_BYTES_MAX}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
