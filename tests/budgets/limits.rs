//! Limits on calls: counted on arrival, told with the time to wait.

use super::bounded;
use crate::support::{chat, shop, with};
use serde_json::json;

const THREE: &str = "version: 1\nlimits:\n  - {name: three, for_each: user, requests_per_minute: 3}\n";

#[tokio::test]
async fn the_fourth_call_of_a_minute_is_told_when_to_come_again_and_others_are_not_touched() {
    let shop = shop().with_rules(THREE).open().await;
    let call = |user: &str| bounded(&shop, 1, false).with("x-farebox-user", user).answered();
    for _ in 0..3 {
        assert_eq!(call("ann").await.status, 200);
    }
    let refused = call("ann").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=21).contains(&seconds), "{seconds}");
    assert_eq!(refused.header("x-should-retry"), None, "this one is worth a retry");
    assert_eq!(call("bob").await.status, 200);
}

#[tokio::test]
async fn retries_of_ours_are_no_further_calls_and_previews_are_none() {
    let one = THREE.replace("requests_per_minute: 3", "requests_per_minute: 1");
    let retries = "retries: {max: 2, statuses: [503], pause: 1ms}";
    let shop = shop().with_every_provider(retries).with_rules(&one).open().await;
    for _ in 0..3 {
        let preview = bounded(&shop, 1, false).with("x-farebox-preview", "only").answered().await;
        assert_eq!((preview.status.as_u16(), &preview.json()["decision"]["action"]), (200, &json!("admit")));
    }
    let retried = bounded(&shop, 1, false).wishing("fail-first", 2).wishing("id", "a").answered().await;
    assert_eq!(retried.status, 200);
    assert_eq!(bounded(&shop, 1, false).answered().await.status, 429);
    let preview = bounded(&shop, 1, false).with("x-farebox-preview", "only").answered().await.json();
    assert_eq!((&preview["decision"]["action"], &preview["decision"]["status"]), (&json!("refuse"), &json!(429)));
}

#[tokio::test]
async fn so_many_calls_at_once_and_a_place_is_free_when_one_ends() {
    let rules = "version: 1\nlimits:\n  - {name: two, concurrent: 2}\n";
    let shop = shop().with_rules(rules).open().await;
    let under_way = |_| shop.stream("Say something.").wishing("stall-after", 1).streaming();
    let mut first = under_way(1).await;
    let second = under_way(2).await;
    first.read_until(|body| body.contains("data: ")).await;
    assert_eq!(bounded(&shop, 1, false).answered().await.status, 429);
    drop(second);
    super::once(&shop, |answered| answered.status == 200).await;
}

#[tokio::test]
async fn tokens_a_minute_are_held_and_settled_to_what_was_used() {
    let rules = "version: 1\nlimits:\n  - {name: slow, tokens_per_minute: 100}\n";
    let shop = shop().with_rules(rules).open().await;
    // 10 in and 20 out: three fit, and three more where the minute ends meanwhile.
    let mut admitted = 0;
    let refused = loop {
        let answered = bounded(&shop, 20, false).answered().await;
        if answered.status != 200 {
            break answered;
        }
        admitted += 1;
    };
    assert!((3..=6).contains(&admitted), "{admitted}");
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["error"]["code"]),
        (429, &json!("rate_limit_exceeded")),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some());
}

#[tokio::test]
async fn a_call_that_is_too_large_is_a_400_and_a_blocked_one_a_403() {
    let rules = "version: 1
limits:
  - {name: short, input_tokens_per_call: 50}
blocks:
  - {name: no-mini, when: {model: gpt-4o-mini}, message: Use gpt-4o.}
";
    let shop = shop().with_rules(rules).open().await;
    let long = shop.chat(&"All work and no play. ".repeat(50)).answered().await;
    assert_eq!((long.status.as_u16(), &long.json()["error"]["type"]), (400, &json!("invalid_request_error")));
    let blocked =
        shop.post("/v1/chat/completions", &with(chat("Hi"), json!({"model": "gpt-4o-mini"}))).answered().await;
    assert_eq!(blocked.status, 403);
    assert!(blocked.text().contains("Use gpt-4o."), "{}", blocked.text());
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}
