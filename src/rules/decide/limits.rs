//! Limits: rates are listed for the proxy, and the size of a single call is held against what it may be.

use super::super::condition::{Truth, output_each};
use super::super::field::scope_of;
use super::super::set::LimitRule;
use super::super::trace::Kind;
use super::super::{CallBound, CallLimit, Question, Verdict, demand_of};
use super::{OUTPUT_TOKENS_MIN, Pass, Ruling, refusal};
use crate::budget::book::Unit;
use crate::budget::{Demand, Hardness};
use crate::dialects::RefusalKind;
use crate::money::Usd;
use crate::tokens::usage::Kind as Used;
use std::sync::Arc;

impl Pass<'_, '_, '_> {
    pub(super) fn limits(&mut self) -> Option<Ruling> {
        let set = self.set;
        // Beside those of the rules: neither takes the other's place.
        if let Some(own) = set.rules().own_of(self.call.question.caller) {
            self.note(Kind::Limit, &own.head, Truth::Yes, "counted on arrival");
            if let Some(ruling) = self.limit(own, &mut Settled::default()) {
                return Some(ruling);
            }
        }
        let mut settled = Settled::default();
        for rule in &set.rules().limits {
            if !settled.wants(rule) {
                self.skip(Kind::Limit, &rule.head);
                continue;
            }
            let truth = self.applies(&rule.head);
            match truth {
                Truth::Open => {
                    self.note(Kind::Limit, &rule.head, truth, "turns on the input's exact size");
                    return Some(self.count(&rule.head));
                }
                Truth::No => self.note(Kind::Limit, &rule.head, truth, "does not apply"),
                Truth::Yes => {
                    let ruling = self.limit(rule, &mut settled);
                    let outcome = match &ruling {
                        Some(Ruling { why, .. }) => why.to_string(),
                        None => "the call is within it, or it is counted on arrival".to_owned(),
                    };
                    self.note(Kind::Limit, &rule.head, truth, &outcome);
                    if ruling.is_some() {
                        return ruling;
                    }
                }
            }
        }
        None
    }

    /// The sorts of this rule that no earlier one had.
    fn limit(&mut self, rule: &LimitRule, settled: &mut Settled) -> Option<Ruling> {
        let question = self.call.question;
        if question.metered || !question.reads_only {
            let bounds = [
                rule.requests_per_minute.filter(|_| !settled.requests).map(CallBound::PerMinute),
                rule.concurrent.filter(|_| !settled.concurrent).map(CallBound::Concurrent),
            ];
            for bound in bounds.into_iter().flatten() {
                let (name, scope) = (Arc::clone(&rule.head.name), scope_of(&rule.for_each, question));
                let message = rule.head.message.clone();
                self.call_limits.push(CallLimit { rule: name, scope, bound, hardness: rule.hardness, message });
            }
        }
        if let Some(budget) = rule.tokens_per_minute.as_ref().filter(|_| !settled.tokens && question.metered) {
            let (instance, balance) = self.found(budget).unwrap_or_else(|| (rule.instance(budget, question), None));
            let amount = demand_of(Unit::Tokens, question).unwrap_or(0);
            self.warn_if_short(&rule.head.name, rule.hardness, &instance, balance, amount);
            self.demands.push(Demand { instance, amount, binds: rule.hardness == Hardness::Hard });
        }
        let of_the_call = self.limit_of_the_call(rule, settled);
        settled.take(rule);
        let ruling = of_the_call?;
        if rule.hardness == Hardness::Hard {
            return Some(ruling);
        }
        if ruling.verdict != Verdict::Count {
            self.warn(&rule.head.name, format!("would be limited: {}", ruling.why));
        }
        None
    }

    fn limit_of_the_call(&self, rule: &LimitRule, settled: &Settled) -> Option<Ruling> {
        let question = self.call.question;
        if !question.metered {
            return None;
        }
        let own = |what: &Option<u64>, settled: bool| what.filter(|_| !settled);
        if let Some(most) = own(&rule.input_tokens_per_call, settled.input)
            && question.bound.input_tokens() > most
        {
            if !question.input_is_counted {
                return Some(self.count(&rule.head));
            }
            let why = format!("the input has {} tokens, and a call may have {most}", question.bound.input_tokens());
            return Some(too_large(rule, &why, "send less"));
        }
        if let Some(most) = own(&rule.output_tokens_per_call, settled.output)
            && output_each(question) > most
        {
            let why = format!("a call may have {most} output tokens");
            return Some(match question.facts.output_limit {
                Some(asked) if asked > most && !self.is_applied(&rule.head) => too_large(
                    rule,
                    &format!("the call asks for {asked} output tokens, and {why}"),
                    &format!("ask for at most {most}"),
                ),
                _ if self.is_applied(&rule.head) => return None,
                _ => clamp(rule, most, &why),
            });
        }
        match (rule.cost_per_call.filter(|_| !settled.cost), question.ceiling) {
            (Some(most), Some(ceiling)) if ceiling > most => Some(self.too_dear(rule, most, ceiling)),
            _ => None,
        }
    }

    /// Counted first; then with a lower output limit; then not at all.
    fn too_dear(&self, rule: &LimitRule, most: Usd, ceiling: Usd) -> Ruling {
        let question = self.call.question;
        if !question.input_is_counted {
            return self.count(&rule.head);
        }
        let affordable = affordable_output(question, most);
        let why = format!("the call may cost up to {ceiling} USD, and a single one may cost {most} USD");
        match affordable {
            Some(output) if rule.clamp && output >= OUTPUT_TOKENS_MIN && !self.is_applied(&rule.head) => {
                clamp(rule, output, &why)
            }
            Some(output) if output > 0 => {
                too_large(rule, &why, &format!("an output limit of {output} tokens would fit"))
            }
            _ => too_large(rule, &why, "its input alone is too dear: send less, or take a cheaper model"),
        }
    }
}

