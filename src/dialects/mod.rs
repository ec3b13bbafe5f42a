//! Wire formats: one file per dialect reads requests, observes responses and writes refusals. No I/O, no clock.
//!
//! An enum, not a trait: the set is closed, and an exhaustive `match` finds every place.
//!
//! Where providers report usage, and the kinds that it becomes, stands in one table for each dialect: [`openai`],
//! [`anthropic`], [`gemini`].

pub mod anthropic;
pub mod curtail;
pub mod gemini;
pub mod inline;
pub mod json;
pub mod lines;
pub mod openai;
pub mod splice;
pub mod sse;
pub mod withhold;

use crate::money::Usd;
use crate::tokens::facts::RequestFacts;
use crate::tokens::prompt::OutputSeen;
pub use crate::tokens::prompt::PromptText;
use crate::tokens::usage::TokenUsage;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A wire format family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    #[serde(rename = "openai")]
    OpenAi,
    Anthropic,
    Gemini,
}

impl Dialect {
    pub const ALL: [Dialect; 3] = [Dialect::OpenAi, Dialect::Anthropic, Dialect::Gemini];

    pub fn name(self) -> &'static str {
        match self {
            Dialect::OpenAi => "openai",
            Dialect::Anthropic => "anthropic",
            Dialect::Gemini => "gemini",
        }
    }

    /// Which endpoint a path of this dialect is. `path` is relative to the provider's root and has no query:
    /// `/v1/chat/completions`, `/v1/messages`, `/v1beta/models/m:generateContent`, `/openai/deployments/d/embeddings`.
    /// Unknown paths are [`Operation::Other`] and pass unmetered.
    pub fn recognise(self, method: &str, path: &str) -> Endpoint {
        match self {
            Dialect::OpenAi => openai::recognise(method, path),
            Dialect::Anthropic => anthropic::recognise(method, path),
            Dialect::Gemini => gemini::recognise(method, path),
        }
    }

    /// Reads the facts of a metered request's body.
    pub fn read_request(self, endpoint: &Endpoint, body: &[u8]) -> Result<RequestFacts, Malformed> {
        match self {
            Dialect::OpenAi => openai::read_request(endpoint, body),
            Dialect::Anthropic => anthropic::read_request(endpoint, body),
            Dialect::Gemini => gemini::read_request(endpoint, body),
        }
    }

    /// Hands every text of the request that reaches the model to `sink`, in order, JSON escapes decoded; data URLs and
    /// inline media are left out. For counting, off the forwarding path.
    pub fn prompt_texts(self, endpoint: &Endpoint, body: &[u8], sink: &mut dyn FnMut(PromptText<'_>)) {
        match self {
            Dialect::OpenAi => openai::prompt_texts(endpoint, body, sink),
            Dialect::Anthropic => anthropic::prompt_texts(endpoint, body, sink),
            Dialect::Gemini => gemini::prompt_texts(endpoint, body, sink),
        }
    }

    /// One event of a streamed response.
    pub fn observe_event(self, endpoint: &Endpoint, flavor: Flavor, event: sse::Event<'_>, seen: &mut Observation) {
        match self {
            Dialect::OpenAi => openai::observe_event(endpoint, flavor, event, seen),
            Dialect::Anthropic => anthropic::observe_event(endpoint, flavor, event, seen),
            Dialect::Gemini => gemini::observe_event(endpoint, flavor, event, seen),
        }
    }

    /// A whole JSON response body (content encoding already undone).
    pub fn observe_whole(self, endpoint: &Endpoint, flavor: Flavor, body: &[u8], seen: &mut Observation) {
        match self {
            Dialect::OpenAi => openai::observe_whole(endpoint, flavor, body, seen),
            Dialect::Anthropic => anthropic::observe_whole(endpoint, flavor, body, seen),
            Dialect::Gemini => gemini::observe_whole(endpoint, flavor, body, seen),
        }
    }

    /// A refusal or an error of our own, in the shape that this dialect's clients understand.
    pub fn refusal(self, refusal: &Refusal) -> RefusalBody {
        match self {
            Dialect::OpenAi => openai::refusal(refusal),
            Dialect::Anthropic => anthropic::refusal(refusal),
            Dialect::Gemini => gemini::refusal(refusal),
        }
    }
}

