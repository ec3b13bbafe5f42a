//! `farebox token`: personal tokens for the admin port, and those of programs. A token's text goes to standard output
//! when it is made, alone on its line, and nowhere else.

use super::keys::{When, fresh, when};
use super::place::{Errand, Office};
use super::table::{Align, Table};
use crate::clock::{Clock, SystemClock};
use crate::queries::TokenView;
use crate::store::ChangeError;
use crate::tenants::KeyText;
use std::io;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a token for a user and print it: this once. It may do what the user may.
    Create {
        /// Whose it will be.
        user: String,
        /// What it is for.
        #[arg(long, value_name = "TEXT", default_value = "command line")]
        label: String,
        /// When it ends: an age (`90d`), a day (`2027-12-31`), a moment, or `never`.
        #[arg(long, value_name = "WHEN", value_parser = when)]
        expires: Option<When>,
    },
    /// Show a user's tokens, without their texts.
    List {
        /// Whose they are.
        user: String,
    },
    /// End a token, by the number that `list` shows.
    Revoke {
        /// Whose it is.
        user: String,
        /// Its number.
        number: i64,
    },
}

pub fn run(errand: &Errand<Command>) -> ExitCode {
    errand.run_through(|office, command, json| match command {
        Command::Create { user, label, expires } => create(office, user, label, *expires, json),
        Command::List { user } => list(office, user, json),
        Command::Revoke { user, number } => revoke(office, user, *number, json),
    })
}

fn create(office: &Office, user: &str, label: &str, end: Option<When>, json: bool) -> Result<(), ChangeError> {
    let not_after = end.and_then(|when| when.from(SystemClock.now()));
    let (text, digest) = fresh(office, KeyText::token_from_random)?;
    let id = office.change(|changes| changes.create_token(user, label, &digest, text.prefix(), not_after))?;
    if json {
        let view = views(office, user)?.into_iter().find(|view| view.id == id);
        let mut view = serde_json::to_value(view).unwrap_or_default();
        view["token"] = text.expose().into();
        println!("{view:#}");
        return Ok(());
    }
    eprintln!("token {id} of `{user}`. Keep it: it is shown this once.");
    println!("{}", text.expose());
    Ok(())
}

fn revoke(office: &Office, user: &str, number: i64, json: bool) -> Result<(), ChangeError> {
    if !office.change(|changes| changes.revoke_token(user, number))? {
        return Err(ChangeError::Missing { kind: "token", name: number.to_string() });
    }
    if json {
        return list(office, user, json);
    }
    println!("token {number} of `{user}` revoked");
    Ok(())
}

fn list(office: &Office, user: &str, json: bool) -> Result<(), ChangeError> {
    let views = views(office, user)?;
    if json {
        println!("{}", serde_json::to_string_pretty(&views).unwrap_or_default());
        return Ok(());
    }
    let headings = ["NUMBER", "TEXT", "LABEL", "CREATED", "EXPIRES", "REVOKED"];
    let mut table = Table::new(headings.map(|heading| (heading.to_owned(), Align::Left)));
    for view in views {
        let or = |at: Option<String>, none: &str| at.unwrap_or_else(|| none.to_owned());
        let text = format!("{}…", view.prefix);
        let end = or(view.expires_at, "never");
        table.row(vec![view.id.to_string(), text, view.label, view.created_at, end, or(view.revoked_at, "")]);
    }
    let _ = table.write(&mut io::stdout().lock());
    Ok(())
}

fn views(office: &Office, user: &str) -> Result<Vec<TokenView>, ChangeError> {
    let tokens = office.reader()?.register(|register| register.tokens(user))?;
    Ok(tokens.iter().map(|token| TokenView::new(user, token)).collect())
}
