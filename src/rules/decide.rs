//! The decision, and its explanation by the same steps: blocks, limits, routes, swaps, clamps, then budgets; of each
//! kind the first rule that matches. (Each sort of limit is a kind of its own; budgets all count.)

mod limits;

pub use limits::affordable_output;

use super::condition::{Call, Measure, Truth, amount, output_each};
use super::set::{BudgetRule, Head};
use super::trace::{Found, Kind, Tried};
use super::{CallLimit, Decision, Question, Refused, RuleSet, Swap, Verdict, Warning};
use crate::budget::book::Unit;
use crate::budget::{Balance, Demand, Hardness, Instance};
use crate::dialects::{Operation, RefusalKind};
use std::sync::Arc;

/// An output limit is not lowered below this to make a call affordable: fewer tokens are seldom an answer.
pub const OUTPUT_TOKENS_MIN: u64 = 256;

impl RuleSet {
    /// Every budget instance that the request claims or that a condition of a rule about it asks for: their balances
    /// are wanted by [`RuleSet::decide`]. Empty costs nothing.
    pub fn instances(&self, question: &Question<'_>) -> Vec<Arc<Instance>> {
        if !question.metered && question.reads_only {
            return Vec::new();
        }
        let mut instances: Vec<Arc<Instance>> =
            self.claimed(question).into_iter().filter_map(|rule| rule.instance(question)).collect();
        if question.metered {
            let call = Call { question, balances: None, request_is_known: true };
            let own = self.rules().own_of(question.caller);
            instances.extend(own.and_then(|limit| Some(limit.instance(limit.tokens_per_minute.as_ref()?, question))));
            for limit in &self.rules().limits {
                let Some(budget) = &limit.tokens_per_minute else { continue };
                // One whose conditions turn on balances may match or not.
                let truth = limit.head.applies(&call, None);
                if truth != Truth::No {
                    instances.push(limit.instance(budget, question));
                }
                if truth == Truth::Yes {
                    break;
                }
            }
        }
        instances
    }

    /// First match wins per kind: blocks, then limits, routes, swaps, clamps; then the budgets.
    pub fn decide(&self, question: &Question<'_>, balances: &[(Arc<Instance>, Balance)]) -> Decision {
        if self.is_empty() {
            return Decision::admit();
        }
        Pass::new(self, question, balances, None).run().0
    }

    /// The same, with every rule that was tried on the way.
    pub fn explain(&self, question: &Question<'_>, balances: &[(Arc<Instance>, Balance)]) -> (Decision, Vec<Tried>) {
        Pass::new(self, question, balances, Some(Vec::new())).run()
    }
}

impl RuleSet {
    /// Swaps that are meant for such a call, whatever budgets, time and cost say now: rule and targets.
    pub fn possible_swaps(&self, question: &Question<'_>) -> Vec<PossibleSwap> {
        let call = Call { question, balances: None, request_is_known: true };
        let swaps = self.rules().swaps.iter().filter(|rule| {
            rule.is_from(question)
                && !question.applied.contains(&rule.head.name)
                && rule.head.when.may_hold(&call)
                && rule.head.is_excepted(&call, None) != Truth::Yes
        });
        swaps.map(|rule| (Arc::clone(&rule.head.name), Arc::clone(&rule.to))).collect()
    }
}

/// A rule's name, and its targets.
pub type PossibleSwap = (Arc<str>, Arc<[Arc<str>]>);

/// What a request wants of a budget of this unit; `None`: it cannot be said.
pub fn demand_of(unit: Unit, question: &Question<'_>) -> Option<u64> {
    match unit {
        Unit::PicoUsd => question.ceiling.map(|usd| u64::try_from(usd.as_pico()).unwrap_or(0)),
        Unit::Tokens if question.metered => {
            Some(question.bound.input_tokens().saturating_add(question.bound.output_tokens()))
        }
        Unit::Tokens => None,
        Unit::Requests => Some(1),
    }
}

/// A verdict that ends the pass.
struct Ruling {
    verdict: Verdict,
    rule: Arc<str>,
    why: Arc<str>,
}

/// One decision under way.
struct Pass<'s, 'q, 'a> {
    set: &'s RuleSet,
    call: Call<'q, 'a>,
    trace: Option<Vec<Tried>>,
    demands: Vec<Demand>,
    call_limits: Vec<CallLimit>,
    warnings: Vec<Warning>,
}

impl<'s, 'q, 'a> Pass<'s, 'q, 'a> {
    fn new(
        set: &'s RuleSet,
        question: &'q Question<'a>,
        balances: &'q [(Arc<Instance>, Balance)],
        trace: Option<Vec<Tried>>,
    ) -> Self {
        let call = Call { question, balances: Some(balances), request_is_known: true };
        Pass { set, call, trace, demands: Vec::new(), call_limits: Vec::new(), warnings: Vec::new() }
    }

