//! Sealing what must be read again: AES-256-GCM under the master key. A sealed text is bound to what it is for, so that
//! one row's cannot be put into another's place.

use crate::secret::Secret;
use base64::Engine as _;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// The key under which everything else is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasterKey(Secret<[u8; 32]>);

/// Names a master key without telling anything of it.
pub type MasterKeyId = [u8; 8];

/// The text is no master key; it is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no master key: 32 random bytes are wanted, as 64 hexadecimal digits or in base 64 (`openssl rand -hex 32`)"
)]
pub struct NotAMasterKey;

/// Another master key, another purpose, or a changed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed under another master key, or is damaged")]
pub struct NotOpened;

impl MasterKey {
    pub const BYTES: usize = 32;

    pub fn new(key: [u8; 32]) -> Self {
        MasterKey(Secret::new(key))
    }

    /// 64 hexadecimal digits, or base 64 of 32 bytes.
    pub fn parse(text: &str) -> Result<MasterKey, NotAMasterKey> {
        let text = text.trim();
        let bytes = match text.len() {
            64 => (0..64).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect(),
            _ => base64::engine::general_purpose::STANDARD.decode(text).ok(),
        };
        bytes.and_then(|bytes: Vec<u8>| bytes.try_into().ok()).map(MasterKey::new).ok_or(NotAMasterKey)
    }

    /// As [`MasterKey::parse`] reads it.
    pub fn to_hex(&self) -> Secret<String> {
        Secret::new(self.0.expose().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn id(&self) -> MasterKeyId {
        let derived = blake3::derive_key("farebox master key id v1", self.0.expose());
        let mut id = [0u8; 8];
        id.copy_from_slice(&derived[..8]);
        id
    }

    /// Nonce, cipher text, tag. `nonce` must be random: one key seals far fewer than 2^32 texts.
    pub fn seal(&self, plain: &[u8], purpose: &str, nonce: [u8; NONCE_LEN]) -> Result<Vec<u8>, NotOpened> {
        let mut body = plain.to_vec();
        let (key, unique) = (self.cipher()?, Nonce::assume_unique_for_key(nonce));
        key.seal_in_place_append_tag(unique, Aad::from(purpose.as_bytes()), &mut body).map_err(|_| NotOpened)?;
        Ok([nonce.as_slice(), &body].concat())
    }

    /// What was sealed for this purpose.
    pub fn open(&self, sealed: &[u8], purpose: &str) -> Result<Secret<Vec<u8>>, NotOpened> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(NotOpened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOpened)?;
        let mut body = body.to_vec();
        let opened = self.cipher()?.open_in_place(nonce, Aad::from(purpose.as_bytes()), &mut body);
        opened.map(|plain| Secret::new(plain.to_vec())).map_err(|_| NotOpened)
    }

    fn cipher(&self) -> Result<LessSafeKey, NotOpened> {
        UnboundKey::new(&AES_256_GCM, self.0.expose()).map(LessSafeKey::new).map_err(|_| NotOpened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_key_for_its_purpose_only() {
        let (key, other) = (MasterKey::new([7; 32]), MasterKey::new([8; 32]));
        let sealed = key.seal(b"sk-live-1", "provider key 12", [1; NONCE_LEN]).unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"sk-live"));
        assert_eq!(key.open(&sealed, "provider key 12").unwrap().expose(), b"sk-live-1");
        assert_eq!(key.open(&sealed, "provider key 13"), Err(NotOpened));
        assert_eq!(other.open(&sealed, "provider key 12"), Err(NotOpened));
        for place in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[place] ^= 1;
            assert_eq!(key.open(&damaged, "provider key 12"), Err(NotOpened), "byte {place}");
        }
        assert_eq!(key.open(b"short", "x"), Err(NotOpened));
    }

    #[test]
    fn a_master_key_is_read_in_both_writings_and_never_shown() {
        let key = MasterKey::new([0xab; 32]);
        assert_eq!(MasterKey::parse(&format!(" {}\n", key.to_hex().expose())), Ok(key.clone()));
        let base64 = base64::engine::general_purpose::STANDARD.encode([0xab; 32]);
        assert_eq!(MasterKey::parse(&base64), Ok(key.clone()));
        for text in ["", "secret", &"x".repeat(64), &"é".repeat(32), &"ab".repeat(31)] {
            assert_eq!(MasterKey::parse(text), Err(NotAMasterKey));
        }
        assert!(!format!("{key:?}").contains("171") && key.id() != MasterKey::new([0xac; 32]).id());
    }
}
