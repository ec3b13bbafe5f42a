//! Media that stand in a body as base64: their size, without decoding them whole.

use super::json::Text;
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// How much of a picture is decoded to find its width and height: its header stands in the first 48 KiB.
const HEADER_BASE64_BYTES: usize = 64 * 1024;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Width and height in pixels of an inline picture, a `data:` URL or bare base64. `None`: a link, or not readable.
pub fn image_size(picture: &Text<'_>) -> Option<(u32, u32)> {
    let start = picture.decode_start(HEADER_BASE64_BYTES + 256);
    let base64 = match start.strip_prefix("data:") {
        Some(url) => url.split_once(',')?.1,
        None => &start,
    };
    let whole_groups = base64.len().min(HEADER_BASE64_BYTES) / 4 * 4;
    // Google's SDKs write the URL-safe alphabet.
    let standard = base64.get(..whole_groups)?.replace('-', "+").replace('_', "/");
    let header = LENIENT.decode(standard).ok()?;
    let size = imagesize::blob_size(&header).ok()?;
    Some((u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?))
}

/// Bytes of an inline file or sound once its base64 is decoded, a `data:` URL or bare.
pub fn decoded_bytes(media: &Text<'_>) -> u64 {
    let prefix = match media.raw().starts_with(b"data:") {
        true => memchr::memchr(b',', media.raw()).map_or(0, |comma| comma + 1),
        false => 0,
    };
    (media.size().saturating_sub(prefix) as u64).saturating_mul(3) / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::json::Reader;

    /// The first bytes of a PNG of 300 × 200 pixels.
    const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAASwAAADICAYAAABS39xVAAAA";

    fn size_of(json: &str) -> Option<(u32, u32)> {
        image_size(&Reader::new(json.as_bytes()).text().unwrap().unwrap())
    }

    #[test]
    fn a_picture_says_its_size_in_its_first_bytes() {
        assert_eq!(size_of(&format!("\"data:image/png;base64,{PNG}\"")), Some((300, 200)));
        assert_eq!(size_of(&format!("\"data:image\\/png;base64,{PNG}\"")), Some((300, 200)));
        assert_eq!(size_of(&format!("\"{PNG}{}\"", "A".repeat(200_000))), Some((300, 200)));
    }

    #[test]
    fn a_link_and_what_is_no_picture_have_no_known_size() {
        for json in ["\"https://example.com/a.png\"", "\"data:image/png;base64\"", "\"\"", "\"data:,é\"", "\"AAAA\""] {
            assert_eq!(size_of(json), None, "{json}");
        }
    }

    #[test]
    fn decoded_bytes_are_three_quarters() {
        let of = |json: &str| decoded_bytes(&Reader::new(json.as_bytes()).text().unwrap().unwrap());
        assert_eq!((of("\"AAAAAAAA\""), of("\"data:x;base64,AAAAAAAA\"")), (6, 6));
    }
}
