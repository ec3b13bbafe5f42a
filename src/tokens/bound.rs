//! Upper bounds and predictions of a request's tokens from its bytes alone: what is held before a call, without
//! counting anything.
//!
//! *Law:* the bound of a request is never below its exact count. Text has at most a token a byte (every token of a
//! byte-level vocabulary stands for at least one byte); what chat formats rewrite (tool definitions, tool calls) gets
//! two; framing, pictures, sound and files have maxima of their own.

use super::count::Count;
use super::facts::{ImageDetail, ImagePart, InputSize, RequestFacts};
use super::media::{AudioRule, ImageRule, file_tokens_max, likely_file_tokens};
use super::tokenizer::{FramingFamily, Rendering, Tokenizer};
use super::usage::{Kind, TokenUsage};

/// What a model makes of input, as far as bounds need it; the catalog's model has all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundRule {
    pub tokenizer: Tokenizer,
    pub image: ImageRule,
    /// Tokens; caps what the body does not show.
    pub context_window: Option<u64>,
}

/// Where a context window is needed and not known, tokens: the largest in common use.
pub const CONTEXT_WINDOW_DEFAULT: u64 = 1_048_576;

/// The header of rendered tools: `# Tools … namespace functions { … }`.
const NAMESPACE_TOKENS: u64 = 24;

/// The most that a request's input can be.
pub fn input_bound(facts: &RequestFacts, rule: &BoundRule) -> TokenUsage {
    let window = rule.context_window.unwrap_or(CONTEXT_WINDOW_DEFAULT);
    let input = &facts.input;
    let mut text = input.text_bytes.saturating_add(input.rendered_bytes).saturating_add(input.token_ids);
    text = text.saturating_add(framing_bound(input, &rule.tokenizer));
    if facts.server_state || facts.server_tools {
        text = text.max(window);
    }
    let files = file_tokens_max(input.file_bytes, input.file_parts).min(window);
    let audio = audio_rule(rule).tokens_max(input.audio_bytes).min(if input.audio_parts > 0 { window } else { 0 });
    let more = u64::from(input.images_more).saturating_mul(image_tokens_max(rule.image));
    let images = input.images.iter().map(|part| rule.image.tokens(part)).fold(more, u64::saturating_add);
    let text = text.saturating_add(files);
    TokenUsage::ZERO.with(Kind::Input, text).with(Kind::InputAudio, audio).with(Kind::InputImage, images)
}

/// The best prediction of a request's input without counting: four bytes a token of o200k in English, code and JSON.
pub fn input_estimate(facts: &RequestFacts, rule: &BoundRule) -> TokenUsage {
    let factor = rule.tokenizer.factor;
    let per_four = u128::from(facts.input.text_bytes) * u128::from(factor.numerator);
    let text = u64::try_from(per_four.div_ceil(4 * u128::from(factor.denominator.max(1)))).unwrap_or(u64::MAX);
    let framing = framing_likely(&facts.input, &rule.tokenizer);
    counted_input(Count { tokens: text.saturating_add(framing), exact: false }, facts, rule).0
}

/// A counted prompt with what cannot be counted predicted: pictures, sound, files. The second says whether the whole is
/// exact.
pub fn counted_input(prompt: Count, facts: &RequestFacts, rule: &BoundRule) -> (TokenUsage, bool) {
    let input = &facts.input;
    let files = likely_file_tokens(input.file_bytes, input.file_parts);
    let unseen = ImagePart { detail: ImageDetail::Auto, size: None };
    let more = u64::from(input.images_more).saturating_mul(rule.image.likely_tokens(&unseen));
    let images = input.images.iter().map(|part| rule.image.likely_tokens(part)).fold(more, u64::saturating_add);
    let audio = audio_rule(rule).likely_tokens(input.audio_bytes);
    let text = prompt.tokens.saturating_add(input.token_ids).saturating_add(files);
    let usage = TokenUsage::ZERO.with(Kind::Input, text).with(Kind::InputImage, images).with(Kind::InputAudio, audio);
    let whole = !facts.server_state && !facts.server_tools && files == 0 && images == 0 && audio == 0;
    (usage, prompt.exact && whole)
}

/// The most that can come out: the request's own limit, else the model's, else `default_max`; for each choice.
pub fn output_bound(facts: &RequestFacts, model_max: Option<u64>, default_max: u64) -> u64 {
    let limit = match (facts.output_limit, model_max) {
        (Some(asked), Some(model)) => asked.min(model),
        (Some(asked), None) => asked,
        (None, model) => model.unwrap_or(default_max),
    };
    limit.saturating_mul(facts.choices.max(1))
}

fn framing_bound(input: &InputSize, tokenizer: &Tokenizer) -> u64 {
    let framing = tokenizer.framing.framing();
    let message = framing.message.max(framing.tool_message) + framing.name + framing.text_and_calls;
    let call = framing.tool_call + framing.tool_calls_many;
    let mut tokens = u64::from(framing.request)
        + u64::from(input.messages) * u64::from(message)
        + u64::from(input.tool_calls) * u64::from(call);
    if input.tools > 0 || input.rendered_bytes > 0 {
        let header = if framing.rendering == Rendering::TypeScript { NAMESPACE_TOKENS } else { 0 };
        tokens += u64::from(framing.tools) + header + u64::from(input.tools) * u64::from(framing.tool);
    }
    tokens
}

fn framing_likely(input: &InputSize, tokenizer: &Tokenizer) -> u64 {
    let framing = tokenizer.framing.framing();
    let tools = if input.tools > 0 { framing.tools + framing.tool.saturating_mul(input.tools) } else { 0 };
    u64::from(framing.request)
        + u64::from(input.messages) * u64::from(framing.message)
        + u64::from(input.tool_calls) * u64::from(framing.tool_call)
        + u64::from(tools)
}

fn image_tokens_max(rule: ImageRule) -> u64 {
    let unseen = |detail| rule.tokens(&ImagePart { detail, size: None });
    unseen(ImageDetail::Original).max(unseen(ImageDetail::High))
}

fn audio_rule(rule: &BoundRule) -> AudioRule {
    if rule.tokenizer.framing == FramingFamily::Gemini { AudioRule::GEMINI } else { AudioRule::OPENAI }
}

#[cfg(test)]
mod tests;
