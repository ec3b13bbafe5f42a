//! Opening the file: the library's version, pragmas, migrations.

use super::StoreError;
use crate::clock::Timestamp;
use rusqlite::{Connection, OpenFlags, params};
use std::path::Path;
use std::time::Duration;

/// SQLite 3.7.0 to 3.51.2 can corrupt a database in WAL mode when two connections reset the log at once
/// (sqlite.org/wal.html, "the WAL-reset bug"; fixed in 3.51.3).
const LIBRARY_VERSION_MIN: i32 = 3_051_003;
const LIBRARY_VERSION_MIN_TEXT: &str = "3.51.3";

/// `Fbox`: tells our file from any other SQLite database.
const APPLICATION_ID: i32 = 0x4662_6f78;

/// How long a connection waits for another's lock.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Cached statements per connection.
const STATEMENTS_MAX: usize = 64;

/// In order; an applied one is never edited: its checksum is kept in the file.
const MIGRATIONS: [Migration; 16] = [
    Migration { name: "0001_ledger", sql: include_str!("migrations/0001_ledger.sql") },
    Migration { name: "0002_deferred", sql: include_str!("migrations/0002_deferred.sql") },
    Migration { name: "0003_key_index", sql: include_str!("migrations/0003_key_index.sql") },
    Migration { name: "0004_erasures", sql: include_str!("migrations/0004_erasures.sql") },
    Migration { name: "0005_tenants", sql: include_str!("migrations/0005_tenants.sql") },
    Migration { name: "0006_budgets", sql: include_str!("migrations/0006_budgets.sql") },
    Migration { name: "0007_beyond", sql: include_str!("migrations/0007_beyond.sql") },
    Migration { name: "0008_outbox", sql: include_str!("migrations/0008_outbox.sql") },
    Migration { name: "0009_access", sql: include_str!("migrations/0009_access.sql") },
    Migration { name: "0010_provider_keys", sql: include_str!("migrations/0010_provider_keys.sql") },
    Migration { name: "0011_tracked", sql: include_str!("migrations/0011_tracked.sql") },
    Migration { name: "0012_logins", sql: include_str!("migrations/0012_logins.sql") },
    Migration { name: "0013_ways_in", sql: include_str!("migrations/0013_ways_in.sql") },
    Migration { name: "0014_own_rules", sql: include_str!("migrations/0014_own_rules.sql") },
    Migration { name: "0015_identities", sql: include_str!("migrations/0015_identities.sql") },
    Migration { name: "0016_retention", sql: include_str!("migrations/0016_retention.sql") },
];

/// The schema that this farebox writes.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

struct Migration {
    name: &'static str,
    sql: &'static str,
}

pub(super) fn open_for_writing(path: &Path, now: Timestamp) -> Result<Connection, StoreError> {
    check_library()?;
    if let Some(dir) = path.parent() {
        make_private_dir(dir)?;
    }
    let mut connection = Connection::open(path).map_err(StoreError::sqlite("open the ledger"))?;
    make_private_file(path)?;
    prepare(&connection).map_err(StoreError::sqlite("set up the ledger's connection"))?;
    check_identity(&connection, path)?;
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(StoreError::sqlite("switch the ledger to a write-ahead log"))?;
    if mode != "wal" {
        let source = std::io::Error::other(format!("the file system allows journal mode `{mode}` only"));
        return Err(StoreError::Io { doing: "use a write-ahead log for", path: path.to_owned(), source });
    }
    for (pragma, value) in [("synchronous", "FULL"), ("foreign_keys", "ON"), ("wal_autocheckpoint", "4000")] {
        connection.pragma_update(None, pragma, value).map_err(StoreError::sqlite("set up the ledger's connection"))?;
    }
    migrate(&mut connection, path, now)?;
    Ok(connection)
}

/// A connection that cannot write. The ledger must exist and be of a schema that we know.
pub(super) fn open_for_reading(path: &Path) -> Result<Connection, StoreError> {
    check_library()?;
    if !path.exists() {
        return Err(StoreError::Missing { path: path.to_owned() });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(StoreError::sqlite("open the ledger to read"))?;
    prepare(&connection).map_err(StoreError::sqlite("set up the ledger's connection"))?;
    check_identity(&connection, path)?;
    if schema_version(&connection)? == 0 {
        return Err(StoreError::Missing { path: path.to_owned() });
    }
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn check_library() -> Result<(), StoreError> {
    if rusqlite::version_number() < LIBRARY_VERSION_MIN {
        let found = rusqlite::version().to_owned();
        return Err(StoreError::OldLibrary { found, needed: LIBRARY_VERSION_MIN_TEXT });
    }
    Ok(())
}

/// Refuses a file that is not ours, and one whose schema we do not know yet.
fn check_identity(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let reading = StoreError::sqlite("read the ledger's header");
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let is_new = number("SELECT count(*) FROM sqlite_schema").map_err(&reading)? == 0;
    let application = number("PRAGMA application_id").map_err(&reading)?;
    if !is_new && application != i64::from(APPLICATION_ID) {
        return Err(StoreError::NotALedger { path: path.to_owned() });
    }
    let (found, known) = (schema_version(connection)?, SCHEMA_VERSION);
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    Ok(())
}

pub(super) fn schema_version(connection: &Connection) -> Result<i64, StoreError> {
    connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(StoreError::sqlite("read the ledger's schema version"))
}

fn migrate(connection: &mut Connection, path: &Path, now: Timestamp) -> Result<(), StoreError> {
    let migrating = StoreError::sqlite("migrate the ledger");
    let transaction = super::write_transaction(connection).map_err(&migrating)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS migrations (
                 version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_us INTEGER NOT NULL
             ) STRICT",
        )
        .map_err(&migrating)?;
    let applied = schema_version(&transaction)?;
    for (place, migration) in MIGRATIONS.iter().enumerate() {
        let version = place as i64 + 1;
        let checksum = blake3::hash(migration.sql.as_bytes()).to_hex().to_string();
        if version <= applied {
            let kept: String = transaction
                .query_row("SELECT checksum FROM migrations WHERE version = ?1", [version], |row| row.get(0))
                .map_err(&migrating)?;
            if kept != checksum {
                return Err(StoreError::Rewritten { path: path.to_owned(), name: migration.name.to_owned() });
            }
            continue;
        }
        transaction.execute_batch(migration.sql).map_err(&migrating)?;
        transaction
            .execute(
                "INSERT INTO migrations (version, name, checksum, applied_us) VALUES (?1, ?2, ?3, ?4)",
                params![version, migration.name, checksum, now.as_micros()],
            )
            .map_err(&migrating)?;
        transaction.pragma_update(None, "user_version", version).map_err(&migrating)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&migrating)?;
    transaction.commit().map_err(migrating)
}

fn make_private_dir(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| StoreError::Io {
        doing: "make the data directory",
        path: dir.to_owned(),
        source,
    })
}

fn make_private_file(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(|source| StoreError::Io {
        doing: "set the permissions of",
        path: path.to_owned(),
        source,
    })
}
