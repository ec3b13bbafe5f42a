//! Rules that swap models: the target gets a request that it takes, the caller is told, and what cannot serve is passed
//! over.

use super::{EVERGREEN, bounded, cost_pico, usd};
use crate::support::{Shop, chat, shop, with};
use serde_json::{Value, json};

/// gpt-5 in the catalog: $1.25 in, $10 out, a million.
fn gpt5_pico(output: i64) -> i64 {
    10 * 1_250_000 + output * 10_000_000
}

fn gpt5(shop: &Shop) -> crate::support::Asking {
    let body = with(chat("Say something."), json!({"model": "gpt-5", "max_completion_tokens": 1_000}));
    shop.post("/v1/chat/completions", &body).wishing("output-tokens", 1_000)
}

fn body_seen(shop: &Shop, attempt: u64) -> Value {
    serde_json::from_slice(&shop.seen(attempt).body.unwrap()).unwrap()
}

#[tokio::test]
async fn at_eighty_percent_the_cheaper_model_at_a_hundred_only_the_one_on_call_and_never_a_call_above_two_dollars() {
    let rules = format!(
        "version: 1
budgets:
  - name: research-month
    scope: {{team: research}}
    window: month
    limit: {}
    except: {{user: on-call}}
swaps:
  - name: research-saves
    when: {{team: research, budget: {{name: research-month, used: '>= 80%'}}}}
    except: {{user: on-call}}
    from: [gpt-5]
    to: [gpt-5-mini]
limits:
  - name: no-dear-call
    cost_per_call: 2 USD
    clamp: no
",
        usd(gpt5_pico(1_000) * 10)
    );
    let shop = shop().with_catalog(EVERGREEN).with_rules(&rules).open().await;
    let research = || gpt5(&shop).with("x-farebox-team", "research");
    for _ in 0..8 {
        let answered = research().answered().await;
        assert_eq!(
            (answered.status.as_u16(), answered.header("x-farebox-model")),
            (200, Some("gpt-5")),
            "{}",
            answered.text()
        );
    }
    let swapped = research().answered().await;
    assert_eq!(swapped.status, 200);
    assert_eq!(swapped.header("x-farebox-model"), Some("gpt-5-mini"));
    assert_eq!(swapped.header("x-farebox-swapped-from"), Some("gpt-5"));
    assert_eq!(swapped.header("x-farebox-swap-rule"), Some("research-saves"));
    let rows = shop.rows(9).await;
    let row = &rows[8];
    assert_eq!((row.decision.as_deref(), row.rule.as_deref()), (Some("swap"), Some("research-saves")));
    assert_eq!((row.requested_model.as_deref(), row.upstream_model.as_deref()), (Some("gpt-5"), Some("gpt-5-mini")));
    let unswapped = with(body_seen(&shop, 9), json!({"model": "gpt-5"}));
    assert_eq!(unswapped, body_seen(&shop, 1), "nothing changed but the model");

    let metrics = shop.admin("/metrics").answered().await.text();
    assert!(metrics.contains("rule=\"research-saves\""), "{metrics}");

    let mut cheap = 0;
    let refused = loop {
        let answered = research().answered().await;
        if answered.status != 200 {
            break answered;
        }
        cheap += 1;
        assert!(cheap < 20, "a tenth of the budget does not last so long");
    };
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (429, &json!("insufficient_quota")));
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    let on_call = research().with("x-farebox-user", "on-call").answered().await;
    assert_eq!((on_call.status.as_u16(), on_call.header("x-farebox-model")), (200, Some("gpt-5")));

    let dear = with(chat("Say something."), json!({"model": "gpt-5", "max_completion_tokens": 100_000, "n": 3}));
    let dear = shop.post("/v1/chat/completions", &dear).answered().await;
    assert_eq!(dear.status, 400);
    let message = dear.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("no-dear-call") && message.contains("2.00"), "{message}");
}

const ALWAYS: &str = "version: 1\nswaps:\n  - {name: save, from: [gpt-4o], to: TO}\n";

