//! The tests that stand in a rules file: given a caller, a request, what was spent and a time, the decision.

use super::condition::Need;
use super::syntax::Known;
use super::target::{self, Place, Wanted};
use super::{Decision, OUTPUT_TOKENS_MIN, Otherwise, Question, RuleSet, Tried, Verdict, affordable_output};
use crate::budget::book::Unit;
use crate::budget::{Balance, Demand, Instance};
use crate::catalog::{Catalog, Model, Pricing, Terms};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation};
use crate::money::Usd;
use crate::tenants::{Attribution, Caller};
use crate::tokens::facts::RequestFacts;
use crate::tokens::usage::{Kind, TokenUsage};
use std::sync::Arc;

/// One test, as read.
#[derive(Clone, Debug, Default)]
pub struct SelfTest {
    pub name: Arc<str>,
    /// `rules/team.yaml:40`
    pub place: Arc<str>,
    pub caller: Caller,
    pub attribution: Attribution,
    pub request: Request,
    /// Of budgets by name, in their units; all of it in the instance that the call is counted in.
    pub spent: Vec<(Arc<str>, u128)>,
    pub now: Timestamp,
    pub expected: Expected,
}

#[derive(Clone, Debug)]
pub struct Request {
    /// `gpt-5` or `provider/model`.
    pub model: Option<Arc<str>>,
    pub provider: Option<Arc<str>>,
    pub operation: Operation,
    pub stream: bool,
    pub input_tokens: u64,
    pub output_limit: Option<u64>,
    pub choices: u64,
    pub needs: Vec<Need>,
    pub refuses_swaps: bool,
    pub is_bounded: bool,
    pub is_metered: bool,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            model: None,
            provider: None,
            operation: Operation::Chat,
            stream: false,
            input_tokens: 1_000,
            output_limit: None,
            choices: 1,
            needs: Vec::new(),
            refuses_swaps: false,
            is_bounded: true,
            is_metered: true,
        }
    }
}

/// What must come of it; what is not written is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// `admit`, `swap`, `clamp`, `reroute`, `refuse`.
    pub decision: &'static str,
    pub rule: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub provider: Option<Arc<str>>,
    pub output_tokens: Option<u64>,
    pub says: Option<Arc<str>>,
    pub warns: Vec<Arc<str>>,
}

/// What came of a test.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// `admit`, `swap`, `clamp`, `reroute`, `refuse`.
    pub decision: &'static str,
    /// The rule that made it: the last one that acted, or that refused.
    pub rule: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub provider: Arc<str>,
    /// The output limit of one answer in the end.
    pub output_tokens: u64,
    /// Reason, and message if it was refused.
    pub says: String,
    pub warns: Vec<Arc<str>>,
    /// Every rule that was tried, each time that the rules were asked.
    pub tried: Vec<Vec<Tried>>,
    /// What is not as the test expects; empty: it passed.
    pub faults: Vec<String>,
}

/// Asks the rules as the proxy would, against a book in which only the test's sums were spent.
pub fn run(rules: &RuleSet, test: &SelfTest, known: &Known<'_>) -> Outcome {
    let nothing = Catalog::default();
    let catalog = known.catalog.unwrap_or(&nothing);
    let mut course = Course::new(test, catalog, known);
    course.run(rules);
    let mut outcome = course.outcome;
    outcome.provider = course.provider;
    outcome.model = course.model;
    outcome.output_tokens = course.output_each;
    outcome.faults = faults(&test.expected, &outcome);
    outcome
}

/// More changes of one request are a circle.
const STEPS_MAX: usize = 12;
/// Where neither the call nor the catalog says so: the setting `output_tokens_default`.
const OUTPUT_TOKENS_DEFAULT: u64 = 4_096;
/// What the proxy expects of an answer.
const OUTPUT_TOKENS_EXPECTED: u64 = 500;

