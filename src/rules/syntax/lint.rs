//! What is wrong between rules: names, references, rules that are never reached, swaps in a circle.

mod reach;

use super::section::Notes;
use super::{Known, Written};
use crate::budget::Budget;
use crate::budget::window::WindowRule;
use crate::catalog::{Catalog, Offer};
use crate::rules::condition::Measure;
use crate::rules::set::Told;
use crate::yaml::nearest;
use std::collections::HashMap;
use std::sync::Arc;

pub fn between(written: &mut Written, known: &Known<'_>, notes: &Notes) {
    names(written, notes);
    asked_budgets(written, notes);
    alerts(written, known, notes);
    same_budgets(written, notes);
    models(written, known, notes);
    retiring(written, known, notes);
    providers(written, known, notes);
    reach::unreachable(written, notes);
    reach::circles(written, notes);
    reach::never_true(written, notes);
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
        if state.remaining.is_some_and(|remaining| remaining.measure != Measure::Of(budget.unit)) {
            let what = format!("`remaining` counts something else than the limit of `{name}`");
            notes.fault(*place, what, "write it in the limit's unit");
        }
        if state.runs_out.is_some() && !matches!(budget.window, WindowRule::Calendar { .. }) {
            let what = format!("`{name}` has no window that ends, so it cannot be projected to its end");
            notes.fault(*place, what, "write `used:` or `remaining:`");
        }
    }
    for (name, unit, place) in &written.places.spent {
        match budgets.get(&**name) {
            None => notes.fault(*place, format!("there is no budget `{name}`"), unknown(name)),
            Some(budget) if budget.unit != *unit => {
                let what = format!("this counts something else than the limit of `{name}`");
                notes.fault(*place, what, "write it in the limit's unit");
            }
            Some(_) => {}
        }
    }
}

/// Thresholds and receivers go to the budgets that an alert names.
fn alerts(written: &mut Written, known: &Known<'_>, notes: &Notes) {
    for alert in &written.alerts {
        for receiver in known
            .receivers
            .iter()
            .flat_map(|known| alert.receivers.iter().filter(|receiver| !known.contains(&receiver.value)))
        {
            let configured = known.receivers.unwrap_or_default().iter().map(|name| &**name).collect::<Vec<_>>();
            let remedy = match configured.as_slice() {
                [] => "add it under `alerts: {receivers: […]}` in farebox.yaml".to_owned(),
                some => format!("configured in farebox.yaml: {}", some.join(", ")),
            };
            let what = format!("no receiver `{}` is configured, so nobody is told", receiver.value);
            notes.warning(receiver.place, what, remedy);
        }
        for pattern in &alert.budgets {
            let mut found = false;
            for rule in written.rules.budgets.iter_mut().filter(|rule| pattern.value.fits(Some(&rule.head.name))) {
                found = true;
                let told = alert.receivers.iter().map(|receiver| Told {
                    receiver: Arc::clone(&receiver.value),
                    thresholds: alert.thresholds.clone(),
                });
                rule.receivers.extend(told);
                for (_, budget) in &mut rule.versions {
                    let mut changed = Budget::clone(budget);
                    changed.thresholds.extend(&alert.thresholds);
                    changed.thresholds.sort_unstable();
                    changed.thresholds.dedup();
                    *budget = Arc::new(changed);
                }
            }
            if !found {
                let what = format!("no budget is called `{}`", pattern.value.text());
                notes.fault(pattern.place, what, "name a budget of these files");
            }
        }
    }
}

/// Two budgets for the same calls in the same window and unit: only the smaller one ever matters.
fn same_budgets(written: &Written, notes: &Notes) {
    let mut first: HashMap<String, Arc<str>> = HashMap::new();
    for (rule, place) in written.rules.budgets.iter().zip(&written.places.budgets) {
        let Some((_, budget)) = rule.versions.first() else { continue };
        let same =
            format!("{:?}{:?}{:?}{:?}{:?}", rule.scope, rule.for_each, budget.window, budget.unit, budget.hardness);
        match first.get(&same) {
            None => drop(first.insert(same, Arc::clone(&rule.head.name))),
            Some(other) => notes.warning(
                *place,
                format!(
                    "`{}` counts the same calls in the same window as `{other}`: only the smaller limit matters",
                    rule.head.name
                ),
                "remove one of the two",
            ),
        }
    }
}

fn models(written: &Written, known: &Known<'_>, notes: &Notes) {
    let Some(catalog) = known.catalog else { return };
    for (name, place) in &written.places.models {
        match offer(catalog, name) {
            None => {
                let models = catalog.models(None);
                let remedy = match nearest(name, models.iter().map(|model| &*model.id)) {
                    Some(near) => format!("write `{near}`, or add the model to a catalog of your own"),
                    None => "add it to a catalog of your own; until then its calls have no price".to_owned(),
                };
                notes.warning(*place, format!("the catalog knows no model `{name}`"), remedy);
            }
            Some(offer) if !offer.model.is_priced() => {
                let what = format!("the catalog has no price for `{name}`, and hard money budgets refuse it");
                notes.warning(*place, what, "add its rates to a catalog of your own, or write `unpriced: admit`");
            }
            Some(_) => {}
        }
    }
}

fn offer(catalog: &Catalog, name: &str) -> Option<Offer> {
    let named = name.split_once('/').and_then(|(provider, model)| catalog.resolve(provider, model));
    named.or_else(|| catalog.providers_of(name).first().and_then(|provider| catalog.resolve(provider, name)))
}

/// A swap whose every target has a day of retirement: from the last of these days on it would do nothing, unseen.
fn retiring(written: &Written, known: &Known<'_>, notes: &Notes) {
    let Some(catalog) = known.catalog else { return };
    for (rule, place) in written.rules.swaps.iter().zip(&written.places.swaps) {
        let days: Option<Vec<Arc<str>>> = rule.to.iter().map(|to| offer(catalog, to)?.model.retired.clone()).collect();
        if let Some(last) = days.and_then(|days| days.into_iter().max()) {
            let what = format!("the targets of `{}` are all retired by {last}: then it swaps nothing", rule.head.name);
            notes.warning(*place, what, "add a model that stays to `to:`; `farebox catalog list` names them");
        }
    }
}

fn providers(written: &Written, known: &Known<'_>, notes: &Notes) {
    if known.providers.is_empty() {
        return;
    }
    for (name, place) in written.places.providers.iter().filter(|(name, _)| !known.providers.contains(name)) {
        let names = || known.providers.iter().map(|name| &**name);
        let remedy = match nearest(name, names()) {
            Some(near) => format!("write `{near}`"),
            None => format!("configured are {}", names().collect::<Vec<_>>().join(", ")),
        };
        notes.fault(*place, format!("there is no provider `{name}`"), remedy);
    }
}
