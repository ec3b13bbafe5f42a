//! The folder of rules: read as one set, looked at for changes, and applied whole.

use super::Settings;
use super::history::{History, Version};
use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::proxy::Proxy;
use crate::rules::RuleSet;
use crate::rules::syntax::{self, Known, Loaded, made};
use crate::store::{OwnRules, Reader};
use crate::telemetry::Reloaded;
use crate::yaml::Fault;
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// More files are not written by people.
const FILES_MAX: usize = 1_000;

/// Between two looks at the folder.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A change is applied when nothing changed for this long: editors and `git pull` write several files.
const QUIET: Duration = Duration::from_millis(200);
/// How often limits are told to the book: top-ups of prepaid credit take effect at their date.
const TELL_EVERY: u32 = 10;

/// Where rules stand, and what became of them.
#[derive(Debug)]
pub struct RulesFolder {
    dir: PathBuf,
    /// Names of the configured providers, which rules may name.
    providers: Vec<Arc<str>>,
    /// Of alerts.
    receivers: Vec<Arc<str>>,
    history: History,
    /// Of the database, which has rules too: budgets made over the API, and what keys carry.
    reader: Reader,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the files that were tried last, good or not.
    tried: Arc<str>,
    /// Of files that changed, and may still change.
    pending: Option<Arc<str>>,
    in_force: Arc<str>,
    loaded_at: Option<Timestamp>,
    rules: usize,
    warnings: Vec<String>,
    /// Why the files on disk are not in force.
    faults: Option<String>,
    /// Those in force.
    files: Files,
    own: OwnRules,
}

/// The files of a folder: names as they are shown in faults, and texts, by name.
pub type Files = Vec<(String, String)>;

impl RulesFolder {
    pub fn new(settings: &Settings, reader: Reader) -> RulesFolder {
        RulesFolder {
            dir: settings.rules_dir.clone(),
            providers: settings.proxy.providers.iter().map(|provider| Arc::clone(&provider.name)).collect(),
            receivers: settings.alerts.receivers.iter().map(|receiver| Arc::clone(&receiver.name)).collect(),
            history: History::beside(&settings.data_dir),
            reader,
            state: Mutex::default(),
        }
    }

    /// Names and texts of the files in force.
    pub fn files_in_force(&self) -> Files {
        self.state.lock().files.clone()
    }

    /// Every version that was ever in force, oldest first.
    pub fn versions(&self) -> Vec<Version> {
        self.history.list()
    }

    /// Reads the folder at the start; no folder: no rules. If it has faults, the version that was in force last is taken
    /// from the history: a node that restarts over a half-edited file must neither stay down nor forget its budgets.
    ///
    /// # Errors
    /// Every fault, as people read them, where there is no earlier version.
    pub fn begin(&self, catalog: &Catalog, now: Timestamp) -> Result<RuleSet, String> {
        let known = Known { catalog: Some(catalog), providers: &self.providers, receivers: Some(&self.receivers) };
        let own = self.reader.own_rules().map_err(|error| error.to_string())?;
        let faults = match read(&self.dir) {
            Ok(files) => {
                self.state.lock().tried = version_of(&files);
                match load_with(&files, &own, &known) {
                    Ok(loaded) => return Ok(self.took(files, own, &loaded, now)),
                    Err(faults) => in_words(&faults),
                }
            }
            Err(what) => what,
        };
        let newest = self.history.find("newest").ok_or_else(|| faults.clone())?;
        let files = self.history.read(&newest)?;
        let loaded = load_with(&files, &own, &known).map_err(|_| faults.clone())?;
        tracing::error!(%faults, version = %newest.version, "the rules have faults; the version that was in force last is taken");
        let rules = self.took(files, own, &loaded, now);
        self.state.lock().faults = Some(faults);
        Ok(rules)
    }

