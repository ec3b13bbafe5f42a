//! One call of the past through new rules: asked, swapped, clamped, held or refused, as the proxy would have done it.

use super::book::{Book, Claim};
use super::limits::Limiters;
use super::recall::{Memory, Recalled, cut_output, price};
use super::report::{Change, Report, Step, Tally};
use crate::budget::Demand;
use crate::budget::book::Unit;
use crate::catalog::{Catalog, Model};
use crate::clock::Timestamp;
use crate::dialects::Dialect;
use crate::event::TRACKED;
use crate::money::Usd;
use crate::rules::target::{self, Place, Wanted};
use crate::rules::{Decision, OUTPUT_TOKENS_MIN, Otherwise, Question, RuleSet, Swap, Verdict};
use crate::store::EventRow;
use crate::tokens::usage::TokenUsage;
use std::collections::HashMap;
use std::sync::Arc;

/// Swaps, clamps and reroutes of one call, as the proxy's `swaps_max`.
const STEPS_MAX: usize = 4;

/// What a replay needs beside the ledger.
#[derive(Clone, Debug)]
pub struct Premises {
    pub rules: Arc<RuleSet>,
    pub catalog: Arc<Catalog>,
    /// The configured providers, each with the dialect that it speaks: where a swap may lead.
    pub providers: HashMap<Arc<str>, Dialect>,
}

/// A replay under way. Rows are shown to it oldest first.
#[derive(Debug)]
pub struct Backtest {
    premises: Premises,
    memory: Memory,
    book: Book,
    limiters: Limiters,
    tally: Tally,
}

/// One way that a call may go: where to, with how much output, at what cost, and the steps that led there.
#[derive(Clone, Debug)]
struct Way {
    provider: Arc<str>,
    model_name: Option<Arc<str>>,
    model: Option<Arc<Model>>,
    output_bound: u64,
    usage: TokenUsage,
    /// `None`: unpriced or unmetered.
    cost: Option<Usd>,
    steps: Vec<Step>,
    applied: Vec<Arc<str>>,
}

/// How it ends.
enum End {
    Goes(Box<Way>, Vec<Claim>),
    Refused { rule: Arc<str>, why: Arc<str> },
}

impl Backtest {
    pub fn new(premises: Premises) -> Backtest {
        Backtest {
            premises,
            memory: Memory::default(),
            book: Book::default(),
            limiters: Limiters::default(),
            tally: Tally::default(),
        }
    }

    /// A row of before the replay: it is booked as it was, whatever the rules say of it, so that budgets begin with what
    /// was spent in their windows.
    pub fn begin_with(&mut self, row: &EventRow) {
        if row.adjusts.is_some() {
            return;
        }
        self.book.settle(row.started_at);
        self.spent_as_it_was(row);
    }

    /// Books what a row used, whatever the rules and the budgets say of it.
    fn spent_as_it_was(&mut self, row: &EventRow) {
        let recalled = self.memory.recall(row);
        let catalog = Arc::clone(&self.premises.catalog);
        let provider = row.provider.clone().unwrap_or_else(|| "unknown".into());
        let model_name = row.upstream_model.clone().or_else(|| row.requested_model.clone());
        let model = model_name.as_ref().and_then(|name| self.memory.model(&catalog, &provider, name));
        let way = Way {
            provider,
            model_name,
            model,
            output_bound: row.usage.output_tokens(),
            usage: row.usage,
            cost: row.cost,
            steps: Vec::new(),
            applied: Vec::new(),
        };
        let instances = self.premises.rules.instances(&self.question(&recalled, &way, false));
        let spent = instances.into_iter().filter(|instance| !instance.budget.is_rate_limit).map(|instance| {
            let actual = spends(instance.budget.unit, &way, 0);
            Claim { demand: Demand { instance, amount: actual, binds: false }, actual }
        });
        self.book.hold(&spent.collect::<Vec<_>>(), row.ended_at);
    }

    /// The next row, oldest first.
    pub fn observe(&mut self, row: &EventRow) {
        if row.adjusts.is_some() {
            self.tally.adjusted(row);
            return;
        }
        let now = row.started_at;
        self.book.advance(now);
        self.limiters.advance(now);
        if row.decision.as_deref() == Some(TRACKED) {
            // It had happened before anybody was asked.
            self.spent_as_it_was(row);
            return self.tally.went(row, &Change { cost: row.cost, ..Change::default() });
        }
        let recalled = self.memory.recall(row);
        let start = self.start(&recalled);
        let (decision, claims) = self.ask(&recalled, &start, false);
        let limited = self.limited(row, &decision);
        match limited.unwrap_or_else(|| self.follow(&recalled, start, Some((decision, claims)))) {
            End::Goes(way, claims) => {
                self.book.hold(&claims, row.ended_at);
                let change = match is_as_it_was(row, &way) {
                    true => Change { cost: row.cost, ..Change::default() },
                    false => Change { steps: way.steps, cost: way.cost, to: way.model_name },
                };
                self.tally.went(row, &change);
            }
            End::Refused { rule, why } => self.tally.refused(row, &rule, &why),
        }
    }

