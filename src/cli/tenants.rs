//! `farebox org`, `team`, `project`, `user`: one shape for all four.

use super::keys::{When, fresh, when};
use super::place::{Errand, Office};
use super::table::{Align, Table};
use crate::clock::{Clock, SystemClock};
use crate::queries::TenantView;
use crate::store::{ChangeError, KEEP_DAYS_MAX, Named, invitation_end};
use crate::tenants::{KeyText, TenantKind};
use std::io;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command<New: clap::Args> {
    /// Make one. Its name is unique in the installation, and is never given out again.
    Create(New),
    /// Show all.
    List {
        /// Those of this parent only: the organisation of teams and users, the team of projects.
        #[arg(long, value_name = "NAME")]
        of: Option<String>,
        /// The deleted ones too.
        #[arg(long)]
        all: bool,
    },
    /// Show one.
    Show {
        /// Its name.
        name: String,
    },
    /// Switch it off, and every key below it, within a second.
    Disable {
        /// Its name.
        name: String,
    },
    /// Switch it on again.
    Enable {
        /// Its name.
        name: String,
    },
    /// Delete it for good; nothing may belong to it any more. What it used stays in the ledger.
    Delete {
        /// Its name.
        name: String,
    },
}

/// What making one of a kind asks for.
pub trait New: clap::Args {
    const KIND: TenantKind;
    fn name(&self) -> &str;
    fn parent(&self) -> Option<&str>;
}

#[derive(Debug, clap::Args)]
pub struct NewOrganisation {
    /// Unique in the installation, never given out again.
    name: String,
}

