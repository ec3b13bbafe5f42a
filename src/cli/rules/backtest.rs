//! `farebox rules backtest`: what other rules would have made of the past.

use super::Place;
use crate::app::rules;
use crate::backtest::{Backtest, BudgetCurve, Premises, Report, TeamLine, begin_with, replay, windows_begin};
use crate::cli::fault;
use crate::cli::table::{Align, Table, grouped};
use crate::cli::usage::bar_style;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::money::{pico_to_decimal, round_half_even};
use crate::queries::{Misasked, ask};
use crate::store::{Reader, StoreError, TimeRange, UsageQuery};
use indicatif::ProgressBar;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Rules and teams in the table; JSON has all.
const LINES_MAX: usize = 20;
/// A day of a curve, from nothing used to all of it.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PICO_PER_HUNDREDTH_OF_A_CENT: i128 = 100_000_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  farebox rules backtest --rules new-rules/ --since 30d")]
pub struct Arguments {
    /// Files or a folder of rules to try; by default the configured folder.
    #[arg(long, value_name = "FILE|DIR")]
    rules: Vec<PathBuf>,
    /// From when: `30d`, `2026-11`, `2026-11-21`, or RFC 3339.
    #[arg(long, value_name = "WHEN", default_value = "30d")]
    since: String,
    /// Until when, not included [default: now].
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// The data directory whose ledger is replayed; by default the configured one.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration to take the data directory, the catalog and the providers from.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Premises(String),
    #[error(transparent)]
    Misasked(#[from] Misasked),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("could not write the answer: {0}")]
    Output(#[from] io::Error),
    #[error("could not write the answer: {0}")]
    Json(#[from] serde_json::Error),
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let answered = answer(arguments, SystemClock.now(), &mut out).and_then(|()| Ok(out.flush()?));
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => fault(failure),
    }
}

fn answer(arguments: &Arguments, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let place = Place { paths: arguments.rules.clone(), config: arguments.config.clone() };
    let found = place.find().map_err(Failure::Premises)?;
    let loaded = rules::load(&found.files, &found.known());
    let loaded = loaded.map_err(|faults| Failure::Premises(rules::in_words(&faults)))?;
    let since = ("--since", Some(arguments.since.as_str()));
    let range = ask::range(since, ("--until", arguments.until.as_deref().or(Some("0s"))), now)?;
    let reader = Reader::open(arguments.data_dir.as_ref().unwrap_or(&found.data_dir))?;
    let begun = range.from.and_then(|from| windows_begin(&loaded.rules, from));
    let mut backtest = Backtest::new(Premises {
        rules: Arc::new(loaded.rules),
        catalog: Arc::new(found.catalog),
        providers: found.dialects,
    });
    let length = reader.usage(&UsageQuery { range, ..UsageQuery::default() })?.totals;
    let bar = ProgressBar::new(length.calls + length.adjustments).with_style(bar_style("events"));
    if let Some((oldest, _)) = &begun {
        bar.set_message("what was spent before");
        begin_with(&reader, TimeRange { from: Some(*oldest), to: range.from }, &mut backtest)?;
    }
    replay(&reader, range, &mut backtest, &mut |rows| bar.set_position(rows))?;
    bar.finish_and_clear();
    let mut report = backtest.finish();
    if let Some((_, names)) = begun {
        report.notes.push(format!(
            "Windows of these had begun before the replay does, and begin with what the ledger says was spent in them: {}.",
            names.join(", ")
        ));
    }
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &document(&report, range)?)?;
        writeln!(out)?;
        return Ok(());
    }
    Ok(write(&report, range, out)?)
}

fn document(report: &Report, range: TimeRange) -> Result<Value, Failure> {
    let moment = |moment: Option<Timestamp>| moment.map(Timestamp::to_rfc3339);
    let mut document = json!({ "since": moment(range.from), "until": moment(range.to) });
    if let (Value::Object(head), Value::Object(body)) = (&mut document, serde_json::to_value(report)?) {
        head.extend(body);
    }
    Ok(document)
}

fn write(report: &Report, range: TimeRange, out: &mut dyn Write) -> io::Result<()> {
    let totals = &report.totals;
    let day = |moment: Option<Timestamp>| moment.map(|at| at.to_rfc3339()[..16].replace('T', " ")).unwrap_or_default();
    let calls = if report.calls == 1 { "call" } else { "calls" };
    writeln!(out, "{} {calls} from {} to {} UTC", grouped(report.calls), day(range.from), day(range.to))?;
    writeln!(
        out,
        "{} unchanged, {} blocked, {} swapped, {} clamped",
        grouped(totals.unchanged),
        grouped(totals.blocked),
        grouped(totals.swapped),
        grouped(totals.clamped)
    )?;
    for (count, what) in [(totals.rerouted, "sent to another provider"), (totals.undone, "no longer swapped")] {
        if count > 0 {
            writeln!(out, "{} {what}", grouped(count))?;
        }
    }
    writeln!(
        out,
        "{} USD, under these rules {} USD: {} USD saved\n",
        rounded(totals.cost_pico),
        rounded(totals.cost_after_pico),
        rounded(totals.saved_pico)
    )?;
    write_rules(report, out)?;
    write_teams(report, out)?;
    write_changes(report, out)?;
    write_budgets(report, out)?;
    report.notes.iter().try_for_each(|note| writeln!(out, "- {note}"))
}

