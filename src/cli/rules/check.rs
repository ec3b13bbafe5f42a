//! `farebox rules check`.

use super::Place;
use crate::app::rules;
use crate::cli::{EXIT_FAULT, fault};
use crate::store::OwnRules;
use crate::yaml::Fault;
use serde_json::{Value, json};
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
    /// Warnings are faults.
    #[arg(long)]
    strict: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let found = match arguments.place.find() {
        Ok(found) => found,
        Err(what) => return fault(what),
    };
    let own = OwnRules { keys: Vec::new(), ..found.own.clone() };
    let outcome = rules::load_with(&found.files, &own, &found.known());
    let (faults, warnings) = match &outcome {
        Ok(loaded) => (&[][..], &loaded.warnings[..]),
        Err(faults) => (&faults[..], &[][..]),
    };
    let well = faults.is_empty() && (warnings.is_empty() || !arguments.strict);
    if arguments.json {
        let version = outcome.as_ref().ok().map(|loaded| loaded.rules.version().to_string());
        println!("{}", json!({ "ok": well, "version": version, "faults": told(faults), "warnings": told(warnings) }));
    } else {
        for warning in warnings {
            eprintln!("warning: {warning}");
        }
        match &outcome {
            Err(faults) => eprintln!("{}", rules::in_words(faults)),
            Ok(_) if found.files.is_empty() => println!("no rules: there is no file in {}", found.rules_dir.display()),
            Ok(loaded) => println!("{}", summary(found.files.len(), own.budgets.len(), &loaded.rules)),
        }
    }
    if well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULT) }
}

/// `2 files, version 78aa0891: 3 budgets, 2 swaps (1 budget of them made over the API)`
fn summary(files: usize, own: usize, rules: &crate::rules::RuleSet) -> String {
    let kinds = rules.counts();
    let counted: Vec<String> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| super::many(*count, kind)).collect();
    match counted.as_slice() {
        [] => format!("{}, no rules", super::many(files, "files")),
        _ => {
            let own = match own {
                0 => String::new(),
                own => format!(" ({} of them made over the API)", super::many(own, "budgets")),
            };
            format!("{}, version {}: {}{own}", super::many(files, "files"), rules.version(), counted.join(", "))
        }
    }
}

pub fn told(faults: &[Fault]) -> Vec<Value> {
    let one = |fault: &Fault| {
        let place = format!("{}:{}:{}", fault.file, fault.line, fault.column);
        json!({ "place": place, "what": fault.message, "remedy": fault.remedy })
    };
    faults.iter().map(one).collect()
}
