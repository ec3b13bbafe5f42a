//! `farebox retain`: single events past an age are dropped; what they summed to stays.

use super::fault;
use super::ledger::age;
use super::place::{Place, actor, store_in};
use super::table::grouped;
use super::usage::bar_style;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::store::{ChangeError, Retired, RetiredOfTenant, Store};
use indicatif::ProgressBar;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Events of days older than this are dropped: `400d`. Without it only those of organisations, teams and projects that
    /// have an age of their own (`farebox team retention`).
    #[arg(long, value_name = "AGE", value_parser = age)]
    older_than: Option<Duration>,
    /// Only say how many it would be.
    #[arg(long)]
    dry_run: bool,
    /// What was done, as one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What was dropped, or would be.
struct Done {
    of_all: Option<Retired>,
    of_tenants: Vec<RetiredOfTenant>,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let done = arguments.place.data_dir().and_then(|data_dir| {
        let mut store = store_in(&data_dir).map_err(|error| error.to_string())?;
        retire(&mut store, arguments).map_err(|error| error.to_string())
    });
    match done {
        Ok(done) if arguments.json => println!("{}", document(&done, arguments.dry_run)),
        Ok(done) => tell(&done, arguments.dry_run),
        Err(failure) => return fault(failure),
    }
    ExitCode::SUCCESS
}

fn document(done: &Done, dry_run: bool) -> serde_json::Value {
    let tenant = |of: &RetiredOfTenant| {
        let before = of.retired.before.to_rfc3339();
        serde_json::json!({ "kind": of.kind, "name": of.name, "events_before": before, "events": of.retired.events })
    };
    let tenants: Vec<serde_json::Value> = done.of_tenants.iter().map(tenant).collect();
    let mut document = serde_json::json!({ "dry_run": dry_run, "tenants": tenants });
    if let Some(all) = &done.of_all {
        document["events_before"] = all.before.to_rfc3339().into();
        document["events"] = all.events.into();
        document["names"] = all.names.into();
    }
    document
}

fn tell(done: &Done, dry_run: bool) {
    let verb = if dry_run { "would be dropped" } else { "dropped; their sums stay" };
    let day = |retired: &Retired| retired.before.to_rfc3339()[..10].to_owned();
    for of in &done.of_tenants {
        let (events, day) = (grouped(of.retired.events), day(&of.retired));
        println!("{events} events of the {} `{}` before {day} {verb}", of.kind, of.name);
    }
    if let Some(all) = &done.of_all {
        println!("{} events before {} {verb}", grouped(all.events), day(all));
    } else if done.of_tenants.is_empty() {
        println!("No tenant has events past an age of its own. `--older-than 400d` drops those of all.");
    }
}

fn retire(store: &mut Store, arguments: &Arguments) -> Result<Done, ChangeError> {
    let now = SystemClock.now();
    let older_than = arguments.older_than.map(|age| {
        let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Timestamp(now.as_micros().saturating_sub(micros))
    });
    let would_of_tenants = store.tenants_retirable(now)?;
    let would = older_than.map(|older_than| store.retirable(older_than)).transpose()?;
    if arguments.dry_run {
        return Ok(Done { of_all: would, of_tenants: would_of_tenants });
    }
    let count = would_of_tenants.iter().map(|of| of.retired.events).sum::<u64>();
    let bar = ProgressBar::new(count + would.map_or(0, |would| would.events)).with_style(bar_style("events dropped"));
    let of_tenants = store.retire_tenants(now, &actor(), &mut |dropped| bar.set_position(dropped))?;
    let mut of_all = None;
    if let Some(older_than) = older_than {
        let retired = store.retire(older_than, &mut |dropped| bar.set_position(count + dropped))?;
        store.change(SystemClock.now(), &actor(), |changes| changes.retired(&retired))?;
        of_all = Some(retired);
    }
    bar.finish_and_clear();
    Ok(Done { of_all, of_tenants })
}
