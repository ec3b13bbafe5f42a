//! `farebox erase`: a person's names are rewritten; what was used and what it cost stays.

use super::fault;
use super::place::{Place, actor, store_in};
use super::table::grouped;
use crate::budget::scope;
use crate::clock::{Clock, SystemClock};
use crate::ledger::resolve::recover_the_dead;
use crate::store::{Erased, Reader, Store, StoreError, Subject};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["user", "end_user", "session", "metadata", "as_in"])))]
pub struct Arguments {
    /// A user, also where the name stands as an end user, with sessions, runs and tags that nobody else has.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// An end user.
    #[arg(long, value_name = "NAME")]
    end_user: Option<String>,
    /// A session.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// A value of a call's metadata, as `ticket=12`: budgets that count by it (`for_each: [metadata.ticket]`) have it.
    #[arg(long, value_name = "NAME=VALUE", value_parser = metadata)]
    metadata: Option<String>,
    /// Everyone who was erased in another data directory or a backup: after restoring an older one.
    #[arg(long, value_name = "DIR")]
    as_in: Option<PathBuf>,
    /// Only say how much it would be.
    #[arg(long, conflicts_with = "as_in")]
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
        // Names in the journals of processes that are gone must be in the store before they can go from it.
        let alone =
            arguments.dry_run || recover_the_dead(&data_dir, &SystemClock).map_err(|error| error.to_string())?;
        Ok((erase(&mut store, arguments).map_err(|error| error.to_string())?, alone))
    });
    let (Erased { events, names }, alone) = match done {
        Ok(done) => done,
        Err(failure) => return fault(failure),
    };
    if arguments.json {
        println!("{}", serde_json::json!({ "dry_run": arguments.dry_run, "events": events, "names": names }));
    } else if names == 0 {
        println!("nobody of that name is in the ledger");
    } else {
        let verb = if arguments.dry_run { "would be erased from" } else { "erased from" };
        println!("{} names {verb} {} events", grouped(names), grouped(events));
        if !alone {
            println!("A server runs: its journal has left the names some seconds after it has folded what is there.");
        }
    }
    ExitCode::SUCCESS
}

/// `ticket=12` as the part of a scope that it is.
fn metadata(text: &str) -> Result<String, String> {
    let (name, value) = text.split_once('=').ok_or("write the name and the value, as `ticket=12`")?;
    let mut part = String::new();
    scope::push(&mut part, &format!("metadata.{name}"), value);
    Ok(part)
}

fn erase(store: &mut Store, arguments: &Arguments) -> Result<Erased, StoreError> {
    let who = actor();
    let by = (SystemClock.now(), who.as_str());
    let named = [
        (Subject::User, &arguments.user),
        (Subject::EndUser, &arguments.end_user),
        (Subject::Session, &arguments.session),
        (Subject::Metadata, &arguments.metadata),
    ];
    let named = named.into_iter().find_map(|(subject, name)| Some((subject, name.as_deref()?)));
    match (named, &arguments.as_in) {
        (Some((subject, name)), _) => store.erase(subject, name, by, arguments.dry_run),
        (None, Some(other)) => store.erase_as_in(&Reader::open(other)?, by),
        (None, None) => Ok(Erased::default()),
    }
}
