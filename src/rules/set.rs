//! A compiled set of rules: immutable, swapped whole. What it holds is what the files say, in their order.

use super::Question;
use super::condition::{Call, Tested, Truth, When};
use super::field::{Field, Pattern, scope_of};
use crate::budget::{BasisPoints, Budget, Instance};
use crate::clock::Timestamp;
use crate::money::Usd;
use crate::tenants::Caller;
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Otherwise, RuleSet};
use crate::budget::Hardness;

/// What every rule has.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub name: Arc<str>,
    /// `rules/team.yaml:14`
    pub place: Arc<str>,
    pub when: When,
    pub except: When,
    /// Does nothing; what it would have done is a warning.
    pub shadow: bool,
    /// For the caller, in the author's words.
    pub message: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub struct BudgetRule {
    pub head: Head,
    pub scope: Vec<(Field, Vec<Pattern>)>,
    pub for_each: Vec<Field>,
    /// The budget from a moment on, ascending: top-ups change its limit.
    pub versions: Vec<(Timestamp, Arc<Budget>)>,
    /// What the context window alone bounds is refused.
    pub strict: bool,
    pub admit_unmetered: bool,
    pub admit_unpriced: bool,
    pub receivers: Vec<Told>,
    /// A virtual key carries it; no file has it.
    pub of_a_key: bool,
    /// The instance that was last made: its window serves until its end, and without `for_each` all of it.
    pub kept: Arc<ArcSwapOption<Instance>>,
}

/// Who is told of which thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub receiver: Arc<str>,
    /// Empty: of all of the budget's.
    pub thresholds: Vec<BasisPoints>,
}

#[derive(Clone, Debug, Default)]
pub struct LimitRule {
    pub head: Head,
    pub for_each: Vec<Field>,
    pub hardness: Hardness,
    pub requests_per_minute: Option<u32>,
    pub concurrent: Option<u32>,
    /// A rate limit of the book.
    pub tokens_per_minute: Option<Arc<Budget>>,
    pub input_tokens_per_call: Option<u64>,
    pub output_tokens_per_call: Option<u64>,
    pub cost_per_call: Option<Usd>,
    /// The output limit of a call that is too dear may be lowered until it is not.
    pub clamp: bool,
}

#[derive(Clone, Debug, Default)]
pub struct BlockRule {
    pub head: Head,
}

#[derive(Clone, Debug, Default)]
pub struct RouteRule {
    pub head: Head,
    pub to: Arc<str>,
}

#[derive(Clone, Debug, Default)]
pub struct SwapRule {
    pub head: Head,
    pub from: Vec<Pattern>,
    pub to: Arc<[Arc<str>]>,
    pub caller_may_refuse: bool,
    pub otherwise: Otherwise,
}

#[derive(Clone, Debug, Default)]
pub struct ClampRule {
    pub head: Head,
    pub output_tokens: u64,
}

/// All rules of all files.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub budgets: Vec<BudgetRule>,
    pub blocks: Vec<BlockRule>,
    pub limits: Vec<LimitRule>,
    pub routes: Vec<RouteRule>,
    pub swaps: Vec<SwapRule>,
    pub clamps: Vec<ClampRule>,
    /// What virtual keys carry, by their names: each holds beside the others, and beside `limits`.
    pub own: HashMap<Arc<str>, LimitRule>,
    /// Of the files' texts.
    pub version: Arc<str>,
}

/// Budgets by one literal of their scope, so that a call looks only at those that it can be in: of 10,000 budgets of
/// teams and keys it sees a handful.
#[derive(Clone, Debug, Default)]
pub struct Index {
    single: Vec<(Field, ByValue)>,
    tags: HashMap<Arc<str>, ByValue>,
    /// Those without such a literal.
    others: Vec<u32>,
}

/// Places of budgets by a literal of their scope.
type ByValue = HashMap<Arc<str>, Vec<u32>>;

/// The narrowest first.
const INDEXED: [Field; 9] = [
    Field::Run,
    Field::Session,
    Field::Key,
    Field::User,
    Field::EndUser,
    Field::Project,
    Field::Team,
    Field::Organisation,
    Field::Environment,
];

