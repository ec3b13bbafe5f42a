//! The past under other rules, through the real binary.

use crate::support::shop;

const RULES: &str = "
version: 1
zone: UTC
swaps:
  - {name: rather-mini, from: [gpt-4o], to: [gpt-4o-mini]}
budgets:
  - {name: day, window: day, limit: 1 USD}
";

#[tokio::test]
async fn a_backtest_tells_what_other_rules_would_have_saved_while_the_server_runs() {
    let shop = shop().open().await;
    for _ in 0..3 {
        shop.chat("Say something.").wishing("output-tokens", 50).answered().await;
    }
    let rows = shop.rows(3).await;
    let spent: i64 = rows.iter().filter_map(|row| row.cost).map(farebox::money::Usd::as_pico).sum();
    let file = shop.data_dir().join("other-rules.yaml");
    std::fs::write(&file, RULES).unwrap();
    let named = file.to_string_lossy();
    let asked = shop.command(&["rules", "backtest", "--rules", &named, "--since", "1h", "--json"]);
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let report: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&report["calls"], &report["totals"]["swapped"]), (&3.into(), &3.into()), "{report}");
    let money = |name: &str| report["totals"][name].as_str().unwrap().parse::<farebox::money::Usd>().unwrap().as_pico();
    assert_eq!(money("cost_usd"), spent);
    assert!(money("saved_usd") > spent / 2, "gpt-4o-mini costs a sixteenth: {report}");
    assert_eq!(money("cost_under_new_rules_usd"), spent - money("saved_usd"));
    let days = report["budgets"][0]["days"].as_array().unwrap();
    assert_eq!(days.last().unwrap()["spent"], report["totals"]["cost_under_new_rules_usd"]);

    let table = shop.command(&["rules", "backtest", "--rules", &named]);
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains("3 swapped") && text.contains("rather-mini"), "{text}");

    std::fs::write(&file, "version: 1\nswap: []\n").unwrap();
    let faulty = shop.command(&["rules", "backtest", "--rules", &named]);
    assert!(!faulty.status.success() && String::from_utf8_lossy(&faulty.stderr).contains("other-rules.yaml:2"));
}
