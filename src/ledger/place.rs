//! The data directory: who may use it, and on what kind of disk.
//!
//! ```text
//! store.lock            held by the one process that folds; its text names the holder
//! journal/<epoch>/lock  held by the process whose journal this is; its text names process and boot
//! journal/<epoch>/seg-…
//! ```

use super::segment::sync_directory;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK_TEXT_BYTES_MAX: u64 = 4_096;
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A lock that is held until it is dropped or the process dies.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Someone else holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub pid: Option<u32>,
}

/// What the text in a lock file says of who wrote it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LockText {
    pub pid: Option<u32>,
    pub boot: Option<String>,
}

/// Makes the directory and its parents, readable by us alone. One that exists keeps its mode.
pub(super) fn make_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Takes the lock and writes our name into it.
///
/// # Errors
/// The outer error is the file system's; the inner one names the holder.
pub(super) fn lock(path: &Path, boot: &str) -> io::Result<Result<Held, Holder>> {
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(Holder { pid: lock_text(path)?.pid })),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "pid {}\nboot {boot}\n", std::process::id())?;
    file.sync_all()?;
    Ok(Ok(Held(file)))
}

/// Like [`lock`], but is not put off by someone who only looks.
pub(super) fn lock_patiently(path: &Path, boot: &str) -> io::Result<Result<Held, Holder>> {
    for _ in 0..LOCK_TRIES {
        if let Ok(held) = lock(path, boot)? {
            return Ok(Ok(held));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    lock(path, boot)
}

/// Takes the lock of a journal whose owner may be dead, and leaves his name in it.
pub(super) fn lock_silently(path: &Path) -> io::Result<Option<Held>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Who holds a lock, without making its file. The lock is taken for an instant to find out, which is why
/// [`lock_patiently`] exists.
pub(super) fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(Holder { pid: lock_text(path)?.pid })),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

pub(super) fn lock_text(path: &Path) -> io::Result<LockText> {
    let mut text = String::new();
    File::open(path)?.take(LOCK_TEXT_BYTES_MAX).read_to_string(&mut text)?;
    let word = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    Ok(LockText { pid: word("pid").and_then(|pid| pid.parse().ok()), boot: word("boot") })
}

pub(super) fn journals_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("journal")
}

pub(super) fn journal_dir(data_dir: &Path, epoch: u64) -> PathBuf {
    journals_dir(data_dir).join(epoch.to_string())
}

/// The journals in the data directory, by epoch. None when there was never one.
pub(super) fn journals(data_dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(journals_dir(data_dir)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let epoch = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        found.extend(epoch.map(|epoch| (epoch, path)));
    }
    found.sort();
    Ok(found)
}

/// Removes a journal that is folded whole: segments oldest first, so that a half-done removal reads as a shorter
/// journal; then the lock and the directory.
pub(super) fn remove_journal(dir: &Path) -> io::Result<()> {
    for (_, segment) in super::segment::list(dir)? {
        fs::remove_file(segment)?;
        sync_directory(dir)?;
    }
    fs::remove_dir_all(dir)?;
    dir.parent().map_or(Ok(()), sync_directory)
}

/// Names this start of the machine. Empty where the system does not tell; then every restart counts as a power loss.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The name of a file system on which locks and syncs cannot be trusted, when `dir` is on one.
#[cfg(target_os = "linux")]
pub(super) fn network_file_system(dir: &Path) -> io::Result<Option<&'static str>> {
    // statfs(2) and the kernel's include/uapi/linux/magic.h.
    const REMOTE: [(u32, &str); 12] = [
        (0x6969, "NFS"),
        (0x517B, "SMB"),
        (0xFF53_4D42, "CIFS"),
        (0xFE53_4D42, "SMB2"),
        (0x0102_1997, "9P"),
        (0x5346_414F, "AFS"),
        (0x6B41_4653, "AFS"),
        (0x7375_7245, "Coda"),
        (0x0000_564C, "NCP"),
        (0x00C3_6400, "Ceph"),
        (0x0BD0_0BD0, "Lustre"),
        (0x4750_4653, "GPFS"),
    ];
    let magic = file_system_magic(dir)?;
    Ok(REMOTE.into_iter().find(|(known, _)| *known == magic).map(|(_, name)| name))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn network_file_system(_dir: &Path) -> io::Result<Option<&'static str>> {
    Ok(None)
}

#[cfg(target_os = "linux")]
fn file_system_magic(dir: &Path) -> io::Result<u32> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` ends in a zero byte, `answer` is large enough and is read only after the call filled it.
    #[expect(unsafe_code, reason = "the standard library does not say which file system it is")]
    let answer = unsafe {
        if libc::statfs(path.as_ptr(), answer.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        answer.assume_init()
    };
    // The magic numbers have 32 bits; the field's width and sign differ between architectures.
    Ok(answer.f_type as u32)
}
