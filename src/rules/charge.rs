//! What happened outside the proxy: no rule decides about it any more, but every budget counts it.

use super::decide::demand_of;
use super::{Question, RuleSet};
use crate::budget::Demand;

impl RuleSet {
    /// What the budgets that count such a call are charged. None of it binds: it has happened, also above a limit. The
    /// question's `bound` and `ceiling` are what was really used.
    pub fn charged(&self, question: &Question<'_>) -> Vec<Demand> {
        let claimed = self.claimed(question).into_iter();
        let demand = claimed.filter_map(|rule| {
            let instance = rule.instance(question)?;
            let amount = demand_of(instance.budget.unit, question).unwrap_or(0);
            Some(Demand { instance, amount, binds: false })
        });
        demand.collect()
    }
}
