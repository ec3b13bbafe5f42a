//! `farebox ledger`: does it add up, what is on disk, and what becomes of what was withheld.

use super::{EXIT_FAULT, fault};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::config::{self, Surroundings};
use crate::ids::EventId;
use crate::ledger::resolve::{self, Resolved, Verdict, Which};
use crate::ledger::verify::{self, JournalOnDisk, OnDisk};
use crate::money::pico_to_decimal;
use crate::store::{Progress, Report};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The data directory; by default the configured one.
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
    /// The configuration to take the data directory from.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// As one JSON document.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Rebuild every sum from the events and compare; exit 1 if anything differs. A server may be running.
    Verify,
    /// Decide what was withheld for calls that died with the process, or went on in the background and were never looked
    /// at again. The server must be stopped.
    Resolve(Decision),
    /// Show what the data directory holds and who uses it.
    Status,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["event", "all_older_than"])))]
#[command(group(clap::ArgGroup::new("verdict").required(true).args(["release", "charge"])))]
struct Decision {
    /// The event, as `evt_…`.
    event: Option<EventId>,
    /// Every such event older than this: `12h`, `7d`.
    #[arg(long, value_name = "AGE", value_parser = age)]
    all_older_than: Option<Duration>,
    /// The provider did not bill it: give it back to the budget.
    #[arg(long)]
    release: bool,
    /// The provider billed it: book it as cost.
    #[arg(long)]
    charge: bool,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let data_dir = match &arguments.data_dir {
        Some(data_dir) => data_dir.clone(),
        None => match config::load(arguments.config.clone(), &Surroundings::of_this_process()) {
            Ok(settings) => settings.data_dir,
            Err(faults) => return fault(faults),
        },
    };
    match &arguments.command {
        Command::Verify => run_verify(&data_dir, arguments.json),
        Command::Resolve(decision) => run_resolve(&data_dir, decision, arguments.json),
        Command::Status => match verify::inspect(&data_dir) {
            Ok(found) => {
                println!("{}", if arguments.json { status_json(&found).to_string() } else { status_text(&found) });
                ExitCode::SUCCESS
            }
            Err(error) => fault(error),
        },
    }
}

fn run_verify(data_dir: &std::path::Path, json: bool) -> ExitCode {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("verifying {bar:40} {pos}/{len} events, {eta} left") {
        bar.set_style(style);
    }
    let report = verify::verify(data_dir, &mut |Progress { events_done, events_total }| {
        bar.set_length(events_total);
        bar.set_position(events_done);
    });
    bar.finish_and_clear();
    match report {
        Ok(report) => {
            println!("{}", if json { report_json(&report).to_string() } else { report_text(&report) });
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAULT) }
        }
        Err(error) => fault(error),
    }
}

fn run_resolve(data_dir: &std::path::Path, decision: &Decision, json: bool) -> ExitCode {
    let which = match (decision.event, decision.all_older_than) {
        (Some(event), _) => Which::One(event),
        (None, Some(age)) => Which::AllBefore(before(SystemClock.now(), age)),
        (None, None) => return fault("name an event, or give --all-older-than"),
    };
    let verdict = if decision.charge { Verdict::Charge } else { Verdict::Release };
    match resolve::resolve(data_dir, which, verdict, &SystemClock) {
        Ok(resolved) => {
            println!(
                "{}",
                if json { resolved_json(&resolved, verdict).to_string() } else { resolved_text(&resolved, verdict) }
            );
            ExitCode::SUCCESS
        }
        Err(error) => fault(error),
    }
}

fn report_text(report: &Report) -> String {
    let Report { events, adjustments, rollup_rows, .. } = report;
    let (cost, withheld) = (pico_to_decimal(report.cost_pico), pico_to_decimal(report.withheld_pico));
    let spent = pico_to_decimal(report.cost_pico + report.withheld_pico);
    let mut text = format!(
        "{events} events, {adjustments} of them adjustments; {rollup_rows} sums compared\n\
         spent ${spent} = cost ${cost} + withheld ${withheld}\n"
    );
    if let Some(kept) = report.kept_from {
        text += &format!(
            "events before {} were dropped (`farebox retain`) and are in the sums only\n",
            &kept.to_rfc3339()[..10]
        );
    }
    for found in &report.faults {
        text += &format!("FAULT {found}\n");
    }
    if report.faults_more > 0 {
        text += &format!("and {} more\n", report.faults_more);
    }
    let faults = report.faults.len() as u64 + report.faults_more;
    text + &if faults == 0 {
        "it adds up".to_owned()
    } else {
        format!("{faults} fault(s): keep a copy of the data directory; events are the truth, sums can be rebuilt")
    }
}

