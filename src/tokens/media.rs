//! Tokens of pictures, sound and files, by the rules of the model families. Sizes come from the first bytes of inline
//! media; nothing is fetched. A picture of unknown size costs the most that the family allows.

use super::facts::{ImageDetail, ImagePart};
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

impl ImageRule {
    /// What a picture costs; of unknown size, the most that it can.
    pub fn tokens(self, part: &ImagePart) -> u64 {
        match self.family() {
            Family::Tiles(tiles) => tiles.tokens(part),
            Family::Patches(patches) => patches.tokens(part),
            Family::Claude(claude) => claude.tokens(part),
            Family::Gemini2 => gemini_2_tokens(part.size),
            Family::Gemini3 => gemini_3_tokens(part.detail),
            Family::Unknown => UNKNOWN_TOKENS_MAX,
        }
    }

    /// The best prediction: a picture of unknown size costs like one of 1,024 × 1,024.
    pub fn likely_tokens(self, part: &ImagePart) -> u64 {
        match self {
            ImageRule::Unknown => ImageRule::Openai4o.likely_tokens(part),
            known => known.tokens(&ImagePart { size: part.size.or(Some((1_024, 1_024))), ..*part }),
        }
    }

    fn family(self) -> Family {
        const EDGE: u32 = u32::MAX;
        let patches =
            |percent, low, high, original, auto| Family::Patches(Patches { percent, low, high, original, auto });
        match self {
            ImageRule::Openai4o => Family::Tiles(Tiles { base: 85, tile: 170 }),
            ImageRule::Openai4oMini => Family::Tiles(Tiles { base: 2_833, tile: 5_667 }),
            ImageRule::Openai5 => Family::Tiles(Tiles { base: 70, tile: 140 }),
            ImageRule::OpenaiO => Family::Tiles(Tiles { base: 75, tile: 150 }),
            ImageRule::Openai41Mini => patches(162, (2_048, 6_144), (2_048, 6_144), (2_048, 6_144), ImageDetail::High),
            ImageRule::Openai52 => patches(120, (2_048, 6_144), (2_048, 6_144), (2_048, 6_144), ImageDetail::High),
            ImageRule::Openai54 => patches(120, (2_048, 6_144), (2_048, 2_500), (6_000, 10_000), ImageDetail::High),
            ImageRule::Openai55 => patches(120, (512, 2_500), (2_048, 2_500), (6_000, 10_000), ImageDetail::Original),
            ImageRule::Openai56 => patches(120, (512, 2_500), (2_048, 2_500), (EDGE, 30_000), ImageDetail::Original),
            ImageRule::Openai6 => patches(120, (512, 2_500), (EDGE, 2_500), (EDGE, 30_000), ImageDetail::Original),
            ImageRule::Anthropic45 => Family::Claude(Claude { edge: 1_568, tokens_max: 1_568 }),
            ImageRule::Anthropic47 => Family::Claude(Claude { edge: 2_576, tokens_max: 4_784 }),
            ImageRule::Gemini2 => Family::Gemini2,
            ImageRule::Gemini3 => Family::Gemini3,
            ImageRule::Unknown => Family::Unknown,
        }
    }
}

/// Above what any common family charges for a picture in its usual detail.
const UNKNOWN_TOKENS_MAX: u64 = 10_000;

enum Family {
    Tiles(Tiles),
    Patches(Patches),
    Claude(Claude),
    Gemini2,
    Gemini3,
    Unknown,
}

/// OpenAI before gpt-5.2: into 2,048 × 2,048, then the short side to 768, then tiles of 512 × 512; `low` is the base
/// alone. Confirmed by recorded usage of gpt-4o and gpt-4o-mini.
struct Tiles {
    base: u64,
    tile: u64,
}

impl Tiles {
    const TILES_MAX: u64 = 8;

    fn tokens(&self, part: &ImagePart) -> u64 {
        let tiles = match (part.detail, part.size) {
            (ImageDetail::Low, _) => 0,
            (_, None) => Self::TILES_MAX,
            (_, Some(size)) => {
                let (width, height) = shrunk(shrunk(size, 2_048, u32::max), 768, u32::min);
                u64::from(width.div_ceil(512)) * u64::from(height.div_ceil(512))
            }
        };
        self.base + self.tile * tiles.min(Self::TILES_MAX)
    }
}

