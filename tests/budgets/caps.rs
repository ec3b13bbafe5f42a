//! Many calls at once against a cap: never above it, nothing refused that fits, nothing held afterwards.

use super::{bounded, cost_pico, pico, spent_when_quiet, total, usd};
use crate::support::{Asking, Shop, shop};
use futures_util::future::join_all;
use serde_json::json;

/// What a cap admits of calls that use exactly what they may: as many as it pays for. This is the serial book without
/// slices, fed the same calls: each fits while the sum so far and its own cost are within the limit.
fn reference(limit: i64, costs: &[i64]) -> usize {
    let (mut spent, mut admitted) = (0, 0);
    for cost in costs {
        if spent + cost <= limit {
            spent += cost;
            admitted += 1;
        }
    }
    admitted
}

struct Outcome {
    admitted: usize,
    refused: usize,
}

async fn all_at_once(calls: Vec<Asking>) -> Outcome {
    let calls: Vec<_> = calls.into_iter().map(|call| tokio::spawn(call.answered())).collect();
    let answers: Vec<_> = join_all(calls).await.into_iter().map(|answer| answer.unwrap()).collect();
    let count = |status: u16| answers.iter().filter(|answer| answer.status == status).count();
    let (admitted, refused) = (count(200), count(429));
    assert_eq!(
        admitted + refused,
        answers.len(),
        "only these two: {:?}",
        answers.iter().find(|a| a.status != 200 && a.status != 429)
    );
    Outcome { admitted, refused }
}

async fn check(shop: &Shop, calls: Vec<Asking>, limit: i64, headers: &[(&str, &str)], budget: &str) {
    let (number, cost) = (calls.len(), cost_pico(20));
    let outcome = all_at_once(calls).await;
    let expected = reference(limit, &vec![cost; number]);
    let rows = shop.rows(outcome.admitted).await;
    assert!(total(&rows) <= limit, "{} of {limit} pico-dollars", total(&rows));
    assert_eq!((outcome.admitted, outcome.refused), (expected, number - expected));
    assert_eq!(rows.len(), outcome.admitted, "a refused call reaches no provider and is no row");
    let spent = spent_when_quiet(shop, headers, budget).await;
    assert_eq!(pico(&spent), total(&rows), "the balance is what the ledger says");
}

const AT: &str = "version: 1\nbudgets:\n  - {name: all, window: month, show_amounts: yes, limit: LIMIT}\n";

fn rules(limit: i64) -> String {
    AT.replace("LIMIT", &usd(limit))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_whole_calls_at_once_spend_a_global_cap_to_the_last_call_that_fits() {
    let limit = cost_pico(20) * 200 + 7;
    let shop = shop().with_rules(&rules(limit)).open().await;
    let calls = (0..500).map(|_| bounded(&shop, 20, false)).collect();
    check(&shop, calls, limit, &[], "all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_streams_at_once_spend_a_global_cap_to_the_last_call_that_fits() {
    let limit = cost_pico(20) * 200 + 7;
    let shop = shop().with_rules(&rules(limit)).open().await;
    let calls = (0..500).map(|_| bounded(&shop, 20, true)).collect();
    check(&shop, calls, limit, &[], "all").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_of_a_user_who_is_new_fit_his_own_budget_and_nobody_elses_is_touched() {
    let limit = cost_pico(20) * 300;
    let text = rules(limit).replace("name: all", "name: each, for_each: user");
    let shop = shop().with_rules(&text).open().await;
    let calls = (0..1_000).map(|nth| bounded(&shop, 20, nth % 2 == 0).with("x-farebox-user", "new")).collect();
    check(&shop, calls, limit, &[("x-farebox-user", "new")], "each").await;
    let other = spent_when_quiet(&shop, &[("x-farebox-user", "other")], "each").await;
    assert_eq!(other, "0.00");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_of_a_model_counts_that_model_alone() {
    let limit = cost_pico(20) * 50 + 1;
    let text = rules(limit).replace("name: all", "name: big, scope: {model: gpt-4o}");
    let shop = shop().with_rules(&text).open().await;
    let calls: Vec<_> = (0..200).map(|_| bounded(&shop, 20, false)).collect();
    check(&shop, calls, limit, &[], "big").await;
    let mut other = crate::support::chat("Say something.");
    other["model"] = "gpt-4o-mini".into();
    assert_eq!(shop.post("/v1/chat/completions", &other).answered().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_budgets_the_tighter_decides_and_both_are_charged() {
    let (team, everyone) = (cost_pico(20) * 40, cost_pico(20) * 100);
    let text = format!(
        "version: 1\nbudgets:\n  - {{name: all, window: month, show_amounts: yes, limit: {}}}\n  - {{name: team, scope: {{team: red}}, window: day, show_amounts: yes, limit: {}}}\n",
        usd(everyone),
        usd(team)
    );
    let shop = shop().with_rules(&text).open().await;
    let red = (0..150).map(|_| bounded(&shop, 20, false).with("x-farebox-team", "red")).collect();
    let outcome = all_at_once(red).await;
    assert_eq!(outcome.admitted, 40);
    let blue = (0..150).map(|_| bounded(&shop, 20, true).with("x-farebox-team", "blue")).collect();
    let outcome = all_at_once(blue).await;
    assert_eq!(outcome.admitted, 60);
    let rows = shop.rows(100).await;
    assert_eq!(total(&rows), everyone);
    let headers = [("x-farebox-team", "red")];
    assert_eq!(pico(&spent_when_quiet(&shop, &headers, "team").await), team);
    assert_eq!(pico(&spent_when_quiet(&shop, &headers, "all").await), everyone);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_leave_in_the_middle_leave_nothing_held() {
    let shop = shop().with_rules(&rules(cost_pico(20) * 1_000)).open().await;
    let storms: Vec<_> = (0..200)
        .map(|nth| {
            let call = bounded(&shop, 20, nth % 3 != 0).wishing("stall-after", nth % 7);
            tokio::spawn(async move {
                if let Ok(mut stream) = call.attempted().await {
                    let _ = tokio::time::timeout(std::time::Duration::from_millis(5 * (nth % 5)), stream.next()).await;
                }
            })
        })
        .collect();
    shop.simulator.log.until(|log| log.attempts().iter().filter(|attempt| attempt.body_arrived).count() >= 150).await;
    storms.iter().for_each(|storm| storm.abort());
    let spent = spent_when_quiet(&shop, &[], "all").await;
    let arrived = shop.simulator.log.totals().attempts as usize;
    let all_are_there = |rows: &[_]| rows.len() >= arrived && total(rows) == pico(&spent);
    shop.rows_once(all_are_there, "a row for each attempt, and together what the budget spent").await;
}

/// Vectors have no output tokens, and no rate for them: the bound of such a call is its input alone.
#[tokio::test]
async fn embeddings_fit_a_hard_budget_and_are_charged_to_it() {
    let shop = shop().with_rules(&rules(1_000_000_000)).open().await;
    let call = shop.post("/v1/embeddings", &json!({"model": "text-embedding-3-small", "input": "Say something."}));
    let answer = call.answered().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let rows = shop.rows(1).await;
    assert!(total(&rows) > 0, "{rows:?}");
    assert_eq!(pico(&spent_when_quiet(&shop, &[], "all").await), total(&rows));
}
