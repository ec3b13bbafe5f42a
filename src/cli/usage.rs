//! `farebox usage`: what was used and what it cost, from the data directory, whether a server runs on it or not.

use super::fault;
use super::place::Place;
use super::table::{Align, Table, grouped, signed};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::ids::{ExchangeId, NotAnId};
use crate::money::pico_to_decimal;
use crate::queries::{EventView, EventsPage, ExchangeView, Export, Follow, Misasked, Stats, StatsQuestion, ask, stats};
use crate::store::{EventQuery, EventRow, Filter, Order, Reader, StoreError, Sums, TimeRange, UsageQuery};
use crate::tokens::usage::TokenUsage;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const GROUPS_DEFAULT: usize = 50;
const EVENTS_DEFAULT: usize = 20;
const EVENTS_MAX: usize = 1_000;
/// How often new events are looked for.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// Events told in one line of a table have no room for a longer name.
const MODEL_LETTERS_MAX: usize = 40;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:\n  \
    farebox usage                                     cost by model, all time\n  \
    farebox usage --by day --by model --since 7d      the last week, day by day\n  \
    farebox usage --by user --where team=search --since 2026-11 --until 2026-12\n  \
    farebox usage events -n 50 --where outcome=provider_*\n  \
    farebox usage export --since 2026-11 -o november.csv\n\
    Groups and filters: hour, day, month; provider, model, operation, outcome, organisation, team, project, key, user, \
    session, environment, tag.NAME and more. Days are UTC.")]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What to sum by; may be repeated or separated by commas [default: model].
    #[arg(long, value_name = "GROUP")]
    by: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Groups to show.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<String>,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The latest events, one line each.
    Events(EventsArguments),
    /// Everything that is known of one exchange.
    Exchange(ExchangeArguments),
    /// Every event as CSV.
    Export(ExportArguments),
}