/// What a path asks for (OpenTelemetry: `gen_ai.operation.name`, and more of our own).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Chat,
    Completion,
    Responses,
    Embeddings,
    Images,
    Speech,
    Transcription,
    Moderation,
    Rerank,
    CountTokens,
    Models,
    Files,
    Batches,
    /// `GET`, `DELETE`, `POST …/cancel` of `/v1/responses/{id}` and its items.
    StoredResponse,
    /// Anything else: passes, recorded as unmetered.
    Other,
}

impl Operation {
    pub const ALL: [Operation; 15] = [
        Operation::Chat,
        Operation::Completion,
        Operation::Responses,
        Operation::Embeddings,
        Operation::Images,
        Operation::Speech,
        Operation::Transcription,
        Operation::Moderation,
        Operation::Rerank,
        Operation::CountTokens,
        Operation::Models,
        Operation::Files,
        Operation::Batches,
        Operation::StoredResponse,
        Operation::Other,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Operation::Chat => "chat",
            Operation::Completion => "completion",
            Operation::Responses => "responses",
            Operation::Embeddings => "embeddings",
            Operation::Images => "images",
            Operation::Speech => "speech",
            Operation::Transcription => "transcription",
            Operation::Moderation => "moderation",
            Operation::Rerank => "rerank",
            Operation::CountTokens => "count_tokens",
            Operation::Models => "models",
            Operation::Files => "files",
            Operation::Batches => "batches",
            Operation::StoredResponse => "stored_response",
            Operation::Other => "other",
        }
    }

    /// The answer holds tokens that a model made: vectors, ratings and counts are none.
    pub fn puts_out_tokens(self) -> bool {
        !matches!(self, Operation::Embeddings | Operation::Moderation | Operation::Rerank | Operation::CountTokens)
    }
}

/// A recognised path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub operation: Operation,
    /// Gemini's `/models/{model}:…`, Azure's `/deployments/{deployment}/…`; percent-decoded.
    pub model_in_path: Option<Arc<str>>,
    /// The response, the batch or the file of results that the path asks for: `/responses/{id}`, `/batches/{id}/results`.
    pub result_of: Option<Arc<str>>,
    /// Gemini's `:streamGenerateContent`.
    pub stream_in_path: bool,
    pub body: BodyShape,
    /// A call of it is billed by the provider (and so is bounded, held and priced). `GET`s and `DELETE`s never are.
    pub metered: bool,
}

/// How the request's body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyShape {
    /// Read whole, bounded, before the provider is chosen.
    Json,
    /// Streams through after its `model` field was seen.
    Multipart,
    /// Streams through unread.
    Opaque,
}

/// How a provider of the OpenAI dialect differs from OpenAI where the fields alone do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavor {
    #[default]
    Standard,
    Azure,
    Openrouter,
    Deepseek,
    Groq,
    /// `completion_tokens` of chat leaves reasoning out.
    Xai,
    Mistral,
    Perplexity,
    Cohere,
    Ollama,
    Vllm,
    Llamacpp,
}

