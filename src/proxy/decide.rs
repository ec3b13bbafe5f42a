//! The decision about one attempt: what the rules say, and whether the budgets have room.
//!
//! A request follows a *course*: a target and what may be changed for it. The rules are asked about a course; a swap, a
//! clamp or a reroute makes another course, about which they are asked again, each rule at most once. A swap is a
//! *fork*: its targets are tried in order, and the reason why one was passed over is kept. What no rule objects to must
//! fit into its budgets (`fit`); then it is admitted, and the journal has it.
//!
//! A preview goes the same way with nothing taken and nothing held, so what it says is what the next call gets.

use super::attempt::Run;
use super::fit::{self, Fit};
use super::foresee::{Foreseen, Known, foresee, question};
use super::limits::{Passes, Reached};
use super::offer::{self, Target};
use super::refusal;
use super::swap::{self, Adapted};
use crate::budget::book::Blocked;
use crate::budget::{Balance, Demand, Hardness, Instance};
use crate::dialects::{Refusal, RefusalKind};
use crate::ledger::reservation::Reservation;
use crate::rules::{CallLimit, Decision, Otherwise, Question, RuleSet, Swap, Tried, Verdict, Warning};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// Swaps behind one another.
const SWAPS_MAX: usize = 4;
/// Courses that are tried for one attempt, all forks together.
const COURSES_MAX: usize = 64;

const PASSED_OVER: &str = "passed over";

/// Where an attempt goes, and how.
#[derive(Clone)]
pub struct Course<'a> {
    pub target: Cow<'a, Target>,
    pub foreseen: Foreseen,
    /// `None`: there are no rules.
    pub ruled: Option<Box<Ruled>>,
}

/// What rules and budgets made of a request.
#[derive(Clone, Default)]
pub struct Ruled {
    pub known: Known,
    /// Rules that acted; each acts once.
    pub applied: Vec<Arc<str>>,
    /// The word in the ledger, and the rule behind it.
    pub action: Option<&'static str>,
    pub rule: Option<Arc<str>>,
    pub why: Option<Arc<str>>,
    pub swapped_from: Option<Arc<str>>,
    pub swap_rule: Option<Arc<str>>,
    pub adapted: Adapted,
    pub warnings: Vec<Warning>,
    /// What was held, or would be.
    pub demands: Vec<Demand>,
    /// Of a stream that is held in slices: what the whole would want.
    pub whole_demands: Vec<Demand>,
    pub balances: Vec<(Arc<Instance>, Balance)>,
    pub call_limits: Vec<CallLimit>,
    /// Held in slices: what was held at first, output tokens of all answers.
    pub slice: Option<u64>,
    /// The budgets had no room, whatever was tried.
    pub blocked: Option<Vec<Blocked>>,
    /// What happened on the way here.
    pub steps: Vec<Step>,
    /// For a preview: what the rules tried, each time they were asked.
    pub explained: Vec<Explained>,
}

/// The rules, asked about one course.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Explained {
    pub model: Option<Arc<str>>,
    pub rules: Vec<Tried>,
}

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    pub action: &'static str,
    pub rule: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub why: String,
}

/// A course that may be followed.
pub struct Admitted<'a> {
    pub course: Course<'a>,
    /// `None` for a preview.
    pub held: Option<Held>,
}

/// What an admitted attempt holds.
pub struct Held {
    pub reservation: Reservation,
    /// Its place among the calls under way at its provider.
    pub slot: Option<OwnedSemaphorePermit>,
    /// When it was asked for; only in a trace.
    pub asked: Option<Instant>,
}

/// A no, and the course that ended there.
pub struct Refused<'a> {
    pub refusal: Refusal,
    pub course: Option<Course<'a>>,
}

/// Who asks: an attempt that is to be made, or somebody who only wants to know.
pub enum Errand<'p> {
    Attempt(&'p mut Passes),
    Preview,
}

/// A swap's targets, being tried.
struct Fork<'a> {
    base: Course<'a>,
    swap: Swap,
    rule: Option<Arc<str>>,
    why: Arc<str>,
    tried: usize,
    /// What is said when no target can serve and the rule does not go on without.
    refusal: Option<Refusal>,
    passed_over: Vec<Step>,
}

