//! A changed rules file is in force within a moment, without a dropped call; a bad one never is.

use super::{bounded, budget_of, cost_pico, me, once, usd};
use crate::support::shop;

fn rules(limit: i64) -> String {
    format!("version: 1\nbudgets:\n  - {{name: all, window: month, show_amounts: yes, limit: {}}}\n", usd(limit))
}

#[tokio::test]
async fn a_raised_limit_frees_at_once_a_lowered_one_holds_at_once_and_what_was_spent_stays() {
    let shop = shop().with_rules(&rules(cost_pico(20))).open().await;
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 200);
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 429);
    shop.rewrite_rules(&rules(cost_pico(20) * 10));
    once(&shop, |answered| answered.status == 200).await;
    let spent = super::pico(budget_of(&me(&shop, &[]).await, "all")["spent"].as_str().unwrap());
    assert_eq!(spent, cost_pico(20) * 2, "the balance outlives the change");
    shop.rewrite_rules(&rules(cost_pico(20)));
    once(&shop, |answered| answered.status == 429).await;
}

#[tokio::test]
async fn a_bad_file_never_applies_and_is_said_on_the_admin_port() {
    let shop = shop().with_rules(&rules(cost_pico(20))).open().await;
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 200);
    shop.rewrite_rules("version: 1\nbudgets:\n  - {nmae: all}\n");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !shop.log().contains("nmae") {
        assert!(std::time::Instant::now() < until, "the fault is logged:\n{}", shop.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(bounded(&shop, 20, false).answered().await.status, 429, "the old rules stay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_dropped_while_rules_change() {
    let shop = shop().with_rules(&rules(cost_pico(20) * 100_000)).open().await;
    for change in 1..=3_i64 {
        shop.rewrite_rules(&rules(cost_pico(20) * (100_000 + change)));
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        // Calls are under way before, at and after the moment of the change.
        while (shop.log().matches("rules reloaded").count() as i64) < change {
            assert!(std::time::Instant::now() < until, "change {change} in time:\n{}", shop.log());
            let call = |nth| tokio::spawn(bounded(&shop, 20, nth % 2 == 0).wishing("chunk-ms", 2).answered());
            for call in (0..20).map(call).collect::<Vec<_>>() {
                let answered = call.await.unwrap();
                assert_eq!((answered.status.as_u16(), answered.cut), (200, None));
            }
        }
    }
}
