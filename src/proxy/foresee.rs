//! What an attempt will use and cost at most, and probably, from its facts alone: before anything is counted.

use super::Proxy;
use super::exchange::{Arrived, Asked};
use super::offer::Target;
use crate::budget::account::Unit;
use crate::catalog::Offer;
use crate::catalog::model::Terms;
use crate::catalog::price::CacheWrites;
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation};
use crate::money::Usd;
use crate::rules::Question;
use crate::tokens::bound::{self, BoundRule};
use crate::tokens::history::Who;
use crate::tokens::tokenizer::Tokenizer;
use crate::tokens::usage::{Kind, TokenUsage};
use http::Method;
use http::header::HeaderName;

/// Output of an answer where the caller's own history tells nothing: the estimate's guess, a limit below it counts
/// instead.
const OUTPUT_TOKENS_EXPECTED: u64 = 500;
/// The caller prefers a refusal.
static NO_SWAP: HeaderName = HeaderName::from_static("x-farebox-no-swap");

/// What was foreseen of an attempt before it left.
#[derive(Clone, Debug, Default)]
pub struct Foreseen {
    pub estimate: TokenUsage,
    pub bound: TokenUsage,
    pub terms: Terms,
    pub estimated_cost: Option<Usd>,
    pub ceiling: Option<Usd>,
    pub estimated_input_cost: Option<Usd>,
    pub cost_per_1k_output: Option<Usd>,
}

/// What is known of an attempt beyond its facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The input as our tokenizer counted it, and whether that is exact.
    pub input: Option<(TokenUsage, bool)>,
    /// Tokens by which that count proves the bound from bytes too large, where it is not exact as a whole.
    pub saved: u64,
    /// The output limit of each answer, where a rule or a budget lowered it.
    pub output_max: Option<u64>,
}

/// Terms of the price that the request itself sets.
pub fn terms(arrived: &Arrived, asked: &Asked) -> Terms {
    let image = asked.facts.image.clone().unwrap_or_default();
    let cache_writes = match asked.facts.cache_write {
        Some(kind) => CacheWrites::UpTo(kind),
        // Anthropic writes nothing unasked; the newer models of OpenAI do.
        None if arrived.dialect == Dialect::Anthropic => CacheWrites::Never,
        None => CacheWrites::Any,
    };
    Terms {
        service_tier: asked.facts.service_tier.clone(),
        batch: arrived.endpoint.operation == Operation::Batches,
        image_size: image.size,
        image_quality: image.quality,
        region: asked.facts.region.clone(),
        speed: asked.facts.speed.clone(),
        cache_writes,
    }
}

/// Bound and estimate of an attempt, from its facts and what is known beyond them.
pub fn foresee(proxy: &Proxy, arrived: &Arrived, asked: &Asked, target: &Target, known: Known) -> Foreseen {
    if !arrived.endpoint.metered {
        return Foreseen::default();
    }
    let offer = target.offer.as_ref();
    let rule = rule(offer, asked.facts.requested_model.as_deref());
    let output = output_bound(proxy, arrived, asked, offer).min(match known.output_max {
        Some(max) => max.saturating_mul(asked.facts.choices.max(1)),
        None => u64::MAX,
    });
    let estimate = known.input.map_or_else(|| bound::input_estimate(&asked.facts, &rule), |(counted, _)| counted);
    let mut bounded = match known.input {
        Some((counted, true)) => counted,
        _ => bound::input_bound(&asked.facts, &rule),
    };
    let shown = !asked.facts.server_state && !asked.facts.server_tools;
    if known.input.is_some_and(|(_, exact)| !exact) && shown {
        bounded[Kind::Input] = bounded[Kind::Input].saturating_sub(known.saved);
    }
    bounded[Kind::Output] = output;
    let Some(model) = offer.map(|offer| &offer.model) else {
        return Foreseen { estimate, bound: bounded, ..Foreseen::default() };
    };
    let terms = terms(arrived, asked);
    let cost = |usage: &TokenUsage| model.total(usage, &terms, arrived.at);
    let mut predicted = estimate;
    predicted[Kind::Output] =
        output.min(output_expected(proxy, arrived, target).saturating_mul(asked.facts.choices.max(1)));
    Foreseen {
        estimated_cost: cost(&predicted),
        ceiling: model.ceiling(&bounded, &terms, arrived.at),
        estimated_input_cost: cost(&estimate),
        cost_per_1k_output: cost(&TokenUsage::ZERO.with(Kind::Output, 1_000)),
        estimate,
        bound: bounded,
        terms,
    }
}

