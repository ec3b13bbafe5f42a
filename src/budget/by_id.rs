//! Maps by ids that are 64 bits already. A call looks each of its accounts up several times, and the standard hasher was
//! most of each look-up; its protection is kept: without the map's own random seed nobody can choose ids that collide.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

pub type ById<K, V> = HashMap<K, V, Seeded>;

/// An odd number without a pattern: 2⁶⁴ by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Default for Seeded {
    fn default() -> Self {
        Seeded(RandomState::new().hash_one(MULTIPLIER))
    }
}

impl BuildHasher for Seeded {
    type Hasher = Folded;

    fn build_hasher(&self) -> Folded {
        Folded(self.0)
    }
}

/// Both halves of the product of id and seed: each bit of either moves all of them.
#[derive(Clone, Copy, Debug)]
pub struct Folded(u64);

impl Hasher for Folded {
    fn write_u64(&mut self, id: u64) {
        let product = u128::from(id ^ self.0) * u128::from(MULTIPLIER ^ self.0.rotate_left(32) | 1);
        let [low, high] = [product as u64, (product >> 64) as u64];
        self.0 = low ^ high;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_that_count_up_and_ids_that_share_their_low_bits_are_spread() {
        let seeded = Seeded::default();
        for id in [|n: u64| n, |n: u64| n << 40, |n: u64| n.wrapping_mul(1 << 20) | 7] {
            // What the map goes by: its lowest bits choose the place, its highest seven tell entries apart.
            let places: HashSet<u64> = (0..4_096).map(|n| seeded.hash_one(id(n)) % 65_536).collect();
            assert!(places.len() > 3_700, "{} places of 4,096", places.len());
            let tops: HashSet<u64> = (0..4_096).map(|n| seeded.hash_one(id(n)) >> 57).collect();
            assert_eq!(tops.len(), 128);
        }
        assert_ne!(Seeded::default().hash_one(7u64), seeded.hash_one(7u64), "each map has a seed of its own");
    }
}
