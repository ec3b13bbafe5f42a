//! Usage → cost: the one rounding. And usage bound → ceiling: what a call can cost at most.
//!
//! Units × rates are added exactly in `i128`, multipliers as fractions; the running sums are rounded once, half to even,
//! to pico-dollars, and a kind's part is the difference of two of them. So the parts sum to the total by construction.

use super::rates::{Card, Condition, Multiplier, Plan, Prices, Rates, is_token, units_per_rate};
use crate::clock::Timestamp;
use crate::money::{Rate, Ratio, Usd, round_half_even};
use crate::tokens::usage::{Kind, TokenUsage};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What an attempt costs at list price, or why that is not known. Unknown is never zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pricing {
    Priced(Box<Cost>),
    Unpriced(Unpriced),
    /// Nothing there is billed (a model list, a file's metadata).
    Unmetered,
}

impl Pricing {
    /// The ledger's word: `priced`, `unmetered`, or why there is no price.
    pub fn word(&self) -> &'static str {
        match self {
            Pricing::Priced(_) => "priced",
            Pricing::Unmetered => "unmetered",
            Pricing::Unpriced(Unpriced::UnknownModel) => "unknown_model",
            Pricing::Unpriced(Unpriced::NoRate) => "no_rate",
            Pricing::Unpriced(Unpriced::UnknownUsage) => "unknown_usage",
            Pricing::Unpriced(Unpriced::OutOfRange) => "out_of_range",
        }
    }

    /// The list price; `None`: there is none, and unknown is not zero.
    pub fn cost(&self) -> Option<Usd> {
        match self {
            Pricing::Priced(cost) => Some(cost.total),
            Pricing::Unpriced(_) | Pricing::Unmetered => None,
        }
    }
}

/// A priced usage. The parts sum to the total by construction: they are the differences of the rounded running sums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub total: Usd,
    /// By kind, in the order of [`Kind::ALL`]; only kinds that were used.
    pub by_kind: Vec<(Kind, Usd)>,
    /// The rates that were applied, before `multiplier`: kept with the event so that history can be priced again. For
    /// one unit each, but [`Kind::AudioMillis`]: for an hour ([`units_per_rate`]).
    pub rates: Vec<(Kind, Rate)>,
    /// Version of the catalog that they come from.
    pub catalog: Arc<str>,
    /// What was applied in words: `tier >272000`, `service_tier flex`, `region eu ×1.1`.
    pub terms: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpriced {
    /// No catalog entry for the model at this provider.
    UnknownModel,
    /// The entry has no rate for a kind that was used.
    NoRate,
    /// What was used is not known.
    UnknownUsage,
    /// The sum does not fit: nonsense from a provider.
    OutOfRange,
}

/// What else the price depends on.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The response's `service_tier` when it is known, else the request's.
    pub service_tier: Option<Arc<str>>,
    /// A batch: `processing: batch`.
    pub batch: bool,
    /// For generated images priced by the piece: their size and quality.
    pub image_size: Option<Arc<str>>,
    pub image_quality: Option<Arc<str>>,
    /// Where the tokens are processed, if that is billed: `us`, `eu` (OpenAI's regional hosts, Anthropic's
    /// `inference_geo`).
    pub region: Option<Arc<str>>,
    /// Anthropic: `speed`, as the response reports it.
    pub speed: Option<Arc<str>>,
    /// For ceilings: what the request lets the provider write to a cache.
    pub cache_writes: CacheWrites,
}

/// Which cache writes a request can cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheWrites {
    /// Any that the model has a price for: nothing is known about the request.
    #[default]
    Any,
    /// Up to this lifetime.
    UpTo(Kind),
    /// The request asks for none and the provider writes none unasked.
    Never,
}

/// A call may be billed by the prices of up to this much later than its admission.
pub const CEILING_HORIZON_MINUTES: u16 = 60;

/// The list price of a usage at a moment.
pub fn price(prices: &Prices, catalog: &Arc<str>, usage: &TokenUsage, terms: &Terms, now: Timestamp) -> Pricing {
    let mut words = Words(Some(Vec::new()));
    let Some((lines, factor)) = billed(prices, usage, terms, now, &mut words) else {
        return Pricing::Unpriced(Unpriced::NoRate);
    };
    match add_up(&lines, factor) {
        Some((total, by_kind)) => Pricing::Priced(Box::new(Cost {
            total,
            by_kind,
            rates: lines.iter().map(|line| (line.kind, line.rate)).collect(),
            catalog: catalog.clone(),
            terms: words.0.unwrap_or_default(),
        })),
        None => Pricing::Unpriced(Unpriced::OutOfRange),
    }
}

