//! `farebox member`: who has which role where.

use super::place::{Errand, Office};
use super::table::{Align, Table};
use crate::queries::MemberView;
use crate::store::{self, ChangeError};
use crate::tenants::{Role, TenantKind};
use std::io;
use std::process::ExitCode;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Give a user a role on a place, and on all that is in it, in the stead of the one that he had there.
    Grant {
        /// Who gets it.
        user: String,
        /// viewer, manager, admin or owner.
        #[arg(value_parser = role)]
        role: Role,
        #[command(flatten)]
        on: On,
    },
    /// Take a user's role on a place away.
    Take {
        /// Whose it is.
        user: String,
        #[command(flatten)]
        on: On,
    },
    /// Show who has a role on exactly this place.
    List {
        #[command(flatten)]
        on: On,
    },
}

/// A place; the whole installation, when nothing is said.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub struct On {
    /// On an organisation.
    #[arg(long, visible_alias = "org", value_name = "NAME")]
    organisation: Option<String>,
    /// On a team.
    #[arg(long, value_name = "NAME")]
    team: Option<String>,
    /// On a project.
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
}

impl On {
    fn place(&self) -> store::Place<'_> {
        let named = [
            (TenantKind::Organisation, &self.organisation),
            (TenantKind::Team, &self.team),
            (TenantKind::Project, &self.project),
        ];
        named.into_iter().find_map(|(kind, name)| Some((kind, name.as_deref()?)))
    }

    fn words(&self) -> String {
        self.place().map_or("the whole installation".to_owned(), |(kind, name)| format!("the {kind} `{name}`"))
    }
}

fn role(text: &str) -> Result<Role, String> {
    Role::named(text).ok_or_else(|| format!("one of: {}", Role::ALL.map(Role::name).join(", ")))
}

pub fn run(errand: &Errand<Command>) -> ExitCode {
    errand.run_through(done)
}

fn done(office: &Office, command: &Command, json: bool) -> Result<(), ChangeError> {
    match command {
        Command::List { on } => return list(office, on, json),
        Command::Grant { user, role, on } => {
            office.change(|changes| changes.grant(user, on.place(), *role))?;
            if !json {
                println!("user `{user}` is {} of {}", role.name(), on.words());
                return Ok(());
            }
        }
        Command::Take { user, on } => {
            if !office.change(|changes| changes.take_role(user, on.place()))? {
                return Err(ChangeError::Missing { kind: "member", name: user.clone() });
            }
            if !json {
                println!("user `{user}` has no role of his own on {} any more", on.words());
                return Ok(());
            }
        }
    }
    let (Command::Grant { on, .. } | Command::Take { on, .. } | Command::List { on }) = command;
    list(office, on, json)
}

fn list(office: &Office, on: &On, json: bool) -> Result<(), ChangeError> {
    let members = office.reader()?.register(|register| register.members(on.place()))?;
    let members: Vec<MemberView> = members.iter().map(MemberView::from).collect();
    if json {
        println!("{}", serde_json::to_string_pretty(&members).unwrap_or_default());
        return Ok(());
    }
    if members.is_empty() {
        println!("Nobody has a role of his own on {}. Places are named by --org, --team or --project.", on.words());
        return Ok(());
    }
    let mut table = Table::new(["USER", "ROLE", "SINCE"].map(|heading| (heading.to_owned(), Align::Left)));
    for member in members {
        table.row(vec![member.user.to_string(), member.role.name().to_owned(), member.granted_at]);
    }
    let _ = table.write(&mut io::stdout().lock());
    Ok(())
}
