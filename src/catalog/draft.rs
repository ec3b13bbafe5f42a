//! A catalog being written: what an importer has found out, as texts, and how it becomes YAML that [`super::file`] reads.

use crate::tokens::usage::Kind;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Prices as exact decimal texts, dollars a million tokens.
pub type Decimals = BTreeMap<Kind, String>;

/// One model of one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    pub aliases: Vec<String>,
    /// A name of [`super::model::Mode`]; empty for chat.
    pub mode: String,
    pub context_window: Option<String>,
    pub max_output_tokens: Option<String>,
    pub can: Vec<&'static str>,
    pub retired: Option<String>,
    /// Ascending by date; the first without one.
    pub plans: Vec<DraftPlan>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftPlan {
    pub from: Option<String>,
    pub card: DraftCard,
    /// Fees for a thousand calls or pages.
    pub per_1k: Decimals,
    pub per_mchar: Option<String>,
    pub per_audio_hour: Option<String>,
    pub per_image: Vec<DraftImage>,
    /// What a service tier changes.
    pub service_tiers: BTreeMap<String, DraftCard>,
    /// Hours in UTC and what they change.
    pub windows: Vec<(String, DraftCard)>,
    /// Factors on token prices, by region.
    pub regions: BTreeMap<String, String>,
    pub speeds: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DraftCard {
    pub rates: Decimals,
    /// By the number of input tokens above which they hold.
    pub tiers: BTreeMap<u64, Decimals>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DraftImage {
    pub size: Option<String>,
    pub quality: Option<String>,
    pub price: String,
}

impl DraftPlan {
    pub fn is_empty(&self) -> bool {
        self.card.rates.is_empty()
            && self.per_1k.is_empty()
            && self.per_mchar.is_none()
            && self.per_audio_hour.is_none()
            && self.per_image.is_empty()
    }
}

impl DraftCard {
    /// This card with what `over` names in its place. A flat price in it takes the place of a tiered one.
    pub fn overlaid(&self, over: &DraftCard) -> DraftCard {
        let mut card = self.clone();
        for (kind, price) in &over.rates {
            card.rates.insert(*kind, price.clone());
            for (above, tier) in &mut card.tiers {
                if !over.tiers.get(above).is_some_and(|tier| tier.contains_key(kind)) && tier.contains_key(kind) {
                    tier.insert(*kind, price.clone());
                }
            }
        }
        for (above, tier) in &over.tiers {
            let mine = card.tiers.entry(*above).or_default();
            mine.extend(tier.iter().map(|(kind, price)| (*kind, price.clone())));
        }
        card
    }

    /// What differs from `base`, so that `base` changed by it is this card.
    pub fn difference(&self, base: &DraftCard) -> DraftCard {
        let differing = |mine: &Decimals, base: Option<&Decimals>| -> Decimals {
            let same = |kind, price| base.and_then(|base| base.get(kind)) == Some(price);
            mine.iter().filter(|(kind, price)| !same(kind, price)).map(|(kind, price)| (*kind, price.clone())).collect()
        };
        let tiers = self.tiers.iter().map(|(above, tier)| (*above, differing(tier, base.tiers.get(above))));
        DraftCard {
            rates: differing(&self.rates, Some(&base.rates)),
            tiers: tiers.filter(|(_, tier)| !tier.is_empty()).collect(),
        }
    }
}

/// Models by provider and id, as YAML.
pub fn to_yaml(models: &BTreeMap<String, BTreeMap<String, Draft>>, date: &str, source: &str) -> String {
    let source_key = word(source);
    let mut yaml = format!("version: 1\ndate: {date}\ncurrency: USD\n");
    let _ = writeln!(yaml, "sources:\n  {source_key}: {{read: {date}}}\nmodels:");
    for (provider, models) in models {
        let _ = writeln!(yaml, "  {}:", word(provider));
        for (id, draft) in models {
            let _ = writeln!(yaml, "    {}:", word(id));
            model_lines(&mut yaml, draft, source);
        }
    }
    yaml
}

fn model_lines(yaml: &mut String, draft: &Draft, source: &str) {
    let mut line = |key: &str, value: String| {
        let _ = writeln!(yaml, "      {key}: {value}");
    };
    if !draft.aliases.is_empty() {
        line("aliases", list(draft.aliases.iter().map(String::as_str)));
    }
    if !draft.mode.is_empty() && draft.mode != "chat" {
        line("mode", draft.mode.clone());
    }
    for (key, value) in [
        ("context_window", &draft.context_window),
        ("max_output_tokens", &draft.max_output_tokens),
        ("retired", &draft.retired),
    ] {
        if let Some(value) = value {
            line(key, value.clone());
        }
    }
    if !draft.can.is_empty() {
        line("can", list(draft.can.iter().copied()));
    }
    line("source", format!("[{}]", word(source)));
    let Some((first, changes)) = draft.plans.split_first() else { return };
    plan_lines(yaml, "      ", first, &DraftPlan::default());
    if !changes.is_empty() {
        yaml.push_str("      changes:\n");
    }
    for (before, plan) in draft.plans.iter().zip(changes) {
        let _ = writeln!(yaml, "        - from: {}", plan.from.as_deref().unwrap_or("1970-01-01"));
        plan_lines(yaml, "          ", plan, before);
    }
}

/// What differs from the plan before; what is gone is said by `null` or an empty list.
fn plan_lines(yaml: &mut String, indent: &str, plan: &DraftPlan, before: &DraftPlan) {
    let mut line = |text: String| {
        let _ = writeln!(yaml, "{indent}{text}");
    };
    if plan.card.rates != before.card.rates {
        line(format!("per_mtok: {}", changed(&plan.card.rates, &before.card.rates)));
    }
    if plan.per_1k != before.per_1k {
        line(format!("per_1k: {}", changed(&plan.per_1k, &before.per_1k)));
    }
    for (key, price, before) in [
        ("per_mchar", &plan.per_mchar, &before.per_mchar),
        ("per_audio_hour", &plan.per_audio_hour, &before.per_audio_hour),
    ] {
        match price {
            _ if price == before => {}
            Some(price) => line(format!("{key}: \"{price}\"")),
            None => line(format!("{key}: null")),
        }
    }
    if plan.per_image != before.per_image {
        line(format!("per_image: [{}]", plan.per_image.iter().map(image).collect::<Vec<_>>().join(", ")));
    }
    if plan.card.tiers != before.card.tiers {
        line(format!("tiers: {}", tiers(&plan.card.tiers)));
    }
    if plan.service_tiers != before.service_tiers {
        line("service_tiers:".to_owned());
        for (name, card) in &plan.service_tiers {
            let old = before.service_tiers.get(name).map(|card| &card.rates);
            line(format!("  {}: {{{}}}", word(name), card_words(card, old.unwrap_or(&Decimals::new()))));
        }
        for gone in before.service_tiers.keys().filter(|name| !plan.service_tiers.contains_key(*name)) {
            line(format!("  {}: null", word(gone)));
        }
    }
    if plan.windows != before.windows {
        let window =
            |(utc, card): &(String, DraftCard)| format!("{{utc: \"{utc}\", {}}}", card_words(card, &Decimals::new()));
        line(format!("windows: [{}]", plan.windows.iter().map(window).collect::<Vec<_>>().join(", ")));
    }
    if (&plan.regions, &plan.speeds) != (&before.regions, &before.speeds) {
        let factors = |factors: &BTreeMap<String, String>| {
            factors
                .iter()
                .map(|(value, factor)| format!("{}: \"{factor}\"", word(value)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        line(format!("multipliers: {{region: {{{}}}, speed: {{{}}}}}", factors(&plan.regions), factors(&plan.speeds)));
    }
}

fn card_words(card: &DraftCard, before: &Decimals) -> String {
    // Tiers are always said, empty ones too: an older plan's would shine through.
    format!("per_mtok: {}, tiers: {}", changed(&card.rates, before), tiers(&card.tiers))
}

fn changed(rates: &Decimals, before: &Decimals) -> String {
    let gone = before.keys().filter(|kind| !rates.contains_key(kind)).map(|kind| format!("{}: null", kind.name()));
    let named = rates.iter().map(|(kind, price)| format!("{}: \"{price}\"", kind.name()));
    format!("{{{}}}", named.chain(gone).collect::<Vec<_>>().join(", "))
}

fn tiers(tiers: &BTreeMap<u64, Decimals>) -> String {
    let tier = |(above, rates): (&u64, &Decimals)| {
        format!("{{above_input_tokens: {above}, per_mtok: {}}}", changed(rates, &Decimals::new()))
    };
    format!("[{}]", tiers.iter().map(tier).collect::<Vec<_>>().join(", "))
}

fn image(image: &DraftImage) -> String {
    let part = |key: &str, value: &Option<String>| value.as_ref().map(|value| format!("{key}: {}, ", word(value)));
    let (size, quality) = (part("size", &image.size), part("quality", &image.quality));
    format!("{{{}{}price: \"{}\"}}", size.unwrap_or_default(), quality.unwrap_or_default(), image.price)
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", words.map(word).collect::<Vec<_>>().join(", "))
}

/// A word as YAML: plain where every reader takes it for text, else quoted.
pub fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._/+-".contains(&byte);
    let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"._+-eE".contains(&byte));
    let reserved = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if starts && text.bytes().all(plain) && !numeric && !reserved.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    // JSON's strings are YAML's double-quoted ones.
    serde_json::Value::from(text).to_string()
}
