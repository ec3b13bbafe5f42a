//! Inline media: how many bytes a base64 text holds, and the pixels of a picture from its first bytes. Nothing is
//! decoded whole.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// A picture's header is looked for in so much of its base64; JPEGs with larger metadata stay of unknown size.
const HEADER_BASE64_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a base64 text stands for; JSON escapes (`\/`) in it count as written, so this is never too low.
pub fn decoded_bytes(base64: &[u8]) -> u64 {
    let padding = base64.iter().rev().take(2).filter(|byte| **byte == b'=').count();
    ((base64.len() - padding) as u64 * 3) / 4
}

/// Width and height of a PNG, JPEG, GIF, WebP … given as base64, standard or URL-safe.
pub fn image_size(base64: &[u8]) -> Option<(u32, u32)> {
    let head = base64.get(..HEADER_BASE64_BYTES_MAX).unwrap_or(base64);
    let plain: Vec<u8> = head.iter().copied().filter(|byte| !matches!(byte, b'\\' | b'\r' | b'\n' | b'=')).collect();
    let whole = plain.len() - plain.len() % 4;
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if plain.iter().any(|byte| matches!(byte, b'-' | b'_')) { &URL_SAFE } else { &STANDARD };
    let bytes = GeneralPurpose::new(alphabet, config).decode(plain.get(..whole)?).ok()?;
    let size = imagesize::blob_size(&bytes).ok()?;
    Some((u32::try_from(size.width).ok()?, u32::try_from(size.height).ok()?))
}

/// The media type and the base64 of `data:image/png;base64,iVBOR…`; `None` for any other URL.
pub fn data_url(url: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = url.strip_prefix(b"data:")?;
    let comma = memchr::memchr(b',', rest)?;
    let (head, data) = (&rest[..comma], &rest[comma + 1..]);
    let media_type = head.strip_suffix(b";base64")?;
    Some((media_type, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG of 3 × 2 pixels.
    const PNG: &[u8] = b"iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAADElEQVR4nGNgQAUAABQAAa/kgdoAAAAASUVORK5CYII=";

    #[test]
    fn a_picture_of_a_data_url_has_its_pixels_and_bytes() {
        let url = [b"data:image/png;base64,", PNG].concat();
        let (media_type, data) = data_url(&url).expect("a data url");
        assert_eq!(media_type, b"image/png");
        assert_eq!(image_size(data), Some((3, 2)));
        assert_eq!(decoded_bytes(data), 68);
    }

    #[test]
    fn what_is_no_picture_has_no_size() {
        assert_eq!(image_size(b"aGVsbG8gd29ybGQ="), None);
        assert_eq!(image_size(b"%%%"), None);
        assert_eq!(data_url(b"https://example.com/a.png"), None);
        assert_eq!(decoded_bytes(b"aGVsbG8gd29ybGQ="), 11);
        assert_eq!(decoded_bytes(b""), 0);
    }
}
