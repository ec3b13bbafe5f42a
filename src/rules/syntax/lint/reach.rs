//! Rules that never act, because an earlier one always comes first, because they lead back, or because what they ask
//! for cannot be.

use super::super::Written;
use super::super::section::Notes;
use crate::rules::condition::{Condition, When};
use crate::rules::field::Pattern;
use crate::rules::set::{Head, LimitRule, SwapRule};
use crate::yaml::Place;
use std::sync::Arc;

/// Each rule is held against those before it; of very long lists only against so many.
const COMPARED_MAX: usize = 500;

pub fn unreachable(written: &Written, notes: &Notes) {
    let rules = &written.rules;
    let places = &written.places;
    let covers = |first: &Head, later: &Head| first.covers(later);
    shadowed(rules.blocks.iter().map(|rule| &rule.head), &places.blocks, notes, covers);
    shadowed(rules.routes.iter().map(|rule| &rule.head), &places.routes, notes, covers);
    shadowed(rules.clamps.iter().map(|rule| &rule.head), &places.clamps, notes, covers);
    for (at, (rule, place)) in rules.swaps.iter().zip(&places.swaps).enumerate() {
        let before = rules.swaps.iter().take(at.min(COMPARED_MAX));
        if let Some(first) = before.into_iter().find(|first| first.head.covers(&rule.head) && takes_all(first, rule)) {
            tell(&rule.head, &first.head, *place, notes);
        }
    }
    for (at, (rule, place)) in rules.limits.iter().zip(&places.limits).enumerate() {
        let before: Vec<&LimitRule> =
            rules.limits.iter().take(at.min(COMPARED_MAX)).filter(|first| first.head.covers(&rule.head)).collect();
        let has = |sort: fn(&LimitRule) -> bool| !sort(rule) || before.iter().any(|first| sort(first));
        let all = has(|limit| limit.requests_per_minute.is_some())
            && has(|limit| limit.concurrent.is_some())
            && has(|limit| limit.tokens_per_minute.is_some())
            && has(|limit| limit.input_tokens_per_call.is_some())
            && has(|limit| limit.output_tokens_per_call.is_some())
            && has(|limit| limit.cost_per_call.is_some());
        if let Some(first) = before.first().filter(|_| all) {
            tell(&rule.head, &first.head, *place, notes);
        }
    }
}

fn shadowed<'r>(
    heads: impl Iterator<Item = &'r Head>,
    places: &[Place],
    notes: &Notes,
    covers: impl Fn(&Head, &Head) -> bool,
) {
    let mut before: Vec<&Head> = Vec::new();
    for (head, place) in heads.zip(places) {
        if let Some(first) = before.iter().take(COMPARED_MAX).find(|first| covers(first, head)) {
            tell(head, first, *place, notes);
        }
        before.push(head);
    }
}

impl Head {
    /// Whenever the later rule applies, this one does: it comes first, and the later one never acts.
    fn covers(&self, later: &Head) -> bool {
        !self.shadow && (self.except.is_always() || self.except == later.except) && self.when.covers(&later.when)
    }
}

/// Every model that the later swap is for is taken by the first one already. A swap leaves its own targets alone.
fn takes_all(first: &SwapRule, later: &SwapRule) -> bool {
    later
        .from
        .iter()
        .all(|from| first.from.iter().any(|mine| mine.covers(from)) && !first.to.iter().any(|to| from.fits(Some(to))))
}

fn tell(head: &Head, first: &Head, place: Place, notes: &Notes) {
    notes.warning(
        place,
        format!(
            "`{}` is never reached: `{}` ({}) comes before it and applies whenever this does",
            head.name, first.name, first.place
        ),
        "put the narrower rule first, or remove it",
    );
}

