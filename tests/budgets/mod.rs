//! Budgets, limits and swaps, through the real binary and a simulated provider: what a caller and a platform engineer
//! would notice.

mod alerts;
mod api;
mod caps;
mod conditions;
mod crash;
mod limits;
mod preview;
mod refusals;
mod reload;
mod streams;
mod swaps;
mod targets;

use crate::support::{Answered, Asking, Shop, chat, with};
use farebox::store::EventRow;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// gpt-4o in the catalog, pico-dollars a token.
const INPUT_PICO: i64 = 2_500_000;
const OUTPUT_PICO: i64 = 10_000_000;
/// `Say something.` as gpt-4o's tokenizer counts it, framing included.
const INPUT_TOKENS: i64 = 10;

/// The models that the issue and the docs name, without the day on which they are retired: what a test says must not
/// end with them.
const EVERGREEN: &str = "models:
  openai:
    gpt-5: {retired: null}
    gpt-5-mini: {retired: null}
    gpt-audio: {retired: null}
";

/// What a call of [`bounded`] with so much output costs.
fn cost_pico(output_tokens: i64) -> i64 {
    INPUT_TOKENS * INPUT_PICO + output_tokens * OUTPUT_PICO
}

/// Pico-dollars as the rules file writes them.
fn usd(pico: i64) -> String {
    format!("{}.{:012} USD", pico / 1_000_000_000_000, pico % 1_000_000_000_000)
}

/// Dollars as Farebox writes them.
fn pico(usd: &str) -> i64 {
    let (whole, part) = usd.split_once('.').unwrap_or((usd, ""));
    whole.parse::<i64>().unwrap() * 1_000_000_000_000 + format!("{part:0<12}").parse::<i64>().unwrap()
}

/// A chat that may make `limit` tokens and makes all of them.
fn bounded(shop: &Shop, limit: u64, stream: bool) -> Asking {
    let more = json!({ "max_tokens": limit, "stream": stream });
    shop.post("/v1/chat/completions", &with(chat("Say something."), more)).wishing("output-tokens", limit)
}

/// What `/farebox/me` says to a caller with these headers.
async fn me(shop: &Shop, headers: &[(&str, &str)]) -> Value {
    let asking = headers.iter().fold(shop.ask("GET", "/farebox/me"), |asking, (name, value)| asking.with(name, value));
    asking.answered().await.json()
}

/// The budget of this name among the caller's.
fn budget_of<'a>(me: &'a Value, name: &str) -> &'a Value {
    let budgets = me["budgets"].as_array().unwrap_or_else(|| panic!("budgets in: {me}"));
    budgets.iter().find(|budget| budget["budget"] == name).unwrap_or_else(|| panic!("{name} in: {me}"))
}

/// Waits until nothing is held of the caller's budget, and gives what is spent.
async fn spent_when_quiet(shop: &Shop, headers: &[(&str, &str)], name: &str) -> String {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let me = me(shop, headers).await;
        let budget = budget_of(&me, name);
        if budget["held"] == "0.00" {
            return budget["spent"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < until, "something stays held: {budget}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What all rows together cost, pico-dollars.
fn total(rows: &[EventRow]) -> i64 {
    rows.iter().filter_map(|row| row.cost).map(|usd| usd.as_pico()).sum()
}

/// Calls until an answer is what is waited for: a change of rules takes a moment.
async fn once(shop: &Shop, enough: impl Fn(&Answered) -> bool) -> Answered {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let answered = bounded(shop, 20, false).answered().await;
        if enough(&answered) {
            return answered;
        }
        assert!(Instant::now() < until, "the new rules in time: {answered:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
