//! A journal that another version of Farebox left: it is refused by name, untouched, for the version that can read it.

use super::machine::{calls, is_whole_after_a_start, journal_end};
use crate::support::shop;

/// Of a record's header (`src/ledger/record.rs`): length, checksum of all that follows, format and kind, number.
const CHECKSUM: std::ops::Range<usize> = 4..8;
const TAG: usize = 8;
const HEADER_BYTES: usize = 17;

#[tokio::test]
async fn a_journal_of_an_older_version_is_refused_by_name_and_kept_for_it() {
    let mut shop = shop().open().await;
    assert!(calls(&shop, 10, 5).await > 0);
    shop.kill();
    let (segment, _) = journal_end(&shop);
    let ours = std::fs::read(&segment).unwrap();
    let epoch: u64 = segment.parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    std::fs::write(&segment, of_the_format_before(&ours, epoch)).unwrap();
    let older = std::fs::read(&segment).unwrap();
    for _ in 0..2 {
        let (ended, log) = shop.refused();
        assert!(ended.code().is_some_and(|code| code != 0), "{ended:?}\n{log}");
        assert!(log.contains("another version of Farebox") && log.contains(segment.to_str().unwrap()), "{log}");
        assert!(std::fs::read(&segment).unwrap() == older, "it was changed");
    }
    std::fs::write(&segment, ours).unwrap();
    is_whole_after_a_start(shop, true).await;
}

/// The first record as the version before would have written it, with a true checksum.
fn of_the_format_before(segment: &[u8], epoch: u64) -> Vec<u8> {
    let mut older = segment.to_vec();
    let length = HEADER_BYTES + u32::from_le_bytes(older[..4].try_into().unwrap()) as usize;
    older[TAG] -= 1 << 4;
    let mut salt = crc32fast::Hasher::new();
    salt.update(&epoch.to_le_bytes());
    salt.update(&1u64.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new_with_initial(salt.finalize());
    checksum.update(&older[TAG..length]);
    older[CHECKSUM].copy_from_slice(&checksum.finalize().to_le_bytes());
    older
}