    /// What the replay has to say.
    pub fn finish(self) -> Report {
        self.tally.report(self.book.finish())
    }

    /// The call as it was asked. What rules of then made of it is undone: the new ones decide anew.
    fn start(&mut self, recalled: &Recalled<'_>) -> Way {
        let row = recalled.row;
        let provider = row.provider.clone().unwrap_or_else(|| "unknown".into());
        let sent = row.upstream_model.clone().or_else(|| row.requested_model.clone());
        let was_swapped = row.decision.as_deref() == Some("swap");
        let model_name = if was_swapped { row.requested_model.clone() } else { sent.clone() };
        let catalog = Arc::clone(&self.premises.catalog);
        let mut find = |name: &Option<Arc<str>>| self.memory.model(&catalog, &provider, name.as_ref()?);
        let (model, sent_model) = (find(&model_name), find(&sent));
        let output_bound = recalled.output_bound(sent_model.as_deref());
        let mut way = Way {
            provider,
            model_name,
            model,
            output_bound,
            usage: row.usage,
            cost: row.cost,
            steps: Vec::new(),
            applied: Vec::new(),
        };
        if way.model_name != sent {
            let before = way.cost;
            way.cost = cost_of(recalled, &way);
            let rule = row.rule.clone().unwrap_or_else(|| "(a rule of then)".into());
            way.steps.push(Step::Undone { rule, saved: saved(before, way.cost) });
        }
        way
    }

    /// The limits on calls take theirs before anything else, once a call.
    fn limited(&mut self, row: &EventRow, decision: &Decision) -> Option<End> {
        let mut refused = None;
        for limit in &decision.call_limits {
            if self.limiters.take(limit, row.started_at, row.ended_at) {
                continue;
            }
            if limit.hardness == crate::budget::Hardness::Hard {
                refused.get_or_insert_with(|| End::Refused {
                    rule: Arc::clone(&limit.rule),
                    why: "more calls than the limit allows".into(),
                });
            } else {
                self.tally.warned(&limit.rule);
            }
        }
        for warning in &decision.warnings {
            self.tally.warned(&warning.rule);
        }
        refused
    }

    /// Asks until the rules and the budgets agree, or refuse.
    fn follow(&mut self, recalled: &Recalled<'_>, mut way: Way, mut first: Option<(Decision, Vec<Claim>)>) -> End {
        let mut does_not_fit = false;
        // Each turn either ends or applies one more rule, of which each acts once; a turn beyond the bound goes as it is.
        while way.applied.len() <= STEPS_MAX {
            let (decision, claims) = first.take().unwrap_or_else(|| self.ask(recalled, &way, does_not_fit));
            match decision.verdict {
                Verdict::Refuse(refused) => {
                    let rule = decision.rule.unwrap_or_else(|| "(no rule)".into());
                    return End::Refused { rule, why: refused.message };
                }
                Verdict::Swap(swap) => {
                    let rule = decision.rule.unwrap_or_else(|| "(no rule)".into());
                    match self.swapped(recalled, &way, &swap, &rule) {
                        Some(end) => return end,
                        None if swap.otherwise == Otherwise::Refuse => {
                            return End::Refused { rule, why: "no target of the swap could serve".into() };
                        }
                        None => way.applied.push(rule),
                    }
                }
                Verdict::Clamp { output_tokens } => {
                    let rule = decision.rule.unwrap_or_else(|| "(no rule)".into());
                    way = clamped(recalled, way, output_tokens, &rule);
                    way.applied.push(rule);
                }
                Verdict::Reroute { provider } => {
                    let rule = decision.rule.unwrap_or_else(|| "(no rule)".into());
                    way = self.rerouted(recalled, way, provider, &rule);
                }
                Verdict::Admit | Verdict::Count => match self.fitted(recalled, way, claims) {
                    Ok(end) => return end,
                    Err((_, budget)) if does_not_fit => {
                        return End::Refused { rule: budget, why: "the budget has no room".into() };
                    }
                    Err((back, _)) => (way, does_not_fit) = (*back, true),
                },
            }
        }
        let claims = self.ask(recalled, &way, false).1;
        End::Goes(Box::new(way), claims)
    }

