//! Models: names, aliases, capabilities. The catalog is one immutable snapshot; finding a name is two hash look-ups, and
//! only a name that it does not know by heart is taken apart (`names`).

use super::names;
use super::price::{self, Pricing};
use super::rates::Prices;
use crate::clock::Timestamp;
use crate::money::Usd;
use crate::tokens::facts::Needs;
use crate::tokens::media::ImageRule;
use crate::tokens::tokenizer::Tokenizer;
use crate::tokens::usage::TokenUsage;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::collections::HashMap;
use std::sync::Arc;

pub use super::price::Terms;

/// All models and their prices: one immutable snapshot.
#[derive(Clone, Debug)]
pub struct Catalog {
    version: Arc<str>,
    /// In the order of the file: makers before those who resell.
    providers: Vec<Provider>,
    by_name: FxHashMap<Arc<str>, usize>,
    found: Found,
}

/// What names led to that were found the slow way: providers answer with the same few dated names all day.
#[derive(Clone, Debug, Default)]
struct Found(Arc<RwLock<Remembered>>);

/// By the provider's place and the name; names that callers choose, so hashed with a secret.
type Remembered = HashMap<(usize, Box<str>), Arc<Model>>;

/// Names that are remembered; what is asked for beyond them is searched each time.
const FOUND_MAX: usize = 4_096;

impl Found {
    fn or_search(&self, place: usize, name: &str, search: impl FnOnce() -> Option<Arc<Model>>) -> Option<Arc<Model>> {
        let key = (place, Box::from(name));
        if let Some(model) = self.0.read().get(&key) {
            return Some(Arc::clone(model));
        }
        let model = search()?;
        let mut found = self.0.write();
        if found.len() < FOUND_MAX {
            found.insert(key, Arc::clone(&model));
        }
        Some(model)
    }
}

impl Default for Catalog {
    /// Knows no model: everything is unpriced.
    fn default() -> Self {
        Catalog::new("empty".into(), Vec::new())
    }
}

/// A provider's models and how names are found there.
#[derive(Clone, Debug, Default)]
pub struct Provider {
    pub name: Arc<str>,
    /// Providers whose models are also found here, at their prices: Azure like OpenAI.
    pub like: Vec<Arc<str>>,
    /// `google/gemini-2.5-pro` → provider `gemini`: vendors that are resold at their own list price.
    pub vendors: Vec<(Arc<str>, Arc<str>)>,
    /// The service tier of requests that name none, where the account is set so: for ceilings.
    pub default_service_tier: Option<Arc<str>>,
    /// By id.
    pub models: Vec<Arc<Model>>,
    names: FxHashMap<Arc<str>, usize>,
    /// Names of the models of `like`, so that these too are found by one look-up.
    borrowed: FxHashMap<Arc<str>, Arc<Model>>,
    /// Ids with `*`, as written.
    patterns: Vec<(Arc<str>, usize)>,
}

/// One model of one provider.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The catalog's own name (`gpt-4o`), of which `gpt-4o-2024-08-06` may be an alias.
    pub id: Arc<str>,
    pub provider: Arc<str>,
    pub aliases: Vec<Arc<str>>,
    pub mode: Mode,
    pub context_window: Option<u64>,
    pub max_output_tokens: Option<u64>,
    pub capabilities: Capabilities,
    /// Request members that the model refuses: `temperature` for reasoning models.
    pub unsupported: Vec<Arc<str>>,
    /// The member that limits the output, where it is not the dialect's usual one: `max_completion_tokens`.
    pub output_limit: Option<Arc<str>>,
    pub tokenizer: Tokenizer,
    pub image_rule: ImageRule,
    /// `2025-04-30`: gone since then; kept so that history can be priced.
    pub retired: Option<Arc<str>>,
    pub prices: Prices,
    /// Where the numbers come from, and where the sources disagree.
    pub source: Vec<Arc<str>>,
    pub disagreement: Vec<Arc<str>>,
    pub note: Option<Arc<str>>,
    /// The version of the catalog that it belongs to.
    pub catalog: Arc<str>,
    /// The provider's `default_service_tier`.
    pub default_service_tier: Option<Arc<str>>,
}

/// What a model is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    #[default]
    Chat,
    Completion,
    Embedding,
    Image,
    Speech,
    Transcription,
    Moderation,
    Rerank,
    Ocr,
}

impl Mode {
    pub const ALL: [Mode; 9] = [
        Mode::Chat,
        Mode::Completion,
        Mode::Embedding,
        Mode::Image,
        Mode::Speech,
        Mode::Transcription,
        Mode::Moderation,
        Mode::Rerank,
        Mode::Ocr,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mode::Chat => "chat",
            Mode::Completion => "completion",
            Mode::Embedding => "embedding",
            Mode::Image => "image",
            Mode::Speech => "speech",
            Mode::Transcription => "transcription",
            Mode::Moderation => "moderation",
            Mode::Rerank => "rerank",
            Mode::Ocr => "ocr",
        }
    }
}

