//! Counts of texts that were counted before: the messages of a conversation come again with every turn.

use super::count::Count;
use super::tokenizer::Encoding;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Keyed hash → count, of bounded size. The older half is forgotten when the newer half is full.
#[derive(Debug)]
pub(super) struct Memo {
    key: [u8; 32],
    halves: Mutex<Halves>,
}

/// 128 bits of a keyed hash of a text and its encoding.
pub(super) type Key = u128;

#[derive(Debug, Default)]
struct Halves {
    newer: HashMap<Key, Count>,
    older: HashMap<Key, Count>,
}

impl Memo {
    /// Texts remembered at most; 48 bytes each, so 6 MiB when full.
    pub(super) const ENTRIES_MAX: usize = 128 * 1024;

    pub(super) fn new(key: [u8; 32]) -> Self {
        Memo { key, halves: Mutex::default() }
    }

    /// Takes 0.2 ms a megabyte.
    pub(super) fn key(&self, encoding: Encoding, text: &str) -> Key {
        self.key_of(encoding as u8, text.as_bytes())
    }

    /// Of a text as written in JSON, with escapes: another text than the one of the same bytes.
    pub(super) fn escaped_key(&self, encoding: Encoding, raw: &[u8]) -> Key {
        self.key_of(encoding as u8 | 0x80, raw)
    }

    fn key_of(&self, kind: u8, bytes: &[u8]) -> Key {
        // A key for each kind, and one go: the kind before the bytes would put them out of step with the vectors.
        let mut own = self.key;
        own[31] ^= kind;
        let hash = blake3::keyed_hash(&own, bytes);
        let (first, _) = hash.as_bytes().split_at(size_of::<Key>());
        first.iter().fold(0, |key, byte| key << 8 | Key::from(*byte))
    }

    pub(super) fn find(&self, key: Key) -> Option<Count> {
        let mut halves = self.halves.lock();
        if let Some(count) = halves.newer.get(&key) {
            return Some(*count);
        }
        let count = halves.older.remove(&key)?;
        halves.insert(key, count);
        Some(count)
    }

    pub(super) fn forget(&self) {
        *self.halves.lock() = Halves::default();
    }

    pub(super) fn keep(&self, key: Key, count: Count) {
        self.halves.lock().insert(key, count);
    }
}

impl Halves {
    fn insert(&mut self, key: Key, count: Count) {
        if self.newer.len() >= Memo::ENTRIES_MAX / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: Count = Count { tokens: 7, exact: true };

    #[test]
    fn it_forgets_the_oldest_and_keeps_what_is_asked_for() {
        let memo = Memo::new([1; 32]);
        memo.keep(0, SOME);
        for key in 1..Memo::ENTRIES_MAX as Key / 2 + 1 {
            memo.keep(key, SOME);
        }
        assert_eq!(memo.find(0), Some(SOME), "the older half is still known, and becomes new by being asked for");
        for key in 0..Memo::ENTRIES_MAX as Key / 2 {
            memo.keep(1_000_000 + key, SOME);
        }
        assert_eq!(memo.find(1), None);
        assert_eq!(memo.find(0), Some(SOME));
    }

    #[test]
    fn a_text_has_another_key_in_another_encoding_and_another_process() {
        let memo = Memo::new([1; 32]);
        assert_ne!(memo.key(Encoding::O200k, "text"), memo.key(Encoding::Cl100k, "text"));
        assert_ne!(memo.key(Encoding::O200k, "a\\n"), memo.escaped_key(Encoding::O200k, b"a\\n"));
        assert_ne!(memo.key(Encoding::O200k, "text"), Memo::new([2; 32]).key(Encoding::O200k, "text"));
    }
}
