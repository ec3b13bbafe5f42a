//! `farebox completions SHELL`.

use super::Cli;
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "farebox", &mut std::io::stdout());
    ExitCode::SUCCESS
}