/// One request on its way through the rules.
struct Course<'t> {
    test: &'t SelfTest,
    catalog: &'t Catalog,
    providers: &'t [Arc<str>],
    facts: RequestFacts,
    provider: Arc<str>,
    model: Option<Arc<str>>,
    output_each: u64,
    applied: Vec<Arc<str>>,
    does_not_fit: bool,
    outcome: Outcome,
}

/// What a decision leads to.
enum Next {
    Ask,
    Done,
}

impl<'t> Course<'t> {
    fn new(test: &'t SelfTest, catalog: &'t Catalog, known: &'t Known<'_>) -> Self {
        let request = &test.request;
        let mut facts = RequestFacts {
            requested_model: request.model.clone(),
            stream: request.stream,
            output_limit: request.output_limit,
            choices: request.choices,
            server_state: !request.is_bounded,
            ..RequestFacts::default()
        };
        for need in &request.needs {
            need.ask(&mut facts.needs);
        }
        let mut course = Course {
            test,
            catalog,
            providers: known.providers,
            facts,
            provider: request.provider.clone().unwrap_or_default(),
            model: None,
            output_each: 0,
            applied: Vec::new(),
            does_not_fit: false,
            outcome: Outcome { decision: "admit", ..Outcome::default() },
        };
        if let Some(model) = &request.model {
            course.go_to(model);
        }
        if course.provider.is_empty() {
            course.provider = known.providers.first().cloned().unwrap_or_else(|| "openai".into());
        }
        course.output_each = course.most_output();
        course
    }

    /// `gpt-5`, or `provider/model`.
    fn go_to(&mut self, target: &Arc<str>) {
        let is_chosen = self.test.request.provider.is_some() && !target.contains('/');
        let Place { provider, name } = self.place_of(target, self.providers);
        if !is_chosen {
            self.provider = provider;
        }
        self.model = Some(name);
    }

    fn offer(&self) -> Option<Arc<Model>> {
        self.catalog.resolve(&self.provider, self.model.as_deref()?).map(|offer| offer.model)
    }

    fn most_output(&self) -> u64 {
        let has_output =
            matches!(self.test.request.operation, Operation::Chat | Operation::Completion | Operation::Responses);
        let of_model = self.offer().and_then(|model| model.max_output_tokens);
        let asked = self.test.request.output_limit;
        match (asked, of_model) {
            _ if !has_output => 0,
            (Some(asked), Some(most)) => asked.min(most),
            (asked, most) => asked.or(most).unwrap_or(OUTPUT_TOKENS_DEFAULT),
        }
    }

    fn run(&mut self, rules: &RuleSet) {
        for _ in 0..STEPS_MAX {
            if matches!(self.step(rules), Next::Done) {
                return;
            }
        }
        self.outcome.says = "the rules change this call again and again".to_owned();
    }

    fn step(&mut self, rules: &RuleSet) -> Next {
        let (offer, terms) = (self.offer(), Terms::default());
        let (facts, provider, model) = (self.facts.clone(), Arc::clone(&self.provider), self.model.clone());
        let applied = self.applied.clone();
        let request = &self.test.request;
        let bound = TokenUsage::ZERO
            .with(Kind::Input, request.input_tokens)
            .with(Kind::Output, self.output_each.saturating_mul(request.choices));
        let expected = bound.with(Kind::Output, bound[Kind::Output].min(OUTPUT_TOKENS_EXPECTED));
        let now = self.test.now;
        let priced = offer.as_deref().filter(|_| request.is_metered);
        let question = Question {
            caller: &self.test.caller,
            attribution: &self.test.attribution,
            facts: &facts,
            operation: request.operation,
            dialect: dialect_of(&provider),
            metered: request.is_metered,
            reads_only: false,
            provider: &provider,
            upstream_model: model.as_deref(),
            model: offer.as_deref(),
            bound,
            input_is_counted: true,
            terms: &terms,
            ceiling: priced.and_then(|model| model.ceiling(&bound, &terms, now)),
            estimate: priced.and_then(|model| match model.price(&expected, &terms, now) {
                Pricing::Priced(cost) => Some(cost.total),
                Pricing::Unpriced(_) | Pricing::Unmetered => None,
            }),
            bounded_by_context: !request.is_bounded,
            refuses_swaps: request.refuses_swaps,
            does_not_fit: self.does_not_fit,
            applied: &applied,
            now,
        };
        let balances: Vec<(Arc<Instance>, Balance)> = rules
            .instances(&question)
            .into_iter()
            .map(|instance| (Arc::clone(&instance), self.balance(&instance)))
            .collect();
        let (decision, tried) = rules.explain(&question, &balances);
        self.outcome.tried.push(tried);
        self.outcome.warns = decision.warnings.iter().map(|warning| Arc::clone(&warning.rule)).collect();
        self.follow(&decision, &question, &balances)
    }

