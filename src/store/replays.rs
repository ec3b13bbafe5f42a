//! Writes that were sent with a key of their sender's choice, so that sending one twice does it once. The answer is kept
//! in the same transaction as the change, and without secrets.

use super::{ChangeError, Changes, Register, StoreError};
use rusqlite::{OptionalExtension, params};

/// What was answered to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The hash of what was asked: another question under the same key is a mistake.
    pub asked: [u8; 32],
    pub status: u16,
    /// JSON.
    pub answer: String,
}

impl Register<'_> {
    pub fn replay(&self, who: &str, key: &str) -> Result<Option<Replay>, StoreError> {
        let sql = "SELECT asked, status, answer FROM replays WHERE who = ?1 AND key = ?2";
        self.connection()
            .query_row(sql, [who, key], |row| {
                Ok(Replay { asked: row.get(0)?, status: row.get(1)?, answer: row.get(2)? })
            })
            .optional()
            .map_err(StoreError::sqlite("look for an earlier write"))
    }
}

impl Changes<'_> {
    /// Keeps an answer, and forgets those that are older than a day.
    pub fn keep_replay(&self, who: &str, key: &str, replay: &Replay) -> Result<(), ChangeError> {
        const KEPT_MICROS: i64 = 24 * 3_600 * 1_000_000;
        let now = self.now.as_micros();
        self.transaction.execute("DELETE FROM replays WHERE at_us < ?1", [now - KEPT_MICROS])?;
        self.transaction.execute(
            "INSERT INTO replays (who, key, asked, status, answer, at_us) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![who, key, replay.asked, replay.status, replay.answer, now],
        )?;
        Ok(())
    }
}
