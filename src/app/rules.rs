//! The folder of rules: read as one set, looked at for changes, and applied whole.

use crate::catalog::Catalog;
use crate::rules::RuleSet;
use crate::rules::syntax::{self, Known, Loaded};
use crate::yaml::Fault;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More files are not written by people.
const FILES_MAX: usize = 1_000;

/// Where rules stand.
#[derive(Debug)]
pub struct RulesFolder {
    dir: PathBuf,
    /// Names of the configured providers, which rules may name.
    providers: Vec<Arc<str>>,
}

/// The files of a folder: names as they are shown in faults, and texts, by name.
pub type Files = Vec<(String, String)>;

impl RulesFolder {
    pub fn new(dir: PathBuf, providers: Vec<Arc<str>>) -> RulesFolder {
        RulesFolder { dir, providers }
    }

    /// Reads the folder as it is. No folder: no rules.
    ///
    /// # Errors
    /// Every fault, as people read them.
    pub fn load(&self, catalog: &Catalog) -> Result<RuleSet, String> {
        let files = read(&self.dir)?;
        let known = Known { catalog: Some(catalog), providers: &self.providers };
        load(&files, &known).map(|loaded| loaded.rules).map_err(|faults| in_words(&faults))
    }
}

/// Every `*.yaml` and `*.yml` file of a folder, by name; hidden files and folders in it are left out. A folder that is
/// not there has none.
pub fn read(dir: &Path) -> Result<Files, String> {
    let fault = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fault(dir, error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fault(dir, error))?.path();
        let is_hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && !is_hidden && path.is_file() {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        return Err(format!("{}: {} files; rules stand in at most {FILES_MAX}", dir.display(), paths.len()));
    }
    paths.sort();
    let read = |path: PathBuf| match std::fs::metadata(&path).map(|found| found.len()) {
        Ok(bytes) if bytes > syntax::TEXT_BYTES_MAX as u64 => {
            Err(format!("{}: {bytes} bytes are no rules", path.display()))
        }
        _ => std::fs::read_to_string(&path)
            .map(|text| (path.display().to_string(), text))
            .map_err(|error| fault(&path, error)),
    };
    paths.into_iter().map(read).collect()
}

pub fn load(files: &Files, known: &Known<'_>) -> Result<Loaded, Vec<Fault>> {
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    syntax::load(&files, known)
}

pub fn in_words(faults: &[Fault]) -> String {
    let count = faults.len();
    let each = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    format!("{each}\n{count} fault{}", if count == 1 { "" } else { "s" })
}
