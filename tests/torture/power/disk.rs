//! A disk as a trace left it at some moment, and the disks that a power cut at that moment could have left.
//!
//! What a sync that had ended covers is there. Of everything else nobody knows: of a file, each sector has what some
//! earlier moment had in it, sectors in any order, and the length is one that the file had in between; of a directory
//! that was not synced, the last changes of its names are missing.

use super::super::Dice;
use super::trace::{Change, Entry, Written};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Which file, also after its number was given to another one.
type FileId = usize;

#[derive(Clone, Copy, PartialEq)]
enum Target {
    File(FileId),
    Directory,
}

type Names = BTreeMap<PathBuf, Target>;

/// One change of names in one directory: what goes, what comes.
struct NameChange {
    directory: PathBuf,
    index: usize,
    gone: Option<PathBuf>,
    come: Option<(PathBuf, Target)>,
}

impl NameChange {
    fn make(&self, names: &mut Names) {
        if let Some(path) = &self.gone {
            names.remove(path);
        }
        if let Some((path, target)) = &self.come {
            names.insert(path.clone(), *target);
        }
        if let (Some(from), Some((to, Target::Directory))) = (&self.gone, &self.come) {
            let below: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in below {
                if let Some(target) = names.remove(&path) {
                    names.insert(moved(&path, from, to), target);
                }
            }
        }
    }
}

/// The path of what is below a directory that has another name now.
fn moved(path: &Path, from: &Path, to: &Path) -> PathBuf {
    path.strip_prefix(from).map_or_else(|_| path.to_owned(), |rest| to.join(rest))
}

#[derive(Default)]
struct File {
    synced: Vec<u8>,
    /// With the place in the trace.
    pending: Vec<(usize, FileChange)>,
}

enum FileChange {
    Write { at: usize, entry: usize, length: usize },
    Truncate { length: usize },
}

/// How much of what was not synced survives.
#[derive(Clone, Copy)]
enum Luck {
    Nothing,
    Everything,
    /// Each sector by itself; of a hundred, so many have all that was written to them.
    Sectors {
        bytes: usize,
        whole_per_cent: u64,
    },
}

pub struct Disk<'a> {
    root: PathBuf,
    trace: &'a [Entry],
    next: usize,
    /// As programs see them now.
    names: Names,
    synced_names: Names,
    pending_names: Vec<NameChange>,
    files: Vec<File>,
    by_number: HashMap<u64, FileId>,
    /// Syncs under way, and where in the trace they began.
    syncs: HashMap<i64, usize>,
}

