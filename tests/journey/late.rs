//! Background responses and batches: what they used is booked once, when their result is seen.

use crate::support::{Shop, shop};
use farebox::store::EventRow;
use serde_json::json;

fn adjustments(rows: &[EventRow]) -> Vec<&EventRow> {
    rows.iter().filter(|row| row.adjusts.is_some()).collect()
}

/// Asks until the object says so.
async fn poll(shop: &Shop, path: &str, status: &str) {
    loop {
        let answered = shop.ask("GET", path).answered().await.json();
        if answered["status"] == status || answered["processing_status"] == status {
            return;
        }
    }
}

#[tokio::test]
async fn a_background_response_is_corrected_to_its_true_usage_once() {
    let shop = shop().open().await;
    let body = json!({"model": "gpt-5", "input": "Say something long.", "background": true});
    let begun = shop.post("/v1/responses", &body).wishing("output-tokens", 40).wishing("cached-tokens", 2);
    let begun = begun.with("x-farebox-user", "ann").answered().await;
    let path = format!("/v1/responses/{}", begun.json()["id"].as_str().unwrap());
    poll(&shop, &path, "completed").await;
    poll(&shop, &path, "completed").await;
    let rows = shop.rows_once(|rows| rows.len() >= 5, "one call, three polls, one adjustment").await;
    let (first, booked) = (&rows[0], adjustments(&rows));
    assert_eq!((first.usage_source.as_deref(), first.usage.output_tokens()), (Some("estimated"), 0));
    assert_eq!(booked.len(), 1, "{booked:#?}");
    let adjustment = booked[0];
    assert_eq!(
        (adjustment.adjusts, adjustment.exchange, adjustment.user.as_deref()),
        (Some(first.id), first.exchange, Some("ann"))
    );
    let billed = shop.seen(begun.attempt()).usage.unwrap();
    let net = |of: fn(&farebox::tokens::usage::TokenUsage) -> u64| first.net(of) + adjustment.net(of);
    assert_eq!(net(farebox::tokens::usage::TokenUsage::input_tokens), billed.input_tokens as i64);
    assert_eq!(net(farebox::tokens::usage::TokenUsage::output_tokens), 40);
    assert_eq!(net(farebox::tokens::usage::TokenUsage::cache_read_input_tokens), 2);
    // gpt-5: 1.25 in, 0.125 cached, 10 out.
    let fresh = billed.input_tokens as i64 - 2;
    let cost = first.cost.unwrap().as_pico() + adjustment.cost.unwrap().as_pico();
    assert_eq!(cost, fresh * 1_250_000 + 2 * 125_000 + 40 * 10_000_000);
    let verified = shop.command(&["ledger", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn a_stored_response_that_was_not_in_the_background_is_not_booked_again() {
    let shop = shop().open().await;
    let answered = shop.post("/v1/responses", &json!({"model": "gpt-5", "input": "Hi"})).answered().await;
    let path = format!("/v1/responses/{}", answered.json()["id"].as_str().unwrap());
    poll(&shop, &path, "completed").await;
    assert!(adjustments(&shop.rows(2).await).is_empty());
}

#[tokio::test]
async fn a_batch_is_booked_once_when_it_is_seen_to_be_done() {
    let mut shop = shop().open().await;
    let body = json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let begun = shop.post("/v1/batches", &body).answered().await;
    let path = format!("/v1/batches/{}", begun.json()["id"].as_str().unwrap());
    poll(&shop, &path, "completed").await;
    shop.rows_once(|rows| !adjustments(rows).is_empty(), "the batch's usage").await;
    shop.kill();
    shop.start();
    poll(&shop, &path, "completed").await;
    let rows = shop.rows(5).await;
    let booked = adjustments(&rows);
    assert_eq!((booked.len(), booked[0].adjusts), (1, Some(rows[0].id)));
    assert_eq!((booked[0].usage.input_tokens(), booked[0].usage.output_tokens()), (200, 40));
    assert_eq!(
        (booked[0].response_model.as_deref(), booked[0].service_tier.as_deref()),
        (Some("gpt-4o-mini"), Some("batch"))
    );
    // Half of 0.15 in and 0.60 out.
    assert_eq!(booked[0].cost.unwrap().as_pico(), 200 * 75_000 + 40 * 300_000);
}

#[tokio::test]
async fn a_batch_that_was_begun_elsewhere_is_booked_on_whoever_sees_it_done_first() {
    let shop = shop().open().await;
    let begun = shop.post_directly("/v1/batches", &json!({"endpoint": "/v1/chat/completions"})).answered().await;
    let path = format!("/v1/batches/{}", begun.json()["id"].as_str().unwrap());
    crate::support::asking("GET", &format!("{}{path}", shop.simulator.url())).answered().await;
    poll(&shop, &path, "completed").await;
    poll(&shop, &path, "completed").await;
    let rows = shop.rows(3).await;
    assert_eq!(adjustments(&rows).len(), 1);
    assert_eq!(adjustments(&rows)[0].adjusts, Some(rows[0].id));
}

#[tokio::test]
async fn the_results_of_a_batch_of_messages_are_booked_once_by_model() {
    let shop = shop().open().await;
    let begun = shop.post("/anthropic/v1/messages/batches", &json!({"requests": []})).answered().await;
    let path = format!("/anthropic/v1/messages/batches/{}", begun.json()["id"].as_str().unwrap());
    poll(&shop, &path, "ended").await;
    for _ in 0..2 {
        assert_eq!(shop.ask("GET", &format!("{path}/results")).answered().await.text().lines().count(), 4);
    }
    let rows = shop.rows_once(|rows| rows.len() >= 7, "a batch, two looks, two results, two adjustments").await;
    let booked = adjustments(&rows);
    let told: Vec<_> = booked
        .iter()
        .map(|row| (row.response_model.as_deref().unwrap(), row.usage.input_tokens(), row.usage.output_tokens()))
        .collect();
    assert_eq!(told, [("claude-sonnet-5-5", 400, 40), ("claude-haiku-5-5", 200, 20)]);
    assert!(
        booked.iter().all(|row| row.adjusts == Some(rows[0].id) && row.cost.is_some_and(|cost| cost.as_pico() > 0))
    );
}
