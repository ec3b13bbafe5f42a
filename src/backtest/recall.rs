//! A row of the ledger, asked again: as much of the call's facts as the row keeps, and guesses for what it does not.
//!
//! *Kept:* caller, attribution, models, operation, stream, units by kind, cost, service tier, region and speed (in the
//! words of the price). *Worked out:* the output limit, from the ceiling; what the model had to be able to do, from what
//! was used. *Gone:* the text, stored state, the provider that was asked before a fallback.

use crate::catalog::{Catalog, Model, Pricing, Terms};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation};
use crate::money::Usd;
use crate::store::{EventRow, RateSet};
use crate::tenants::{Attribution, Caller};
use crate::tokens::facts::{Needs, RequestFacts};
use crate::tokens::usage::{Kind, TokenUsage};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Texts and models remembered between rows; beyond it they are forgotten and read again.
const REMEMBERED_MAX: usize = 10_000;
const MILLION: u64 = 1_000_000;

/// A row as a question.
#[derive(Debug)]
pub struct Recalled<'r> {
    pub row: &'r EventRow,
    pub caller: Caller,
    pub attribution: Attribution,
    pub facts: RequestFacts,
    pub terms: Terms,
    pub operation: Operation,
    pub dialect: Dialect,
    pub metered: bool,
}

/// What is remembered between rows: so few that a text made to be found slowly costs a moment.
#[derive(Debug, Default)]
pub struct Memory {
    tags: FxHashMap<Arc<str>, Tags>,
    terms: FxHashMap<Arc<str>, Terms>,
    models: FxHashMap<(Arc<str>, Arc<str>), Known>,
}

type Tags = Vec<(Arc<str>, Arc<str>)>;
/// The catalog's entry, or that there is none.
type Known = Option<Arc<Model>>;

impl Memory {
    /// The catalog's entry for a name, found once.
    pub fn model(&mut self, catalog: &Catalog, provider: &Arc<str>, name: &Arc<str>) -> Option<Arc<Model>> {
        let key = (Arc::clone(provider), Arc::clone(name));
        remember(&mut self.models, key, || catalog.resolve(provider, name).map(|offer| offer.model))
    }

    pub fn recall<'r>(&mut self, row: &'r EventRow) -> Recalled<'r> {
        let named = row.operation.as_deref();
        let operation = Operation::ALL.into_iter().find(|operation| Some(operation.name()) == named);
        let spoken = row.dialect.as_deref();
        let dialect = Dialect::ALL.into_iter().find(|dialect| Some(dialect.name()) == spoken);
        Recalled {
            caller: Caller {
                organisation: row.organisation.clone(),
                team: row.team.clone(),
                project: row.project.clone(),
                key: row.key.clone(),
                user: row.user.clone(),
            },
            attribution: Attribution {
                end_user: row.end_user.clone(),
                session: row.session.clone(),
                run: row.run.clone(),
                environment: row.environment.clone(),
                tags: self.tags(row),
                prompt_name: row.prompt_name.clone(),
                prompt_hash: row.prompt_hash,
            },
            facts: facts(row),
            terms: self.terms(row),
            operation: operation.unwrap_or(Operation::Other),
            dialect: dialect.unwrap_or(Dialect::OpenAi),
            metered: row.pricing.as_deref() != Some("unmetered"),
            row,
        }
    }

    fn tags(&mut self, row: &EventRow) -> Tags {
        let Some(text) = &row.tags else { return Vec::new() };
        remember(&mut self.tags, Arc::clone(text), || {
            let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
            let pairs = read.into_iter().filter_map(|(name, value)| Some((name.into(), value.as_str()?.into())));
            pairs.collect()
        })
    }

    fn terms(&mut self, row: &EventRow) -> Terms {
        let words = row.rates.as_ref().map(|rates| {
            let RateSet { terms, .. } = &**rates;
            remember(&mut self.terms, Arc::clone(terms), || terms_of_words(terms))
        });
        Terms { service_tier: row.service_tier.clone(), ..words.unwrap_or_default() }
    }
}

impl Recalled<'_> {
    /// The most that could come out, in tokens: worked back from the ceiling, never less than what did come out, never
    /// more than the model can.
    pub fn output_bound(&self, model: Option<&Model>) -> u64 {
        let row = self.row;
        let used = row.usage.output_tokens();
        let (Some(model), Some(ceiling)) = (model, row.ceiling) else { return used };
        // The ceiling was made from the body's bytes: a token has at least one.
        let input = TokenUsage::ZERO.with(Kind::Input, row.request_bytes);
        let bound = |output| model.ceiling(&input.with(Kind::Output, output), &self.terms, row.started_at);
        let (Some(silent), Some(long)) = (bound(0), bound(MILLION)) else { return used };
        let per_million = long.widen() - silent.widen();
        let paid_for = (ceiling.widen() - silent.widen()).max(0).saturating_mul(i128::from(MILLION));
        let tokens = paid_for.checked_div(per_million).and_then(|tokens| u64::try_from(tokens).ok()).unwrap_or(used);
        tokens.min(model.max_output_tokens.unwrap_or(u64::MAX)).max(used)
    }

    /// An upper bound of the call: its input as it was, and so much output.
    pub fn bound(&self, output: u64) -> TokenUsage {
        let mut bound = TokenUsage::ZERO;
        for (kind, units) in self.row.usage.used() {
            let shown = match kind {
                Kind::InputAudio | Kind::CacheReadAudio => Kind::InputAudio,
                Kind::InputImage | Kind::CacheReadImage => Kind::InputImage,
                Kind::InputVideo => Kind::InputVideo,
                kind if kind.is_input_token() => Kind::Input,
                kind if kind.is_output_token() => continue,
                other => other,
            };
            bound[shown] = bound[shown].saturating_add(units);
        }
        bound[Kind::Output] = output;
        bound
    }
}