enum Next<'a> {
    Admitted(Admitted<'a>),
    Course(Course<'a>),
    Fork(Box<Fork<'a>>),
    No(Refused<'a>),
}

impl<'a> Run<'a> {
    /// Decides about this attempt. Without rules nothing is asked, and what is left is the journal.
    pub async fn decide(&self, mut errand: Errand<'_>) -> Result<Admitted<'a>, Box<Refused<'a>>> {
        let foreseen = foresee(self.proxy, self.arrived, self.asked, self.target, Known::default());
        let mut course = Course { target: Cow::Borrowed(self.target), foreseen, ruled: None };
        if self.proxy.rules.load().is_empty() {
            return match self.hold(&course, Vec::new(), std::time::Duration::ZERO, &errand).await {
                Ok(held) => Ok(Admitted { course, held }),
                Err(fit::NotHeld::Refused(refusal)) => Err(Box::new(Refused { refusal, course: Some(course) })),
                Err(fit::NotHeld::Blocked(blocked)) => Err(Box::new(self.over_budget(course, blocked))),
            };
        }
        let rules = self.proxy.rules.load_full();
        course.ruled = Some(Box::default());
        let mut forks: Vec<Fork<'a>> = Vec::new();
        for _ in 0..COURSES_MAX {
            // Boxed: where there are no rules, each call would carry its room.
            let refused = match Box::pin(self.follow(&rules, course, &mut errand)).await {
                Next::Admitted(admitted) => return Ok(admitted),
                Next::Course(next) => {
                    course = next;
                    continue;
                }
                Next::Fork(fork) if forks.len() < SWAPS_MAX => {
                    forks.push(*fork);
                    None
                }
                Next::Fork(fork) => Some(Refused { refusal: too_many(&fork), course: Some(fork.base) }),
                Next::No(refused) => Some(refused),
            };
            course = self.next_course(&mut forks, refused).await?;
        }
        let why = "The rules send this request from one model to the next without an end. Nothing was sent.";
        Err(Box::new(Refused { refusal: refusal::because(RefusalKind::Internal, why), course: None }))
    }

    /// Asks the rules about a course, and the budgets when the rules have no objection.
    async fn follow(&self, rules: &RuleSet, mut course: Course<'a>, errand: &mut Errand<'_>) -> Next<'a> {
        let asked = self.question(&course);
        let instances = rules.instances(&asked);
        let admission = self.proxy.ledger.admission();
        let balances = if instances.is_empty() { Vec::new() } else { admission.balances(&instances).await };
        let decision = match errand {
            Errand::Attempt(_) => rules.decide(&asked, &balances),
            Errand::Preview => {
                let (decision, tried) = rules.explain(&asked, &balances);
                course.explained(tried);
                decision
            }
        };
        course.note(&decision, balances);
        if let Err(reached) = self.take_limits(&mut course, &decision.call_limits, errand) {
            let refusal = refusal::limit_reached(&reached);
            course.step("refuse", Some(Arc::clone(&reached.limit.rule)), refusal.message.clone());
            return Next::No(Refused { refusal, course: Some(course) });
        }
        match decision.verdict {
            Verdict::Admit => match self.fit(&mut course, decision.demands, errand).await {
                Fit::Held(held) => Next::Admitted(Admitted { course, held }),
                Fit::Changed => Next::Course(course),
                Fit::Refused(refusal) => Next::No(Refused { refusal, course: Some(course) }),
                Fit::Blocked(blocked) => Next::No(self.over_budget(course, blocked)),
            },
            Verdict::Swap(swap) => {
                let blocked = course.ruled.as_deref().and_then(|ruled| ruled.blocked.clone());
                let refusal = blocked.map(|blocked| self.over_budget(course.clone(), blocked).refusal);
                let (rule, why) = (decision.rule, decision.why);
                let fork = Fork { base: course, swap, rule, why, tried: 0, refusal, passed_over: Vec::new() };
                Next::Fork(Box::new(fork))
            }
            Verdict::Clamp { output_tokens } => {
                course.clamp(self, output_tokens, decision.rule, &decision.why);
                Next::Course(course)
            }
            Verdict::Reroute { provider } => {
                Next::Course(self.reroute(course, &provider, decision.rule, &decision.why))
            }
            Verdict::Count => {
                self.count(&mut course).await;
                Next::Course(course)
            }
            Verdict::Refuse(refused) => {
                let refusal = Refusal {
                    kind: refused.kind,
                    message: refused.message.to_string(),
                    member: None,
                    retry_after_seconds: refused.retry_after_seconds,
                };
                course.step("refuse", decision.rule, decision.why.to_string());
                Next::No(Refused { refusal, course: Some(course) })
            }
        }
    }

    pub fn question<'q>(&'q self, course: &'q Course<'_>) -> Question<'q> {
        let plain = question(self.proxy, self.arrived, self.asked, &course.target, &course.foreseen);
        match course.ruled.as_deref() {
            None => plain,
            Some(ruled) => Question {
                input_is_counted: ruled.known.input.is_some(),
                does_not_fit: ruled.blocked.is_some(),
                applied: &ruled.applied,
                ..plain
            },
        }
    }

    fn take_limits(
        &self,
        course: &mut Course<'_>,
        limits: &[CallLimit],
        errand: &mut Errand<'_>,
    ) -> Result<(), Reached> {
        for limit in limits {
            let taken = match errand {
                Errand::Attempt(passes) => self.proxy.limits.take(std::slice::from_ref(limit), passes),
                Errand::Preview => self.proxy.limits.would_pass(limit),
            };
            match taken {
                Err(reached) if limit.hardness == Hardness::Hard => return Err(reached),
                Err(reached) => course.warn(Warning {
                    rule: Arc::clone(&limit.rule),
                    message: refusal::limit_reached(&reached).message.into(),
                }),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// The next target of the innermost fork. A fork without a further target ends: its rule goes on with the model that
    /// was asked for, or says no to the fork before it.
    async fn next_course(
        &self,
        forks: &mut Vec<Fork<'a>>,
        mut refused: Option<Refused<'a>>,
    ) -> Result<Course<'a>, Box<Refused<'a>>> {
        loop {
            let Some(fork) = forks.last_mut() else {
                let nothing = || Refused {
                    refusal: refusal::because(RefusalKind::Internal, "The rules led nowhere. Nothing was sent."),
                    course: None,
                };
                return Err(Box::new(refused.unwrap_or_else(nothing)));
            };
            if let Some(Refused { refusal, course }) = refused.take() {
                fork.pass_over(course.and_then(|course| course.target.model.clone()), refusal.message);
            }
            while let Some(name) = fork.swap.targets.get(fork.tried).cloned() {
                fork.tried += 1;
                let said = (&*fork.why, &*fork.passed_over);
                match swap::course(self, &fork.base, &name, fork.rule.as_ref(), said).await {
                    Ok(course) => return Ok(course),
                    Err(why) => fork.pass_over(Some(name), why),
                }
            }
            let Some(fork) = forks.pop() else { continue };
            match fork.without_a_target() {
                Ok(course) => return Ok(course),
                Err(no) => refused = Some(*no),
            }
        }
    }

    fn reroute(&self, course: Course<'a>, provider: &Arc<str>, rule: Option<Arc<str>>, why: &str) -> Course<'a> {
        let catalog = self.proxy.catalog.load();
        let requested = self.asked.facts.requested_model.as_deref();
        let mut course = course;
        let target = offer::rerouted_target(self.proxy, &catalog, self.arrived, requested, &course.target, provider)
            .and_then(|target| self.serves_as_well(&course.target, target));
        match target {
            Ok(target) => {
                if let (Some(ruled), Some(offer)) = (&mut course.ruled, &target.offer) {
                    ruled.adapted = swap::adapted(self, &target, &offer.model);
                }
                course.target = Cow::Owned(target);
                course.acted("reroute", rule, why.to_owned());
                self.foresee(&mut course);
            }
            Err(reason) => course.apply("not rerouted", rule, format!("{why}; but {reason}")),
        }
        course
    }

    /// Another provider's model of the same name must be able to do what the one before could.
    fn serves_as_well(&self, before: &Target, target: Target) -> Result<Target, String> {
        if let Some(offer) = target.offer.as_ref().filter(|_| !Arc::ptr_eq(&before.provider, &target.provider)) {
            swap::can_serve(self, before, &target, &offer.model)?;
        }
        Ok(target)
    }

    /// Foresees a course again after it was changed.
    pub fn foresee(&self, course: &mut Course<'_>) {
        let known = course.ruled.as_deref().map(|ruled| ruled.known).unwrap_or_default();
        course.foreseen = foresee(self.proxy, self.arrived, self.asked, &course.target, known);
    }

    fn over_budget(&self, course: Course<'a>, blocked: Vec<Blocked>) -> Refused<'a> {
        let affordable = fit::affordable(self, &course, &blocked, 1);
        let mut refusal = refusal::over_budget(&blocked, &course.foreseen, affordable, self.proxy.clock.now());
        let mut course = course;
        if let Some(tried) = course.ruled.as_deref().and_then(|ruled| tried_instead(&ruled.steps)) {
            refusal.message.push_str(&tried);
        }
        let rule = blocked.first().map(|blocked| Arc::clone(&blocked.instance.budget.name));
        course.step("refuse", rule, refusal.message.clone());
        Refused { refusal, course: Some(course) }
    }
}

impl<'a> Fork<'a> {
    fn pass_over(&mut self, model: Option<Arc<str>>, why: String) {
        self.passed_over.push(Step { action: PASSED_OVER, rule: self.rule.clone(), model, why });
    }

    fn without_a_target(mut self) -> Result<Course<'a>, Box<Refused<'a>>> {
        if let Some(ruled) = &mut self.base.ruled {
            ruled.steps.append(&mut self.passed_over.clone());
        }
        let reasons: Vec<String> = self
            .passed_over
            .iter()
            .map(|step| format!("{}: {}", step.model.as_deref().unwrap_or("a target"), step.why))
            .collect();
        let rule = self.rule.as_deref().unwrap_or("a rule").to_owned();
        if let Some(mut refusal) = self.refusal {
            refusal.message.push_str(&tried_instead(&self.passed_over).unwrap_or_default());
            return Err(Box::new(Refused { refusal, course: Some(self.base) }));
        }
        match self.swap.otherwise {
            Otherwise::Admit => {
                let why = format!("{}; but no target can serve it ({})", self.why, reasons.join("; "));
                self.base.apply("not swapped", self.rule, why);
                Ok(self.base)
            }
            Otherwise::Refuse => {
                let message = format!(
                    "The rule `{rule}` sends this call to another model, and none can serve it ({}). Nothing was sent.",
                    reasons.join("; ")
                );
                let refusal = refusal::because(RefusalKind::Blocked, message);
                Err(Box::new(Refused { refusal, course: Some(self.base) }))
            }
        }
    }
}

impl Course<'_> {
    /// A rule sent it to another model.
    pub fn is_swapped(&self) -> bool {
        self.ruled.as_deref().is_some_and(|ruled| ruled.swapped_from.is_some())
    }

    /// Its hold is topped up while the answer flows.
    pub fn is_sliced(&self) -> bool {
        self.ruled.as_deref().is_some_and(|ruled| ruled.slice.is_some())
    }

    /// Keeps what the rules said about it.
    fn note(&mut self, decision: &Decision, balances: Vec<(Arc<Instance>, Balance)>) {
        let Some(ruled) = &mut self.ruled else { return };
        ruled.balances = balances;
        ruled.demands.clone_from(&decision.demands);
        ruled.call_limits.clone_from(&decision.call_limits);
        for warning in &decision.warnings {
            if !ruled.warnings.contains(warning) {
                ruled.warnings.push(warning.clone());
            }
        }
        if decision.verdict == Verdict::Admit && ruled.action.is_none() {
            ruled.rule.clone_from(&decision.rule);
            ruled.why = Some(Arc::clone(&decision.why));
        }
    }

    fn explained(&mut self, rules: Vec<Tried>) {
        let model = self.target.model.clone();
        if let Some(ruled) = &mut self.ruled {
            ruled.explained.push(Explained { model, rules });
        }
    }

    fn warn(&mut self, warning: Warning) {
        if let Some(ruled) = self.ruled.as_mut().filter(|ruled| !ruled.warnings.contains(&warning)) {
            ruled.warnings.push(warning);
        }
    }

    /// A rule acted: its word goes into the ledger, and it does not act again.
    pub fn acted(&mut self, action: &'static str, rule: Option<Arc<str>>, why: String) {
        if let Some(ruled) = &mut self.ruled {
            // A swap says more than the clamp that came with it.
            if ruled.action != Some("swap") {
                ruled.action = Some(action);
                ruled.rule.clone_from(&rule);
                ruled.why = Some(why.as_str().into());
            }
        }
        self.apply(action, rule, why);
    }

    fn apply(&mut self, action: &'static str, rule: Option<Arc<str>>, why: String) {
        if let (Some(ruled), Some(rule)) = (&mut self.ruled, &rule) {
            ruled.applied.push(Arc::clone(rule));
        }
        self.step(action, rule, why);
    }

    pub fn step(&mut self, action: &'static str, rule: Option<Arc<str>>, why: String) {
        let model = self.target.model.clone();
        if let Some(ruled) = &mut self.ruled {
            ruled.steps.push(Step { action, rule, model, why });
        }
    }

    /// Lowers the output limit; never raises it.
    pub fn clamp(&mut self, run: &Run<'_>, output_tokens: u64, rule: Option<Arc<str>>, why: &str) {
        if let Some(ruled) = &mut self.ruled {
            let max = ruled.known.output_max.unwrap_or(u64::MAX).min(output_tokens);
            ruled.known.output_max = Some(max);
        }
        self.acted("clamp", rule, why.to_owned());
        run.foresee(self);
    }
}

/// Which other models were tried, for a refusal.
fn tried_instead(steps: &[Step]) -> Option<String> {
    let passed = steps.iter().filter(|step| step.action == PASSED_OVER);
    let models: Vec<&str> = passed.filter_map(|step| step.model.as_deref()).collect();
    (!models.is_empty()).then(|| format!(" Tried instead, without success: {}.", models.join(", ")))
}

fn too_many(fork: &Fork<'_>) -> Refusal {
    let rule = fork.rule.as_deref().unwrap_or("a rule");
    refusal::because(
        RefusalKind::Blocked,
        format!("Rules swapped this request {SWAPS_MAX} times, and `{rule}` would once more. Nothing was sent."),
    )
}