/// OpenAI from gpt-5.2 on (LiteLLM's policy, read 2026-11-21): patches of 32 × 32, at most so many, times a factor. Per
/// detail: longest edge in pixels, most patches.
struct Patches {
    percent: u64,
    low: (u32, u64),
    high: (u32, u64),
    original: (u32, u64),
    auto: ImageDetail,
}

impl Patches {
    fn tokens(&self, part: &ImagePart) -> u64 {
        let (edge, patches_max) = match (part.detail, self.auto) {
            (ImageDetail::Low, _) => self.low,
            (ImageDetail::Original, _) | (ImageDetail::Auto, ImageDetail::Original) => self.original,
            _ => self.high,
        };
        let patches = match part.size {
            Some(size) => grid(shrunk(size, edge, u32::max), 32).min(patches_max),
            None => grid((edge, edge), 32).min(patches_max),
        };
        (patches * self.percent).div_ceil(100)
    }
}

/// Claude: patches of 28 × 28 after shrinking to the longest edge and the budget (LiteLLM's policy, read 2026-11-21).
struct Claude {
    edge: u32,
    tokens_max: u64,
}

impl Claude {
    fn tokens(&self, part: &ImagePart) -> u64 {
        part.size.map_or(self.tokens_max, |size| grid(shrunk(size, self.edge, u32::max), 28).min(self.tokens_max))
    }
}

/// Google's documentation: up to 384 × 384 258 tokens, else 258 for each tile of 768 × 768; 16 tiles where the size is
/// not known.
fn gemini_2_tokens(size: Option<(u32, u32)>) -> u64 {
    let tiles = match size {
        Some((width, height)) if width <= 384 && height <= 384 => 1,
        Some(size) => grid(size, 768),
        None => 16,
    };
    258 * tiles
}

/// At most so many, whatever the size, by `media_resolution` of Gemini 3: low 280, medium 560, high (the default of
/// pictures) 1,120, ultra high 2,240. Source: Google's page "Media resolution" and articles that repeat its table, read
/// 2026-11-28; not measured. Medium is told as high: the bound holds, the estimate is twice what it is.
fn gemini_3_tokens(detail: ImageDetail) -> u64 {
    match detail {
        ImageDetail::Low => 280,
        ImageDetail::High | ImageDetail::Auto => 1_120,
        ImageDetail::Original => 2_240,
    }
}

/// Scaled down, its proportions kept, until the side that `which` picks is no longer than `edge`.
fn shrunk((width, height): (u32, u32), edge: u32, which: fn(u32, u32) -> u32) -> (u32, u32) {
    let side = which(width, height);
    if side <= edge {
        return (width, height);
    }
    let scale = |length: u32| (u64::from(length) * u64::from(edge) / u64::from(side)).max(1);
    (scale(width).min(u64::from(u32::MAX)) as u32, scale(height).min(u64::from(u32::MAX)) as u32)
}

/// How many squares of `edge` cover a picture.
fn grid((width, height): (u32, u32), edge: u32) -> u64 {
    u64::from(width.div_ceil(edge)) * u64::from(height.div_ceil(edge))
}

/// Tokens of inline sound of which only the bytes are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioRule {
    /// OpenAI: a token for 100 ms; Gemini: 32 a second.
    pub tokens_per_second: u64,
}

impl AudioRule {
    pub const OPENAI: AudioRule = AudioRule { tokens_per_second: 10 };
    pub const GEMINI: AudioRule = AudioRule { tokens_per_second: 32 };
    /// Speech is hardly ever stored in less: 8 kbit/s.
    const BYTES_PER_SECOND_MIN: u64 = 1_000;
    /// MP3 at 128 kbit/s.
    const BYTES_PER_SECOND_LIKELY: u64 = 16_000;

    /// The most that so many bytes can hold.
    pub fn tokens_max(self, bytes: u64) -> u64 {
        bytes.div_ceil(Self::BYTES_PER_SECOND_MIN).saturating_mul(self.tokens_per_second)
    }

    pub fn likely_tokens(self, bytes: u64) -> u64 {
        bytes.div_ceil(Self::BYTES_PER_SECOND_LIKELY).saturating_mul(self.tokens_per_second)
    }
}

/// The most tokens of inline files (PDF …): one a byte of compressed text, and 2,000 for each file's first picture and
/// framing. Nobody documents a bound; the caller caps it by the context window.
pub fn file_tokens_max(bytes: u64, parts: u32) -> u64 {
    bytes.saturating_add(u64::from(parts) * 2_000)
}