/// Output tokens of all answers at most.
fn output_bound(proxy: &Proxy, arrived: &Arrived, asked: &Asked, offer: Option<&Offer>) -> u64 {
    if !arrived.endpoint.operation.puts_out_tokens() {
        return 0;
    }
    let of_the_model = offer.and_then(|offer| offer.model.max_output_tokens);
    bound::output_bound(&asked.facts, of_the_model, proxy.settings.output_tokens_default)
}

/// Output tokens of one answer, by what this caller's answers of this model were.
fn output_expected(proxy: &Proxy, arrived: &Arrived, target: &Target) -> u64 {
    let Some(model) = target.model.as_deref() else { return OUTPUT_TOKENS_EXPECTED };
    // Callers without a name share theirs.
    let key = arrived.caller.key.as_deref().unwrap_or_default();
    let expected = |operation| proxy.history.expected(Who::new(key, model, operation));
    expected(arrived.endpoint.operation.name())
        .or_else(|| expected(Who::ANY_OPERATION))
        .unwrap_or(OUTPUT_TOKENS_EXPECTED)
}

impl Foreseen {
    /// The same with so much output at most, all answers together.
    pub fn with_output(&self, target: &Target, output: u64, now: Timestamp) -> Foreseen {
        let bound = self.bound.with(Kind::Output, output.min(self.bound[Kind::Output]));
        let ceiling = target.offer.as_ref().and_then(|offer| offer.model.ceiling(&bound, &self.terms, now));
        Foreseen { bound, ceiling, ..self.clone() }
    }

    /// What it wants of a budget, in the budget's unit. `None`: no price is known.
    pub fn amount(&self, unit: Unit) -> Option<u64> {
        match unit {
            Unit::PicoUsd => self.ceiling.and_then(|usd| u64::try_from(usd.as_pico()).ok()),
            Unit::Tokens => Some(self.bound.input_tokens().saturating_add(self.bound.output_tokens())),
            Unit::Requests => Some(1),
        }
    }
}

/// What the rules are asked about an attempt.
pub fn question<'a>(
    proxy: &Proxy,
    arrived: &'a Arrived,
    asked: &'a Asked,
    target: &'a Target,
    foreseen: &'a Foreseen,
) -> Question<'a> {
    let refuses_swaps = arrived.head.headers.get(&NO_SWAP).is_some_and(|value| value == "true");
    Question {
        caller: &arrived.caller,
        attribution: &asked.attribution,
        facts: &asked.facts,
        operation: arrived.endpoint.operation,
        dialect: arrived.dialect,
        metered: arrived.endpoint.metered,
        reads_only: !arrived.upgrade
            && matches!(arrived.head.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS),
        provider: &target.provider.settings.name,
        upstream_model: target.model.as_deref(),
        model: target.offer.as_ref().map(|offer| &*offer.model),
        bound: foreseen.bound,
        input_is_counted: false,
        terms: &foreseen.terms,
        ceiling: foreseen.ceiling,
        estimate: foreseen.estimated_cost,
        bounded_by_context: asked.facts.server_state || asked.facts.server_tools,
        refuses_swaps,
        does_not_fit: false,
        applied: &[],
        now: proxy.clock.now(),
    }
}

/// What the model makes of input; for a model that the catalog does not know, what is customary for its name.
pub(super) fn rule(offer: Option<&Offer>, requested: Option<&str>) -> BoundRule {
    match offer {
        Some(Offer { model }) => {
            BoundRule { tokenizer: model.tokenizer, image: model.image_rule, context_window: model.context_window }
        }
        None => BoundRule { tokenizer: Tokenizer::customary(requested.unwrap_or_default()), ..BoundRule::default() },
    }
}
