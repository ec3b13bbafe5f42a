//! A file that is made once and then kept: a key, a pepper. Whoever is killed while making it leaves none, not half of one.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Whole or not at all, its owner's alone, on disk when this returns, and never in place of one that another process made
/// at the same moment: read what is there afterwards.
///
/// # Errors
/// The file system's.
pub fn make_once(path: &Path, content: &[u8]) -> Result<(), Error> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(ErrorKind::InvalidInput, "it has no name"));
    };
    let draft = dir.join(format!("{}.{}", name.to_string_lossy(), std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content).and_then(|()| file.sync_all())?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => File::open(dir)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_stays_and_no_draft_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("some.key");
        // What somebody with our number left half done.
        fs::write(dir.path().join(format!("some.key.{}", std::process::id())), "ha").unwrap();
        make_once(&path, b"first").unwrap();
        make_once(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
