//! What a key may use, as flags.

use crate::rules::syntax::made::allowance;
use crate::tenants::KeyLimits;
use std::sync::Arc;

/// Takes a bound away.
const ANY: &str = "any";

#[derive(Debug, Default, clap::Args)]
pub struct Limits {
    /// Calls a minute; `any` for no bound of its own. Limits of the rules hold beside it.
    #[arg(long, value_name = "COUNT", value_parser = calls)]
    rpm: Option<Bound<u32>>,
    /// Tokens a minute, in and out; `any` for no bound of its own.
    #[arg(long, value_name = "COUNT", value_parser = tokens)]
    tpm: Option<Bound<u64>>,
    /// Calls at a time; `any` for no bound of its own.
    #[arg(long, value_name = "COUNT", value_parser = calls)]
    concurrent: Option<Bound<u32>>,
    /// Its own budget, beside those of the rules: `50 USD/month`, `2M tokens/day`, `20 USD/lifetime`; `any` for none.
    #[arg(long, value_name = "LIMIT/WINDOW", value_parser = budget)]
    budget: Option<Bound<Arc<str>>>,
}

/// `None`: none at all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bound<T>(Option<T>);

impl Limits {
    /// What is named takes the place of what was; the rest stays.
    pub fn over(&self, before: &KeyLimits) -> KeyLimits {
        fn named<T: Clone>(bound: &Option<Bound<T>>, before: &Option<T>) -> Option<T> {
            bound.as_ref().map_or_else(|| before.clone(), |bound| bound.0.clone())
        }
        KeyLimits {
            requests_per_minute: named(&self.rpm, &before.requests_per_minute),
            tokens_per_minute: named(&self.tpm, &before.tokens_per_minute),
            concurrent: named(&self.concurrent, &before.concurrent),
            budget: named(&self.budget, &before.budget),
        }
    }
}

/// `60 calls a minute`, one for each.
pub fn words(limits: &KeyLimits) -> Vec<String> {
    let parts = [
        limits.requests_per_minute.map(|limit| format!("{limit} calls a minute")),
        limits.tokens_per_minute.map(|limit| format!("{limit} tokens a minute")),
        limits.concurrent.map(|limit| format!("{limit} calls at a time")),
        limits.budget.as_ref().map(ToString::to_string),
    ];
    parts.into_iter().flatten().collect()
}

fn calls(text: &str) -> Result<Bound<u32>, String> {
    count(text).map(Bound)
}

fn tokens(text: &str) -> Result<Bound<u64>, String> {
    count(text).map(Bound)
}

fn count<T: std::str::FromStr + PartialOrd + From<u8>>(text: &str) -> Result<Option<T>, String> {
    if text == ANY {
        return Ok(None);
    }
    let count = text.parse::<T>().ok().filter(|count| *count >= T::from(1));
    count.map(Some).ok_or_else(|| format!("write a whole number from 1 on, or `{ANY}`"))
}

fn budget(text: &str) -> Result<Bound<Arc<str>>, String> {
    if text == ANY {
        return Ok(Bound(None));
    }
    match allowance(text) {
        Ok(_) => Ok(Bound(Some(text.into()))),
        Err((what, remedy)) => Err(format!("{what}: {remedy}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_any_takes_it_away() {
        let before =
            KeyLimits { requests_per_minute: Some(5), budget: Some("5 USD/day".into()), ..KeyLimits::default() };
        assert_eq!(Limits::default().over(&before), before);
        let changed =
            Limits { rpm: Some(calls("any").unwrap()), tpm: Some(tokens("1000").unwrap()), ..Limits::default() };
        let wanted = KeyLimits { requests_per_minute: None, tokens_per_minute: Some(1_000), ..before.clone() };
        assert_eq!(changed.over(&before), wanted);
        for wrong in ["0", "-1", "many", ""] {
            assert!(calls(wrong).is_err(), "{wrong}");
        }
        assert!(budget("50 USD").is_err() && budget("50 USD/month").is_ok());
    }
}