/// Sorts of limits for which a rule was found.
#[derive(Default)]
struct Settled {
    requests: bool,
    concurrent: bool,
    tokens: bool,
    input: bool,
    output: bool,
    cost: bool,
}

impl Settled {
    fn wants(&self, rule: &LimitRule) -> bool {
        (rule.requests_per_minute.is_some() && !self.requests)
            || (rule.concurrent.is_some() && !self.concurrent)
            || (rule.tokens_per_minute.is_some() && !self.tokens)
            || (rule.input_tokens_per_call.is_some() && !self.input)
            || (rule.output_tokens_per_call.is_some() && !self.output)
            || (rule.cost_per_call.is_some() && !self.cost)
    }

    fn take(&mut self, rule: &LimitRule) {
        self.requests |= rule.requests_per_minute.is_some();
        self.concurrent |= rule.concurrent.is_some();
        self.tokens |= rule.tokens_per_minute.is_some();
        self.input |= rule.input_tokens_per_call.is_some();
        self.output |= rule.output_tokens_per_call.is_some();
        self.cost |= rule.cost_per_call.is_some();
    }
}

fn too_large(rule: &LimitRule, why: &str, remedy: &str) -> Ruling {
    let message = rule.head.told(format!("{why} (rule `{}`): {remedy}", rule.head.name));
    refusal(RefusalKind::InvalidRequest, &rule.head.name, message, why.into())
}

fn clamp(rule: &LimitRule, output_tokens: u64, why: &str) -> Ruling {
    Ruling { verdict: Verdict::Clamp { output_tokens }, rule: Arc::clone(&rule.head.name), why: why.into() }
}

/// The greatest output limit of one answer with which the call costs at most this. `None`: it has no price.
pub fn affordable_output(question: &Question<'_>, most: Usd) -> Option<u64> {
    let model = question.model?;
    let choices = question.facts.choices.max(1);
    let fits = |each: u64| {
        let mut bound = question.bound;
        Used::ALL.into_iter().filter(|kind| kind.is_output_token()).for_each(|kind| bound[kind] = 0);
        bound[Used::Output] = each.saturating_mul(choices);
        model.ceiling(&bound, question.terms, question.now).is_some_and(|ceiling| ceiling <= most)
    };
    if !fits(0) {
        return Some(0);
    }
    let (mut good, mut bad) = (0, output_each(question).saturating_add(1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle) { good = middle } else { bad = middle }
    }
    Some(good)
}