impl Head {
    pub fn applies(&self, call: &Call<'_, '_>, mut notes: Option<&mut Vec<Tested>>) -> Truth {
        let when = self.when.holds(call, notes.as_deref_mut());
        if when == Truth::No && notes.is_none() {
            return Truth::No;
        }
        match (when, self.is_excepted(call, notes)) {
            (Truth::No, _) | (_, Truth::Yes) => Truth::No,
            (Truth::Open, _) | (_, Truth::Open) => Truth::Open,
            (Truth::Yes, Truth::No) => Truth::Yes,
        }
    }

    /// What a refused caller is told, and after it the author's own words.
    pub fn told(&self, message: String) -> Arc<str> {
        match &self.message {
            Some(more) => format!("{message}. {more}").into(),
            None => message.into(),
        }
    }

    /// Whether `except` names the caller.
    pub fn is_excepted(&self, call: &Call<'_, '_>, notes: Option<&mut Vec<Tested>>) -> Truth {
        if self.except.is_always() {
            return Truth::No;
        }
        let Some(notes) = notes else { return self.except.holds(call, None) };
        let mut tested = Vec::new();
        let truth = self.except.holds(call, Some(&mut tested));
        notes.extend(tested.into_iter().map(|tested| Tested {
            text: format!("except: {}", tested.text),
            truth: match tested.truth {
                Truth::Yes => Truth::No,
                Truth::No => Truth::Yes,
                Truth::Open => Truth::Open,
            },
        }));
        truth
    }
}

impl BudgetRule {
    /// As it is in force at `now`.
    pub fn budget(&self, now: Timestamp) -> Option<&Arc<Budget>> {
        let begun = self.versions.iter().rev().find(|(from, _)| *from <= now);
        begun.or(self.versions.first()).map(|(_, budget)| budget)
    }

    /// Whether it counts the call. `request_is_known`: what the scope says of more than the caller is asked, too.
    pub fn claims(&self, question: &Question<'_>, request_is_known: bool) -> bool {
        self.scope.iter().all(|(field, any)| {
            (!request_is_known && field.is_of_the_request())
                || field.any(question, |value| any.iter().any(|pattern| pattern.fits(value)))
        })
    }

    pub fn instance(&self, question: &Question<'_>) -> Option<Arc<Instance>> {
        let budget = self.budget(question.now)?;
        if let Some(kept) = &*self.kept.load()
            && kept.window.contains(question.now)
            && Arc::ptr_eq(&kept.budget, budget)
        {
            if self.for_each.is_empty() {
                return Some(Arc::clone(kept));
            }
            let scope = scope_of(&self.for_each, question);
            return Some(Arc::new(Instance::new(Arc::clone(budget), scope, kept.window)));
        }
        let scope = scope_of(&self.for_each, question);
        let instance = Arc::new(Instance::new(Arc::clone(budget), scope, budget.window.at(question.now)));
        self.kept.store(Some(Arc::clone(&instance)));
        Some(instance)
    }
}

impl Rules {
    /// What the caller's own key carries.
    pub fn own_of(&self, caller: &Caller) -> Option<&LimitRule> {
        if self.own.is_empty() {
            return None;
        }
        self.own.get(caller.key.as_deref()?)
    }
}

impl LimitRule {
    /// The account of its tokens per minute.
    pub fn instance(&self, budget: &Arc<Budget>, question: &Question<'_>) -> Arc<Instance> {
        let scope = scope_of(&self.for_each, question);
        Arc::new(Instance::new(Arc::clone(budget), scope, budget.window.at(question.now)))
    }
}

impl Index {
    pub fn new(budgets: &[BudgetRule]) -> Index {
        let mut index = Index::default();
        for (place, rule) in budgets.iter().enumerate() {
            let Ok(place) = u32::try_from(place) else { continue };
            match best_literals(rule) {
                Some((Field::Tag(tag), values)) => {
                    let by_value = index.tags.entry(tag).or_default();
                    values.into_iter().for_each(|value| by_value.entry(value).or_default().push(place));
                }
                Some((field, values)) => {
                    let by_value = match index.single.iter().position(|(known, _)| *known == field) {
                        Some(at) => &mut index.single[at].1,
                        None => {
                            index.single.push((field, HashMap::new()));
                            let last = index.single.len() - 1;
                            &mut index.single[last].1
                        }
                    };
                    values.into_iter().for_each(|value| by_value.entry(value).or_default().push(place));
                }
                None => index.others.push(place),
            }
        }
        index
    }

