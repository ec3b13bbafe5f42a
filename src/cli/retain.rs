//! `farebox retain`: single events past an age are dropped; what they summed to stays.

use super::fault;
use super::ledger::age;
use super::place::{Place, actor, store_in};
use super::table::grouped;
use super::usage::bar_style;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::store::{ChangeError, Retired, Store};
use indicatif::ProgressBar;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Events of days older than this are dropped: `400d`.
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Duration,
    /// Only say how many it would be.
    #[arg(long)]
    dry_run: bool,
    /// What was done, as one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let done = arguments.place.data_dir().and_then(|data_dir| {
        let mut store = store_in(&data_dir).map_err(|error| error.to_string())?;
        retire(&mut store, arguments).map_err(|error| error.to_string())
    });
    let retired = match done {
        Ok(retired) => retired,
        Err(failure) => return fault(failure),
    };
    let before = retired.before.to_rfc3339();
    if arguments.json {
        let document = serde_json::json!({
            "dry_run": arguments.dry_run, "events_before": before, "events": retired.events, "names": retired.names,
        });
        println!("{document}");
    } else {
        let verb = if arguments.dry_run { "would be dropped" } else { "dropped; their sums stay" };
        println!("{} events before {} {verb}", grouped(retired.events), &before[..10]);
    }
    ExitCode::SUCCESS
}

fn retire(store: &mut Store, arguments: &Arguments) -> Result<Retired, ChangeError> {
    let micros = i64::try_from(arguments.older_than.as_micros()).unwrap_or(i64::MAX);
    let older_than = Timestamp(SystemClock.now().as_micros().saturating_sub(micros));
    let would = store.retirable(older_than)?;
    if arguments.dry_run {
        return Ok(would);
    }
    let bar = ProgressBar::new(would.events).with_style(bar_style("events dropped"));
    let retired = store.retire(older_than, &mut |dropped| bar.set_position(dropped));
    bar.finish_and_clear();
    let retired = retired?;
    store.change(SystemClock.now(), &actor(), |changes| changes.retired(&retired))?;
    Ok(retired)
}
