//! A `usage` object of the OpenAI dialect, by whichever provider, as our disjoint kinds. The table is in
//! [`super`].

use super::super::json::{Broken, Reader, Shape};
use super::super::{Flavor, Operation};
use crate::money::{Usd, round_half_even};
use crate::tokens::usage::{Kind, TokenUsage};
use std::sync::Arc;

/// The members of a usage object, as reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reported {
    input: Option<u64>,
    output: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cached_audio: u64,
    cached_image: u64,
    cache_write: u64,
    cache_write_30m: u64,
    cache_write_12h: u64,
    input_audio: u64,
    input_image: u64,
    input_video: u64,
    reasoning: u64,
    output_audio: u64,
    output_image: Option<u64>,
    output_text: Option<u64>,
    /// DeepSeek's other half of `prompt_cache_hit_tokens`.
    cache_miss: Option<u64>,
    citations: u64,
    web_searches: u64,
    search_units: u64,
    pages: u64,
    audio_millis: u64,
    is_empty: bool,
    pub cost: Option<Usd>,
    pub service_tier: Option<Arc<str>>,
}

/// Reads a usage object. `None`: it is something else, or says nothing that we know.
pub(super) fn read(value: &mut Reader<'_>) -> Result<Option<Reported>, Broken> {
    let mut seen = Reported { is_empty: true, ..Reported::default() };
    let is_object = value.object(|name, value| seen.member(name, value))?;
    Ok((is_object && !seen.is_empty).then_some(seen))
}

impl Reported {
    fn member(&mut self, name: &str, value: &mut Reader<'_>) -> Result<(), Broken> {
        let known = match name {
            "prompt_tokens" | "input_tokens" => set(&mut self.input, value)?,
            "completion_tokens" | "output_tokens" => set(&mut self.output, value)?,
            "total_tokens" => set(&mut self.total, value)?,
            "prompt_tokens_details" | "input_tokens_details" | "input_token_details" => {
                value.object(|name, value| self.input_detail(name, value))?
            }
            "completion_tokens_details" | "output_tokens_details" | "output_token_details" => {
                value.object(|name, value| self.output_detail(name, value))?
            }
            "prompt_cache_hit_tokens" => set(&mut self.cached, value)?,
            "prompt_cache_miss_tokens" => set(&mut self.cache_miss, value)?,
            "reasoning_tokens" => add(&mut self.reasoning, value)?,
            "citation_tokens" => add(&mut self.citations, value)?,
            "num_search_queries" => add(&mut self.web_searches, value)?,
            "server_tool_use_details" | "server_tool_use" => value.object(|name, value| {
                if name == "web_search_requests" {
                    add(&mut self.web_searches, value)?;
                }
                Ok(())
            })?,
            "billed_units" => value.object(|name, value| match name {
                "search_units" => add(&mut self.search_units, value).map(drop),
                _ => self.member(name, value),
            })?,
            "pages_processed" => add(&mut self.pages, value)?,
            "seconds" | "prompt_audio_seconds" => self.seconds(value)?,
            "cost" => self.cost(value)?,
            "cost_in_usd_ticks" => self.ticks(value)?,
            "service_tier" => {
                self.service_tier = value.text()?.map(|tier| Arc::from(tier.decode()));
                false
            }
            _ => false,
        };
        self.is_empty &= !known;
        Ok(())
    }

    fn input_detail(&mut self, name: &str, value: &mut Reader<'_>) -> Result<(), Broken> {
        match name {
            "cached_tokens" => set(&mut self.cached, value)?,
            "cache_write_tokens" => add(&mut self.cache_write, value)?,
            "cache_write_tokens_details" => value.object(|name, value| match name {
                "ttl_30m_tokens" => add(&mut self.cache_write_30m, value).map(drop),
                "ttl_12h_tokens" => add(&mut self.cache_write_12h, value).map(drop),
                _ => Ok(()),
            })?,
            "cached_tokens_details" => value.object(|name, value| match name {
                "audio_tokens" => add(&mut self.cached_audio, value).map(drop),
                "image_tokens" => add(&mut self.cached_image, value).map(drop),
                _ => Ok(()),
            })?,
            "audio_tokens" => add(&mut self.input_audio, value)?,
            "image_tokens" => add(&mut self.input_image, value)?,
            "video_tokens" => add(&mut self.input_video, value)?,
            _ => false,
        };
        Ok(())
    }

    fn output_detail(&mut self, name: &str, value: &mut Reader<'_>) -> Result<(), Broken> {
        match name {
            "reasoning_tokens" => add(&mut self.reasoning, value)?,
            "audio_tokens" => add(&mut self.output_audio, value)?,
            "image_tokens" => set(&mut self.output_image, value)?,
            "text_tokens" => set(&mut self.output_text, value)?,
            _ => false,
        };
        Ok(())
    }

