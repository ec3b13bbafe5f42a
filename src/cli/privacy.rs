//! `farebox privacy`: what is kept of a person, handed out or erased. Both are lines of the audit log.

use super::place::{Office, Place};
use super::{erase, fault};
use crate::queries::view::EventView;
use crate::store::{Dimension, EventQuery, Filter, Holder, Order};
use crate::tenants::TenantKind;
use std::io::{self, Write};
use std::process::ExitCode;

/// Rows of one page.
const PAGE: usize = 1_000;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Write everything that is kept of a person to standard output, one JSON document a line: his keys, then each of
    /// his calls.
    Export {
        /// The person, also where the name stands as an end user.
        #[arg(long, value_name = "NAME")]
        user: String,
        #[command(flatten)]
        place: Place,
    },
    /// Erase a person's names; numbers and sums stay. The same as `farebox erase`.
    Erase(erase::Arguments),
}

pub fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Erase(arguments) => erase::run(arguments),
        Command::Export { user, place } => match Office::of(place).and_then(|office| export(&office, user)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(why) => fault(why),
        },
    }
}

fn export(office: &Office, user: &str) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let reader = office.reader().map_err(|error| words(&error))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut write = |line: serde_json::Value| writeln!(out, "{line}").map_err(|error| words(&error));
    let keys = reader.virtual_keys(Holder::Tenant(TenantKind::User, user), true).map_err(|error| words(&error))?;
    let now = crate::clock::Clock::now(&crate::clock::SystemClock);
    for key in &keys {
        write(serde_json::to_value(crate::queries::KeyView::new(key, now)).unwrap_or_default())?;
    }
    let mut calls = 0u64;
    for dimension in [Dimension::User, Dimension::EndUser] {
        let filters = vec![Filter { dimension: dimension.clone(), values: vec![user.to_owned()] }];
        let mut after = None;
        loop {
            let (filters, order) = (filters.clone(), Order::OldestFirst);
            let query = EventQuery { filters, order, after, limit: PAGE, ..EventQuery::default() };
            let rows = reader.events(&query).map_err(|error| words(&error))?;
            for row in &rows {
                // Whoever is both is told once.
                if dimension == Dimension::EndUser && row.user.as_deref() == Some(user) {
                    continue;
                }
                calls += 1;
                write(serde_json::to_value(EventView::from(row)).unwrap_or_default())?;
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => after = Some(last.id),
                _ => break,
            }
        }
    }
    out.flush().map_err(|error| words(&error))?;
    if calls == 0 && keys.is_empty() {
        eprintln!("nothing is kept of anybody called `{user}`");
        return Ok(());
    }
    office.change(|changes| changes.exported(user, calls)).map_err(|error| words(&error))
}
