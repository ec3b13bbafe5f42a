//! The ledger on its disk: who has it, what waits in journals, whether it adds up.

use super::{Finding, Visit};
use crate::ledger::verify::{self, OnDisk};
use crate::store::Report;

/// More events are not verified in passing.
const VERIFIED_EVENTS_MAX: u64 = 200_000;
/// A clock that runs behind the newest event by more was set back.
const BEHIND_MICROS_MAX: u64 = 5_000_000;

pub fn findings(visit: &Visit<'_>) -> Vec<Finding> {
    let data_dir = &visit.settings.data_dir;
    if !data_dir.join("ledger.sqlite3").exists() {
        return vec![Finding::well("ledger", format!("none in {} yet; the first start makes it", data_dir.display()))];
    }
    let found = match verify::inspect(data_dir) {
        Ok(found) => found,
        Err(error) => {
            let remedy = "keep a copy of the data directory as it is, then restore a backup (docs/operating.md)";
            return vec![Finding::fault("ledger", error.to_string(), remedy)];
        }
    };
    let mut findings = vec![holder(&found)];
    findings.extend(left_behind(&found));
    findings.extend(clock(&found, visit));
    findings.push(adds_up(visit, &found));
    findings
}

fn holder(found: &OnDisk) -> Finding {
    let events = found.events;
    match found.folding_pid {
        Some(pid) => Finding::well("ledger", format!("{events} events; process {pid} keeps it")),
        None => Finding::well("ledger", format!("{events} events; no server is running on it")),
    }
}

fn left_behind(found: &OnDisk) -> Option<Finding> {
    let left: Vec<_> = found.journals.iter().filter(|journal| !journal.in_use && journal.segments > 0).collect();
    let bytes: u64 = left.iter().map(|journal| journal.bytes).sum();
    (!left.is_empty()).then(|| {
        Finding::warning(
            "journal",
            format!("{} journal(s), {bytes} bytes, were left by processes that are gone", left.len()),
            "start Farebox: it folds them into the ledger, and no call in them is lost",
        )
    })
}

fn clock(found: &OnDisk, visit: &Visit<'_>) -> Option<Finding> {
    let ahead = found.newest_at?.micros_since(visit.now);
    (ahead > BEHIND_MICROS_MAX).then(|| {
        let said = format!("the newest event lies {} s in the future: the clock was set back", ahead / 1_000_000);
        Finding::fault("clock", said, "set the clock (NTP), else budgets count in windows that are over")
    })
}

fn adds_up(visit: &Visit<'_>, found: &OnDisk) -> Finding {
    if found.events > VERIFIED_EVENTS_MAX {
        let said = format!("{} events are too many to verify in passing", found.events);
        return Finding::well("ledger sums", format!("{said}: `farebox ledger verify` does"));
    }
    let remedy = "keep a copy of the data directory; `farebox ledger verify` names each fault. Events are the truth";
    match verify::verify(&visit.settings.data_dir, &mut |_| {}) {
        Ok(report) if report.is_clean() => {
            Finding::well("ledger sums", format!("{} sums agree with the events", report.rollup_rows))
        }
        Ok(Report { faults, faults_more, .. }) => {
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            let said = format!("{} sum(s) do not agree with the events; {first}", faults.len() as u64 + faults_more);
            Finding::fault("ledger sums", said, remedy)
        }
        Err(error) => Finding::fault("ledger sums", error.to_string(), remedy),
    }
}