    /// The rules' answer, with what each demand will have spent.
    fn ask(&self, recalled: &Recalled<'_>, way: &Way, does_not_fit: bool) -> (Decision, Vec<Claim>) {
        let question = self.question(recalled, way, does_not_fit);
        let rules = &self.premises.rules;
        let instances = rules.instances(&question);
        let balances: Vec<_> = instances
            .into_iter()
            .map(|instance| {
                let balance = self.book.balance(&instance);
                (instance, balance)
            })
            .collect();
        let decision = rules.decide(&question, &balances);
        let claims = decision.demands.iter().map(|demand| claim(demand, way)).collect();
        (decision, claims)
    }

    fn question<'q>(&self, recalled: &'q Recalled<'_>, way: &'q Way, does_not_fit: bool) -> Question<'q> {
        let bound = recalled.bound(way.output_bound);
        let row = recalled.row;
        let computed = way.model.as_ref().and_then(|model| model.ceiling(&bound, &recalled.terms, row.started_at));
        Question {
            caller: &recalled.caller,
            attribution: &recalled.attribution,
            facts: &recalled.facts,
            operation: recalled.operation,
            dialect: recalled.dialect,
            metered: recalled.metered,
            // The method is not kept; an unmetered call is given the benefit of the doubt.
            reads_only: !recalled.metered,
            provider: &way.provider,
            upstream_model: way.model_name.as_deref(),
            model: way.model.as_deref(),
            bound,
            input_is_counted: true,
            terms: &recalled.terms,
            ceiling: if recalled.metered { computed } else { None },
            estimate: row.estimate.filter(|_| way.steps.is_empty()).or(way.cost),
            bounded_by_context: recalled.facts.server_tools,
            refuses_swaps: false,
            does_not_fit,
            applied: &way.applied,
            now: row.started_at,
        }
    }

    /// Whether the budgets have room: as it is, else with less output; else the budget that stands in the way.
    fn fitted(&self, recalled: &Recalled<'_>, way: Way, claims: Vec<Claim>) -> Result<End, (Box<Way>, Arc<str>)> {
        let blocking = self.book.blocking(&claims);
        let Some(first) = blocking.first() else { return Ok(End::Goes(Box::new(way), claims)) };
        let budget = Arc::clone(&first.demand.instance.budget.name);
        // A stream is cut where nothing more can be held; a whole answer is clamped where the budget allows.
        let may_cut = blocking.iter().all(|claim| recalled.row.stream || claim.demand.instance.budget.clamp);
        let output = way.usage.output_tokens();
        let fits = |tokens: u64| {
            let cut = Way { usage: cut_output(&way.usage, tokens), ..way.clone() };
            let cut = Way { cost: cost_of(recalled, &cut), ..cut };
            let with_room = |blocked: &&Claim| {
                u128::from(spends(blocked.demand.instance.budget.unit, &cut, u64::MAX))
                    <= self.book.left(&blocked.demand.instance)
            };
            blocking.iter().all(with_room)
        };
        if !may_cut || output <= OUTPUT_TOKENS_MIN || !fits(OUTPUT_TOKENS_MIN) {
            return Err((Box::new(way), budget));
        }
        let (mut fitting, mut above) = (OUTPUT_TOKENS_MIN, output);
        while above - fitting > 1 {
            let middle = fitting + (above - fitting) / 2;
            if fits(middle) { fitting = middle } else { above = middle }
        }
        let way = clamped(recalled, way, fitting, &budget);
        let claims = claims.iter().map(|before| claim(&before.demand, &way)).collect();
        Ok(End::Goes(Box::new(way), claims))
    }

    /// The first target that can serve and is let through.
    fn swapped(&mut self, recalled: &Recalled<'_>, way: &Way, swap: &Swap, rule: &Arc<str>) -> Option<End> {
        for text in swap.targets.iter() {
            let Some((provider, name, model)) = self.target(recalled, way, text) else { continue };
            let mut next = Way { provider, model_name: Some(name), model: Some(model), ..way.clone() };
            next.output_bound = next.output_bound.min(max_output(&next));
            next.usage = cut_output(&next.usage, max_output(&next));
            next.cost = cost_of(recalled, &next);
            next.steps.push(Step::Swapped { rule: Arc::clone(rule), saved: saved(way.cost, next.cost) });
            next.applied.push(Arc::clone(rule));
            match self.follow(recalled, next, None) {
                End::Refused { .. } => {}
                goes => return Some(goes),
            }
        }
        None
    }

    /// Where a swap's text leads, if the model there can serve the call.
    fn target(
        &mut self,
        recalled: &Recalled<'_>,
        way: &Way,
        text: &Arc<str>,
    ) -> Option<(Arc<str>, Arc<str>, Arc<Model>)> {
        let catalog = Arc::clone(&self.premises.catalog);
        let speaks = |provider: &Arc<str>| self.premises.providers.get(provider) == Some(&recalled.dialect);
        let is_provider = |name: &str| self.premises.providers.contains_key(name);
        let Place { provider, name } = target::place(&catalog, &way.provider, text, is_provider, speaks)?;
        if provider != way.provider && !speaks(&provider) {
            return None;
        }
        let model = self.memory.model(&catalog, &provider, &name)?;
        let wanted =
            Wanted { now: recalled.row.started_at, before: way.model.as_deref(), needs: &recalled.facts.needs };
        let can = target::objection(&model, &wanted).is_none();
        let has_room = target::has_room(&model, recalled.row.usage.input_tokens(), None);
        (has_room && can).then_some((provider, name, model))
    }

    fn rerouted(&mut self, recalled: &Recalled<'_>, mut way: Way, provider: Arc<str>, rule: &Arc<str>) -> Way {
        way.applied.push(Arc::clone(rule));
        if provider == way.provider || self.premises.providers.get(&provider) != Some(&recalled.dialect) {
            return way;
        }
        let catalog = Arc::clone(&self.premises.catalog);
        let before = way.cost;
        way.model = way.model_name.as_ref().and_then(|name| self.memory.model(&catalog, &provider, name));
        way.provider = provider;
        way.cost = cost_of(recalled, &way);
        way.steps.push(Step::Rerouted { rule: Arc::clone(rule), saved: saved(before, way.cost) });
        way
    }
}

