//! Where the master key is: a variable, a file, or else a file beside the ledger that whoever needs it first makes.

use super::StoreError;
use super::made_once::make_once;
use crate::secret::Secret;
use crate::tenants::MasterKey;
use std::fs;
use std::io::Error;
use std::path::{Path, PathBuf};

/// Its file in the data directory, where nothing else is said.
pub const MASTER_KEY_FILE: &str = "master.key";
/// The next one, while everything is sealed anew.
const NEXT: &str = "master.key.next";

/// Where the master key is said to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum MasterKeySource {
    /// `FAREBOX_MASTER_KEY`.
    Text(Secret<String>),
    /// `FAREBOX_MASTER_KEY_FILE`.
    File(PathBuf),
    /// Nobody said: beside the ledger.
    #[default]
    DataDir,
}

/// 12 random bytes.
pub fn nonce() -> Result<[u8; 12], StoreError> {
    let mut nonce = [0u8; 12];
    random(&mut nonce).map_err(fault("draw random numbers for", Path::new("a nonce")))?;
    Ok(nonce)
}

impl MasterKeySource {
    /// Reads the master key; the one beside the ledger is made when it is not there.
    pub fn read(&self, data_dir: &Path) -> Result<MasterKey, StoreError> {
        match self {
            MasterKeySource::Text(text) => parsed(text.expose(), Path::new("FAREBOX_MASTER_KEY")),
            MasterKeySource::File(path) => read_file(path),
            MasterKeySource::DataDir => {
                let path = data_dir.join(MASTER_KEY_FILE);
                if !path.exists() {
                    write_new(data_dir, MASTER_KEY_FILE, &fresh()?)?;
                }
                read_file(&path)
            }
        }
    }

    /// Every key that texts here may be sealed under: a rotation may have been cut off between the ledger and the file.
    pub fn candidates(&self, data_dir: &Path) -> Result<Vec<MasterKey>, StoreError> {
        let first = self.read(data_dir)?;
        let next = data_dir.join(NEXT);
        let further = (*self == MasterKeySource::DataDir && next.exists()).then(|| read_file(&next)).transpose()?;
        Ok([first].into_iter().chain(further).collect())
    }

    /// A new key for the data directory's file, written beside it; [`MasterKeySource::put_next`] puts it in place.
    pub fn write_next(data_dir: &Path) -> Result<MasterKey, StoreError> {
        let next = data_dir.join(NEXT);
        if next.exists() {
            return read_file(&next);
        }
        let key = fresh()?;
        write_new(data_dir, NEXT, &key)?;
        Ok(key)
    }

    pub fn put_next(data_dir: &Path) -> Result<(), StoreError> {
        let (next, place) = (data_dir.join(NEXT), data_dir.join(MASTER_KEY_FILE));
        let put = fs::rename(&next, &place).and_then(|()| fs::File::open(data_dir)?.sync_all());
        put.map_err(fault("put the new master key in place at", &place))
    }
}

fn fresh() -> Result<MasterKey, StoreError> {
    let mut key = [0u8; MasterKey::BYTES];
    random(&mut key).map_err(fault("draw random numbers for", Path::new(MASTER_KEY_FILE)))?;
    Ok(MasterKey::new(key))
}

fn random(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| Error::other(format!("no random numbers: {error}")))
}

fn read_file(path: &Path) -> Result<MasterKey, StoreError> {
    let text = fs::read_to_string(path).map_err(fault("read the master key from", path))?;
    parsed(&text, path)
}

fn parsed(text: &str, place: &Path) -> Result<MasterKey, StoreError> {
    MasterKey::parse(text).map_err(|error| fault("read the master key from", place)(Error::other(error)))
}

fn write_new(data_dir: &Path, name: &str, key: &MasterKey) -> Result<(), StoreError> {
    let path = data_dir.join(name);
    let line = format!("{}\n", key.to_hex().expose());
    make_once(&path, line.as_bytes()).map_err(fault("make the master key at", &path))
}

fn fault<'a>(doing: &'static str, path: &'a Path) -> impl Fn(Error) -> StoreError + use<'a> {
    move |source| StoreError::Io { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_data_directorys_key_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = MasterKeySource::DataDir.read(dir.path()).unwrap();
        assert_eq!(MasterKeySource::DataDir.read(dir.path()).unwrap(), first);
        let mode = fs::metadata(dir.path().join(MASTER_KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_rotation_that_was_cut_off_leaves_both_keys_to_open_with() {
        let dir = tempfile::tempdir().unwrap();
        let old = MasterKeySource::DataDir.read(dir.path()).unwrap();
        let new = MasterKeySource::write_next(dir.path()).unwrap();
        assert_eq!(MasterKeySource::DataDir.candidates(dir.path()).unwrap(), [old, new.clone()]);
        assert_eq!(MasterKeySource::write_next(dir.path()).unwrap(), new, "the next try takes it up again");
        MasterKeySource::put_next(dir.path()).unwrap();
        assert_eq!(MasterKeySource::DataDir.candidates(dir.path()).unwrap(), [new]);
    }

    #[test]
    fn a_wrong_key_is_told_by_its_place_and_never_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = MasterKeySource::Text(Secret::new("my-password".to_owned()));
        let told = wrong.read(dir.path()).unwrap_err().to_string();
        assert!(told.contains("FAREBOX_MASTER_KEY") && told.contains("openssl") && !told.contains("my-password"));
    }
}
