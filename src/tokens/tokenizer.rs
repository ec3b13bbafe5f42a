//! How a model makes tokens of text: which vocabulary counts for it, how far that is from its own, and what its chat
//! format adds around messages and tools. A catalog model carries a [`Tokenizer`]; the numbers live here, with sources.

use crate::money::Ratio;
use serde::{Deserialize, Serialize};

/// A vocabulary that is loaded here. `o200k_harmony` has the ordinary tokens of `o200k_base` (it adds 1,091 special
/// ones), so it counts as [`Encoding::O200k`] and is never loaded beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Encoding {
    #[default]
    #[serde(rename = "o200k_base")]
    O200k,
    #[serde(rename = "cl100k_base")]
    Cl100k,
}

impl Encoding {
    pub const ALL: [Encoding; 2] = [Encoding::O200k, Encoding::Cl100k];

    /// The name in tiktoken and in the catalog.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::O200k => "o200k_base",
            Encoding::Cl100k => "cl100k_base",
        }
    }
}

/// How a model's text is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tokenizer {
    pub encoding: Encoding,
    /// `encoding` is the model's own vocabulary: counts of text are exact. Else they are estimates.
    pub exact: bool,
    /// The model's tokens per token of `encoding`; [`Ratio::ONE`] where `exact`.
    pub factor: Ratio,
    pub framing: FramingFamily,
}

impl Default for Tokenizer {
    /// A model of which nothing is known: o200k, plain framing, an estimate.
    fn default() -> Self {
        Tokenizer { encoding: Encoding::O200k, exact: false, factor: Ratio::ONE, framing: FramingFamily::Default }
    }
}

impl Tokenizer {
    /// A model of OpenAI whose vocabulary is published.
    pub const fn exact(encoding: Encoding, framing: FramingFamily) -> Self {
        Tokenizer { encoding, exact: true, factor: Ratio::ONE, framing }
    }

    /// A model without a public tokenizer: o200k times a measured factor.
    pub const fn estimated(factor: Ratio, framing: FramingFamily) -> Self {
        Tokenizer { encoding: Encoding::O200k, exact: false, factor, framing }
    }

    /// The customary tokenizer of a model, by the beginning of its lower-case name without a provider's prefix. For
    /// models that the catalog does not describe, and for the catalog's own defaults.
    ///
    /// Factors: tokens of the same texts relative to o200k_base, measured 2026-11-21 (English, code, JSON, Chinese,
    /// Russian; the mean of English, code and JSON is taken), except Claude (ai-tokenizer's fit; Anthropic's docs: "about
    /// 30 % more" from Opus 4.7 and Sonnet 5 on).
    pub fn customary(model: &str) -> Tokenizer {
        CUSTOMARY
            .iter()
            .find(|(prefix, _)| model.starts_with(prefix))
            .map(|(_, tokenizer)| *tokenizer)
            .unwrap_or_default()
    }
}

/// `percent` hundredths.
const fn percent(percent: u32) -> Ratio {
    Ratio { numerator: percent, denominator: 100 }
}

const CLAUDE_45: Tokenizer = Tokenizer::estimated(percent(110), FramingFamily::Anthropic45);
/// 1.10 × 1.30.
const CLAUDE_47: Tokenizer = Tokenizer::estimated(percent(143), FramingFamily::Anthropic47);
const O200K_4O: Tokenizer = Tokenizer::exact(Encoding::O200k, FramingFamily::Openai4o);
const O200K_5: Tokenizer = Tokenizer::exact(Encoding::O200k, FramingFamily::Openai5);
const O200K_O: Tokenizer = Tokenizer::exact(Encoding::O200k, FramingFamily::OpenaiO);
const CL100K: Tokenizer = Tokenizer::exact(Encoding::Cl100k, FramingFamily::Openai4o);

