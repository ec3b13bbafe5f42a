//! Killed with calls under way, and started again: balances are what the ledger says, and nothing above the limit is
//! admitted afterwards.

use super::{bounded, budget_of, cost_pico, me, pico, spent_when_quiet, total, usd};
use crate::support::shop;
use crate::support::shop::rows_in;

fn rules(limit: i64) -> String {
    format!("version: 1\nbudgets:\n  - {{name: all, window: month, show_amounts: yes, limit: {}}}\n", usd(limit))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_under_load_the_balances_equal_the_ledger() {
    let limit = cost_pico(20) * 400;
    let mut shop = shop().with_rules(&rules(limit)).open().await;
    for round in 0..3 {
        let so_far = shop.simulator.log.totals().attempts;
        let calls: Vec<_> = (0..60u64)
            .map(|nth| {
                let call = bounded(&shop, 20, nth % 2 == 0);
                let call = if nth % 5 == 0 { call.wishing("stall-after", 3) } else { call };
                tokio::spawn(async move {
                    if let Ok(stream) = call.attempted().await {
                        drop(stream.finished().await);
                    }
                })
            })
            .collect();
        shop.simulator.log.until(|log| log.totals().attempts > so_far + 20 + round).await;
        shop.kill();
        calls.iter().for_each(|call| call.abort());
        shop.start();
    }
    let spent = pico(&spent_when_quiet(&shop, &[], "all").await);
    let rows = rows_in(&shop.data_dir());
    let withheld: i64 = rows.iter().map(|row| row.withheld.as_pico()).sum();
    assert_eq!(spent, total(&rows) + withheld, "what died is charged its whole hold until it is resolved");
    assert!(spent <= limit);
    let verified = shop.command(&["ledger", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    // What is left is admitted, to the last call that fits.
    let mut admitted = 0;
    while bounded(&shop, 20, false).answered().await.status == 200 {
        admitted += 1;
    }
    assert_eq!(admitted, (limit - spent) / cost_pico(20));
    let budget = me(&shop, &[]).await;
    assert!(pico(budget_of(&budget, "all")["spent"].as_str().unwrap()) <= limit);
}

#[tokio::test]
async fn a_restart_forgets_nothing_that_was_spent() {
    let limit = cost_pico(20) * 2;
    let mut shop = shop().with_rules(&rules(limit)).open().await;
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 200);
    shop.rows(1).await;
    assert_eq!(shop.admin("/readyz").answered().await.status, 200);
    shop.terminate();
    assert!(shop.ended().await.success());
    shop.start();
    assert_eq!(pico(&spent_when_quiet(&shop, &[], "all").await), cost_pico(20));
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 200);
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 429);
}