    /// Looks after the folder until the channel closes; a message reads it at once.
    pub fn watch(self: &Arc<Self>, proxy: &Arc<Proxy>, asked: mpsc::Receiver<()>) -> std::io::Result<JoinHandle<()>> {
        let (folder, proxy) = (Arc::clone(self), Arc::clone(proxy));
        let looking = move || {
            let mut looks = 0u32;
            loop {
                let wait = folder.state.lock().next_look();
                match asked.recv_timeout(wait) {
                    Ok(()) => folder.look(&proxy, true),
                    Err(mpsc::RecvTimeoutError::Timeout) => folder.look(&proxy, false),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                looks = looks.wrapping_add(1);
                if looks.is_multiple_of(TELL_EVERY) {
                    tell_limits(&proxy, &proxy.rules.load());
                }
            }
        };
        std::thread::Builder::new().name("rules".to_owned()).spawn(looking)
    }

    /// Keeps what is in force, and tells the book its limits; once the ledger is open.
    pub fn begun(&self, proxy: &Proxy) {
        tell_limits(proxy, &proxy.rules.load());
        let state = self.state.lock();
        self.show(proxy, &state);
        proxy.telemetry.metrics.in_force(Reloaded::Rules, state.faults.is_none(), proxy.clock.now());
        if let (None, Ok(files)) = (&state.faults, read(&self.dir))
            && version_of(&files) == state.in_force
        {
            self.remember(&files, &state.in_force, proxy.clock.now());
        }
        tracing::info!(version = %state.in_force, rules = state.rules, dir = %self.dir.display(), "rules in force");
        for warning in &state.warnings {
            tracing::warn!(%warning, "rules");
        }
    }

    /// For `/readyz`: which rules are in force, and why newer ones are not.
    pub fn detail(&self) -> serde_json::Value {
        let state = self.state.lock();
        serde_json::json!({
            "version": &*state.in_force,
            "rules": state.rules,
            "loaded_at": state.loaded_at.map(Timestamp::to_rfc3339),
            "warnings": state.warnings,
            "faults": state.faults,
        })
    }

    /// One look: what changed and then kept still is read, and applied if it is good.
    fn look(&self, proxy: &Proxy, at_once: bool) {
        let own = self.changed_own();
        let outcome = read(&self.dir);
        let version = match &outcome {
            Ok(files) => version_of(files),
            Err(what) => format!("unreadable: {what}").into(),
        };
        if self.state.lock().is_due(version, at_once) {
            let loaded = outcome.and_then(|files| self.load(proxy, files, own.clone()));
            match loaded {
                Ok((files, own, loaded)) => return self.apply(proxy, files, own, &loaded),
                Err(faults) => {
                    proxy.telemetry.metrics.reloaded(Reloaded::Rules, false, proxy.clock.now());
                    tracing::error!(%faults, "the changed rules have faults; those before stay in force");
                    self.state.lock().faults = Some(faults);
                }
            }
        }
        // With the files in force, whatever stands in the folder meanwhile.
        let Some(own) = own else { return };
        match self.load(proxy, self.files_in_force(), Some(own.clone())) {
            Ok((files, own, loaded)) => {
                let faults = self.state.lock().faults.clone();
                self.apply(proxy, files, own, &loaded);
                self.state.lock().faults = faults;
            }
            Err(faults) => {
                tracing::error!(%faults, "the database's budgets cannot be read with the rules; those before stay in force");
                self.state.lock().own.generation = own.generation;
            }
        }
    }

    /// What the database has, if it is not what is in force.
    fn changed_own(&self) -> Option<OwnRules> {
        let seen = self.state.lock().own.generation;
        let read = || match self.reader.tenants_generation()? {
            generation if generation == seen => Ok(None),
            _ => self.reader.own_rules().map(Some),
        };
        let own = read().unwrap_or_else(|error| {
            tracing::warn!(%error, "the database's budgets cannot be read; those before stay in force");
            None
        })?;
        let mut state = self.state.lock();
        if own.budgets == state.own.budgets && own.keys == state.own.keys {
            state.own.generation = own.generation;
            return None;
        }
        Some(own)
    }

    /// `own`: `None` for those in force.
    fn load(&self, proxy: &Proxy, files: Files, own: Option<OwnRules>) -> Result<(Files, OwnRules, Loaded), String> {
        let own = own.unwrap_or_else(|| self.state.lock().own.clone());
        let catalog = proxy.catalog.load();
        let known = Known { catalog: Some(&catalog), providers: &self.providers, receivers: Some(&self.receivers) };
        match load_with(&files, &own, &known) {
            Ok(loaded) => Ok((files, own, loaded)),
            Err(faults) => Err(in_words(&faults)),
        }
    }

    /// All at once: no request sees half of it. Limits go first, so that no call is held to an older one.
    fn apply(&self, proxy: &Proxy, files: Files, own: OwnRules, loaded: &Loaded) {
        let now = proxy.clock.now();
        let saved_ms_ago = since_saved(&files, now);
        let rules = self.took(files, own, loaded, now);
        tell_limits(proxy, &rules);
        proxy.rules.store(Arc::new(rules));
        proxy.telemetry.metrics.reloaded(Reloaded::Rules, true, now);
        let state = self.state.lock();
        self.show(proxy, &state);
        tracing::info!(version = %state.in_force, rules = state.rules, saved_ms_ago, "rules reloaded");
        for warning in &state.warnings {
            tracing::warn!(%warning, "rules");
        }
        self.remember(&state.files, &state.in_force, now);
    }

    fn took(&self, files: Files, own: OwnRules, loaded: &Loaded, now: Timestamp) -> RuleSet {
        let mut state = self.state.lock();
        (state.files, state.own) = (files, own);
        state.in_force = Arc::clone(loaded.rules.version());
        state.loaded_at = Some(now);
        state.rules = loaded.rules.counts().iter().map(|(_, count)| count).sum();
        state.warnings = loaded.warnings.iter().map(ToString::to_string).collect();
        state.faults = None;
        loaded.rules.clone()
    }

    fn remember(&self, files: &Files, version: &str, now: Timestamp) {
        if let Err(error) = self.history.keep(files, version, now) {
            tracing::warn!(%error, "this version of the rules could not be kept for `farebox rules rollback`");
        }
    }

    fn show(&self, proxy: &Proxy, state: &State) {
        #[expect(clippy::cast_precision_loss, reason = "a count shown")]
        proxy.telemetry.metrics.rules_in_force.set(state.rules as f64);
    }
}

impl State {
    /// How long to wait for the next look.
    fn next_look(&self) -> Duration {
        if self.pending.is_some() { QUIET } else { LOOK_EVERY }
    }

