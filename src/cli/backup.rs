//! `farebox backup` and `farebox restore`.
//!
//! A backup is a directory: `ledger.sqlite3`, a compact copy of one moment; `journal/`, what the ledger may not have
//! folded yet; `keys.pepper` and `caller-names.key`, without which no virtual key would open anything and open callers
//! would have other names; `backup.json`, what it is. Journals are copied *first*: what is folded and removed between the two
//! copies is then in the ledger's, and what is in both is told apart by event id when the restored node starts. Calls
//! in flight at that moment are in the backup as calls that died with the process.

use super::fault;
use super::place::Place;
use super::table::grouped;
use super::usage::bar_style;
use crate::clock::{Clock, SystemClock};
use crate::money::pico_to_decimal;
use crate::store::{FILE_NAME, PEPPER_FILE, Reader, StoreError};
use indicatif::ProgressBar;
use serde::Serialize;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

const MANIFEST: &str = "backup.json";
const JOURNALS: &str = "journal";
/// Random keys beside the ledger; a data directory may not have them yet.
const KEY_FILES: [&str; 2] = [PEPPER_FILE, "caller-names.key"];
/// Journals are `journal/<epoch>/<file>`.
const JOURNAL_DEPTH_MAX: usize = 2;
const BLOCK_BYTES: usize = 1 << 20;
const BAR_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub struct BackupArguments {
    /// Where to: a directory that is empty or does not exist yet.
    destination: PathBuf,
    /// What was done, as one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub struct RestoreArguments {
    /// A directory that `farebox backup` wrote.
    source: PathBuf,
    /// What was done, as one JSON document.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Configuration(String),
    #[error("{} is not empty (it has `{found}`): name a new directory; nothing was changed", path.display())]
    NotEmpty { path: PathBuf, found: String },
    #[error("{} is no backup: it has no {FILE_NAME}", path.display())]
    NotABackup { path: PathBuf },
    #[error("the backup does not add up: {0}{1}; the copy is in place, but do not start on it unseen")]
    Faulty(String, String),
    #[error("could not copy {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What a backup is, and what either command says when it is done.
#[derive(Debug, Serialize)]
struct Done {
    farebox: &'static str,
    made_at: String,
    schema_version: i64,
    ledger_bytes: u64,
    journal_files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<String>,
    path: PathBuf,
}

pub fn backup(arguments: &BackupArguments) -> ExitCode {
    let done = arguments.place.data_dir().map_err(Failure::Configuration);
    tell(done.and_then(|data_dir| copy_out(&data_dir, &arguments.destination)), arguments.json, "backed up to")
}

pub fn restore(arguments: &RestoreArguments) -> ExitCode {
    let done = arguments.place.data_dir().map_err(Failure::Configuration);
    tell(done.and_then(|data_dir| copy_in(&arguments.source, &data_dir)), arguments.json, "restored to")
}

fn tell(done: Result<Done, Failure>, json: bool, verb: &str) -> ExitCode {
    let done = match done {
        Ok(done) => done,
        Err(failure) => return fault(failure),
    };
    let mut out = io::stdout().lock();
    let _ = if json {
        serde_json::to_writer_pretty(&mut out, &done).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        let events = done.events.map(|events| format!("{} events, ", grouped(events))).unwrap_or_default();
        let cost = done.cost_usd.as_ref().map(|cost| format!("{cost} USD, all sums verified, ")).unwrap_or_default();
        let (bytes, files) = (grouped(done.ledger_bytes), done.journal_files);
        writeln!(out, "{verb} {}: {events}{cost}{bytes} bytes and {files} journal files", done.path.display())
    };
    ExitCode::SUCCESS
}

fn copy_out(data_dir: &Path, destination: &Path) -> Result<Done, Failure> {
    let reader = Reader::open(data_dir)?;
    make_empty(destination)?;
    let journal_files = copy_tree(&data_dir.join(JOURNALS), &destination.join(JOURNALS), JOURNAL_DEPTH_MAX)?;
    copy_key_files(data_dir, destination)?;
    let copied = copy_ledger(&reader, &destination.join(FILE_NAME))?;
    let done = Done {
        farebox: env!("CARGO_PKG_VERSION"),
        made_at: SystemClock.now().to_rfc3339(),
        schema_version: copied.schema_version,
        ledger_bytes: copied.bytes,
        journal_files,
        events: None,
        cost_usd: None,
        path: destination.to_owned(),
    };
    let manifest = destination.join(MANIFEST);
    let mut file = create_private(&manifest).map_err(at(&manifest))?;
    serde_json::to_writer_pretty(&mut file, &done).map_err(io::Error::from).map_err(at(&manifest))?;
    file.sync_all().map_err(at(&manifest))?;
    sync_dir(destination)?;
    Ok(done)
}

/// Copies the ledger, and shows how far by the size of the copy.
fn copy_ledger(reader: &Reader, destination: &Path) -> Result<crate::store::Copied, Failure> {
    let bar = ProgressBar::new(reader.size_bytes()?).with_style(bar_style("bytes"));
    std::thread::scope(|scope| {
        let copying = scope.spawn(|| reader.copy_into(destination));
        while !copying.is_finished() {
            bar.set_position(fs::metadata(destination).map(|found| found.len()).unwrap_or(0));
            std::thread::sleep(BAR_INTERVAL);
        }
        bar.finish_and_clear();
        match copying.join() {
            Ok(copied) => Ok(copied?),
            Err(_) => Err(at(destination)(io::Error::other("the copying thread broke off"))),
        }
    })
}

fn copy_in(source: &Path, data_dir: &Path) -> Result<Done, Failure> {
    let kept = source.join(FILE_NAME);
    if !kept.is_file() {
        return Err(Failure::NotABackup { path: source.to_owned() });
    }
    // A newer schema is refused here, before anything is written.
    drop(Reader::open(source)?);
    make_empty(data_dir)?;
    let journal_files = copy_tree(&source.join(JOURNALS), &data_dir.join(JOURNALS), JOURNAL_DEPTH_MAX)?;
    copy_key_files(source, data_dir)?;
    // Under another name until it is whole: a restore that broke off is not mistaken for a ledger.
    let (draft, ledger) = (data_dir.join(format!("{FILE_NAME}.new")), data_dir.join(FILE_NAME));
    let ledger_bytes = copy_file(&kept, &draft)?;
    fs::rename(&draft, &ledger).map_err(at(&ledger))?;
    sync_dir(data_dir)?;
    let reader = Reader::open(data_dir)?;
    let bar = ProgressBar::new(reader.count_events()?).with_style(bar_style("events verified"));
    let report = reader.verify(&mut |progress| bar.set_position(progress.events_done))?;
    bar.finish_and_clear();
    if let Some(first) = report.faults.first() {
        let others = report.faults.len() as u64 - 1 + report.faults_more;
        let others = if others > 0 { format!(" (and {others} more faults)") } else { String::new() };
        return Err(Failure::Faulty(first.to_string(), others));
    }
    Ok(Done {
        farebox: env!("CARGO_PKG_VERSION"),
        made_at: SystemClock.now().to_rfc3339(),
        schema_version: reader.schema_version()?,
        ledger_bytes,
        journal_files,
        events: Some(report.events),
        cost_usd: Some(pico_to_decimal(report.cost_pico)),
        path: data_dir.to_owned(),
    })
}

fn copy_key_files(from: &Path, to: &Path) -> Result<(), Failure> {
    for name in KEY_FILES.iter().filter(|name| from.join(name).is_file()) {
        copy_file(&from.join(name), &to.join(name))?;
    }
    Ok(())
}

/// Makes the directory, or makes sure that nothing is in it.
fn make_empty(dir: &Path) -> Result<(), Failure> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
    match fs::read_dir(dir).map_err(at(dir))?.next() {
        None => Ok(()),
        Some(entry) => {
            let found = entry.map_err(at(dir))?.file_name().to_string_lossy().into_owned();
            Err(Failure::NotEmpty { path: dir.to_owned(), found })
        }
    }
}