/// The total of [`price`] alone, for what is only foreseen; `None`: unpriced.
pub fn total(prices: &Prices, usage: &TokenUsage, terms: &Terms, now: Timestamp) -> Option<Usd> {
    let (lines, factor) = billed(prices, usage, terms, now, &mut Words(None))?;
    summed(&lines, factor, |_, _| {})
}

/// What a usage is billed at: each kind with its rate, and the multiplier. `None`: a kind has no rate.
fn billed(
    prices: &Prices,
    usage: &TokenUsage,
    terms: &Terms,
    now: Timestamp,
    words: &mut Words,
) -> Option<(Vec<Line>, Ratio)> {
    let plan = prices.at(now)?;
    let (card, rates) = applied(plan, usage.input_tokens(), terms, now, words)?;
    let factor = multiplier(plan, terms, words);
    let mut lines = Vec::with_capacity(4);
    for (kind, units) in usage.used() {
        let rate = match kind {
            Kind::Images => image_rate(plan, terms).or_else(|| card.rates.own(Kind::Images)),
            _ => rates.of(kind),
        };
        lines.push(Line { kind, units, rate: rate? });
    }
    Some((lines, factor))
}

/// What led to a price, in words; `None` where nobody will read them.
struct Words(Option<Vec<Arc<str>>>);

impl Words {
    fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(words) = &mut self.0 {
            words.push(text().into());
        }
    }
}

/// The most that a usage within `bound` can cost from `now` to an hour later, at any service tier, size tier and daily
/// window that the terms admit.
///
/// *Within* means: no more input tokens in all, no more sound, picture and video tokens each (cached ones included), no
/// more output tokens in all, and no more of any other unit. How the provider splits text into fresh, cached and written
/// input, or output into text, sound and reasoning, does not matter. `None`: a kind of the bound has no price.
pub fn ceiling(
    prices: &Prices,
    default_tier: Option<&str>,
    bound: &TokenUsage,
    terms: &Terms,
    now: Timestamp,
) -> Option<Usd> {
    let until = Timestamp(now.0.saturating_add(i64::from(CEILING_HORIZON_MINUTES) * 60_000_000));
    let plans = prices.between(now, until).map(|plan| plan_ceiling(plan, default_tier, bound, terms, now));
    plans.reduce(|dearest, plan| Some(dearest?.max(plan?)))?
}

struct Line {
    kind: Kind,
    units: u64,
    rate: Rate,
}

/// The rates that a call of this size is billed at, and what led there in words.
fn applied<'a>(
    plan: &'a Plan,
    input_tokens: u64,
    terms: &Terms,
    now: Timestamp,
    words: &mut Words,
) -> Option<(&'a Card, &'a Rates)> {
    if !plan.from_text.is_empty() {
        words.say(|| format!("from {}", plan.from_text));
    }
    let asked = tier_name(terms);
    let tier = asked.as_deref().and_then(|name| plan.service_tier(name));
    match (asked.as_deref(), tier) {
        (Some(name), Some(_)) => words.say(|| format!("service_tier {name}")),
        (Some("auto"), None) | (None, _) => {}
        (Some(name), None) => words.say(|| format!("service_tier {name}: no rate, the default's")),
    }
    let window = plan.window(now);
    if let Some(window) = window.and_then(|place| plan.windows.get(place)) {
        words.say(|| format!("window {}", window.words()));
    }
    let card = plan.card(tier, window)?;
    match card.tier(input_tokens) {
        Some(tier) => {
            words.say(|| format!("tier >{}", tier.above_input_tokens));
            Some((card, &tier.rates))
        }
        None => Some((card, &card.rates)),
    }
}

