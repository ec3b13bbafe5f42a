//! Identifiers of exchanges and ledger events: 63 bits, ordered by time, unique over restarts and upgrades.
//!
//! Layout, high to low: 42 bits of milliseconds since 2025-01-01T00:00:00Z, 5 bits of node, 16 bits of sequence. They
//! fit SQLite's `INTEGER PRIMARY KEY`, so the ledger needs no index by time.

use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// 2025-01-01T00:00:00Z, from which ids count their milliseconds.
pub const EPOCH_MILLIS: i64 = 1_735_689_600_000;
/// An id's milliseconds stand above this many bits of node and sequence.
pub const MILLIS_SHIFT: u32 = NODE_BITS + SEQUENCE_BITS;
const NODE_BITS: u32 = 5;
const SEQUENCE_BITS: u32 = 16;
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// One ledger event (one attempt, or one adjustment).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId(pub u64);

/// One client request with its response and its accounts. Written `fbx_0abc…` (13 letters of Crockford's base 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExchangeId(pub u64);

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base32(f, "fbx_", self.0)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_base32(f, "evt_", self.0)
    }
}

/// The text is not an id of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id (`fbx_…` or `evt_…` and 13 letters)")]
pub struct NotAnId(pub String);

impl FromStr for ExchangeId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        read_base32("fbx_", text).map(ExchangeId)
    }
}

impl FromStr for EventId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        read_base32("evt_", text).map(EventId)
    }
}

/// Gives out ids that only grow, whatever the clock does.
#[derive(Debug)]
pub struct IdSource {
    node: u64,
    last: AtomicU64,
}

impl IdSource {
    /// `node` tells apart processes that overlap in an upgrade (its low 5 bits count); `after` is the greatest id that
    /// was ever given out on this data directory, 0 for none.
    pub fn new(node: u64, after: u64) -> Self {
        IdSource { node: node & ((1 << NODE_BITS) - 1), last: AtomicU64::new(after) }
    }

    pub fn next(&self, now: Timestamp) -> u64 {
        let millis = u64::try_from(now.as_millis() - EPOCH_MILLIS).unwrap_or(0) & ((1 << 42) - 1);
        let fresh = (millis << (NODE_BITS + SEQUENCE_BITS)) | (self.node << SEQUENCE_BITS);
        let step = |last: u64| Some(fresh.max(self.after(last)));
        match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(last) | Err(last) => fresh.max(self.after(last)),
        }
    }

    /// The next id behind `last` that carries this node: the sequence counts on, and carries into the milliseconds.
    fn after(&self, last: u64) -> u64 {
        let sequence = last & ((1 << SEQUENCE_BITS) - 1);
        let millis = last >> (NODE_BITS + SEQUENCE_BITS);
        let same_node = (last >> SEQUENCE_BITS) & ((1 << NODE_BITS) - 1) == self.node;
        let (millis, sequence) =
            if same_node && sequence + 1 < (1 << SEQUENCE_BITS) { (millis, sequence + 1) } else { (millis + 1, 0) };
        (millis << (NODE_BITS + SEQUENCE_BITS)) | (self.node << SEQUENCE_BITS) | sequence
    }
}

/// The moment at which an id was made, to the millisecond: the one that windows and time filters go by.
pub fn made_at(id: u64) -> Timestamp {
    Timestamp((EPOCH_MILLIS + (id >> MILLIS_SHIFT) as i64) * 1_000)
}

/// The smallest id of a moment, for time filters by id; 0 for a moment before ids began.
pub fn id_at(now: Timestamp) -> u64 {
    (u64::try_from(now.as_millis() - EPOCH_MILLIS).unwrap_or(0) & ((1 << 42) - 1)) << (NODE_BITS + SEQUENCE_BITS)
}

fn write_base32(f: &mut fmt::Formatter<'_>, prefix: &str, value: u64) -> fmt::Result {
    let mut letters = [0u8; 13];
    for (place, letter) in letters.iter_mut().rev().enumerate() {
        *letter = ALPHABET[((value >> (5 * place)) & 31) as usize];
    }
    f.write_str(prefix)?;
    f.write_str(std::str::from_utf8(&letters).unwrap_or_default())
}

fn read_base32(prefix: &str, text: &str) -> Result<u64, NotAnId> {
    let not = || NotAnId(text.chars().take(64).collect());
    let letters = text.strip_prefix(prefix).filter(|rest| rest.len() == 13).ok_or_else(not)?;
    let mut value = 0u64;
    for letter in letters.bytes() {
        let digit = ALPHABET.iter().position(|known| *known == letter).ok_or_else(not)?;
        value = value.checked_mul(32).and_then(|high| high.checked_add(digit as u64)).ok_or_else(not)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_only_grow_also_when_the_clock_steps_back() {
        let source = IdSource::new(3, 0);
        let mut last = 0;
        for now in [10, 10, 9, 2_000_000_000_000_000, 5, 1_800_000_000_000_000] {
            for _ in 0..70_000 {
                let id = source.next(Timestamp(now));
                assert!(id > last && id < 1 << 63);
                last = id;
            }
        }
    }

    #[test]
    fn two_nodes_never_give_the_same_id() {
        let (a, b) = (IdSource::new(1, 0), IdSource::new(2, 0));
        let now = Timestamp(1_795_302_453_000_000);
        let of_a: std::collections::HashSet<u64> = (0..100_000).map(|_| a.next(now)).collect();
        assert!((0..100_000).all(|_| !of_a.contains(&b.next(now))));
    }

    #[test]
    fn an_id_tells_its_millisecond() {
        let now = Timestamp(1_795_302_453_000_999);
        assert_eq!(made_at(IdSource::new(3, 0).next(now)), Timestamp(1_795_302_453_000_000));
        assert_eq!(made_at(id_at(now)), Timestamp(1_795_302_453_000_000));
    }

    #[test]
    fn an_id_reads_back_from_its_text() {
        let id = ExchangeId(IdSource::new(0, 0).next(Timestamp(1_795_302_453_000_000)));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("fbx_short".parse::<ExchangeId>().is_err());
        assert!("evt_zzzzzzzzzzzzz".parse::<EventId>().is_err());
    }
}
