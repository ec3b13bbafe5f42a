//! LiteLLM's `model_prices_and_context_window.json`: one object of models, dollars a token (second, query, page …), the
//! variants of a price in the suffixes of its key: `_above_200k_tokens`, then `_flex`, `_priority`, `_batches` ….

use super::decimal;
use super::{RemarkKind, Sheet, provider_name};
use crate::catalog::draft::{Draft, DraftCard, DraftImage, DraftPlan};
use crate::tokens::usage::Kind;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

type Object<'a> = BTreeMap<String, &'a RawValue>;

/// The longer key stands first where one is the beginning of the other.
const TOKEN_KEYS: [(&str, Kind); 14] = [
    ("cache_creation_input_token_cost_above_12hr", Kind::CacheWrite12h),
    ("cache_creation_input_token_cost_above_1hr", Kind::CacheWrite1h),
    ("cache_creation_input_token_cost", Kind::CacheWrite5m),
    ("cache_read_input_audio_token_cost", Kind::CacheReadAudio),
    ("cache_read_input_image_token_cost", Kind::CacheReadImage),
    ("cache_read_input_token_cost", Kind::CacheRead),
    ("input_cost_per_audio_token", Kind::InputAudio),
    ("input_cost_per_image_token", Kind::InputImage),
    ("input_cost_per_video_token", Kind::InputVideo),
    ("input_cost_per_token", Kind::Input),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("output_cost_per_audio_token", Kind::OutputAudio),
    ("output_cost_per_image_token", Kind::OutputImage),
    ("output_cost_per_token", Kind::Output),
];

const SERVICE_TIERS: [(&str, &str); 5] = [
    ("_flex", "flex"),
    ("_priority", "priority"),
    ("_batches", "batch"),
    ("_ultrafast", "ultrafast"),
    ("_balanced", "balanced"),
];

const CAPABILITIES: [(&str, &str); 7] = [
    ("supports_vision", "vision"),
    ("supports_function_calling", "tools"),
    ("supports_response_schema", "json_schema"),
    ("supports_reasoning", "reasoning"),
    ("supports_audio_input", "audio_input"),
    ("supports_audio_output", "audio_output"),
    ("supports_pdf_input", "files"),
];

