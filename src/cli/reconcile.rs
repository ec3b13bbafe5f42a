//! `farebox reconcile`: a provider's bill against the ledger, by day and model, with the reason of each difference.

use super::fault;
use super::place::Place;
use super::table::{Align, Table, grouped};
use crate::app::load_catalog;
use crate::clock::Timestamp;
use crate::money::pico_to_decimal;
use crate::reconcile::invoice::{self, Bill};
use crate::reconcile::{Line, Reason, compare, here, named};
use crate::store::{Reader, TimeRange};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The bill is a CSV: OpenAI's export of costs or of usage, or a table of your own with the columns day, model, \
                  cost_usd, and where they are known input_tokens (cached_input_tokens in them) and output_tokens. Days are \
                  UTC's."
)]
pub struct Arguments {
    /// The bill.
    #[arg(long, value_name = "CSV")]
    invoice: PathBuf,
    /// Whose bill it is: the provider's name in the ledger.
    #[arg(long, value_name = "NAME", default_value = "openai")]
    provider: String,
    /// One JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let lines = match compared(arguments) {
        Ok(lines) => lines,
        Err(why) => return fault(why),
    };
    if arguments.json {
        println!("{}", document(arguments, &lines));
    } else {
        show(&lines);
    }
    ExitCode::SUCCESS
}

fn compared(arguments: &Arguments) -> Result<Vec<Line>, String> {
    let path = arguments.invoice.display();
    let bytes = std::fs::metadata(&arguments.invoice).map_err(|error| format!("{path}: {error}"))?.len();
    if bytes > invoice::BYTES_MAX as u64 {
        return Err(format!("{path}: {bytes} bytes are no bill; at most {} are read", invoice::BYTES_MAX));
    }
    let text = std::fs::read_to_string(&arguments.invoice).map_err(|error| format!("{path}: {error}"))?;
    let bill = invoice::read(&text).map_err(|error| format!("{path}: {error}"))?;
    let range = days_of(&bill).ok_or_else(|| format!("{path}: there is no line in it"))?;
    let catalog = load_catalog(&arguments.place.settings()?.catalog_overlays)?;
    let reader = Reader::open(&arguments.place.data_dir()?).map_err(|error| error.to_string())?;
    let bill = named(bill, &catalog, &arguments.provider);
    let mine = here(&reader, &catalog, &arguments.provider, range).map_err(|error| error.to_string())?;
    Ok(compare(&bill, &mine, &catalog, &arguments.provider))
}

/// From its first day to its last.
fn days_of(bill: &Bill) -> Option<TimeRange> {
    let days = || bill.keys().map(|(day, _)| day);
    let start = |day: &String| {
        let date: jiff::civil::Date = day.parse().ok()?;
        Some(Timestamp(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond()))
    };
    let (from, last) = (start(days().min()?)?, start(days().max()?)?);
    Some(TimeRange { from: Some(from), to: Some(Timestamp(last.as_micros().saturating_add(86_400_000_000))) })
}

fn totals(lines: &[Line]) -> BTreeMap<Reason, i128> {
    let mut totals = BTreeMap::new();
    for (reason, pico) in lines.iter().flat_map(|line| &line.reasons) {
        *totals.entry(*reason).or_insert(0) += pico;
    }
    totals
}

fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingHere => "missing here",
        Reason::MissingThere => "missing there",
        Reason::Tokens => "other tokens",
        Reason::Estimated => "estimated here",
        Reason::Rate => "other rate",
        Reason::Unpriced => "unpriced here",
        Reason::Rounding => "rounding",
        Reason::Unexplained => "no tokens told",
    }
}

fn show(lines: &[Line]) {
    let left = ["DAY", "MODEL"].map(|heading| (heading.to_owned(), Align::Left));
    let right = ["CALLS", "HERE USD", "BILLED USD", "DIFFERENCE"].map(|heading| (heading.to_owned(), Align::Right));
    let mut table = Table::new(left.into_iter().chain(right).chain([("WHY".to_owned(), Align::Left)]));
    for line in lines {
        let why: Vec<String> = line
            .reasons
            .iter()
            .map(|(reason, pico)| format!("{} {}", words(*reason), pico_to_decimal(*pico)))
            .collect();
        table.row(vec![
            line.day.clone(),
            line.model.clone(),
            grouped(line.here.calls),
            pico_to_decimal(line.here.cost),
            line.billed.map_or_else(|| "-".to_owned(), pico_to_decimal),
            pico_to_decimal(line.difference()),
            why.join(", "),
        ]);
    }
    let _ = table.write(&mut io::stdout().lock());
    for (reason, pico) in totals(lines) {
        println!("{:<15} {}", words(reason), pico_to_decimal(pico));
    }
}

fn document(arguments: &Arguments, lines: &[Line]) -> Value {
    let reasons = |reasons: &[(Reason, i128)]| -> Vec<Value> {
        reasons.iter().map(|(reason, pico)| json!({ "reason": reason, "usd": pico_to_decimal(*pico) })).collect()
    };
    let each: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!({
                "day": line.day, "model": line.model, "calls": line.here.calls,
                "here_usd": pico_to_decimal(line.here.cost),
                "not_reported_usd": pico_to_decimal(line.here.not_reported),
                "unpriced_calls": line.here.unpriced,
                "billed_usd": line.billed.map(pico_to_decimal),
                "difference_usd": pico_to_decimal(line.difference()),
                "reasons": reasons(&line.reasons),
            })
        })
        .collect();
    let all: Vec<(Reason, i128)> = totals(lines).into_iter().collect();
    json!({ "provider": arguments.provider, "lines": each, "totals": reasons(&all) })
}
