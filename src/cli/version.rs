//! `farebox version`.

use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// As one JSON document.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let (version, target) = (env!("CARGO_PKG_VERSION"), format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS));
    if arguments.json {
        println!("{}", serde_json::json!({ "name": "farebox", "version": version, "target": target }));
    } else {
        println!("farebox {version} ({target})");
    }
    ExitCode::SUCCESS
}
