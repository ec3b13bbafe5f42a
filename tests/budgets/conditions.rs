//! Every condition, on real calls: one that makes it true is blocked by it, one that does not is not.

use super::{bounded, cost_pico, usd};
use crate::support::{Asking, Shop, chat, shop, with};
use farebox::clock::{Clock, SystemClock};
use serde_json::{Value, json};

/// A block for each condition, each about one user, so that they do not meet.
const BLOCKS: [(&str, &str); 14] = [
    ("requested", "requested_model: 'gpt-4o*'"),
    ("provider", "provider: anthropic"),
    ("operation", "operation: embeddings"),
    ("dialect", "dialect: anthropic"),
    ("stream", "stream: true"),
    ("needs", "needs: [vision, tools]"),
    ("tag", "tag.job: [bulk, 'night-*']"),
    ("metadata", "metadata.tier: free"),
    ("estimated", "estimated_cost: '> 0.0005 USD'"),
    ("greatest", "greatest_cost: '> 0.01 USD'"),
    ("input", "input_tokens: '> 100'"),
    ("output", "output_tokens: '> 500'"),
    ("remaining", "budget: {name: each, remaining: '< 0.0003 USD'}"),
    ("committed", "budget: {name: each, committed: '>= 50%'}"),
];

fn rules() -> String {
    let block =
        |(user, condition): &(&str, &str)| format!("  - {{name: {user}, when: {{user: {user}, {condition}}}}}\n");
    format!(
        "version: 1
budgets:
  - {{name: each, for_each: user, scope: {{user: [remaining, committed]}}, window: month, limit: {}}}
blocks:
{}  - {{name: never, when: {{user: time, time: '{} 00:00-24:00 UTC'}}}}
  - {{name: now, when: {{user: time-too, time: '{} 00:00-24:00 UTC'}}}}
",
        usd(cost_pico(20) * 2),
        BLOCKS.iter().map(block).collect::<String>(),
        weekdays(3),
        weekdays(0)
    )
}

/// A day of the week so many days from now, and the one after it, should the day end meanwhile.
fn weekdays(from_now: i64) -> String {
    let now = jiff::Timestamp::from_microsecond(SystemClock.now().as_micros()).unwrap();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).weekday();
    let named = |day: jiff::civil::Weekday| format!("{day:?}").to_lowercase().chars().take(3).collect::<String>();
    format!("{},{}", named(today.wrapping_add(from_now)), named(today.wrapping_add(from_now + 1)))
}

/// By the name of the rule that it is: a user.
fn by(user: &str, asking: Asking) -> Asking {
    asking.with("x-farebox-user", user)
}

async fn is_blocked(shop: &Shop, user: &str, asking: Asking) -> bool {
    let answered = by(user, asking).answered().await;
    match answered.status.as_u16() {
        200 => false,
        403 => {
            assert!(answered.text().contains(user) || user.starts_with("time"), "{}", answered.text());
            true
        }
        other => panic!("{user}: {other}: {} {}", answered.text(), shop.log()),
    }
}

fn chat_with(shop: &Shop, more: Value) -> Asking {
    shop.post("/v1/chat/completions", &with(chat("Say something."), with(json!({"max_tokens": 20}), more)))
}

#[tokio::test]
async fn each_condition_holds_for_the_call_that_it_describes_and_for_no_other() {
    let shop = shop().with_rules(&rules()).open().await;
    let plain = || chat_with(&shop, json!({}));
    let claude = || {
        let body = json!({"model": "claude-haiku-4-5", "max_tokens": 20, "messages": chat("Hi")["messages"]});
        shop.post("/anthropic/v1/messages", &body)
    };
    let vectors = shop.post("/v1/embeddings", &json!({"model": "text-embedding-3-small", "input": "Hi"}));
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
    let long = || {
        let body = with(chat(&"All work and no play. ".repeat(60)), json!({"max_tokens": 20}));
        shop.post("/v1/chat/completions", &body)
    };
    let pairs: [(&str, Asking, Asking); 12] = [
        ("requested", plain(), chat_with(&shop, json!({"model": "gpt-4.1-mini"}))),
        ("provider", claude(), plain()),
        ("operation", vectors, plain()),
        ("dialect", claude(), plain()),
        ("stream", chat_with(&shop, json!({"stream": true})), plain()),
        ("needs", chat_with(&shop, json!({"tools": tools})), plain()),
        ("tag", plain().with("x-farebox-tags", "job=night-7"), plain().with("x-farebox-tags", "job=day")),
        (
            "metadata",
            chat_with(&shop, json!({"metadata": {"tier": "free"}})),
            chat_with(&shop, json!({"metadata": {"tier": "paid"}})),
        ),
        ("estimated", long(), plain()),
        ("greatest", chat_with(&shop, json!({"max_tokens": 2_000})), plain()),
        ("input", long(), plain()),
        ("output", chat_with(&shop, json!({"max_tokens": 501})), chat_with(&shop, json!({"max_tokens": 500}))),
    ];
    for (user, blocked, free) in pairs {
        assert!(!is_blocked(&shop, user, free).await, "{user}: the condition does not hold");
        assert!(is_blocked(&shop, user, blocked).await, "{user}: the condition holds");
    }
    assert!(!is_blocked(&shop, "time", plain()).await && is_blocked(&shop, "time-too", plain()).await);
}

#[tokio::test]
async fn what_is_left_of_a_budget_and_what_calls_under_way_hold_of_it_are_conditions() {
    let shop = shop().with_rules(&rules()).open().await;
    assert!(!is_blocked(&shop, "remaining", bounded(&shop, 20, false)).await, "two calls' worth is left");
    super::spent_when_quiet(&shop, &[("x-farebox-user", "remaining")], "each").await;
    assert!(is_blocked(&shop, "remaining", bounded(&shop, 20, false)).await, "one call's worth is left");

    let mut under_way = by("committed", bounded(&shop, 20, true)).wishing("stall-after", 1).streaming().await;
    under_way.read_until(|body| body.contains("data: ")).await;
    assert!(is_blocked(&shop, "committed", bounded(&shop, 20, false)).await, "half of it is held");
}
