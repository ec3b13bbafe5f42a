//! Earlier versions of the rules, kept beside the ledger: each set of files that was ever applied, once in a row.

use super::rules::Files;
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Older ones are removed.
pub const VERSIONS_MAX: usize = 200;
const FACTS: &str = "version.json";

/// The folder of all versions.
#[derive(Clone, Debug)]
pub struct History {
    dir: PathBuf,
}

/// One version that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Counts up from 1.
    pub number: u64,
    /// The first 8 letters of the files' hash.
    pub version: String,
    /// When it was applied first, in microseconds since 1970.
    pub at: i64,
    pub files: Vec<String>,
}

impl History {
    pub fn beside(data_dir: &Path) -> History {
        History { dir: data_dir.join("rules-history") }
    }

    /// Every version, oldest first.
    pub fn list(&self) -> Vec<Version> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let read = |entry: std::fs::DirEntry| {
            let text = std::fs::read_to_string(entry.path().join(FACTS)).ok()?;
            serde_json::from_str(&text).ok()
        };
        let mut versions: Vec<Version> = entries.filter_map(read).collect();
        versions.sort_by_key(|version| version.number);
        versions
    }

    /// The files of a version, under the names that they had in the folder.
    ///
    /// # Errors
    /// A file is gone or cannot be read.
    pub fn read(&self, version: &Version) -> Result<Files, String> {
        let dir = self.path(version);
        let read = |name: &String| {
            let path = dir.join(name);
            let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            Ok((name.clone(), text))
        };
        version.files.iter().map(read).collect()
    }

    /// Keeps the files that were applied, unless they are the newest version already.
    ///
    /// # Errors
    /// They cannot be written; nothing half-written is ever listed.
    pub fn keep(&self, files: &Files, version: &str, now: Timestamp) -> Result<(), String> {
        let versions = self.list();
        if version.is_empty() || versions.last().is_some_and(|newest| newest.version == version) {
            return Ok(());
        }
        let number = versions.last().map_or(1, |newest| newest.number + 1);
        let names = files.iter().map(|(name, _)| bare(name).to_owned()).collect();
        let kept = Version { number, version: version.to_owned(), at: now.as_micros(), files: names };
        let fault = |error: std::io::Error| format!("{}: {error}", self.dir.display());
        self.write(&kept, files).map_err(fault)?;
        for old in versions.iter().take((versions.len() + 1).saturating_sub(VERSIONS_MAX)) {
            std::fs::remove_dir_all(self.path(old)).map_err(fault)?;
        }
        Ok(())
    }

    /// The version that a person means: its number, the beginning of its name, `newest`, or `previous`.
    pub fn find(&self, word: &str) -> Option<Version> {
        let mut versions = self.list();
        match word {
            "newest" => versions.pop(),
            "previous" => {
                versions.pop();
                versions.pop()
            }
            _ => {
                let number = word.parse::<u64>().ok();
                let by_number = versions.iter().position(|version| Some(version.number) == number);
                let by_name =
                    || versions.iter().rposition(|version| word.len() >= 4 && version.version.starts_with(word));
                by_number.or_else(by_name).map(|place| versions.swap_remove(place))
            }
        }
    }

    fn write(&self, kept: &Version, files: &Files) -> std::io::Result<()> {
        let begun = self.dir.join(format!(".begun-{}", kept.number));
        let _ = std::fs::remove_dir_all(&begun);
        std::fs::create_dir_all(&begun)?;
        for (name, text) in files {
            std::fs::write(begun.join(bare(name)), text)?;
        }
        let facts = serde_json::to_string_pretty(kept).map_err(std::io::Error::other)?;
        std::fs::write(begun.join(FACTS), facts)?;
        std::fs::rename(&begun, self.path(kept))
    }

    fn path(&self, version: &Version) -> PathBuf {
        self.dir.join(format!("{:06}-{}", version.number, version.version))
    }
}

/// A file's name without its folder.
pub fn bare(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(text: &str) -> Files {
        vec![("rules/team.yaml".to_owned(), text.to_owned())]
    }

    #[test]
    fn a_version_is_kept_once_and_found_by_number_name_and_word() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::beside(dir.path());
        assert_eq!(history.list(), []);
        history.keep(&files("one"), "aaaa1111", Timestamp(5)).unwrap();
        history.keep(&files("one"), "aaaa1111", Timestamp(6)).unwrap();
        history.keep(&files("two"), "bbbb2222", Timestamp(7)).unwrap();
        history.keep(&files("one"), "aaaa1111", Timestamp(8)).unwrap();
        assert_eq!(history.list().iter().map(|kept| kept.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(history.find("bbbb").map(|kept| kept.number), Some(2));
        assert_eq!(history.find("1").map(|kept| kept.at), Some(5));
        assert_eq!(history.find("newest").map(|kept| kept.number), Some(3));
        let previous = history.find("previous").unwrap();
        assert_eq!(history.read(&previous).unwrap(), [("team.yaml".to_owned(), "two".to_owned())]);
        assert_eq!(history.find("cccc"), None);
    }

    #[test]
    fn only_so_many_versions_stay() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::beside(dir.path());
        for number in 0..VERSIONS_MAX + 3 {
            history.keep(&files(&number.to_string()), &format!("{number:08}"), Timestamp(0)).unwrap();
        }
        let kept = history.list();
        assert_eq!((kept.len(), kept[0].number), (VERSIONS_MAX, 4));
    }
}