    /// Whisper: `{type: "duration", seconds}`; Mistral: `prompt_audio_seconds`. Begun milliseconds count whole.
    fn seconds(&mut self, value: &mut Reader<'_>) -> Result<bool, Broken> {
        let millis = value.number()?.and_then(|raw| decimal(raw, 3)).and_then(|millis| u64::try_from(millis).ok());
        self.audio_millis = millis.unwrap_or(self.audio_millis);
        Ok(millis.is_some())
    }

    /// OpenRouter: dollars; Perplexity: an object with `total_cost`.
    fn cost(&mut self, value: &mut Reader<'_>) -> Result<bool, Broken> {
        if value.shape() == Shape::Object {
            value.object(|name, value| match name {
                "total_cost" => self.cost(value).map(drop),
                _ => Ok(()),
            })?;
        } else if let Some(raw) = value.number()? {
            self.cost = decimal(raw, 12).and_then(|pico| i64::try_from(pico).ok()).map(Usd::from_pico);
        }
        Ok(false)
    }

    /// xAI: 1 USD = 10¹⁰ ticks.
    fn ticks(&mut self, value: &mut Reader<'_>) -> Result<bool, Broken> {
        let pico = value.units()?.and_then(|ticks| ticks.checked_mul(100)).and_then(|pico| i64::try_from(pico).ok());
        self.cost = pico.map(Usd::from_pico).or(self.cost);
        Ok(false)
    }

    /// Ollama's and llama.cpp's own counts, which stand at the top of the body.
    pub(super) fn native(&mut self, is_input: bool, units: Option<u64>) {
        let field = if is_input { &mut self.input } else { &mut self.output };
        *field = units.or(*field);
    }

    /// Whether it leaves the input out though it names the output: Ollama does where the prompt came from its cache.
    pub(super) fn lacks_input(&self) -> bool {
        self.output.is_some() && self.input.is_none() && self.cache_miss.is_none()
    }

    /// Whether it says how many tokens went in or out.
    pub(super) fn counts_tokens(&self) -> bool {
        self.input.is_some() || self.output.is_some()
    }

    /// Cached tokens that stand beside the usage object (llama.cpp's `timings.cache_n`), if it names none itself.
    pub(super) fn cached_beside(&mut self, cached: Option<u64>) {
        self.cached = self.cached.or(cached);
    }

    /// The same as disjoint kinds. Parts never exceed the whole they are a part of.
    pub(super) fn usage(&self, operation: Operation, flavor: Flavor) -> TokenUsage {
        let mut usage = TokenUsage::ZERO;
        self.input_kinds(flavor, &mut usage);
        self.output_kinds(operation, flavor, &mut usage);
        usage[Kind::WebSearch] = self.web_searches;
        usage[Kind::Requests] = self.search_units;
        usage[Kind::Pages] = self.pages;
        usage[Kind::AudioMillis] = self.audio_millis;
        usage
    }

    fn input_kinds(&self, flavor: Flavor, usage: &mut TokenUsage) {
        let cached = self.cached.unwrap_or(0);
        let mut rest = self.input.unwrap_or_else(|| self.cache_miss.unwrap_or(0).saturating_add(cached));
        let mut take = |kind: Kind, units: u64| {
            let taken = units.min(rest);
            rest -= taken;
            usage[kind] = taken;
        };
        take(Kind::CacheReadAudio, self.cached_audio.min(cached));
        take(Kind::CacheReadImage, self.cached_image.min(cached));
        take(Kind::CacheRead, cached.saturating_sub(self.cached_audio).saturating_sub(self.cached_image));
        take(Kind::CacheWrite12h, self.cache_write_12h);
        // Without its time to live: OpenRouter's writes are Anthropic's of 5 minutes, OpenAI's are of 30.
        let with_ttl = self.cache_write_12h.saturating_add(self.cache_write_30m);
        let plain = self.cache_write.saturating_sub(with_ttl);
        let (plain_5m, plain_30m) = if flavor == Flavor::Openrouter { (plain, 0) } else { (0, plain) };
        take(Kind::CacheWrite5m, plain_5m);
        take(Kind::CacheWrite30m, self.cache_write_30m.saturating_add(plain_30m));
        take(Kind::InputAudio, self.input_audio.saturating_sub(self.cached_audio));
        take(Kind::InputImage, self.input_image.saturating_sub(self.cached_image));
        take(Kind::InputVideo, self.input_video);
        usage[Kind::Input] = rest.saturating_add(self.citations);
    }

    fn output_kinds(&self, operation: Operation, flavor: Flavor, usage: &mut TokenUsage) {
        let visible = self.output.unwrap_or(0);
        let beside = self.reasoning_beside(operation, flavor);
        let mut rest = visible;
        let mut take = |kind: Kind, units: u64| {
            let taken = units.min(rest);
            rest -= taken;
            usage[kind] = taken;
        };
        if beside == 0 {
            take(Kind::Reasoning, self.reasoning);
        }
        // All that speech puts out is sound.
        take(Kind::OutputAudio, if operation == Operation::Speech { visible } else { self.output_audio });
        let images = match (self.output_image, operation) {
            (None, Operation::Images) => visible.saturating_sub(self.output_text.unwrap_or(0)),
            (images, _) => images.unwrap_or(0),
        };
        take(Kind::OutputImage, images);
        usage[Kind::Output] = rest;
        if beside > 0 {
            usage[Kind::Reasoning] = beside;
        }
    }

