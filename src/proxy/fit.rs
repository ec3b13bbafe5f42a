//! Whether the budgets have room for a course, and how less can be held where they have not. Nobody is refused while
//! the true cost fits:
//!
//! 1. hold the ceiling that follows from the bytes;
//! 2. count the input exactly, and hold less;
//! 3. a stream of visible tokens is held in slices, topped up while it flows;
//! 4. anything else waits for calls under way to settle, then its output limit is lowered to what is affordable;
//! 5. the rules are asked once more, knowing that there is no room: they may swap;
//! 6. refused.

use super::attempt::Run;
use super::counting::Prompt;
use super::decide::{Course, Errand, Held};
use super::swap::limit_member;
use crate::budget::Demand;
use crate::budget::account::Unit;
use crate::budget::book::Blocked;
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation, Refusal, RefusalKind};
use crate::ledger::admission::NotAdmitted;
use crate::tokens::usage::Kind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An output limit is not lowered below this, and no slice is smaller at first.
pub const OUTPUT_TOKENS_MIN: u64 = 256;

/// What came of asking the budgets.
pub enum Fit {
    /// `None` for a preview.
    Held(Option<Held>),
    /// Something was counted or lowered: the rules are asked again.
    Changed,
    Refused(Refusal),
    Blocked(Vec<Blocked>),
}

/// Why nothing is held.
pub enum NotHeld {
    Blocked(Vec<Blocked>),
    Refused(Refusal),
}

impl<'a> Run<'a> {
    /// Holds what the course may use, or less.
    pub async fn fit(&self, course: &mut Course<'a>, demands: Vec<Demand>, errand: &Errand<'_>) -> Fit {
        if self.inject_a_limit(course, &demands) {
            return Fit::Changed;
        }
        let patience = self.proxy.ledger.admission().hold_wait_max();
        let less = self.can_count(course) || self.can_slice(course);
        let first = if less { Duration::ZERO } else { patience };
        let blocked = match self.hold(course, demands.clone(), first, errand).await {
            Ok(held) => return Fit::Held(held),
            Err(NotHeld::Refused(refusal)) => return Fit::Refused(refusal),
            Err(NotHeld::Blocked(blocked)) => blocked,
        };
        if self.can_count(course) && self.count(course).await {
            return Fit::Changed;
        }
        let blocked = match self.hold_less(course, demands, patience, less, errand).await {
            None => blocked,
            Some(Ok(held)) => return Fit::Held(held),
            Some(Err(NotHeld::Refused(refusal))) => return Fit::Refused(refusal),
            Some(Err(NotHeld::Blocked(blocked))) => blocked,
        };
        if let Some(limit) =
            affordable(self, course, &blocked, OUTPUT_TOKENS_MIN).filter(|_| self.may_clamp(course, &blocked))
        {
            let rule = blocked.first().map(|blocked| Arc::clone(&blocked.instance.budget.name));
            course.clamp(self, limit, rule, "the output limit is lowered to what the budget still affords");
            return Fit::Changed;
        }
        let Some(ruled) = course.ruled.as_mut().filter(|ruled| ruled.blocked.is_none()) else {
            return Fit::Blocked(blocked);
        };
        ruled.blocked = Some(blocked);
        Fit::Changed
    }

    /// The first slice of a stream, or the whole once more with patience. `None`: there is nothing more to try.
    async fn hold_less(
        &self,
        course: &mut Course<'a>,
        demands: Vec<Demand>,
        patience: Duration,
        asked_without_patience: bool,
        errand: &Errand<'_>,
    ) -> Option<Result<Option<Held>, NotHeld>> {
        if !self.can_slice(course) {
            let again = asked_without_patience.then(|| self.hold(course, demands, patience, errand));
            return match again {
                Some(again) => Some(again.await),
                None => None,
            };
        }
        let slice = OUTPUT_TOKENS_MIN.saturating_mul(self.asked.facts.choices.max(1));
        let sliced = sized(&demands, course, slice, self.arrived.at);
        let held = self.hold(course, sliced.clone(), patience, errand).await;
        if let (Ok(_), Some(ruled)) = (&held, &mut course.ruled) {
            ruled.slice = Some(slice);
            (ruled.demands, ruled.whole_demands) = (sliced, demands);
        }
        Some(held)
    }

    /// Reserves; for a preview, only looks whether it could.
    pub async fn hold(
        &self,
        course: &Course<'a>,
        demands: Vec<Demand>,
        patience: Duration,
        errand: &Errand<'_>,
    ) -> Result<Option<Held>, NotHeld> {
        if matches!(errand, Errand::Preview) {
            let blocked = would_block(course, &demands);
            return if blocked.is_empty() { Ok(None) } else { Err(NotHeld::Blocked(blocked)) };
        }
        let Some(slot) = course.target.provider.slot().await else {
            return Err(NotHeld::Refused(self.full(&course.target)));
        };
        let opening = self.opening(course);
        let asked = self.arrived.is_sampled().then(Instant::now);
        match self.proxy.ledger.admission().reserve(opening, demands, patience).await {
            Ok(reservation) => Ok(Some(Held { reservation, slot, asked })),
            Err(NotAdmitted::OverBudget { blocked }) => Err(NotHeld::Blocked(blocked)),
            Err(away) => Err(NotHeld::Refused(Refusal {
                retry_after_seconds: Some(1),
                ..super::refusal::because(
                    RefusalKind::Unavailable,
                    format!("Farebox's ledger does not admit requests now: {away}. Nothing was sent."),
                )
            })),
        }
    }

    fn can_count(&self, course: &Course<'_>) -> bool {
        let uncounted = course.ruled.as_deref().is_some_and(|ruled| ruled.known.input.is_none());
        uncounted && self.arrived.endpoint.metered && self.asked.is_whole() && !self.asked.whole().is_empty()
    }

