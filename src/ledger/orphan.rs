//! The event of an attempt that nobody settled: its task panicked, or its process died.
//!
//! The event carries the best estimate; the budget is charged the whole hold, and the difference stands in the event
//! as `withheld` until `farebox ledger resolve` releases or charges it. Everything is priced from what the opening
//! carries, since the catalog of that moment is gone.

use super::reservation::held_pico;
use crate::budget::account::Claim;
use crate::catalog::{Cost, Pricing, Unpriced};
use crate::clock::Timestamp;
use crate::dialects::Operation;
use crate::event::{Closing, Opening, Outcome};
use crate::money::{Usd, round_half_even};
use crate::tokens::usage::{Kind, UsageSource};
use std::sync::Arc;

/// Closes `opening` at its best estimate: the predicted input, and the output that was seen to flow. What was held
/// above it (by no budget: the ceiling) is withheld.
pub(super) fn closing(
    opening: &Opening,
    claims: &[Claim],
    output_tokens: u64,
    ended_at: Timestamp,
    outcome: Outcome,
) -> Closing {
    let unmetered = is_unmetered(opening);
    let pricing = if unmetered { Pricing::Unmetered } else { price(opening, output_tokens) };
    let cost = match &pricing {
        Pricing::Priced(cost) => cost.total,
        Pricing::Unpriced(_) | Pricing::Unmetered => Usd::ZERO,
    };
    let held = held_pico(claims).and_then(|pico| i64::try_from(pico).ok()).map(Usd::from_pico);
    let above = held.or(opening.ceiling).and_then(|held| held.checked_sub(cost)).unwrap_or(Usd::ZERO);
    let mut usage = opening.estimated_usage;
    usage[Kind::Output] = usage[Kind::Output].saturating_add(output_tokens);
    Closing {
        usage,
        usage_source: if unmetered { UsageSource::None } else { UsageSource::Estimated },
        withheld: above.max(Usd::ZERO),
        ..Closing::unseen(ended_at.max(opening.started_at), outcome, pricing)
    }
}

fn price(opening: &Opening, output_tokens: u64) -> Pricing {
    let Some(input) = opening.estimated_input_cost else { return Pricing::Unpriced(Unpriced::UnknownUsage) };
    let output = match (output_tokens, opening.cost_per_1k_output) {
        (0, _) => Some(Usd::ZERO),
        (_, None) => return Pricing::Unpriced(Unpriced::NoRate),
        (tokens, Some(per_1k)) => round_half_even(per_1k.widen().saturating_mul(i128::from(tokens)), 1_000)
            .and_then(|pico| i64::try_from(pico).ok())
            .map(Usd::from_pico),
    };
    let sum = output.and_then(|output| Some((output, input.checked_add(output)?)));
    let Some((output, total)) = sum else { return Pricing::Unpriced(Unpriced::OutOfRange) };
    let by_kind = [(Kind::Input, input), (Kind::Output, output)].into_iter().filter(|(_, cost)| *cost != Usd::ZERO);
    Pricing::Priced(Box::new(Cost {
        total,
        by_kind: by_kind.collect(),
        rates: Vec::new(),
        catalog: Arc::from(""),
        terms: vec![Arc::from("priced when it was admitted")],
    }))
}

/// Nothing there is billed, so nothing is unknown.
fn is_unmetered(opening: &Opening) -> bool {
    let free = matches!(
        opening.operation,
        Operation::CountTokens | Operation::Models | Operation::Files | Operation::StoredResponse | Operation::Other
    );
    free && opening.ceiling.is_none() && opening.estimated_input_cost.is_none()
}
