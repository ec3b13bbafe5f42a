//! Files that people write, or import.

use super::Input;
use farebox::catalog::{Catalog, file, import};
use farebox::config::{self, Surroundings};
use farebox::rules::selftest;
use farebox::rules::syntax::{self, Known};
use std::path::Path;
use std::sync::OnceLock;

fn shipped() -> &'static Catalog {
    static SHIPPED: OnceLock<Catalog> = OnceLock::new();
    SHIPPED.get_or_init(|| file::shipped().expect("the shipped catalog"))
}

/// Any text is rules or a list of faults, each with a place in it; and what loads can be tried out.
pub fn rules(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let known = Known { catalog: Some(shipped()), providers: &[], receivers: None };
    match syntax::load(&[("house.yaml", text)], &known) {
        Ok(loaded) => {
            for test in &loaded.tests {
                selftest::run(&loaded.rules, test, &known);
            }
            loaded.warnings.iter().for_each(|warning| assert!(!warning.to_string().is_empty()));
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let lines = text.lines().count().max(1);
            for fault in &faults {
                assert!((1..=lines).contains(&(fault.line as usize)), "{fault} of {lines} lines");
                assert!(fault.to_string().contains("house.yaml"), "{fault}");
            }
        }
    }
}

/// Any text is settings or a list of faults.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut around = Surroundings::default();
    around.variables.insert("MINE".to_owned(), "a value".to_owned());
    if let Err(faults) = config::read(Some(Path::new("farebox.yaml")), text, &around) {
        assert!(!faults.faults.is_empty() && !faults.to_string().is_empty());
    }
}

/// What an importer writes is a catalog; and any text is one, or faults.
pub fn catalog(bytes: &[u8]) {
    let Some(input) = Input::of(bytes) else { return };
    let Ok(text) = std::str::from_utf8(input.rest) else { return };
    let source = match input.variant % 3 {
        0 => import::Source::Litellm,
        1 => import::Source::GenaiPrices,
        _ => {
            let read = file::load_files(&[("own.yaml", text)]);
            return assert!(read.err().is_none_or(|faults| !faults.is_empty()));
        }
    };
    let Ok(imported) = import::import(source, text, "2026-11-21") else { return };
    if let Err(faults) = file::load_files(&[("imported.yaml", &imported.yaml)]) {
        panic!("{}\nof\n{}", faults[0], imported.yaml);
    }
}
