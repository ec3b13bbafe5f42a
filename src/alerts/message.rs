//! An alert in words and as JSON.

use crate::budget::Hardness;
use crate::budget::account::Unit;
use crate::money::pico_to_decimal;
use crate::store::Alert;
use serde_json::{Value, json};

/// The alert's id, as `farebox alerts` shows it: its account and its threshold in hundredths of a percent.
pub fn id(alert: &Alert) -> String {
    format!("{:016x}-{}", alert.account.0, alert.threshold.0)
}

/// What a webhook gets. Amounts are text, exact, in the budget's unit.
pub fn webhook(alert: &Alert) -> Value {
    let lifetime = alert.window_end.0 == i64::MAX;
    json!({
        "id": id(alert),
        "kind": "budget_threshold",
        "budget": &*alert.budget,
        "scope": &*alert.scope,
        "hardness": alert.hardness,
        "threshold_percent": f64::from(alert.threshold.0) / 100.0,
        "spent": number(alert.unit, alert.spent),
        "limit": number(alert.unit, alert.limit),
        "unit": match alert.unit { Unit::PicoUsd => "usd", other => other.name() },
        "window_start": alert.window_start.to_rfc3339(),
        "resets_at": (!lifetime).then(|| alert.window_end.to_rfc3339()),
        "at": alert.at.to_rfc3339(),
        "text": text(alert),
    })
}

/// What Slack gets.
pub fn slack(alert: &Alert) -> Value {
    // `&`, `<` and `>` are Slack's own (its formatting reference).
    let safe = text(alert).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": format!("{safe} ({})", id(alert)) })
}

/// In a sentence.
pub fn text(alert: &Alert) -> String {
    let whose = if alert.scope.is_empty() { String::new() } else { format!(" ({})", alert.scope) };
    let unit = match alert.unit {
        Unit::PicoUsd => "USD",
        other => other.name(),
    };
    let percent = percent(alert.threshold.0);
    let resets = match alert.window_end.0 {
        i64::MAX => String::new(),
        _ => format!(" It resets at {}.", alert.window_end.to_rfc3339_seconds()),
    };
    let then = match alert.hardness {
        Hardness::Hard if alert.threshold.0 >= 10_000 => " Calls that it counts are refused until then.",
        _ => "",
    };
    format!(
        "The budget {}{whose} passed {percent} %: {} of {} {unit} are spent.{resets}{then}",
        alert.budget,
        number(alert.unit, alert.spent),
        number(alert.unit, alert.limit)
    )
}

fn number(unit: Unit, amount: u128) -> String {
    match unit {
        Unit::PicoUsd => pico_to_decimal(i128::try_from(amount).unwrap_or(i128::MAX)),
        Unit::Tokens | Unit::Requests => amount.to_string(),
    }
}

fn percent(basis_points: u32) -> String {
    match basis_points % 100 {
        0 => (basis_points / 100).to_string(),
        part => format!("{}.{part:02}", basis_points / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::BasisPoints;
    use crate::budget::account::BudgetId;
    use crate::clock::Timestamp;

    fn alert() -> Alert {
        Alert {
            account: BudgetId(0xabc),
            budget: "research-month".into(),
            scope: "user=<ann>".into(),
            unit: Unit::PicoUsd,
            hardness: Hardness::Hard,
            window_start: Timestamp(1_793_491_200_000_000),
            window_end: Timestamp(1_796_083_200_000_000),
            threshold: BasisPoints(10_000),
            at: Timestamp(1_795_302_453_000_000),
            spent: 500_125_000_000_000,
            limit: 500_000_000_000_000,
            acknowledged_at: None,
            acknowledged_by: None,
        }
    }

    #[test]
    fn it_reads_alone() {
        assert_eq!(
            text(&alert()),
            "The budget research-month (user=<ann>) passed 100 %: 500.125 of 500.00 USD are spent. It resets at \
             2026-12-01T00:00:00Z. Calls that it counts are refused until then."
        );
        let told = webhook(&alert());
        assert_eq!((&told["id"], &told["spent"]), (&json!("0000000000000abc-10000"), &json!("500.125")));
        let slack = slack(&alert())["text"].as_str().unwrap().to_owned();
        assert!(slack.contains("&lt;ann&gt;") && slack.contains("0000000000000abc-10000"), "{slack}");
        assert_eq!(percent(550), "5.50");
    }
}
