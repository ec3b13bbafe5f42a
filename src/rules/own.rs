//! What virtual keys carry themselves: limits and a budget that hold beside those of the rules. A key's own limit never
//! takes the place of a rule's, nor a rule's that of the key.

use super::RuleSet;
use super::set::{BudgetRule, Head, LimitRule, Rules};
use super::syntax::made::allowance;
use crate::budget::book::Unit;
use crate::budget::window::{Every, WindowRule};
use crate::budget::{BasisPoints, Budget, Hardness};
use crate::clock::Timestamp;
use crate::rules::field::{Field, Pattern};
use crate::tenants::KeyLimits;
use jiff::tz::TimeZone;
use std::sync::Arc;

/// Shares of a key's budget that are told.
const THRESHOLDS: [BasisPoints; 2] = [BasisPoints(8_000), BasisPoints(10_000)];

/// What a key's budget is called: no name in a file has a colon.
pub fn budget_of(key: &str) -> Arc<str> {
    format!("key:{key}").into()
}

impl RuleSet {
    /// The same rules, and the keys' own beside them in the stead of those before.
    pub fn with_own(&self, keys: &[(Arc<str>, KeyLimits)]) -> RuleSet {
        let mut rules = Rules::clone(self.rules());
        rules.budgets.retain(|rule| !rule.of_a_key);
        rules.own.clear();
        for (key, limits) in keys {
            rules.budgets.extend(budget(key, limits));
            let limit = limit(key, limits);
            if !super::standing::words(&limit).is_empty() {
                rules.own.insert(Arc::clone(key), limit);
            }
        }
        RuleSet::new(rules)
    }
}

/// `None`: it has none. What cannot be read was refused when it was written.
fn budget(key: &Arc<str>, limits: &KeyLimits) -> Option<BudgetRule> {
    let (unit, limit, window) = allowance(limits.budget.as_deref()?).ok()?;
    let name = budget_of(key);
    let budget = Budget {
        name: Arc::clone(&name),
        unit,
        limit,
        hardness: Hardness::Hard,
        window,
        thresholds: THRESHOLDS.to_vec(),
        is_rate_limit: false,
        clamp: true,
        show_amounts: true,
        message: None,
    };
    Some(BudgetRule {
        head: Head { name, place: format!("key {key}").into(), ..Head::default() },
        scope: vec![(Field::Key, vec![Pattern::Exact(Arc::clone(key))])],
        for_each: Vec::new(),
        versions: vec![(Timestamp(i64::MIN), Arc::new(budget))],
        strict: false,
        admit_unmetered: false,
        admit_unpriced: false,
        receivers: Vec::new(),
        of_a_key: true,
        kept: Arc::default(),
    })
}

fn limit(key: &Arc<str>, limits: &KeyLimits) -> LimitRule {
    let name: Arc<str> = format!("key:{key}:limits").into();
    let tokens = limits.tokens_per_minute.map(|limit| {
        Arc::new(Budget {
            name: Arc::clone(&name),
            unit: Unit::Tokens,
            limit: u128::from(limit),
            hardness: Hardness::Hard,
            window: WindowRule::Calendar { every: Every::Minute, zone: TimeZone::UTC, from: 0 },
            thresholds: Vec::new(),
            is_rate_limit: true,
            clamp: true,
            show_amounts: true,
            message: None,
        })
    });
    LimitRule {
        head: Head { name, place: format!("key {key}").into(), ..Head::default() },
        hardness: Hardness::Hard,
        requests_per_minute: limits.requests_per_minute,
        concurrent: limits.concurrent,
        tokens_per_minute: tokens,
        clamp: true,
        ..LimitRule::default()
    }
}