    /// Places of the budgets that may claim the call, in the order of the files.
    pub fn candidates(&self, question: &Question<'_>) -> Vec<u32> {
        let mut found = self.others.clone();
        for (field, by_value) in &self.single {
            if let Some(places) = field.first(question).and_then(|value| by_value.get(value)) {
                found.extend_from_slice(places);
            }
        }
        if !self.tags.is_empty() {
            for (tag, value) in &question.attribution.tags {
                if let Some(places) = self.tags.get(tag).and_then(|by_value| by_value.get(value)) {
                    found.extend_from_slice(places);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The narrowest field whose patterns are all literals.
fn best_literals(rule: &BudgetRule) -> Option<(Field, Vec<Arc<str>>)> {
    let literals = |any: &[Pattern]| -> Option<Vec<Arc<str>>> {
        any.iter()
            .map(|pattern| match pattern {
                Pattern::Exact(value) => Some(Arc::clone(value)),
                Pattern::Glob(_) | Pattern::Unsaid => None,
            })
            .collect()
    };
    let of = |wanted: &dyn Fn(&Field) -> bool| {
        rule.scope.iter().find_map(|(field, any)| wanted(field).then(|| Some((field.clone(), literals(any)?)))?)
    };
    let mut narrow = INDEXED.iter();
    narrow.find_map(|field| of(&|mine| mine == field)).or_else(|| of(&|mine| matches!(mine, Field::Tag(_))))
}

impl RuleSet {
    /// Who is to be told that a budget passed a threshold.
    pub fn receivers(&self, budget: &str, threshold: BasisPoints) -> Vec<Arc<str>> {
        let told =
            self.rules().budgets.iter().filter(|rule| *rule.head.name == *budget).flat_map(|rule| &rule.receivers);
        let told = told.filter(|told| told.thresholds.is_empty() || told.thresholds.contains(&threshold));
        let mut receivers: Vec<Arc<str>> = told.map(|told| Arc::clone(&told.receiver)).collect();
        receivers.sort_unstable();
        receivers.dedup();
        receivers
    }

    pub fn new(rules: Rules) -> RuleSet {
        RuleSet { index: Index::new(&rules.budgets), rules: Arc::new(rules) }
    }

    /// The same rules, called by this version.
    pub fn versioned(&self, version: Arc<str>) -> RuleSet {
        let rules = Rules { version, ..Rules::clone(&self.rules) };
        RuleSet { rules: Arc::new(rules), index: self.index.clone() }
    }

    /// Of the files' texts: the first 8 letters of their hash. Empty where there are no files.
    pub fn version(&self) -> &Arc<str> {
        &self.rules.version
    }

    /// What the files say.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Nothing is ruled: asking costs nothing and can be left out.
    pub fn is_empty(&self) -> bool {
        let Rules { budgets, blocks, limits, routes, swaps, clamps, own, version: _ } = &*self.rules;
        budgets.is_empty()
            && blocks.is_empty()
            && limits.is_empty()
            && routes.is_empty()
            && swaps.is_empty()
            && clamps.is_empty()
            && own.is_empty()
    }

    /// How many rules of each kind, for a summary.
    pub fn counts(&self) -> [(&'static str, usize); 6] {
        let Rules { budgets, blocks, limits, routes, swaps, clamps, own, version: _ } = &*self.rules;
        [
            ("budgets", budgets.len()),
            ("limits", limits.len() + own.len()),
            ("swaps", swaps.len()),
            ("blocks", blocks.len()),
            ("clamps", clamps.len()),
            ("routes", routes.len()),
        ]
    }

    /// Every budget as it is in force at `now`: a top-up changes a limit at its date. Limits of tokens per minute are
    /// among them.
    pub fn budgets(&self, now: Timestamp) -> Vec<Arc<Budget>> {
        let written = self.rules.budgets.iter().filter_map(|rule| rule.budget(now));
        let limits = self.rules.limits.iter().chain(self.rules.own.values());
        let rates = limits.filter_map(|rule| rule.tokens_per_minute.as_ref());
        written.chain(rates).cloned().collect()
    }

    /// The budgets that count the call.
    pub(super) fn claimed<'s>(&'s self, question: &Question<'_>) -> Vec<&'s BudgetRule> {
        if self.rules.budgets.is_empty() {
            return Vec::new();
        }
        let candidates = self.index.candidates(question).into_iter();
        let rules = candidates.filter_map(|place| self.rules.budgets.get(usize::try_from(place).ok()?));
        rules.filter(|rule| rule.claims(question, true)).collect()
    }
}
