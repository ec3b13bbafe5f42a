//! The files of the repository, and Rust text without its comments and strings.

use std::path::{Path, PathBuf};

/// Folders that hold nothing of ours.
const FOREIGN: [&str; 7] = [".git", "target", "node_modules", ".venv", "farebox-data", "__pycache__", ".pytest_cache"];

pub struct House {
    pub files: Vec<SourceFile>,
}

pub struct SourceFile {
    /// From the repository's root, with `/`.
    pub path: String,
    pub text: String,
}

impl House {
    pub fn read() -> House {
        let root = root();
        let mut paths = Vec::new();
        walk(&root, &mut paths);
        paths.sort();
        let relative = |path: &PathBuf| path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        let file = |path: &PathBuf| {
            // What is not text has no words.
            Some(SourceFile { path: relative(path), text: std::fs::read_to_string(path).ok()? })
        };
        House { files: paths.iter().filter_map(file).collect() }
    }

    pub fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    /// The library's own files.
    pub fn library(&self) -> impl Iterator<Item = &SourceFile> {
        self.rust().filter(|file| file.path.starts_with("src/") && file.path != "src/main.rs")
    }

    pub fn file(&self, path: &str) -> &SourceFile {
        self.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is not there"))
    }
}

impl SourceFile {
    /// `src/store/rollups.rs` is of the module `store`, `src/ids.rs` of `ids`.
    pub fn module(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        Some(rest.split('/').next()?.trim_end_matches(".rs"))
    }

    /// Rust text with comments and the insides of strings blanked, line for line, without its tests.
    pub fn code(&self) -> String {
        if is_of_tests(&self.path) {
            return String::new();
        }
        let bare = without_comments_and_strings(&self.text);
        let tests = ["#[cfg(test)]\nmod ", "#[cfg(test)]\n#[path"].iter().filter_map(|begin| bare.find(begin)).min();
        bare[..tests.unwrap_or(bare.len())].to_owned()
    }
}

pub fn is_of_tests(path: &str) -> bool {
    path.starts_with("tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let kind = entry.file_type().unwrap();
        if FOREIGN.iter().any(|foreign| name == *foreign) {
            continue;
        }
        if kind.is_dir() {
            walk(&entry.path(), paths);
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
}

/// Blanks comments and the insides of strings and letters; lines keep their numbers.
pub fn without_comments_and_strings(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < letters.len() {
        let end = match letters[at] {
            '/' if letters.get(at + 1) == Some(&'/') => line_end(&letters, at),
            '/' if letters.get(at + 1) == Some(&'*') => block_comment_end(&letters, at),
            '"' => string_end(&letters, at),
            'r' | 'b' if begins_raw(&letters, at) => raw_string_end(&letters, at),
            '\'' => letter_end(&letters, at),
            _ => at,
        };
        if end == at {
            out.push(letters[at]);
            at += 1;
        } else {
            out.extend(letters[at..end].iter().map(|letter| if *letter == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn line_end(letters: &[char], at: usize) -> usize {
    letters[at..].iter().position(|letter| *letter == '\n').map_or(letters.len(), |length| at + length)
}

fn block_comment_end(letters: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut here = at;
    while here + 1 < letters.len() {
        match (letters[here], letters[here + 1]) {
            ('/', '*') => (depth, here) = (depth + 1, here + 2),
            ('*', '/') => (depth, here) = (depth - 1, here + 2),
            _ => here += 1,
        }
        if depth == 0 {
            return here;
        }
    }
    letters.len()
}

fn string_end(letters: &[char], at: usize) -> usize {
    let mut here = at + 1;
    while here < letters.len() {
        match letters[here] {
            '\\' => here += 2,
            '"' => return here + 1,
            _ => here += 1,
        }
    }
    letters.len()
}

/// `r"`, `r#"`, `br#"` at a word's beginning.
fn begins_raw(letters: &[char], at: usize) -> bool {
    if at > 0 && (letters[at - 1].is_alphanumeric() || letters[at - 1] == '_') {
        return false;
    }
    let rest: String = letters[at..letters.len().min(at + 8)].iter().collect();
    let rest = rest.strip_prefix('b').unwrap_or(&rest);
    rest.strip_prefix('r').is_some_and(|rest| rest.trim_start_matches('#').starts_with('"'))
}

fn raw_string_end(letters: &[char], at: usize) -> usize {
    let quote = at + letters[at..].iter().position(|letter| *letter == '"').unwrap_or(0);
    let hashes = letters[at..quote].iter().filter(|letter| **letter == '#').count();
    let mut here = quote + 1;
    while here < letters.len() {
        let closes =
            letters[here] == '"' && letters[here + 1..].iter().take(hashes).filter(|l| **l == '#').count() == hashes;
        if closes {
            return here + 1 + hashes;
        }
        here += 1;
    }
    letters.len()
}

/// `'x'` and `'\n'` are letters; `'a` of a lifetime is not.
fn letter_end(letters: &[char], at: usize) -> usize {
    match (letters.get(at + 1), letters.get(at + 2)) {
        (Some('\\'), _) => {
            let from = at + 3;
            letters[from.min(letters.len())..].iter().position(|letter| *letter == '\'').map_or(at, |n| from + n + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}