/// What a model would charge for a usage; cache reads and writes that it has no price for are plain input to it.
pub fn price(model: &Model, usage: &TokenUsage, terms: &Terms, now: Timestamp) -> Option<Usd> {
    let total = |usage: &TokenUsage| match model.price(usage, terms, now) {
        Pricing::Priced(cost) => Some(cost.total),
        Pricing::Unpriced(_) | Pricing::Unmetered => None,
    };
    total(usage).or_else(|| {
        let mut plain = *usage;
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_cache_read() || kind.is_cache_write()) {
            plain[Kind::Input] = plain[Kind::Input].saturating_add(plain[kind]);
            plain[kind] = 0;
        }
        total(&plain)
    })
}

/// The same call with at most so many output tokens: reasoning comes first, so what is visible is cut first.
pub fn cut_output(usage: &TokenUsage, limit: u64) -> TokenUsage {
    let mut cut = *usage;
    let mut above = usage.output_tokens().saturating_sub(limit);
    for kind in [Kind::Output, Kind::OutputAudio, Kind::OutputImage, Kind::Reasoning] {
        let less = above.min(cut[kind]);
        cut[kind] -= less;
        above -= less;
    }
    cut
}

fn facts(row: &EventRow) -> RequestFacts {
    let used = |kinds: &[Kind]| kinds.iter().any(|kind| row.usage[*kind] > 0);
    RequestFacts {
        requested_model: row.requested_model.clone(),
        stream: row.stream,
        choices: 1,
        server_tools: used(&[Kind::WebSearch, Kind::FileSearch, Kind::CodeInterpreter]),
        service_tier: row.service_tier.clone(),
        user: row.end_user.clone(),
        prompt_name: row.prompt_name.clone(),
        characters: row.usage[Kind::Characters],
        needs: Needs {
            vision: used(&[Kind::InputImage, Kind::CacheReadImage, Kind::InputVideo]),
            audio_input: used(&[Kind::InputAudio, Kind::CacheReadAudio]),
            tools: row.finish_reason.as_deref().is_some_and(|reason| reason.starts_with("tool")),
            ..Needs::default()
        },
        ..RequestFacts::default()
    }
}

/// `region eu ×1.1`, `speed fast ×6`, `service_tier batch`: what [`crate::catalog::price`] wrote beside the cost.
fn terms_of_words(json: &str) -> Terms {
    let words: Vec<String> = serde_json::from_str(json).unwrap_or_default();
    let after = |name: &str| {
        let rest = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix(' '))?;
        rest.split(' ').next().map(Arc::from)
    };
    Terms {
        region: after("region"),
        speed: after("speed"),
        batch: after("service_tier").is_some_and(|tier: Arc<str>| &*tier == "batch"),
        ..Terms::default()
    }
}

fn remember<K: std::hash::Hash + Eq, V: Clone>(known: &mut FxHashMap<K, V>, key: K, read: impl FnOnce() -> V) -> V {
    if let Some(value) = known.get(&key) {
        return value.clone();
    }
    if known.len() >= REMEMBERED_MAX {
        known.clear();
    }
    let value = read();
    known.insert(key, value.clone());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_price_are_its_terms_again() {
        let terms = terms_of_words(r#"["tier >272000","region eu ×1.1","speed fast ×6","service_tier batch"]"#);
        assert_eq!((terms.region.as_deref(), terms.speed.as_deref(), terms.batch), (Some("eu"), Some("fast"), true));
        assert!(!terms_of_words(r#"["service_tier flex"]"#).batch);
    }

    #[test]
    fn a_cut_takes_what_is_visible_first_and_never_adds() {
        let usage = TokenUsage::ZERO.with(Kind::Input, 9).with(Kind::Output, 50).with(Kind::Reasoning, 100);
        let cut = cut_output(&usage, 120);
        assert_eq!((cut[Kind::Output], cut[Kind::Reasoning], cut[Kind::Input]), (20, 100, 9));
        assert_eq!(cut_output(&usage, 30)[Kind::Reasoning], 30);
        assert_eq!(cut_output(&usage, 1_000), usage);
    }
}