    /// Whether what a look found is to be tried now: it differs from what was tried last, and kept still for [`QUIET`].
    fn is_due(&mut self, version: Arc<str>, at_once: bool) -> bool {
        let is_still = self.pending.take().is_some_and(|pending| pending == version);
        if !at_once && version == self.tried {
            return false;
        }
        if !at_once && !is_still {
            self.pending = Some(version);
            return false;
        }
        self.tried = version;
        true
    }
}

/// How long ago the newest of these files was written, for the log; files whose time says nothing (a clone, a mounted
/// volume) have none.
fn since_saved(files: &Files, now: Timestamp) -> Option<u64> {
    let saved = |(name, _): &(String, String)| {
        let modified = std::fs::metadata(name).ok()?.modified().ok()?;
        i64::try_from(modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_micros()).ok()
    };
    let newest = files.iter().filter_map(saved).max()?;
    let ago = u64::try_from(now.as_micros().saturating_sub(newest)).ok()? / 1_000;
    (ago < 60_000).then_some(ago)
}

fn tell_limits(proxy: &Proxy, rules: &RuleSet) {
    proxy.ledger.admission().rules_changed(&rules.budgets(proxy.clock.now()));
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

/// Of all files: what a version is called by.
pub fn version_of(files: &Files) -> Arc<str> {
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    syntax::version(&files)
}

pub fn load(files: &Files, known: &Known<'_>) -> Result<Loaded, Vec<Fault>> {
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    syntax::load(&files, known)
}

/// The files and what the database has, as one set; called by the version of the files.
///
/// # Errors
/// All faults at once.
pub fn load_with(files: &Files, own: &OwnRules, known: &Known<'_>) -> Result<Loaded, Vec<Fault>> {
    let text = made::text_of(own.budgets.iter().map(|budget| &budget.body));
    let mut all: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    if !own.budgets.is_empty() {
        all.push((made::DATABASE, &text));
    }
    let loaded = syntax::load(&all, known)?;
    let rules = loaded.rules.with_own(&own.keys).versioned(version_of(files));
    Ok(Loaded { rules, ..loaded })
}

pub fn in_words(faults: &[Fault]) -> String {
    let count = faults.len();
    let each = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    format!("{each}\n{count} fault{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks as the thread does, with its pauses as the only clock, until a version that is saved at `saved` is tried.
    fn tried_after(saved: Duration, is_torn: bool) -> Duration {
        let mut state = State { tried: "old".into(), ..State::default() };
        let mut now = Duration::ZERO;
        loop {
            now += state.next_look();
            let found = match now.checked_sub(saved) {
                None => "old",
                // The second file of a set is written a little later.
                Some(since) if is_torn && since < Duration::from_millis(150) => "half",
                Some(_) => "new",
            };
            if state.is_due(found.into(), false) {
                assert_eq!(&*state.tried, "new", "half of a set is never tried");
                return now - saved;
            }
        }
    }

    #[test]
    fn whenever_a_file_is_saved_it_is_tried_within_a_second() {
        let phases = (0..2_000).map(Duration::from_millis);
        let worst = phases.clone().map(|saved| tried_after(saved, false)).max();
        assert_eq!(worst, Some(LOOK_EVERY + QUIET));
        let torn = phases.map(|saved| tried_after(saved, true)).max();
        assert!(torn < Some(Duration::from_secs(1)), "{torn:?}");
    }

    #[test]
    fn what_was_tried_is_not_tried_again_unless_somebody_asks() {
        let mut state = State { tried: "old".into(), ..State::default() };
        assert!(!state.is_due("old".into(), false) && state.is_due("old".into(), true), "SIGHUP");
        assert!(!state.is_due("new".into(), false) && !state.is_due("newer".into(), false));
        assert!(state.is_due("newer".into(), false) && !state.is_due("newer".into(), false));
    }
}
