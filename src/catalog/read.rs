//! From the tree to models and prices, telling every fault. What is written but not understood is a fault, never skipped:
//! a misspelt price must not become a fallback.

use super::model::{Mode, Model, Provider};
use super::rates::{
    CardChange, Condition, Days, ImagePrice, MINUTES_PER_DAY, Multiplier, NamedCard, NamedTier, Plan, PlanChanges,
    Prices, Rates, ServiceTier, Window,
};
use crate::clock::Timestamp;
use crate::money::{NotADecimal, Rate, Ratio};
use crate::tokens::media::ImageRule;
use crate::tokens::tokenizer::{Encoding, FramingFamily, Tokenizer};
use crate::tokens::usage::Kind;
use crate::yaml::{Entry, Fault, Node, Place, Value};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NotAName, StrDeserializer};
use std::sync::Arc;

/// Reads nodes and collects their faults.
pub struct Reader<'f> {
    pub faults: &'f mut Vec<Fault>,
}

const PROVIDER_KEYS: [&str; 5] = ["name", "url", "like", "vendors", "service_tier"];
const PRICE_KEYS: [&str; 10] = [
    "per_mtok",
    "per_1k",
    "per_mchar",
    "per_audio_minute",
    "per_audio_hour",
    "per_image",
    "tiers",
    "service_tiers",
    "windows",
    "multipliers",
];
const FACT_KEYS: [&str; 14] = [
    "aliases",
    "mode",
    "context_window",
    "max_output_tokens",
    "can",
    "unsupported",
    "output_limit",
    "tokenizer",
    "image_rule",
    "retired",
    "changes",
    "source",
    "disagreement",
    "note",
];
const PER_1K: [Kind; 5] = [Kind::WebSearch, Kind::FileSearch, Kind::CodeInterpreter, Kind::Requests, Kind::Pages];
/// A cache write of whatever lifetime is not named itself.
const CACHE_WRITE: &str = "cache_write";