/// Swaps that lead back to where a call came from.
pub fn circles(written: &Written, notes: &Notes) {
    let swaps = &written.rules.swaps;
    for (rule, place) in swaps.iter().zip(&written.places.swaps) {
        let own = rule.from.iter().find(|from| matches!(from, Pattern::Exact(model) if rule.to.contains(model)));
        if let Some(model) = own {
            let what = format!("`{}` swaps `{}` for itself", rule.head.name, model.text());
            notes.fault(*place, what, "name another target");
        }
    }
    for (start, place) in written.places.swaps.iter().enumerate().take(COMPARED_MAX) {
        let Some(circle) = circle_from(swaps, start) else { continue };
        let names: Vec<&str> = circle.iter().map(|at| &*swaps[*at].head.name).collect();
        let what = format!("swaps in a circle: {} → {}", names.join(" → "), names[0]);
        let remedy = "let one of them end with a model that none of them takes";
        let together = circle.windows(2).all(|pair| {
            let (one, other) = (&swaps[pair[0]].head.when, &swaps[pair[1]].head.when);
            one.covers(other) || other.covers(one)
        });
        // At different times, or for different callers, they may well point at each other.
        if together { notes.fault(*place, what, remedy) } else { notes.warning(*place, what, remedy) }
    }
}

/// The circle that begins with its first rule in the file: told once.
fn circle_from(swaps: &[SwapRule], start: usize) -> Option<Vec<usize>> {
    let leads = |from: &SwapRule, to: &SwapRule| {
        let takes = |target: &Arc<str>| {
            let bare = target.split_once('/').map_or(&**target, |(_, model)| model);
            to.from.iter().any(|pattern| pattern.fits(Some(target)) || pattern.fits(Some(bare)))
                && !to.to.contains(target)
        };
        from.to.iter().any(takes)
    };
    let mut paths = vec![vec![start]];
    let mut seen = vec![start];
    while let Some(path) = paths.pop() {
        let Some(last) = path.last() else { continue };
        for next in start..swaps.len() {
            if next == *last || !leads(&swaps[*last], &swaps[next]) {
                continue;
            }
            if next == start && path.len() > 1 {
                return Some(path);
            }
            if !seen.contains(&next) {
                seen.push(next);
                let mut longer = path.clone();
                longer.push(next);
                paths.push(longer);
            }
        }
    }
    None
}

/// A condition on a budget that never counts the calls that the rule is for.
pub fn never_true(written: &Written, notes: &Notes) {
    let rules = &written.rules;
    let places = &written.places;
    let heads = (rules.blocks.iter().map(|rule| &rule.head).zip(&places.blocks))
        .chain(rules.limits.iter().map(|rule| &rule.head).zip(&places.limits))
        .chain(rules.routes.iter().map(|rule| &rule.head).zip(&places.routes))
        .chain(rules.swaps.iter().map(|rule| &rule.head).zip(&places.swaps))
        .chain(rules.clamps.iter().map(|rule| &rule.head).zip(&places.clamps));
    for (head, place) in heads {
        for (budget, field) in contradictions(&head.when, written) {
            notes.warning(
                *place,
                format!("`{}` never acts: its {field} is never one that the budget `{budget}` counts", head.name),
                "ask for a budget that counts these calls",
            );
        }
    }
}

fn contradictions(when: &When, written: &Written) -> Vec<(Arc<str>, String)> {
    let mut found = Vec::new();
    for all in &when.any {
        let asked = all.iter().filter_map(|condition| match condition {
            Condition::Budget(any) => any.first().filter(|_| any.len() == 1)?.budget.as_ref(),
            _ => None,
        });
        for name in asked {
            let Some(budget) = written.rules.budgets.iter().find(|rule| rule.head.name == *name) else { continue };
            let excluded = budget.scope.iter().find(|(field, counted)| {
                all.iter().any(|condition| match condition {
                    Condition::Field { field: mine, any } => {
                        mine == field && any.iter().all(|mine| apart(mine, counted))
                    }
                    _ => false,
                })
            });
            found.extend(excluded.map(|(field, _)| (Arc::clone(name), field.name().into_owned())));
        }
    }
    found
}

/// A literal that none of the patterns fits.
fn apart(mine: &Pattern, others: &[Pattern]) -> bool {
    match mine {
        Pattern::Exact(value) => !others.iter().any(|other| other.fits(Some(value))),
        Pattern::Unsaid => !others.contains(&Pattern::Unsaid),
        Pattern::Glob(_) => false,
    }
}
