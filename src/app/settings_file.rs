//! The configuration file is read at the start alone: whoever changes it while a node runs is told when it will count.

use crate::config::{self, Surroundings};
use std::path::PathBuf;

pub(super) struct SettingsFile {
    path: Option<PathBuf>,
    seen: Option<blake3::Hash>,
}

impl SettingsFile {
    /// `path`: as the node was started with it; `None` without a file.
    pub fn new(path: Option<PathBuf>) -> SettingsFile {
        let mut file = SettingsFile { path, seen: None };
        file.seen = file.hash();
        file
    }

    /// Says once what a change will come to.
    pub fn look(&mut self) {
        let (Some(now), Some(path)) = (self.hash(), &self.path) else { return };
        if self.seen.replace(now) == Some(now) {
            return;
        }
        let file = path.display();
        match config::load(Some(path.clone()), &Surroundings::of_this_process()) {
            Ok(_) => tracing::warn!(
                %file,
                "the configuration has changed: it takes effect at the next start, and `farebox serve --upgrade` starts anew without dropping a call"
            ),
            Err(faults) => tracing::error!(
                %file,
                faults = faults.faults.len(),
                "the configuration has changed and has faults: nothing changes now, but the next start would fail; `farebox check` shows them"
            ),
        }
    }

    /// `None` also while an editor has the file away.
    fn hash(&self) -> Option<blake3::Hash> {
        self.path.as_ref().and_then(|path| std::fs::read(path).ok()).map(|bytes| blake3::hash(&bytes))
    }
}