/// The service tier by the catalog's name; `None` for the plain one, however a provider spells that.
///
/// OpenAI: `default`, and `fast` is answered as `priority`. Anthropic: `standard`, asked as `standard_only`. Groq:
/// `on_demand`. Gemini: `ON_DEMAND`, `SERVICE_TIER_STANDARD`.
fn tier_name(terms: &Terms) -> Option<String> {
    if terms.batch {
        return Some("batch".to_owned());
    }
    let named = terms.service_tier.as_deref().filter(|named| *named != "default")?;
    let lower = named.to_ascii_lowercase();
    match lower.strip_prefix("service_tier_").unwrap_or(&lower) {
        "" | "default" | "standard" | "standard_only" | "on_demand" | "unspecified" => None,
        "fast" => Some("priority".to_owned()),
        other => Some(other.to_owned()),
    }
}

fn multiplier(plan: &Plan, terms: &Terms, words: &mut Words) -> Ratio {
    let mut product = Ratio::ONE;
    for multiplier in plan.multipliers.iter().filter(|multiplier| holds(multiplier, terms)) {
        let Some(next) = times(product, multiplier.factor) else { continue };
        product = next;
        words.say(|| format!("{} {} ×{}", multiplier.on.name(), multiplier.value, multiplier.text));
    }
    product
}

fn holds(multiplier: &Multiplier, terms: &Terms) -> bool {
    let value = match multiplier.on {
        Condition::Region => &terms.region,
        Condition::Speed => &terms.speed,
    };
    value.as_deref().is_some_and(|value| value.eq_ignore_ascii_case(&multiplier.value))
}

/// Factors have at most 6 decimals and are at most 4,000, so a product of two fits; `None` where it does not.
fn times(left: Ratio, right: Ratio) -> Option<Ratio> {
    Some(Ratio {
        numerator: left.numerator.checked_mul(right.numerator)?,
        denominator: left.denominator.checked_mul(right.denominator)?,
    })
}

/// The price of an image of the size and quality asked: the first entry that fits. What the request does not name fits
/// every entry (so the first of the list is the provider's own default); `auto` is the dearest that fits.
fn image_rate(plan: &Plan, terms: &Terms) -> Option<Rate> {
    let (mut fitting, auto) = images_fitting(plan, terms);
    if auto { fitting.max() } else { fitting.next() }
}

fn images_fitting<'a>(plan: &'a Plan, terms: &'a Terms) -> (impl Iterator<Item = Rate> + 'a, bool) {
    let auto = |asked: &Option<Arc<str>>| asked.as_deref() == Some("auto");
    let fits = |entry: &Option<Arc<str>>, asked: &Option<Arc<str>>| match (entry, asked) {
        (Some(entry), Some(asked)) => &**asked == "auto" || entry == asked,
        _ => true,
    };
    let fitting = plan
        .images
        .iter()
        .filter(move |image| fits(&image.size, &terms.image_size) && fits(&image.quality, &terms.image_quality))
        .map(|image| image.rate);
    (fitting, auto(&terms.image_size) || auto(&terms.image_quality))
}

/// Total and parts; `None` where they do not fit.
fn add_up(lines: &[Line], factor: Ratio) -> Option<(Usd, Vec<(Kind, Usd)>)> {
    let mut parts = Vec::with_capacity(lines.len());
    let total = summed(lines, factor, |kind, part| parts.push((kind, part)))?;
    Some((total, parts))
}

/// The total; `None` where it does not fit. Each part is told as it is known.
fn summed(lines: &[Line], factor: Ratio, mut part: impl FnMut(Kind, Usd)) -> Option<Usd> {
    // The common denominator of all lines: the multiplier's, and the largest number of units a rate pays for.
    let shared = lines.iter().map(|line| units_per_rate(line.kind)).max().unwrap_or(1);
    let denominator = i128::from(factor.denominator).checked_mul(i128::from(shared))?.checked_mul(1_000)?;
    let (mut sum, mut rounded) = (0i128, Usd::ZERO);
    for line in lines {
        let scale = if is_token(line.kind) { factor.numerator } else { factor.denominator };
        let femto = i128::from(line.units).checked_mul(i128::from(line.rate.as_femto()))?;
        let scaled =
            femto.checked_mul(i128::from(scale))?.checked_mul(i128::from(shared / units_per_rate(line.kind)))?;
        sum = sum.checked_add(scaled)?;
        let upto = round_half_even(sum, denominator).and_then(|pico| i64::try_from(pico).ok()).map(Usd::from_pico)?;
        part(line.kind, upto.checked_sub(rounded)?);
        rounded = upto;
    }
    Some(rounded)
}

