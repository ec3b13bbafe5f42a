//! The disk that a data directory is on.

use super::place;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a disk has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Files that can still be made; `None`: the file system has no bound.
    pub free_files: Option<u64>,
    /// A file system on which locks and syncs cannot be trusted.
    pub network: Option<&'static str>,
    /// Whoever asks may write there.
    pub writable: bool,
}

impl Volume {
    /// `dir` must exist.
    pub fn of(dir: &Path) -> io::Result<Volume> {
        let path = std::ffi::CString::new(dir.as_os_str().as_bytes()).map_err(io::Error::other)?;
        let mut answer = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: `path` ends in a zero byte, `answer` is large enough and is read only after the call filled it.
        #[expect(unsafe_code, reason = "the standard library does not say how much is free")]
        let (answer, writable) = unsafe {
            if libc::statvfs(path.as_ptr(), answer.as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            (answer.assume_init(), libc::access(path.as_ptr(), libc::W_OK | libc::X_OK) == 0)
        };
        // Their widths differ between systems.
        #[expect(clippy::unnecessary_cast, reason = "not everywhere 64 bits")]
        let (block, free, all) = (answer.f_frsize as u64, answer.f_bavail as u64, answer.f_blocks as u64);
        #[expect(clippy::unnecessary_cast, reason = "not everywhere 64 bits")]
        let (files, free_files) = (answer.f_files as u64, answer.f_favail as u64);
        Ok(Volume {
            free_bytes: free.saturating_mul(block),
            total_bytes: all.saturating_mul(block),
            free_files: (files > 0).then_some(free_files),
            network: place::network_file_system(dir)?,
            writable,
        })
    }
}
