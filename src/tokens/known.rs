//! Pieces of text whose tokens were counted lately: a few thousand words, names and marks make most of any text.
//!
//! A table of fixed size without a lock, in which a look-up is one keyed hash and one word. A piece has one place, which
//! the next one takes that falls there. A word holds 56 bits of the hash beside the count, and its place stands for
//! eight more that are not among them: that another piece is taken for this one is as likely as two equal random
//! 64-bit numbers, and nobody can choose pieces whose hashes meet, since the key is random.

use super::tokenizer::Encoding;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Places in the table, a power of two: half a megabyte, made at first need.
const PLACES: usize = 1 << 16;
const COUNT_BITS: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct KnownPieces {
    places: OnceLock<Box<[AtomicU64]>>,
    key: RandomState,
}

impl KnownPieces {
    /// Longer pieces are rare, and their counts may not fit beside their hash.
    pub(super) const PIECE_BYTES_MAX: usize = 64;

    /// The piece's tokens, as `count` says it where they are not known. `None` when it does not know either.
    pub(super) fn tokens(
        &self,
        encoding: Encoding,
        piece: &str,
        count: impl FnOnce(&str) -> Option<u64>,
    ) -> Option<Found> {
        let hash = self.key.hash_one((encoding as u8, piece.as_bytes()));
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| AtomicU64::new(0)).collect());
        let place = places.get(hash as usize % PLACES)?;
        let word = place.load(Ordering::Relaxed);
        let known = word & ((1 << COUNT_BITS) - 1);
        if known > 0 && word >> COUNT_BITS == hash >> COUNT_BITS {
            return Some(Found { tokens: known, is_new: false });
        }
        let tokens = count(piece)?;
        if (1..1 << COUNT_BITS).contains(&tokens) {
            place.store(hash >> COUNT_BITS << COUNT_BITS | tokens, Ordering::Relaxed);
        }
        Some(Found { tokens, is_new: true })
    }

    pub(super) fn forget(&self) {
        for place in self.places.get().into_iter().flatten() {
            place.store(0, Ordering::Relaxed);
        }
    }
}

/// A piece's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) tokens: u64,
    /// It had to be counted.
    pub(super) is_new: bool,
}