#[derive(Debug, clap::Args)]
pub struct NewTeam {
    /// Unique in the installation, never given out again.
    name: String,
    /// Its organisation; not needed while there is only one. The first is called `default` if you made none.
    #[arg(long, visible_alias = "org", value_name = "NAME")]
    organisation: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct NewProject {
    /// Unique in the installation, never given out again.
    name: String,
    /// Its team.
    #[arg(long, value_name = "NAME")]
    team: String,
}

#[derive(Debug, clap::Args)]
pub struct NewUser {
    /// Unique in the installation, never given out again.
    name: String,
    /// Its organisation; not needed while there is only one.
    #[arg(long, visible_alias = "org", value_name = "NAME")]
    organisation: Option<String>,
}

impl New for NewOrganisation {
    const KIND: TenantKind = TenantKind::Organisation;
    fn name(&self) -> &str {
        &self.name
    }
    fn parent(&self) -> Option<&str> {
        None
    }
}

impl New for NewTeam {
    const KIND: TenantKind = TenantKind::Team;
    fn name(&self) -> &str {
        &self.name
    }
    fn parent(&self) -> Option<&str> {
        self.organisation.as_deref()
    }
}

impl New for NewProject {
    const KIND: TenantKind = TenantKind::Project;
    fn name(&self) -> &str {
        &self.name
    }
    fn parent(&self) -> Option<&str> {
        Some(&self.team)
    }
}

impl New for NewUser {
    const KIND: TenantKind = TenantKind::User;
    fn name(&self) -> &str {
        &self.name
    }
    fn parent(&self) -> Option<&str> {
        self.organisation.as_deref()
    }
}

/// With what only places have.
#[derive(Debug, clap::Subcommand)]
pub enum OfPlaces<New: clap::Args> {
    #[command(flatten)]
    Tenant(Command<New>),
    /// Set after how many days its events are dropped, by a running server or `farebox retain`; their sums stay.
    Retention {
        /// Whose events.
        name: String,
        /// `90`, or `none`: as long as those of all.
        #[arg(value_parser = keep)]
        days: Keep,
    },
}

/// With what only people have.
#[derive(Debug, clap::Subcommand)]
pub enum OfUsers {
    #[command(flatten)]
    Tenant(Command<NewUser>),
    /// Make a link by which a user sets his password, once, and print it; one that he had before ends.
    Invite {
        /// Who is invited.
        name: String,
        /// When it ends: an age (`7d`), a day (`2027-12-31`), or a moment; a week from now when nothing is said.
        #[arg(long, value_name = "WHEN", value_parser = when)]
        expires: Option<When>,
    },
}

/// Days that events are kept, or as long as those of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep(Option<u32>);

fn keep(text: &str) -> Result<Keep, String> {
    if text == "none" {
        return Ok(Keep(None));
    }
    let days = text.trim_end_matches('d').parse().ok().filter(|days| (1..=KEEP_DAYS_MAX).contains(days));
    days.map(|days| Keep(Some(days))).ok_or_else(|| format!("write days, 1 to {KEEP_DAYS_MAX}, or `none`"))
}

pub fn run<N: New>(errand: &Errand<OfPlaces<N>>) -> ExitCode {
    errand.run_through(|office, command, json| match command {
        OfPlaces::Tenant(command) => done(office, command, json),
        OfPlaces::Retention { name, days: Keep(days) } => {
            office.change(|changes| changes.keep_days(N::KIND, name, *days))?;
            told(office, N::KIND, name, json, |view| {
                let kept = days.map_or("as long as those of all".to_owned(), |days| format!("{days} days"));
                println!("events of {} `{}` are kept {kept}", view.object, view.name);
            })
        }
    })
}

pub fn run_of_users(errand: &Errand<OfUsers>) -> ExitCode {
    errand.run_through(|office, command, json| match command {
        OfUsers::Tenant(command) => done(office, command, json),
        OfUsers::Invite { name, expires } => invite(office, name, *expires, json),
    })
}

fn done<N: New>(office: &Office, command: &Command<N>, json: bool) -> Result<(), ChangeError> {
    let subject = Named::Tenant(N::KIND);
    let (name, verb) = match command {
        Command::List { of, all } => return list(office, N::KIND, of.as_deref(), *all, json),
        Command::Create(new) => {
            office.change(|changes| changes.create_tenant(N::KIND, new.name(), new.parent()))?;
            (new.name(), "created")
        }
        Command::Show { name } => (name.as_str(), "is there"),
        Command::Disable { name } => {
            office.change(|changes| changes.set_disabled(subject, name, true))?;
            (name.as_str(), "disabled")
        }
        Command::Enable { name } => {
            office.change(|changes| changes.set_disabled(subject, name, false))?;
            (name.as_str(), "enabled")
        }
        Command::Delete { name } => {
            office.change(|changes| changes.delete(subject, name))?;
            (name.as_str(), "deleted")
        }
    };
    told(office, N::KIND, name, json, |view| {
        if matches!(command, Command::Show { .. }) {
            show(view);
        } else {
            let of = view.parent.as_ref().map(|parent| format!(" of `{parent}`")).unwrap_or_default();
            println!("{} `{name}`{of} {verb}", N::KIND);
        }
    })
}

/// Tells how a tenant is now: as JSON, or in these words.
fn told(
    office: &Office,
    kind: TenantKind,
    name: &str,
    json: bool,
    in_words: impl FnOnce(&TenantView),
) -> Result<(), ChangeError> {
    let missing = || ChangeError::Missing { kind: kind.name(), name: name.to_owned() };
    let view = TenantView::from(&office.reader()?.tenant(kind, name)?.ok_or_else(missing)?);
    if json {
        println!("{}", serde_json::to_string_pretty(&view).unwrap_or_default());
    } else {
        in_words(&view);
    }
    Ok(())
}

/// The link goes to standard output, alone on its line, and nowhere else.
fn invite(office: &Office, name: &str, expires: Option<When>, json: bool) -> Result<(), ChangeError> {
    let now = SystemClock.now();
    let not_after = expires.and_then(|when| when.from(now)).unwrap_or_else(|| invitation_end(now));
    let (text, digest) = fresh(office, KeyText::invitation_from_random)?;
    office.change(|changes| {
        if changes.register().is_program(name)? {
            return Err(ChangeError::Missing { kind: "person", name: name.to_owned() });
        }
        changes.invite(name, &digest, not_after)
    })?;
    let link = format!("/join#{}", text.expose());
    let until = not_after.to_rfc3339();
    if json {
        println!(
            "{:#}",
            serde_json::json!({ "object": "invitation", "user": name, "expires_at": until, "link": link })
        );
        return Ok(());
    }
    eprintln!("`{name}` sets a password at the admin port's address with this behind it, until {until}:");
    println!("{link}");
    Ok(())
}

fn show(view: &TenantView) {
    println!("{:<9} {}", view.object, view.name);
    let since = |at: &Option<String>| at.as_ref().map(|at| format!(" since {at}")).unwrap_or_default();
    let when = if view.deleted_at.is_some() { &view.deleted_at } else { &view.disabled_at };
    if let Some(parent) = &view.parent {
        println!("{:<9} {parent}", "belongs to");
    }
    println!("{:<9} {}{}", "state", view.state.name(), since(when));
    println!("{:<9} {}", "created", view.created_at);
    if let Some(Some(days)) = view.keep_days {
        println!("{:<9} {days} days", "events");
    }
}

fn list(office: &Office, kind: TenantKind, of: Option<&str>, all: bool, json: bool) -> Result<(), ChangeError> {
    let found = office.reader()?.tenants(kind, of, all)?;
    let views: Vec<TenantView> = found.iter().map(TenantView::from).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&views).unwrap_or_default());
        return Ok(());
    }
    let above = kind.parent().map(|above| above.name().to_uppercase());
    let headings = ["NAME".to_owned()].into_iter().chain(above).chain(["STATE".to_owned(), "CREATED".to_owned()]);
    let mut table = Table::new(headings.map(|heading| (heading, Align::Left)));
    for view in views {
        let parent = kind.parent().map(|_| view.parent.as_deref().unwrap_or_default().to_owned());
        let cells = [view.name.to_string()].into_iter().chain(parent);
        table.row(cells.chain([view.state.name().to_owned(), view.created_at]).collect());
    }
    let _ = table.write(&mut io::stdout().lock());
    Ok(())
}
