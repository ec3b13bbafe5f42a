//! What was used, by model, as a table.

use crate::event::Outcome;
use crate::money::pico_to_decimal;
use crate::store::{Dimension, Group, GroupBy, Reader, Sums, Usage, UsageQuery};
use std::path::PathBuf;

pub fn usage(data_dir: PathBuf) -> Result<Usage, String> {
    grouped(data_dir, &[Dimension::Provider, Dimension::Model])
}

/// How the ledger came to its numbers: `The ledger has 900 in and 3000 out reported (50 calls).` What a provider had
/// reported of an answer whose client left stands apart: it is no answer that was sent to its end.
pub fn by_source(data_dir: PathBuf) -> Result<String, String> {
    let usage = grouped(data_dir, &[Dimension::UsageSource, Dimension::Outcome])?;
    let cancelled = Outcome::CallerCancelled.name();
    let mut parts: Vec<String> = Vec::new();
    for source in ["reported", "counted", "estimated"] {
        for (left, words) in [(false, ""), (true, " until the client left")] {
            let of = |group: &&Group| {
                let key = |place: usize| group.key.get(place).and_then(|word| word.as_deref());
                key(0) == Some(source) && (key(1) == Some(cancelled)) == left
            };
            let (mut calls, mut input, mut output) = (0, 0, 0);
            for group in usage.groups.iter().filter(of) {
                calls += group.sums.calls;
                input += group.sums.usage.input_tokens();
                output += group.sums.usage.output_tokens();
            }
            if calls > 0 {
                parts.push(format!("{input} in and {output} out {source}{words} ({calls} calls)"));
            }
        }
    }
    Ok(if parts.is_empty() {
        "The ledger has no tokens.".to_owned()
    } else {
        format!("The ledger has {}.", parts.join(", "))
    })
}

fn grouped(data_dir: PathBuf, by: &[Dimension]) -> Result<Usage, String> {
    let reader = Reader::open(&data_dir).map_err(|why| why.to_string())?;
    let group_by = by.iter().cloned().map(GroupBy::Dimension).collect();
    reader.usage(&UsageQuery { group_by, ..UsageQuery::default() }).map_err(|why| why.to_string())
}

/// Rows by cost, the dearest first; and the sum.
pub fn render(usage: &Usage) -> String {
    let mut groups: Vec<_> = usage.groups.iter().collect();
    groups.sort_by_key(|group| (std::cmp::Reverse(group.sums.cost_pico), group.key.clone()));
    let mut rows = vec![["provider", "model", "calls", "failed", "input", "output", "cost $"].map(str::to_owned)];
    for group in groups {
        let name = |place: usize| group.key.get(place).and_then(|name| name.as_deref()).unwrap_or("-").to_owned();
        rows.push(row(name(0), name(1), &group.sums));
    }
    rows.push(row("all".to_owned(), String::new(), &usage.totals));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cell = |(column, text): (usize, &String)| match column {
            0 | 1 => format!("{text:<width$}", width = widths[column]),
            _ => format!("{text:>width$}", width = widths[column]),
        };
        row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(provider: String, model: String, sums: &Sums) -> [String; 7] {
    [
        provider,
        model,
        sums.calls.to_string(),
        sums.failed.to_string(),
        sums.usage.input_tokens().to_string(),
        sums.usage.output_tokens().to_string(),
        to_the_micro_dollar(sums.cost_pico),
    ]
}

/// People see costs rounded; the ledger has them exact.
fn to_the_micro_dollar(pico: i128) -> String {
    let rounded = crate::money::round_half_even(pico, 1_000_000).unwrap_or(0) * 1_000_000;
    let exact = pico_to_decimal(rounded);
    let (dollars, fraction) = exact.split_once('.').unwrap_or((&exact, ""));
    format!("{dollars}.{fraction:0<6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_shown_to_the_micro_dollar() {
        assert_eq!(to_the_micro_dollar(1_234_567_890_123), "1.234568");
        assert_eq!(to_the_micro_dollar(0), "0.000000");
    }

    #[test]
    fn the_dearest_model_stands_first_and_the_sum_last() {
        let sums = |calls, cost_pico| Sums { calls, cost_pico, ..Sums::default() };
        let group =
            |model: &str, sums| crate::store::Group { key: vec![Some("openai".into()), Some(model.into())], sums };
        let groups = vec![group("cheap", sums(5, 10)), group("dear", sums(1, 2_000_000))];
        let shown = render(&Usage { groups, totals: sums(6, 2_000_010) });
        let first: Vec<&str> = shown.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(first, ["model", "dear", "cheap", "6"]);
    }
}
