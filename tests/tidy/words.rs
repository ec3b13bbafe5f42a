//! What names may not say, and what no file may hold.

use super::source::{House, SourceFile, is_of_tests, without_comments_and_strings};

/// Words that say nothing of what a thing is.
const BANNED: [&str; 9] =
    ["manager", "helper", "helpers", "util", "utils", "common", "service", "processor", "handler"];
/// Names in which such a word is the trade's own.
const DOMAIN: [&str; 2] = ["service_tier", "ServiceTier"];

/// Parts of words that would tell of one machine, or of where packages come from. Split, so that this file is clean.
const MACHINE: [&[&str]; 9] = [
    &["/ro", "ot/"],
    &["/wo", "rk/"],
    &["/Use", "rs/"],
    &["/ho", "me/"],
    &["static.crat", "es.io"],
    &["index.crat", "es.io"],
    &["registry.np", "mjs.org"],
    &["py", "pi.org"],
    &["files.python", "hosted.org"],
];

pub fn banned_names(house: &House) -> Vec<String> {
    let mut faults = Vec::new();
    for file in house.rust() {
        let stem = file.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if is_banned(stem) {
            faults.push(format!("{}: the file's name says nothing", file.path));
        }
        // Tests are sentences, which may have any word.
        for (number, line) in file.code().lines().enumerate() {
            for name in declared(line).filter(|name| is_banned(name)) {
                faults.push(format!("{}:{}: `{name}` says nothing", file.path, number + 1));
            }
        }
    }
    faults
}

/// Names that a line declares.
fn declared(line: &str) -> impl Iterator<Item = String> {
    const BEFORE: [&str; 8] = ["fn", "struct", "enum", "trait", "mod", "type", "const", "static"];
    let words: Vec<&str> =
        line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
    let pairs: Vec<String> =
        words.windows(2).filter(|pair| BEFORE.contains(&pair[0])).map(|pair| pair[1].to_owned()).collect();
    pairs.into_iter()
}

fn is_banned(name: &str) -> bool {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            words.push('_');
        }
        words.extend(letter.to_lowercase());
    }
    let domain = DOMAIN.iter().any(|known| name.contains(known));
    name.starts_with("get_") || (!domain && words.split('_').any(|word| BANNED.contains(&word)))
}

pub fn without_reason(house: &House) -> Vec<String> {
    let lacking = |file: &&SourceFile| !file.text.starts_with("//!") && !is_of_tests(&file.path);
    house.library().filter(lacking).map(|file| format!("{}: begin with `//!` and why it is there", file.path)).collect()
}

pub fn allowed_lints(house: &House) -> Vec<String> {
    let mut faults = Vec::new();
    for file in house.rust() {
        for (number, line) in without_comments_and_strings(&file.text).lines().enumerate() {
            if line.contains("[allow(") {
                faults.push(format!("{}:{}: write `#[expect(…, reason = …)]`", file.path, number + 1));
            }
        }
    }
    faults
}

pub fn machine_words(house: &House) -> Vec<String> {
    let words: Vec<String> = MACHINE.iter().map(|parts| parts.concat()).collect();
    let mut faults = Vec::new();
    for file in house.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            for word in words.iter().filter(|word| line.contains(word.as_str())) {
                faults.push(format!("{}:{}: holds `{word}`", file.path, number + 1));
            }
        }
    }
    faults
}

#[test]
fn a_banned_word_is_found_in_both_cases_and_the_trades_own_are_not() {
    assert!(is_banned("RequestHandler") && is_banned("util") && is_banned("get_key"));
    assert!(!is_banned("service_tier") && !is_banned("ServiceTier") && !is_banned("utility"));
}
