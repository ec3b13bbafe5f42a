//! Windows: what a budget's limit is for. Computed from `now` through the time-zone database, half-open, never reset by
//! a job.

use crate::clock::Timestamp;
use jiff::tz::TimeZone;
use std::time::Duration;

/// What a limit is for, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowRule {
    Calendar {
        every: Every,
        zone: TimeZone,
        /// Where in the period it begins: the day of a month (1–31, the last day where a month is shorter), of a week
        /// (1 = Monday), the hour of a day. 1 (0 for days) where nothing is written.
        from: u8,
    },
    /// The last `length`, in 60 buckets and the running one.
    Rolling {
        length: Duration,
    },
    Lifetime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Every {
    /// Limits per minute.
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// One window: `start ≤ t < end`. Of a rolling one, this is the running bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub start: Timestamp,
    pub end: Timestamp,
    /// Accounts of the same instance from here on count against the limit; `start` but for rolling windows.
    pub counts_from: Timestamp,
}
