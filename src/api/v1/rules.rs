//! The rules, looked at: which versions there were, and what a text would be. Nothing is written.

use super::super::problem::Problem;
use super::fields::{Asked, fault};
use super::{Answer, Seat};
use crate::rules::selftest::{self, Outcome, SelfTest};
use crate::rules::syntax::{self, Known, Loaded, described};
use crate::tenants::Scope;
use crate::yaml::Fault;
use serde_json::{Value, json};

/// What a text is called in its faults.
const TEXT: &str = "text";
/// In characters, so that with all that stands around it it fits a body.
pub(super) const TEXT_CHARS_MAX: usize = 60_000;

pub(super) fn versions(seat: &Seat<'_>, _: &mut Asked) -> Result<Answer, Problem> {
    seat.allow(&Scope::installation(), "rules")?;
    let node = &seat.shared.state.node;
    let rules = node.rules.load();
    let counts: serde_json::Map<String, Value> =
        rules.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count.into())).collect();
    let body = json!({
        "object": "rules", "version": &**rules.version(), "counts": counts, "versions": (node.rules_versions)(),
    });
    Ok(Answer::of(200, &body))
}

pub(super) fn check(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let (faults, loaded) = match load(seat, asked)? {
        Ok(loaded) => (Vec::new(), loaded),
        Err(faults) => (faults, Loaded::default()),
    };
    let counts: serde_json::Map<String, Value> =
        loaded.rules.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count.into())).collect();
    let body = json!({
        "object": "rules_check", "ok": faults.is_empty(), "faults": told(&faults),
        "warnings": told(&loaded.warnings), "counts": counts,
    });
    Ok(Answer::of(200, &body))
}

pub(super) fn test(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let loaded = load(seat, asked)?.map_err(|faults| unread(&faults))?;
    let run = |test: &SelfTest| (test.name.clone(), with(seat, |known| selftest::run(&loaded.rules, test, known)));
    let outcomes: Vec<_> = loaded.tests.iter().map(run).collect();
    let tests: Vec<Value> = outcomes
        .iter()
        .map(|(name, outcome)| {
            let mut told = outcome_told(outcome);
            told["name"] = name.to_string().into();
            told["passed"] = outcome.faults.is_empty().into();
            told["faults"] = json!(outcome.faults);
            told
        })
        .collect();
    let ok = outcomes.iter().all(|(_, outcome)| outcome.faults.is_empty());
    Ok(Answer::of(200, &json!({ "object": "rules_test", "ok": ok, "tests": tests })))
}

pub(super) fn explain(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let loaded = load(seat, asked)?.map_err(|faults| unread(&faults))?;
    let mut words = |name: &str| -> Result<Vec<String>, Problem> {
        let pairs = asked.fields.pairs(name)?.unwrap_or_default();
        Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect())
    };
    let (caller, request, spent) = (words("caller")?, words("request")?, words("spent")?);
    let at = asked.fields.text("at")?;
    let mut test = described(&caller, &request, &spent, at.as_deref()).map_err(|faults| {
        let first = faults.first().cloned().unwrap_or_default();
        fault("request", first.message, first.remedy)
    })?;
    if at.is_none() {
        test.now = seat.now;
    }
    let known = loaded.rules.ruled_budgets(seat.now);
    if let Some((name, _)) = test.spent.iter().find(|(name, _)| known.iter().all(|budget| budget.name != *name)) {
        return Err(fault("spent", format!("there is no budget `{name}` in these rules"), "name one of them"));
    }
    let outcome = with(seat, |known| selftest::run(&loaded.rules, &test, known));
    let mut body = outcome_told(&outcome);
    body["object"] = "rules_explanation".into();
    Ok(Answer::of(200, &body))
}

/// The text that was sent; without one, the files in force.
fn load(seat: &Seat<'_>, asked: &mut Asked) -> Result<Result<Loaded, Vec<Fault>>, Problem> {
    seat.allow(&Scope::installation(), "rules")?;
    let files = match asked.fields.take(TEXT) {
        None => (seat.shared.state.node.rules_files)(),
        Some(Value::String(text)) if text.chars().count() <= TEXT_CHARS_MAX => vec![(TEXT.to_owned(), text)],
        Some(Value::String(_)) => {
            return Err(fault(
                TEXT,
                "this is too long",
                "send at most 60,000 characters, or use `farebox rules check`",
            ));
        }
        Some(_) => return Err(fault(TEXT, "this is no text", "write a string: what would stand in a rules file")),
    };
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Ok(with(seat, |known| syntax::load(&files, known)))
}

fn with<T>(seat: &Seat<'_>, work: impl FnOnce(&Known<'_>) -> T) -> T {
    let node = &seat.shared.state.node;
    let catalog = node.catalog.load();
    work(&Known { catalog: Some(&catalog), providers: &node.providers, receivers: None })
}

fn told(faults: &[Fault]) -> Vec<Value> {
    let one = |fault: &Fault| {
        json!({
            "file": fault.file, "line": fault.line, "column": fault.column, "excerpt": fault.excerpt,
            "what": fault.message, "remedy": fault.remedy,
        })
    };
    faults.iter().map(one).collect()
}

fn unread(faults: &[Fault]) -> Problem {
    let first = faults.first().cloned().unwrap_or_default();
    fault(TEXT, format!("line {}, column {}: {}", first.line, first.column, first.message), first.remedy)
}

fn outcome_told(outcome: &Outcome) -> Value {
    json!({
        "decision": outcome.decision, "rule": outcome.rule, "why": outcome.says, "model": outcome.model,
        "provider": outcome.provider, "output_tokens": outcome.output_tokens, "warnings": outcome.warns,
        "tried": outcome.tried,
    })
}
