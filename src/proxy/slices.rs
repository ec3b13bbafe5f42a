//! A stream's hold in slices: topped up before what was held is used up, so that a call needs no more room in its
//! budgets than what it really makes. When there is no room for another slice the stream is ended cleanly.
//!
//! How much flowed is bounded without counting: no token is shorter than a byte. Only where that bound reaches the hold
//! is the new text counted, which is once for every few hundred tokens.

use super::account::Account;
use super::deliver::Delivery;
use super::fit::{OUTPUT_TOKENS_MIN, sized};
use super::foresee;
use crate::budget::Demand;
use crate::dialects::Observation;
use crate::tokens::count::always;
use crate::tokens::prompt::OutputSeen;
use crate::tokens::tokenizer::Tokenizer;
use crate::tokens::usage::{Kind, TokenUsage};
use std::time::Duration;

/// What one top-up holds, tokens of all answers; halved down to [`TOP_UP_TOKENS_MIN`] while there is no room.
const TOP_UP_TOKENS: u64 = 512;
const TOP_UP_TOKENS_MIN: u64 = 32;
/// A top-up is asked for when so much of the hold is left: what arrives meanwhile.
const AHEAD_TOKENS: u64 = 96;
/// A stream is stopped so far from the end of its hold: the marks that end an answer are tokens too.
const LAST_TOKENS: u64 = 8;

/// The hold of one stream.
pub struct Slices<'a> {
    delivery: Delivery<'a>,
    tokenizer: Tokenizer,
    /// Output tokens that are held, and that may come at most.
    held: u64,
    most: u64,
    /// Known so far: of the text, and of everything.
    counted_text: u64,
    counted: u64,
    /// How much of the text was counted.
    text_bytes: usize,
    reasoning_bytes: usize,
    /// There was no room for a top-up: asked once more when the hold is used up, with patience.
    refused: bool,
}

impl<'a> Slices<'a> {
    /// `None`: the attempt is held whole.
    pub fn of(delivery: Delivery<'a>) -> Option<Slices<'a>> {
        let held = delivery.course.ruled.as_deref()?.slice?;
        let requested = delivery.asked.facts.requested_model.as_deref();
        let rule = foresee::rule(delivery.target.offer.as_ref(), requested);
        Some(Slices {
            tokenizer: rule.tokenizer,
            held,
            most: delivery.course.foreseen.bound[Kind::Output],
            counted_text: 0,
            counted: 0,
            text_bytes: 0,
            reasoning_bytes: 0,
            refused: false,
            delivery,
        })
    }

    /// Whether what flowed is held, and there is room for more; asked after every chunk. Waits for a top-up.
    pub async fn cover(&mut self, account: &mut Account) -> bool {
        if self.held >= self.most || !self.may_pass(account, AHEAD_TOKENS) {
            return true;
        }
        if !self.refused {
            self.refused = !self.top_up(account, Duration::ZERO).await;
        }
        if !self.refused || self.counted.saturating_add(LAST_TOKENS) < self.held {
            return true;
        }
        let patience = self.delivery.proxy.ledger.admission().hold_wait_max();
        self.refused = !self.top_up(account, patience).await;
        !self.refused
    }

    /// What was used so far, for the client's last event.
    pub fn used(&self) -> TokenUsage {
        let mut used = self.delivery.course.foreseen.estimate;
        used[Kind::Output] = self.counted;
        used
    }

    /// What flowed may be so near to the hold's end. Counts only where the bytes alone do not tell.
    fn may_pass(&mut self, account: &mut Account, ahead: u64) -> bool {
        let Some(seen) = account.seen() else { return false };
        let output = &seen.output;
        let bytes = output.text.len().saturating_sub(self.text_bytes)
            + output.reasoning.len().saturating_sub(self.reasoning_bytes);
        let at_most = self.counted_text.saturating_add(bytes as u64).saturating_add(self.beside_text(seen));
        if at_most.saturating_add(ahead) <= self.held {
            return false;
        }
        self.count(seen);
        self.counted.saturating_add(ahead) > self.held
    }

    /// Counts what came since it was counted last. Texts counted apart are never fewer tokens than together.
    fn count(&mut self, seen: &Observation) {
        let output = &seen.output;
        let part = OutputSeen {
            text: output.text.get(self.text_bytes..).unwrap_or_default(),
            reasoning: output.reasoning.get(self.reasoning_bytes..).unwrap_or_default(),
            tool_calls: 0,
            dropped_bytes: 0,
        };
        let counter = self.delivery.proxy.counting.counter();
        let Ok(count) = counter.output(&self.tokenizer, &part, &mut always) else { return };
        self.counted_text = self.counted_text.saturating_add(count.total().tokens);
        let reported = seen.usage.map_or(0, |usage| usage.output_tokens());
        self.counted = self.counted_text.saturating_add(self.beside_text(seen)).max(reported);
        (self.text_bytes, self.reasoning_bytes) = (output.text.len(), output.reasoning.len());
    }

    /// The framing of tool calls, and a token for each byte that was not kept.
    fn beside_text(&self, seen: &Observation) -> u64 {
        let call = u64::from(self.tokenizer.framing.framing().tool_call);
        u64::from(seen.output.tool_calls).saturating_mul(call).saturating_add(seen.output.dropped_bytes)
    }

    /// Holds more, as much as there is room for. False: there is none.
    async fn top_up(&mut self, account: &mut Account, patience: Duration) -> bool {
        let mut size = TOP_UP_TOKENS.max(OUTPUT_TOKENS_MIN);
        loop {
            size = size.min(self.most - self.held);
            let last = size <= TOP_UP_TOKENS_MIN;
            let patience = if last { patience } else { Duration::ZERO };
            if account.top_up(&self.demands(size), patience).await {
                self.held += size;
                return true;
            }
            if last {
                return false;
            }
            size /= 2;
        }
    }

    /// What so many further tokens want of every budget.
    fn demands(&self, size: u64) -> Vec<Demand> {
        let course = self.delivery.course;
        let Some(ruled) = course.ruled.as_deref() else { return Vec::new() };
        let now = self.delivery.arrived.at;
        let before = sized(&ruled.whole_demands, course, self.held, now);
        let after = sized(&ruled.whole_demands, course, self.held.saturating_add(size), now);
        let more = after.into_iter().zip(before).map(|(after, before)| {
            let amount = after.amount.saturating_sub(before.amount);
            Demand { amount, ..after }
        });
        more.filter(|demand| demand.amount > 0).collect()
    }
}