impl<'a> Disk<'a> {
    /// An empty directory before the trace.
    pub fn new(root: &Path, trace: &'a [Entry]) -> Disk<'a> {
        Disk {
            root: root.to_owned(),
            trace,
            next: 0,
            names: Names::new(),
            synced_names: Names::new(),
            pending_names: Vec::new(),
            files: Vec::new(),
            by_number: HashMap::new(),
            syncs: HashMap::new(),
        }
    }

    /// Makes the changes before this place of the trace.
    pub fn advance(&mut self, upto: usize) {
        while self.next < upto {
            self.take(self.next);
            self.next += 1;
        }
    }

    fn take(&mut self, index: usize) {
        match &self.trace[index].change {
            Change::Create { file, path } => {
                self.files.push(File::default());
                self.by_number.insert(*file, self.files.len() - 1);
                self.rename(index, None, Some((path.clone(), Target::File(self.files.len() - 1))));
            }
            Change::Write { file, at, bytes } => {
                let at = usize::try_from(*at).unwrap();
                self.change(index, *file, FileChange::Write { at, entry: index, length: bytes.len() });
            }
            Change::Truncate { file, length } => {
                self.change(index, *file, FileChange::Truncate { length: usize::try_from(*length).unwrap() });
            }
            Change::SyncBegin { ticket } => drop(self.syncs.insert(*ticket, index)),
            Change::SyncEnd { ticket, file, path, swallowed } => {
                let began = self.syncs.remove(ticket).expect("a sync that began");
                if !swallowed {
                    self.sync(*file, path, began);
                }
            }
            Change::Rename { from, to } => {
                let target = *self.names.get(from).unwrap_or_else(|| panic!("{} is not there", from.display()));
                self.rename(index, Some(from.clone()), Some((to.clone(), target)));
            }
            Change::Link { from, to } => self.rename(index, None, Some((to.clone(), self.names[from]))),
            Change::Unlink { path } | Change::RemoveDirectory { path } => {
                self.rename(index, Some(path.clone()), None);
            }
            Change::MakeDirectory { path } if *path == self.root => {}
            Change::MakeDirectory { path } => self.rename(index, None, Some((path.clone(), Target::Directory))),
            Change::Strange { how } => {
                panic!("the data directory was changed by {how}, which the shim does not follow")
            }
        }
    }

    fn change(&mut self, index: usize, number: u64, change: FileChange) {
        let id = *self.by_number.get(&number).expect("a file that was created");
        self.files[id].pending.push((index, change));
    }

    fn rename(&mut self, index: usize, gone: Option<PathBuf>, come: Option<(PathBuf, Target)>) {
        let one = gone.as_ref().or(come.as_ref().map(|(path, _)| path)).expect("a name");
        let directory = one.parent().unwrap().to_owned();
        assert!(come.as_ref().is_none_or(|(path, _)| path.starts_with(&directory)), "between two directories");
        if let (Some(from), Some((to, Target::Directory))) = (&gone, &come) {
            // What is not synced below it is still of the same directory.
            for change in self.pending_names.iter_mut().filter(|change| change.directory.starts_with(from)) {
                change.directory = moved(&change.directory, from, to);
                change.gone = change.gone.take().map(|path| moved(&path, from, to));
                change.come = change.come.take().map(|(path, target)| (moved(&path, from, to), target));
            }
        }
        let change = NameChange { directory, index, gone, come };
        change.make(&mut self.names);
        self.pending_names.push(change);
    }

    fn sync(&mut self, number: u64, path: &Path, began: usize) {
        if path == self.root || self.names.get(path) == Some(&Target::Directory) {
            for change in std::mem::take(&mut self.pending_names) {
                if change.directory == path && change.index < began {
                    change.make(&mut self.synced_names);
                } else {
                    self.pending_names.push(change);
                }
            }
        } else if let Some(id) = self.by_number.get(&number) {
            let file = &mut self.files[*id];
            let covered = file.pending.partition_point(|(index, _)| *index < began);
            for (_, change) in file.pending.drain(..covered) {
                change.make(self.trace, &mut file.synced);
            }
        }
    }

    /// As programs see it: path and content of every file.
    pub fn seen(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut dice = Dice(1);
        self.contents(&self.names, |file| file.content(self.trace, Luck::Everything, &mut dice))
    }

    /// A disk that a power cut at this moment could have left.
    pub fn left(&self, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
        let names = self.names_left(dice);
        let luck = match dice.below(6) {
            0 => Luck::Nothing,
            1 => Luck::Everything,
            roll => {
                let bytes = if roll.is_multiple_of(2) { 512 } else { 4_096 };
                Luck::Sectors { bytes, whole_per_cent: [5, 50, 95][dice.below(3) as usize] }
            }
        };
        self.contents(&names, |file| file.content(self.trace, luck, dice))
    }

    /// A journalling file system keeps the order of all changes, a simpler one that within a directory.
    fn names_left(&self, dice: &mut Dice) -> Names {
        let mut names = self.synced_names.clone();
        let all = self.pending_names.len() as u64;
        let (in_order, many) = (dice.below(2) == 0, dice.below(all + 1));
        let mut by_directory: HashMap<&Path, u64> = HashMap::new();
        for (nth, change) in self.pending_names.iter().enumerate() {
            let upto = *by_directory.entry(&change.directory).or_insert_with(|| dice.below(all + 1));
            if (nth as u64) < if in_order { many } else { upto } {
                change.make(&mut names);
            }
        }
        names
    }

    /// Files below directories that are there.
    fn contents(&self, names: &Names, mut content: impl FnMut(&File) -> Vec<u8>) -> BTreeMap<PathBuf, Vec<u8>> {
        let reached = |path: &Path| {
            let above = path.ancestors().skip(1).take_while(|above| *above != self.root);
            above.into_iter().all(|above| names.get(above) == Some(&Target::Directory))
        };
        let mut found = BTreeMap::new();
        for (path, target) in names.iter().filter(|(path, _)| reached(path)) {
            if let Target::File(id) = target {
                found.insert(path.strip_prefix(&self.root).unwrap().to_owned(), content(&self.files[*id]));
            }
        }
        found
    }
}

impl FileChange {
    fn make(&self, trace: &[Entry], content: &mut Vec<u8>) {
        match self {
            FileChange::Write { at, entry, length } => {
                let end = at + length;
                if content.len() < end {
                    content.resize(end, 0);
                }
                copy(trace, *entry, 0, &mut content[*at..end]);
            }
            FileChange::Truncate { length } => content.resize(*length, 0),
        }
    }

