//! A clock that is set under a node at work, forth and back, by hours and by a year: no call fails of it, none is missing
//! or twice, and no day's budget is spent further than its limit.

use super::machine::{calls, is_whole_after_a_start};
use super::shim::compiled;
use crate::support::shop;
use farebox::store::{AccountQuery, Reader};

const SHIM: &str = include_str!("clock.c");
const HOUR: i64 = 3_600;
/// Where the clock stands, one after the other, in hours from now.
const STEPS: [i64; 7] = [0, 2, -26, 26, -8_760, 8_760, 0];
const RULES: &str = "version: 1\nbudgets:\n  - {name: today, window: day, limit: 0.5 USD}\n  - {name: house, window: month, limit: 9 USD}\n";

#[tokio::test]
async fn a_clock_that_is_set_forth_and_back_costs_no_call() {
    let tools = tempfile::tempdir().unwrap();
    let clock = tools.path().join("clock");
    let set = |hours: i64| {
        // In place: the node has this very file before its eyes.
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&clock).unwrap();
        file.write_all_at(&(hours * HOUR).to_ne_bytes(), 0).unwrap();
    };
    set(0);
    let shop = shop().with_rules(RULES).with_variable("LD_PRELOAD", compiled(SHIM, &tools).to_str().unwrap());
    let mut shop = shop.with_variable("CLOCK_STEP", clock.to_str().unwrap()).open().await;
    for (nth, hours) in STEPS.into_iter().enumerate() {
        set(hours);
        assert_eq!(calls(&shop, 12, 4).await, 12, "{hours} hours off:\n{}", shop.log());
        if nth % 2 == 1 {
            // What was open or not yet in the store is recovered by a clock that says another time again.
            shop.kill();
            set(hours - 3);
            shop.start();
        }
    }
    let accounts = Reader::open(&shop.data_dir()).unwrap().budget_accounts(&AccountQuery::default()).unwrap();
    let days: std::collections::HashSet<_> = accounts.iter().map(|account| account.window_start).collect();
    assert!(days.len() > 4, "the clock was believed: {days:?}");
    assert!(accounts.iter().all(|account| account.settled + account.leased <= account.limit), "{accounts:#?}");
    is_whole_after_a_start(shop, false).await;
}
