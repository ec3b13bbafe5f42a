//! Faults as people read them: the place, the line, what is wrong, what would be right. Values that may be secret are
//! masked by the text alone, so that a file that cannot even be parsed leaks nothing.

use super::tree::{Origin, Unreadable};
pub use crate::yaml::nearest;
use std::fmt;
use std::path::PathBuf;

/// A run of letters and digits from this length on may be a key, wherever it stands.
const SECRET_LETTERS_MIN: usize = 20;
/// Longer lines are cut in an excerpt.
const EXCERPT_LETTERS_MAX: usize = 160;
const MASK: &str = "***";

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub origin: Origin,
    pub what: String,
    pub remedy: String,
}

impl From<Unreadable> for Fault {
    fn from(unreadable: Unreadable) -> Fault {
        Fault { origin: unreadable.origin, what: unreadable.what, remedy: unreadable.remedy }
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// As it was named; `None` where there is no file.
    pub file: Option<PathBuf>,
    /// Its text, for the excerpts.
    pub text: String,
    pub faults: Vec<Fault>,
}

impl Faults {
    /// `[{"place": "farebox.yaml:14:9", "what": …, "remedy": …}]`, for machines.
    pub fn to_json(&self) -> Vec<serde_json::Value> {
        let one = |fault: &Fault| serde_json::json!({ "place": self.place(fault), "what": fault.what, "remedy": fault.remedy });
        self.faults.iter().map(one).collect()
    }

    fn place(&self, fault: &Fault) -> String {
        let file = self.file.as_deref().map_or("configuration".into(), |file| file.to_string_lossy());
        match &fault.origin {
            Origin::File { line, column } => format!("{file}:{line}:{column}"),
            Origin::Variable(name) => name.clone(),
            Origin::Whole => file.into_owned(),
        }
    }
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = masked_lines(&self.text);
        for fault in &self.faults {
            writeln!(f, "{}: {}", self.place(fault), fault.what)?;
            if let Origin::File { line, column } = fault.origin
                && let Some(text) = lines.get(line - 1)
            {
                let margin = line.to_string();
                let excerpt: String = text.chars().take(EXCERPT_LETTERS_MAX).collect();
                writeln!(f, "  {margin} | {}", excerpt.trim_end())?;
                if column <= EXCERPT_LETTERS_MAX {
                    writeln!(f, "  {:width$} | {:indent$}^", "", "", width = margin.len(), indent = column - 1)?;
                }
            }
            writeln!(f, "  = {}", fault.remedy)?;
        }
        let count = self.faults.len();
        write!(f, "{count} fault{}", if count == 1 { "" } else { "s" })
    }
}

/// The lines with every value masked that may be a secret: what follows a word that names one, what stands deeper than
/// it, and any long run of letters and digits.
fn masked_lines(text: &str) -> Vec<String> {
    let mut secret_deeper_than: Option<usize> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let indent = line.chars().take_while(|letter| matches!(letter, ' ' | '-' | '\t')).count();
        let blank = line.trim().is_empty();
        if secret_deeper_than.is_some_and(|outer| !blank && indent <= outer) {
            secret_deeper_than = None;
        }
        if secret_deeper_than.is_some() {
            lines.push(mask_after(line, line.find(": ").map_or(indent, |colon| colon + 1)));
            continue;
        }
        match secret_value_start(line) {
            Some(start) => {
                secret_deeper_than = Some(indent);
                lines.push(mask_after(line, start));
            }
            None => lines.push(mask_long_runs(line)),
        }
    }
    lines
}

/// The byte after the colon of the first key on this line that names a secret.
fn secret_value_start(line: &str) -> Option<usize> {
    const SECRET_WORDS: [&str; 7] = ["key", "header", "token", "secret", "password", "authorization", "credential"];
    let mut after = 0;
    while let Some(colon) = line[after..].find(':').map(|at| after + at) {
        let word = line[..colon].trim_end_matches(['"', '\'', ' ']);
        let word: String = word.chars().rev().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect();
        let word: String = word.chars().rev().collect::<String>().to_ascii_lowercase();
        if SECRET_WORDS.iter().any(|secret| word.contains(secret)) && !word.contains("keepalive") {
            return Some(colon + 1);
        }
        after = colon + 1;
    }
    None
}

fn mask_after(line: &str, start: usize) -> String {
    match line.get(start..) {
        Some(value) if !value.trim().is_empty() => format!("{} {MASK}", line[..start].trim_end()),
        _ => line.to_owned(),
    }
}

fn mask_long_runs(line: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for letter in line.chars().chain(std::iter::once('\n')) {
        if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '+' | '=') {
            run.push(letter);
            continue;
        }
        let mixed = run.contains(|c: char| c.is_ascii_digit()) && run.contains(|c: char| c.is_ascii_alphabetic());
        out.push_str(if run.len() >= SECRET_LETTERS_MIN && mixed { MASK } else { &run });
        run.clear();
        out.push(letter);
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_shows_the_line_and_points_at_the_place() {
        let faults = Faults {
            file: Some("farebox.yaml".into()),
            text: "listen: 127.0.0.1:4000\nlistn: 1\n".to_owned(),
            faults: vec![Fault {
                origin: Origin::File { line: 2, column: 1 },
                what: "`listn` is not a setting".to_owned(),
                remedy: "write `listen`".to_owned(),
            }],
        };
        let expected =
            "farebox.yaml:2:1: `listn` is not a setting\n  2 | listn: 1\n    | ^\n  = write `listen`\n1 fault";
        assert_eq!(faults.to_string(), expected);
    }

    #[test]
    fn no_excerpt_shows_a_secret() {
        let text = "\
providers:
  - name: openai
    key: sk-live-1
    headers:
      authorization: Bearer abc
      x-plain:
        - deep
    base_url: https://api.openai.com/v1
  - {name: b, key: short, dialect: openai}
  - kee: sk-proj-aaaaaaaaaaaa1111bbbb
admin_token: hunter2
client_keepalive: 60s
";
        let shown = masked_lines(text).join("\n");
        for secret in ["sk-live", "Bearer", "deep", "short", "sk-proj", "hunter2"] {
            assert!(!shown.contains(secret), "{secret} in\n{shown}");
        }
        assert!(shown.contains("https://api.openai.com/v1") && shown.contains("client_keepalive: 60s"), "{shown}");
        assert!(shown.contains("    key: ***") && shown.contains("authorization: ***"), "{shown}");
    }
}
