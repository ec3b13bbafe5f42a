//! `farebox serve`: read the settings, hand them to the composition root.

use super::{EXIT_FAULT, EXIT_FENCED, fault};
use crate::app::{self, Failure};
use crate::config::{self, Surroundings};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration; by default FAREBOX_CONFIG, else `farebox.yaml` here, else none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take the listening sockets over from the running node (zero-downtime restart).
    #[arg(long)]
    upgrade: bool,
}

pub fn run(arguments: Arguments) -> ExitCode {
    let mut settings = match config::load(arguments.config, &Surroundings::of_this_process()) {
        Ok(settings) => settings,
        Err(faults) => {
            eprintln!("{faults}");
            return ExitCode::from(EXIT_FAULT);
        }
    };
    settings.upgrade = arguments.upgrade;
    settings.ledger.upgrade = arguments.upgrade;
    match app::serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Fault(what)) => fault(what),
        Err(Failure::Fenced(why)) => {
            eprintln!("farebox: {why}");
            ExitCode::from(EXIT_FENCED)
        }
    }
}
