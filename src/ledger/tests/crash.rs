//! Bad ends: the process is killed anywhere, the power goes, recovery itself is killed.

use super::*;
use crate::ledger::segment::{Scanner, Step};
use proptest::prelude::*;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

fn outcomes(dir: &Path) -> Vec<(EventId, String)> {
    rows(dir).iter().map(|row| (row.id, outcome(row).to_owned())).collect()
}

fn expect(events: &[(u64, &str)]) -> Vec<(EventId, String)> {
    events.iter().map(|(sequence, outcome)| (id(*sequence), (*outcome).to_owned())).collect()
}

#[test]
fn what_was_settled_and_what_was_open_are_there_once_each_after_a_kill() {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    bench.call(1);
    let open = vec![bench.reserve(2), bench.reserve(3)];
    open[1].progress(2_000);
    bench.call(4);
    bench.die(open);
    let found = recover(dir.path());
    assert_eq!((found[0].settled, found[0].died, found[0].clean, found[0].power_loss), (2, 2, false, false));
    let expected = expect(&[(1, "ok"), (2, "proxy_died"), (3, "proxy_died"), (4, "ok")]);
    assert_eq!(outcomes(dir.path()), expected);
    let rows = rows(dir.path());
    assert_eq!(rows[1].cost, Some(Usd::from_pico(125_000_000)));
    assert_eq!(rows[1].withheld, Usd::from_pico(775_000_000));
    assert_eq!(rows[1].usage_source.as_deref(), Some("estimated"));
    assert_eq!(rows[2].usage.output_tokens(), 2_000);
    assert_eq!(rows[2].withheld, Usd::ZERO, "the estimate is above the ceiling");
    assert!(rows[2].ended_at >= rows[0].ended_at);
    assert!(place::journals(dir.path()).unwrap().is_empty());
}

#[test]
fn recovery_that_is_killed_before_it_removed_the_journal_adds_nothing_when_run_again() {
    let dir = data_dir();
    let mut bench = Bench::start(dir.path());
    bench.call(1);
    bench.sync();
    bench.fold();
    bench.call(2);
    let open = vec![bench.reserve(3)];
    let (journal, epoch) = (bench.journal_dir(), bench.epoch);
    bench.die(open);
    let mut store = Store::open(dir.path(), START).unwrap();
    let expected = expect(&[(1, "ok"), (2, "ok"), (3, "proxy_died")]);
    for _ in 0..2 {
        recovery::recover(&journal, epoch, &mut store).unwrap();
        assert_eq!(outcomes(dir.path()), expected);
    }
    let first = crate::ledger::segment::list(&journal).unwrap().remove(0).1;
    std::fs::remove_file(first).unwrap();
    recover(dir.path());
    assert_eq!(outcomes(dir.path()), expected);
}

#[test]
fn a_journal_of_another_boot_counts_as_a_power_loss_unless_it_ended_in_order() {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    bench.call(1);
    let lock = bench.journal_dir().join("lock");
    bench.die(vec![]);
    std::fs::write(lock, "pid 1\nboot another\n").unwrap();
    assert!(recover(dir.path())[0].power_loss);
}

#[test]
fn records_behind_a_hole_are_kept_and_tell_of_a_power_loss() {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    bench.call(1);
    let hole = bench.admission.lock().journal.written();
    bench.call(2);
    let behind = bench.admission.lock().journal.written();
    bench.call(3);
    let segment = bench.journal_dir().join("seg-0000000001");
    bench.die(vec![]);
    let zeros = vec![0; (behind.offset - hole.offset) as usize];
    std::fs::OpenOptions::new().write(true).open(segment).unwrap().write_all_at(&zeros, hole.offset).unwrap();
    assert!(recover(dir.path())[0].power_loss);
    assert_eq!(outcomes(dir.path()), expect(&[(1, "ok"), (3, "ok")]));
}

