//! Budgets that were not written in a file: those of the database, which are read by the same reader as a file's, and the
//! one line that a virtual key's budget is.

use super::values::{self, Wrong};
use crate::budget::book::Unit;
use crate::budget::window::WindowRule;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

/// Under which name the budgets of the database stand among the files.
pub const DATABASE: &str = "database";

/// The budgets of a database as the text of a file: a member on each line, so that the place of a fault tells its member.
pub fn text_of<'a>(budgets: impl Iterator<Item = &'a Map<String, Value>>) -> String {
    let mut text = "version: 1\nbudgets:\n".to_owned();
    let mut some = false;
    for budget in budgets {
        some = true;
        for (place, (name, value)) in budget.iter().filter(|(_, value)| !value.is_null()).enumerate() {
            let dash = if place == 0 { "-" } else { " " };
            text.push_str(&format!("  {dash} {}: {value}\n", Value::String(name.clone())));
        }
    }
    if some { text } else { "version: 1\n".to_owned() }
}

/// The member of the last of `budgets` that stands on this line of their text; `None`: it is another one's.
pub fn member_of<'a>(last: &'a Map<String, Value>, text: &str, line: u32) -> Option<&'a str> {
    let members: Vec<&str> = last.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str()).collect();
    let first = text.lines().count() - members.len();
    let place = usize::try_from(line).ok()?.checked_sub(first + 1)?;
    members.get(place).copied()
}

/// Reads `50 USD/month`.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn allowance(text: &str) -> Result<(Unit, u128, WindowRule), (String, String)> {
    const REMEDY: &str =
        "write a limit and its window: `50 USD/month`, `2M tokens/day`, `1000 requests/rolling 5h`, `20 USD/lifetime`";
    let Some((limit, window)) = text.split_once('/') else {
        return Err(("it does not say for how long the limit is".to_owned(), REMEDY.to_owned()));
    };
    let told = |what: &str, Wrong { what: why, remedy }: Wrong| (format!("`{what}` {why}"), remedy);
    let (limit, window) = (limit.trim(), window.trim());
    let (unit, amount) = values::amount(limit).map_err(|wrong| told(limit, wrong))?;
    let window = values::window(&TimeZone::UTC)(window).map_err(|wrong| told(window, wrong))?;
    Ok((unit, amount, window))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::syntax::{Known, load};
    use serde_json::json;

    fn budget(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn a_budget_of_the_database_is_read_as_a_files_and_a_fault_names_its_member() {
        let good = budget(
            json!({ "name": "a", "window": "month", "limit": "5 USD", "message": "say \"hi\" to ☂: # no",
            "scope": { "team": ["x", "y*"], "tag.cost": "7" }, "thresholds": ["50%"], "except": { "key": "on-call" } }),
        );
        let text = text_of([&good].into_iter());
        let loaded = load(&[(DATABASE, &text)], &Known::default()).unwrap();
        assert_eq!(loaded.rules.counts()[0], ("budgets", 1));
        let bad = budget(json!({ "name": "b", "window": "fortnight", "limit": "5 USD" }));
        let text = text_of([&good, &bad].into_iter());
        let faults = load(&[(DATABASE, &text)], &Known::default()).unwrap_err();
        assert_eq!(member_of(&bad, &text, faults[0].line), Some("window"), "{}", faults[0]);
        assert_eq!(member_of(&bad, &text, 3), None);
        assert!(load(&[(DATABASE, &text_of(std::iter::empty()))], &Known::default()).is_ok());
    }

    #[test]
    fn an_allowance_is_a_limit_and_its_window() {
        assert!(matches!(
            allowance("50 USD/month"),
            Ok((Unit::PicoUsd, 50_000_000_000_000, WindowRule::Calendar { .. }))
        ));
        assert!(matches!(
            allowance("1000 requests / rolling 5h"),
            Ok((Unit::Requests, 1_000, WindowRule::Rolling { .. }))
        ));
        for text in ["50 USD", "50/month", "50 EUR/month", "50 USD/fortnight", ""] {
            let (what, remedy) = allowance(text).unwrap_err();
            assert!(!what.is_empty() && !remedy.is_empty(), "{text}");
        }
    }
}