    fn run(mut self) -> (Decision, Vec<Tried>) {
        let ruling = self
            .blocks()
            .or_else(|| self.limits())
            .or_else(|| self.routes())
            .or_else(|| self.swaps())
            .or_else(|| self.clamps())
            .or_else(|| self.budgets());
        let decision = match ruling {
            Some(Ruling { verdict, rule, why }) => Decision {
                verdict,
                rule: Some(rule),
                why,
                demands: Vec::new(),
                call_limits: self.call_limits,
                warnings: self.warnings,
            },
            None => Decision {
                demands: self.demands,
                call_limits: self.call_limits,
                warnings: self.warnings,
                ..Decision::admit()
            },
        };
        (decision, self.trace.unwrap_or_default())
    }

    fn blocks(&mut self) -> Option<Ruling> {
        let set = self.set;
        for rule in &set.rules().blocks {
            let truth = self.applies(&rule.head);
            if truth == Truth::Yes {
                let why = self.why(&rule.head);
                if rule.head.shadow {
                    self.note(Kind::Block, &rule.head, truth, "would be refused (shadow)");
                    self.warn(&rule.head.name, format!("would be refused: {why}"));
                    continue;
                }
                self.note(Kind::Block, &rule.head, truth, "refused");
                let message = rule.head.message.clone();
                let message =
                    message.unwrap_or_else(|| format!("the rule `{}` does not allow this call", rule.head.name).into());
                return Some(refusal(RefusalKind::Blocked, &rule.head.name, message, why));
            }
            self.note(Kind::Block, &rule.head, truth, "does not apply");
            if truth == Truth::Open {
                return Some(self.count(&rule.head));
            }
        }
        None
    }

    fn routes(&mut self) -> Option<Ruling> {
        let set = self.set;
        for rule in &set.rules().routes {
            let truth = self.applies(&rule.head);
            if truth == Truth::Open {
                self.note(Kind::Route, &rule.head, truth, "turns on the input's exact size");
                return Some(self.count(&rule.head));
            }
            if truth == Truth::No {
                self.note(Kind::Route, &rule.head, truth, "does not apply");
                continue;
            }
            let outcome = format!("to {}", rule.to);
            if rule.head.shadow {
                self.note(Kind::Route, &rule.head, truth, &format!("would go {outcome} (shadow)"));
                let why = self.why(&rule.head);
                self.warn(&rule.head.name, format!("would go {outcome}: {why}"));
                continue;
            }
            self.note(Kind::Route, &rule.head, truth, &outcome);
            if *self.call.question.provider == *rule.to || self.is_applied(&rule.head) {
                return None;
            }
            let verdict = Verdict::Reroute { provider: Arc::clone(&rule.to) };
            return Some(Ruling { verdict, rule: Arc::clone(&rule.head.name), why: self.why(&rule.head) });
        }
        None
    }

    fn swaps(&mut self) -> Option<Ruling> {
        let set = self.set;
        let question = self.call.question;
        for rule in &set.rules().swaps {
            let head = &rule.head;
            if !rule.is_from(question) || self.is_applied(head) {
                let outcome = if self.is_applied(head) { "has acted already" } else { "not from this model" };
                self.note(Kind::Swap, head, Truth::No, outcome);
                continue;
            }
            let truth = self.applies(head);
            match truth {
                Truth::Open => {
                    self.note(Kind::Swap, head, truth, "turns on the input's exact size");
                    return Some(self.count(head));
                }
                Truth::No => {
                    self.note(Kind::Swap, head, truth, "does not apply");
                    continue;
                }
                Truth::Yes => {}
            }
            let why = self.why(head);
            let targets = rule.to.iter().map(|to| &**to).collect::<Vec<_>>().join(", ");
            if head.shadow {
                self.note(Kind::Swap, head, truth, &format!("would become {targets} (shadow)"));
                self.warn(&head.name, format!("would become {targets}: {why}"));
                continue;
            }
            if question.refuses_swaps && rule.caller_may_refuse {
                self.note(Kind::Swap, head, truth, "the caller prefers a refusal");
                let message = format!(
                    "the rule `{}` would swap this model for {targets}, and the request asks not to swap",
                    head.name
                );
                return Some(refusal(RefusalKind::Blocked, &head.name, head.told(message), why));
            }
            self.note(Kind::Swap, head, truth, &format!("becomes {targets}"));
            let verdict = Verdict::Swap(Swap { targets: Arc::clone(&rule.to), otherwise: rule.otherwise });
            return Some(Ruling { verdict, rule: Arc::clone(&head.name), why });
        }
        None
    }

