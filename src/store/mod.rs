//! The only place that knows SQL: SQLite, bundled.

/// Where a journal stands: everything before it has been folded into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalPosition {
    pub segment: u64,
    pub offset: u64,
}
