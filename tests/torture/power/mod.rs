//! Power cuts: the real binary works under a shim that writes down every write, sync and change of names ([`trace`]).
//! From that, disks are built that a cut at some moment could have left ([`disk`]), and each is started on: whatever the
//! disk had said was safe is there, once, and no more is lost than the operator was told ([`promises`]).
//!
//! `FAREBOX_CUTS` says how many, `FAREBOX_TORTURE_SEED` which.

mod disk;
mod promises;
mod record;
mod trace;

use super::{Dice, SEED, stopped, verified};
use disk::Disk;
use promises::{Cost, check, holds};
use record::{Recorded, record};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use trace::{Change, Written};

/// In `make test`.
const CUTS: u64 = 20;
/// Of these, how many the whole binary starts on; the others only its ledger does, which is the part that recovers.
const WHOLE_STARTS: u64 = 1;
/// Attempts in each of the two lives that are recorded.
const ATTEMPTS: u64 = 120;

fn cuts() -> u64 {
    std::env::var("FAREBOX_CUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(CUTS)
}

fn seed() -> u64 {
    std::env::var("FAREBOX_TORTURE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_cut_all_that_was_synced_is_there_once_and_no_budget_is_lent_twice() {
    let (mut dice, cuts, began) = (Dice(seed()), cuts(), Instant::now());
    // One recording for so many cuts.
    const CUTS_EACH: u64 = 200;
    let mut sum = Cost::default();
    for begun in (0..cuts).step_by(usize::try_from(CUTS_EACH).unwrap()) {
        let mut recorded = record(ATTEMPTS, None, &mut dice).await;
        assert_eq!(last(&recorded), on_disk(&recorded.root), "the trace is the whole truth");
        for (cut, files) in disks(&recorded, CUTS_EACH.min(cuts - begun), &mut dice) {
            let cost =
                kept(&recorded, cut, &files).unwrap_or_else(|broken| panic!("cut before change {cut}: {broken}"));
            sum = Cost {
                admitted: sum.admitted + cost.admitted,
                promised: sum.promised + cost.promised,
                lost: sum.lost + cost.lost,
                span: sum.span.max(cost.span),
            };
        }
        let whole: Vec<_> = disks(&recorded, WHOLE_STARTS, &mut dice).collect();
        for (cut, files) in whole {
            starts_whole(&mut recorded, cut, &files).await;
        }
    }
    let Cost { admitted, promised, lost, span } = sum;
    assert!(lost > 0, "cuts that cost nothing show nothing");
    eprintln!(
        "{cuts} cuts in {:?}: of {admitted} attempts {promised} were synced and are there, {lost} are lost, within {span:?} at most",
        began.elapsed()
    );
}

/// At each step of making the key that names callers, as a kill would leave it: the next start is not in need of anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_makes_its_key_it_starts_the_next_time() {
    let mut recorded = record(1, None, &mut Dice(seed())).await;
    let of_the_key = |change: &Change| match change {
        Change::Create { path, .. } | Change::Unlink { path } => path.to_string_lossy().contains(".key"),
        Change::Write { bytes, .. } => bytes.len() == 32,
        Change::Link { to, .. } => to.extension().is_some_and(|end| end == "key"),
        _ => false,
    };
    let steps: Vec<usize> =
        (0..recorded.trace.len()).filter(|index| of_the_key(&recorded.trace[*index].change)).collect();
    assert!(steps.len() >= 2, "it makes a key: {steps:?}");
    for step in steps {
        let mut disk = Disk::new(&recorded.root, &recorded.trace);
        disk.advance(step + 1);
        let files = disk.seen();
        starts_whole(&mut recorded, step + 1, &files).await;
    }
}

/// The test of the test: where a sync is said to be done and is not, it sees what is broken. The journal's in `make test`;
/// the store's and those of directories in the long form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_left_out_is_found() {
    let mut dice = Dice(seed());
    let all = ["seg-", "ledger.sqlite3", "/"];
    for swallowed in if cuts() > CUTS { &all[..] } else { &all[..1] } {
        let recorded = record(ATTEMPTS / 2, Some(swallowed), &mut dice).await;
        let broken = disks(&recorded, 60, &mut dice).find_map(|(cut, files)| kept(&recorded, cut, &files).err());
        eprintln!(
            "without syncs of {swallowed}: {}",
            broken.as_deref().unwrap_or("nothing is found").lines().next().unwrap()
        );
        assert!(broken.is_some(), "without syncs of {swallowed} nothing is broken");
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Moments, and a disk of each. A third of the moments are any, one is behind a change of the journal, one behind a sync or a
/// change of names.
fn disks<'a>(recorded: &'a Recorded, count: u64, dice: &'a mut Dice) -> impl Iterator<Item = (usize, Files)> + 'a {
    let turns = |matters: fn(&Change) -> bool| -> Vec<usize> {
        (0..recorded.trace.len()).filter(|index| matters(&recorded.trace[*index].change)).collect()
    };
    let kinds = [
        turns(|_| true),
        turns(|change| matches!(change, Change::Write { bytes: Written::Bytes(bytes), .. } if bytes.len() < 2_000)),
        turns(|change| !matches!(change, Change::Write { .. } | Change::SyncBegin { .. })),
    ];
    let mut moments: Vec<usize> = Vec::new();
    for kind in kinds.iter().cycle().take(usize::try_from(count).unwrap()) {
        moments.push(kind[usize::try_from(dice.below(kind.len() as u64)).unwrap()] + 1);
    }
    moments.sort_unstable();
    let mut disk = Disk::new(&recorded.root, &recorded.trace);
    moments.into_iter().map(move |cut| {
        disk.advance(cut);
        (cut, disk.left(dice))
    })
}

fn kept(recorded: &Recorded, cut: usize, files: &Files) -> Result<Cost, String> {
    let left = tempfile::tempdir().unwrap();
    lay(left.path(), files);
    check(left.path(), cut, &recorded.known())
}

/// The whole binary on such a disk: it serves, and stops in order.
async fn starts_whole(recorded: &mut Recorded, cut: usize, files: &Files) {
    std::fs::remove_dir_all(&recorded.root).unwrap();
    lay(&recorded.root, files);
    recorded.shop.start();
    let answered = recorded.shop.chat("Say something.").with("x-request-id", "after").answered().await;
    assert_eq!(answered.status, 200, "{}", recorded.shop.log());
    stopped(&mut recorded.shop).await;
    verified(&recorded.shop);
    holds(&recorded.root, cut, &recorded.known()).unwrap_or_else(|broken| panic!("cut before change {cut}: {broken}"));
}

fn lay(root: &Path, files: &Files) {
    std::fs::create_dir_all(root).unwrap();
    for (path, content) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

fn last(recorded: &Recorded) -> Vec<(PathBuf, String)> {
    let mut disk = Disk::new(&recorded.root, &recorded.trace);
    disk.advance(recorded.trace.len());
    named(disk.seen())
}

fn on_disk(root: &Path) -> Vec<(PathBuf, String)> {
    let (mut files, mut folders) = (Files::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if !path.to_string_lossy().ends_with("-shm") {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    named(files)
}

/// With a digest of the content, which is shorter to show.
fn named(files: Files) -> Vec<(PathBuf, String)> {
    let digest = |content: &[u8]| format!("{} bytes, {}", content.len(), blake3::hash(content).to_hex());
    files.into_iter().map(|(path, content)| (path, digest(&content))).collect()
}
