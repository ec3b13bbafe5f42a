//! `farebox doctor`: looks at everything that a node needs, says what is wrong, and what to do about it.

mod elsewhere;
mod ledger;
mod machine;
mod ports;
mod providers;
mod written;

use super::EXIT_FAULT;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{self, Settings, Surroundings};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration; by default FAREBOX_CONFIG, else `farebox.yaml` here, else none.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask providers for their list of models, which costs nothing: are they there, is the key good, is the clock right?
    /// Without names: the default one, and all that Farebox has a key of its own for.
    #[arg(long, value_name = "NAME", num_args = 0.., value_delimiter = ',')]
    call_providers: Option<Vec<String>>,
    /// A Prometheus to ask whether it scrapes this Farebox: `http://127.0.0.1:9090`.
    #[arg(long, value_name = "URL")]
    prometheus: Option<String>,
    /// Wait so long for each answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=120))]
    timeout: u64,
    /// As one JSON document.
    #[arg(long)]
    json: bool,
    /// Warnings count as faults.
    #[arg(long)]
    strict: bool,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Well,
    /// It works, and will not for long, or not as one would wish.
    Warning,
    Fault,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Well => "ok",
            Level::Warning => "warning",
            Level::Fault => "fault",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// A stable word for scripts.
    check: &'static str,
    level: Level,
    said: String,
    remedy: Option<String>,
}

impl Finding {
    fn well(check: &'static str, said: impl Into<String>) -> Finding {
        Finding { check, level: Level::Well, said: said.into(), remedy: None }
    }

    fn warning(check: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, level: Level::Warning, said: said.into(), remedy: Some(remedy.into()) }
    }

    fn fault(check: &'static str, said: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { check, level: Level::Fault, said: said.into(), remedy: Some(remedy.into()) }
    }
}

/// What every check may need.
struct Visit<'a> {
    arguments: &'a Arguments,
    settings: &'a Settings,
    now: Timestamp,
    timeout: Duration,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let findings = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(examine(arguments)),
        Err(error) => vec![Finding::fault("machine", format!("no runtime can be started: {error}"), "free memory")],
    };
    let bad = |finding: &&Finding| finding.level == Level::Fault || arguments.strict && finding.level == Level::Warning;
    let well = findings.iter().find(bad).is_none();
    println!("{}", if arguments.json { in_json(&findings, well).to_string() } else { in_words(&findings) });
    if well { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULT) }
}

async fn examine(arguments: &Arguments) -> Vec<Finding> {
    let around = Surroundings::of_this_process();
    let mut findings = Vec::new();
    let settings = match config::load(arguments.config.clone(), &around) {
        Ok(settings) => settings,
        Err(faults) => {
            findings.extend(written::configuration_faults(&faults));
            findings.push(machine::open_files());
            findings.push(Finding::warning(
                "configuration",
                "nothing else was looked at: it depends on the configuration",
                "mend it, then ask again",
            ));
            return findings;
        }
    };
    let timeout = Duration::from_secs(arguments.timeout);
    let visit = Visit { arguments, settings: &settings, now: SystemClock.now(), timeout };
    findings.extend(written::findings(&visit));
    findings.extend(machine::findings(&visit));
    findings.extend(ledger::findings(&visit));
    findings.extend(ports::findings(&visit).await);
    findings.extend(providers::findings(&visit).await);
    findings.extend(elsewhere::findings(&visit).await);
    findings
}

fn in_words(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { check, level, said, remedy } in findings {
        let mark = match level {
            Level::Well => "✓",
            Level::Warning => "!",
            Level::Fault => "✗",
        };
        text += &format!("{mark} {check:<14} {said}\n");
        if let Some(remedy) = remedy {
            text += &format!("  {:<14} → {remedy}\n", "");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    text + &match (count(Level::Fault), count(Level::Warning)) {
        (0, 0) => "all is well".to_owned(),
        (faults, warnings) => format!("{faults} fault(s), {warnings} warning(s)"),
    }
}

fn in_json(findings: &[Finding], well: bool) -> serde_json::Value {
    let one = |finding: &Finding| {
        serde_json::json!({
            "check": finding.check,
            "level": finding.level.name(),
            "said": finding.said,
            "remedy": finding.remedy,
        })
    };
    serde_json::json!({ "ok": well, "findings": findings.iter().map(one).collect::<Vec<_>>() })
}
