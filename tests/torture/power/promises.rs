//! What is promised of a data directory after a power cut (`docs/operating.md`, "The data directory"), held against what a
//! node had been told by its disk when the power went.

use super::trace::{Change, Entry, Written};
use farebox::clock::SystemClock;
use farebox::ledger::verify::verify;
use farebox::ledger::{Ledger, Settings};
use farebox::store::{AccountQuery, EventRow, Reader};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `ledger.power_loss_window`, as it is when nobody says otherwise.
const WINDOW: Duration = Duration::from_millis(100);
/// Between the look at the clock and the write is a little time, more on a machine with much to do.
const WINDOW_SLACK: Duration = Duration::from_millis(50);
/// A process that was not let run for longer than this, in one piece, is taken to have been held for so long only.
const PAUSE_MAX: Duration = Duration::from_millis(20);
const PREFIX: &[u8] = b"torture-";
/// Of a record's header: its kind is in the low half of this byte (`src/ledger/record.rs`).
const KIND_AT: usize = 8;
const RESERVE: u8 = 1;
const SETTLE: u8 = 3;

/// Where in the trace an attempt's records were written, and where the sync ended that made them safe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Records {
    reserved: Option<usize>,
    reserve_synced: Option<usize>,
    settled: Option<usize>,
    settle_synced: Option<usize>,
}

/// By the id that the caller gave.
pub fn records(trace: &[Entry]) -> BTreeMap<String, Records> {
    let mut records: BTreeMap<String, Records> = BTreeMap::new();
    let mut segments: HashMap<u64, Vec<(usize, String, u8)>> = HashMap::new();
    let mut syncs: HashMap<i64, usize> = HashMap::new();
    for (index, entry) in trace.iter().enumerate() {
        match &entry.change {
            Change::Create { file, path } => {
                let name = path.file_name().unwrap().to_string_lossy();
                segments.remove(file);
                if name.starts_with("seg-") {
                    segments.insert(*file, Vec::new());
                }
            }
            Change::Write { file, bytes: Written::Bytes(bytes), .. } => {
                let (Some(pending), Some(id)) = (segments.get_mut(file), id_in(bytes)) else { continue };
                let kind = bytes[KIND_AT] & 15;
                let known = records.entry(id.clone()).or_default();
                // A straggler's record may be written a second time, further on.
                match kind {
                    RESERVE => drop(known.reserved.get_or_insert(index)),
                    SETTLE => drop(known.settled.get_or_insert(index)),
                    _ => continue,
                }
                pending.push((index, id, kind));
            }
            Change::SyncBegin { ticket } => drop(syncs.insert(*ticket, index)),
            Change::SyncEnd { ticket, file, .. } => {
                let began = syncs[ticket];
                for (written, id, kind) in segments.get(file).into_iter().flatten().filter(|one| one.0 < began) {
                    let known = records.get_mut(id).expect("it was written");
                    let synced = if *kind == RESERVE { &mut known.reserve_synced } else { &mut known.settle_synced };
                    let first = if *kind == RESERVE { known.reserved } else { known.settled };
                    if first == Some(*written) {
                        synced.get_or_insert(index);
                    }
                }
            }
            _ => {}
        }
    }
    records
}

/// `torture-<round>-<number>`, a text behind its length.
fn id_in(bytes: &[u8]) -> Option<String> {
    let at = bytes.windows(PREFIX.len()).position(|window| window == PREFIX)?;
    let length = usize::from(*bytes.get(at.checked_sub(1)?)?);
    String::from_utf8(bytes.get(at..at + length)?.to_vec()).ok()
}

/// What a cut cost, when every promise was kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub admitted: usize,
    pub promised: usize,
    pub lost: usize,
    /// From the first to the last attempt that was lost.
    pub span: Duration,
}

/// What a run recorded, read for promises.
pub struct Known<'a> {
    pub trace: &'a [Entry],
    pub records: &'a BTreeMap<String, Records>,
    /// Of the run in which nothing was cut.
    pub rows: &'a HashMap<String, EventRow>,
}

/// Opens the directory as a start does, closes it, and looks. `cut`: the first change that was not made any more.
///
/// # Errors
/// A sentence for a promise that was broken.
pub fn check(dir: &Path, cut: usize, known: &Known<'_>) -> Result<Cost, String> {
    reopen(dir)?;
    let cost = holds(dir, cut, known)?;
    let before = by_id(dir, known)?;
    reopen(dir)?;
    if by_id(dir, known)? != before {
        return Err("a second start changes what is in the ledger".to_owned());
    }
    Ok(cost)
}

