//! The audit log: who changed what, each line bound to the one before it, so that a line changed or taken out later
//! breaks the chain behind it. (Lines taken off its *end* show only to who kept the last hash.)

use super::{Reader, StoreError, saturate};
use crate::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    pub id: u64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    /// `team`, `key` … and its name as it is now: an erased one reads as erased.
    pub kind: &'static str,
    pub subject: String,
    /// JSON; tenants in it are numbers.
    pub detail: String,
    pub hash: [u8; 32],
}

/// What a walk along the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditReport {
    pub lines: u64,
    /// The first line that does not follow from those before it.
    pub broken_at: Option<u64>,
    /// Of the last line; kept elsewhere, it shows whether the end was cut off. Zeros for an empty log.
    pub last_hash: [u8; 32],
}

impl Reader {
    /// The newest lines first, from before this id (`None`: from the end).
    pub fn audit(&self, before: Option<u64>, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
        self.with(|connection| list(connection, before, limit).map_err(StoreError::sqlite("read the audit log")))
    }

    pub fn verify_audit(&self) -> Result<AuditReport, StoreError> {
        self.with(|connection| verify(connection).map_err(StoreError::sqlite("verify the audit log")))
    }
}

pub(super) fn append(
    connection: &Connection,
    now: Timestamp,
    actor: &str,
    action: &str,
    subject: i64,
    detail: &str,
) -> rusqlite::Result<()> {
    let last = connection
        .prepare_cached("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (last_id, last_hash): (i64, [u8; 32]) = last.unwrap_or((0, [0; 32]));
    let id = last_id + 1;
    let link = Link { id, at: now.as_micros(), actor, action, subject, detail };
    connection
        .prepare_cached(
            "INSERT INTO audit (id, at_us, actor, action, subject, detail, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![id, link.at, actor, action, subject, detail, link.hash(&last_hash)])?;
    Ok(())
}

/// What a line's hash is over.
struct Link<'a> {
    id: i64,
    at: i64,
    actor: &'a str,
    action: &'a str,
    subject: i64,
    detail: &'a str,
}

impl Link<'_> {
    /// Each text with its length before it: two lines with other borders between their texts are other lines.
    fn hash(&self, before: &[u8; 32]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("farebox audit log v1");
        hasher.update(before);
        for number in [self.id, self.at, self.subject] {
            hasher.update(&number.to_le_bytes());
        }
        for text in [self.actor, self.action, self.detail] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

fn list(connection: &Connection, before: Option<u64>, limit: usize) -> rusqlite::Result<Vec<AuditLine>> {
    let sql = "SELECT a.id, a.at_us, a.actor, a.action, n.kind, n.text, a.detail, a.hash
               FROM audit a JOIN names n ON n.id = a.subject WHERE a.id < ?1 ORDER BY a.id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let bounds = params![before.map_or(i64::MAX, saturate), saturate(limit as u64)];
    let rows = statement.query_map(bounds, line)?;
    rows.collect()
}

/// As [`list`], but only lines whose subject is kept. Its own loop: what is not kept does not count.
pub(super) fn kept(
    connection: &Connection,
    before: Option<u64>,
    limit: usize,
    keep: &dyn Fn(i64) -> rusqlite::Result<bool>,
) -> rusqlite::Result<Vec<AuditLine>> {
    let sql = "SELECT a.id, a.at_us, a.actor, a.action, n.kind, n.text, a.detail, a.hash, a.subject
               FROM audit a JOIN names n ON n.id = a.subject WHERE a.id < ?1 ORDER BY a.id DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([before.map_or(i64::MAX, saturate)])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        if lines.len() >= limit {
            break;
        }
        if keep(row.get(8)?)? {
            lines.push(line(row)?);
        }
    }
    Ok(lines)
}

fn line(row: &Row<'_>) -> rusqlite::Result<AuditLine> {
    Ok(AuditLine {
        id: row.get::<_, i64>(0)?.unsigned_abs(),
        at: Timestamp(row.get(1)?),
        actor: row.get(2)?,
        action: row.get(3)?,
        kind: match row.get::<_, u8>(4)? {
            1 => "organisation",
            2 => "team",
            3 => "project",
            4 => "key",
            5 => "user",
            14 => "setting",
            15 => "provider-key",
            16 => "budget",
            _ => "other",
        },
        subject: row.get(5)?,
        detail: row.get(6)?,
        hash: row.get(7)?,
    })
}

fn verify(connection: &Connection) -> rusqlite::Result<AuditReport> {
    let sql = "SELECT id, at_us, actor, action, subject, detail, hash FROM audit ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut report = AuditReport { lines: 0, broken_at: None, last_hash: [0; 32] };
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let link = Link {
            id,
            at: row.get(1)?,
            actor: row.get_ref(2)?.as_str()?,
            action: row.get_ref(3)?.as_str()?,
            subject: row.get(4)?,
            detail: row.get_ref(5)?.as_str()?,
        };
        let follows =
            id.unsigned_abs() == report.lines + 1 && link.hash(&report.last_hash) == row.get::<_, [u8; 32]>(6)?;
        if !follows && report.broken_at.is_none() {
            report.broken_at = Some(id.unsigned_abs());
        }
        report.last_hash = row.get(6)?;
        report.lines += 1;
    }
    Ok(report)
}
