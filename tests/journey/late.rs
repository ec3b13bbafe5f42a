//! Background responses and batches: what they used is booked once, when their result is seen.

use crate::support::{Answered, Shop, shop};
use farebox::store::EventRow;
use farebox::tokens::usage::TokenUsage;
use serde_json::json;
use std::time::{Duration, Instant};

/// gpt-5 in the catalog, pico-dollars a token.
const INPUT_PICO: i64 = 1_250_000;
const OUTPUT_PICO: i64 = 10_000_000;

fn adjustments(rows: &[EventRow]) -> Vec<&EventRow> {
    rows.iter().filter(|row| row.adjusts.is_some()).collect()
}

/// Asks until the object says so.
async fn poll(shop: &Shop, path: &str, status: &str) {
    loop {
        let answered = shop.ask("GET", path).answered().await.json();
        let said = [&answered["status"], &answered["processing_status"], &answered["metadata"]["state"]];
        if said.iter().any(|said| **said == status) {
            return;
        }
    }
}

/// A response that goes on in the background, 40 tokens of output at most and in the end, for Ann.
async fn begun(shop: &Shop) -> Answered {
    let body = json!({"model": "gpt-5", "input": "Say something.", "background": true, "max_output_tokens": 40});
    shop.post("/v1/responses", &body).wishing("output-tokens", 30).with("x-farebox-user", "ann").answered().await
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
    let net = |of: fn(&TokenUsage) -> u64| first.net(of) + adjustment.net(of);
    assert_eq!(net(TokenUsage::input_tokens), billed.input_tokens as i64);
    assert_eq!(net(TokenUsage::output_tokens), 40);
    assert_eq!(net(TokenUsage::cache_read_input_tokens), 2);
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

/// Many that speak OpenAI's dialect have batches without `usage`: unknown is not zero, and not silent.
#[tokio::test]
async fn a_batch_that_is_done_and_does_not_say_what_it_used_is_counted_and_logged() {
    let shop = shop().open().await;
    let body = json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let begun = shop.post("/v1/batches", &body).wishing("usage", "none").answered().await;
    let id = begun.json()["id"].as_str().unwrap().to_owned();
    poll(&shop, &format!("/v1/batches/{id}"), "completed").await;
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let told = shop.admin("/metrics").answered().await.text();
        let counted = "farebox_late_results_unread_total{provider=\"openai\",why=\"no_usage\"} 1";
        let log = shop.log();
        if told.contains(counted) && log.lines().any(|line| line.contains(&id) && line.contains("no_usage")) {
            break;
        }
        assert!(Instant::now() < until, "counted and logged with its name: {log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(adjustments(&shop.rows(3).await).is_empty(), "a call and two looks, and nothing made up");
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
    // Anthropic writes its own address there; the client's own leads here.
    let link = shop.ask("GET", &path).answered().await.json()["results_url"].as_str().unwrap().to_owned();
    assert_eq!(link, shop.url(&format!("{path}/results")));
    for _ in 0..2 {
        assert_eq!(crate::support::asking("GET", &link).answered().await.text().lines().count(), 4);
    }
    let rows = shop.rows_once(|rows| rows.len() >= 8, "a batch, three looks, two results, two adjustments").await;
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

#[tokio::test]
async fn a_poll_that_streams_is_booked_like_any_other() {
    let shop = shop().open().await;
    let begun = begun(&shop).await;
    let path = format!("/v1/responses/{}?stream=true", begun.json()["id"].as_str().unwrap());
    for _ in 0..2 {
        let told = shop.ask("GET", &path).answered().await;
        assert_eq!(told.events().last().unwrap()["type"], "response.completed");
    }
    let rows = shop.rows_once(|rows| rows.len() >= 4, "one call, two polls, one adjustment").await;
    let booked = adjustments(&rows);
    assert_eq!(booked.len(), 1, "{booked:#?}");
    assert_eq!(rows[0].net(TokenUsage::output_tokens) + booked[0].net(TokenUsage::output_tokens), 30);
}

/// Until nothing changes it any more: what the budget of Ann's has spent, pico-dollars.
async fn spent(shop: &Shop, expected: i64) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let me = shop.ask("GET", "/farebox/me").with("x-farebox-user", "ann").answered().await.json();
        let spent = me["budgets"][0]["spent"].as_str().unwrap_or_default().to_owned();
        let pico = spent.parse::<f64>().map_or(-1, |usd| (usd * 1e12).round() as i64);
        if pico == expected {
            return;
        }
        assert!(Instant::now() < until, "{expected} spent: {me}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_budget_keeps_the_bound_of_background_work_until_its_result_is_seen() {
    let rules =
        "version: 1\nbudgets:\n  - {name: each, for_each: user, window: month, limit: 1 USD, show_amounts: true}\n";
    let mut shop = shop().with_rules(rules).open().await;
    let begun = begun(&shop).await;
    let rows = shop.rows(1).await;
    let (cost, withheld) = (rows[0].cost.unwrap().as_pico(), rows[0].withheld.as_pico());
    assert_eq!(cost + withheld, rows[0].ceiling.unwrap().as_pico(), "the ceiling is what was held");
    assert!(withheld >= 40 * OUTPUT_PICO, "{withheld}");
    spent(&shop, cost + withheld).await;
    shop.kill();
    shop.start();
    spent(&shop, cost + withheld).await;
    poll(&shop, &format!("/v1/responses/{}", begun.json()["id"].as_str().unwrap()), "completed").await;
    let input = i64::try_from(shop.seen(begun.attempt()).usage.unwrap().input_tokens).unwrap();
    spent(&shop, input * INPUT_PICO + 30 * OUTPUT_PICO).await;
    let rows = shop.rows_once(|rows| !adjustments(rows).is_empty(), "the adjustment").await;
    assert_eq!(adjustments(&rows)[0].withheld.as_pico(), -withheld);
    let verified = shop.command(&["ledger", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[tokio::test]
async fn a_stream_that_is_left_is_over_unless_it_was_in_the_background() {
    let rules = "version: 1\nbudgets:\n  - {name: each, for_each: user, window: month, limit: 1 USD}\n";
    for (background, source) in [(false, "counted"), (true, "estimated")] {
        let shop = shop().with_rules(rules).open().await;
        let body =
            json!({"model": "gpt-5", "input": "Hi", "stream": true, "background": background, "max_output_tokens": 40});
        let asking = shop.post("/v1/responses", &body).with("x-farebox-user", "ann").wishing("stall-after", 3);
        let mut stream = asking.streaming().await;
        stream.read_until(|body| body.contains("response.output_text.delta")).await;
        drop(stream);
        let row = shop.row().await;
        assert_eq!((row.usage_source.as_deref(), row.withheld.as_pico() > 0), (Some(source), background));
    }
}

#[tokio::test]
async fn the_metrics_follow_what_background_work_came_to() {
    let shop = shop().open().await;
    let begun = begun(&shop).await;
    poll(&shop, &format!("/v1/responses/{}", begun.json()["id"].as_str().unwrap()), "completed").await;
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let told = shop.admin("/metrics").answered().await.text();
        let output = told.lines().find(|line| line.starts_with("farebox_tokens_total") && line.contains("\"output\""));
        if output.is_some_and(|line| line.ends_with(" 30")) {
            return;
        }
        assert!(Instant::now() < until, "30 tokens of output are counted: {output:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_batch_is_charged_to_the_budget_of_whoever_began_it() {
    let rules = "version: 1\nbudgets:\n  - {name: each, for_each: user, window: month, limit: 1 USD, show_amounts: true, unmetered: admit}\n";
    let shop = shop().with_rules(rules).open().await;
    let body = json!({"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    let begun = shop.post("/v1/batches", &body).with("x-farebox-user", "ann").answered().await;
    poll(&shop, &format!("/v1/batches/{}", begun.json()["id"].as_str().unwrap()), "completed").await;
    spent(&shop, 200 * 75_000 + 40 * 300_000).await;
}

#[tokio::test]
async fn a_gemini_batch_is_booked_once_from_its_responses() {
    let shop = shop().open().await;
    let body = json!({"batch": {"inputConfig": {"requests": {"requests": []}}}});
    let path = "/gemini/v1beta/models/gemini-2.5-flash:batchGenerateContent";
    let begun = shop.post(path, &body).answered().await;
    let path = format!("/gemini/v1beta/{}", begun.json()["name"].as_str().unwrap());
    for _ in 0..2 {
        poll(&shop, &path, "BATCH_STATE_SUCCEEDED").await;
    }
    let rows = shop.rows_once(|rows| rows.len() >= 5, "a batch, three looks, an adjustment").await;
    let booked = adjustments(&rows);
    assert_eq!((booked.len(), booked[0].adjusts), (1, Some(rows[0].id)));
    assert_eq!((booked[0].usage.input_tokens(), booked[0].usage.output_tokens()), (300, 30));
    // Half of 0.30 in and 2.50 out.
    assert_eq!(booked[0].cost.unwrap().as_pico(), 300 * 150_000 + 30 * 1_250_000);
}

#[tokio::test]
async fn a_gemini_batch_of_a_file_is_booked_once_from_the_file_of_its_results() {
    let shop = shop().open().await;
    let body = json!({"batch": {"inputConfig": {"fileName": "files/asked"}}});
    let path = "/gemini/v1beta/models/gemini-2.5-flash:batchGenerateContent";
    let begun = shop.post(path, &body).answered().await;
    let path = format!("/gemini/v1beta/{}", begun.json()["name"].as_str().unwrap());
    poll(&shop, &path, "BATCH_STATE_SUCCEEDED").await;
    let done = shop.ask("GET", &path).answered().await.json();
    let file = done["response"]["responsesFile"].as_str().unwrap();
    for _ in 0..2 {
        let lines = shop.ask("GET", &format!("/gemini/download/v1beta/{file}:download?alt=media")).answered().await;
        assert_eq!(lines.text().lines().count(), 2);
    }
    let rows = shop.rows_once(|rows| rows.len() >= 7, "a batch, three looks, two downloads, an adjustment").await;
    let booked = adjustments(&rows);
    assert_eq!((booked.len(), booked[0].usage.input_tokens(), booked[0].usage.output_tokens()), (1, 300, 30));
    assert_eq!(booked[0].cost.unwrap().as_pico(), 300 * 150_000 + 30 * 1_250_000);
}