/// As [`check`], without opening it first.
pub fn holds(dir: &Path, cut: usize, known: &Known<'_>) -> Result<Cost, String> {
    let report = verify(dir, &mut |_| {}).map_err(|error| format!("verify: {error}"))?;
    if !report.is_clean() {
        return Err(format!("verify: {:?}", report.faults));
    }
    let rows = by_id(dir, known)?;
    let mut cost = Cost::default();
    let mut lost = Vec::new();
    for (id, records) in known.records {
        let before = |index: Option<usize>| index.is_some_and(|index| index < cut);
        let row = rows.get(id);
        cost.admitted += usize::from(before(records.reserved));
        cost.promised += usize::from(before(records.reserve_synced));
        match row {
            Some(_) if !before(records.reserved) => return Err(format!("{id} is there, and began after the cut")),
            None if before(records.reserve_synced) => {
                return Err(format!("{id} is lost, and was synced: {records:?} of {cut}"));
            }
            None if before(records.reserved) => lost.extend(records.reserved),
            Some(row) if before(records.settle_synced) => {
                let whole = &known.rows[id];
                if (&row.outcome, row.cost, row.usage) != (&whole.outcome, whole.cost, whole.usage) {
                    return Err(format!("{id} was settled and synced as {whole:#?}, and is {row:#?}"));
                }
            }
            _ => {}
        }
    }
    cost.lost = lost.len();
    cost.span = span(known.trace, &lost);
    if cost.span > WINDOW + WINDOW_SLACK {
        return Err(format!("{} are lost, over {:?}: {lost:?}", cost.lost, cost.span));
    }
    budgets(dir, cut, known)?;
    Ok(cost)
}

fn reopen(dir: &Path) -> Result<(), String> {
    let settings = Settings { segment_bytes: 1 << 20, ..Settings::new(dir) };
    let ledger =
        Ledger::open(settings, Arc::new(SystemClock)).map_err(|error| format!("it does not start: {error}"))?;
    if !ledger.close().folded {
        return Err(format!("it does not stop in order: {:?}", ledger.status()));
    }
    Ok(())
}

fn by_id(dir: &Path, known: &Known<'_>) -> Result<BTreeMap<String, EventRow>, String> {
    let mut rows = BTreeMap::new();
    for row in crate::support::shop::rows_in(dir) {
        let id = row.client_request_id.as_deref().unwrap_or_default().to_owned();
        if !known.records.contains_key(&id) {
            continue;
        }
        if let Some(twice) = rows.insert(id, row) {
            return Err(format!("an attempt is there twice: {twice:#?}"));
        }
    }
    Ok(rows)
}

/// Time from the first to the last of these changes, without pauses in which nothing was done at all.
fn span(trace: &[Entry], changes: &[usize]) -> Duration {
    let (Some(first), Some(last)) = (changes.iter().min(), changes.iter().max()) else { return Duration::ZERO };
    let pairs = trace[*first..=*last].windows(2);
    pairs.map(|pair| Duration::from_nanos(pair[1].nanos.saturating_sub(pair[0].nanos)).min(PAUSE_MAX)).sum()
}

/// No budget is charged above its limit, and none less than what was really spent of it before the cut, also where the
/// record of it is lost: otherwise it would be lent a second time.
fn budgets(dir: &Path, cut: usize, known: &Known<'_>) -> Result<(), String> {
    let mut spent: HashMap<String, u128> = HashMap::new();
    for (id, _) in known.records.iter().filter(|(_, records)| records.settled.is_some_and(|index| index < cut)) {
        let cost = known.rows[id].cost.map_or(0, |cost| cost.as_pico());
        let user = format!("user-{}", id.split('-').nth(1).unwrap_or_default());
        *spent.entry(user).or_default() += u128::try_from(cost).unwrap_or(0);
    }
    let reader = Reader::open(dir).map_err(|error| error.to_string())?;
    for account in reader.budget_accounts(&AccountQuery::default()).map_err(|error| error.to_string())? {
        if account.settled + account.leased > account.limit {
            return Err(format!("more is charged and lent than there is: {account:?}"));
        }
        let (_, user) = account.scope.rsplit_once([':', '/', '=']).unwrap_or(("", &account.scope));
        let spent = spent.remove(user).unwrap_or(0);
        if account.settled < spent {
            return Err(format!("{spent} was spent of it, and may be spent again: {account:?}"));
        }
    }
    match spent.iter().find(|(_, spent)| **spent > 0) {
        Some((user, spent)) => Err(format!("{user} spent {spent}, and has no account")),
        None => Ok(()),
    }
}