/// Copies the files of a tree, how many. What disappears meanwhile was folded and removed.
fn copy_tree(from: &Path, to: &Path, depth: usize) -> Result<u64, Failure> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(at(from)(error)),
    };
    DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(at(to))?;
    let mut files = 0;
    for entry in entries {
        let entry = entry.map_err(at(from))?;
        let target = to.join(entry.file_name());
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&entry.path())(error)),
        };
        if kind.is_dir() && depth > 0 {
            files += copy_tree(&entry.path(), &target, depth - 1)?;
        } else if kind.is_file() {
            match copy_file(&entry.path(), &target) {
                Ok(_) => files += 1,
                Err(Failure::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    sync_dir(to)?;
    Ok(files)
}

/// Copies a file and syncs it; blocks of zeros (journal segments are zeroed ahead of use) become holes.
fn copy_file(from: &Path, to: &Path) -> Result<u64, Failure> {
    let mut source = File::open(from).map_err(at(from))?;
    let mut target = create_private(to).map_err(at(to))?;
    let mut block = vec![0u8; BLOCK_BYTES];
    let mut length = 0u64;
    loop {
        let read = source.read(&mut block).map_err(at(from))?;
        let Some(piece) = block.get(..read).filter(|piece| !piece.is_empty()) else { break };
        if piece.iter().any(|byte| *byte != 0) {
            target.seek(SeekFrom::Start(length)).and_then(|_| target.write_all(piece)).map_err(at(to))?;
        }
        length += read as u64;
    }
    target.set_len(length).and_then(|()| target.sync_all()).map_err(at(to))?;
    Ok(length)
}

fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn sync_dir(dir: &Path) -> Result<(), Failure> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

fn at(path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = path.to_owned();
    move |source| Failure::Io { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixtures::{NOON, call};
    use crate::store::{JournalPosition, SCHEMA_VERSION, Store, UsageQuery};
    use tempfile::TempDir;

    /// A data directory with one event and one journal, and room for a backup.
    fn node() -> (TempDir, Store, PathBuf, PathBuf) {
        let place = TempDir::new().unwrap();
        let data = place.path().join("data");
        let mut store = Store::open(&data, NOON).unwrap();
        store.fold(1, &[call(NOON, 0)], JournalPosition { segment: 0, offset: 1 }).unwrap();
        let journal = data.join("journal/1");
        fs::create_dir_all(&journal).unwrap();
        let mut segment = vec![0u8; 3 << 20];
        segment[5] = 7;
        fs::write(journal.join("seg-0000000000"), &segment).unwrap();
        fs::write(data.join(PEPPER_FILE), [5; 32]).unwrap();
        let copy = place.path().join("copy");
        (place, store, data, copy)
    }

    #[test]
    fn a_backup_of_a_running_node_restores_to_the_same_ledger() {
        let (place, mut store, data, copy) = node();
        let done = copy_out(&data, &copy).unwrap();
        assert_eq!((done.schema_version, done.journal_files), (SCHEMA_VERSION, 1));
        store.fold(1, &[call(NOON, 1)], JournalPosition { segment: 0, offset: 2 }).unwrap();
        let restored = place.path().join("restored");
        let done = copy_in(&copy, &restored).unwrap();
        assert_eq!((done.events, done.cost_usd.as_deref()), (Some(1), Some("0.0035")));
        let segment = "journal/1/seg-0000000000";
        assert_eq!(fs::read(restored.join(segment)).unwrap(), fs::read(data.join(segment)).unwrap());
        assert_eq!(fs::read(restored.join(PEPPER_FILE)).unwrap(), [5; 32]);
        assert_eq!(Reader::open(&restored).unwrap().usage(&UsageQuery::default()).unwrap().totals.calls, 1);
        assert_eq!(Store::open(&restored, NOON).unwrap().position(1).unwrap().offset, 1);
    }

    #[test]
    fn neither_command_writes_into_a_directory_that_is_in_use() {
        let (_place, _store, data, copy) = node();
        copy_out(&data, &copy).unwrap();
        assert!(copy_out(&data, &copy).unwrap_err().to_string().contains("is not empty"));
        assert!(copy_in(&copy, &data).unwrap_err().to_string().contains("nothing was changed"));
    }

    #[test]
    fn a_backup_of_a_newer_farebox_is_refused_by_name_before_anything_is_written() {
        let (place, _store, data, copy) = node();
        copy_out(&data, &copy).unwrap();
        crate::store::fixtures::set_schema_version(&copy, 42);
        let restored = place.path().join("restored");
        let refused = copy_in(&copy, &restored).unwrap_err().to_string();
        assert!(refused.contains(&format!("has schema 42, this farebox knows up to {SCHEMA_VERSION}")), "{refused}");
        assert!(!restored.exists());
        let nothing = copy_in(place.path(), &restored).unwrap_err().to_string();
        assert!(nothing.contains("is no backup"), "{nothing}");
    }
}
