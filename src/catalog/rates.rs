//! Rates with tiers, dates, daily windows and service tiers: what a model costs, before any usage is known.
//!
//! A price list is resolved when it is read: for every effective date, service tier and daily window there is one
//! [`Card`] with all its rates, so that pricing a call only looks up and adds.

use crate::clock::Timestamp;
use crate::money::{Rate, Ratio};
use crate::tokens::usage::Kind;
use std::sync::Arc;

/// Units that one [`Rate`] of a kind pays for. Sound is priced by the hour, since `$0.04` an hour is no whole number of
/// femto-dollars a millisecond; everything else by the piece.
pub const fn units_per_rate(kind: Kind) -> u64 {
    match kind {
        Kind::AudioMillis => MILLIS_PER_HOUR,
        _ => 1,
    }
}

pub const MILLIS_PER_HOUR: u64 = 3_600_000;

/// Rates by kind: those that the catalog names, the rest by fallback. A kind that is free says so (`"0"`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(Vec<(Kind, Rate)>);

impl Rates {
    /// The later of two rates of one kind counts.
    pub fn new(rates: impl IntoIterator<Item = (Kind, Rate)>) -> Self {
        let mut sorted = Rates::default();
        for (kind, rate) in rates {
            sorted.set(kind, rate);
        }
        sorted
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rates as named, in the order of [`Kind::ALL`].
    pub fn named(&self) -> &[(Kind, Rate)] {
        &self.0
    }

    pub fn own(&self, kind: Kind) -> Option<Rate> {
        self.0.iter().find(|(named, _)| *named == kind).map(|(_, rate)| *rate)
    }

    /// The rate that a kind is billed at: its own, else that of the kind it is a case of. Cached input without a price
    /// of its own costs what input costs; a cache write what the nearest shorter-lived write costs; a modality what text
    /// of its direction costs; reasoning what output costs (as genai-prices reads its own data). `None`: no price.
    pub fn of(&self, kind: Kind) -> Option<Rate> {
        self.own(kind).or_else(|| self.of(self.falls_back_to(kind)?))
    }

    /// These rates with those of `over` in their place where it names any.
    pub fn overlaid(&self, over: &Rates) -> Rates {
        Rates::new(self.0.iter().chain(&over.0).copied())
    }

    /// Token rates times a factor; fees a call or a piece stay. The kind whose product is no whole number of
    /// femto-dollars is the error.
    pub fn times(&self, factor: Ratio) -> Result<Rates, Kind> {
        let scaled = self.0.iter().map(|(kind, rate)| match is_token(*kind) {
            true => scale(*rate, factor).map(|rate| (*kind, rate)).ok_or(*kind),
            false => Ok((*kind, *rate)),
        });
        scaled.collect::<Result<Vec<_>, _>>().map(Rates)
    }

    fn set(&mut self, kind: Kind, rate: Rate) {
        match self.0.binary_search_by_key(&kind, |(named, _)| *named) {
            Ok(place) => self.0[place].1 = rate,
            Err(place) => self.0.insert(place, (kind, rate)),
        }
    }

    fn falls_back_to(&self, kind: Kind) -> Option<Kind> {
        match kind {
            Kind::CacheRead => Some(Kind::Input),
            // Where no cache price is named at all, the cached sound or picture costs what a fresh one does.
            Kind::CacheReadAudio if self.own(Kind::CacheRead).is_none() => Some(Kind::InputAudio),
            Kind::CacheReadImage if self.own(Kind::CacheRead).is_none() => Some(Kind::InputImage),
            Kind::CacheReadAudio | Kind::CacheReadImage => Some(Kind::CacheRead),
            Kind::CacheWrite12h => Some(Kind::CacheWrite1h),
            Kind::CacheWrite1h => Some(Kind::CacheWrite30m),
            Kind::CacheWrite30m => Some(Kind::CacheWrite5m),
            Kind::CacheWrite5m | Kind::InputAudio | Kind::InputImage | Kind::InputVideo => Some(Kind::Input),
            Kind::Reasoning | Kind::OutputAudio | Kind::OutputImage => Some(Kind::Output),
            _ => None,
        }
    }
}

/// Rates above a size of the input. A cliff: the whole request is billed at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Strictly more input tokens (cached ones included) than this.
    pub above_input_tokens: u64,
    /// All rates, those of the tier below where it names none.
    pub rates: Rates,
}

/// Everything a token costs at one time in one service tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    pub rates: Rates,
    /// Ascending by size.
    pub tiers: Vec<Tier>,
}

impl Card {
    pub fn tier(&self, input_tokens: u64) -> Option<&Tier> {
        self.tiers.iter().rev().find(|tier| input_tokens > tier.above_input_tokens)
    }
}