fn write_rules(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut table =
        table(&[("RULE", Align::Left), ("DOES", Align::Left), ("CALLS", Align::Right), ("SAVED USD", Align::Point)]);
    for line in report.by_rule.iter().take(LINES_MAX) {
        table.row(vec![line.rule.to_string(), line.action.to_owned(), grouped(line.calls), rounded(line.saved_pico)]);
    }
    section(out, &table, report.by_rule.len(), "rules")
}

fn write_teams(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut table = table(&[
        ("TEAM", Align::Left),
        ("CALLS", Align::Right),
        ("BLOCKED", Align::Right),
        ("SWAPPED", Align::Right),
        ("CLAMPED", Align::Right),
        ("COST USD", Align::Point),
        ("THEN USD", Align::Point),
        ("SAVED USD", Align::Point),
    ]);
    for TeamLine { team, calls, totals } in report.by_team.iter().take(LINES_MAX) {
        table.row(vec![
            team.as_deref().unwrap_or("(none)").to_owned(),
            grouped(*calls),
            grouped(totals.blocked),
            grouped(totals.swapped),
            grouped(totals.clamped),
            rounded(totals.cost_pico),
            rounded(totals.cost_after_pico),
            rounded(totals.saved_pico),
        ]);
    }
    section(out, &table, report.by_team.len(), "teams")
}

fn write_changes(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.costliest_changes.is_empty() {
        return Ok(());
    }
    let mut table = table(&[
        ("DEAREST CHANGED", Align::Left),
        ("TIME UTC", Align::Left),
        ("TEAM", Align::Left),
        ("MODEL", Align::Left),
        ("CHANGE", Align::Left),
        ("RULE", Align::Left),
        ("COST USD", Align::Point),
        ("THEN USD", Align::Point),
    ]);
    for call in &report.costliest_changes {
        let change = match &call.to_model {
            Some(to) if call.change == "swapped" => format!("to {to}"),
            _ => call.change.to_owned(),
        };
        table.row(vec![
            call.exchange_id.clone(),
            call.started_at[..19].replace('T', " "),
            call.team.as_deref().unwrap_or("(none)").to_owned(),
            call.model.as_deref().unwrap_or("(none)").to_owned(),
            change,
            call.rule.to_string(),
            rounded(call.cost_pico),
            rounded(call.cost_after_pico),
        ]);
    }
    section(out, &table, 0, "")
}

fn write_budgets(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.budgets.is_empty() {
        return Ok(());
    }
    let mut table = table(&[
        ("BUDGET", Align::Left),
        ("LIMIT", Align::Right),
        ("UNIT", Align::Left),
        ("FELL SHORT", Align::Right),
        ("MOST USED %", Align::Point),
        ("DAY BY DAY", Align::Left),
    ]);
    for budget in &report.budgets {
        let used = |day: &crate::backtest::DayPoint| day.used_percent_max.clone();
        let most = budget.days.iter().max_by_key(|day| percent(&day.used_percent_max)).map(used).unwrap_or_default();
        table.row(vec![
            budget.budget.to_string(),
            budget.limit.clone(),
            budget.unit.to_owned(),
            grouped(budget.fell_short),
            most,
            curve(budget),
        ]);
    }
    section(out, &table, 0, "")
}

/// One sign a day: how much of the limit was used at its end.
fn curve(budget: &BudgetCurve) -> String {
    let level = |day: &crate::backtest::DayPoint| {
        let place = usize::try_from(percent(&day.used_percent_max) * LEVELS.len() as u64 / 101).unwrap_or(usize::MAX);
        LEVELS.get(place).or(LEVELS.last()).copied().unwrap_or('█')
    };
    budget.days.iter().map(level).collect()
}

fn percent(text: &str) -> u64 {
    text.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0)
}

fn table(headings: &[(&str, Align)]) -> Table {
    Table::new(headings.iter().map(|(name, align)| ((*name).to_owned(), *align)))
}

fn section(out: &mut dyn Write, table: &Table, lines: usize, what: &str) -> io::Result<()> {
    if lines == 0 {
        return Ok(());
    }
    table.write(out)?;
    if lines > LINES_MAX {
        writeln!(out, "and {} {what} more: see --json", grouped((lines - LINES_MAX) as u64))?;
    }
    writeln!(out)
}

/// To a hundredth of a cent, half to even: people read this; JSON is exact.
fn rounded(pico: i128) -> String {
    let hundredths = round_half_even(pico, PICO_PER_HUNDREDTH_OF_A_CENT).unwrap_or_default();
    pico_to_decimal(hundredths * PICO_PER_HUNDREDTH_OF_A_CENT)
}