pub fn read(text: &str, sheet: &mut Sheet) -> serde_json::Result<()> {
    let models: BTreeMap<String, BTreeMap<String, &RawValue>> = serde_json::from_str(text)?;
    for (key, entry) in models.iter().filter(|(key, _)| *key != "sample_spec") {
        let Some(provider) = entry.get("litellm_provider").and_then(|raw| string(raw)) else { continue };
        let id = key.strip_prefix(&provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(key);
        let provider = provider_name(&provider).to_owned();
        let name = format!("{provider}/{id}");
        let Some(mode) = mode(entry) else {
            let mode = entry.get("mode").and_then(|raw| string(raw)).unwrap_or_default();
            sheet.remark(RemarkKind::ModelLeftOut, &name, format!("mode {mode} is not metered here"));
            continue;
        };
        if let Some((image, model)) = sized_image(id, entry) {
            let draft = sheet.models.entry(provider).or_default().entry(model).or_default();
            draft.mode = "image".to_owned();
            plan_of(draft).per_image.push(image);
            continue;
        }
        let plan = Reading { name: &name, entry, sheet, plan: DraftPlan::default(), mode }.plan();
        if plan.is_empty() {
            sheet.remark(RemarkKind::ModelLeftOut, &name, "no price that is known here");
            continue;
        }
        let draft = sheet.models.entry(provider).or_default().entry(id.to_owned()).or_default();
        let images = std::mem::take(&mut plan_of(draft).per_image);
        describe(draft, entry, mode);
        draft.plans = vec![DraftPlan { per_image: [plan.per_image.clone(), images].concat(), ..plan }];
    }
    Ok(())
}

fn plan_of(draft: &mut Draft) -> &mut DraftPlan {
    if draft.plans.is_empty() {
        draft.plans.push(DraftPlan::default());
    }
    &mut draft.plans[0]
}

fn describe(draft: &mut Draft, entry: &Object<'_>, mode: &str) {
    let number =
        |key: &str| decimal::whole(entry.get(key)?.get()).filter(|count| *count > 0).map(|count| count.to_string());
    draft.mode = mode.to_owned();
    draft.context_window = number("max_input_tokens");
    draft.max_output_tokens = number("max_output_tokens").filter(|_| matches!(mode, "chat" | "completion"));
    draft.retired = entry.get("deprecation_date").and_then(|raw| string(raw)).filter(|date| date.len() == 10);
    let has = |key: &str| entry.get(key).is_some_and(|raw| raw.get() == "true");
    draft.can = CAPABILITIES.into_iter().filter(|(key, _)| has(key)).map(|(_, can)| can).collect();
}

fn mode(entry: &Object<'_>) -> Option<&'static str> {
    match entry.get("mode").and_then(|raw| string(raw)).as_deref() {
        None | Some("chat" | "responses" | "realtime") => Some("chat"),
        Some("completion") => Some("completion"),
        Some("embedding") => Some("embedding"),
        Some("image_generation" | "image_edit") => Some("image"),
        Some("audio_speech") => Some("speech"),
        Some("audio_transcription") => Some("transcription"),
        Some("moderation") => Some("moderation"),
        Some("rerank") => Some("rerank"),
        Some("ocr") => Some("ocr"),
        Some(_) => None,
    }
}

/// `low/1024-x-1536/gpt-image-1`: the price of one image of that size and quality.
fn sized_image(id: &str, entry: &Object<'_>) -> Option<(DraftImage, String)> {
    let mut parts: Vec<&str> = id.split('/').collect();
    let model = parts.pop()?.to_owned();
    let size = parts.pop()?.replace("-x-", "x");
    let (width, height) = size.split_once('x')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let price = entry.get("input_cost_per_image").or_else(|| entry.get("output_cost_per_image"))?;
    let price = decimal::scale(price.get(), 1, 0).filter(|price| !price.is_zero)?;
    let quality = parts.pop().map(str::to_owned);
    let plain = digits(width) && digits(height) && parts.is_empty();
    plain.then_some((DraftImage { size: Some(size), quality, price: price.text }, model))
}

struct Reading<'a, 's> {
    name: &'a str,
    entry: &'a Object<'a>,
    sheet: &'s mut Sheet,
    plan: DraftPlan,
    mode: &'static str,
}

impl Reading<'_, '_> {
    fn plan(mut self) -> DraftPlan {
        let mut cards: BTreeMap<&'static str, DraftCard> = BTreeMap::new();
        let entry = self.entry;
        for (key, raw) in entry {
            if let Some((kind, tier, service_tier)) = token_key(key) {
                let Some(price) = self.price(key, raw, 1, 6) else { continue };
                let card = cards.entry(service_tier).or_default();
                let rates = match tier {
                    Some(above) => card.tiers.entry(above).or_default(),
                    None => &mut card.rates,
                };
                rates.insert(kind, price);
            } else {
                self.other(key, raw);
            }
        }
        let base = cards.remove("").unwrap_or_default();
        let base = DraftCard { rates: base.rates.clone(), tiers: base.tiers };
        self.plan.card = self.plan.card.overlaid(&base);
        let base = &self.plan.card;
        self.plan.service_tiers = cards
            .into_iter()
            .map(|(name, card)| (name.to_owned(), base.overlaid(&card).difference(base)))
            .filter(|(_, card)| *card != DraftCard::default())
            .collect();
        self.plan
    }

    /// Everything whose unit is not a token, and what has no place here.
    fn other(&mut self, key: &str, raw: &RawValue) {
        match key {
            "tiered_pricing" => self.ranges(raw),
            "provider_specific_entry" => self.factors(raw),
            "search_context_cost_per_query" => self.search(raw),
            "regional_processing_uplift_multiplier_us" => self.region("us", raw),
            "regional_processing_uplift_multiplier_eu" => self.region("eu", raw),
            "input_cost_per_character" => self.plan.per_mchar = self.price(key, raw, 1, 6),
            "input_cost_per_query" | "input_cost_per_request" => self.fee(Kind::Requests, key, raw, 3),
            "file_search_cost_per_1k_calls" => self.fee(Kind::FileSearch, key, raw, 3),
            "code_interpreter_cost_per_session" => self.fee(Kind::CodeInterpreter, key, raw, 3),
            "ocr_cost_per_page" => self.fee(Kind::Pages, key, raw, 3),
            // Beside a price a token it is the same price said again.
            "input_cost_per_second" if !self.entry.contains_key("input_cost_per_token") => {
                self.plan.per_audio_hour = self.price(key, raw, 3_600, 0);
            }
            "output_cost_per_image" if !self.entry.contains_key("output_cost_per_image_token") => self.image(key, raw),
            "input_cost_per_image" if self.mode == "image" && !self.entry.contains_key("output_cost_per_image") => {
                self.image(key, raw)
            }
            "input_cost_per_second" | "output_cost_per_second" | "input_cost_per_token_cache_hit" => {}
            _ if key.contains("cost") || key.contains("pricing") || key.contains("multiplier") => {
                let zero = decimal::scale(raw.get(), 1, 6).is_some_and(|scaled| scaled.is_zero);
                if !zero {
                    self.sheet.remark(RemarkKind::LeftOut, self.name, key);
                }
            }
            _ => {}
        }
    }

    fn fee(&mut self, kind: Kind, key: &str, raw: &RawValue, power: i32) {
        if let Some(price) = self.price(key, raw, 1, power) {
            self.plan.per_1k.insert(kind, price);
        }
    }

    fn image(&mut self, key: &str, raw: &RawValue) {
        if let Some(price) = self.price(key, raw, 1, 0) {
            self.plan.per_image.push(DraftImage { price, ..DraftImage::default() });
        }
    }

    fn region(&mut self, region: &str, raw: &RawValue) {
        if let Some(factor) = decimal::scale(raw.get(), 1, 0).filter(|factor| !factor.is_zero) {
            self.plan.regions.insert(region.to_owned(), factor.text);
        }
    }

    /// `{"us": 1.1, "fast": 2.0}`: Anthropic's regions and speed.
    fn factors(&mut self, raw: &RawValue) {
        let Ok(entries) = serde_json::from_str::<Object<'_>>(raw.get()) else { return };
        for (key, raw) in &entries {
            match (key.as_str(), decimal::scale(raw.get(), 1, 0).filter(|factor| !factor.is_zero)) {
                ("us" | "eu", Some(factor)) => drop(self.plan.regions.insert(key.clone(), factor.text)),
                ("fast", Some(factor)) => drop(self.plan.speeds.insert(key.clone(), factor.text)),
                _ => self.sheet.remark(RemarkKind::LeftOut, self.name, format!("provider_specific_entry.{key}")),
            }
        }
    }

    /// The price of a search may depend on the size of its context; ours is one price: the middle one.
    fn search(&mut self, raw: &RawValue) {
        let Ok(entries) = serde_json::from_str::<Object<'_>>(raw.get()) else { return };
        let sizes: Vec<&str> = entries.values().map(|raw| raw.get()).collect();
        if sizes.iter().any(|size| *size != sizes[0]) {
            self.sheet.remark(
                RemarkKind::LeftOut,
                self.name,
                "search_context_cost_per_query: low and high; the medium one is taken",
            );
        }
        if let Some(raw) = entries.get("search_context_size_medium") {
            self.fee(Kind::WebSearch, "search_context_cost_per_query", raw, 3);
        }
    }

    /// `[{"range": [0, 32000.0], "input_cost_per_token": 1e-06, …}, …]`: prices by the size of the input, as ours.
    fn ranges(&mut self, raw: &RawValue) {
        let Ok(rows) = serde_json::from_str::<Vec<Object<'_>>>(raw.get()) else {
            self.sheet.remark(RemarkKind::LeftOut, self.name, "tiered_pricing");
            return;
        };
        for row in &rows {
            let start = row.get("range").and_then(|raw| serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok());
            let start = start.and_then(|range| decimal::whole(range.first()?.get()));
            let Some(above) = start else {
                self.sheet.remark(RemarkKind::LeftOut, self.name, "tiered_pricing without a range of input tokens");
                continue;
            };
            for (key, raw) in row.iter().filter(|(key, _)| *key != "range") {
                match token_key(key) {
                    Some((kind, None, "")) => {
                        let Some(price) = self.price(key, raw, 1, 6) else { continue };
                        let card = &mut self.plan.card;
                        let rates = if above == 0 { &mut card.rates } else { card.tiers.entry(above).or_default() };
                        rates.insert(kind, price);
                    }
                    _ => self.sheet.remark(RemarkKind::LeftOut, self.name, format!("tiered_pricing.{key}")),
                }
            }
        }
    }

    /// A price above zero; the others are remarked.
    fn price(&mut self, key: &str, raw: &RawValue, factor: u32, power: i32) -> Option<String> {
        if raw.get() == "null" {
            return None;
        }
        let Some(scaled) = decimal::scale(raw.get(), factor, power) else {
            self.sheet.remark(
                RemarkKind::LeftOut,
                self.name,
                format!("{key}: {}", raw.get().chars().take(60).collect::<String>()),
            );
            return None;
        };
        if scaled.is_zero {
            // A model that answers with no tokens has no price for them.
            let answers = matches!(self.mode, "chat" | "completion") || !key.starts_with("output");
            if answers {
                self.sheet.remark(RemarkKind::Zero, self.name, key);
            }
            return None;
        }
        if scaled.rounded {
            self.sheet.remark(RemarkKind::Rounded, self.name, format!("{key}: {} → {}", raw.get(), scaled.text));
        }
        Some(scaled.text)
    }
}

/// Kind, size tier and service tier of a key: `input_cost_per_token_above_272k_tokens_flex`.
fn token_key(key: &str) -> Option<(Kind, Option<u64>, &'static str)> {
    let (start, kind) = TOKEN_KEYS.into_iter().find(|(start, _)| key.starts_with(start))?;
    let rest = &key[start.len()..];
    let (rest, service_tier) = SERVICE_TIERS
        .into_iter()
        .find_map(|(suffix, name)| Some((rest.strip_suffix(suffix)?, name)))
        .unwrap_or((rest, ""));
    if rest.is_empty() {
        return Some((kind, None, service_tier));
    }
    let thousands = rest.strip_prefix("_above_")?.strip_suffix("k_tokens")?;
    Some((kind, Some(thousands.parse::<u64>().ok()?.checked_mul(1_000)?), service_tier))
}

fn string(raw: &RawValue) -> Option<String> {
    serde_json::from_str(raw.get()).ok()
}
