//! The budgets in force, for those who show them.

use super::RuleSet;
use super::field::Pattern;
use crate::budget::Budget;
use crate::clock::Timestamp;
use std::borrow::Cow;
use std::sync::Arc;

/// A budget of the rules.
#[derive(Clone, Debug)]
pub struct RuledBudget {
    pub name: Arc<str>,
    /// `rules/team.yaml:14`
    pub place: Arc<str>,
    pub budget: Arc<Budget>,
    /// The fields of its scope, each with its value where that is one literal.
    pub scope: Vec<(Cow<'static, str>, Option<Arc<str>>)>,
    /// A virtual key carries it.
    pub of_a_key: bool,
}

impl RuleSet {
    /// As they are at `now`, in the order of the files.
    pub fn ruled_budgets(&self, now: Timestamp) -> Vec<RuledBudget> {
        let rules = self.rules().budgets.iter();
        let shown = rules.filter_map(|rule| {
            let scope = rule.scope.iter().map(|(field, any)| {
                let literal = match any.as_slice() {
                    [Pattern::Exact(value)] => Some(Arc::clone(value)),
                    _ => None,
                };
                (field.name(), literal)
            });
            Some(RuledBudget {
                name: Arc::clone(&rule.head.name),
                place: Arc::clone(&rule.head.place),
                budget: Arc::clone(rule.budget(now)?),
                scope: scope.collect(),
                of_a_key: rule.of_a_key,
            })
        });
        shown.collect()
    }
}
