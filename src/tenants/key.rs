//! The text of a virtual key: `fb-` and 52 letters of Crockford's base 32, which are 256 random bits. It is shown once;
//! what is kept is its hash under the pepper, a random key of the data directory, so that a copy of the store alone
//! does not even tell whether a guess is right.

use crate::secret::Secret;
use std::fmt;

/// `fb-` and 52 letters.
pub const KEY_LETTERS: usize = SIGN.len() + BODY_LETTERS;
/// So much of a key may be shown: `fb-` and 8 letters, 40 of the 256 bits.
pub const PREFIX_LETTERS: usize = SIGN.len() + 8;

const SIGN: &str = "fb-";
/// A person's or program's token for the admin port begins so; it is no virtual key, and opens nothing on the data port.
const TOKEN_SIGN: &str = "fbt";
/// An invitation's text.
const INVITATION_SIGN: &str = "fbi";
/// 52 × 5 bits hold 256.
const BODY_LETTERS: usize = 52;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A key's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyText(Secret<String>);

impl KeyText {
    /// From 256 bits that must be random.
    pub fn from_random(bits: &[u8; 32]) -> KeyText {
        KeyText::written(SIGN, bits)
    }

    /// A token for the admin port: `fbt` and the same 52 letters.
    pub fn token_from_random(bits: &[u8; 32]) -> KeyText {
        KeyText::written(TOKEN_SIGN, bits)
    }

    /// What an invitation is accepted with: `fbi` and the same 52 letters.
    pub fn invitation_from_random(bits: &[u8; 32]) -> KeyText {
        KeyText::written(INVITATION_SIGN, bits)
    }

    fn written(sign: &str, bits: &[u8; 32]) -> KeyText {
        let mut text = String::with_capacity(KEY_LETTERS);
        text.push_str(sign);
        for place in 0..BODY_LETTERS {
            text.push(char::from(ALPHABET[five_bits(bits, place * 5)]));
        }
        KeyText(Secret::new(text))
    }

    /// Shown when it is made, and never again.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub fn prefix(&self) -> &str {
        &self.0.expose()[..PREFIX_LETTERS]
    }
}

/// The five bits at this place, high to low; zeros behind the end.
fn five_bits(bits: &[u8; 32], at: usize) -> usize {
    let byte = |place: usize| u16::from(bits.get(place).copied().unwrap_or(0));
    let pair = byte(at / 8) << 8 | byte(at / 8 + 1);
    usize::from(pair >> (11 - at % 8)) & 31
}

/// Whether a text is written like one of our keys: no provider writes its keys so.
pub fn looks_like_a_key(text: &str) -> bool {
    text.len() == KEY_LETTERS && text.starts_with(SIGN)
}

/// Whether a text is written like a token for the admin port.
pub fn looks_like_a_token(text: &str) -> bool {
    text.len() == KEY_LETTERS && text.starts_with(TOKEN_SIGN)
}

/// The random key under which virtual keys are hashed.
#[derive(Clone)]
pub struct Pepper([u8; 32]);

impl Pepper {
    pub const BYTES: usize = 32;

    pub fn new(key: [u8; 32]) -> Self {
        Pepper(key)
    }

    pub fn digest(&self, text: &str) -> Digest {
        Digest(*blake3::keyed_hash(&self.0, text.as_bytes()).as_bytes())
    }

    /// A secret that need not be kept, for it can be had again from what is no secret.
    pub fn derived(&self, purpose: &str, salt: &[u8]) -> [u8; 32] {
        let key = blake3::derive_key(purpose, &self.0);
        *blake3::keyed_hash(&key, salt).as_bytes()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A key's hash under the pepper.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_holds_all_of_its_256_bits_and_shows_only_its_prefix() {
        let mut seen = std::collections::HashSet::new();
        for bit in 0..256 {
            let mut bits = [0u8; 32];
            bits[bit / 8] = 1 << (bit % 8);
            let key = KeyText::from_random(&bits);
            assert!(looks_like_a_key(key.expose()));
            assert!(seen.insert(key.expose().to_owned()), "bit {bit} is in the text");
        }
        let key = KeyText::from_random(&[0xff; 32]);
        assert_eq!(key.prefix(), "fb-zzzzzzzz");
        assert!(!format!("{key:?}").contains("zz"));
    }

    #[test]
    fn the_same_key_has_another_digest_under_another_pepper() {
        let key = KeyText::from_random(&[7; 32]);
        let digest = |pepper: u8| Pepper::new([pepper; 32]).digest(key.expose());
        assert!(digest(1) == digest(1) && digest(1) != digest(2));
        assert_eq!(format!("{:?} {:?}", digest(1), Pepper::new([7; 32])), "*** ***");
    }

    #[test]
    fn a_providers_key_is_not_taken_for_one_of_ours() {
        for text in ["", "fb-", "sk-proj-abc", "fb-short", &"x".repeat(KEY_LETTERS)] {
            assert!(!looks_like_a_key(text), "{text}");
        }
    }
}
