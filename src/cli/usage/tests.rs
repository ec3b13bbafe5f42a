use super::*;
use crate::store::fixtures::{NOON, call, later};
use crate::store::{JournalPosition, Store};
use clap::Parser;
use tempfile::TempDir;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// What `farebox usage WORDS` prints on a ledger of four calls.
fn printed(words: &[&str]) -> Result<String, String> {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path(), NOON).unwrap();
    let events = [
        call(later(-60), 0),
        call(later(-90_000), 0).by("bob", "caller-bob"),
        call(later(-5), 0).of_model("mistral", "codestral").costing(1),
        call(later(-1), 0).of_model("acme", "secret-model").unpriced(),
    ];
    store.fold(1, &events, JournalPosition { segment: 0, offset: 1 }).unwrap();
    let place = dir.path().to_string_lossy().into_owned();
    let line = ["usage"].iter().chain(words).copied().chain(["--data-dir", &place]);
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    answer(&line.arguments, NOON, &mut out).map_err(|failure| failure.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_table_shows_exact_money_and_says_what_is_not_in_it() {
    let expected = "\
MODEL         CALLS  FAILED  INPUT  CACHED  OUTPUT  REASONING  UNPRICED        COST USD
gpt-4o            2       0  2,000       0     200          0         0  0.007
codestral         1       0  1,000       0     100          0         0  0.000000000001
secret-model      1       0  1,000       0     100          0         1  0.00
───────────────────────────────────────────────────────────────────────────────────────
total             4       0  4,000       0     400          0         1  0.007000000001
Calls without a known price, not in the cost: 1. See why with --by model,pricing.
";
    assert_eq!(printed(&[]).unwrap(), expected);
}

#[test]
fn groups_filters_and_ranges_are_combined() {
    let table =
        printed(&["--by", "day", "--by", "user", "--since", "2026-11-20", "--where", "provider=openai"]).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1][..3], ["2026-11-20", "bob", "1"]);
    assert_eq!(rows[2][..3], ["2026-11-21", "alice", "1"]);
    let json: serde_json::Value = serde_json::from_str(&printed(&["--since", "1h", "--json"]).unwrap()).unwrap();
    assert_eq!(json["totals"]["calls"], 3);
    let csv = printed(&["--by", "user,model", "--csv", "--limit", "1"]).unwrap();
    assert!(csv.starts_with("user,model,calls,failed_calls"), "{csv}");
    assert_eq!(csv.lines().count(), 2);
}

#[test]
fn events_are_shown_newest_last() {
    let table = printed(&["events", "-n", "2"]).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[1].contains("codestral") && rows[1].contains("0.000000000001"), "{table}");
    assert!(rows[2].contains("? (unknown_model)"), "{table}");
    let page: serde_json::Value = serde_json::from_str(&printed(&["events", "--json", "-n", "2"]).unwrap()).unwrap();
    assert_eq!(page["events"].as_array().unwrap().len(), 2);
    assert_eq!(printed(&["events", "--csv"]).unwrap().lines().count(), 5);
}

#[test]
fn one_exchange_is_told_in_full() {
    let id = call(later(-60), 0).opening.exchange.to_string();
    let told = printed(&["exchange", &id]).unwrap();
    assert!(told.contains("requested_model            \"gpt-4o\""), "{told}");
    assert!(printed(&["exchange", "fbx_0000000000000"]).unwrap_err().contains("no exchange fbx_0000000000000"));
    assert!(printed(&["exchange", "x"]).unwrap_err().contains("is not an id"));
}

#[test]
fn the_export_goes_to_standard_output_or_to_a_private_file() {
    assert_eq!(printed(&["export", "--where", "model=gpt-4o"]).unwrap().lines().count(), 3);
    let place = TempDir::new().unwrap();
    let file = place.path().join("usage.csv");
    assert_eq!(printed(&["export", "-o", file.to_str().unwrap()]).unwrap(), "");
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 5);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_was_mistyped_is_named() {
    assert!(printed(&["--by", "modell"]).unwrap_err().contains("`--by`: no group is named `modell`"));
    assert!(printed(&["--since", "noon"]).unwrap_err().contains("`--since`: `noon` is not a moment"));
    assert!(printed(&["--where", "x=y"]).unwrap_err().contains("`--where`: nothing is named `x`"));
}
