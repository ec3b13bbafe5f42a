//! Which provider, and how often: paths, models, headers, retries, fallbacks.

use crate::support::{Shop, chat, shop, with};
use serde_json::json;

fn providers(rows: &[farebox::store::EventRow]) -> Vec<&str> {
    rows.iter().map(|row| row.provider.as_deref().unwrap()).collect()
}

/// Three providers of the OpenAI dialect.
async fn three() -> Shop {
    let more = shop().with_provider("groq", "openai", &[]).with_provider("mistral", "openai", &[]);
    more.open().await
}

#[tokio::test]
async fn the_path_chooses_then_the_model_then_the_default() {
    let shop = three().await;
    shop.post("/groq/v1/chat/completions", &chat("Hi")).answered().await;
    shop.post("/v1/chat/completions", &with(chat("Hi"), json!({"model": "mistral-large-4"}))).answered().await;
    shop.post("/v1/chat/completions", &with(chat("Hi"), json!({"model": "nobody-knows-1"}))).answered().await;
    assert_eq!(providers(&shop.rows(3).await), ["groq", "mistral", "openai"]);
}

#[tokio::test]
async fn a_model_may_name_its_provider_and_so_may_a_header() {
    let shop = three().await;
    let named = shop.post("/v1/chat/completions", &with(chat("Hi"), json!({"model": "groq/gpt-4o"}))).answered().await;
    assert_eq!(shop.seen(named.attempt()).model.as_deref(), Some("gpt-4o"));
    shop.chat("Hi").with("x-farebox-provider", "mistral").answered().await;
    let rows = shop.rows(2).await;
    assert_eq!(providers(&rows), ["groq", "mistral"]);
    assert_eq!(
        (rows[0].requested_model.as_deref(), rows[0].upstream_model.as_deref()),
        (Some("groq/gpt-4o"), Some("gpt-4o"))
    );
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_a_400_that_says_which_are() {
    let shop = three().await;
    let answered = shop.chat("Hi").with("x-farebox-provider", "nowhere").answered().await;
    assert_eq!(answered.status, 400);
    assert!(answered.text().contains("nowhere"), "{}", answered.text());
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn a_model_that_only_a_provider_of_another_dialect_has_is_a_400_that_names_the_right_path() {
    let shop = three().await;
    let claude = shop.post("/v1/chat/completions", &with(chat("Hi"), json!({"model": "claude-sonnet-5-5"})));
    let answered = claude.answered().await;
    assert_eq!(answered.status, 400, "{}", answered.text());
    assert!(answered.text().contains("call `/anthropic/v1/messages`"), "{}", answered.text());
    assert_eq!(shop.simulator.log.totals().attempts, 0);
    assert_eq!(shop.chat("Hi").answered().await.status, 200, "a model of the default's own goes there");
}

#[tokio::test]
async fn what_a_default_of_ones_own_has_only_it_can_say() {
    let shop = shop().with_setting("default_provider: gateway").with_provider("gateway", "openai", &[]).open().await;
    let claude = shop.post("/v1/chat/completions", &with(chat("Hi"), json!({"model": "claude-sonnet-5-5"})));
    assert_eq!(claude.answered().await.status, 200);
    assert_eq!(providers(&shop.rows(1).await), ["gateway"]);
}

#[tokio::test]
async fn a_provider_of_another_dialect_is_a_400_that_names_the_right_path() {
    let shop = three().await;
    let named = with(chat("Hi"), json!({"model": "anthropic/claude-sonnet-5-5"}));
    for asking in [shop.post("/v1/chat/completions", &named), shop.chat("Hi").with("x-farebox-provider", "anthropic")] {
        let answered = asking.answered().await;
        assert_eq!(answered.status, 400, "{}", answered.text());
        assert!(answered.text().contains("/anthropic"), "{}", answered.text());
    }
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn each_retry_is_an_attempt_with_a_row_of_its_own() {
    let retries = "retries: {max: 2, statuses: [500, 503], pause: 1ms, pause_max: 5ms}";
    let shop = shop().with_every_provider(retries).open().await;
    let asking = shop.chat("Hi").wishing("fail-first", 2).wishing("id", "a").wishing("status", 500);
    assert_eq!(asking.answered().await.status, 200);
    let rows = shop.rows(3).await;
    assert_eq!(
        rows.iter().map(|row| (row.attempt, row.status)).collect::<Vec<_>>(),
        [(1, Some(500)), (2, Some(500)), (3, Some(200))]
    );
    assert!(rows.iter().all(|row| row.exchange == rows[0].exchange));
    assert_eq!(rows[0].cost.map(farebox::money::Usd::as_pico), Some(0));
    assert_eq!(shop.simulator.log.totals().attempts, 3);
}

#[tokio::test]
async fn statuses_are_not_tried_again_unless_the_settings_say_so() {
    let shop = shop().open().await;
    assert_eq!(shop.chat("Hi").wishing("status", 503).answered().await.status, 503);
    assert_eq!(shop.rows(1).await.len(), 1);
    assert_eq!(shop.simulator.log.totals().attempts, 1);
}

#[tokio::test]
async fn a_fallback_is_another_provider_and_another_attempt() {
    let lines = ["fallbacks: [mistral/mistral-large-4]", "retries: {max: 0, statuses: [500]}"];
    let shop = shop().with_provider("groq", "openai", &lines).with_provider("mistral", "openai", &[]).open().await;
    let asking = shop.post("/groq/v1/chat/completions", &chat("Hi"));
    let answered = asking.wishing("fail-first", 1).wishing("id", "a").wishing("status", 500).answered().await;
    assert_eq!((answered.status.as_u16(), shop.seen(2).model.as_deref()), (200, Some("mistral-large-4")));
    let rows = shop.rows(2).await;
    assert_eq!(providers(&rows), ["groq", "mistral"]);
    assert_eq!(rows[1].upstream_model.as_deref(), Some("mistral-large-4"));
}

#[tokio::test]
async fn a_provider_that_is_not_listening_is_a_502_in_the_dialect_with_a_row() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("base_url: http://{nobody}");
    let shop = shop().with_provider("down", "anthropic", &[&url]).open().await;
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    let answered = shop.post("/down/v1/messages", &body).answered().await;
    assert_eq!((answered.status.as_u16(), &answered.json()["type"]), (502, &json!("error")));
    // What no provider accepted is tried again; each try is an attempt that cost nothing.
    for row in shop.rows(1).await {
        assert_eq!((row.outcome.as_deref(), row.status), (Some("provider_connection_failed"), None));
        assert_eq!(row.cost.map(farebox::money::Usd::as_pico), Some(0));
    }
}
