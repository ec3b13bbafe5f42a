//! The commands people type: one file each. Exit codes are promises to scripts and supervisors.

mod audit;
mod backup;
mod budgets;
mod catalog;
mod check;
mod completions;
mod demo;
mod doctor;
mod erase;
mod healthcheck;
mod keys;
mod ledger;
mod man;
mod master;
mod members;
mod place;
mod privacy;
mod provider_keys;
mod reconcile;
mod retain;
mod rules;
mod serve;
mod simulate;
mod table;
mod tenants;
mod tokens;
mod usage;
mod version;

use clap::{Parser, Subcommand};
use place::Errand;
use std::process::ExitCode;

/// Something is wrong; standard error says what and how to mend it.
pub const EXIT_FAULT: u8 = 1;
/// The command line itself cannot be read.
pub const EXIT_USAGE: u8 = 2;
/// The node fenced itself (`EX_TEMPFAIL`): start it again.
pub const EXIT_FENCED: u8 = 75;

/// A self-hosted, OpenAI-compatible metering proxy for LLM APIs.
#[derive(Debug, Parser)]
#[command(name = "farebox", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Without a file and without settings, `farebox serve` listens on 127.0.0.1:4000.\n\
                        Exit codes: 0 done, 1 a fault, 2 wrong usage, 75 fenced (start again).")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy.
    Serve(serve::Arguments),
    /// Check the configuration and the catalog; show all faults at once.
    Check(check::Arguments),
    /// Look at everything that a node needs, and say what is wrong and what to do about it.
    Doctor(doctor::Arguments),
    /// See it work: a simulated provider, a Farebox, clients, and a live table of what they use.
    Demo(demo::Arguments),
    /// Run a simulated provider that speaks every dialect.
    Simulate(simulate::Arguments),
    /// Look at models and prices, price a call, check a file of one's own, import another's catalogue.
    Catalog(catalog::CatalogArgs),
    /// Ask a running node whether it is well; for containers.
    Healthcheck(healthcheck::Arguments),
    /// Make and look after organisations: the outermost tenants.
    #[command(name = "org", visible_alias = "organisation")]
    Organisation(Errand<tenants::OfPlaces<tenants::NewOrganisation>>),
    /// Make and look after the teams of an organisation.
    Team(Errand<tenants::OfPlaces<tenants::NewTeam>>),
    /// Make and look after the projects of a team.
    Project(Errand<tenants::OfPlaces<tenants::NewProject>>),
    /// Make and look after the people of an organisation.
    User(Errand<tenants::OfUsers>),
    /// Give and take roles: who may see and steer which part over the admin port.
    Member(Errand<members::Command>),
    /// Make and end personal tokens for the admin port.
    Token(Errand<tokens::Command>),
    /// Make virtual keys, say what they may do, rotate and revoke them.
    Key(Box<Errand<keys::Command>>),
    /// Keep the providers' keys sealed: several for each, checked, rotated, and never shown.
    ProviderKey(Box<Errand<provider_keys::Command>>),
    /// The master key under which provider keys are sealed.
    Keys(master::Arguments),
    /// Show who changed tenants and keys, and check that nobody changed the log.
    Audit(Errand<audit::Command>),
    /// Verify the ledger, decide what was withheld, show what is on disk.
    Ledger(ledger::Arguments),
    /// Check the rules, run their tests, see why a call is decided as it is.
    Rules(rules::RulesArgs),
    /// Show what was used and what it cost.
    Usage(Box<usage::Arguments>),
    /// Show how budgets stand.
    Budgets(budgets::BudgetsArguments),
    /// Show which thresholds of budgets were passed; note that a person knows.
    Alerts(Box<budgets::AlertsArguments>),
    /// Copy the ledger and its journals to another place, also while a server runs.
    Backup(backup::BackupArguments),
    /// Make a data directory from a backup.
    Restore(backup::RestoreArguments),
    /// A provider's bill against the ledger, by day and model, with the reason of each difference.
    Reconcile(reconcile::Arguments),
    /// Drop single events past an age; their sums stay. A server may be running.
    Retain(retain::Arguments),
    /// Erase a person's names; numbers and sums stay. A server may be running.
    Erase(erase::Arguments),
    /// Hand out or erase what is kept of a person.
    Privacy(privacy::Arguments),
    /// Say which version this is.
    Version(version::Arguments),
    /// Write the manual pages into a folder.
    Man(man::Arguments),
    /// Write the completions of a shell to standard output.
    Completions(completions::Arguments),
}

/// Reads the command line and does what it says.
pub fn run() -> ExitCode {
    let command = Cli::parse().command;
    if !matches!(command, Command::Serve(_)) {
        end_with_the_reader();
    }
    match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Catalog(arguments) => catalog::run(&arguments),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments),
        Command::Organisation(errand) => tenants::run(&errand),
        Command::Team(errand) => tenants::run(&errand),
        Command::Project(errand) => tenants::run(&errand),
        Command::User(errand) => tenants::run_of_users(&errand),
        Command::Member(errand) => members::run(&errand),
        Command::Token(errand) => tokens::run(&errand),
        Command::Key(errand) => keys::run(&errand),
        Command::ProviderKey(errand) => provider_keys::run(&errand),
        Command::Keys(arguments) => master::run(&arguments),
        Command::Audit(errand) => audit::run(&errand),
        Command::Ledger(arguments) => ledger::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Usage(arguments) => usage::run(&arguments),
        Command::Budgets(arguments) => budgets::run_budgets(&arguments),
        Command::Alerts(arguments) => budgets::run_alerts(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Reconcile(arguments) => reconcile::run(&arguments),
        Command::Retain(arguments) => retain::run(&arguments),
        Command::Erase(arguments) => erase::run(&arguments),
        Command::Privacy(arguments) => privacy::run(&arguments),
        Command::Version(arguments) => version::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// `farebox usage | head` ends quietly when `head` does. Rust ignores the signal, which a server wants: there, a peer
/// that left is an error of that one connection.
fn end_with_the_reader() {
    // SAFETY: no other thread runs yet, and the default action is no function of ours.
    #[expect(unsafe_code, reason = "the standard library has no safe way to restore a signal")]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Prints a fault and gives its exit code.
fn fault(what: impl std::fmt::Display) -> ExitCode {
    eprintln!("farebox: {what}");
    ExitCode::from(EXIT_FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Arguments without words of their own, with the commands that take them.
    fn silent(command: &clap::Command, above: &str, found: &mut Vec<String>) {
        let called = format!("{above} {}", command.get_name());
        let arguments = command.get_arguments().filter(|argument| argument.get_help().is_none());
        found.extend(arguments.map(|argument| format!("{called}: {}", argument.get_id())));
        for below in command.get_subcommands() {
            silent(below, &called, found);
        }
    }

    #[test]
    fn every_argument_says_what_it_is() {
        let mut found = Vec::new();
        silent(&Cli::command(), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }
}