    /// Counts the input; false when nothing less is known after it.
    pub async fn count(&self, course: &mut Course<'_>) -> bool {
        let before = course.foreseen.bound.input_tokens();
        let prompt = Prompt {
            dialect: self.arrived.dialect,
            endpoint: self.arrived.endpoint.clone(),
            facts: Arc::clone(&self.asked.facts),
            body: self.asked.whole(),
            offer: course.target.offer.clone(),
        };
        let counted = self.proxy.counting.count(prompt).await;
        let estimate = course.foreseen.estimate;
        if let Some(ruled) = &mut course.ruled {
            // What cannot be counted is as exact as it will be.
            ruled.known.input = Some(counted.map_or((estimate, false), |counted| (counted.usage, counted.exact)));
            ruled.known.saved = counted.map_or(0, |counted| counted.saved);
        }
        self.foresee(course);
        course.foreseen.bound.input_tokens() < before
    }

    /// Streams whose tokens are seen as they are made: what was used is known while it flows.
    fn can_slice(&self, course: &Course<'_>) -> bool {
        let facts = &self.asked.facts;
        let endpoint = &self.arrived.endpoint;
        let operation = matches!(endpoint.operation, Operation::Chat | Operation::Completion | Operation::Responses);
        let model = course.target.offer.as_ref().map(|offer| &offer.model);
        let thinks = facts.needs.reasoning
            || self.arrived.dialect != Dialect::Anthropic && model.is_some_and(|model| model.capabilities.reasoning);
        let events = self.arrived.dialect != Dialect::Gemini
            || self.arrived.query.as_deref().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"));
        let longer = course.foreseen.bound[Kind::Output] > OUTPUT_TOKENS_MIN.saturating_mul(facts.choices.max(1));
        let ruled = course.ruled.is_some();
        ruled && operation && facts.stream && !facts.background && !thinks && events && longer && model.is_some()
    }

    fn may_clamp(&self, course: &Course<'_>, blocked: &[Blocked]) -> bool {
        let member = limit_member(self.arrived.dialect, self.arrived.endpoint.operation, &course.target);
        let writable = self.asked.facts.splice.members.is_some() && self.asked.is_whole();
        member.is_some() && writable && blocked.iter().all(|blocked| blocked.instance.budget.clamp)
    }

    /// Where neither request nor catalog limits the output, what a budget holds is no bound until it is written down.
    fn inject_a_limit(&self, course: &mut Course<'_>, demands: &[Demand]) -> bool {
        let model_max = course.target.offer.as_ref().and_then(|offer| offer.model.max_output_tokens);
        let bounded = self.asked.facts.output_limit.is_some() || model_max.is_some();
        let member = limit_member(self.arrived.dialect, self.arrived.endpoint.operation, &course.target);
        let writable = member.is_some() && self.asked.facts.splice.members.is_some();
        let counts = |demand: &Demand| demand.binds && demand.instance.budget.unit != Unit::Requests;
        if bounded || !writable || !demands.iter().any(counts) {
            return false;
        }
        let Some(ruled) = course.ruled.as_mut().filter(|ruled| ruled.known.output_max.is_none()) else { return false };
        ruled.known.output_max = Some(self.proxy.settings.output_tokens_default);
        self.foresee(course);
        true
    }
}

/// The demands with so much output, all answers together.
pub fn sized(demands: &[Demand], course: &Course<'_>, output: u64, now: Timestamp) -> Vec<Demand> {
    let foreseen = course.foreseen.with_output(&course.target, output, now);
    let resized = demands.iter().map(|demand| {
        let amount = foreseen.amount(demand.instance.budget.unit).unwrap_or(demand.amount);
        Demand { amount: amount.min(demand.amount), ..demand.clone() }
    });
    resized.collect()
}

/// The largest output limit of each answer that every blocking budget still has room for; `None` where it is below
/// `least`.
pub fn affordable(run: &Run<'_>, course: &Course<'_>, blocked: &[Blocked], least: u64) -> Option<u64> {
    let choices = run.asked.facts.choices.max(1);
    let asked = course.foreseen.bound[Kind::Output] / choices;
    let fits = |limit: u64| {
        let foreseen = course.foreseen.with_output(&course.target, limit.saturating_mul(choices), run.arrived.at);
        blocked.iter().all(|blocked| {
            let room = blocked.limit.saturating_sub(blocked.spent.saturating_add(blocked.held));
            let unit = blocked.instance.budget.unit;
            unit != Unit::Requests && foreseen.amount(unit).is_some_and(|amount| u128::from(amount) <= room)
        })
    };
    if asked <= least || !fits(least) {
        return None;
    }
    let (mut fitting, mut above) = (least, asked);
    while above - fitting > 1 {
        let middle = fitting + (above - fitting) / 2;
        if fits(middle) {
            fitting = middle;
        } else {
            above = middle;
        }
    }
    Some(fitting)
}

/// What a reservation would say, from the balances that the rules saw.
fn would_block(course: &Course<'_>, demands: &[Demand]) -> Vec<Blocked> {
    let Some(ruled) = course.ruled.as_deref() else { return Vec::new() };
    let blocked = demands.iter().filter(|demand| demand.binds).filter_map(|demand| {
        let account = demand.instance.account;
        let (_, balance) = ruled.balances.iter().find(|(instance, _)| instance.account == account)?;
        (u128::from(demand.amount) > balance.available()).then(|| Blocked {
            instance: Arc::clone(&demand.instance),
            requested: demand.amount,
            spent: balance.spent,
            held: balance.held,
            limit: balance.limit,
            frees_at: None,
        })
    });
    blocked.collect()
}
