//! Which usage was told from outside the proxy already: by the hash of its organisation and its sender's own id, written
//! with the event in one transaction, so that a crash in between leaves both or neither.

use super::{EventRow, Reader, StoreError, saturate};
use crate::event::{Event, TRACKED};
use crate::ids::EventId;
use rusqlite::{Connection, OptionalExtension, params};

/// What tells one piece of told usage from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackedName([u8; 16]);

impl TrackedName {
    /// Ids of different organisations are different, whatever they say.
    pub fn new(organisation: Option<&str>, id: &str) -> TrackedName {
        let mut hash = blake3::Hasher::new();
        hash.update(organisation.unwrap_or_default().as_bytes()).update(b"\0").update(id.as_bytes());
        let mut name = [0; 16];
        hash.finalize_xof().fill(&mut name);
        TrackedName(name)
    }
}

impl Reader {
    /// The event that was booked under this name.
    pub fn tracked(&self, name: TrackedName) -> Result<Option<EventRow>, StoreError> {
        let found = self.with(|connection| {
            connection
                .query_row("SELECT event FROM tracked WHERE name = ?1", [name.0], |row| row.get::<_, i64>(0))
                .optional()
                .map_err(StoreError::sqlite("look for usage that was told before"))
        })?;
        found.map_or(Ok(None), |event| self.event(EventId(event.unsigned_abs())))
    }
}

/// With the event's own row.
pub(super) fn keep(connection: &Connection, event: &Event) -> rusqlite::Result<()> {
    let opening = &event.opening;
    if let Some(id) = opening.client_request_id.as_deref().filter(|_| *opening.decision == *TRACKED) {
        let name = TrackedName::new(opening.caller.organisation.as_deref(), id);
        connection
            .prepare_cached("INSERT OR IGNORE INTO tracked (name, event) VALUES (?1, ?2)")?
            .execute(params![name.0, saturate(opening.id.0)])?;
    }
    Ok(())
}