/// A card as written: tiers say only what they name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedCard {
    pub rates: Rates,
    /// Ascending by size.
    pub tiers: Vec<NamedTier>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedTier {
    pub above_input_tokens: u64,
    pub rates: Rates,
}

impl NamedCard {
    /// This card changed by what a service tier or a daily window says: token rates times its factor, then what it
    /// names, tier by tier.
    pub fn changed(&self, change: &CardChange) -> Result<NamedCard, Kind> {
        let mut tiers = Vec::with_capacity(self.tiers.len());
        for tier in &self.tiers {
            let rates = tier.rates.times(change.multiply)?;
            tiers.push(NamedTier { above_input_tokens: tier.above_input_tokens, rates });
        }
        for named in &change.tiers {
            match tiers.binary_search_by_key(&named.above_input_tokens, |tier| tier.above_input_tokens) {
                Ok(place) => tiers[place].rates = tiers[place].rates.overlaid(&named.rates),
                Err(place) => tiers.insert(place, named.clone()),
            }
        }
        Ok(NamedCard { rates: self.rates.times(change.multiply)?.overlaid(&change.rates), tiers })
    }

    /// What a tier does not name is what the tier below it says, at last the base rates.
    pub fn resolved(&self) -> Card {
        let mut tiers: Vec<Tier> = Vec::with_capacity(self.tiers.len());
        for tier in &self.tiers {
            let below = tiers.last().map_or(&self.rates, |tier| &tier.rates);
            tiers.push(Tier { above_input_tokens: tier.above_input_tokens, rates: below.overlaid(&tier.rates) });
        }
        Card { rates: self.rates.clone(), tiers }
    }
}

/// What a service tier or a daily window changes: token rates times a factor, then the rates that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardChange {
    pub multiply: Ratio,
    pub rates: Rates,
    pub tiers: Vec<NamedTier>,
}

/// A class of service with its own rates: `flex`, `priority`, `batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceTier {
    pub name: Arc<str>,
    /// A request that leaves the choice to the provider (`auto`) may be billed at it.
    pub auto: bool,
}

/// A daily time in UTC, half-open; one that ends before it starts goes over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start_minute: u16,
    pub end_minute: u16,
    pub days: Days,
}

/// Days of the week in UTC. A window over midnight belongs to the day on which its moment lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    pub const ALL: Days = Days(0b111_1111);
    pub const NONE: Days = Days(0);
    /// In the order of their bits.
    pub const NAMES: [&'static str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    pub fn and(self, day: usize) -> Days {
        Days(self.0 | (1 << (day % 7)))
    }

    fn contains(self, moment: Timestamp) -> bool {
        // 1970-01-01 was a Thursday, the day numbered 3 here.
        let day = (moment.as_seconds().div_euclid(86_400) + 3).rem_euclid(7);
        self.0 & (1 << day) != 0
    }

    /// `mon tue`; nothing for all of them.
    fn words(self) -> String {
        let named = (0..7).filter(|day| self != Days::ALL && self.0 & (1 << day) != 0);
        named.map(|day| format!(" {}", Days::NAMES[day])).collect()
    }
}

pub const MINUTES_PER_DAY: u16 = 1_440;

impl Window {
    pub fn contains(self, moment: Timestamp) -> bool {
        let minute = minute_of_day(moment);
        let within = match self.start_minute <= self.end_minute {
            true => (self.start_minute..self.end_minute).contains(&minute),
            false => minute >= self.start_minute || minute < self.end_minute,
        };
        within && self.days.contains(moment)
    }

    /// Some moment of `[from, from + minutes]` lies within; at most a day ahead. May say yes where the days do not fit:
    /// it serves upper bounds.
    pub fn touches(self, from: Timestamp, minutes: u16) -> bool {
        let ahead = |minutes: i64| Timestamp(from.0.saturating_add(minutes * 60_000_000));
        let until_start = (i64::from(self.start_minute) - i64::from(minute_of_day(from))).rem_euclid(1_440);
        let until_midnight = 1_440 - i64::from(minute_of_day(from));
        let starts = [0, until_start, until_midnight];
        starts.into_iter().any(|start| start <= i64::from(minutes) && self.contains(ahead(start)))
    }

    /// `01:00-04:00 UTC mon tue`
    pub fn words(self) -> String {
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        format!("{}-{} UTC{}", clock(self.start_minute), clock(self.end_minute), self.days.words())
    }
}

fn minute_of_day(moment: Timestamp) -> u16 {
    let minute = moment.as_seconds().div_euclid(60).rem_euclid(i64::from(MINUTES_PER_DAY));
    u16::try_from(minute).unwrap_or(0)
}

