//! Tokens of pictures, sound and files, by the rules of the model families. Sizes come from the first bytes of inline
//! media; nothing is fetched. A picture of unknown size costs the most that the family allows.

use serde::{Deserialize, Serialize};

/// How a model family turns a picture into tokens; the catalog names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageRule {
    /// gpt-4o, gpt-4.1: tiles, 85 + 170 each.
    #[serde(rename = "openai_4o")]
    Openai4o,
    /// gpt-4o-mini: tiles, 2,833 + 5,667 each.
    #[serde(rename = "openai_4o_mini")]
    Openai4oMini,
    /// gpt-5, gpt-5.1: tiles, 70 + 140 each.
    #[serde(rename = "openai_5")]
    Openai5,
    /// o1, o1-pro, o3: tiles, 75 + 150 each.
    #[serde(rename = "openai_o")]
    OpenaiO,
    /// gpt-4.1-mini: patches × 1.62.
    #[serde(rename = "openai_41_mini")]
    Openai41Mini,
    /// gpt-5.2: patches × 1.2.
    #[serde(rename = "openai_52")]
    Openai52,
    /// gpt-5.4 and its small ones: patches × 1.2, `auto` is `high`.
    #[serde(rename = "openai_54")]
    Openai54,
    /// gpt-5.5: patches × 1.2, `auto` is `original`.
    #[serde(rename = "openai_55")]
    Openai55,
    /// gpt-5.6: as 5.5, `original` without a size limit.
    #[serde(rename = "openai_56")]
    Openai56,
    /// gpt-6-astra: as 5.6, `high` without an edge limit.
    #[serde(rename = "openai_6")]
    Openai6,
    /// Claude up to 4.6.
    #[serde(rename = "anthropic_45")]
    Anthropic45,
    /// Claude Opus 4.7, Sonnet 5 and later.
    #[serde(rename = "anthropic_47")]
    Anthropic47,
    /// Gemini 1.5 to 2.5: tiles of 768².
    #[serde(rename = "gemini_2")]
    Gemini2,
    /// Gemini 3 and later: by media resolution alone.
    #[serde(rename = "gemini_3")]
    Gemini3,
    /// Nothing is known: counted like the dearest of the common ones.
    #[default]
    Unknown,
}