/// What the bytes of a response said. Filled by `observe_event` and `observe_whole`; nothing here is guessed.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// As reported; cumulative reports replace, separate items (tool calls) add.
    pub usage: Option<TokenUsage>,
    /// `usage` is of the whole response. Else its input is as reported, but its output so far only a placeholder
    /// (Anthropic's `message_start` says 1 to 4) or a state between, and must not be booked.
    pub usage_is_final: bool,
    /// How much of `output` was there at the newest cumulative report, which covers it exactly (Gemini's every event, the
    /// continuous reports of vLLM and xAI). `None`: the report, if any, is a placeholder.
    pub reported_upto: Option<OutputMark>,
    pub response_model: Option<Arc<str>>,
    pub response_id: Option<Arc<str>>,
    /// As reported: `default`, `flex`, `priority`, `batch` …
    pub service_tier: Option<Arc<str>>,
    /// As reported: where it was processed and how fast, if that is billed (Anthropic `inference_geo`, `speed`).
    pub region: Option<Arc<str>>,
    pub speed: Option<Arc<str>>,
    /// What the provider itself says the call cost (OpenRouter `usage.cost`, xAI `cost_in_usd_ticks`).
    pub provider_cost: Option<Usd>,
    /// Of a batch's responses (Anthropic, Gemini): what each model used; `usage` is their sum.
    pub by_model: Vec<(Option<Arc<str>>, TokenUsage)>,
    /// Visible text, reasoning text and tool arguments that flowed out, for counting when usage is not reported.
    pub output: OutputText,
    /// Tool calls of the provider's own, counted from output items (`web_search_call` …); merged by `meter::reading`.
    pub tool_calls: TokenUsage,
    /// Images in the response, for models that are priced by the image and report no tokens.
    pub images_made: u64,
    /// First event with content was seen.
    pub has_content: bool,
    /// The dialect's ending was seen (`[DONE]`, `message_stop`, a finish reason, `response.completed`, a whole body).
    pub finished: bool,
    /// OpenAI `finish_reason`, Anthropic `stop_reason`, Gemini `finishReason`, Responses `status`.
    pub finish_reason: Option<Arc<str>>,
    /// The provider's error code or type, where the body is an error.
    pub error_code: Option<Arc<str>>,
    /// For Responses with `background: true`, batches: not done yet.
    pub pending: bool,
    /// How the last chunk began: what the next one repeats of it is not read again.
    pub start: json::SameStart,
}

impl Observation {
    /// Background work or a batch that came to its good end and does not say what it used.
    pub fn is_done_without_usage(&self) -> bool {
        // OpenAI's word; the other dialects' batches have their usage in another document.
        self.finish_reason.as_deref() == Some("completed")
            && !self.pending
            && self.error_code.is_none()
            && !self.usage_is_final
    }
}

/// Output text kept for counting, bounded: past [`OutputText::KEPT_BYTES_MAX`] only its length is.
#[derive(Clone, Debug, Default)]
pub struct OutputText {
    pub text: String,
    pub reasoning: String,
    /// Bytes that were not kept.
    pub dropped_bytes: u64,
    /// Tool calls in the output: each has framing tokens.
    pub tool_calls: u32,
}

impl OutputText {
    pub const KEPT_BYTES_MAX: usize = 4 * 1024 * 1024;

    pub fn push_text(&mut self, piece: &str) {
        Self::push(&mut self.text, &mut self.dropped_bytes, piece);
    }

    pub fn push_reasoning(&mut self, piece: &str) {
        Self::push(&mut self.reasoning, &mut self.dropped_bytes, piece);
    }

    fn push(kept: &mut String, dropped: &mut u64, piece: &str) {
        if kept.len() + piece.len() <= Self::KEPT_BYTES_MAX {
            kept.push_str(piece);
        } else {
            *dropped = dropped.saturating_add(piece.len() as u64);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.reasoning.is_empty() && self.dropped_bytes == 0 && self.tool_calls == 0
    }
}

/// A place in an [`OutputText`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputMark {
    text: usize,
    reasoning: usize,
    dropped_bytes: u64,
    tool_calls: u32,
}

impl OutputText {
    /// Its end, as it is now.
    pub fn mark(&self) -> OutputMark {
        OutputMark {
            text: self.text.len(),
            reasoning: self.reasoning.len(),
            dropped_bytes: self.dropped_bytes,
            tool_calls: self.tool_calls,
        }
    }
}

/// Models of one batch that are told apart.
const BATCH_MODELS_MAX: usize = 64;

impl Observation {
    /// One of a batch's responses. More models than any batch has: the usage of the rest is of no model, so that it stays
    /// unpriced and is not lost.
    pub fn add_use(&mut self, model: Option<Arc<str>>, usage: &TokenUsage) {
        self.usage.get_or_insert(TokenUsage::ZERO).add(usage);
        self.usage_is_final = true;
        self.response_model = self.response_model.take().or_else(|| model.clone());
        let is_known = self.by_model.iter().any(|(known, _)| *known == model);
        let model = model.filter(|_| is_known || self.by_model.len() < BATCH_MODELS_MAX);
        match self.by_model.iter_mut().find(|(known, _)| *known == model) {
            Some((_, sum)) => sum.add(usage),
            None => self.by_model.push((model, *usage)),
        }
    }

