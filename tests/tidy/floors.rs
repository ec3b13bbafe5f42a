//! The map in `src/lib.rs` against the paths in the code.

use super::source::{House, without_comments_and_strings};
use std::collections::{BTreeMap, BTreeSet};

/// The rooms that may name a crate; everybody else may not.
const ROOMS: [(&str, &[&str]); 5] = [
    ("rusqlite", &["store"]),
    ("pingora_core", &["proxy", "app"]),
    ("pingora_http", &["proxy", "app"]),
    ("pingora_error", &["proxy", "app"]),
    ("axum", &["api", "simulator", "app"]),
];

/// What the pure core must not know: runtimes, sockets, SQL, HTTP, files, logs.
const IMPURE: [&str; 11] = [
    "tokio",
    "pingora_core",
    "pingora_http",
    "rusqlite",
    "hyper",
    "axum",
    "http",
    "tracing",
    "std::fs",
    "std::net::Tcp",
    "std::env",
];
/// The highest floor of the pure core.
const PURE_FLOOR: usize = 4;

/// Floors from the bottom: module → floor, as the table in `src/lib.rs` says.
fn floors(house: &House) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    let rows = house.file("src/lib.rs").text.lines().filter_map(|line| line.strip_prefix("//! | "));
    for (floor, row) in rows.filter(|row| row.contains("[`")).enumerate() {
        let modules = row.split('|').nth(1).unwrap_or_default();
        for module in modules.split("[`").skip(1).filter_map(|rest| rest.split('`').next()) {
            floors.insert(module.to_owned(), floor);
        }
    }
    assert!(floors.len() > 10, "the table of floors in src/lib.rs was not found");
    floors
}

/// module → (module it uses, `file:line`)
fn arrows(house: &House) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut arrows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for file in house.library().filter(|file| file.path != "src/lib.rs") {
        let Some(module) = file.module() else { continue };
        let code = file.code();
        for (at, _) in code.match_indices("crate::") {
            let line = code[..at].lines().count().max(1);
            for used in named_after(&code[at + "crate::".len()..]) {
                if used != module {
                    let place = format!("{}:{line}", file.path);
                    arrows.entry(module.to_owned()).or_default().entry(used).or_insert(place);
                }
            }
        }
    }
    assert!(arrows.get("catalog").is_some_and(|uses| uses.contains_key("money")), "no arrows were found");
    arrows
}

/// `ids::X` → ids; `{ids, money::Usd}` → ids, money.
fn named_after(rest: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let mut depth = 0;
    let mut words = vec![word(group)];
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => words.push(word(&group[at + 1..])),
            _ => {}
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub fn upward_arrows(house: &House) -> Vec<String> {
    let floors = floors(house);
    let mut faults = Vec::new();
    for (module, uses) in arrows(house) {
        for (used, place) in uses {
            let (Some(from), Some(to)) = (floors.get(&module), floors.get(&used)) else { continue };
            if to > from {
                faults.push(format!("{place}: `{module}` (floor {from}) uses `{used}` (floor {to})"));
            }
        }
    }
    faults
}

pub fn circles(house: &House) -> Vec<String> {
    let arrows = arrows(house);
    let reach = |from: &str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![from.to_owned()];
        while let Some(module) = next.pop() {
            for used in arrows.get(&module).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(used.clone()) {
                    next.push(used.clone());
                }
            }
        }
        seen
    };
    arrows
        .keys()
        .filter(|module| reach(module).contains(*module))
        .map(|module| format!("`{module}` uses itself by way of others"))
        .collect()
}

pub fn unmapped(house: &House) -> Vec<String> {
    let floors = floors(house);
    let lib = &house.file("src/lib.rs").text;
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let missing = declared.iter().filter(|module| !floors.contains_key(**module));
    let gone = floors.keys().filter(|module| !declared.contains(&module.as_str()));
    missing
        .map(|module| format!("src/lib.rs: `{module}` is on no floor of the table"))
        .chain(gone.map(|module| format!("src/lib.rs: the table names `{module}`, which is no module")))
        .collect()
}

pub fn trespasses(house: &House) -> Vec<String> {
    let floors = floors(house);
    let mut faults = Vec::new();
    for file in house.library() {
        let Some(module) = file.module() else { continue };
        let code = file.code();
        for (name, rooms) in ROOMS {
            if !rooms.contains(&module) && names(&code, name) {
                faults.push(format!("{}: `{name}` belongs to {}", file.path, rooms.join(" and ")));
            }
        }
        if floors.get(module).is_some_and(|floor| *floor <= PURE_FLOOR) {
            let known = IMPURE.iter().filter(|name| names(&code, name));
            faults.extend(known.map(|name| format!("{}: the pure core does not know `{name}`", file.path)));
        }
    }
    faults
}

/// Whether the code has a path that begins so.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'));
        let after = &code[at + name.len()..];
        before && (name.contains("::") || after.starts_with("::"))
    })
}

#[test]
fn a_group_names_each_of_its_modules() {
    assert_eq!(named_after("{ids, money::{Usd, Rate}, clock::Timestamp}; next"), ["ids", "money", "clock"]);
    assert_eq!(named_after("ids::X"), ["ids"]);
}

#[test]
fn words_in_comments_and_strings_are_no_code() {
    let bare = without_comments_and_strings("a // tokio::\nb \"tokio::\" r#\"x\"# '\"' 'a: &'a str /* {\n */ c");
    assert!(!bare.contains("tokio") && !bare.contains('{') && bare.contains("'a: &'a str"), "{bare}");
    assert_eq!(bare.lines().count(), 3);
}
