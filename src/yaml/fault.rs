//! What is wrong in a file, where, and how to mend it.

use super::tree::Place;
use std::fmt;
use std::sync::Arc;

/// The greatest number of faults that are told.
pub const FAULTS_MAX: usize = 200;

/// What is wrong in a file, where, and how to mend it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1, in letters.
    pub column: u32,
    /// The line as it stands.
    pub excerpt: String,
    pub message: String,
    pub remedy: String,
    place_of_file: u16,
}

impl Fault {
    /// The file's name and the excerpt are filled in at the end of reading.
    pub fn at(place: Place, message: String, remedy: impl Into<String>) -> Self {
        Fault {
            line: place.line,
            column: place.column,
            message,
            remedy: remedy.into(),
            place_of_file: place.file,
            ..Fault::default()
        }
    }

    /// What is missing at a file's end is missed behind its last line, where the parser has counted on: it is told there.
    fn bring_within(&mut self, text: &str) {
        let lines = u32::try_from(text.lines().count().max(1)).unwrap_or(u32::MAX);
        if self.line > lines {
            let last = text.lines().next_back().unwrap_or_default().chars().count();
            (self.line, self.column) = (lines, u32::try_from(last + 1).unwrap_or(u32::MAX));
        }
    }
}

impl fmt::Display for Fault {
    /// `config/catalog.yaml:14:9: what is wrong`, the excerpt with a mark below it, and the remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        if !self.excerpt.is_empty() {
            let column = usize::try_from(self.column.saturating_sub(1)).unwrap_or(0);
            writeln!(f, "    {}\n    {:column$}^", self.excerpt, "")?;
        }
        write!(f, "  mend: {}", self.remedy)
    }
}

/// In the order of the files, each once, with names and excerpts.
pub fn told(mut faults: Vec<Fault>, files: &[(&str, &str)]) -> Vec<Fault> {
    faults.sort_by_key(|fault| (fault.place_of_file, fault.line, fault.column));
    faults.dedup();
    faults.truncate(FAULTS_MAX);
    for fault in &mut faults {
        let Some((path, text)) = files.get(usize::from(fault.place_of_file)) else { continue };
        fault.file = Arc::from(*path);
        fault.bring_within(text);
        let line = usize::try_from(fault.line.saturating_sub(1)).unwrap_or(usize::MAX);
        fault.excerpt = text.lines().nth(line).unwrap_or_default().chars().take(160).collect();
    }
    faults
}