fn plan_ceiling(
    plan: &Plan,
    default_tier: Option<&str>,
    bound: &TokenUsage,
    terms: &Terms,
    now: Timestamp,
) -> Option<Usd> {
    let admitted = admitted_rates(plan, default_tier, bound.input_tokens(), terms, now);
    let factor = multiplier(plan, terms, &mut Words(None));
    let mut lines = Vec::with_capacity(4);
    for (kind, units) in bound.used() {
        let rate = match kind {
            Kind::Images => images_fitting(plan, terms).0.max().or_else(|| dearest(&admitted, [kind].into_iter())),
            _ if kind.is_input_token() => dearest_input(&admitted, kind, terms.cache_writes),
            _ if kind.is_output_token() => dearest(&admitted, OUTPUT.into_iter()),
            _ => dearest(&admitted, [kind].into_iter()),
        };
        lines.push(Line { kind, units, rate: rate? });
    }
    // Rounded running sums only grow with the exact ones, so a dearer exact sum never rounds below a cheaper one.
    summed(&lines, factor, |_, _| {})
}

const OUTPUT: [Kind; 4] = [Kind::Output, Kind::Reasoning, Kind::OutputAudio, Kind::OutputImage];

/// All rates that a call of up to this size may be billed at.
fn admitted_rates<'a>(
    plan: &'a Plan,
    default_tier: Option<&str>,
    input_tokens: u64,
    terms: &Terms,
    now: Timestamp,
) -> Vec<&'a Rates> {
    let asked = tier_name(terms);
    let unnamed = terms.service_tier.is_none() && !terms.batch;
    let named = asked.as_deref().or(default_tier.filter(|_| unnamed));
    let is_admitted = |place: usize| match named {
        Some("auto") => plan.service_tiers.get(place).is_some_and(|tier| tier.auto),
        // A tier that was asked for may be billed as the plain one where the provider has no room in it.
        Some(name) => plan.service_tier(name) == Some(place),
        None => false,
    };
    let mut rates = Vec::with_capacity(4);
    for tier in std::iter::once(None).chain((0..plan.service_tiers.len()).filter(|place| is_admitted(*place)).map(Some))
    {
        let whole_day_left =
            plan.windows.iter().enumerate().filter(|(_, window)| window.touches(now, CEILING_HORIZON_MINUTES));
        for window in std::iter::once(None).chain(whole_day_left.map(|(place, _)| Some(place))) {
            let Some(card) = plan.card(tier, window) else { continue };
            let reached = card.tiers.iter().filter(|tier| input_tokens > tier.above_input_tokens);
            rates.extend(std::iter::once(&card.rates).chain(reached.map(|tier| &tier.rates)));
        }
    }
    rates
}

/// `None` where any of the admitted rates has no price for the first of the kinds: then nothing bounds it.
fn dearest(admitted: &[&Rates], kinds: impl Iterator<Item = Kind> + Clone) -> Option<Rate> {
    let first = kinds.clone().next()?;
    let of_each = admitted.iter().map(|rates| {
        let known = rates.of(first).or_else(|| kinds.clone().find_map(|kind| rates.own(kind)))?;
        kinds.clone().filter_map(|kind| rates.of(kind)).chain([known]).max()
    });
    of_each.reduce(|left, right| Some(left?.max(right?)))?
}

/// Text may be read from a cache or written to it; a modality may be billed as its own kind or as text.
fn dearest_input(admitted: &[&Rates], kind: Kind, writes: CacheWrites) -> Option<Rate> {
    let of_its_own: &[Kind] = match kind {
        Kind::InputAudio | Kind::CacheReadAudio => &[Kind::InputAudio, Kind::CacheReadAudio],
        Kind::InputImage | Kind::CacheReadImage => &[Kind::InputImage, Kind::CacheReadImage],
        _ => &[],
    };
    let written = Kind::CACHE_WRITES.into_iter().filter(move |kind| match writes {
        CacheWrites::Any => true,
        CacheWrites::UpTo(longest) => *kind <= longest,
        CacheWrites::Never => false,
    });
    let text = [Kind::Input, Kind::CacheRead, kind];
    dearest(admitted, text.into_iter().chain(of_its_own.iter().copied()).chain(written))
}

#[cfg(test)]
#[path = "price_tests.rs"]
mod tests;