impl Reader<'_> {
    pub fn fault(&mut self, place: Place, message: &str, remedy: &str) {
        self.faults.push(Fault::at(place, message.to_owned(), remedy));
    }

    pub fn provider(&mut self, entry: &Entry) -> Provider {
        let node = &entry.node;
        let mut provider = Provider::named(&entry.key);
        if node.is_null() {
            return provider;
        }
        self.keys(node, &PROVIDER_KEYS, "a provider");
        provider.like = node.find("like").map(|node| self.texts(node)).unwrap_or_default();
        provider.default_service_tier = node.find("service_tier").and_then(|node| self.text(node));
        let vendors = node.find("vendors").map(|node| self.mapping(node, "vendors")).unwrap_or_default();
        provider.vendors =
            vendors.iter().filter_map(|entry| Some((entry.key.clone(), self.text(&entry.node)?))).collect();
        provider
    }

    pub fn model(&mut self, provider: &Arc<str>, entry: &Entry) -> Model {
        let node = &entry.node;
        let known: Vec<&str> = FACT_KEYS.into_iter().chain(PRICE_KEYS).collect();
        self.keys(node, &known, "a model");
        if entry.key.trim().is_empty() || entry.key.len() > super::names::NAME_BYTES_MAX {
            self.fault(entry.place, "a model's name has 1 to 256 letters", "write the name as the provider does");
        }
        let bare = entry.key.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        let mut model = Model {
            id: entry.key.clone(),
            provider: provider.clone(),
            aliases: self.texts_of(node, "aliases"),
            context_window: node.find("context_window").and_then(|node| self.integer(node)),
            max_output_tokens: node.find("max_output_tokens").and_then(|node| self.integer(node)),
            unsupported: self.texts_of(node, "unsupported"),
            output_limit: node.find("output_limit").and_then(|node| self.text(node)),
            tokenizer: Tokenizer::customary(&bare),
            retired: node.find("retired").and_then(|node| self.date(node)).map(|(_, text)| text),
            source: self.texts_of(node, "source"),
            disagreement: self.texts_of(node, "disagreement"),
            note: node.find("note").and_then(|node| self.text(node)),
            prices: self.prices(node),
            ..Model::default()
        };
        if let Some(node) = node.find("mode") {
            let names = Mode::ALL.map(Mode::name);
            model.mode = self.one_of(node, &names).map_or(Mode::Chat, |place| Mode::ALL[place]);
        }
        self.capabilities(node, &mut model);
        if let Some(node) = node.find("tokenizer") {
            model.tokenizer = self.tokenizer(node, model.tokenizer);
        }
        if let Some(rule) = node.find("image_rule").and_then(|node| self.named::<ImageRule>(node)) {
            model.image_rule = rule;
        }
        model
    }

    fn capabilities(&mut self, node: &Node, model: &mut Model) {
        let Some(can) = node.find("can") else { return };
        for (name, place) in self.texts_with_places(can) {
            match model.capabilities.named(&name) {
                Some(can) => *can = true,
                None => self.unknown(place, &name, &super::model::Capabilities::NAMES, "a capability"),
            }
        }
    }

    fn tokenizer(&mut self, node: &Node, customary: Tokenizer) -> Tokenizer {
        self.keys(node, &["encoding", "exact", "factor", "framing"], "a tokenizer");
        let mut tokenizer = customary;
        if let Some(node) = node.find("encoding") {
            let names = Encoding::ALL.map(Encoding::name);
            tokenizer.encoding = self.one_of(node, &names).map_or(tokenizer.encoding, |place| Encoding::ALL[place]);
        }
        if let Some(node) = node.find("exact") {
            tokenizer.exact = self.one_of(node, &["false", "true"]) == Some(1);
        }
        if let Some((ratio, _)) = node.find("factor").and_then(|node| self.ratio(node)) {
            tokenizer.factor = ratio;
        }
        if let Some(framing) = node.find("framing").and_then(|node| self.named::<FramingFamily>(node)) {
            tokenizer.framing = framing;
        }
        tokenizer
    }

    /// The prices of the model itself, then one plan for each of its `changes`, each laid over the one before.
    fn prices(&mut self, node: &Node) -> Prices {
        let mut plans = Vec::new();
        plans.extend(self.plan(node, Timestamp(i64::MIN), "".into()));
        let Some(changes) = node.find("changes") else { return Prices(plans) };
        let mut so_far = node.clone();
        let mut before: Option<Timestamp> = None;
        for change in self.items(changes) {
            let known: Vec<&str> = PRICE_KEYS.into_iter().chain(["from"]).collect();
            self.keys(change, &known, "a change of prices");
            let Some(from) = change.find("from") else {
                self.fault(change.place, "a change without `from`", "write its first day: `from: 2026-12-01`");
                continue;
            };
            let Some((moment, text)) = self.date(from) else { continue };
            if before.is_some_and(|before| moment <= before) {
                self.fault(from.place, "changes are out of order", "write the earlier date first, each date once");
            }
            before = Some(moment);
            so_far.overlay(change.clone());
            plans.extend(self.plan(&so_far, moment, text));
        }
        Prices(plans)
    }

    fn plan(&mut self, node: &Node, from: Timestamp, from_text: Arc<str>) -> Option<Plan> {
        let rates = self.rates(node);
        let tiers = node.find("tiers").map(|node| self.tiers(node)).unwrap_or_default();
        let service_tiers =
            node.find("service_tiers").map(|node| self.mapping(node, "service_tiers")).unwrap_or_default();
        let service_tiers = service_tiers.iter().map(|entry| {
            self.keys(&entry.node, &["multiply", "auto", "per_mtok", "tiers"], "a service tier");
            let auto = entry.node.find("auto").is_some_and(|node| self.one_of(node, &["false", "true"]) == Some(1));
            (ServiceTier { name: entry.key.to_ascii_lowercase().into(), auto }, self.card_change(&entry.node))
        });
        let service_tiers = service_tiers.collect();
        let windows = node.find("windows").map(|node| self.items(node)).unwrap_or_default();
        let windows = windows.iter().filter_map(|node| {
            self.keys(node, &["utc", "days", "multiply", "per_mtok", "tiers"], "a daily window");
            Some((self.window(node)?, self.card_change(node)))
        });
        let windows = windows.collect();
        let changes =
            PlanChanges { service_tiers, windows, multipliers: self.multipliers(node), images: self.images(node) };
        match Plan::new(from, from_text, &NamedCard { rates, tiers }, changes) {
            Ok(plan) => Some(plan),
            Err(kind) => {
                let message = format!("`multiply` makes the {} rate finer than a femto-dollar a token", kind.name());
                self.fault(node.place, &message, "write the rate out under the service tier's or window's `per_mtok`");
                None
            }
        }
    }

    fn card_change(&mut self, node: &Node) -> CardChange {
        CardChange {
            multiply: node.find("multiply").and_then(|node| self.ratio(node)).map_or(Ratio::ONE, |(ratio, _)| ratio),
            rates: Rates::new(self.token_rates(node)),
            tiers: node.find("tiers").map(|node| self.tiers(node)).unwrap_or_default(),
        }
    }

    fn rates(&mut self, node: &Node) -> Rates {
        let mut rates = self.token_rates(node);
        if let Some(node) = node.find("per_1k") {
            for entry in self.mapping(node, "per_1k") {
                match PER_1K.into_iter().find(|kind| kind.name() == &*entry.key) {
                    Some(kind) => rates.extend(self.rate(&entry.node, 1_000).map(|rate| (kind, rate))),
                    None => self.unknown(entry.place, &entry.key, &PER_1K.map(Kind::name), "something counted"),
                }
            }
        }
        let per_mchar = node.find("per_mchar").and_then(|node| self.rate(node, 1_000_000));
        rates.extend(per_mchar.map(|rate| (Kind::Characters, rate)));
        let per_hour = node.find("per_audio_hour").and_then(|node| self.rate(node, 1));
        rates.extend(per_hour.map(|rate| (Kind::AudioMillis, rate)));
        if let Some(node) = node.find("per_audio_minute") {
            let hourly = self.rate(node, 1).and_then(|rate| rate.as_femto().checked_mul(60)).map(Rate::from_femto);
            rates.extend(hourly.map(|rate| (Kind::AudioMillis, rate)));
            if per_hour.is_some() {
                self.fault(node.place, "`per_audio_minute` beside `per_audio_hour`", "keep one of the two");
            }
        }
        Rates::new(rates)
    }

    fn token_rates(&mut self, node: &Node) -> Vec<(Kind, Rate)> {
        let Some(node) = node.find("per_mtok") else { return Vec::new() };
        let mut rates = Vec::new();
        for entry in self.mapping(node, "per_mtok") {
            let kind = match &*entry.key {
                CACHE_WRITE => Some(Kind::CacheWrite5m),
                name => Kind::named(name).filter(|kind| super::rates::is_token(*kind)),
            };
            match kind {
                Some(kind) => rates.extend(self.rate(&entry.node, 1_000_000).map(|rate| (kind, rate))),
                None => {
                    let names: Vec<&str> = token_kinds().map(Kind::name).chain([CACHE_WRITE]).collect();
                    self.unknown(entry.place, &entry.key, &names, "a kind of token");
                }
            }
        }
        let generic = node.entries().iter().find(|entry| &*entry.key == CACHE_WRITE);
        if let Some(generic) = generic.filter(|_| node.find(Kind::CacheWrite5m.name()).is_some()) {
            self.fault(generic.place, "`cache_write` beside `cache_write_5m`", "they are the same price: keep one");
        }
        rates
    }

    fn tiers(&mut self, node: &Node) -> Vec<NamedTier> {
        let mut tiers: Vec<NamedTier> = Vec::new();
        for item in self.items(node) {
            self.keys(item, &["above_input_tokens", "per_mtok"], "a tier");
            let Some(above) = item.find("above_input_tokens") else {
                self.fault(
                    item.place,
                    "a tier without `above_input_tokens`",
                    "write above how many input tokens it applies",
                );
                continue;
            };
            let Some(above_input_tokens) = self.integer(above) else { continue };
            if tiers.last().is_some_and(|last| last.above_input_tokens >= above_input_tokens) {
                self.fault(above.place, "tiers are out of order", "write the smaller size first, each size once");
            }
            let rates = Rates::new(self.token_rates(item));
            if rates.is_empty() {
                self.fault(item.place, "a tier without rates", "write its rates under `per_mtok`");
            }
            tiers.push(NamedTier { above_input_tokens, rates });
        }
        tiers
    }

    fn multipliers(&mut self, node: &Node) -> Vec<Multiplier> {
        let Some(node) = node.find("multipliers") else { return Vec::new() };
        self.keys(node, &["region", "speed"], "multipliers");
        let mut multipliers = Vec::new();
        for on in [Condition::Region, Condition::Speed] {
            let values = node.find(on.name()).map(|node| self.mapping(node, "a multiplier")).unwrap_or_default();
            for entry in values {
                if let Some((factor, text)) = self.ratio(&entry.node) {
                    multipliers.push(Multiplier { on, value: entry.key.clone(), factor, text });
                }
            }
        }
        multipliers
    }

    fn images(&mut self, node: &Node) -> Vec<ImagePrice> {
        let items = node.find("per_image").map(|node| self.items(node)).unwrap_or_default();
        let images = items.iter().filter_map(|item| {
            self.keys(item, &["size", "quality", "price"], "an image price");
            let size = item.find("size").and_then(|node| self.text(node));
            let quality = item.find("quality").and_then(|node| self.text(node));
            match item.find("price") {
                Some(price) => self.rate(price, 1).map(|rate| ImagePrice { size, quality, rate }),
                None => {
                    self.fault(
                        item.place,
                        "an image price without `price`",
                        "write dollars an image: `price: \"0.04\"`",
                    );
                    None
                }
            }
        });
        images.collect()
    }

    fn window(&mut self, node: &Node) -> Option<Window> {
        let Some(utc) = node.find("utc") else {
            self.fault(node.place, "a daily window without `utc`", "write its hours: `utc: \"01:00-04:00\"`");
            return None;
        };
        let text = self.text(utc)?;
        let minute = |clock: &str| {
            let (hour, minute) = clock.split_once(':')?;
            let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
            (minute < 60)
                .then(|| hour.checked_mul(60)?.checked_add(minute))
                .flatten()
                .filter(|all| *all <= MINUTES_PER_DAY)
        };
        let days = node.find("days").map_or(Days::ALL, |node| self.days(node));
        let window = text.split_once('-').and_then(|(start, end)| {
            let start_minute = minute(start.trim())? % MINUTES_PER_DAY;
            Some(Window { start_minute, end_minute: minute(end.trim())?, days })
        });
        if window.is_none() {
            self.fault(utc.place, &format!("`{text}` is no time of day"), "write hours in UTC: `utc: \"01:00-04:00\"`");
        }
        window
    }

    fn days(&mut self, node: &Node) -> Days {
        let mut days = Days::NONE;
        for (name, place) in self.texts_with_places(node) {
            match Days::NAMES.iter().position(|day| **day == *name) {
                Some(day) => days = days.and(day),
                None => self.unknown(place, &name, &Days::NAMES, "a day"),
            }
        }
        days
    }

    /// Dollars per `units`. A price is quoted, so that no reader of YAML takes it for a float.
    fn rate(&mut self, node: &Node, units: u64) -> Option<Rate> {
        let text = self.decimal(node)?;
        match Rate::per(&text, units) {
            Ok(rate) => Some(rate),
            Err(error) => {
                self.fault(node.place, &error.to_string(), decimal_remedy(&error));
                None
            }
        }
    }

    fn ratio(&mut self, node: &Node) -> Option<(Ratio, Arc<str>)> {
        let text = self.decimal(node)?;
        match text.parse() {
            Ok(ratio) => Some((ratio, text)),
            Err(error) => {
                self.fault(node.place, &format!("{error}"), "write a factor such as \"0.5\"");
                None
            }
        }
    }

    fn decimal(&mut self, node: &Node) -> Option<Arc<str>> {
        match &node.value {
            Value::Text { text, quoted: true } => Some(text.clone()),
            Value::Text { text, quoted: false } => {
                self.fault(
                    node.place,
                    &format!("the number {text} is not quoted"),
                    &format!("write \"{text}\": money is text, never a float"),
                );
                None
            }
            _ => {
                self.fault(node.place, "a price is one number", "write a quoted decimal such as \"2.50\"");
                None
            }
        }
    }

    /// A day; its first moment is midnight UTC.
    pub fn date(&mut self, node: &Node) -> Option<(Timestamp, Arc<str>)> {
        let text = self.text(node)?;
        let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == 10);
        let moment = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok());
        match moment {
            Some(moment) => Some((Timestamp(moment.timestamp().as_microsecond()), text)),
            None => {
                self.fault(node.place, &format!("`{text}` is no day"), "write it as 2026-12-31");
                None
            }
        }
    }

    pub fn integer(&mut self, node: &Node) -> Option<u64> {
        let text = self.text(node)?;
        let number = text.replace('_', "").parse().ok();
        if number.is_none() {
            self.fault(node.place, &format!("`{text}` is no whole number"), "write digits only, such as 128000");
        }
        number
    }

    pub fn text(&mut self, node: &Node) -> Option<Arc<str>> {
        match &node.value {
            Value::Text { text, .. } => Some(text.clone()),
            _ => {
                self.fault(node.place, "one word belongs here", "write a plain value, not a list or a mapping");
                None
            }
        }
    }

    /// A list of words, or one word.
    fn texts(&mut self, node: &Node) -> Vec<Arc<str>> {
        self.texts_with_places(node).into_iter().map(|(text, _)| text).collect()
    }

    fn texts_of(&mut self, node: &Node, key: &str) -> Vec<Arc<str>> {
        node.find(key).map(|node| self.texts(node)).unwrap_or_default()
    }

    fn texts_with_places(&mut self, node: &Node) -> Vec<(Arc<str>, Place)> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        items.iter().filter_map(|item| Some((self.text(item)?, item.place))).collect()
    }

    fn items<'n>(&mut self, node: &'n Node) -> &'n [Node] {
        match &node.value {
            Value::List(items) => items,
            _ => {
                self.fault(node.place, "a list belongs here", "write each entry behind a `-`");
                &[]
            }
        }
    }

    pub fn mapping<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                self.fault(node.place, &format!("{what} is a mapping"), "write `name: value` lines below it");
                &[]
            }
        }
    }

    /// Tells every key that is not one of `known`, with the nearest that is.
    pub fn keys(&mut self, node: &Node, known: &[&str], what: &str) {
        for entry in self.mapping(node, what) {
            if !known.contains(&&*entry.key) {
                self.unknown(entry.place, &entry.key, known, &format!("a key of {what}"));
            }
        }
    }

    fn one_of(&mut self, node: &Node, names: &[&str]) -> Option<usize> {
        let text = self.text(node)?;
        let place = names.iter().position(|name| **name == *text);
        if place.is_none() {
            self.unknown(node.place, &text, names, "a word known here");
        }
        place
    }

    /// A name that serde knows.
    fn named<T: for<'de> Deserialize<'de>>(&mut self, node: &Node) -> Option<T> {
        let text = self.text(node)?;
        let deserializer: StrDeserializer<'_, NotAName> = text.as_ref().into_deserializer();
        match T::deserialize(deserializer) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(node.place, &error.to_string(), "write one of the names that the message lists");
                None
            }
        }
    }

    fn unknown(&mut self, place: Place, name: &str, known: &[&str], what: &str) {
        let remedy = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", known.join(", ")),
        };
        self.fault(place, &format!("`{name}` is not {what}"), &remedy);
    }
}

fn token_kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| super::rates::is_token(*kind))
}

fn decimal_remedy(error: &NotADecimal) -> &'static str {
    match error {
        NotADecimal::Malformed(_) => "write a plain decimal such as \"2.50\"; no exponent, no currency sign",
        NotADecimal::TooFine(..) => "round it to 9 decimals",
        NotADecimal::TooLarge(_) => "check the unit: dollars a million tokens",
        NotADecimal::Negative(_) => "a price is not negative; leave the kind out if it has none, \"0\" if it is free",
    }
}

/// The known name that is at most a third of its letters away.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let (distance, near) = known.iter().map(|known| (distance(name, known), *known)).min()?;
    (distance <= near.len().div_ceil(3)).then_some(near)
}

/// Letters to change, add or remove.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (place, letter) in left.chars().enumerate() {
        let mut diagonal = place;
        row[0] = place + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}
