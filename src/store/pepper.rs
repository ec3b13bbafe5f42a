//! The random key under which virtual keys are hashed. It stands beside the ledger's file, not in it: a copy of the
//! database alone does not tell whether a guessed key is right. Whoever needs it first makes it.

use super::StoreError;
use super::made_once::make_once;
use crate::tenants::{Digest, KeyText, Pepper};
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

/// Its file in the data directory.
pub const PEPPER_FILE: &str = "keys.pepper";

/// Reads the pepper of a data directory, or makes it.
///
/// # Errors
/// The file cannot be read or made, or is not 32 bytes long: with another pepper no key would open anything.
pub fn pepper(data_dir: &Path) -> Result<Pepper, StoreError> {
    let path = data_dir.join(PEPPER_FILE);
    let fault = |doing| move |source| StoreError::Io { doing, path: data_dir.join(PEPPER_FILE), source };
    match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(&path).map_err(fault("make the pepper of virtual keys in"))?;
            fs::read(&path)
        }
        read => read,
    }
    .and_then(|bytes| {
        let damaged = |_| Error::other("it is damaged: 32 bytes are expected; put back the one of your backup");
        bytes.try_into().map_err(damaged)
    })
    .map(Pepper::new)
    .map_err(fault("read the pepper of virtual keys from"))
}

/// A new text of a key or token, from 256 random bits, and its hash under the pepper.
///
/// # Errors
/// As [`pepper`], and where the system gives no random numbers.
pub fn drawn(data_dir: &Path, written: fn(&[u8; 32]) -> KeyText) -> Result<(KeyText, Digest), StoreError> {
    let mut bits = [0u8; 32];
    getrandom::fill(&mut bits).map_err(|error| StoreError::Io {
        doing: "draw random numbers for",
        path: data_dir.to_owned(),
        source: Error::other(error.to_string()),
    })?;
    let text = written(&bits);
    let digest = pepper(data_dir)?.digest(text.expose());
    Ok((text, digest))
}

fn make(path: &Path) -> Result<(), Error> {
    let mut key = [0u8; Pepper::BYTES];
    getrandom::fill(&mut key).map_err(|error| Error::other(format!("no random numbers: {error}")))?;
    make_once(path, &key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_pepper_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = pepper(dir.path()).unwrap().digest("fb-x");
        assert!(first == pepper(dir.path()).unwrap().digest("fb-x"));
        let mode = fs::metadata(dir.path().join(PEPPER_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_pepper_is_never_replaced_by_another() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(PEPPER_FILE), b"short").unwrap();
        assert!(pepper(dir.path()).unwrap_err().to_string().contains("damaged"));
        assert_eq!(fs::read(dir.path().join(PEPPER_FILE)).unwrap(), b"short");
    }
}
