//! The house rules that a compiler does not know: who may use whom, how long things are, what names say, and that the
//! examples in the documents are true. Each fault is shown with its place, all at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

mod tidy {
    pub mod documents;
    pub mod floors;
    pub mod lengths;
    pub mod source;
    pub mod words;
}

use tidy::source::House;

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}\n{} faults", faults.join("\n"), faults.len());
}

#[test]
fn a_module_uses_only_modules_on_its_own_floor_or_below() {
    assert_none(tidy::floors::upward_arrows(&House::read()));
}

#[test]
fn no_modules_use_each_other_in_a_circle() {
    assert_none(tidy::floors::circles(&House::read()));
}

#[test]
fn every_module_has_its_floor_in_the_map() {
    assert_none(tidy::floors::unmapped(&House::read()));
}

#[test]
fn crates_stay_in_the_rooms_that_may_know_them() {
    assert_none(tidy::floors::trespasses(&House::read()));
}

#[test]
fn files_and_functions_fit_the_eye() {
    let house = House::read();
    let mut faults = tidy::lengths::long_files(&house);
    faults.extend(tidy::lengths::long_functions(&house));
    faults.extend(tidy::lengths::idle_exemptions(&house));
    assert_none(faults);
}

#[test]
fn names_say_what_things_are() {
    assert_none(tidy::words::banned_names(&House::read()));
}

#[test]
fn every_source_file_begins_with_its_reason() {
    assert_none(tidy::words::without_reason(&House::read()));
}

#[test]
fn lints_are_expected_never_allowed() {
    assert_none(tidy::words::allowed_lints(&House::read()));
}

#[test]
fn nothing_names_this_machine_or_a_registry() {
    assert_none(tidy::words::machine_words(&House::read()));
}

#[test]
fn the_examples_in_the_documents_are_true() {
    assert_none(tidy::documents::untrue_examples(&House::read()));
}

#[test]
fn links_between_documents_lead_somewhere() {
    assert_none(tidy::documents::broken_links(&House::read()));
}
