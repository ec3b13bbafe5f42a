//! `farebox check`: everything that people write, read as `serve` would, and every fault of it at once.

use super::EXIT_FAULT;
use crate::catalog;
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
    let catalog_faults =
        outcome.as_ref().map(|settings| catalog_faults(&settings.catalog_overlays)).unwrap_or_default();
    let well = outcome.is_ok() && catalog_faults.is_empty();
    if arguments.json {
        let mut faults = outcome.as_ref().err().map(config::Faults::to_json).unwrap_or_default();
        faults.extend(catalog_faults.iter().map(|fault| {
            let place = format!("{}:{}:{}", fault.file, fault.line, fault.column);
            serde_json::json!({ "place": place, "what": fault.message, "remedy": fault.remedy })
        }));
        println!("{}", serde_json::json!({ "ok": well, "faults": faults }));
    } else {
        match &outcome {
            Err(faults) => eprintln!("{faults}"),
            Ok(settings) if well => println!("{}", settings.summary()),
            Ok(_) => catalog_faults.iter().for_each(|fault| eprintln!("{fault}")),
        }
    }
    if well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULT) }
}

/// The shipped catalog with the overlays on it, as the node would load it.
fn catalog_faults(overlays: &[PathBuf]) -> Vec<catalog::file::Fault> {
    let mut texts = Vec::new();
    for path in overlays {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => texts.push((name, text)),
            Err(error) => return vec![unreadable(&name, &error)],
        }
    }
    let overlays: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    catalog::file::load(catalog::file::SHIPPED, &overlays).err().unwrap_or_default()
}

fn unreadable(name: &str, error: &std::io::Error) -> catalog::file::Fault {
    let mut fault = catalog::file::Fault::default();
    (fault.file, fault.line, fault.column) = (name.into(), 1, 1);
    fault.message = format!("it cannot be read: {error}");
    fault.remedy = "write it as UTF-8 text".to_owned();
    fault
}
