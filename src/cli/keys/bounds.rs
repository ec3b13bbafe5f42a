//! What a key may do, as flags.

use super::age;
use crate::clock::Timestamp;
use crate::dialects::Operation;
use crate::tenants::{NAME_LETTERS_MAX, Network, Permissions, Tags};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Takes a bound away, or allows every operation.
const ANY: &str = "any";
/// The operations that a key may ask for when nothing is said.
const USUAL: &str = "usual";
const GLOB_LETTERS_MAX: usize = 200;

#[derive(Debug, clap::Args)]
pub struct Bounds {
    /// A model that it may use, as the provider calls it, with `*` for any letters: `gpt-4o*`, `anthropic/claude-*`.
    /// Several times for several; `any` for all.
    #[arg(long = "model", value_name = "GLOB", value_parser = glob)]
    models: Vec<String>,
    /// An operation that it may ask for: `chat`, `responses`, `embeddings` …; `any` for all. `usual`, as without the flag: all but `files`,
    /// `batches`, `stored_response` and `other`, which reach into what the provider keeps for all keys together.
    #[arg(long = "operation", value_name = "NAME", value_parser = operation)]
    operations: Vec<Allowed>,
    /// A provider that it may use; `any` for all.
    #[arg(long = "provider", value_name = "NAME", value_parser = glob)]
    providers: Vec<String>,
    /// Addresses that it may be used from: `10.0.0.0/8`; `any` for all.
    #[arg(long = "network", value_name = "RANGE", value_parser = network)]
    networks: Vec<Reach>,
    /// When it ends: `30d`, `12h`, `2026-12-31` (its first moment, UTC), a time as RFC 3339 has it, or `never`.
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub expires: Option<When>,
    /// Written beside each of its calls: `--tag app=search`; `any` alone takes all away.
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    tags: Vec<Tag>,
    #[command(flatten)]
    pub limits: super::limits::Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Any,
    Usual,
    One(Operation),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Any,
    From(Network),
}

/// The end of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Never,
    In(Duration),
    At(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    Nothing,
    Pair(String, String),
}

impl When {
    pub fn from(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            When::Never => None,
            When::At(at) => Some(at),
            When::In(time) => {
                let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
                Some(Timestamp(now.as_micros().saturating_add(micros)))
            }
        }
    }
}

impl Bounds {
    /// What is named takes the place of what was; the rest stays.
    pub fn permissions(&self, before: &Permissions) -> Permissions {
        let words = |named: &[String], before: &[Arc<str>]| -> Vec<Arc<str>> {
            if named.is_empty() {
                return before.to_vec();
            }
            if named.iter().any(|word| word == ANY) {
                Vec::new()
            } else {
                named.iter().map(|w| w.as_str().into()).collect()
            }
        };
        let operations = self.operations.iter().flat_map(|allowed| match allowed {
            Allowed::Any => Operation::ALL.to_vec(),
            Allowed::Usual => Vec::new(),
            Allowed::One(operation) => vec![*operation],
        });
        let mut operations: Vec<Operation> = operations.collect();
        operations.sort_unstable();
        operations.dedup();
        let from = |reach: &Reach| match reach {
            Reach::Any => None,
            Reach::From(network) => Some(*network),
        };
        Permissions {
            models: words(&self.models, &before.models),
            operations: if self.operations.is_empty() { before.operations.clone() } else { operations },
            providers: words(&self.providers, &before.providers),
            networks: if self.networks.is_empty() {
                before.networks.clone()
            } else {
                self.networks.iter().map(from).collect::<Option<_>>().unwrap_or_default()
            },
        }
    }

    pub fn tags(&self, before: &Tags) -> Tags {
        if self.tags.is_empty() {
            return before.clone();
        }
        let pairs = self.tags.iter().filter_map(|tag| match tag {
            Tag::Nothing => None,
            Tag::Pair(name, value) => Some((Arc::from(name.as_str()), Arc::from(value.as_str()))),
        });
        pairs.collect::<BTreeMap<Arc<str>, Arc<str>>>().into_iter().collect()
    }
}

fn glob(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.len() <= GLOB_LETTERS_MAX && text.chars().all(|c| c.is_ascii_graphic());
    if plain && !text.contains(',') {
        Ok(text.to_owned())
    } else {
        Err("write one name, with `*` for any letters; repeat the flag for several".to_owned())
    }
}

fn operation(text: &str) -> Result<Allowed, String> {
    if text == ANY {
        return Ok(Allowed::Any);
    }
    if text == USUAL {
        return Ok(Allowed::Usual);
    }
    let found = Operation::ALL.into_iter().find(|operation| operation.name() == text);
    found.map(Allowed::One).ok_or_else(|| {
        let known: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        format!("write one of {}, or `{ANY}`, or `{USUAL}`", known.join(", "))
    })
}

fn network(text: &str) -> Result<Reach, String> {
    if text == ANY { Ok(Reach::Any) } else { text.parse().map(Reach::From).map_err(|error| format!("{error}")) }
}

pub fn when(text: &str) -> Result<When, String> {
    if text == "never" {
        return Ok(When::Never);
    }
    if let Ok(time) = age(text) {
        return Ok(When::In(time));
    }
    let day = |text: &str| text.parse::<jiff::civil::Date>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let moment = text.parse::<jiff::Timestamp>().ok().or_else(|| Some(day(text)?.timestamp()));
    let remedy = || "write `30d`, `12h`, `2026-12-31`, `2026-12-31T18:00:00Z` or `never`".to_owned();
    moment.map(|moment| When::At(Timestamp(moment.as_microsecond()))).ok_or_else(remedy)
}

fn tag(text: &str) -> Result<Tag, String> {
    if text == ANY {
        return Ok(Tag::Nothing);
    }
    let letters = |text: &str| text.len() <= 4 * NAME_LETTERS_MAX && !text.chars().any(char::is_control);
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && letters(name) && letters(value) => {
            Ok(Tag::Pair(name.to_owned(), value.to_owned()))
        }
        _ => Err("write `name=value`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Bounds {
        let (models, operations, providers, networks, tags, limits) = Default::default();
        Bounds { models, operations, providers, networks, expires: None, tags, limits }
    }

    #[test]
    fn what_is_not_named_stays_and_any_takes_a_bound_away() {
        let before = Permissions {
            models: vec!["gpt-4o*".into()],
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            ..Permissions::default()
        };
        assert_eq!(bounds().permissions(&before), before);
        let wider = Bounds { models: vec![ANY.into()], networks: vec![Reach::Any], ..bounds() };
        assert_eq!(wider.permissions(&before), Permissions::default());
        let all = Bounds { operations: vec![operation("any").unwrap()], ..bounds() };
        assert_eq!(all.permissions(&before).operations.len(), Operation::ALL.len());
    }

    #[test]
    fn an_end_is_a_time_from_now_a_day_or_a_moment() {
        let now = Timestamp(1_795_262_400_000_000);
        let end = |text: &str| when(text).unwrap().from(now).map(Timestamp::to_rfc3339);
        assert_eq!(end("1d").as_deref(), Some("2026-11-22T12:00:00.000000Z"));
        assert_eq!(end("2026-12-31").as_deref(), Some("2026-12-31T00:00:00.000000Z"));
        assert_eq!(end("2026-12-31T18:00:00+01:00").as_deref(), Some("2026-12-31T17:00:00.000000Z"));
        assert_eq!(end("never"), None);
        for wrong in ["", "tomorrow", "30", "2026-13-01"] {
            assert!(when(wrong).is_err(), "{wrong}");
        }
    }
}
