//! A consistent copy of the ledger while it is written.

use super::{Reader, StoreError, schema};
use std::path::Path;

/// What a copy became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    pub bytes: u64,
    pub schema_version: i64,
}

impl Reader {
    /// Writes a compact copy of the ledger, as it is at this moment, to a file that must not exist; on disk when this
    /// returns.
    ///
    /// `VACUUM INTO` reads one snapshot. SQLite's backup interface would start anew at every commit of a server beside
    /// us, and never end under load.
    pub fn copy_into(&self, destination: &Path) -> Result<Copied, StoreError> {
        let copying = |source| StoreError::Io { doing: "write the copy", path: destination.to_owned(), source };
        if destination.exists() {
            return Err(copying(std::io::Error::other("it exists already; name another place")));
        }
        let schema_version = self.with(|connection| {
            connection
                .execute("VACUUM INTO ?1", [destination.to_string_lossy()])
                .map_err(StoreError::sqlite("copy the ledger"))?;
            schema::schema_version(connection)
        })?;
        let file = std::fs::File::open(destination).map_err(copying)?;
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(copying)?;
        file.sync_all().map_err(copying)?;
        Ok(Copied { bytes: file.metadata().map_err(copying)?.len(), schema_version })
    }

    pub fn schema_version(&self) -> Result<i64, StoreError> {
        self.with(schema::schema_version)
    }

    /// The ledger's size in its file, bytes: what a copy will be at most.
    pub fn size_bytes(&self) -> Result<u64, StoreError> {
        let size = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size";
        self.with(|connection| {
            let bytes: i64 = connection
                .query_row(size, [], |row| row.get(0))
                .map_err(StoreError::sqlite("read the ledger's size"))?;
            Ok(bytes.unsigned_abs())
        })
    }
}
