//! genai-prices' JSON: providers with models, dollars a million tokens, tiers within a price, dates and hours as
//! constraints, service tiers and batches as variants.

use super::decimal;
use super::{RemarkKind, Sheet, provider_name};
use crate::catalog::draft::{Draft, DraftCard, DraftPlan};
use crate::tokens::usage::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct TheirProvider<'a> {
    id: String,
    #[serde(borrow)]
    models: Vec<TheirModel<'a>>,
}

#[derive(Deserialize)]
struct TheirModel<'a> {
    id: String,
    #[serde(borrow, rename = "match")]
    matches: Option<&'a RawValue>,
    context_window: Option<u64>,
    #[serde(borrow)]
    prices: &'a RawValue,
    #[serde(borrow, default)]
    price_variants: Option<Vec<Variant<'a>>>,
}

#[derive(Deserialize)]
struct Conditional<'a> {
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: BTreeMap<String, &'a RawValue>,
}

#[derive(Clone, Deserialize)]
struct Constraint {
    start_date: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
}

#[derive(Deserialize)]
struct Variant<'a> {
    when: BTreeMap<String, String>,
    constraint: Option<Constraint>,
    #[serde(borrow)]
    prices: BTreeMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
struct Tiered<'a> {
    #[serde(borrow)]
    base: &'a RawValue,
    #[serde(borrow)]
    tiers: Vec<Tier<'a>>,
}

#[derive(Deserialize)]
struct Tier<'a> {
    start: u64,
    #[serde(borrow)]
    price: &'a RawValue,
}

#[derive(Deserialize)]
struct Feed<'a> {
    #[serde(borrow)]
    providers: Vec<TheirProvider<'a>>,
}

pub fn read(text: &str, sheet: &mut Sheet) -> serde_json::Result<()> {
    // The crate ships the list itself, the feed wraps it.
    let providers = match text.trim_start().starts_with('[') {
        true => serde_json::from_str::<Vec<TheirProvider<'_>>>(text)?,
        false => serde_json::from_str::<Feed<'_>>(text)?.providers,
    };
    for provider in &providers {
        for model in &provider.models {
            let here = provider_name(&provider.id);
            let name = format!("{here}/{}", model.id);
            let Some(draft) = draft(model, &name, sheet) else {
                sheet.remark(RemarkKind::ModelLeftOut, &name, "no price that is known here");
                continue;
            };
            sheet.models.entry(here.to_owned()).or_default().insert(model.id.clone(), draft);
        }
    }
    Ok(())
}

fn draft(model: &TheirModel<'_>, name: &str, sheet: &mut Sheet) -> Option<Draft> {
    let conditional = match model.prices.get().trim_start().starts_with('[') {
        true => serde_json::from_str::<Vec<Conditional<'_>>>(model.prices.get()).ok()?,
        false => vec![Conditional { constraint: None, prices: serde_json::from_str(model.prices.get()).ok()? }],
    };
    let mut dated: Vec<(Option<String>, DraftPlan)> = Vec::new();
    let mut windows = Vec::new();
    for price in &conditional {
        let plan = plan(&price.prices, name, sheet);
        match price.constraint.clone() {
            Some(Constraint { start_time: Some(start), end_time: Some(end), .. }) => {
                windows.push((format!("{}-{}", clock(&start), clock(&end)), plan.card));
            }
            Some(Constraint { start_date, .. }) => dated.push((start_date, plan)),
            None => dated.push((None, plan)),
        }
    }
    dated.sort_by(|left, right| left.0.cmp(&right.0));
    let ends: Vec<Option<String>> = dated.iter().skip(1).map(|(from, _)| from.clone()).chain([None]).collect();
    let last = dated.len().saturating_sub(1);
    let mut plans = Vec::new();
    for (place, ((from, mut plan), end)) in dated.into_iter().zip(ends).enumerate() {
        // The first prices are valid since ever: nothing is known about the time before them.
        plan.from = from.filter(|_| place > 0);
        if place == last {
            plan.windows = windows
                .iter()
                .map(|(utc, card)| (utc.clone(), plan.card.overlaid(card).difference(&plan.card)))
                .collect();
        }
        variants(&mut plan, model, end.as_deref(), name, sheet);
        plans.push(plan);
    }
    let context_window = model.context_window.map(|tokens| tokens.to_string());
    let aliases =
        model.matches.map(aliases).unwrap_or_default().into_iter().filter(|alias| *alias != model.id).collect();
    let priced = plans.iter().any(|plan| !plan.is_empty());
    priced.then(|| Draft { aliases, context_window, plans, ..Draft::default() })
}

/// `01:00:00Z` → `01:00`
fn clock(time: &str) -> String {
    time.chars().take(5).collect()
}

