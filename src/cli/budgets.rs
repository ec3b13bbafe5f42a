//! `farebox budgets` and `farebox alerts`: how budgets stand, which thresholds they passed, and that a person knows.

use super::fault;
use super::place::Place;
use super::table::{Align, Table, grouped};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::queries::budgets::{
    ALERTS_DEFAULT, ALERTS_MAX, AlertId, AlertView, BUDGETS_DEFAULT, BUDGETS_MAX, BudgetView, DeliveryView, alerts,
    budgets, name,
};
use crate::queries::{Misasked, ask};
use crate::store::{AlertQuery, Reader, StoreError, acknowledge_alert};
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "A budget is listed from the first call of its window on. LEASED is what running processes may still \
                        spend; what calls under way hold is in it."
)]
pub struct BudgetsArguments {
    /// Only the budget of this name.
    #[arg(value_name = "BUDGET")]
    budget: Option<String>,
    /// Budgets to show, the nearest to its limit first.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<String>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  \
    farebox alerts --new                            what nobody has acknowledged\n  \
    farebox alerts ack 0123456789abcdef-8000 --by ann")]
pub struct AlertsArguments {
    #[command(subcommand)]
    command: Option<AlertsCommand>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, clap::Subcommand)]
enum AlertsCommand {
    /// Thresholds that were passed, newest first; the same as without a word.
    List(ListArguments),
    /// Note that a person knows of an alert.
    Ack(AckArguments),
}

