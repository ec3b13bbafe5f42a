//! `farebox rules test`: the tests that stand in the files.

use super::Place;
use crate::app::rules;
use crate::cli::{EXIT_FAULT, fault};
use crate::rules::selftest::{self, Outcome, SelfTest};
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
    /// Show every rule that was tried, also of tests that pass.
    #[arg(long)]
    verbose: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let found = match arguments.place.find() {
        Ok(found) => found,
        Err(what) => return fault(what),
    };
    let loaded = match rules::load(&found.files, &found.known()) {
        Ok(loaded) => loaded,
        Err(faults) => return fault(rules::in_words(&faults)),
    };
    let run = |test: &SelfTest| selftest::run(&loaded.rules, test, &found.known());
    let outcomes: Vec<Outcome> = loaded.tests.iter().map(run).collect();
    let failed = outcomes.iter().filter(|outcome| !outcome.faults.is_empty()).count();
    if arguments.json {
        let tests: Vec<Value> = loaded.tests.iter().zip(&outcomes).map(|(test, outcome)| told(test, outcome)).collect();
        println!("{}", json!({ "ok": failed == 0, "tests": tests }));
    } else {
        for (test, outcome) in loaded.tests.iter().zip(&outcomes) {
            show(test, outcome, arguments.verbose);
        }
        match found.files.len() {
            0 => println!("no rules: there is no file in {}", found.rules_dir.display()),
            _ => println!("{}, {failed} failed", super::many(outcomes.len(), "tests")),
        }
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULT) }
}

fn show(test: &SelfTest, outcome: &Outcome, verbose: bool) {
    let passed = outcome.faults.is_empty();
    println!("{} {} ({})", if passed { "pass" } else { "FAIL" }, test.name, test.place);
    for fault in &outcome.faults {
        println!("     {fault}");
    }
    if !passed || verbose {
        let rule = outcome.rule.as_deref().map(|rule| format!(" by {rule}")).unwrap_or_default();
        println!("     {}{rule}: {}", outcome.decision, outcome.says);
        for tried in outcome.tried.iter().flatten() {
            println!("     · {} {}: {}", tried.kind.name(), tried.rule, tried.outcome);
            for condition in &tried.conditions {
                println!("         {} {}", super::mark(condition.holds), condition.text);
            }
        }
    }
}

fn told(test: &SelfTest, outcome: &Outcome) -> Value {
    json!({
        "name": test.name,
        "place": test.place,
        "passed": outcome.faults.is_empty(),
        "faults": outcome.faults,
        "decision": outcome.decision,
        "rule": outcome.rule,
        "model": outcome.model,
        "provider": outcome.provider,
        "output_tokens": outcome.output_tokens,
        "says": outcome.says,
        "tried": outcome.tried,
    })
}
