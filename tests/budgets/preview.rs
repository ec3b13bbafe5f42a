//! Previews tell the truth: the next real call with unchanged state gets what was said. And `/farebox/me`.

use super::{bounded, budget_of, cost_pico, me, usd};
use crate::support::{Asking, chat, shop, with};
use serde_json::{Value, json};

fn rules() -> String {
    format!(
        "version: 1
budgets:
  - {{name: user, for_each: user, window: month, limit: {}, show_amounts: yes}}
  - {{name: house, window: day, limit: 10 USD}}
swaps:
  - {{name: saves, when: {{budget: {{name: user, used: '>= 50%'}}}}, from: [gpt-4o], to: [no-such, gpt-4o-mini]}}
clamps:
  - {{name: brief, when: {{team: brief}}, output_tokens: 300}}
blocks:
  - {{name: no-gpt-5, when: {{model: gpt-5*}}}}
",
        usd(cost_pico(1_000) * 3)
    )
}

async fn what_happens(asking: Asking) -> (String, Option<String>, Option<String>) {
    let answered = asking.answered().await;
    let action = match answered.status.as_u16() {
        200 if answered.header("x-farebox-swapped-from").is_some() => "swap",
        200 if answered.header("x-farebox-output-limit").is_some() => "clamp",
        200 => "admit",
        _ => "refuse",
    };
    (
        action.to_owned(),
        answered.header("x-farebox-model").map(str::to_owned),
        answered.header("x-farebox-output-limit").map(str::to_owned),
    )
}

fn what_was_said(preview: &Value) -> (String, Option<String>, Option<String>) {
    let action = preview["decision"]["action"].as_str().unwrap().to_owned();
    let served = action != "refuse";
    let model = preview["upstream_model"].as_str().map(str::to_owned).filter(|_| served);
    (action, model, preview["decision"]["output_limit"].as_u64().map(|limit| limit.to_string()).filter(|_| served))
}

#[tokio::test]
async fn the_next_call_gets_what_the_preview_said() {
    let shop = shop().with_rules(&rules()).open().await;
    let long = "All work and no play. ".repeat(40);
    let bodies = [
        with(chat("Say something."), json!({"max_tokens": 1_000})),
        with(chat("Say something."), json!({"max_tokens": 1_000, "stream": true})),
        chat(&long),
        with(chat("Say something."), json!({"model": "gpt-5"})),
        with(chat("Say something."), json!({"model": "gpt-4o-mini", "n": 2})),
    ];
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for round in 0..6 {
        for (nth, body) in bodies.iter().enumerate() {
            let team = if (round + nth) % 3 == 0 { "brief" } else { "other" };
            let asking = || {
                let asking = shop.post("/v1/chat/completions", body).with("x-farebox-user", "ann");
                asking.with("x-farebox-team", team).wishing("output-tokens", 400)
            };
            let preview = asking().with("x-farebox-preview", "only").answered().await;
            assert_eq!(preview.status, 200);
            let said = what_was_said(&preview.json());
            let happened = what_happens(asking()).await;
            assert_eq!(said, happened, "round {round}, body {nth}, said: {}", preview.text());
            *seen.entry(said.0).or_default() += 1;
        }
    }
    assert!(["admit", "swap", "clamp", "refuse"].iter().all(|action| seen.contains_key(*action)), "{seen:?}");
}

#[tokio::test]
async fn a_preview_tells_costs_rules_swaps_and_budgets_and_charges_nothing() {
    let shop = shop().with_rules(&rules()).open().await;
    let ann = ("x-farebox-user", "ann");
    let preview =
        bounded(&shop, 1_000, false).with(ann.0, ann.1).with("x-farebox-preview", "only").answered().await.json();
    assert_eq!(preview["decision"]["action"], "admit");
    assert!(preview["ceiling"]["tokens"]["output"] == 1_000 && preview["estimated_cost_usd"].is_string(), "{preview}");
    let user = budget_of(&preview, "user");
    assert_eq!((&user["scope"], &user["spent"]), (&json!("user=ann"), &json!("0.00")));
    assert!(user["holds"].is_string() && budget_of(&preview, "house")["spent"].is_null(), "{preview}");
    let rules = preview["rules"].to_string();
    assert!(rules.contains("no-gpt-5") && rules.contains("house"), "every rule that was tried: {preview}");
    assert!(!rules.contains(" of 10 USD"), "how the house stands is not told: {preview}");
    let swaps = preview["possible_swaps"].as_array().unwrap();
    assert!(swaps[0]["passed_over"].is_string() && swaps[1]["ceiling_cost_usd"].is_string(), "{preview}");
    assert_eq!(me(&shop, &[ann]).await["budgets"][0]["held"], "0.00");
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn a_request_may_be_previewed_in_a_body_of_its_own() {
    let shop = shop().with_rules(&rules()).open().await;
    let body = with(chat("Say something."), json!({"model": "gpt-5"}));
    let told = json!({"path": "/v1/chat/completions", "body": body});
    let preview = shop.post("/farebox/preview", &told).answered().await;
    assert_eq!(
        (preview.status.as_u16(), &preview.json()["decision"]["rule"]),
        (200, &json!("no-gpt-5")),
        "{}",
        preview.text()
    );
    let plain =
        json!({"dialect": "anthropic", "model": "claude-sonnet-5-5", "max_tokens": 5, "messages": body["messages"]});
    let preview = shop.post("/farebox/preview", &plain).answered().await.json();
    assert_eq!((&preview["provider"], &preview["ceiling"]["tokens"]["output"]), (&json!("anthropic"), &json!(5)));
    assert_eq!(shop.post("/farebox/preview", &json!({"path": "/nowhere", "body": {}})).answered().await.status, 400);
}

#[tokio::test]
async fn a_caller_sees_his_own_budgets_and_the_rules_on_him() {
    let shop = shop().with_rules(&rules()).open().await;
    assert_eq!(bounded(&shop, 1_000, false).with("x-farebox-user", "ann").answered().await.status, 200);
    shop.rows(1).await;
    let me = me(&shop, &[("x-farebox-user", "ann"), ("x-farebox-team", "brief")]).await;
    let user = budget_of(&me, "user");
    assert_eq!((&user["spent"], &user["limit"]), (&json!("0.010025"), &json!("0.030075")));
    assert!(user["resets_at"].as_str().unwrap().ends_with("T00:00:00Z"), "{user}");
    assert!(budget_of(&me, "house")["spent"].is_null(), "what others spend is not told");
    assert!(me["rules"].to_string().contains("brief"), "{me}");
}