/// A guess: a page of 25 kB has some 1,250 tokens of text and picture.
pub fn likely_file_tokens(bytes: u64, parts: u32) -> u64 {
    (bytes / 20).saturating_add(u64::from(parts) * 13)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(detail: ImageDetail, size: (u32, u32)) -> ImagePart {
        ImagePart { detail, size: Some(size) }
    }

    /// Prompt tokens reported by OpenAI less the 13 of the question beside the picture, from the records of the npm
    /// package openai-tokens-count (tests/tokens.json, read 2026-11-21).
    #[test]
    fn tiles_cost_what_openai_reported() {
        use ImageDetail::{Auto, High, Low};
        let cases = [
            (ImageRule::Openai4oMini, High, (512, 512), 8_513 - 13),
            (ImageRule::Openai4oMini, Low, (511, 511), 2_846 - 13),
            (ImageRule::Openai4oMini, Auto, (800, 800), 25_514 - 13),
            (ImageRule::Openai4o, Auto, (511, 511), 268 - 13),
            (ImageRule::Openai4o, Auto, (400, 800), 438 - 13),
            (ImageRule::Openai4o, Auto, (3_600, 300), 778 - 13),
            (ImageRule::Openai4o, Auto, (2_048, 1_025), 1_118 - 13),
            (ImageRule::Openai4o, Low, (2_048, 1_025), 98 - 13),
        ];
        for (rule, detail, size, reported) in cases {
            assert_eq!(rule.tokens(&picture(detail, size)), reported, "{rule:?} {detail:?} {size:?}");
        }
    }

    #[test]
    fn patches_stay_within_the_budget_of_their_detail() {
        let large = (8_000, 6_000);
        assert_eq!(ImageRule::Openai54.tokens(&picture(ImageDetail::High, large)), 3_000, "2,500 × 1.2");
        assert_eq!(ImageRule::Openai55.tokens(&picture(ImageDetail::Auto, large)), 12_000, "auto is original");
        assert_eq!(ImageRule::Openai56.tokens(&picture(ImageDetail::Original, large)), 36_000);
        assert_eq!(ImageRule::Openai54.tokens(&picture(ImageDetail::High, (320, 64))), 24, "10 × 2 × 1.2");
    }

    #[test]
    fn claude_and_gemini_pictures_cost_what_they_document() {
        assert_eq!(ImageRule::Anthropic45.tokens(&picture(ImageDetail::Auto, (1_000, 1_000))), 36 * 36);
        assert_eq!(ImageRule::Anthropic45.tokens(&picture(ImageDetail::Auto, (4_000, 4_000))), 1_568);
        assert_eq!(ImageRule::Anthropic47.tokens(&picture(ImageDetail::Auto, (4_000, 4_000))), 4_784);
        assert_eq!(ImageRule::Gemini2.tokens(&picture(ImageDetail::Auto, (384, 384))), 258);
        assert_eq!(ImageRule::Gemini2.tokens(&picture(ImageDetail::Auto, (1_536, 769))), 258 * 4);
        assert_eq!(ImageRule::Gemini3.tokens(&picture(ImageDetail::Low, (9_000, 9_000))), 280);
    }

    #[test]
    fn a_picture_of_unknown_size_is_bounded_by_its_family_and_predicted_like_a_common_one() {
        let unknown = ImagePart { detail: ImageDetail::Auto, size: None };
        assert_eq!(ImageRule::Openai4o.tokens(&unknown), 85 + 8 * 170);
        assert_eq!(ImageRule::Openai4o.likely_tokens(&unknown), 85 + 4 * 170);
        assert_eq!(ImageRule::Unknown.likely_tokens(&unknown), 85 + 4 * 170);
        for (width, height) in [(1, 1), (1, 100_000), (5_000, 5_000), (u32::MAX, u32::MAX), (u32::MAX, 1)] {
            let known = ImagePart { detail: ImageDetail::Auto, size: Some((width, height)) };
            for rule in [ImageRule::Openai4o, ImageRule::Openai52, ImageRule::Openai56, ImageRule::Anthropic47] {
                assert!(rule.tokens(&known) <= rule.tokens(&unknown), "{rule:?} {width}×{height}");
            }
        }
    }
}
