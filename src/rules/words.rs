//! Rules in words: for differences between versions.

use super::condition::{Condition, Measure, Need, When, amount};
use super::field::{Field, Pattern};
use super::set::{BudgetRule, Head, LimitRule, Rules};
use super::timing::name_of;
use super::trace::Kind;
use super::{Otherwise, RuleSet, standing};
use crate::budget::window::{Every, WindowRule};
use crate::budget::{Budget, Hardness};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What another version says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub kind: Kind,
    pub rule: Arc<str>,
    pub what: ChangeKind,
    /// `limit: 500.00 USD → 600.00 USD`
    pub details: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Added,
    Removed,
    Changed,
    /// The same, at another place among its kind.
    Moved,
}

/// Everything that the later rules say otherwise.
pub fn changes(before: &RuleSet, after: &RuleSet) -> Vec<Change> {
    let (before, after) = (told(before.rules()), told(after.rules()));
    let mut changes = Vec::new();
    for (rule, facts) in &after {
        match before.iter().find(|(known, _)| known == rule) {
            None => changes.push(change(
                rule,
                ChangeKind::Added,
                facts.iter().map(|(key, value)| format!("{key}: {value}")).collect(),
            )),
            Some((_, old)) => {
                let details = differences(old, facts);
                if !details.is_empty() {
                    changes.push(change(rule, ChangeKind::Changed, details));
                }
            }
        }
    }
    for (rule, _) in before.iter().filter(|(rule, _)| !after.iter().any(|(known, _)| known == rule)) {
        changes.push(change(rule, ChangeKind::Removed, Vec::new()));
    }
    changes.extend(moves(&before, &after));
    changes
}

type Facts = BTreeMap<&'static str, String>;
type Named = (Kind, Arc<str>);

fn change((kind, rule): &Named, what: ChangeKind, details: Vec<String>) -> Change {
    Change { kind: *kind, rule: Arc::clone(rule), what, details }
}

fn differences(old: &Facts, new: &Facts) -> Vec<String> {
    let mut details = Vec::new();
    for (key, value) in new {
        match old.get(key) {
            None => details.push(format!("{key}: nothing → {value}")),
            Some(before) if before != value => details.push(format!("{key}: {before} → {value}")),
            Some(_) => {}
        }
    }
    details.extend(
        old.iter().filter(|(key, _)| !new.contains_key(*key)).map(|(key, value)| format!("{key}: {value} → nothing")),
    );
    details
}

/// Among the rules that are in both: those whose neighbours changed. Of budgets, the order means nothing.
fn moves(before: &[(Named, Facts)], after: &[(Named, Facts)]) -> Vec<Change> {
    let kept = |rules: &[(Named, Facts)], others: &[(Named, Facts)], kind: Kind| -> Vec<Named> {
        let mine = rules.iter().map(|(rule, _)| rule.clone()).filter(|(mine, _)| *mine == kind);
        mine.filter(|rule| others.iter().any(|(other, _)| other == rule)).collect()
    };
    let mut moved = Vec::new();
    for kind in [Kind::Block, Kind::Limit, Kind::Route, Kind::Swap, Kind::Clamp] {
        let (old, new) = (kept(before, after, kind), kept(after, before, kind));
        let displaced = new.iter().zip(&old).filter(|(new, old)| new != old);
        moved.extend(displaced.map(|(rule, _)| change(rule, ChangeKind::Moved, Vec::new())));
    }
    moved
}

fn told(rules: &Rules) -> Vec<(Named, Facts)> {
    let mut told: Vec<(Named, Facts)> = Vec::new();
    let mut tell = |kind, head: &Head, mut facts: Facts| {
        let mut add = |key, text: String| {
            if !text.is_empty() {
                drop(facts.insert(key, text))
            }
        };
        add("when", when(&head.when));
        add("except", when(&head.except));
        add("message", head.message.as_deref().unwrap_or_default().to_owned());
        add("shadow", if head.shadow { "true".to_owned() } else { String::new() });
        told.push(((kind, Arc::clone(&head.name)), facts));
    };
    for rule in &rules.budgets {
        tell(Kind::Budget, &rule.head, budget(rule));
    }
    for rule in &rules.blocks {
        tell(Kind::Block, &rule.head, Facts::new());
    }
    for rule in &rules.limits {
        tell(Kind::Limit, &rule.head, limit(rule));
    }
    for rule in &rules.routes {
        tell(Kind::Route, &rule.head, Facts::from([("to", rule.to.to_string())]));
    }
    for rule in &rules.swaps {
        let mut facts = Facts::from([("from", patterns(&rule.from)), ("to", rule.to.join(", "))]);
        if !rule.caller_may_refuse {
            facts.insert("caller_may_refuse", "false".to_owned());
        }
        if rule.otherwise == Otherwise::Refuse {
            facts.insert("otherwise", "refuse".to_owned());
        }
        tell(Kind::Swap, &rule.head, facts);
    }
    for rule in &rules.clamps {
        tell(Kind::Clamp, &rule.head, Facts::from([("output_tokens", rule.output_tokens.to_string())]));
    }
    told
}