    fn clamps(&mut self) -> Option<Ruling> {
        let set = self.set;
        let question = self.call.question;
        if !question.metered {
            return None;
        }
        for rule in &set.rules().clamps {
            let truth = self.applies(&rule.head);
            match truth {
                Truth::Open => {
                    self.note(Kind::Clamp, &rule.head, truth, "turns on the input's exact size");
                    return Some(self.count(&rule.head));
                }
                Truth::No => {
                    self.note(Kind::Clamp, &rule.head, truth, "does not apply");
                    continue;
                }
                Truth::Yes => {}
            }
            let outcome = format!("at most {} output tokens", rule.output_tokens);
            if rule.head.shadow {
                self.note(Kind::Clamp, &rule.head, truth, &format!("would have {outcome} (shadow)"));
                if output_each(question) > rule.output_tokens {
                    let why = self.why(&rule.head);
                    self.warn(&rule.head.name, format!("would have {outcome}: {why}"));
                }
                continue;
            }
            self.note(Kind::Clamp, &rule.head, truth, &outcome);
            if output_each(question) <= rule.output_tokens || self.is_applied(&rule.head) {
                return None;
            }
            let verdict = Verdict::Clamp { output_tokens: rule.output_tokens };
            return Some(Ruling { verdict, rule: Arc::clone(&rule.head.name), why: self.why(&rule.head) });
        }
        None
    }

    fn budgets(&mut self) -> Option<Ruling> {
        let question = self.call.question;
        if !question.metered && question.reads_only {
            return None;
        }
        for rule in self.set.claimed(question) {
            let Some(budget) = rule.budget(question.now) else { continue };
            let hardness = budget.hardness;
            let excepted = rule.head.is_excepted(&self.call, None) == Truth::Yes;
            let binds = hardness == Hardness::Hard && !excepted;
            let found = self.found(budget).or_else(|| Some((rule.instance(question)?, None)));
            let Some((instance, balance)) = found else { continue };
            let objection = rule.objection(question, budget.unit);
            self.note_budget(rule, &instance, balance, excepted, objection.as_deref());
            match objection {
                Some(objection) if binds => {
                    let message = format!("the budget `{}` is kept exactly, and {objection}", rule.head.name);
                    return Some(refusal(
                        RefusalKind::Blocked,
                        &rule.head.name,
                        rule.head.told(message),
                        objection.into(),
                    ));
                }
                Some(objection) if !excepted => self.warn(&rule.head.name, format!("would be refused: {objection}")),
                _ => {}
            }
            // A batch tells later what it used: its claim of nothing says which accounts it will be charged to.
            let is_told_later = question.operation == Operation::Batches;
            if !question.metered && budget.unit != Unit::Requests && !is_told_later {
                continue;
            }
            let amount = demand_of(budget.unit, question).unwrap_or(0);
            if !excepted {
                self.warn_if_short(&rule.head.name, hardness, &instance, balance, amount);
            }
            self.demands.push(Demand { instance, amount, binds });
        }
        None
    }

    fn applies(&self, head: &Head) -> Truth {
        head.applies(&self.call, None)
    }

    fn is_applied(&self, head: &Head) -> bool {
        self.call.question.applied.contains(&head.name)
    }

    /// What made it true, in a sentence.
    fn why(&self, head: &Head) -> Arc<str> {
        let mut tested = Vec::new();
        head.applies(&self.call, Some(&mut tested));
        let held: Vec<String> =
            tested.into_iter().filter(|tested| tested.truth == Truth::Yes).map(|tested| tested.text).collect();
        if held.is_empty() { "it is for every call".into() } else { held.join(" and ").into() }
    }

    fn count(&self, head: &Head) -> Ruling {
        let why = "it turns on the exact size of the input".into();
        Ruling { verdict: Verdict::Count, rule: Arc::clone(&head.name), why }
    }

    /// The instance whose balance was given.
    fn found(&self, budget: &Arc<crate::budget::Budget>) -> Option<(Arc<Instance>, Option<Balance>)> {
        let mut balances = self.call.balances.unwrap_or_default().iter();
        let (instance, balance) = balances.find(|(instance, _)| Arc::ptr_eq(&instance.budget, budget))?;
        Some((Arc::clone(instance), Some(*balance)))
    }

    fn warn(&mut self, rule: &Arc<str>, message: String) {
        self.warnings.push(Warning { rule: Arc::clone(rule), message: message.into() });
    }

