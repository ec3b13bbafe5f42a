//! What `shim.c` wrote down, read back: every change of the data directory's files, in order, with its time.

use std::path::{Path, PathBuf};

/// `struct change` of shim.c: seven words of eight bytes, the lengths of what follows in the last two.
const HEAD_BYTES: usize = 56;

pub struct Entry {
    /// Of the machine's steady clock.
    pub nanos: u64,
    pub change: Change,
}

/// `file` is what the file system calls it (the inode), which is given again when a file is gone.
pub enum Change {
    Create {
        file: u64,
        path: PathBuf,
    },
    Write {
        file: u64,
        at: u64,
        bytes: Written,
    },
    Truncate {
        file: u64,
        length: u64,
    },
    SyncBegin {
        ticket: i64,
    },
    /// `swallowed`: who asked was told that it is done, and it is not.
    SyncEnd {
        ticket: i64,
        file: u64,
        path: PathBuf,
        swallowed: bool,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeDirectory {
        path: PathBuf,
    },
    RemoveDirectory {
        path: PathBuf,
    },
    Link {
        from: PathBuf,
        to: PathBuf,
    },
    /// By a call that the shim does not follow.
    Strange {
        how: String,
    },
}

pub enum Written {
    Bytes(Vec<u8>),
    Zeros(usize),
}

impl Written {
    pub fn len(&self) -> usize {
        match self {
            Written::Bytes(bytes) => bytes.len(),
            Written::Zeros(length) => *length,
        }
    }
}

pub fn read(log: &Path) -> Vec<Entry> {
    let log = std::fs::read(log).unwrap();
    let (mut entries, mut rest) = (Vec::new(), &log[..]);
    while rest.len() >= HEAD_BYTES {
        let word = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().unwrap());
        let half = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let (path, other, data) = (half(40), half(44), half(48));
        let whole = HEAD_BYTES + path + other + data;
        // The last one may be half written by a process that was killed; then it was not made either, or it is lost.
        let Some(tail) = rest.get(HEAD_BYTES..whole) else { break };
        let path_at = |range: &[u8]| PathBuf::from(String::from_utf8(range.to_vec()).unwrap());
        let (path, other, data) =
            (path_at(&tail[..path]), path_at(&tail[path..path + other]), tail[path + other..].to_vec());
        let (kind, flag, nanos, file, at, length) = (half(0), half(4), word(8), word(16), word(24), word(32));
        let change = match kind {
            1 => Change::Create { file, path },
            2 if flag == 2 => Change::Write { file, at, bytes: Written::Zeros(usize::try_from(length).unwrap()) },
            2 => Change::Write { file, at, bytes: Written::Bytes(data) },
            3 => Change::Truncate { file, length },
            4 => Change::SyncBegin { ticket: at.cast_signed() },
            5 => Change::SyncEnd { ticket: at.cast_signed(), file, path, swallowed: flag == 1 },
            6 => Change::Rename { from: path, to: other },
            7 => Change::Unlink { path },
            8 => Change::MakeDirectory { path },
            9 => Change::RemoveDirectory { path },
            10 => Change::Link { from: path, to: other },
            11 => Change::Strange { how: path.display().to_string() },
            other => panic!("a change of kind {other}"),
        };
        entries.push(Entry { nanos, change });
        rest = &rest[whole..];
    }
    entries
}