/// What a model can do. What the catalog does not say, it cannot: a swap must not rely on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub vision: bool,
    pub tools: bool,
    pub json_schema: bool,
    pub reasoning: bool,
    pub audio_input: bool,
    pub audio_output: bool,
    pub file_input: bool,
}

impl Capabilities {
    /// Names in the catalog, with the capability each stands for.
    pub const NAMES: [&'static str; 7] =
        ["vision", "tools", "json_schema", "reasoning", "audio_input", "audio_output", "files"];

    pub fn named(&mut self, name: &str) -> Option<&mut bool> {
        match name {
            "vision" => Some(&mut self.vision),
            "tools" => Some(&mut self.tools),
            "json_schema" => Some(&mut self.json_schema),
            "reasoning" => Some(&mut self.reasoning),
            "audio_input" => Some(&mut self.audio_input),
            "audio_output" => Some(&mut self.audio_output),
            "files" => Some(&mut self.file_input),
            _ => None,
        }
    }

    pub fn names(mut self) -> Vec<&'static str> {
        Capabilities::NAMES.into_iter().filter(|name| self.named(name).is_some_and(|can| *can)).collect()
    }

    /// What a request needs and the model cannot do.
    pub fn lacks(&self, needs: &Needs) -> Vec<&'static str> {
        let pairs = [
            ("vision", needs.vision, self.vision),
            ("audio_input", needs.audio_input, self.audio_input),
            ("files", needs.file_input, self.file_input),
            ("tools", needs.tools, self.tools),
            ("json_schema", needs.json_schema, self.json_schema),
            ("reasoning", needs.reasoning, self.reasoning),
        ];
        pairs.into_iter().filter(|(_, needed, can)| *needed && !can).map(|(name, ..)| name).collect()
    }
}

/// What a name resolved to.
#[derive(Clone, Debug)]
pub struct Offer {
    pub model: Arc<Model>,
}

impl Catalog {
    /// Providers of one name are one (the later one wins); names must be unique within a provider (`file` sees to it).
    pub fn new(version: Arc<str>, mut providers: Vec<Provider>) -> Self {
        let by_name: FxHashMap<Arc<str>, usize> =
            providers.iter().enumerate().map(|(place, provider)| (provider.name.clone(), place)).collect();
        for borrower in 0..providers.len() {
            let mut borrowed = FxHashMap::default();
            let lenders = providers[borrower].like.iter().filter_map(|like| providers.get(*by_name.get(like)?));
            for lender in lenders {
                for (name, place) in &lender.names {
                    borrowed.entry(name.clone()).or_insert_with(|| lender.models[*place].clone());
                }
            }
            providers[borrower].borrowed = borrowed;
        }
        Catalog { version, providers, by_name, found: Found::default() }
    }

    /// The version that events carry: the file's date and the first 8 letters of its hash.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The model of this name at this provider, by exact name, alias, dated snapshot, or pattern.
    pub fn resolve(&self, provider: &str, name: &str) -> Option<Offer> {
        let place = self.place(provider)?;
        let provider = self.providers.get(place)?;
        let known = provider.known(name).or_else(|| provider.borrowed.get(name)).map(Arc::clone);
        let model = known.or_else(|| self.found.or_search(place, name, || self.search(provider, name).cloned()))?;
        Some(Offer { model })
    }

    /// The providers that have a model of this name, best match first: for routing by model. Those who make it or list
    /// it by name come before those where it is found as another's; `simulated` is never found this way unless it lists
    /// the name itself.
    pub fn providers_of(&self, name: &str) -> Vec<Arc<str>> {
        let listing = |lists: fn(&Provider, &str) -> bool| {
            let listing = self.providers.iter().filter(move |provider| lists(provider, name));
            listing.map(|provider| provider.name.clone())
        };
        let makers: Vec<Arc<str>> = listing(|provider, name| provider.known(name).is_some()).collect();
        if !makers.is_empty() {
            let borrowers = listing(|provider, name| {
                !provider.is_simulated() && provider.known(name).is_none() && provider.borrowed.contains_key(name)
            });
            return makers.into_iter().chain(borrowers).collect();
        }
        let found = self.providers.iter().filter(|provider| {
            !provider.is_simulated() && self.search(provider, name).is_some_and(|model| &*model.id != "*")
        });
        let mut found: Vec<&Provider> = found.collect();
        found.sort_by_key(|provider| !provider.like.is_empty());
        found.into_iter().map(|provider| provider.name.clone()).collect()
    }