/// It went to the same model of the same provider, with all of its output.
fn is_as_it_was(row: &EventRow, way: &Way) -> bool {
    let sent = row.upstream_model.as_ref().or(row.requested_model.as_ref());
    let same_provider = row.provider.as_ref().is_none_or(|provider| *provider == way.provider);
    same_provider && sent == way.model_name.as_ref() && way.usage == row.usage
}

fn clamped(recalled: &Recalled<'_>, way: Way, output_tokens: u64, rule: &Arc<str>) -> Way {
    let before = way.cost;
    let usage = cut_output(&way.usage, output_tokens);
    let is_cut = usage != way.usage;
    let mut next = Way { usage, output_bound: way.output_bound.min(output_tokens), ..way };
    if is_cut {
        next.cost = cost_of(recalled, &next);
        next.steps.push(Step::Clamped { rule: Arc::clone(rule), saved: saved(before, next.cost) });
    }
    next
}

fn cost_of(recalled: &Recalled<'_>, way: &Way) -> Option<Usd> {
    price(way.model.as_deref()?, &way.usage, &recalled.terms, recalled.row.started_at)
}

fn saved(before: Option<Usd>, after: Option<Usd>) -> Option<i128> {
    Some(before?.widen() - after?.widen())
}

fn max_output(way: &Way) -> u64 {
    way.model.as_ref().and_then(|model| model.max_output_tokens).unwrap_or(u64::MAX)
}

fn claim(demand: &Demand, way: &Way) -> Claim {
    Claim { actual: spends(demand.instance.budget.unit, way, demand.amount), demand: demand.clone() }
}

/// What a call spends of a budget; where that is not known, the whole hold: unknown is never zero.
fn spends(unit: Unit, way: &Way, held: u64) -> u64 {
    match unit {
        Unit::PicoUsd => way.cost.map_or(held, |cost| u64::try_from(cost.as_pico()).unwrap_or(0)),
        Unit::Tokens => way.usage.input_tokens().saturating_add(way.usage.output_tokens()),
        Unit::Requests => 1,
    }
}

/// When the oldest window began that still counts at this moment, and the budgets that have such windows: their spend
/// until then is the ledger's own. `None`: no window is older.
pub fn windows_begin(rules: &RuleSet, from: Timestamp) -> Option<(Timestamp, Vec<Arc<str>>)> {
    let mut begun: Option<(Timestamp, Vec<Arc<str>>)> = None;
    for budget in rules.budgets(from).into_iter().filter(|budget| !budget.is_rate_limit) {
        let window = budget.window.at(from);
        let start = window.start.min(window.counts_from);
        if start < from {
            let (oldest, names) = begun.get_or_insert((start, Vec::new()));
            *oldest = start.min(*oldest);
            names.push(Arc::clone(&budget.name));
        }
    }
    begun
}