/// What service tiers and batches cost while a plan is valid. They were often verified later than the plan began; the
/// latest that began before its end counts for all of it.
fn variants(plan: &mut DraftPlan, model: &TheirModel<'_>, end: Option<&str>, name: &str, sheet: &mut Sheet) {
    let mut latest: BTreeMap<&str, (Option<&str>, DraftCard)> = BTreeMap::new();
    for variant in model.price_variants.iter().flatten() {
        let from = variant.constraint.as_ref().and_then(|constraint| constraint.start_date.as_deref());
        if from.zip(end).is_some_and(|(from, end)| from >= end) {
            continue;
        }
        let when: Vec<(&str, &str)> = variant.when.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let service_tier = match when.as_slice() {
            [("service_tier", "default")] => continue,
            [("service_tier", "fast")] => "priority",
            [("service_tier", tier)] => tier,
            [("processing", "batch")] => "batch",
            _ => {
                sheet.remark(RemarkKind::LeftOut, name, format!("a variant when {when:?}"));
                continue;
            }
        };
        let card = self::plan(&variant.prices, name, sheet).card;
        let card = plan.card.overlaid(&card).difference(&plan.card);
        if latest.get(service_tier).is_none_or(|(known, _)| from >= *known) {
            latest.insert(service_tier, (from, card));
        }
    }
    let differing = latest.into_iter().filter(|(_, (_, card))| *card != DraftCard::default());
    plan.service_tiers = differing.map(|(tier, (_, card))| (tier.to_owned(), card)).collect();
}

fn plan(prices: &BTreeMap<String, &RawValue>, name: &str, sheet: &mut Sheet) -> DraftPlan {
    let mut plan = DraftPlan::default();
    for (key, raw) in prices {
        if let Some(kind) = token_kind(key) {
            let Ok(tiered) = serde_json::from_str::<Tiered<'_>>(raw.get()) else {
                plan.card.rates.extend(price(key, raw, name, sheet).map(|price| (kind, price)));
                continue;
            };
            plan.card.rates.extend(price(key, tiered.base, name, sheet).map(|price| (kind, price)));
            for tier in &tiered.tiers {
                let price = price(key, tier.price, name, sheet).map(|price| (kind, price));
                plan.card.tiers.entry(tier.start).or_default().extend(price);
            }
            continue;
        }
        let fee = |kind: Kind, sheet: &mut Sheet| price(key, raw, name, sheet).map(|price| (kind, price));
        match key.as_str() {
            "web_searches_kcount" => plan.per_1k.extend(fee(Kind::WebSearch, sheet)),
            "storage_searches_kcount" => plan.per_1k.extend(fee(Kind::FileSearch, sheet)),
            "requests_kcount" => plan.per_1k.extend(fee(Kind::Requests, sheet)),
            "input_document_kpages" => plan.per_1k.extend(fee(Kind::Pages, sheet)),
            "input_mchars" => plan.per_mchar = price(key, raw, name, sheet),
            "audio_hours" => plan.per_audio_hour = price(key, raw, name, sheet),
            "input_audio_hours" if prices.contains_key("audio_hours") => {}
            "input_audio_hours" => plan.per_audio_hour = price(key, raw, name, sheet),
            _ => sheet.remark(RemarkKind::LeftOut, name, key.as_str()),
        }
    }
    plan.card.tiers.retain(|_, tier| !tier.is_empty());
    plan
}

fn token_kind(key: &str) -> Option<Kind> {
    Some(match key {
        "input_mtok" => Kind::Input,
        "output_mtok" => Kind::Output,
        "cache_read_mtok" => Kind::CacheRead,
        "cache_write_mtok" | "cache_write_5m_mtok" => Kind::CacheWrite5m,
        "cache_write_1h_mtok" => Kind::CacheWrite1h,
        "input_audio_mtok" => Kind::InputAudio,
        "cache_audio_read_mtok" => Kind::CacheReadAudio,
        "input_image_mtok" => Kind::InputImage,
        "cache_image_read_mtok" => Kind::CacheReadImage,
        "input_video_mtok" => Kind::InputVideo,
        "output_audio_mtok" => Kind::OutputAudio,
        "output_image_mtok" => Kind::OutputImage,
        "output_reasoning_mtok" => Kind::Reasoning,
        _ => return None,
    })
}

/// A price in the unit that its key names; ours is the same. Zeros are remarked and left out.
fn price(key: &str, raw: &RawValue, name: &str, sheet: &mut Sheet) -> Option<String> {
    let Some(scaled) = decimal::scale(raw.get(), 1, 0) else {
        sheet.remark(RemarkKind::LeftOut, name, format!("{key}: {}", raw.get().chars().take(60).collect::<String>()));
        return None;
    };
    if scaled.is_zero {
        sheet.remark(RemarkKind::Zero, name, key);
        return None;
    }
    if scaled.rounded {
        sheet.remark(RemarkKind::Rounded, name, format!("{key}: {} → {}", raw.get(), scaled.text));
    }
    Some(scaled.text)
}

/// The names that a match clause spells out. Its patterns are not taken: our own rules find dated names.
fn aliases(clause: &RawValue) -> Vec<String> {
    #[derive(Deserialize)]
    struct Clause<'a> {
        equals: Option<String>,
        #[serde(borrow, rename = "or", default)]
        any: Vec<&'a RawValue>,
    }
    let Ok(clause) = serde_json::from_str::<Clause<'_>>(clause.get()) else { return Vec::new() };
    clause.equals.into_iter().chain(clause.any.into_iter().flat_map(aliases)).collect()
}
