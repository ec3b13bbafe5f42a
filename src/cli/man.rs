//! `farebox man DIR`: the manual pages, made from the same definitions as `--help`.

use super::{Cli, fault};
use clap::CommandFactory;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where `farebox.1`, `farebox-serve.1` … are written; made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let written = std::fs::create_dir_all(&arguments.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &arguments.folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fault(format!("{}: {error}", arguments.folder.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        run(&Arguments { folder: folder.path().join("man1") });
        for command in Cli::command().get_subcommands() {
            let page = folder.path().join(format!("man1/farebox-{}.1", command.get_name()));
            assert!(page.exists(), "{}", page.display());
        }
    }
}