    /// Every model of a provider (`None`: all), for `GET /v1/models` where the provider has no such list.
    pub fn models(&self, provider: Option<&str>) -> Vec<Arc<Model>> {
        match provider {
            Some(name) => self.provider(name).map(|provider| provider.models.clone()).unwrap_or_default(),
            None => self.providers.iter().flat_map(|provider| provider.models.iter().cloned()).collect(),
        }
    }

    fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.get(self.place(name)?)
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).or_else(|| self.by_name.get(name.to_ascii_lowercase().as_str())).copied()
    }

    /// The slow way: case, prefixes, stamps, other providers' names, patterns.
    fn search(&self, provider: &Provider, name: &str) -> Option<&Arc<Model>> {
        if name.len() > names::NAME_BYTES_MAX {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let place = self.by_name.get(&provider.name)?;
        let provider = self.providers.get(*place)?;
        let bare = names::without_own_prefix(&provider.name, &name);
        let mine = provider.stem(bare);
        let vendor = || {
            let (vendor, rest) = bare.split_once('/')?;
            let (_, maker) = provider.vendors.iter().find(|(known, _)| **known == *vendor)?;
            self.provider(maker)?.stem(rest)
        };
        let other =
            || provider.like.iter().find_map(|like| self.provider(like)?.stem(names::without_own_prefix(like, bare)));
        mine.or_else(vendor).or_else(other).or_else(|| provider.pattern(bare))
    }
}

impl Provider {
    pub fn named(name: &Arc<str>) -> Self {
        Provider { name: name.clone(), ..Provider::default() }
    }

    /// Takes the models in; a name that two of them claim is given back with both.
    pub fn with_models(mut self, models: Vec<Arc<Model>>) -> (Self, Vec<Clash>) {
        let mut clashes = Vec::new();
        for (place, model) in models.iter().enumerate() {
            if model.id.contains('*') {
                self.patterns.push((model.id.to_ascii_lowercase().into(), place));
                continue;
            }
            for name in std::iter::once(&model.id).chain(&model.aliases) {
                let lower: Arc<str> = name.to_ascii_lowercase().into();
                let before = self.names.insert(lower, place).filter(|before| *before != place);
                if let Some(before) = before.and_then(|before| models.get(before)) {
                    clashes.push(Clash { name: name.clone(), first: before.id.clone(), second: model.id.clone() });
                }
                self.names.insert(name.clone(), place);
            }
        }
        // The longest pattern is the most particular one.
        self.patterns.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
        self.models = models;
        (self, clashes)
    }

    /// It answers to every name, so no name leads to it.
    fn is_simulated(&self) -> bool {
        &*self.name == "simulated"
    }

    fn known(&self, name: &str) -> Option<&Arc<Model>> {
        self.models.get(*self.names.get(name)?)
    }

    fn stem(&self, name: &str) -> Option<&Arc<Model>> {
        names::stems(name).find_map(|stem| self.known(stem))
    }

    fn pattern(&self, name: &str) -> Option<&Arc<Model>> {
        let (_, place) = self.patterns.iter().find(|(pattern, _)| names::matches(pattern, name))?;
        self.models.get(*place)
    }
}

/// Two models of a provider have one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    pub name: Arc<str>,
    pub first: Arc<str>,
    pub second: Arc<str>,
}

impl Model {
    /// The list price of a usage at a moment. Calls are billed by the prices of the moment they are made, so `now` is
    /// the attempt's start.
    pub fn price(&self, usage: &TokenUsage, terms: &Terms, now: Timestamp) -> Pricing {
        price::price(&self.prices, &self.catalog, usage, terms, now)
    }

    /// The total of [`Model::price`] alone, for what is only foreseen; `None`: unpriced.
    pub fn total(&self, usage: &TokenUsage, terms: &Terms, now: Timestamp) -> Option<Usd> {
        price::total(&self.prices, usage, terms, now)
    }

    /// The most that a usage within `bound` can cost: every kind at the dearest rate, tier and service tier that the
    /// terms admit (a `default` request cannot be billed above `default`; `auto` can become `priority`). What *within*
    /// means: [`price::ceiling`].
    pub fn ceiling(&self, bound: &TokenUsage, terms: &Terms, now: Timestamp) -> Option<Usd> {
        price::ceiling(&self.prices, self.default_service_tier.as_deref(), bound, terms, now)
    }

    /// Gone: its day of retirement has come. One that lies ahead is only told.
    pub fn is_retired(&self, now: Timestamp) -> bool {
        self.retired.as_deref().is_some_and(|day| *day <= *now.to_rfc3339_seconds())
    }

    /// Some price is known. A model may be listed for what it can do alone.
    pub fn is_priced(&self) -> bool {
        !self.prices.is_empty()
    }
}
