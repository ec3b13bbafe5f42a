//! Finding the end of a string, eight bytes at once.

use super::escape_size;

const ONES: u64 = u64::from_le_bytes([1; 8]);
const LOW: u64 = 0x7F * ONES;
/// Bits at the even places.
const EVEN: u64 = 0x5555_5555_5555_5555;
const BLOCK: usize = 64;

/// Where a string ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Bytes before its closing quote.
    pub at: usize,
    /// So many bytes fewer it has once its escapes are decoded.
    pub saved: usize,
}

/// The end of a string whose first byte is the first of `bytes`; `None`: no quote closes it.
pub(super) fn string_end(bytes: &[u8]) -> Option<End> {
    let plain = plain_run(bytes);
    match bytes.get(plain)? {
        b'"' => Some(End { at: plain, saved: 0 }),
        _ => escaped_end(bytes, plain),
    }
}

/// Bytes before the next quote or backslash. To begin a search costs more than to look at a few bytes.
fn plain_run(bytes: &[u8]) -> usize {
    let mut at = 0;
    for chunk in bytes.chunks_exact(8).take(4) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let found = are(word, b'"') | are(word, b'\\');
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len())
}

/// In code and JSON escapes stand close together: each is one bit of a block, and none costs a branch. A backslash that
/// a backslash stands before escapes nothing; in a row of them, those at the places of the same parity as its first do.
fn escaped_end(bytes: &[u8], from: usize) -> Option<End> {
    let (mut at, mut saved, mut carried) = (from, 0usize, 0u64);
    // Up to here the `\u` belong to one that was read already: the second half of a pair.
    let mut read_upto = from;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (quotes, backslashes) = (bits(rest, b'"'), bits(rest, b'\\'));
        let unescaped = backslashes & !carried;
        let behind = unescaped << 1 | carried;
        let (sums, carry) = (unescaped & !EVEN & !behind).overflowing_add(unescaped);
        let escaped = (EVEN ^ (sums << 1)) & behind;
        carried = u64::from(carry);
        let closing = quotes & !escaped;
        let inside = if closing == 0 { escaped } else { escaped & (closing & closing.wrapping_neg()).wrapping_sub(1) };
        saved += inside.count_ones() as usize;
        let mut units = if inside == 0 { 0 } else { inside & bits(rest, b'u') };
        while units != 0 {
            let start = (at + units.trailing_zeros() as usize).wrapping_sub(1);
            units &= units - 1;
            let (length, decoded) = escape_size(bytes.get(start..)?);
            // One byte was taken off above, also for the second half of a pair.
            if start >= read_upto {
                saved += length - decoded - if length == 12 { 2 } else { 1 };
                read_upto = start + length;
            }
        }
        if closing != 0 {
            return Some(End { at: at + closing.trailing_zeros() as usize, saved });
        }
        at += BLOCK;
    }
    None
}

/// Which of the next 64 bytes are this one; behind the end none is.
fn bits(bytes: &[u8], byte: u8) -> u64 {
    let mut bits = 0;
    let Some(block) = bytes.first_chunk::<BLOCK>() else {
        return bytes.iter().rev().fold(0, |bits, other| bits << 1 | u64::from(*other == byte));
    };
    for (place, chunk) in block.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        // The high bit of each byte, brought together.
        bits |= ((are(word, byte) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (place * 8);
    }
    bits
}

/// The high bit of each byte that is this one.
fn are(word: u64, byte: u8) -> u64 {
    let word = word ^ (u64::from(byte) * ONES);
    !(((word & LOW) + LOW) | word | LOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte by byte.
    fn plainly(bytes: &[u8]) -> Option<End> {
        let (mut at, mut saved) = (0, 0);
        loop {
            match bytes.get(at)? {
                b'"' => return Some(End { at, saved }),
                b'\\' => {
                    let (length, decoded) = escape_size(&bytes[at..]);
                    at += length;
                    saved += length - decoded;
                }
                _ => at += 1,
            }
        }
    }

    #[test]
    fn rows_of_backslashes_across_blocks() {
        for before in 0..140 {
            for slashes in 0..70 {
                let mut text = "x".repeat(before);
                text.push_str(&"\\".repeat(slashes));
                text.push_str("\" and \\u0041 \\ud83d\\ude00 \"");
                assert_eq!(string_end(text.as_bytes()), plainly(text.as_bytes()), "{before} {slashes}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn the_end_and_the_size_are_those_found_byte_by_byte(
            pieces in proptest::collection::vec(
                prop_oneof![
                    3 => "[a-u ]{0,40}".prop_map(String::from),
                    3 => Just("\\n".to_owned()),
                    3 => Just("\\\\".to_owned()),
                    2 => Just("\\\"".to_owned()),
                    1 => Just("\\".to_owned()),
                    2 => "\\\\u[0-9a-fA-F]{3,4}".prop_map(String::from),
                    2 => "\\\\ud8[0-9]{2}(\\\\udc[0-9]{2})?".prop_map(String::from),
                    1 => Just("é日".to_owned()),
                    1 => Just("\"".to_owned()),
                ], 0..60),
        ) {
            let text = pieces.concat();
            prop_assert_eq!(string_end(text.as_bytes()), plainly(text.as_bytes()), "{}", text);
        }
    }
}
