//! What a request asks: read from its bytes once, without building a tree of the prompt.

use super::usage::Kind;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;

/// The member of `metadata` that LiteLLM keeps tags in.
pub const TAGS_IN_METADATA: &str = "tags";

/// The facts of one request. Sizes are bytes of the body as it stands, JSON escapes decoded where that is cheap and
/// counted as written (which is never less) where it is not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestFacts {
    /// As the caller wrote it; `None` where the endpoint has no model (or the body names none).
    pub requested_model: Option<Arc<str>>,
    pub stream: bool,
    /// OpenAI: `stream_options.include_usage`. The caller wants the usage chunk himself.
    pub asked_for_usage: bool,
    /// `max_completion_tokens`, `max_tokens`, `max_output_tokens`, `generationConfig.maxOutputTokens`.
    pub output_limit: Option<u64>,
    /// `n`, `best_of`, `candidateCount`: how many answers are billed; at least 1.
    pub choices: u64,
    pub input: InputSize,
    /// Input that the body alone does not show: `previous_response_id`, `conversation`, `prompt` ids, file ids.
    pub server_state: bool,
    /// Tools that the provider runs (web search, code …) and that add input of their own.
    pub server_tools: bool,
    /// The dearest cache write that the request asks for (Anthropic `cache_control`); for the pricing terms.
    pub cache_write: Option<Kind>,
    /// Anthropic: `inference_geo` and `speed` as asked; the response's are the ones that are billed.
    pub region: Option<Arc<str>>,
    pub speed: Option<Arc<str>>,
    /// OpenAI: `background: true`.
    pub background: bool,
    /// `service_tier` as asked; the response's is the one that is billed.
    pub service_tier: Option<Arc<str>>,
    /// OpenAI `user`/`safety_identifier`, Anthropic `metadata.user_id`.
    pub user: Option<Arc<str>>,
    /// String members of `metadata`, bounded in number and length; a list of `tags` as one text with commas.
    pub metadata: Vec<(Arc<str>, Arc<str>)>,
    /// OpenAI `prompt.id`, a stored prompt template.
    pub prompt_name: Option<Arc<str>>,
    /// Where the system/developer text stands in the body (the first such text), for its keyed hash.
    pub system_text: Option<Range<usize>>,
    pub splice: SplicePoints,
    /// For image endpoints, which are priced by these when usage is not reported.
    pub image: Option<ImageOrder>,
    /// Audio speech: characters of `input`.
    pub characters: u64,
    /// Capabilities that the request needs of its model.
    pub needs: Needs,
}

/// How much goes in, by what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputSize {
    /// Bytes of text that reach the model: messages, system, instructions, tool definitions, schemas, tool results.
    pub text_bytes: u64,
    /// Bytes of tool definitions, schemas and tool calls, already in `text_bytes`: chat formats rewrite them, so they
    /// can grow.
    pub rendered_bytes: u64,
    pub messages: u32,
    pub tools: u32,
    /// Tool calls in the history.
    pub tool_calls: u32,
    /// One entry per image part, up to 1,000; the rest are only counted in `images_more`.
    pub images: Vec<ImagePart>,
    pub images_more: u32,
    /// Decoded bytes of inline audio, and how many parts.
    pub audio_bytes: u64,
    pub audio_parts: u32,
    /// Decoded bytes of inline files (PDF …), and how many parts.
    pub file_bytes: u64,
    pub file_parts: u32,
    /// Token ids given instead of text (completions, embeddings): exact.
    pub token_ids: u64,
}

impl InputSize {
    /// Pictures that are kept one by one.
    pub const IMAGES_MAX: usize = 1_000;

    pub fn push_image(&mut self, part: ImagePart) {
        if self.images.len() < Self::IMAGES_MAX {
            self.images.push(part);
        } else {
            self.images_more = self.images_more.saturating_add(1);
        }
    }
}

/// One image of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePart {
    pub detail: ImageDetail,
    /// Pixels, where the bytes are inline and readable.
    pub size: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageDetail {
    Low,
    High,
    Original,
    #[default]
    Auto,
}

/// An order to make images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOrder {
    pub size: Option<Arc<str>>,
    pub quality: Option<Arc<str>>,
}

/// Byte ranges of the body, as it came, where a rule or our request for usage may write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplicePoints {
    /// The value of the top-level `model` member, quotes included.
    pub model: Option<Range<usize>>,
    /// Earlier `model` members of the same body: a repeated name. A swap writes all of them.
    pub model_again: Vec<Range<usize>>,
    /// The value of the output limit member.
    pub output_limit: Option<Range<usize>>,
    /// Further output limit members (`max_tokens` beside `max_completion_tokens`, or repeated). A clamp writes all.
    pub output_limit_again: Vec<Range<usize>>,
    /// The value of `stream_options`.
    pub stream_options: Option<Range<usize>>,
    /// Just behind the `{` of the top-level object: where a new member goes.
    pub members: Option<usize>,
}

/// What the model must be able to do for this request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub vision: bool,
    pub audio_input: bool,
    pub file_input: bool,
    pub tools: bool,
    pub json_schema: bool,
    pub reasoning: bool,
}
