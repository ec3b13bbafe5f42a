//! What a call used, in disjoint buckets: no token is in two kinds, so costs add up and nothing is billed twice.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Index, IndexMut, RangeInclusive};

/// One kind of billable unit. The order is the order of price breakdowns and of the ledger's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Input tokens that were neither read from nor written to a cache, of text and of anything without its own kind.
    Input,
    CacheRead,
    CacheReadAudio,
    CacheReadImage,
    #[serde(rename = "cache_write_5m")]
    CacheWrite5m,
    #[serde(rename = "cache_write_30m")]
    CacheWrite30m,
    #[serde(rename = "cache_write_1h")]
    CacheWrite1h,
    #[serde(rename = "cache_write_12h")]
    CacheWrite12h,
    InputAudio,
    InputImage,
    InputVideo,
    /// Visible output tokens of text, and of anything without its own kind.
    Output,
    Reasoning,
    OutputAudio,
    OutputImage,
    /// Calls of the provider's own tools, billed each.
    WebSearch,
    FileSearch,
    CodeInterpreter,
    /// Units that are not tokens.
    Requests,
    /// Images made.
    Images,
    Pages,
    Characters,
    AudioMillis,
}

impl Kind {
    pub const COUNT: usize = 23;
    pub const ALL: [Kind; Kind::COUNT] = [
        Kind::Input,
        Kind::CacheRead,
        Kind::CacheReadAudio,
        Kind::CacheReadImage,
        Kind::CacheWrite5m,
        Kind::CacheWrite30m,
        Kind::CacheWrite1h,
        Kind::CacheWrite12h,
        Kind::InputAudio,
        Kind::InputImage,
        Kind::InputVideo,
        Kind::Output,
        Kind::Reasoning,
        Kind::OutputAudio,
        Kind::OutputImage,
        Kind::WebSearch,
        Kind::FileSearch,
        Kind::CodeInterpreter,
        Kind::Requests,
        Kind::Images,
        Kind::Pages,
        Kind::Characters,
        Kind::AudioMillis,
    ];

    /// The name in the ledger, the exports and the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Input => "input",
            Kind::CacheRead => "cache_read",
            Kind::CacheReadAudio => "cache_read_audio",
            Kind::CacheReadImage => "cache_read_image",
            Kind::CacheWrite5m => "cache_write_5m",
            Kind::CacheWrite30m => "cache_write_30m",
            Kind::CacheWrite1h => "cache_write_1h",
            Kind::CacheWrite12h => "cache_write_12h",
            Kind::InputAudio => "input_audio",
            Kind::InputImage => "input_image",
            Kind::InputVideo => "input_video",
            Kind::Output => "output",
            Kind::Reasoning => "reasoning",
            Kind::OutputAudio => "output_audio",
            Kind::OutputImage => "output_image",
            Kind::WebSearch => "web_search",
            Kind::FileSearch => "file_search",
            Kind::CodeInterpreter => "code_interpreter",
            Kind::Requests => "requests",
            Kind::Images => "images",
            Kind::Pages => "pages",
            Kind::Characters => "characters",
            Kind::AudioMillis => "audio_millis",
        }
    }

    pub fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Input tokens of any kind (cached ones included).
    pub fn is_input_token(self) -> bool {
        self <= Kind::InputVideo
    }

    /// Output tokens of any kind (reasoning included).
    pub fn is_output_token(self) -> bool {
        (Kind::Output..=Kind::OutputImage).contains(&self)
    }

    /// The shortest-lived first.
    pub const CACHE_WRITES: [Kind; 4] =
        [Kind::CacheWrite5m, Kind::CacheWrite30m, Kind::CacheWrite1h, Kind::CacheWrite12h];

    pub fn is_cache_write(self) -> bool {
        (Kind::CacheWrite5m..=Kind::CacheWrite12h).contains(&self)
    }

    pub fn is_cache_read(self) -> bool {
        (Kind::CacheRead..=Kind::CacheReadImage).contains(&self)
    }
}

/// Units used, by kind. Additions saturate: a provider's nonsense cannot make us panic.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage([u64; Kind::COUNT]);