fn budget(rule: &BudgetRule) -> Facts {
    let mut facts = Facts::new();
    let Some((_, first)) = rule.versions.first() else { return facts };
    facts.insert("limit", amount(Measure::Of(first.unit), first.limit));
    facts.insert("window", window(&first.window));
    facts.insert("hardness", hardness(first.hardness).to_owned());
    let thresholds = first.thresholds.iter().map(|points| amount(Measure::Share, u128::from(points.0)));
    facts.insert("thresholds", thresholds.collect::<Vec<_>>().join(", "));
    let scope: Vec<String> =
        rule.scope.iter().map(|(field, any)| format!("{}: {}", field.name(), patterns(any))).collect();
    let top_ups = rule.versions.windows(2).map(|pair| top_up(&pair[0].1, &pair[1])).collect::<Vec<_>>().join(", ");
    let flags = [
        ("strict", rule.strict),
        ("unmetered: admit", rule.admit_unmetered),
        ("unpriced: admit", rule.admit_unpriced),
        ("clamp: false", !first.clamp),
        ("show_amounts", first.show_amounts),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
    let told = rule.receivers.iter().map(|told| match told.thresholds.as_slice() {
        [] => told.receiver.to_string(),
        some => {
            let of: Vec<String> = some.iter().map(|points| amount(Measure::Share, u128::from(points.0))).collect();
            format!("{} ({})", told.receiver, of.join(", "))
        }
    });
    let receivers = told.collect::<Vec<_>>().join(", ");
    let rest = [
        ("scope", scope.join("; ")),
        ("for_each", fields(&rule.for_each)),
        ("top_ups", top_ups),
        ("set", flags.join(", ")),
        ("receivers", receivers),
    ];
    facts.extend(rest.into_iter().filter(|(_, text)| !text.is_empty()));
    facts
}

fn top_up(before: &Budget, (on, after): &(crate::clock::Timestamp, Arc<Budget>)) -> String {
    let added = amount(Measure::Of(after.unit), after.limit.saturating_sub(before.limit));
    format!("{added} on {}", on.to_rfc3339().get(..10).unwrap_or_default())
}

fn limit(rule: &LimitRule) -> Facts {
    let mut facts = Facts::from([("limits", standing::words(rule)), ("hardness", hardness(rule.hardness).to_owned())]);
    if !rule.for_each.is_empty() {
        facts.insert("for_each", fields(&rule.for_each));
    }
    if !rule.clamp {
        facts.insert("clamp", "false".to_owned());
    }
    facts
}

fn hardness(hardness: Hardness) -> &'static str {
    match hardness {
        Hardness::Hard => "hard",
        Hardness::Soft => "soft",
        Hardness::Shadow => "shadow",
    }
}

/// `month from 15 in Europe/Berlin`, `rolling 300m`, `lifetime`.
pub fn window(rule: &WindowRule) -> String {
    match rule {
        WindowRule::Lifetime => "lifetime".to_owned(),
        WindowRule::Rolling { length } => format!("rolling {}m", length.as_secs() / 60),
        WindowRule::Calendar { every, zone, from } => {
            let name = match every {
                Every::Minute => "minute",
                Every::Hour => "hour",
                Every::Day => "day",
                Every::Week => "week",
                Every::Month => "month",
                Every::Year => "year",
            };
            format!("{name} from {from} in {}", name_of(zone))
        }
    }
}

fn fields(fields: &[Field]) -> String {
    fields.iter().map(|field| field.name().into_owned()).collect::<Vec<_>>().join(", ")
}

fn patterns(any: &[Pattern]) -> String {
    any.iter().map(Pattern::text).collect::<Vec<_>>().join(" or ")
}

/// Empty for a rule that always applies.
fn when(when: &When) -> String {
    let all = |all: &Vec<Condition>| all.iter().map(condition).collect::<Vec<_>>().join(", ");
    when.any.iter().map(all).collect::<Vec<_>>().join(" or else ")
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Field { field, any } => format!("{}: {}", field.name(), patterns(any)),
        Condition::Stream(wanted) => format!("stream: {wanted}"),
        Condition::Needs(any) => {
            format!("needs: {}", any.iter().map(|need: &Need| need.name()).collect::<Vec<_>>().join(" or "))
        }
        Condition::Time(any) => {
            format!("time: {}", any.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
        }
        Condition::Estimate(compare) => format!("estimated_cost {compare}"),
        Condition::Ceiling(compare) => format!("greatest_cost {compare}"),
        Condition::InputTokens(compare) => format!("input_tokens {compare}"),
        Condition::OutputTokens(compare) => format!("output_tokens {compare}"),
        Condition::Budget(any) => {
            let one = |state: &super::condition::BudgetState| {
                format!("budget {}: {}", state.budget.as_deref().unwrap_or("any"), state.wanted())
            };
            any.iter().map(one).collect::<Vec<_>>().join(" or ")
        }
    }
}
