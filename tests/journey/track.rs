//! Usage from outside, told over the admin port.

use crate::support::shop;
use serde_json::json;

const RULES: &str = "version: 1
budgets:
  - {name: research-month, scope: {team: research}, window: month, limit: 0.005 USD}
";

#[tokio::test]
async fn what_ran_elsewhere_is_priced_and_booked_once_and_leaves_less_of_the_budget() {
    let mut shop = shop().with_rules(RULES).open().await;
    let told = json!({
        "id": "nightly-7/row-1", "provider": "openai", "model": "gpt-4o", "team": "research", "run": "nightly-7",
        "usage": { "input_tokens": 1000, "cache_read_input_tokens": 200, "output_tokens": 200 },
    });
    let tell = async |shop: &crate::support::Shop, body: &serde_json::Value| {
        let url = format!("http://{}/api/usage/track", shop.admin_address());
        crate::support::asking("POST", &url).json(body).answered().await
    };
    let first = tell(&shop, &told).await;
    assert_eq!(first.status, 201, "{}", first.text());
    // 800 × $2.50 + 200 × $1.25 + 200 × $10 a million.
    assert_eq!(first.json()["cost_usd"], "0.00425");
    let row = shop.row().await;
    assert_eq!((row.decision.as_deref(), row.run.as_deref()), (Some("tracked"), Some("nightly-7")));
    // The rest of the budget is too little for a call of the team: told usage counts as its own.
    let refused = shop.chat("Hello").with("x-farebox-team", "research").answered().await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    shop.kill();
    shop.start();
    let again = tell(&shop, &told).await;
    assert_eq!((again.status.as_u16(), &again.json()["known"]), (200, &"told_before".into()), "{}", again.text());
    assert_eq!(again.json()["event_id"], first.json()["event_id"]);
    assert_eq!(shop.rows(1).await.len(), 1);
    let wrong =
        tell(&shop, &json!({ "id": "x", "provider": "opnai", "model": "gpt-4o", "usage": { "input_tokens": 1 } }))
            .await;
    assert_eq!((wrong.status.as_u16(), &wrong.json()["field"]), (400, &"provider".into()), "{}", wrong.text());
}