/// First hit wins, so the longer beginning stands first.
const CUSTOMARY: [(&str, Tokenizer); 52] = [
    ("gpt-4o", O200K_4O),
    ("chatgpt-4o", O200K_4O),
    ("gpt-4.1", O200K_4O),
    ("gpt-4.5", O200K_4O),
    ("gpt-4", CL100K),
    ("gpt-3.5", CL100K),
    ("gpt-35", CL100K),
    ("text-embedding-", CL100K),
    ("gpt-5.1", Tokenizer::exact(Encoding::O200k, FramingFamily::Openai51)),
    ("gpt-5", O200K_5),
    ("gpt-oss", O200K_5),
    // No encoding is published for gpt-6 (tiktoken 0.14 refuses the name): o200k is assumed.
    ("gpt-", Tokenizer::estimated(Ratio::ONE, FramingFamily::Openai5)),
    ("o1", O200K_O),
    ("o3", O200K_O),
    ("o4", O200K_O),
    ("codex-", O200K_5),
    ("claude-opus-4-7", CLAUDE_47),
    ("claude-opus-4-8", CLAUDE_47),
    ("claude-opus-4-9", CLAUDE_47),
    ("claude-opus-4", CLAUDE_45),
    ("claude-sonnet-4", CLAUDE_45),
    ("claude-haiku-4", CLAUDE_45),
    ("claude-3", CLAUDE_45),
    ("claude-2", CLAUDE_45),
    ("claude-instant", CLAUDE_45),
    ("claude-", CLAUDE_47),
    // Between ai-tokenizer's fit to the API (1.08) and the mean of the vocabularies (1.14).
    ("gemini-", Tokenizer::estimated(percent(110), FramingFamily::Gemini)),
    ("gemma-", Tokenizer::estimated(percent(110), FramingFamily::Gemini)),
    ("grok-4", Tokenizer::estimated(Ratio::ONE, FramingFamily::Grok4)),
    ("grok-", Tokenizer::estimated(Ratio::ONE, FramingFamily::Default)),
    ("deepseek", Tokenizer::estimated(percent(103), FramingFamily::Default)),
    ("mistral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("ministral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("magistral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("codestral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("devstral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("pixtral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("mixtral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("open-mistral", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("qwen", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("qwq", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("llama", Tokenizer::estimated(percent(100), FramingFamily::Default)),
    ("meta-llama", Tokenizer::estimated(percent(100), FramingFamily::Default)),
    ("text-davinci", CL100K),
    ("davinci", CL100K),
    ("babbage", CL100K),
    ("command", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("kimi", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("glm", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("minimax", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("phi-", Tokenizer::estimated(percent(104), FramingFamily::Default)),
    ("sonar", Tokenizer::estimated(percent(100), FramingFamily::Default)),
];

/// A chat format by name, as the catalog writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FramingFamily {
    /// gpt-3.5, gpt-4, gpt-4o, gpt-4.1.
    #[serde(rename = "openai_4o")]
    Openai4o,
    #[serde(rename = "openai_5")]
    Openai5,
    #[serde(rename = "openai_51")]
    Openai51,
    /// o1, o3, o4-mini.
    #[serde(rename = "openai_o")]
    OpenaiO,
    /// Claude up to 4.6.
    #[serde(rename = "anthropic_45")]
    Anthropic45,
    /// Claude Opus 4.7, Sonnet 5 and later.
    #[serde(rename = "anthropic_47")]
    Anthropic47,
    Gemini,
    #[serde(rename = "grok_4")]
    Grok4,
    /// A chat template of unknown making.
    #[default]
    Default,
}

/// What a chat format adds to the texts, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Once a request, the priming of the answer included.
    pub request: u32,
    /// Around each message, its role (one token in every vocabulary here) included.
    pub message: u32,
    /// Around a message that brings a tool's result, instead of `message`.
    pub tool_message: u32,
    /// Beside the tokens of a message's `name`.
    pub name: u32,
    /// Once, when the request has any tool.
    pub tools: u32,
    /// Less, when it has tools and a system message, which then share one.
    pub tools_with_system_less: u32,
    /// Each tool, beside its rendered definition.
    pub tool: u32,
    /// Each tool call in the history, beside its name and arguments.
    pub tool_call: u32,
    /// Once for a message with more than one tool call.
    pub tool_calls_many: u32,
    /// Once for a message with text and tool calls: it becomes two.
    pub text_and_calls: u32,
    pub rendering: Rendering,
}

/// How tool definitions become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendering {
    /// `namespace functions { type name = (_: { … }) => any; }`.
    TypeScript,
    /// As JSON, roughly as it came.
    Json,
}

impl FramingFamily {
    /// The numbers. OpenAI before gpt-5: its cookbook (3 a message and its role, 1 a name, 3 to prime), tools and calls
    /// fitted to recorded usage. gpt-5 and the o-series: the published harmony format has as many around a message;
    /// what tools add, and all others: ai-tokenizer's fits to the providers' own counts, where the constants for a
    /// tool's JSON punctuation are left out because it is counted here. Read 2026-11-21.
    pub const fn framing(self) -> Framing {
        match self {
            FramingFamily::Openai4o => OPENAI_4O,
            FramingFamily::Openai5 => Framing { tools: OPENAI_4O.tools + 8, ..OPENAI_4O },
            FramingFamily::Openai51 => Framing { tools: OPENAI_4O.tools + 87, ..OPENAI_4O },
            FramingFamily::OpenaiO => Framing { tools: OPENAI_4O.tools + 3, ..OPENAI_4O },
            FramingFamily::Anthropic45 | FramingFamily::Anthropic47 => ANTHROPIC,
            FramingFamily::Gemini => GEMINI,
            FramingFamily::Grok4 => Framing { request: 683, tools: 187, ..DEFAULT },
            FramingFamily::Default => DEFAULT,
        }
    }
}

const OPENAI_4O: Framing = Framing {
    request: 3,
    message: 4,
    tool_message: 3,
    name: 1,
    tools: 2,
    tools_with_system_less: 4,
    tool: 0,
    tool_call: 4,
    tool_calls_many: 13,
    text_and_calls: 6,
    rendering: Rendering::TypeScript,
};

const ANTHROPIC: Framing = Framing {
    request: 6,
    message: 3,
    tool_message: 3,
    name: 1,
    tools: 549,
    tools_with_system_less: 0,
    tool: 25,
    tool_call: 10,
    tool_calls_many: 0,
    text_and_calls: 0,
    rendering: Rendering::Json,
};

/// `countTokens` of a one-word prompt is one: nothing is billed around messages.
const GEMINI: Framing = Framing {
    request: 0,
    message: 0,
    tool_message: 0,
    name: 0,
    tools: 0,
    tools_with_system_less: 0,
    tool: 0,
    tool_call: 2,
    tool_calls_many: 0,
    text_and_calls: 0,
    rendering: Rendering::Json,
};

const DEFAULT: Framing = Framing {
    request: 5,
    message: 4,
    tool_message: 4,
    name: 1,
    tools: 140,
    tools_with_system_less: 0,
    tool: 30,
    tool_call: 8,
    tool_calls_many: 0,
    text_and_calls: 0,
    rendering: Rendering::Json,
};
