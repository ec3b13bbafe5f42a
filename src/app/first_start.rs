//! The first start of a node that nobody could use yet (`FAREBOX_MINT_ON_FIRST_START=yes`, as the shipped compose file
//! says): an owner's token for the admin port and one virtual key. Printed once, and kept in a file of the data directory
//! that only its owner may read.

use super::Failure;
use crate::clock::Timestamp;
use crate::store::{ChangeError, Changes, Holder, NewKey, Reader, Store, StoreError, drawn};
use crate::tenants::{Digest, KeyText, Role};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Its file in the data directory.
const FILE: &str = "first-start";
/// Whose the token is: an account of a program, since a person makes himself known by a password.
const OWNER: &str = "first-owner";
const KEY: &str = "first";

/// Mints both, unless there are keys or people already, deleted keys included.
pub(super) fn mint(data_dir: &Path, reader: &Reader, now: Timestamp) -> Result<(), Failure> {
    match minted(data_dir, reader, now) {
        Ok(Some(told)) => {
            println!("{told}");
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(Failure::Fault(format!("the first keys cannot be made: {error}"))),
    }
}

fn minted(data_dir: &Path, reader: &Reader, now: Timestamp) -> Result<Option<String>, ChangeError> {
    let is_in_use =
        reader.register(|register| register.has_members())? || !reader.virtual_keys(Holder::Anyone, true)?.is_empty();
    if is_in_use {
        return Ok(None);
    }
    let token = drawn(data_dir, KeyText::token_from_random)?;
    let key = drawn(data_dir, KeyText::from_random)?;
    let path = data_dir.join(FILE);
    let told = format!(
        "Farebox's first start. Shown this once, and kept in {} until you delete it:\n  admin port, owner:      {}\n  data port, virtual key: {}",
        path.display(),
        token.0.expose(),
        key.0.expose(),
    );
    // Before they open anything: a start that dies in between mints anew and writes over it.
    keep(&path, &told).map_err(|source| StoreError::Io { doing: "keep the first keys in", path, source })?;
    let mut store = Store::open(data_dir, now)?;
    store.change(now, "first start", |changes| write(changes, &token, &key))?;
    Ok(Some(told))
}

fn write(changes: &Changes<'_>, token: &(KeyText, Digest), key: &(KeyText, Digest)) -> Result<(), ChangeError> {
    changes.create_program(OWNER, None)?;
    changes.grant(OWNER, None, Role::Owner)?;
    changes.create_token(OWNER, "first start", &token.1, token.0.prefix(), None)?;
    changes.create_key(&NewKey {
        name: KEY,
        holder: None,
        user: None,
        permissions: &Default::default(),
        limits: &Default::default(),
        tags: &Vec::new(),
        not_after: None,
        digest: key.1,
        prefix: key.0.prefix(),
    })
}

fn keep(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all())?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
