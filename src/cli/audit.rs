//! `farebox audit`: who changed tenants and keys, and whether the log is as it was written.

use super::EXIT_FAULT;
use super::place::{Errand, Office};
use super::table::{Align, Table};
use crate::queries::AuditView;
use crate::store::ChangeError;
use std::io;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the newest changes first.
    List {
        /// So many.
        #[arg(long, value_name = "COUNT", default_value_t = 50)]
        limit: usize,
        /// Those before this number.
        #[arg(long, value_name = "NUMBER")]
        before: Option<u64>,
    },
    /// Check that every line follows from the one before it; exit 1 if one does not.
    Verify,
}

pub fn run(errand: &Errand<Command>) -> ExitCode {
    errand.run(|office, command, json| match command {
        Command::List { limit, before } => list(office, *before, *limit, json),
        Command::Verify => verify(office, json),
    })
}

fn list(office: &Office, before: Option<u64>, limit: usize, json: bool) -> Result<ExitCode, ChangeError> {
    let lines = office.reader()?.audit(before, limit)?;
    if json {
        let lines: Vec<_> = lines.iter().map(AuditView::from).collect();
        println!("{}", serde_json::to_string_pretty(&lines).unwrap_or_default());
        return Ok(ExitCode::SUCCESS);
    }
    let headings = ["NUMBER", "AT", "BY", "DID", "TO", "DETAIL"].map(|heading| (heading.to_owned(), Align::Left));
    let mut table = Table::new(headings);
    for line in lines {
        let to = format!("{} {}", line.kind, line.subject);
        table.row(vec![line.id.to_string(), line.at.to_rfc3339(), line.actor, line.action, to, line.detail]);
    }
    let _ = table.write(&mut io::stdout().lock());
    Ok(ExitCode::SUCCESS)
}

fn verify(office: &Office, json: bool) -> Result<ExitCode, ChangeError> {
    let report = office.reader()?.verify_audit()?;
    let last_hash = blake3::Hash::from(report.last_hash).to_hex();
    if json {
        let found = serde_json::json!({
            "ok": report.broken_at.is_none(), "lines": report.lines, "broken_at": report.broken_at,
            "last_hash": last_hash.as_str(),
        });
        println!("{found}");
    } else {
        println!("{} lines, the last hash is {last_hash}", report.lines);
        match report.broken_at {
            None => println!("each line follows from the one before it"),
            Some(line) => println!(
                "FAULT line {line} does not follow from those before it: it, or one before it, was changed after it was written"
            ),
        }
    }
    Ok(if report.broken_at.is_none() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULT) })
}