#[derive(Debug, clap::Args)]
struct EventsArguments {
    #[command(flatten)]
    which: Which,
    /// Events to show.
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<String>,
    /// Go on with new events as they come, until Ctrl-C; with --json, one document a line.
    #[arg(long, short, conflicts_with = "until")]
    follow: bool,
    #[command(flatten)]
    form: Form,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct ExchangeArguments {
    /// As in the response header `x-farebox-exchange-id`.
    id: String,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
struct ExportArguments {
    #[command(flatten)]
    which: Which,
    /// The file to write; by default standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Which events are meant.
#[derive(Debug, clap::Args)]
struct Which {
    /// From when: `24h`, `7d`, `2026-11-21`, `2026-11`, or RFC 3339 [default: the beginning].
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Until when, not included [default: now].
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only events with this value: `model=gpt-*`; may be repeated: the same name twice means either.
    #[arg(long = "where", value_name = "NAME=VALUE")]
    filters: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Form {
    /// One JSON document.
    #[arg(long)]
    json: bool,
    /// CSV with a header line.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Misasked(#[from] Misasked),
    #[error("{0}")]
    Id(#[from] NotAnId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Configuration(String),
    #[error("no exchange {0} is in the ledger; one appears within a second of its end")]
    NoExchange(ExchangeId),
    #[error("could not write the answer: {0}")]
    Output(#[from] io::Error),
    #[error("could not write the answer: {0}")]
    Json(#[from] serde_json::Error),
}

impl Which {
    fn range(&self, now: Timestamp) -> Result<TimeRange, Misasked> {
        ask::range(("--since", self.since.as_deref()), ("--until", self.until.as_deref()), now)
    }

    fn filters(&self) -> Result<Vec<Filter>, Misasked> {
        let mut filters = Vec::new();
        for text in &self.filters {
            ask::filter_pair(&mut filters, "--where", text)?;
        }
        Ok(filters)
    }
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let now = SystemClock.now();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let answered = answer(arguments, now, &mut out).and_then(|()| Ok(out.flush()?));
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of a pipe (`| head`) has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => fault(failure),
    }
}

fn answer(arguments: &Arguments, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    match &arguments.command {
        None => summed(arguments, &reader(&arguments.place)?, now, out),
        Some(Command::Events(asked)) => events(asked, &reader(&asked.place)?, now, out),
        Some(Command::Exchange(asked)) => exchange(asked, &reader(&asked.place)?, out),
        Some(Command::Export(asked)) => export(asked, reader(&asked.place)?, now, out),
    }
}

fn reader(place: &Place) -> Result<Reader, Failure> {
    let dir = place.data_dir().map_err(Failure::Configuration)?;
    Ok(Reader::open(&dir)?)
}

fn summed(arguments: &Arguments, reader: &Reader, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let by = if arguments.by.is_empty() { vec!["model".to_owned()] } else { arguments.by.clone() };
    let question = StatsQuestion {
        query: UsageQuery {
            group_by: ask::group_by("--by", &by)?,
            filters: arguments.which.filters()?,
            range: arguments.which.range(now)?,
        },
        limit: ask::count("--limit", arguments.limit.as_deref(), GROUPS_DEFAULT, crate::queries::stats::GROUPS_MAX)?,
    };
    let stats = stats(reader, &question)?;
    if arguments.form.json {
        serde_json::to_writer_pretty(&mut *out, &stats)?;
        writeln!(out)?;
    } else if arguments.form.csv {
        out.write_all(&stats.to_csv())?;
    } else {
        write_stats(&stats, out)?;
    }
    Ok(())
}

fn write_stats(stats: &Stats, out: &mut dyn Write) -> io::Result<()> {
    let has_unpriced = stats.totals.unpriced > 0;
    let groups = stats.group_by.iter().map(|by| (by.name().to_uppercase(), Align::Left));
    let counts = ["CALLS", "FAILED", "INPUT", "CACHED", "OUTPUT", "REASONING"];
    let unpriced = has_unpriced.then(|| ("UNPRICED".to_owned(), Align::Right));
    let headings = groups
        .chain(counts.map(|name| (name.to_owned(), Align::Right)))
        .chain(unpriced)
        .chain([("COST USD".to_owned(), Align::Point)]);
    let mut table = Table::new(headings);
    let sums = |sums: &Sums| {
        let usage = &sums.usage;
        let mut cells: Vec<String> = [
            sums.calls,
            sums.failed,
            usage.input_tokens(),
            usage.cache_read_input_tokens(),
            usage.output_tokens(),
            usage.reasoning_output_tokens(),
        ]
        .map(grouped)
        .into();
        cells.extend(has_unpriced.then(|| grouped(sums.unpriced)));
        cells.push(pico_to_decimal(sums.cost_pico));
        cells
    };
    for group in &stats.groups {
        let key = group.key.iter().map(|member| member.as_deref().unwrap_or("(none)").to_owned());
        table.row(key.chain(sums(&group.sums)).collect());
    }
    let mut total = vec!["total".to_owned()];
    total.resize(stats.group_by.len(), String::new());
    total.extend(sums(&stats.totals));
    table.footer(total);
    table.write(out)?;
    write_notes(stats, out)
}

fn write_notes(stats: &Stats, out: &mut dyn Write) -> io::Result<()> {
    let totals = &stats.totals;
    if stats.groups_more > 0 {
        writeln!(out, "{} more groups are in the total; show them with --limit.", grouped(stats.groups_more as u64))?;
    }
    if totals.unpriced > 0 {
        writeln!(
            out,
            "Calls without a known price, not in the cost: {}. See why with --by model,pricing.",
            grouped(totals.unpriced)
        )?;
    }
    let inexact = totals.counted + totals.estimated;
    if inexact > 0 {
        let (counted, estimated) = (grouped(totals.counted), grouped(totals.estimated));
        writeln!(
            out,
            "Calls whose usage was counted by us: {counted}, estimated: {estimated}; the others' was reported."
        )?;
    }
    if totals.withheld_pico != 0 {
        let withheld = pico_to_decimal(totals.withheld_pico);
        writeln!(
            out,
            "Withheld beside the cost, for calls that died with the process or still go on: {withheld} USD."
        )?;
    }
    Ok(())
}

fn events(asked: &EventsArguments, reader: &Reader, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let query = EventQuery {
        filters: asked.which.filters()?,
        range: asked.which.range(now)?,
        order: Order::NewestFirst,
        after: None,
        limit: ask::count("--limit", asked.limit.as_deref(), EVENTS_DEFAULT, EVENTS_MAX)?,
    };
    let follow = asked.follow.then(|| Follow::new(reader.clone(), query.filters.clone(), now)).transpose()?;
    let mut rows = reader.events(&query)?;
    if let Some(follow) = follow {
        rows.reverse();
        return follow_events(asked, follow, &rows, out);
    }
    if asked.form.json {
        serde_json::to_writer_pretty(&mut *out, &EventsPage::new(&rows, query.limit))?;
        writeln!(out)?;
        return Ok(());
    }
    // A terminal shows its last line best: the newest goes there.
    rows.reverse();
    if asked.form.csv {
        out.write_all(&crate::queries::export::page(&rows))?;
    } else {
        write_events(&rows, out)?;
    }
    Ok(())
}

/// Shows what is there, then what comes. Ends with the process, or when nobody reads any more.
fn follow_events(
    asked: &EventsArguments,
    mut follow: Follow,
    rows: &[EventRow],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    follow.saw(rows);
    let mut show = |rows: &[EventRow], first: bool| -> Result<(), Failure> {
        if asked.form.json {
            for row in rows {
                serde_json::to_writer(&mut *out, &EventView::from(row))?;
                writeln!(out)?;
            }
        } else if asked.form.csv {
            let page = if first { crate::queries::export::page } else { crate::queries::export::page_behind };
            out.write_all(&page(rows))?;
        } else {
            let mut table = Vec::new();
            write_events(rows, &mut table)?;
            let headings = table.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            out.write_all(&table[if first { 0 } else { headings }..])?;
        }
        Ok(out.flush()?)
    };
    show(rows, true)?;
    loop {
        std::thread::sleep(FOLLOW_INTERVAL);
        let new = follow.next(SystemClock.now())?;
        if !new.is_empty() {
            show(&new, false)?;
        }
    }
}

fn write_events(rows: &[EventRow], out: &mut dyn Write) -> io::Result<()> {
    let left = ["STARTED (UTC)", "EXCHANGE", "KEY", "PROVIDER", "MODEL", "STATUS", "OUTCOME"];
    let right = ["INPUT", "OUTPUT", "SOURCE"];
    let headings = left.map(|name| (name.to_owned(), Align::Left));
    let headings = headings.into_iter().chain(right.map(|name| (name.to_owned(), Align::Right)));
    let mut table = Table::new(headings.chain([("COST USD".to_owned(), Align::Point)]));
    let text = |text: &Option<std::sync::Arc<str>>| text.as_deref().unwrap_or("-").to_owned();
    for row in rows {
        let model = row.upstream_model.as_ref().or(row.requested_model.as_ref()).map_or("-", |model| model);
        let cost = match row.cost {
            Some(cost) => cost.to_string(),
            None => format!("? ({})", text(&row.pricing)),
        };
        table.row(vec![
            row.started_at
                .to_rfc3339()
                .chars()
                .take("2026-11-21T23:07:33.123".len())
                .collect::<String>()
                .replace('T', " "),
            row.exchange.to_string(),
            text(&row.key),
            text(&row.provider),
            model.chars().take(MODEL_LETTERS_MAX).collect(),
            row.status.map_or("-".to_owned(), |status| status.to_string()),
            if row.adjusts.is_some() { "adjustment".to_owned() } else { text(&row.outcome) },
            signed(row.net(TokenUsage::input_tokens)),
            signed(row.net(TokenUsage::output_tokens)),
            text(&row.usage_source),
            cost,
        ]);
    }
    table.write(out)
}

fn exchange(asked: &ExchangeArguments, reader: &Reader, out: &mut dyn Write) -> Result<(), Failure> {
    let id: ExchangeId = asked.id.parse()?;
    let rows = reader.exchange(id)?;
    if rows.is_empty() {
        return Err(Failure::NoExchange(id));
    }
    if asked.json {
        serde_json::to_writer_pretty(&mut *out, &ExchangeView::new(id, &rows))?;
        writeln!(out)?;
        return Ok(());
    }
    write_events(&rows, out)?;
    for row in &rows {
        writeln!(out, "\nattempt {}, {}:", row.attempt, row.id)?;
        let serde_json::Value::Object(members) = serde_json::to_value(crate::queries::EventView::from(row))? else {
            continue;
        };
        for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
            writeln!(out, "  {name:26} {value}")?;
        }
    }
    Ok(())
}

fn export(asked: &ExportArguments, reader: Reader, now: Timestamp, out: &mut dyn Write) -> Result<(), Failure> {
    let (filters, range) = (asked.which.filters()?, asked.which.range(now)?);
    let bar = ProgressBar::new(reader.count_events()?).with_style(bar_style("events"));
    let mut export = Export::new(reader, filters, range)?;
    let mut write = |out: &mut dyn Write| -> Result<(), Failure> {
        while let Some(chunk) = export.next_chunk()? {
            out.write_all(&chunk)?;
            bar.set_position(export.rows());
        }
        Ok(out.flush()?)
    };
    match &asked.output {
        None => write(out)?,
        Some(path) => write(&mut private_file(path)?)?,
    }
    bar.finish_and_clear();
    if let Some(path) = &asked.output {
        eprintln!("{} events written to {}", grouped(export.rows()), path.display());
    }
    Ok(())
}

/// Names and costs are nobody else's business: the file is for its owner alone.
fn private_file(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A bar on standard error; nothing where that is no terminal.
pub fn bar_style(unit: &str) -> ProgressStyle {
    let template = format!("{{bar:40}} {{pos}}/{{len}} {unit}, {{eta}} left");
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests;
