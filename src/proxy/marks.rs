//! Headers that say what rules and budgets did to a call, on its answer and on a refusal.

use super::decide::Ruled;
use super::standing;
use crate::budget::account::Unit;
use crate::money::pico_to_decimal;
use crate::rules::Warning;
use std::sync::Arc;

/// Longest header value of ours.
const VALUE_CHARS_MAX: usize = 512;

/// Hands every header to `put`.
pub fn ruled(ruled: &Ruled, put: &mut impl FnMut(&'static str, String)) {
    if let Some(from) = &ruled.swapped_from {
        put("x-farebox-swapped-from", printable(from));
    }
    if let Some(rule) = &ruled.swap_rule {
        put("x-farebox-swap-rule", printable(rule));
    }
    if !ruled.adapted.told.is_empty() {
        put("x-farebox-swap-changes", printable(&ruled.adapted.told.join("; ")));
    }
    if let Some(max) = ruled.known.output_max {
        put("x-farebox-output-limit", max.to_string());
    }
    if let Some(tightest) = tightest(ruled) {
        put("x-farebox-budget", printable(&tightest.budget));
        if let Some(remaining) = tightest.remaining {
            put("x-farebox-budget-remaining", remaining);
        }
    }
    if !ruled.warnings.is_empty() {
        let said = |warning: &Warning| format!("{}: {}", warning.rule, told(warning, ruled));
        let warnings: Vec<String> = ruled.warnings.iter().map(said).collect();
        put("x-farebox-warning", printable(&warnings.join(" | ")));
    }
}

/// A warning in words, without what others spent.
pub fn told(warning: &Warning, ruled: &Ruled) -> String {
    if standing::is_shown(&warning.rule, &ruled.balances) {
        return standing::without_amounts(&warning.message, &ruled.balances);
    }
    "what is left of it would not do for this call".to_owned()
}

/// The budget of which the least is left, and what of it.
pub struct Tightest {
    pub budget: Arc<str>,
    /// In dollars, tokens or requests; `None`: what others spend of it is not told.
    pub remaining: Option<String>,
}

/// Among the budgets that this call claims, after its own hold.
pub fn tightest(ruled: &Ruled) -> Option<Tightest> {
    let left = ruled.demands.iter().filter_map(|demand| {
        let account = demand.instance.account;
        let (_, balance) = ruled.balances.iter().find(|(instance, _)| instance.account == account)?;
        let left = balance.available().saturating_sub(demand.amount.into());
        // Parts of a million, so that budgets of different units can be compared.
        let share = left.saturating_mul(1_000_000).checked_div(balance.limit).unwrap_or(0);
        Some((share, left, demand))
    });
    let (_, left, demand) = left.min_by_key(|(share, ..)| *share)?;
    let budget = &demand.instance.budget;
    let number = match budget.unit {
        Unit::PicoUsd => pico_to_decimal(i128::try_from(left).unwrap_or(i128::MAX)),
        Unit::Tokens | Unit::Requests => left.to_string(),
    };
    Some(Tightest { budget: Arc::clone(&budget.name), remaining: budget.show_amounts.then_some(number) })
}

/// Text as a header value: what cannot stand in one is replaced.
pub fn printable(text: &str) -> String {
    let is_fit = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if text.len() <= VALUE_CHARS_MAX && text.bytes().all(is_fit) {
        return text.to_owned();
    }
    let letters = text.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' });
    letters.take(VALUE_CHARS_MAX).collect()
}
