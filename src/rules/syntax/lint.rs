//! What is wrong between rules: names, references, rules that are never reached, swaps in a circle.

use super::section::Notes;
use super::{Known, Written};
use crate::budget::Budget;
use crate::rules::condition::Measure;
use crate::yaml::nearest;
use std::collections::HashMap;
use std::sync::Arc;

pub fn between(written: &mut Written, known: &Known<'_>, notes: &Notes) {
    names(written, notes);
    asked_budgets(written, notes);
    alerts(written, notes);
    let _ = known;
}

/// One name is one rule, of whatever kind: refusals, reports and accounts go by it.
fn names(written: &Written, notes: &Notes) {
    let mut first = HashMap::new();
    for (name, place) in written.places.names.iter().filter(|(name, _)| !name.is_empty()) {
        match first.get(name) {
            None => drop(first.insert(Arc::clone(name), *place)),
            Some(_) => {
                notes.fault(*place, format!("`{name}` is the name of an earlier rule"), "give this one another name")
            }
        }
    }
}

fn asked_budgets(written: &Written, notes: &Notes) {
    let budgets: HashMap<&str, &Arc<Budget>> =
        written.rules.budgets.iter().filter_map(|rule| Some((&*rule.head.name, &rule.versions.first()?.1))).collect();
    let unknown = |name: &str| match nearest(name, budgets.keys().copied()) {
        Some(near) => format!("write `{near}`"),
        None if budgets.is_empty() => "there are no budgets; add it under `budgets:`".to_owned(),
        None => "name a budget of these files".to_owned(),
    };
    for (state, place) in &written.places.asked_budgets {
        let Some(name) = &state.budget else { continue };
        let Some(budget) = budgets.get(&**name) else {
            notes.fault(*place, format!("there is no budget `{name}`"), unknown(name));
            continue;
        };
        if let Some(remaining) = state.remaining
            && remaining.measure != Measure::Of(budget.unit)
        {
            notes.fault(
                *place,
                format!("`remaining` counts something else than the limit of `{name}`"),
                "write it in the limit's unit",
            );
        }
    }
    for (name, unit, place) in &written.places.spent {
        match budgets.get(&**name) {
            None => notes.fault(*place, format!("there is no budget `{name}`"), unknown(name)),
            Some(budget) if budget.unit != *unit => {
                notes.fault(
                    *place,
                    format!("this counts something else than the limit of `{name}`"),
                    "write it in the limit's unit",
                );
            }
            Some(_) => {}
        }
    }
}

/// Thresholds and receivers go to the budgets that an alert names.
fn alerts(written: &mut Written, notes: &Notes) {
    for alert in &written.alerts {
        for pattern in &alert.budgets {
            let mut found = false;
            for rule in written.rules.budgets.iter_mut().filter(|rule| pattern.value.fits(Some(&rule.head.name))) {
                found = true;
                rule.receivers.extend(alert.receivers.iter().cloned());
                for (_, budget) in &mut rule.versions {
                    let mut changed = Budget::clone(budget);
                    changed.thresholds.extend(&alert.thresholds);
                    changed.thresholds.sort_unstable();
                    changed.thresholds.dedup();
                    *budget = Arc::new(changed);
                }
            }
            if !found {
                notes.fault(
                    pattern.place,
                    format!("no budget is called `{}`", pattern.value.text()),
                    "name a budget of these files",
                );
            }
        }
    }
}
