//! What was decided about an attempt, as counts: which rule did what, and which model became which.

use super::attempt::Run;
use super::decide::{Admitted, Course, Refused, Ruled};
use crate::dialects::RefusalKind;
use crate::telemetry::budgets::Action;

/// Tells the metrics of a decision that counts; of previews nothing is told.
pub fn decided(run: &Run<'_>, decided: &Result<Admitted<'_>, Box<Refused<'_>>>) {
    let (course, refusal) = match decided {
        Ok(admitted) => (Some(&admitted.course), None),
        Err(refused) => (refused.course.as_ref(), Some(refused.refusal.kind)),
    };
    let Some((course, ruled)) = course.and_then(|course| Some((course, course.ruled.as_deref()?))) else { return };
    let rules = &run.proxy.telemetry.metrics.rules;
    for step in &ruled.steps {
        if let (Some(rule), Some(action)) = (step.rule.as_deref(), action(step.action, refusal)) {
            rules.decided(rule, action);
        }
    }
    if let Some(rule) = refusal.and_then(|refusal| unsaid(ruled, refusal)) {
        rules.decided(rule, Action::Block);
    }
    for warning in &ruled.warnings {
        rules.decided(&warning.rule, Action::Warn);
    }
    if let (Some(rule), None) = (ruled.swap_rule.as_deref(), refusal) {
        swapped(run, course, rule);
    }
}

/// Who refused, where no step says so: a rule would have swapped and found no target.
fn unsaid(ruled: &Ruled, refusal: RefusalKind) -> Option<&str> {
    if ruled.steps.iter().any(|step| step.action == "refuse") {
        return None;
    }
    match refusal {
        RefusalKind::BudgetExceeded => Some(&ruled.blocked.as_ref()?.first()?.instance.budget.name),
        RefusalKind::Blocked => ruled.steps.last()?.rule.as_deref(),
        _ => None,
    }
}

fn swapped(run: &Run<'_>, course: &Course<'_>, rule: &str) {
    let metrics = &run.proxy.telemetry.metrics;
    let team = metrics.team_label(run.arrived.caller.team.as_deref());
    let from = run.target.offer.as_ref().map_or("other", |offer| &offer.model.id);
    let to = course.target.offer.as_ref().map_or("other", |offer| &offer.model.id);
    metrics.rules.swapped(rule, team, from, to);
}

/// The word of a step as the metric has it; `None`: nothing was changed by it.
fn action(word: &str, refusal: Option<RefusalKind>) -> Option<Action> {
    match (word, refusal) {
        ("swap", _) => Some(Action::Swap),
        ("clamp", _) => Some(Action::Clamp),
        ("reroute", _) => Some(Action::Reroute),
        ("refuse", Some(RefusalKind::RateLimited | RefusalKind::InvalidRequest | RefusalKind::TooLarge)) => {
            Some(Action::Limit)
        }
        ("refuse", Some(_)) => Some(Action::Block),
        _ => None,
    }
}
