//! Farebox's own surface: the preview, the headers, the admin port.

use crate::support::shop;

#[tokio::test]
async fn a_preview_says_what_a_call_would_cost_and_forwards_nothing() {
    let shop = shop().open().await;
    let answered = shop.chat("Say something.").with("x-farebox-preview", "only").answered().await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    let text = answered.text();
    assert!(text.contains("estimate") && text.contains("ceiling"), "{text}");
    assert_eq!(shop.simulator.log.totals().attempts, 0);
    // The next real call is the first row.
    shop.chat("Say something.").answered().await;
    assert_eq!(shop.rows(1).await.len(), 1);
}

#[tokio::test]
async fn the_headers_say_what_is_known_when_they_leave() {
    let shop = shop().open().await;
    let whole = shop.chat("Say something.").answered().await;
    for name in ["exchange-id", "model", "estimated-cost", "ceiling-cost", "cost", "output-tokens", "usage-source"] {
        assert!(whole.header(&format!("x-farebox-{name}")).is_some(), "{name}");
    }
    let streamed = shop.stream("Say something.").answered().await;
    for name in ["exchange-id", "model", "estimated-cost", "ceiling-cost"] {
        assert!(streamed.header(&format!("x-farebox-{name}")).is_some(), "{name}");
    }
    assert_eq!(streamed.header("x-farebox-cost"), None);
}

#[tokio::test]
async fn the_admin_port_says_that_it_is_well_and_what_was_used() {
    let shop = shop().open().await;
    shop.chat("Say something.").wishing("output-tokens", 5).answered().await;
    shop.rows(1).await;
    assert_eq!(shop.admin("/healthz").answered().await.status, 200);
    assert_eq!(shop.admin("/readyz").answered().await.status, 200);
    assert!(shop.admin("/metrics").answered().await.text().contains("farebox_"));
    let events = shop.admin("/api/usage/events").answered().await.json();
    assert_eq!(events["events"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_cost_of_a_stream_is_told_afterwards_to_the_key_that_made_it_and_to_no_other() {
    let shop = shop().open().await;
    let answered = shop.stream("Say something.").with("authorization", "Bearer sk-mine").wishing("output-tokens", 5);
    let answered = answered.answered().await;
    let row = shop.row().await;
    let path = format!("/farebox/exchanges/{}", answered.header("x-farebox-exchange-id").unwrap());
    let mine = shop.ask("GET", &path).with("authorization", "Bearer sk-mine").answered().await;
    assert_eq!(mine.status, 200, "{}", mine.text());
    assert!(mine.text().contains(&row.cost.unwrap().to_string()), "{}", mine.text());
    assert_eq!(shop.ask("GET", &path).with("authorization", "Bearer sk-other").answered().await.status, 404);
}

#[tokio::test]
async fn a_path_that_leads_nowhere_is_a_404_that_is_not_recorded() {
    let shop = shop().open().await;
    assert_eq!(shop.ask("GET", "/nobody/v1/models").answered().await.status, 404);
    shop.chat("Hi").answered().await;
    assert_eq!(shop.rows(1).await.len(), 1);
}

#[tokio::test]
async fn estimates_follow_how_long_the_callers_answers_of_a_model_were() {
    let mut shop = shop().open().await;
    let estimate = async |shop: &crate::support::Shop| {
        let previewed = shop.chat("Say something.").with("x-farebox-preview", "only").answered().await;
        previewed.json()["estimated_cost_usd"].as_str().unwrap().to_owned()
    };
    let unknown = estimate(&shop).await;
    for _ in 0..4 {
        shop.chat("Say something.").wishing("output-tokens", 40).answered().await;
    }
    let known = estimate(&shop).await;
    let row = shop.rows(4).await.remove(0);
    let (unknown, known): (farebox::money::Usd, farebox::money::Usd) =
        (unknown.parse().unwrap(), known.parse().unwrap());
    let cost = row.cost.unwrap();
    assert!(known < unknown, "{known} after 4 answers of 40 tokens, {unknown} before");
    assert!(known.as_pico().abs_diff(cost.as_pico()) < cost.as_pico().unsigned_abs() / 4, "{known}, true is {cost}");
    let other = shop.chat("Say something.").with("authorization", "Bearer sk-other").with("x-farebox-preview", "only");
    assert_eq!(other.answered().await.json()["estimated_cost_usd"], unknown.to_string(), "another caller's own");
    shop.terminate();
    shop.ended().await;
    shop.start();
    let mut again = estimate(&shop).await;
    for _ in 0..100 {
        if again == known.to_string() {
            break;
        }
        tokio::task::yield_now().await;
        again = estimate(&shop).await;
    }
    assert_eq!(again, known.to_string(), "the ledger remembers over a restart");
}
