//! A model's prices as lines that a person or a program reads, and the difference between two catalogs line by line.

use super::model::{Catalog, Model};
use super::rates::{Card, Plan};
use crate::money::Rate;
use crate::tokens::usage::Kind;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One price, and when it applies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Line {
    /// Empty: since ever.
    pub from: Arc<str>,
    /// Empty: the plain one.
    pub service_tier: Arc<str>,
    /// `01:00-04:00 UTC mon`; empty: the rest of the day.
    pub window: Arc<str>,
    /// 0: from the first token on.
    pub above_input_tokens: u64,
    /// A kind's name, or `images 1024x1024 hd`, or `× region eu`.
    pub what: String,
    /// Exact decimal; dollars, but for factors.
    pub price: String,
    pub per: &'static str,
}

impl Line {
    /// When it applies, in a few words; empty for the plain price.
    pub fn terms(&self) -> String {
        let mut words = Vec::new();
        if !self.from.is_empty() {
            words.push(format!("from {}", self.from));
        }
        if !self.service_tier.is_empty() {
            words.push(self.service_tier.to_string());
        }
        if !self.window.is_empty() {
            words.push(self.window.to_string());
        }
        if self.above_input_tokens > 0 {
            words.push(format!(">{} input tokens", self.above_input_tokens));
        }
        words.join(", ")
    }
}

/// Every price of a model that is named, in the order in which a person would ask for them.
pub fn lines(model: &Model) -> Vec<Line> {
    model.prices.0.iter().flat_map(plan_lines).collect()
}

/// What a rate is for and how it is written.
pub fn unit(kind: Kind) -> (&'static str, u64) {
    match kind {
        Kind::WebSearch | Kind::FileSearch | Kind::CodeInterpreter | Kind::Requests => ("1k calls", 1_000),
        Kind::Pages => ("1k pages", 1_000),
        Kind::Images => ("image", 1),
        Kind::Characters => ("1M characters", 1_000_000),
        Kind::AudioMillis => ("hour", 1),
        _ => ("1M tokens", 1_000_000),
    }
}

fn plan_lines(plan: &Plan) -> Vec<Line> {
    let mut lines = Vec::new();
    let names =
        |place: Option<usize>| place.and_then(|place| plan.service_tiers.get(place)).map(|tier| tier.name.clone());
    let places = std::iter::once(None).chain((0..plan.service_tiers.len()).map(Some));
    for service_tier in places {
        for window in std::iter::once(None).chain((0..plan.windows.len()).map(Some)) {
            let Some(card) = plan.card(service_tier, window) else { continue };
            let window = window.and_then(|place| plan.windows.get(place)).map(|window| window.words());
            let blank = Line {
                from: plan.from_text.clone(),
                service_tier: names(service_tier).unwrap_or_default(),
                window: window.unwrap_or_default().into(),
                above_input_tokens: 0,
                what: String::new(),
                price: String::new(),
                per: "",
            };
            lines.extend(card_lines(card, &blank));
        }
    }
    let plain = |what: String, price: String, per: &'static str| Line {
        from: plan.from_text.clone(),
        service_tier: "".into(),
        window: "".into(),
        above_input_tokens: 0,
        what,
        price,
        per,
    };
    for image in &plan.images {
        let words: Vec<&str> =
            ["images"].into_iter().chain(image.size.as_deref()).chain(image.quality.as_deref()).collect();
        lines.push(plain(words.join(" "), image.rate.to_decimal_per(1), "image"));
    }
    for multiplier in &plan.multipliers {
        lines.push(plain(
            format!("× {} {}", multiplier.on.name(), multiplier.value),
            multiplier.text.to_string(),
            "factor",
        ));
    }
    lines
}

fn card_lines(card: &Card, blank: &Line) -> Vec<Line> {
    // Fees and pieces have no tiers: they are said once, for the plain card.
    let plain = blank.service_tier.is_empty() && blank.window.is_empty();
    let line = |kind: Kind, rate: Rate, above_input_tokens: u64| {
        let (per, units) = unit(kind);
        Line {
            above_input_tokens,
            what: kind.name().to_owned(),
            price: rate.to_decimal_per(units),
            per,
            ..blank.clone()
        }
    };
    let base = card.rates.named().iter().filter(|(kind, _)| plain || super::rates::is_token(*kind));
    let mut lines: Vec<Line> = base.map(|(kind, rate)| line(*kind, *rate, 0)).collect();
    for tier in &card.tiers {
        let token = tier.rates.named().iter().filter(|(kind, _)| super::rates::is_token(*kind));
        lines.extend(token.map(|(kind, rate)| line(*kind, *rate, tier.above_input_tokens)));
    }
    lines
}

/// How one model differs between two catalogs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub provider: Arc<str>,
    pub model: Arc<str>,
    #[serde(flatten)]
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    Added,
    Removed,
    /// `terms` and `what` name the price or the fact; `None` where a side has none.
    Changed {
        terms: String,
        what: String,
        before: Option<String>,
        after: Option<String>,
    },
}

/// What `after` says otherwise than `before`, by provider and model.
pub fn diff(before: &Catalog, after: &Catalog) -> Vec<Difference> {
    let (old, new) = (by_name(before), by_name(after));
    let mut names: Vec<_> = old.keys().chain(new.keys()).cloned().collect();
    names.sort();
    names.dedup();
    let mut differences = Vec::new();
    for name in names {
        let of = |change: Change| Difference { provider: name.0.clone(), model: name.1.clone(), change };
        match (old.get(&name), new.get(&name)) {
            (Some(old), Some(new)) => differences.extend(changes(old, new).into_iter().map(of)),
            (Some(_), None) => differences.push(of(Change::Removed)),
            _ => differences.push(of(Change::Added)),
        }
    }
    differences
}

fn by_name(catalog: &Catalog) -> BTreeMap<(Arc<str>, Arc<str>), Arc<Model>> {
    catalog.models(None).into_iter().map(|model| ((model.provider.clone(), model.id.clone()), model)).collect()
}

fn changes(old: &Model, new: &Model) -> Vec<Change> {
    let (old, new) = (said(old), said(new));
    let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differing = keys.into_iter().filter(|key| old.get(*key) != new.get(*key));
    differing
        .map(|key| Change::Changed {
            terms: key.0.clone(),
            what: key.1.clone(),
            before: old.get(key).cloned(),
            after: new.get(key).cloned(),
        })
        .collect()
}

/// Prices and facts by terms and name.
fn said(model: &Model) -> BTreeMap<(String, String), String> {
    let prices = lines(model).into_iter().map(|line| ((line.terms(), line.what.clone()), line.price));
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let facts = [
        ("context_window", number(model.context_window)),
        ("max_output_tokens", number(model.max_output_tokens)),
        ("retired", model.retired.as_deref().map(str::to_owned)),
    ];
    let facts = facts.into_iter().filter_map(|(name, value)| Some(((String::new(), name.to_owned()), value?)));
    prices.chain(facts).collect()
}
