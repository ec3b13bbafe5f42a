//! `farebox org`, `team`, `project`, `user`: one shape for all four.

use super::fault;
use super::place::{Office, Place};
use super::table::{Align, Table};
use crate::queries::TenantView;
use crate::store::{ChangeError, Named};
use crate::tenants::TenantKind;
use std::io;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments<New: clap::Args> {
    #[command(flatten)]
    place: Place,
    /// As JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command<New>,
}

#[derive(Debug, clap::Subcommand)]
enum Command<New: clap::Args> {
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
    Show { name: String },
    /// Switch it off, and every key below it, within a second.
    Disable { name: String },
    /// Switch it on again.
    Enable { name: String },
    /// Delete it for good; nothing may belong to it any more. What it used stays in the ledger.
    Delete { name: String },
}

/// What making one of a kind asks for.
pub trait New: clap::Args {
    const KIND: TenantKind;
    fn name(&self) -> &str;
    fn parent(&self) -> Option<&str>;
}

#[derive(Debug, clap::Args)]
pub struct NewOrganisation {
    name: String,
}

#[derive(Debug, clap::Args)]
pub struct NewTeam {
    name: String,
    /// Its organisation; not needed while there is only one. The first is called `default` if you made none.
    #[arg(long, visible_alias = "org", value_name = "NAME")]
    organisation: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct NewProject {
    name: String,
    /// Its team.
    #[arg(long, value_name = "NAME")]
    team: String,
}

#[derive(Debug, clap::Args)]
pub struct NewUser {
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

pub fn run<N: New>(arguments: &Arguments<N>) -> ExitCode {
    let office = match Office::of(&arguments.place) {
        Ok(office) => office,
        Err(why) => return fault(why),
    };
    match done(&office, &arguments.command, arguments.json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fault(error),
    }
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
    let missing = || ChangeError::Missing { kind: N::KIND.name(), name: name.to_owned() };
    let tenant = office.reader()?.tenant(N::KIND, name)?.ok_or_else(missing)?;
    let view = TenantView::from(&tenant);
    if json {
        println!("{}", serde_json::to_string_pretty(&view).unwrap_or_default());
    } else if matches!(command, Command::Show { .. }) {
        show(&view);
    } else {
        let of = view.parent.as_ref().map(|parent| format!(" of `{parent}`")).unwrap_or_default();
        println!("{} `{name}`{of} {verb}", N::KIND);
    }
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
