use std::process::ExitCode;

fn main() -> ExitCode {
    farebox::cli::run()
}