    fn warn_if_short(
        &mut self,
        rule: &Arc<str>,
        hardness: Hardness,
        instance: &Instance,
        balance: Option<Balance>,
        wanted: u64,
    ) {
        let Some(balance) = balance.filter(|_| hardness != Hardness::Hard) else { return };
        if u128::from(wanted) > balance.available() {
            let unit = Measure::Of(instance.budget.unit);
            let left = amount(unit, balance.available());
            let wanted = amount(unit, u128::from(wanted));
            self.warn(rule, format!("would be refused: it may need {wanted}, and {left} are left"));
        }
    }

    fn note(&mut self, kind: Kind, head: &Head, truth: Truth, outcome: &str) {
        let Some(trace) = &mut self.trace else { return };
        let mut tested = Vec::new();
        head.applies(&self.call, Some(&mut tested));
        trace.push(Tried {
            kind,
            rule: Arc::clone(&head.name),
            place: Arc::clone(&head.place),
            matched: truth == Truth::Yes,
            outcome: outcome.to_owned(),
            conditions: tested.into_iter().map(Found::from).collect(),
        });
    }

    fn skip(&mut self, kind: Kind, head: &Head) {
        let Some(trace) = &mut self.trace else { return };
        trace.push(Tried {
            kind,
            rule: Arc::clone(&head.name),
            place: Arc::clone(&head.place),
            matched: false,
            outcome: "not tried: an earlier rule said all that it says".to_owned(),
            conditions: Vec::new(),
        });
    }

    fn note_budget(
        &mut self,
        rule: &BudgetRule,
        instance: &Instance,
        balance: Option<Balance>,
        excepted: bool,
        objection: Option<&str>,
    ) {
        let Some(trace) = &mut self.trace else { return };
        let unit = Measure::Of(instance.budget.unit);
        let outcome = match (objection, excepted, demand_of(instance.budget.unit, self.call.question)) {
            (Some(objection), false, _) => objection.to_owned(),
            (_, true, _) => "counts the call, and does not stop this caller".to_owned(),
            (_, _, Some(wanted)) => format!("counts the call, which may need {}", amount(unit, u128::from(wanted))),
            (_, _, None) => "counts the call".to_owned(),
        };
        let mut conditions: Vec<Found> = balance
            .iter()
            .map(|balance| Found {
                text: format!(
                    "{} spent and {} held of {}{}",
                    amount(unit, balance.spent),
                    amount(unit, balance.held),
                    amount(unit, balance.limit),
                    if instance.scope.is_empty() { String::new() } else { format!(" for {}", instance.scope) }
                ),
                holds: Some(true),
            })
            .collect();
        let mut tested = Vec::new();
        rule.head.is_excepted(&self.call, Some(&mut tested));
        conditions.extend(tested.into_iter().map(Found::from));
        trace.push(Tried {
            kind: Kind::Budget,
            rule: Arc::clone(&rule.head.name),
            place: Arc::clone(&rule.head.place),
            matched: true,
            outcome,
            conditions,
        });
    }
}

impl BudgetRule {
    /// What of this call the budget cannot keep count of, and does not let pass.
    fn objection(&self, question: &Question<'_>, unit: Unit) -> Option<String> {
        if unit == Unit::Requests {
            None
        } else if !question.metered {
            (!self.admit_unmetered).then(|| "what is asked for here cannot be metered".to_owned())
        } else if unit == Unit::PicoUsd && question.ceiling.is_none() {
            let model = question.upstream_model.unwrap_or("the model");
            (!self.admit_unpriced).then(|| format!("no price is known for {model}"))
        } else if self.strict && question.bounded_by_context {
            Some("the request does not show how much goes in (stored conversations, server tools or files)".to_owned())
        } else {
            None
        }
    }
}

impl super::set::SwapRule {
    /// The call goes to a model that this rule swaps, and not to one of its targets already.
    pub fn is_from(&self, question: &Question<'_>) -> bool {
        use super::field::Field;
        if question.upstream_model.is_none() && question.facts.requested_model.is_none() {
            return false;
        }
        let there = |target: &Arc<str>| match target.split_once('/') {
            Some((provider, model)) if provider == question.provider => {
                Field::Model.any(question, |value| value == Some(model))
            }
            _ => Field::Model.any(question, |value| value == Some(&**target)),
        };
        Field::Model.any(question, |value| self.from.iter().any(|pattern| pattern.fits(value)))
            && !self.to.iter().any(there)
    }
}

fn refusal(kind: RefusalKind, rule: &Arc<str>, message: Arc<str>, why: Arc<str>) -> Ruling {
    let verdict = Verdict::Refuse(Refused { kind, message, retry_after_seconds: None });
    Ruling { verdict, rule: Arc::clone(rule), why }
}