    fn balance(&self, instance: &Instance) -> Balance {
        let spent = self.test.spent.iter().find(|(name, _)| **name == *instance.budget.name);
        Balance { spent: spent.map_or(0, |(_, amount)| *amount), held: 0, limit: instance.budget.limit }
    }

    fn follow(&mut self, decision: &Decision, question: &Question<'_>, balances: &[(Arc<Instance>, Balance)]) -> Next {
        let rule = decision.rule.clone();
        match &decision.verdict {
            Verdict::Admit => return self.reserve(decision, question, balances),
            Verdict::Count => return self.end("refuse", rule, "the input was counted, and the rules ask again"),
            Verdict::Refuse(refused) => {
                return self.end("refuse", rule, &format!("{} ({})", refused.message, decision.why));
            }
            Verdict::Swap(swap) => {
                let taken = swap.targets.iter().find(|target| self.can_serve(target));
                match (taken.cloned(), swap.otherwise) {
                    (Some(target), _) => {
                        self.go_to(&target);
                        self.output_each = self.output_each.min(self.most_output());
                        self.does_not_fit = false;
                        self.acted("swap", rule.clone(), &decision.why);
                    }
                    (None, Otherwise::Admit) => {}
                    (None, Otherwise::Refuse) => {
                        return self.end("refuse", rule, "no target of the swap can serve the call");
                    }
                }
            }
            Verdict::Clamp { output_tokens } => {
                self.output_each = *output_tokens;
                self.acted("clamp", rule.clone(), &decision.why);
            }
            Verdict::Reroute { provider } => {
                self.provider = Arc::clone(provider);
                self.acted("reroute", rule.clone(), &decision.why);
            }
        }
        self.applied.extend(rule);
        Next::Ask
    }

    /// Where a target's name leads; one that the catalog does not know anywhere is taken at its word.
    fn place_of(&self, target: &Arc<str>, providers: &[Arc<str>]) -> Place {
        let is_provider = |name: &str| {
            providers.iter().any(|known| **known == *name)
                || self.catalog.providers().iter().any(|known| *known.name == *name)
        };
        let may_go = |name: &Arc<str>| providers.is_empty() || providers.contains(name);
        let led = target::place(self.catalog, &self.provider, target, is_provider, may_go);
        let anywhere = || target::place(self.catalog, &self.provider, target, is_provider, |_| true);
        led.or_else(anywhere)
            .unwrap_or_else(|| Place { provider: Arc::clone(&self.provider), name: Arc::clone(target) })
    }

    /// A target that cannot serve the call is skipped; one that the catalog does not know is taken.
    fn can_serve(&self, target: &Arc<str>) -> bool {
        let Place { provider, name } = self.place_of(target, self.providers);
        let before = self.offer();
        let wanted = Wanted { now: self.test.now, before: before.as_deref(), needs: &self.facts.needs };
        self.catalog.resolve(&provider, &name).is_none_or(|offer| {
            let request = &self.test.request;
            target::objection(&offer.model, &wanted).is_none()
                && target::has_room(&offer.model, request.input_tokens, request.output_limit)
        })
    }