#[test]
fn a_record_of_another_format_is_refused_by_name() {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    let foreign = bench.admission.lock().journal.append_foreign();
    assert!(foreign.is_ok());
    bench.die(vec![]);
    let refused = Ledger::open(settings(dir.path()), Arc::new(Still)).err().unwrap().to_string();
    assert!(refused.contains("another version of Farebox"), "{refused}");
    assert_eq!(place::journals(dir.path()).unwrap().len(), 1, "it is kept for the version that can read it");
}

/// The bytes of a journal with some records, and where each ends.
fn written(records: u64) -> (Vec<u8>, Vec<usize>) {
    let dir = data_dir();
    let bench = Bench::start(dir.path());
    let mut ends = Vec::new();
    for sequence in 0..records {
        let open = bench.reserve(sequence);
        ends.push(bench.admission.lock().journal.written().offset as usize);
        open.settle(closing());
        ends.push(bench.admission.lock().journal.written().offset as usize);
    }
    (std::fs::read(bench.journal_dir().join("seg-0000000001")).unwrap(), ends)
}

fn whole_records(bytes: &[u8]) -> usize {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut scanner = Scanner::open(file.path(), 1, 1, 0).unwrap();
    let mut count = 0;
    while let Step::Record(_) = scanner.next().unwrap() {
        count += 1;
    }
    count
}

#[test]
fn a_tail_torn_at_any_byte_loses_the_torn_record_and_no_other() {
    let (bytes, ends) = written(2);
    for cut in 0..=ends[3] {
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        // A record may end in zeros: cutting those changes nothing.
        let read = whole_records(&torn);
        assert!(read == whole || torn[..ends[whole]] == bytes[..ends[whole]], "cut at {cut}: {read} of {whole}");
    }
}

proptest! {
    #[test]
    fn a_tail_of_garbage_is_never_read_as_a_record(
        cut in 0usize..2_000,
        garbage in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let (mut bytes, ends) = written(2);
        let cut = cut.min(ends[3]);
        bytes[cut..].fill(0);
        bytes[cut..cut + garbage.len()].copy_from_slice(&garbage);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        prop_assert!(whole_records(&bytes) >= whole);
        prop_assert!(whole_records(&bytes) <= whole + 1);
    }
}

#[test]
fn the_shape_of_what_is_journalled_goes_with_its_format() {
    let shape = crate::ledger::record::shape(&opening(1), &closing());
    assert_eq!(
        shape, "format 3: e897795a666ce109",
        "what `Opening`, `Closing` or `Claim` look like as bytes has changed: count record::FORMAT up, so that a \
         journal left by the version before is refused by name, and write the new line here"
    );
}