/// A factor on token rates that a condition of the call brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multiplier {
    pub on: Condition,
    /// `eu`, `fast`.
    pub value: Arc<str>,
    pub factor: Ratio,
    /// The factor as written, for the words of a cost.
    pub text: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Where the tokens are processed: OpenAI's regional hosts, Anthropic's `inference_geo`.
    Region,
    /// Anthropic's `speed`.
    Speed,
}

impl Condition {
    pub fn name(self) -> &'static str {
        match self {
            Condition::Region => "region",
            Condition::Speed => "speed",
        }
    }
}

/// The price of one image made. An entry without size or quality stands for any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePrice {
    pub size: Option<Arc<str>>,
    pub quality: Option<Arc<str>>,
    pub rate: Rate,
}

/// All prices from one date on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub from: Timestamp,
    /// `2026-12-01`; empty for the first plan, which is valid since ever.
    pub from_text: Arc<str>,
    pub service_tiers: Vec<ServiceTier>,
    pub windows: Vec<Window>,
    /// `[service tier or none][window or none]`, none first.
    cards: Vec<Card>,
    pub multipliers: Vec<Multiplier>,
    /// In order of preference: where the request names no size, the first is what is made.
    pub images: Vec<ImagePrice>,
}

/// Changes by service tier and window, as written.
#[derive(Clone, Debug, Default)]
pub struct PlanChanges {
    pub service_tiers: Vec<(ServiceTier, CardChange)>,
    pub windows: Vec<(Window, CardChange)>,
    pub multipliers: Vec<Multiplier>,
    pub images: Vec<ImagePrice>,
}

impl Plan {
    /// The kind whose rate is no whole number of femto-dollars after a factor is the error.
    pub fn new(from: Timestamp, from_text: Arc<str>, base: &NamedCard, changes: PlanChanges) -> Result<Plan, Kind> {
        let mut rows = vec![base.clone()];
        for (_, change) in &changes.service_tiers {
            rows.push(base.changed(change)?);
        }
        let mut cards = Vec::with_capacity(rows.len() * (changes.windows.len() + 1));
        for row in rows {
            cards.push(row.resolved());
            for (_, change) in &changes.windows {
                cards.push(row.changed(change)?.resolved());
            }
        }
        Ok(Plan {
            from,
            from_text,
            service_tiers: changes.service_tiers.into_iter().map(|(tier, _)| tier).collect(),
            windows: changes.windows.into_iter().map(|(window, _)| window).collect(),
            cards,
            multipliers: changes.multipliers,
            images: changes.images,
        })
    }

    pub fn base(&self) -> Option<&Card> {
        self.cards.first()
    }

    /// The card of a service tier (by its place) at a daily window (by its place).
    pub fn card(&self, service_tier: Option<usize>, window: Option<usize>) -> Option<&Card> {
        let row = service_tier.map_or(0, |place| place + 1) * (self.windows.len() + 1);
        self.cards.get(row + window.map_or(0, |place| place + 1))
    }

    pub fn service_tier(&self, name: &str) -> Option<usize> {
        self.service_tiers.iter().position(|tier| &*tier.name == name)
    }

    pub fn window(&self, now: Timestamp) -> Option<usize> {
        self.windows.iter().position(|window| window.contains(now))
    }

    /// No price of anything.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.cards.iter().all(|card| card.rates.is_empty() && card.tiers.is_empty())
    }
}

/// A model's prices over time: ascending by date, the first valid since ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices(pub Vec<Plan>);

impl Prices {
    pub fn at(&self, now: Timestamp) -> Option<&Plan> {
        self.0.iter().rev().find(|plan| plan.from <= now).or(self.0.first())
    }

    /// Every plan that is valid at some moment of `[from, until]`.
    pub fn between(&self, from: Timestamp, until: Timestamp) -> impl Iterator<Item = &Plan> {
        let first = self.0.iter().rposition(|plan| plan.from <= from).unwrap_or(0);
        self.0
            .iter()
            .enumerate()
            .filter(move |(place, plan)| *place == first || (*place > first && plan.from <= until))
            .map(|(_, plan)| plan)
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Plan::is_empty)
    }
}

pub fn is_token(kind: Kind) -> bool {
    kind.is_input_token() || kind.is_output_token()
}

fn scale(rate: Rate, factor: Ratio) -> Option<Rate> {
    let product = u128::from(rate.as_femto()) * u128::from(factor.numerator);
    let divisor = u128::from(factor.denominator);
    (divisor > 0 && product % divisor == 0)
        .then_some(product / divisor.max(1))
        .and_then(|femto| u64::try_from(femto).ok())
        .map(Rate::from_femto)
}
