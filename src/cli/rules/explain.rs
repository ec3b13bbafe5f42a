//! `farebox rules explain`: what the rules do with a call, and why: each rule that was tried, with the values that made
//! it true or false.

use super::Place;
use crate::app::rules;
use crate::cli::fault;
use crate::clock::{Clock, SystemClock};
use crate::rules::selftest::{self, Outcome};
use crate::rules::syntax::described;
use serde_json::json;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Who calls, as `field=value`: `team=research`, `key=on-call`, `tag.job=bulk` (may be repeated).
    #[arg(long, value_name = "FIELD=VALUE")]
    caller: Vec<String>,
    /// What is asked for, as in a test's `request:`: `model=gpt-5.4`, `input_tokens=20k`, `stream=true` (may be repeated).
    #[arg(long, value_name = "KEY=VALUE")]
    request: Vec<String>,
    /// What was spent before, as `budget=amount`: `research-month=400 USD` (may be repeated).
    #[arg(long, value_name = "BUDGET=AMOUNT")]
    spent: Vec<String>,
    /// When: `2026-11-21 14:30 Europe/Berlin`; now without.
    #[arg(long, value_name = "MOMENT")]
    at: Option<String>,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let found = match arguments.place.find() {
        Ok(found) => found,
        Err(what) => return fault(what),
    };
    let loaded = match rules::load_with(&found.files, &found.own, &found.known()) {
        Ok(loaded) => loaded,
        Err(faults) => return fault(rules::in_words(&faults)),
    };
    let described = described(&arguments.caller, &arguments.request, &arguments.spent, arguments.at.as_deref());
    let mut test = match described {
        Ok(test) => test,
        Err(faults) => return fault(rules::in_words(&faults)),
    };
    if arguments.at.is_none() {
        test.now = SystemClock.now();
    }
    let unknown =
        test.spent.iter().find(|(name, _)| !loaded.rules.rules().budgets.iter().any(|rule| rule.head.name == *name));
    if let Some((name, _)) = unknown {
        return fault(format!("there is no budget `{name}` in these rules"));
    }
    let outcome = selftest::run(&loaded.rules, &test, &found.known());
    if arguments.json {
        println!("{}", told(&outcome));
    } else {
        show(&outcome);
    }
    ExitCode::SUCCESS
}

fn told(outcome: &Outcome) -> serde_json::Value {
    json!({
        "decision": outcome.decision,
        "rule": outcome.rule,
        "why": outcome.says,
        "model": outcome.model,
        "provider": outcome.provider,
        "output_tokens": outcome.output_tokens,
        "warnings": outcome.warns,
        "tried": outcome.tried,
    })
}

fn show(outcome: &Outcome) {
    let rule = outcome.rule.as_deref().map(|rule| format!(" by {rule}")).unwrap_or_default();
    let why = if outcome.says.is_empty() { String::new() } else { format!(": {}", outcome.says) };
    println!("{}{rule}{why}", outcome.decision);
    if let Some(model) = outcome.model.as_deref().filter(|_| outcome.decision != "refuse") {
        println!("  served by {}/{model}, at most {} output tokens", outcome.provider, outcome.output_tokens);
    }
    for (turn, tried) in outcome.tried.iter().enumerate() {
        println!("\n{}", if turn == 0 { "asked" } else { "asked again" });
        for tried in tried {
            println!("  {:<6} {:<28} {} ({})", tried.kind.name(), tried.rule, tried.outcome, tried.place);
            for condition in &tried.conditions {
                println!("           {} {}", super::mark(condition.holds), condition.text);
            }
        }
    }
}