    /// Output that no report covers: what is left to count.
    pub fn unreported_output(&self) -> OutputSeen<'_> {
        let (output, mark) = (&self.output, self.reported_upto.unwrap_or_default());
        OutputSeen {
            text: output.text.get(mark.text..).unwrap_or_default(),
            reasoning: output.reasoning.get(mark.reasoning..).unwrap_or_default(),
            tool_calls: output.tool_calls.saturating_sub(mark.tool_calls),
            dropped_bytes: output.dropped_bytes.saturating_sub(mark.dropped_bytes),
        }
    }
}

/// A request body that this dialect cannot read; becomes a 400 in its shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    /// For the caller: what is wrong, where (member, byte), and how to mend it.
    pub message: String,
    /// OpenAI's `param`.
    pub member: Option<&'static str>,
}

impl Malformed {
    /// The body is no JSON object.
    pub fn at(body: &[u8], broken: &json::Broken) -> Malformed {
        let (line, column) = broken.line_and_column(body);
        let message = match body.is_empty() {
            true => "The request body is empty. Send one JSON object.".to_owned(),
            false => format!(
                "The request body is not a JSON object: expected {} at line {line}, column {column} (byte {}). Send one \
                 complete JSON object.",
                broken.expected, broken.at
            ),
        };
        Malformed { message, member: None }
    }
}

/// Our no, before it has a dialect. `message` goes outward and holds nothing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
    pub member: Option<&'static str>,
    pub retry_after_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// 400: the request cannot be read, or names what does not exist.
    InvalidRequest,
    /// 401
    Unauthenticated,
    /// 403: a rule forbids it.
    Blocked,
    /// 404: no such path or model here.
    NotFound,
    /// 413
    TooLarge,
    /// 408: the request's body did not arrive in time.
    RequestTimeout,
    /// OpenAI 429 `insufficient_quota`, Anthropic 402 `billing_error`, Gemini 429 `RESOURCE_EXHAUSTED`.
    BudgetExceeded,
    /// 429
    RateLimited,
    /// 502: no provider could be reached.
    ProviderUnreachable,
    /// 504
    ProviderTimeout,
    /// 503 / 529 / UNAVAILABLE: the ledger is away, or we are full or stopping.
    Unavailable,
    /// 500
    Internal,
}

impl RefusalKind {
    pub const ALL: [RefusalKind; 12] = [
        RefusalKind::InvalidRequest,
        RefusalKind::Unauthenticated,
        RefusalKind::Blocked,
        RefusalKind::NotFound,
        RefusalKind::TooLarge,
        RefusalKind::RequestTimeout,
        RefusalKind::BudgetExceeded,
        RefusalKind::RateLimited,
        RefusalKind::ProviderUnreachable,
        RefusalKind::ProviderTimeout,
        RefusalKind::Unavailable,
        RefusalKind::Internal,
    ];

    /// The word in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            RefusalKind::InvalidRequest => "invalid_request",
            RefusalKind::Unauthenticated => "unauthenticated",
            RefusalKind::Blocked => "blocked",
            RefusalKind::NotFound => "not_found",
            RefusalKind::TooLarge => "too_large",
            RefusalKind::RequestTimeout => "request_timeout",
            RefusalKind::BudgetExceeded => "budget_exceeded",
            RefusalKind::RateLimited => "rate_limited",
            RefusalKind::ProviderUnreachable => "provider_unreachable",
            RefusalKind::ProviderTimeout => "provider_timeout",
            RefusalKind::Unavailable => "unavailable",
            RefusalKind::Internal => "internal",
        }
    }
}

/// A refusal in a dialect's shape: JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusalBody {
    pub status: u16,
    /// Further headers, lower case (`x-should-retry`, `retry-after`); content type and length are the sender's.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

#[cfg(test)]
mod laws;
