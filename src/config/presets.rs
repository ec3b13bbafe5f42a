//! Providers that need only their name, a line each.
//!
//! Base URLs and the variables of the keys are those of the providers' own Python SDKs where they have one (openai 3.57,
//! anthropic 2.14, google-genai 3.4, groq 1.7, mistralai 3.7, together 3.1, huggingface_hub 2.4), and of LiteLLM 1.110 for
//! the others, read 2026-11-28; none was tried against the provider itself. Cohere's is its page on the compatibility
//! API: its own SDK speaks another dialect, and reads `CO_API_KEY`. A `base_url` of your own overrides them.

use crate::dialects::{Dialect, Flavor};

/// What is known of a provider beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    pub name: &'static str,
    pub dialect: Dialect,
    pub flavor: Flavor,
    /// As its SDK takes it; `None` where each customer has his own.
    pub base_url: Option<&'static str>,
    /// The variable that its own SDK reads the key from; `None` where it wants no key.
    pub key_variable: Option<&'static str>,
    /// It takes `stream_options.include_usage`.
    pub ask_for_usage: bool,
}

pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

const fn of(
    name: &'static str,
    (dialect, flavor): (Dialect, Flavor),
    base_url: Option<&'static str>,
    key_variable: Option<&'static str>,
    ask_for_usage: bool,
) -> Preset {
    Preset { name, dialect, flavor, base_url, key_variable, ask_for_usage }
}

const STANDARD: (Dialect, Flavor) = (Dialect::OpenAi, Flavor::Standard);

/// Mistral and Perplexity report usage unasked; Mistral refuses members that it does not know, and Cohere's compatibility
/// API refuses `stream_options` (Strands' page on its Cohere provider, read 2026-11-28).
#[rustfmt::skip]
pub const PRESETS: [Preset; 17] = [
    of("openai",      STANDARD,                                 Some("https://api.openai.com/v1"),                 Some("OPENAI_API_KEY"),       true),
    of("anthropic",   (Dialect::Anthropic, Flavor::Standard),   Some("https://api.anthropic.com"),                 Some("ANTHROPIC_API_KEY"),    false),
    of("gemini",      (Dialect::Gemini, Flavor::Standard),      Some("https://generativelanguage.googleapis.com"), Some("GEMINI_API_KEY"),       false),
    of("azure",       (Dialect::OpenAi, Flavor::Azure),         None,                                              Some("AZURE_OPENAI_API_KEY"), true),
    of("openrouter",  (Dialect::OpenAi, Flavor::Openrouter),    Some("https://openrouter.ai/api/v1"),              Some("OPENROUTER_API_KEY"),   true),
    of("groq",        (Dialect::OpenAi, Flavor::Groq),          Some("https://api.groq.com/openai/v1"),            Some("GROQ_API_KEY"),         true),
    of("mistral",     (Dialect::OpenAi, Flavor::Mistral),       Some("https://api.mistral.ai/v1"),                 Some("MISTRAL_API_KEY"),      false),
    of("deepseek",    (Dialect::OpenAi, Flavor::Deepseek),      Some("https://api.deepseek.com/v1"),               Some("DEEPSEEK_API_KEY"),     true),
    of("xai",         (Dialect::OpenAi, Flavor::Xai),           Some("https://api.x.ai/v1"),                       Some("XAI_API_KEY"),          true),
    of("together",    STANDARD,                                 Some("https://api.together.ai/v1"),                Some("TOGETHER_API_KEY"),     true),
    of("huggingface", STANDARD,                                 Some("https://router.huggingface.co/v1"),          Some("HF_TOKEN"),             true),
    of("cohere",      (Dialect::OpenAi, Flavor::Cohere),        Some("https://api.cohere.ai/compatibility/v1"),    Some("COHERE_API_KEY"),       false),
    of("perplexity",  (Dialect::OpenAi, Flavor::Perplexity),    Some("https://api.perplexity.ai"),                 Some("PERPLEXITY_API_KEY"),   false),
    of("ollama",      (Dialect::OpenAi, Flavor::Ollama),        Some("http://127.0.0.1:11434/v1"),                 None,                         true),
    of("vllm",        (Dialect::OpenAi, Flavor::Vllm),          Some("http://127.0.0.1:8000/v1"),                  None,                         true),
    of("lmstudio",    (Dialect::OpenAi, Flavor::Llamacpp),      Some("http://127.0.0.1:1234/v1"),                  None,                         true),
    of("simulated",   STANDARD,                                 Some("http://127.0.0.1:4010/v1"),                  None,                         true),
];