#[derive(Debug, clap::Args)]
struct ListArguments {
    /// Only of the budget of this name.
    #[arg(long, value_name = "NAME")]
    budget: Option<String>,
    /// Only those that nobody has acknowledged.
    #[arg(long, conflicts_with = "acknowledged")]
    new: bool,
    /// Only those that somebody has acknowledged.
    #[arg(long)]
    acknowledged: bool,
    /// Alerts to show.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<String>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct AckArguments {
    /// As `farebox alerts` shows it.
    #[arg(value_name = "ID")]
    id: String,
    /// Who knows of it.
    #[arg(long, value_name = "NAME")]
    by: String,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Misasked(#[from] Misasked),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Configuration(String),
    #[error("no alert {0} is in the ledger; `farebox alerts` lists them")]
    NoAlert(AlertId),
    #[error("could not write the answer: {0}")]
    Output(#[from] io::Error),
    #[error("could not write the answer: {0}")]
    Json(#[from] serde_json::Error),
}

pub fn run_budgets(arguments: &BudgetsArguments) -> ExitCode {
    ended(|now, out| show_budgets(arguments, now, out))
}

pub fn run_alerts(arguments: &AlertsArguments) -> ExitCode {
    ended(|now, out| answer_alerts(arguments, now, out))
}

fn ended(answer: impl FnOnce(Timestamp, &mut dyn Write) -> Result<(), Failure>) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match answer(SystemClock.now(), &mut out).and_then(|()| Ok(out.flush()?)) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe (`| head`) has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => fault(failure),
    }
}

fn show_budgets(asked: &BudgetsArguments, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let reader = Reader::open(&data_dir(&asked.place)?)?;
    let limit = ask::count("--limit", asked.limit.as_deref(), BUDGETS_DEFAULT, BUDGETS_MAX)?;
    let standing = budgets(&reader, now, asked.budget.as_deref(), limit)?;
    if asked.json {
        return write_json(&standing, out);
    }
    if standing.budgets.is_empty() {
        return Ok(writeln!(out, "no budget has counted a call in a window that is under way")?);
    }
    let headings = "BUDGET SCOPE WINDOW KIND LIMIT· SPENT· LEASED· UNIT USED_%· RESETS_AT";
    write_table(headings, standing.budgets.iter().map(budget_cells), out)?;
    if standing.budgets_more > 0 {
        writeln!(out, "and {} more: raise --limit, or name a budget", grouped(standing.budgets_more as u64))?;
    }
    Ok(())
}

fn budget_cells(budget: &BudgetView) -> Vec<String> {
    vec![
        budget.budget.to_string(),
        budget.scope.to_string(),
        budget.window.to_owned(),
        format!("{:?}", budget.hardness).to_lowercase(),
        budget.limit.clone(),
        budget.spent.clone(),
        budget.leased.clone(),
        budget.unit.to_owned(),
        format!("{:.2}", budget.used_percent),
        budget.resets_at.as_deref().map_or_else(|| "never".to_owned(), minute),
    ]
}

fn answer_alerts(arguments: &AlertsArguments, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    match &arguments.command {
        Some(AlertsCommand::Ack(asked)) => acknowledge(asked, now, out),
        Some(AlertsCommand::List(asked)) => list(asked, out),
        None => list(&arguments.list, out),
    }
}

fn list(asked: &ListArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let reader = Reader::open(&data_dir(&asked.place)?)?;
    let query = AlertQuery {
        budget: asked.budget.as_deref().map(Arc::from),
        acknowledged: (asked.new || asked.acknowledged).then_some(asked.acknowledged),
        limit: ask::count("--limit", asked.limit.as_deref(), ALERTS_DEFAULT, ALERTS_MAX)?,
        ..AlertQuery::default()
    };
    let page = alerts(&reader, &query, None)?;
    if asked.json {
        return write_json(&page, out);
    }
    if page.alerts.is_empty() {
        return Ok(writeln!(out, "no threshold was passed, as far as is asked for")?);
    }
    let headings = "ID AT_UTC BUDGET SCOPE WINDOW_FROM PASSED_%· SPENT· LIMIT· UNIT TOLD ACKNOWLEDGED";
    write_table(headings, page.alerts.iter().map(alert_cells), out)?;
    if page.next_cursor.is_some() {
        writeln!(out, "and more: raise --limit, or name a --budget")?;
    }
    Ok(())
}

fn alert_cells(alert: &AlertView) -> Vec<String> {
    let by = alert.acknowledged_by.as_deref().zip(alert.acknowledged_at.as_deref());
    vec![
        alert.id.clone(),
        minute(&alert.at),
        alert.budget.to_string(),
        alert.scope.to_string(),
        minute(&alert.window_start),
        format!("{}", alert.threshold_percent),
        alert.spent.clone(),
        alert.limit.clone(),
        alert.unit.to_owned(),
        told(alert),
        by.map(|(name, at)| format!("{name}, {}", minute(at))).unwrap_or_default(),
    ]
}

/// `finops, pager (not yet)`
fn told(alert: &AlertView) -> String {
    let one = |delivery: &DeliveryView| match (&delivery.delivered_at, &delivery.next_attempt_at) {
        (Some(_), _) => delivery.receiver.to_string(),
        (None, Some(_)) => format!("{} (not yet)", delivery.receiver),
        (None, None) => format!("{} (given up)", delivery.receiver),
    };
    alert.deliveries.iter().flatten().map(one).collect::<Vec<_>>().join(", ")
}

fn acknowledge(asked: &AckArguments, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let id: AlertId = asked.id.parse()?;
    let by = name("--by", &asked.by)?;
    let alert = acknowledge_alert(&data_dir(&asked.place)?, id.account, id.threshold, now, &by)?;
    let view = AlertView::new(&alert.ok_or(Failure::NoAlert(id))?);
    if asked.json {
        return write_json(&view, out);
    }
    let known = view.acknowledged_by.as_deref().unwrap_or_default();
    let at = view.acknowledged_at.as_deref().map(minute).unwrap_or_default();
    Ok(writeln!(out, "{} % of {} was acknowledged by {known} at {at} UTC", view.threshold_percent, view.budget)?)
}

/// A table under these headings: `_` stands for a space, and `·` at the end says that numbers stand below it.
fn write_table(headings: &str, rows: impl Iterator<Item = Vec<String>>, out: &mut dyn Write) -> io::Result<()> {
    let headings = headings.split(' ').map(|heading| match heading.strip_suffix('·') {
        Some(of_numbers) => (of_numbers.replace('_', " "), Align::Point),
        None => (heading.replace('_', " "), Align::Left),
    });
    let mut table = Table::new(headings);
    rows.for_each(|cells| table.row(cells));
    table.write(out)
}

/// `2026-11-21 23:07`
fn minute(moment: &str) -> String {
    moment.chars().take("2026-11-21T23:07".len()).collect::<String>().replace('T', " ")
}

fn write_json(answer: &impl Serialize, out: &mut dyn Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, answer)?;
    Ok(writeln!(out)?)
}

fn data_dir(place: &Place) -> Result<PathBuf, Failure> {
    place.data_dir().map_err(Failure::Configuration)
}

#[cfg(test)]
mod tests;