impl TokenUsage {
    pub const ZERO: TokenUsage = TokenUsage([0; Kind::COUNT]);

    pub fn with(mut self, kind: Kind, units: u64) -> Self {
        self[kind] = units;
        self
    }

    pub fn add(&mut self, other: &TokenUsage) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine = mine.saturating_add(theirs);
        }
    }

    /// All input, cached included (OpenTelemetry: `gen_ai.usage.input_tokens`).
    pub fn input_tokens(&self) -> u64 {
        self.sum(Kind::Input..=Kind::InputVideo)
    }

    pub fn cache_read_input_tokens(&self) -> u64 {
        self.sum(Kind::CacheRead..=Kind::CacheReadImage)
    }

    pub fn cache_write_input_tokens(&self) -> u64 {
        self.sum(Kind::CacheWrite5m..=Kind::CacheWrite12h)
    }

    /// All output, reasoning included (OpenTelemetry: `gen_ai.usage.output_tokens`).
    pub fn output_tokens(&self) -> u64 {
        self.sum(Kind::Output..=Kind::OutputImage)
    }

    pub fn reasoning_output_tokens(&self) -> u64 {
        self[Kind::Reasoning]
    }

    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|units| *units == 0)
    }

    /// The kinds that were used, in the order of [`Kind::ALL`].
    pub fn used(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        let all = self.0.iter().zip(&Kind::ALL);
        all.filter(|(units, _)| **units > 0).map(|(units, kind)| (*kind, *units))
    }

    /// The kinds stand in the order of [`Kind::ALL`], those that are summed side by side.
    fn sum(&self, kinds: RangeInclusive<Kind>) -> u64 {
        let places = *kinds.start() as usize..=*kinds.end() as usize;
        self.0[places].iter().fold(0u64, |sum, units| sum.saturating_add(*units))
    }
}

impl Index<Kind> for TokenUsage {
    type Output = u64;
    fn index(&self, kind: Kind) -> &u64 {
        &self.0[kind as usize]
    }
}

impl IndexMut<Kind> for TokenUsage {
    fn index_mut(&mut self, kind: Kind) -> &mut u64 {
        &mut self.0[kind as usize]
    }
}

impl fmt::Debug for TokenUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.used().map(|(kind, units)| (kind.name(), units))).finish()
    }
}

/// Where counts come from. Unknown is never zero: `None` says that nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// By the provider, in the response.
    Reported,
    /// By our tokenizer, which is the model's own, on what really went in and out.
    Counted,
    /// By our tokenizer with a correction, or by a bound.
    Estimated,
    /// Nothing to count: an unmetered path.
    None,
}

impl UsageSource {
    pub const ALL: [UsageSource; 4] =
        [UsageSource::Reported, UsageSource::Counted, UsageSource::Estimated, UsageSource::None];

    pub fn name(self) -> &'static str {
        match self {
            UsageSource::Reported => "reported",
            UsageSource::Counted => "counted",
            UsageSource::Estimated => "estimated",
            UsageSource::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_own_place_and_reads_back_from_its_name() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
            assert_eq!(Kind::named(kind.name()), Some(kind));
            assert_eq!(serde_json::to_string(&kind).ok(), Some(format!("\"{}\"", kind.name())));
        }
    }

    #[test]
    fn input_and_output_are_sums_of_disjoint_kinds() {
        let mut usage = TokenUsage::ZERO;
        for kind in Kind::ALL {
            usage[kind] = 1;
        }
        assert_eq!((usage.input_tokens(), usage.output_tokens()), (11, 4));
        assert_eq!((usage.cache_read_input_tokens(), usage.cache_write_input_tokens()), (3, 4));
    }

    #[test]
    fn nonsense_from_a_provider_saturates() {
        let mut usage = TokenUsage::ZERO.with(Kind::Input, u64::MAX).with(Kind::CacheRead, 7);
        usage.add(&TokenUsage::ZERO.with(Kind::Input, 9));
        assert_eq!(usage.input_tokens(), u64::MAX);
    }
}
