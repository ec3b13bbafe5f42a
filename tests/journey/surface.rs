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
