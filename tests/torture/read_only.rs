//! A disk that cannot be written: at the start, and from some moment on. Whoever is to mend it is told which; nothing that
//! reached the provider is missing afterwards.

use super::machine::{calls, is_whole_after_a_start};
use super::shim::compiled;
use crate::support::shop;
use crate::support::shop::Shop;
use std::path::PathBuf;
use tempfile::TempDir;

const SHIM: &str = include_str!("read_only.c");

/// A node whose disk is read-only while there is a file of that name.
async fn shop_and_switch(tools: &TempDir) -> (Shop, PathBuf) {
    let switch = tools.path().join("read-only");
    let shop = shop().with_variable("LD_PRELOAD", compiled(SHIM, tools).to_str().unwrap());
    (shop.with_variable("READ_ONLY_WHEN", switch.to_str().unwrap()).open().await, switch)
}

#[tokio::test]
async fn on_a_read_only_disk_it_does_not_start_says_so_and_loses_nothing() {
    let tools = tempfile::tempdir().unwrap();
    let (mut shop, switch) = shop_and_switch(&tools).await;
    assert_eq!(calls(&shop, 10, 5).await, 10);
    shop.kill();
    std::fs::write(&switch, "").unwrap();
    let (ended, log) = shop.refused();
    assert!(ended.code().is_some_and(|code| code != 0), "{ended:?}\n{log}");
    let said = log.to_lowercase().replace("readonly", "read-only");
    assert!(said.contains("read-only") && log.contains(shop.data_dir().to_str().unwrap()), "{log}");
    std::fs::remove_file(&switch).unwrap();
    is_whole_after_a_start(shop, true).await;
}

#[tokio::test]
async fn when_the_disk_turns_read_only_calls_are_refused_and_all_that_left_is_there_afterwards() {
    let tools = tempfile::tempdir().unwrap();
    let (mut shop, switch) = shop_and_switch(&tools).await;
    assert_eq!(calls(&shop, 10, 5).await, 10);
    std::fs::write(&switch, "").unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while calls(&shop, 2, 2).await > 0 {
        assert!(std::time::Instant::now() < until, "it refuses:\n{}", shop.log());
    }
    // Fenced: it finishes what it has and ends, so that somebody looks (docs/operating.md).
    assert_eq!(shop.ended().await.code(), Some(75));
    std::fs::remove_file(&switch).unwrap();
    is_whole_after_a_start(shop, true).await;
}