    /// The bytes that it changes, in a file that is so long by then.
    fn range(&self, length_before: usize) -> (usize, usize) {
        match self {
            FileChange::Write { at, length, .. } => (*at, at + length),
            FileChange::Truncate { length } => (*length, length_before.max(*length)),
        }
    }
}

/// What a write of the trace has from its byte `skip` on.
fn copy(trace: &[Entry], entry: usize, skip: usize, to: &mut [u8]) {
    match &trace[entry].change {
        Change::Write { bytes: Written::Bytes(bytes), .. } => to.copy_from_slice(&bytes[skip..skip + to.len()]),
        Change::Write { .. } => to.fill(0),
        _ => unreachable!("a write"),
    }
}

impl File {
    fn content(&self, trace: &[Entry], luck: Luck, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.synced.clone();
        match luck {
            Luck::Nothing => {}
            Luck::Everything => self.pending.iter().for_each(|(_, change)| change.make(trace, &mut content)),
            Luck::Sectors { bytes, whole_per_cent } => {
                self.tear(trace, bytes, whole_per_cent, dice, &mut content);
            }
        }
        content
    }

    /// Each sector has the first so many of the changes that it was to have; the length is one that the file had.
    fn tear(&self, trace: &[Entry], sector: usize, whole_per_cent: u64, dice: &mut Dice, content: &mut Vec<u8>) {
        let mut lengths = vec![content.len()];
        let mut by_sector: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (nth, (_, change)) in self.pending.iter().enumerate() {
            let before = lengths[nth];
            let (from, to) = change.range(before);
            lengths.push(if matches!(change, FileChange::Truncate { .. }) { from } else { before.max(to) });
            (from / sector..to.div_ceil(sector)).for_each(|place| by_sector.entry(place).or_default().push(nth));
        }
        content.resize(lengths.iter().copied().max().unwrap_or(0), 0);
        for (place, changes) in by_sector {
            let all = changes.len() as u64;
            let many = if dice.below(100) < whole_per_cent { all } else { dice.below(all + 1) };
            for nth in changes.into_iter().take(usize::try_from(many).unwrap()) {
                let change = &self.pending[nth].1;
                let (from, to) = change.range(lengths[nth]);
                let (from_here, to_here) = (from.max(place * sector), to.min((place + 1) * sector).min(content.len()));
                if from_here < to_here {
                    let here = &mut content[from_here..to_here];
                    match change {
                        FileChange::Write { entry, .. } => copy(trace, *entry, from_here - from, here),
                        FileChange::Truncate { .. } => here.fill(0),
                    }
                }
            }
        }
        let last = lengths.len() as u64 - 1;
        let many = if dice.below(2) == 0 { last } else { dice.below(last + 1) };
        content.truncate(lengths[usize::try_from(many).unwrap()]);
    }
}
