use super::*;
use crate::store::fixtures::{NOON, call, daily, later, open_accounts};
use crate::store::{JournalPosition, Store};
use clap::Parser;
use tempfile::TempDir;

#[derive(Debug, clap::Parser)]
enum Line {
    Budgets(BudgetsArguments),
    Alerts(AlertsArguments),
}

/// A ledger in which the research team has spent 1.70 of its 2 USD today.
fn ledger() -> TempDir {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path(), NOON).unwrap();
    let research = daily("research-day", "team=research", 2_000_000_000_000);
    open_accounts(dir.path(), &[&research]);
    let event = call(later(1), 0).charged_to(&research, 1_700_000_000_000);
    store.fold(1, &[event], JournalPosition { segment: 0, offset: 1 }).unwrap();
    dir
}

/// What `farebox WORDS` prints.
fn printed(dir: &TempDir, words: &[&str]) -> Result<String, String> {
    let place = dir.path().to_string_lossy().into_owned();
    let line = ["farebox"].iter().chain(words).copied().chain(["--data-dir", &place]);
    let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let answered = match &line {
        Line::Budgets(asked) => show_budgets(asked, later(60), &mut out),
        Line::Alerts(asked) => answer_alerts(asked, later(60), &mut out),
    };
    answered.map_err(|failure| failure.to_string())?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_table_of_budgets_says_how_much_is_used_and_when_it_resets() {
    let dir = ledger();
    let expected = "\
BUDGET        SCOPE          WINDOW  KIND  LIMIT  SPENT  LEASED  UNIT  USED %  RESETS AT
research-day  team=research  day     hard   2.00   1.70    0.00  usd    85.00  2026-11-22 00:00
";
    assert_eq!(printed(&dir, &["budgets"]).unwrap(), expected);
    let json: serde_json::Value = serde_json::from_str(&printed(&dir, &["budgets", "--json"]).unwrap()).unwrap();
    assert_eq!((&json["budgets"][0]["spent"], &json["budgets"][0]["used_percent"]), (&"1.70".into(), &85.0.into()));
    assert!(printed(&dir, &["budgets", "nobody"]).unwrap().starts_with("no budget"));
}

#[test]
fn an_alert_is_listed_acknowledged_once_and_then_no_longer_new() {
    let dir = ledger();
    let json: serde_json::Value = serde_json::from_str(&printed(&dir, &["alerts", "--json"]).unwrap()).unwrap();
    let told: Vec<_> = json["alerts"].as_array().unwrap().iter().map(|alert| &alert["threshold_percent"]).collect();
    assert_eq!(told, [80.0, 50.0]);
    let id = json["alerts"][0]["id"].as_str().unwrap();
    let said = printed(&dir, &["alerts", "ack", id, "--by", "ann"]).unwrap();
    assert_eq!(said, "80 % of research-day was acknowledged by ann at 2026-11-21 12:01 UTC\n");
    let again = printed(&dir, &["alerts", "ack", id, "--by", "bob"]).unwrap();
    assert!(again.contains("acknowledged by ann"), "the first stays: {again}");
    let new = printed(&dir, &["alerts", "--new"]).unwrap();
    assert!(new.contains("50") && !new.contains(id), "{new}");
    assert!(printed(&dir, &["alerts", "list", "--acknowledged"]).unwrap().contains("ann, 2026-11-21 12:01"));
}

#[test]
fn what_is_no_alert_is_said_so_with_the_remedy() {
    let dir = ledger();
    let unknown = printed(&dir, &["alerts", "ack", "00000000000000ff-1", "--by", "ann"]).unwrap_err();
    assert!(unknown.contains("no alert") && unknown.contains("farebox alerts"), "{unknown}");
    let nonsense = printed(&dir, &["alerts", "ack", "first", "--by", "ann"]).unwrap_err();
    assert!(nonsense.contains("`first` is not the id"), "{nonsense}");
    assert!(printed(&dir, &["alerts", "ack", "00000000000000ff-1"]).is_err(), "somebody has to know");
}