fn report_json(report: &Report) -> serde_json::Value {
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    serde_json::json!({
        "ok": report.is_clean(),
        "events": report.events,
        "adjustments": report.adjustments,
        "sums_compared": report.rollup_rows,
        "events_kept_from": report.kept_from.map(|kept| kept.to_rfc3339()),
        "cost_usd": pico_to_decimal(report.cost_pico),
        "withheld_usd": pico_to_decimal(report.withheld_pico),
        "spent_usd": pico_to_decimal(report.cost_pico + report.withheld_pico),
        "faults": faults,
        "faults_more": report.faults_more,
    })
}

fn resolved_text(resolved: &[Resolved], verdict: Verdict) -> String {
    let sum = resolved.iter().fold(0i128, |sum, one| sum + one.amount.widen());
    let lines = resolved.iter().map(|one| format!("{}  ${}  by {}\n", one.of, one.amount, one.adjustment));
    let word = verdict_word(verdict);
    lines.collect::<String>() + &format!("{} event(s), ${} {word}", resolved.len(), pico_to_decimal(sum))
}

fn resolved_json(resolved: &[Resolved], verdict: Verdict) -> serde_json::Value {
    let events = resolved.iter().map(|one| {
        serde_json::json!({
            "event": one.of.to_string(),
            "adjustment": one.adjustment.to_string(),
            "amount_usd": one.amount.to_string(),
        })
    });
    serde_json::json!({ "verdict": verdict_word(verdict), "events": events.collect::<Vec<_>>() })
}

fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Release => "released",
        Verdict::Charge => "charged",
    }
}

fn status_text(found: &OnDisk) -> String {
    let server = match found.folding_pid {
        Some(pid) => format!("process {pid} is running on it"),
        None => "no server is running on it".to_owned(),
    };
    let newest = found.newest_at.map_or_else(|| "none".to_owned(), Timestamp::to_rfc3339);
    let mut text = format!("{}: {} events, newest {newest}; {server}\n", found.store.display(), found.events);
    for JournalOnDisk { epoch, pid, in_use, segments, bytes } in &found.journals {
        let whose = match (in_use, pid) {
            (true, Some(pid)) => format!("in use by process {pid}"),
            (true, None) => "in use".to_owned(),
            (false, _) => "left by a process that is gone; the next start folds it".to_owned(),
        };
        text += &format!("journal {epoch}: {segments} segment(s), {bytes} bytes, {whose}\n");
    }
    text.truncate(text.trim_end().len());
    text
}

fn status_json(found: &OnDisk) -> serde_json::Value {
    let journals = found.journals.iter().map(|journal| {
        serde_json::json!({
            "epoch": journal.epoch,
            "pid": journal.pid,
            "in_use": journal.in_use,
            "segments": journal.segments,
            "bytes": journal.bytes,
        })
    });
    serde_json::json!({
        "store": found.store.display().to_string(),
        "events": found.events,
        "newest_at": found.newest_at.map(Timestamp::to_rfc3339),
        "folding_pid": found.folding_pid,
        "journals": journals.collect::<Vec<_>>(),
    })
}

fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.as_micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX)))
}

/// `90s`, `30m`, `12h`, `7d`.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not an age: write a whole number and s, m, h or d, like `7d`");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::Usd;

    #[test]
    fn ages_need_a_unit() {
        assert_eq!(age("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(age("0s"), Ok(Duration::ZERO));
        for wrong in ["", "7", "d", "1.5h", "-1d", "7y", "99999999999999999999d", "7ü"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_decided_is_shown_with_its_sum() {
        let one = |amount| Resolved { of: EventId(1), adjustment: EventId(2), amount: Usd::from_pico(amount) };
        let text = resolved_text(&[one(1_500_000_000_000), one(250_000_000_000)], Verdict::Release);
        assert!(text.ends_with("2 event(s), $1.75 released"), "{text}");
    }

    #[test]
    fn a_ledger_that_adds_up_says_so_and_names_what_was_spent() {
        let report =
            Report { events: 3, cost_pico: 2_000_000_000_000, withheld_pico: 500_000_000_000, ..Report::default() };
        let text = report_text(&report);
        assert!(text.contains("spent $2.50 = cost $2.00 + withheld $0.50") && text.ends_with("it adds up"), "{text}");
    }
}
