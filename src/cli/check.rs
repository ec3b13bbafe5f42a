//! `farebox check`: everything that people write, read as `serve` would, and every fault of it at once.

use super::EXIT_FAULT;
use crate::config::{self, Surroundings};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration; by default FAREBOX_CONFIG, else `farebox.yaml` here, else none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Faults as one JSON document.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let outcome = config::load(arguments.config.clone(), &Surroundings::of_this_process());
    if arguments.json {
        let faults = outcome.as_ref().err().map(config::Faults::to_json).unwrap_or_default();
        println!("{}", serde_json::json!({ "ok": outcome.is_ok(), "faults": faults }));
    } else {
        match &outcome {
            Ok(settings) => println!("{}", settings.summary()),
            Err(faults) => eprintln!("{faults}"),
        }
    }
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULT) }
}