#[derive(Clone, Debug)]
enum Act {
    Reserve,
    Settle(usize),
    Drop(usize),
    Progress(usize, u64),
    Sync,
    Fold,
    Kill,
    /// Recovery runs, and is killed before it removes what it recovered.
    KillTwice,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Reserve),
        6 => any::<usize>().prop_map(Act::Settle),
        1 => any::<usize>().prop_map(Act::Drop),
        2 => (any::<usize>(), 0u64..5_000).prop_map(|(at, tokens)| Act::Progress(at, tokens)),
        2 => Just(Act::Sync),
        2 => Just(Act::Fold),
        1 => Just(Act::Kill),
        1 => Just(Act::KillTwice),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// What the house promises: whatever happens in whatever order, every admitted attempt is one row.
    #[test]
    fn every_admitted_attempt_is_one_row_whatever_dies_and_whenever(acts in prop::collection::vec(act(), 1..250)) {
        let dir = data_dir();
        // So small that a dozen records fill a segment, and that memory holds few events.
        let small = || Settings { segment_bytes: 8 << 10, queue_events_max: 8, ..settings(dir.path()) };
        let mut bench = Bench::with(small());
        let mut open: Vec<Reservation> = Vec::new();
        let mut expected: Vec<(EventId, &str)> = Vec::new();
        for (sequence, act) in acts.into_iter().enumerate() {
            match act {
                Act::Reserve => {
                    bench.spare();
                    open.extend(bench.try_reserve(sequence as u64));
                }
                Act::Settle(at) if !open.is_empty() => {
                    let event = open.swap_remove(at % open.len()).settle(closing());
                    expected.push((event.opening.id, "ok"));
                }
                Act::Drop(at) if !open.is_empty() => {
                    let dropped = open.swap_remove(at % open.len());
                    expected.push((dropped.opening().id, "proxy_internal"));
                }
                Act::Progress(at, tokens) if !open.is_empty() => open[at % open.len()].progress(tokens),
                Act::Sync => bench.sync(),
                Act::Fold => bench.fold(),
                Act::Kill | Act::KillTwice => {
                    expected.extend(open.iter().map(|open| (open.opening().id, "proxy_died")));
                    let (journal, epoch) = (bench.journal_dir(), bench.epoch);
                    bench.die(std::mem::take(&mut open));
                    if matches!(act, Act::KillTwice) {
                        recovery::recover(&journal, epoch, &mut Store::open(dir.path(), START).unwrap()).unwrap();
                    }
                    recover(dir.path());
                    bench = Bench::with(small());
                }
                Act::Settle(_) | Act::Drop(_) | Act::Progress(..) => {}
            }
        }
        expected.extend(open.iter().map(|open| (open.opening().id, "proxy_died")));
        bench.die(open);
        recover(dir.path());
        expected.sort();
        let expected: Vec<_> = expected.into_iter().map(|(id, outcome)| (id, outcome.to_owned())).collect();
        prop_assert_eq!(outcomes(dir.path()), expected);
        let report = Reader::open(dir.path()).unwrap().verify(&mut |_| ()).unwrap();
        prop_assert_eq!(report.faults, vec![]);
    }
}

const VICTIM: &str = "FAREBOX_LEDGER_VICTIM";

/// The child of the next test; by itself it does nothing.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(VICTIM) else { return };
    let ledger = open(Path::new(&dir));
    let mut open = Vec::new();
    for step in 0u64.. {
        let mut opening = opening(0);
        opening.id = ledger.next_event_id(START);
        let reservation = now_or_soon(ledger.admission().reserve(opening, Vec::new(), std::time::Duration::ZERO));
        let Ok(reservation) = reservation else { continue };
        println!("forwarded {}", reservation.opening().id.0);
        match step % 3 {
            0 => open.push(reservation),
            _ => drop(reservation.settle(closing())),
        }
        if open.len() > 20 {
            open.remove(0).settle(closing());
        }
    }
}

#[test]
fn a_process_killed_at_work_leaves_one_row_for_each_call_that_it_forwarded() {
    let dir = data_dir();
    let mut forwarded = Vec::new();
    for lines_before_the_kill in [1, 40, 333, 1_000] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ledger::tests::crash::victim", "--nocapture", "--test-threads=1"])
            .env(VICTIM, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut seen = 0;
        while seen < lines_before_the_kill {
            let line = lines.next().unwrap().unwrap();
            seen += u64::from(note(&line, &mut forwarded));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines.map_while(Result::ok) {
            note(&line, &mut forwarded);
        }
    }
    open(dir.path()).close();
    let rows = rows(dir.path());
    let booked: std::collections::BTreeSet<u64> = rows.iter().map(|row| row.id.0).collect();
    let lost: Vec<u64> = forwarded.iter().filter(|id| !booked.contains(id)).copied().collect();
    assert_eq!(lost, [0u64; 0], "forwarded and not in the ledger");
    assert!(rows.len() >= forwarded.len() && rows.len() <= forwarded.len() + 4, "one row each");
}

fn note(line: &str, forwarded: &mut Vec<u64>) -> bool {
    // The test harness writes its own words before the first line.
    let told: Option<u64> = line.split_once("forwarded ").and_then(|(_, id)| id.parse().ok());
    // A cut number is shorter than a whole one.
    let whole = told.filter(|id| *id >= crate::ids::id_at(START));
    forwarded.extend(whole);
    whole.is_some()
}