    /// Reasoning tokens that the output count leaves out.
    ///
    /// xAI's chat and Perplexity leave them out always, unless the total says otherwise; elsewhere the total tells
    /// (Gemini's OpenAI endpoint: `total_tokens` is more than prompt and completion).
    fn reasoning_beside(&self, operation: Operation, flavor: Flavor) -> u64 {
        let counted = self.input.unwrap_or(0).saturating_add(self.output.unwrap_or(0));
        let excess = self.total.map(|total| total.saturating_sub(counted));
        match (flavor, operation) {
            (Flavor::Perplexity, _) => self.reasoning,
            (Flavor::Xai, Operation::Chat | Operation::Completion) if excess != Some(0) => self.reasoning,
            (Flavor::Standard, Operation::Chat) => excess.unwrap_or(0),
            _ => 0,
        }
    }
}

fn set(field: &mut Option<u64>, value: &mut Reader<'_>) -> Result<bool, Broken> {
    let units = value.units()?;
    *field = units.or(*field);
    Ok(units.is_some())
}

/// The last report of a name wins; `false` where there is none.
fn add(field: &mut u64, value: &mut Reader<'_>) -> Result<bool, Broken> {
    let units = value.units()?;
    *field = units.unwrap_or(*field);
    Ok(units.is_some())
}

/// A JSON number, exponent and all, as an integer of `10^-decimals`, rounded half to even. Exact: no floating point.
pub(super) fn decimal(raw: &str, decimals: i32) -> Option<i128> {
    let (mantissa, exponent) = match raw.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (raw, 0),
    };
    let negative = mantissa.starts_with('-');
    let (whole, fraction) =
        mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));
    let fraction = fraction.get(..24).unwrap_or(fraction);
    let mut value = 0i128;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = char::from(digit).to_digit(10)?;
        value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    let shift = decimals.checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let power = 10i128.checked_pow(shift.unsigned_abs());
    let scaled = match (shift >= 0, power) {
        (true, power) => value.checked_mul(power?)?,
        (false, Some(power)) => round_half_even(value, power)?,
        (false, None) => 0,
    };
    Some(if negative { -scaled } else { scaled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn usage_of(json: &str, operation: Operation, flavor: Flavor) -> TokenUsage {
        read(&mut Reader::new(json.as_bytes())).unwrap().unwrap().usage(operation, flavor)
    }

    #[test]
    fn a_cost_is_read_exactly_in_every_spelling() {
        for (raw, pico) in [
            ("0.00014", 140_000_000),
            ("1.4e-05", 14_000_000),
            ("1E-12", 1),
            ("5e-13", 0),
            ("1.5e-12", 2),
            ("2", 2_000_000_000_000),
            ("0.1234567890125", 123_456_789_012),
            ("-0.5", -500_000_000_000),
            ("1e-400", 0),
        ] {
            assert_eq!(decimal(raw, 12), Some(pico), "{raw}");
        }
        assert_eq!(decimal("1e400", 12), None);
    }

    #[test]
    fn nonsense_says_nothing() {
        for json in ["{}", "null", "[]", "7", r#"{"prompt_tokens":"many"}"#, r#"{"prompt_tokens":null}"#] {
            assert_eq!(read(&mut Reader::new(json.as_bytes())), Ok(None), "{json}");
        }
    }

    proptest! {
        #[test]
        fn parts_never_sum_to_more_than_their_whole(parts in proptest::array::uniform12(0u64..200)) {
            let [input, output, cached, write, w30, w12, audio, image, caudio, cimage, reasoning, oaudio] = parts;
            let json = format!(
                "{{\"prompt_tokens\":{input},\"completion_tokens\":{output},\"prompt_tokens_details\":{{\"cached_tokens\":\
                 {cached},\"cache_write_tokens\":{write},\"cache_write_tokens_details\":{{\"ttl_30m_tokens\":{w30},\
                 \"ttl_12h_tokens\":{w12}}},\"audio_tokens\":{audio},\"image_tokens\":{image},\"cached_tokens_details\":\
                 {{\"audio_tokens\":{caudio},\"image_tokens\":{cimage}}}}},\"completion_tokens_details\":\
                 {{\"reasoning_tokens\":{reasoning},\"audio_tokens\":{oaudio}}}}}"
            );
            let usage = usage_of(&json, Operation::Chat, Flavor::Standard);
            prop_assert_eq!(usage.input_tokens(), input);
            prop_assert_eq!(usage.output_tokens(), output);
        }

        #[test]
        fn no_number_makes_the_reader_panic(raw in "-?[0-9]{0,40}(\\.[0-9]{0,40})?([eE][+-]?[0-9]{1,12})?") {
            let _ = decimal(&raw, 12);
        }
    }
}
