//! What a virtual key carries itself: limits and a budget beside those of the rules.

use super::{done, key, keyed, me};
use crate::support::{Asking, Shop, chat, with};
use serde_json::json;
use std::time::{Duration, Instant};

/// gpt-4o: 100 output tokens are $0.001, and the question a little more.
fn call(shop: &Shop, key: &str) -> Asking {
    let body = with(chat("Say something."), json!({ "max_tokens": 100 }));
    let asked = shop.post("/v1/chat/completions", &body).with("authorization", &format!("Bearer {key}"));
    asked.wishing("output-tokens", 100)
}

/// Until the key's holder is told so of it.
async fn until_told(shop: &Shop, key: &str, what: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let told = me(shop, key).answered().await.text();
        if told.contains(what) {
            return;
        }
        assert!(Instant::now() < until, "`{what}` in {told}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_keys_own_budget_holds_under_many_calls_at_once() {
    let shop = keyed().open().await;
    done(&shop, &["team", "create", "research"]);
    let text = key(&shop, &["notebook", "--team", "research", "--budget", "0.0055 USD/month"]).await;
    let free = key(&shop, &["free", "--team", "research"]).await;
    until_told(&shop, &text, "key:notebook").await;
    let calls = (0..40).map(|_| call(&shop, &text).answered());
    let answered = futures_util::future::join_all(calls).await;
    let good = answered.iter().filter(|answered| answered.status == 200).count();
    assert!((1..=5).contains(&good), "{good} of 40 were let through");
    assert!(answered.iter().all(|answered| matches!(answered.status.as_u16(), 200 | 429)), "{answered:?}");
    let rows = shop.rows(good).await;
    let spent: i64 = rows.iter().filter_map(|row| row.cost).map(farebox::money::Usd::as_pico).sum();
    assert!(spent <= 5_500_000_000, "{spent} pico-dollars of a limit of 5,500,000,000");
    assert_eq!(call(&shop, &free).answered().await.status, 200, "another key of the team has none");
    // Taken away again.
    done(&shop, &["key", "update", "notebook", "--budget", "any"]);
    let until = Instant::now() + Duration::from_secs(20);
    while call(&shop, &text).answered().await.status != 200 {
        assert!(Instant::now() < until, "a change takes effect");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_keys_own_limits_and_those_of_the_rules_hold_beside_each_other() {
    let rules = "version: 1\nlimits:\n  - {name: three-for-all, requests_per_minute: 3}\n";
    let shop = keyed().with_rules(rules).open().await;
    done(&shop, &["team", "create", "research"]);
    let one = key(&shop, &["one", "--team", "research", "--rpm", "1", "--concurrent", "5"]).await;
    let many = key(&shop, &["many", "--team", "research", "--rpm", "1000"]).await;
    until_told(&shop, &many, "key:many:limits").await;
    assert_eq!(call(&shop, &one).answered().await.status, 200);
    let refused = call(&shop, &one).answered().await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    let mut good = 0;
    for _ in 0..5 {
        good += usize::from(call(&shop, &many).answered().await.status == 200);
    }
    assert!(good < 5, "a key's own limit does not lift that of the rules: {good} of 5");
    let shown = done(&shop, &["key", "show", "one"]);
    assert!(shown.contains("1 calls a minute, 5 calls at a time"), "{shown}");
}