    /// The book's word, and what the proxy does when it is no: a lower output limit, a swap that waits for it, a refusal.
    fn reserve(&mut self, decision: &Decision, question: &Question<'_>, balances: &[(Arc<Instance>, Balance)]) -> Next {
        let short: Vec<(&Demand, Balance)> = decision
            .demands
            .iter()
            .filter(|demand| demand.binds)
            .filter_map(|demand| {
                let (_, balance) = balances.iter().find(|(instance, _)| instance.account == demand.instance.account)?;
                (u128::from(demand.amount) > balance.available()).then_some((demand, *balance))
            })
            .collect();
        let Some((first, _)) = short.first() else { return Next::Done };
        let affordable = short.iter().map(|(demand, balance)| affordable_of(demand, *balance, question)).min();
        let may_clamp = short.iter().all(|(demand, _)| demand.instance.budget.clamp);
        if let Some(output) = affordable.filter(|output| may_clamp && *output >= OUTPUT_TOKENS_MIN) {
            if self.test.request.stream {
                // Held in slices while it streams.
                return Next::Done;
            }
            if output < self.output_each {
                self.output_each = output;
                self.acted(
                    "clamp",
                    Some(Arc::clone(&first.instance.budget.name)),
                    "the output limit is what is left of the budget",
                );
                return Next::Ask;
            }
        }
        if !self.does_not_fit {
            self.does_not_fit = true;
            return Next::Ask;
        }
        let names: Vec<&str> = short.iter().map(|(demand, _)| &*demand.instance.budget.name).collect();
        let why = format!("no room in {}", names.join(", "));
        self.end("refuse", Some(Arc::clone(&first.instance.budget.name)), &why)
    }

    fn acted(&mut self, decision: &'static str, rule: Option<Arc<str>>, why: &str) {
        (self.outcome.decision, self.outcome.rule, self.outcome.says) = (decision, rule, why.to_owned());
    }

    fn end(&mut self, decision: &'static str, rule: Option<Arc<str>>, why: &str) -> Next {
        self.acted(decision, rule, why);
        Next::Done
    }
}

/// The output limit of one answer that fits into what is left.
fn affordable_of(demand: &Demand, balance: Balance, question: &Question<'_>) -> u64 {
    let left = u64::try_from(balance.available()).unwrap_or(u64::MAX);
    match demand.instance.budget.unit {
        Unit::PicoUsd => {
            let left = Usd::from_pico(i64::try_from(left).unwrap_or(i64::MAX));
            affordable_output(question, left).unwrap_or(0)
        }
        Unit::Tokens => left.saturating_sub(question.bound.input_tokens()) / question.facts.choices.max(1),
        Unit::Requests => 0,
    }
}

fn dialect_of(provider: &str) -> Dialect {
    match provider {
        "anthropic" => Dialect::Anthropic,
        "gemini" => Dialect::Gemini,
        _ => Dialect::OpenAi,
    }
}

fn faults(expected: &Expected, outcome: &Outcome) -> Vec<String> {
    let mut faults = Vec::new();
    let mut differs = |what: &str, expected: &str, found: &str| {
        if expected != found {
            faults.push(format!("{what}: expected {expected}, found {found}"));
        }
    };
    differs("decision", expected.decision, outcome.decision);
    if let Some(rule) = &expected.rule {
        differs("rule", rule, outcome.rule.as_deref().unwrap_or("none"));
    }
    if let Some(model) = &expected.model {
        differs("model", model, outcome.model.as_deref().unwrap_or("none"));
    }
    if let Some(provider) = &expected.provider {
        differs("provider", provider, &outcome.provider);
    }
    if let Some(tokens) = expected.output_tokens {
        differs("output_tokens", &tokens.to_string(), &outcome.output_tokens.to_string());
    }
    if let Some(says) = expected.says.as_deref().filter(|says| !outcome.says.contains(*says)) {
        faults.push(format!("says: expected `{says}` in `{}`", outcome.says));
    }
    for rule in expected.warns.iter().filter(|rule| !outcome.warns.contains(rule)) {
        faults.push(format!("warns: expected a warning of {rule}"));
    }
    faults
}