#[tokio::test]
async fn what_the_target_does_not_take_is_taken_out_and_told() {
    let shop = shop().with_catalog(EVERGREEN).with_rules(&ALWAYS.replace("TO", "[gpt-5-mini]")).open().await;
    let body = with(chat("Say something."), json!({"temperature": 0.5, "max_tokens": 50, "top_p": 0.1, "seed": 1}));
    let answered = shop.post("/v1/chat/completions", &body).answered().await;
    assert_eq!(answered.status, 200);
    let told = answered.header("x-farebox-swap-changes").unwrap();
    assert!(
        ["temperature removed", "top_p removed", "max_tokens renamed to max_completion_tokens"]
            .iter()
            .all(|one| told.contains(one)),
        "{told}"
    );
    let seen = body_seen(&shop, 1);
    let expected = json!({"model": "gpt-5-mini", "messages": body["messages"], "max_completion_tokens": 50, "seed": 1});
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_target_that_cannot_serve_is_passed_over_and_the_reason_can_be_previewed() {
    let rules = ALWAYS.replace("TO", "[no-such-model, gpt-3.5-turbo, gpt-audio, gpt-4o-mini]");
    let shop = shop().with_catalog(EVERGREEN).with_rules(&rules).open().await;
    let picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let content =
        json!([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": picture}}]);
    let body = json!({"model": "gpt-4o", "max_tokens": 20, "messages": [{"role": "user", "content": content}]});
    let answered = shop.post("/v1/chat/completions", &body).answered().await;
    assert_eq!(
        (answered.status.as_u16(), answered.header("x-farebox-model")),
        (200, Some("gpt-4o-mini")),
        "{}",
        answered.text()
    );
    let preview = shop.post("/v1/chat/completions", &body).with("x-farebox-preview", "only").answered().await.json();
    let steps = preview["steps"].to_string();
    for reason in ["no configured provider that this caller may use has it", "it was retired on", "it lacks vision"] {
        assert!(steps.contains(reason), "{reason} in: {steps}");
    }
}

#[tokio::test]
async fn where_no_target_can_serve_the_call_goes_on_as_it_is_or_is_refused_as_the_rule_says() {
    let shop = shop().with_rules(&ALWAYS.replace("TO", "[no-such-model]")).open().await;
    assert_eq!(shop.chat("Hi").answered().await.header("x-farebox-model"), Some("gpt-4o"));
    shop.rewrite_rules(&ALWAYS.replace("TO", "[no-such-model], otherwise: refuse"));
    let refused = super::once(&shop, |answered| answered.status == 403).await;
    assert!(refused.text().contains("save"), "{}", refused.text());
}

#[tokio::test]
async fn a_caller_may_prefer_a_refusal() {
    let shop = shop().with_rules(&ALWAYS.replace("TO", "[gpt-4o-mini]")).open().await;
    let answered = shop.chat("Hi").with("x-farebox-no-swap", "true").answered().await;
    assert_eq!(answered.status, 403);
    assert_eq!(shop.simulator.log.totals().attempts, 0);
}

#[tokio::test]
async fn what_does_not_fit_is_swapped_for_what_does() {
    let limit = cost_pico(20) / 2;
    let rules = format!(
        "version: 1
budgets:
  - {{name: small, window: month, limit: {}, clamp: no}}
swaps:
  - {{name: save, from: [gpt-4o], when: {{budget: {{fits: no}}}}, to: [gpt-4o-mini]}}
",
        usd(limit)
    );
    let shop = shop().with_rules(&rules).open().await;
    let answered = bounded(&shop, 20, false).answered().await;
    assert_eq!(
        (answered.status.as_u16(), answered.header("x-farebox-model")),
        (200, Some("gpt-4o-mini")),
        "{}",
        answered.text()
    );
}

/// Bifrost #5770: a routing rule on one budget fired when another was used up.
#[tokio::test]
async fn a_rule_on_one_budget_does_not_fire_by_another() {
    let rules = format!(
        "version: 1
budgets:
  - {{name: red, scope: {{team: red}}, window: month, limit: {}}}
  - {{name: blue, scope: {{team: blue}}, window: month, limit: 100 USD}}
swaps:
  - {{name: red-saves, when: {{team: [red, blue], budget: {{name: red, used: '>= 50%'}}}}, from: [gpt-4o], to: [gpt-4o-mini]}}
",
        usd(cost_pico(20) * 2)
    );
    let shop = shop().with_rules(&rules).open().await;
    let model = |team: &'static str| {
        let call = bounded(&shop, 20, false).with("x-farebox-team", team);
        async move { call.answered().await.header("x-farebox-model").map(str::to_owned) }
    };
    assert_eq!(model("red").await.as_deref(), Some("gpt-4o"));
    assert_eq!(model("red").await.as_deref(), Some("gpt-4o-mini"), "red is at half");
    assert_eq!(model("blue").await.as_deref(), Some("gpt-4o"), "blue is not");
}

/// LiteLLM #11962: the budget of a user was ignored when the key belonged to a team.
#[tokio::test]
async fn a_users_budget_holds_whatever_team_he_calls_for() {
    let rules = format!(
        "version: 1
budgets:
  - {{name: team, for_each: team, window: month, limit: 100 USD}}
  - {{name: user, for_each: user, window: month, limit: {}, show_amounts: yes}}
",
        usd(cost_pico(20))
    );
    let shop = shop().with_rules(&rules).open().await;
    let call = |team: &str| bounded(&shop, 20, false).with("x-farebox-user", "ann").with("x-farebox-team", team);
    assert_eq!(call("red").answered().await.status, 200);
    let refused = call("blue").answered().await;
    assert_eq!(refused.status, 429);
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("`user` (user=ann)") && !message.contains("`team`"), "{message}");
}
