//! What a machine may take away from a node: room on the disk, files, memory, the store, and the end of its journal. Calls
//! may be refused; none that reached the provider is missing afterwards, or there twice.

use super::{check, is_long, stopped, verified};
use crate::support::shop::{Shop, rows_in};
use crate::support::{Asking, shop};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number of calls, so many at a time, each with an id of its own; how many answers were 200.
pub(super) async fn calls(shop: &Shop, count: usize, at_once: usize) -> usize {
    static IDS: AtomicU64 = AtomicU64::new(0);
    let one = |place: usize| -> Asking {
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let asking = if place.is_multiple_of(2) { shop.chat("Say something.") } else { shop.stream("Say something.") };
        asking.with("x-request-id", &format!("machine-{id}")).wishing("output-tokens", 3)
    };
    let mut admitted = 0;
    for begun in (0..count).step_by(at_once) {
        let batch = (begun..(begun + at_once).min(count)).map(one).map(|asking| async {
            let Ok(streaming) = asking.attempted().await else { return false };
            let admitted = streaming.status == 200;
            drop(streaming.finished().await);
            admitted
        });
        admitted += futures_util::future::join_all(batch).await.into_iter().filter(|admitted| *admitted).count();
    }
    admitted
}

/// Starts it again where it died, stops it in order, and holds the ledger against what the provider saw.
pub(super) async fn is_whole_after_a_start(mut shop: Shop, died: bool) {
    if !died {
        shop.kill();
    }
    shop.lift_limits();
    shop.start();
    stopped(&mut shop).await;
    check(&shop.simulator.log.attempts(), &rows_in(&shop.data_dir()));
    verified(&shop);
}

#[tokio::test]
async fn where_no_file_may_grow_the_store_waits_and_the_journal_has_everything() {
    let limits = shop().with_limit(libc::RLIMIT_FSIZE, 1 << 20).with_setting("ledger: {segment_bytes: 1MiB}");
    let shop = limits.open().await;
    let admitted = calls(&shop, 200, 20).await;
    assert!(admitted > 20, "{admitted} admitted:\n{}", shop.log());
    is_whole_after_a_start(shop, false).await;
}

#[tokio::test]
async fn without_a_file_descriptor_left_calls_fail_and_the_node_lives_on() {
    let shop = shop().with_limit(libc::RLIMIT_NOFILE, 90).open().await;
    let stalled = (0..120).map(|place| {
        let asking = shop.stream("Say something.").with("x-request-id", &format!("stalled-{place}"));
        asking.wishing("stall-after", 1).attempted()
    });
    let short = std::time::Duration::from_millis(700);
    // Held until they are dropped: a hundred and twenty want more than there are.
    let held = tokio::time::timeout(short, futures_util::future::join_all(stalled)).await;
    drop(held);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while calls(&shop, 1, 1).await == 0 {
        assert!(std::time::Instant::now() < until, "it serves again once there are files:\n{}", shop.log());
    }
    is_whole_after_a_start(shop, false).await;
}

#[tokio::test]
async fn while_another_writes_to_the_store_calls_go_on() {
    let shop = shop().open().await;
    assert_eq!(calls(&shop, 2, 1).await, 2);
    shop.rows(2).await;
    let mut other = rusqlite::Connection::open(shop.data_dir().join("ledger.sqlite3")).unwrap();
    let writing = other.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    assert_eq!(calls(&shop, 20, 5).await, 20, "{}", shop.log());
    assert_eq!(rows_in(&shop.data_dir()).len(), 2);
    drop(writing);
    assert_eq!(shop.rows(22).await.len(), 22);
    is_whole_after_a_start(shop, false).await;
}

/// The newest segment of the journal with anything in it, and where that ends.
pub(super) fn journal_end(shop: &Shop) -> (PathBuf, u64) {
    let mut segments = Vec::new();
    for epoch in std::fs::read_dir(shop.data_dir().join("journal")).unwrap().map(|entry| entry.unwrap().path()) {
        for path in std::fs::read_dir(epoch).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let bytes = if name.starts_with("seg-") { std::fs::read(&path).unwrap() } else { Vec::new() };
            let last = bytes.iter().rposition(|byte| *byte != 0);
            segments.extend(last.map(|last| (name, path, last as u64 + 1)));
        }
    }
    let (_, path, end) = segments.into_iter().max().expect("a segment");
    (path, end)
}

#[tokio::test]
async fn rubbish_behind_the_journals_end_costs_no_call() {
    let mut shop = shop().open().await;
    assert_eq!(calls(&shop, 10, 5).await, 10);
    shop.kill();
    let (segment, end) = journal_end(&shop);
    let rubbish: Vec<u8> = (0..500u32).map(|nth| (nth * 37 % 251) as u8).collect();
    std::fs::OpenOptions::new().write(true).open(segment).unwrap().write_all_at(&rubbish, end + 40).unwrap();
    is_whole_after_a_start(shop, true).await;
}

/// In `make torture` only: it takes gigabytes, and half a minute.
#[tokio::test]
async fn where_memory_ends_the_ledger_is_whole_whatever_died() {
    if !is_long() {
        return;
    }
    // So little that a few large bodies at once are too many for it.
    let mut shop = shop().with_limit(libc::RLIMIT_AS, 3 << 30).with_setting("bodies_bytes_max: 2GiB").open().await;
    assert_eq!(calls(&shop, 4, 2).await, 4);
    let large = "word ".repeat(6_000_000);
    let asked = (0..40).map(|place| {
        let asking = shop.chat(&large).with("x-request-id", &format!("large-{place}")).wishing("output-tokens", 2);
        asking.attempted()
    });
    let answers = futures_util::future::join_all(asked).await;
    drop(answers);
    let alive = shop.admin("/healthz").attempted().await.is_ok();
    if !alive {
        assert!(!shop.ended().await.success());
    }
    is_whole_after_a_start(shop, !alive).await;
}
