//! Windows: what a budget's limit is for. Computed from `now` through the time-zone database, half-open, never reset by
//! a job.
//!
//! A calendar window lies between two beginnings of its period. A beginning that the clocks skip is the moment they
//! skip to; one that they show twice is the first of the two: so every moment is in exactly one window, days have 23 or
//! 25 hours where they do, and a day that a country skipped has no window. Hours are cut at each change of the clocks.

use crate::clock::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use std::time::Duration;

/// Whole buckets of a rolling window, beside the running one.
pub const BUCKETS: i64 = 60;

const MINUTE_MICROS: i64 = 60_000_000;
const HOUR_MICROS: i64 = 3_600_000_000;

/// What a limit is for, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WindowRule {
    Calendar {
        every: Every,
        zone: TimeZone,
        /// Where in the period it begins: the day of a month (1–31, the last day where a month is shorter), of a week
        /// (1 = Monday), the month of a year (1 = January), the hour of a day. 1 (0 for days) where nothing is written.
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

impl WindowRule {
    /// The window that `now` is in. The same for every moment of it, so it may be kept until `end`.
    pub fn at(&self, now: Timestamp) -> Window {
        match self {
            WindowRule::Calendar { every: Every::Minute, .. } => aligned(now, MINUTE_MICROS),
            WindowRule::Calendar { every: Every::Hour, zone, .. } => hour(now, zone),
            WindowRule::Calendar { every, zone, from } => {
                calendar(now, *every, zone, *from).map_or(Window::LIFETIME, |(start, end)| Window::new(start, end))
            }
            WindowRule::Rolling { length } => rolling(now, *length),
            WindowRule::Lifetime => Window::LIFETIME,
        }
    }

    /// How long one bucket of a rolling window is; `None` for others. Rounded up, so that the buckets cover `length`.
    pub fn bucket(&self) -> Option<Duration> {
        match self {
            WindowRule::Rolling { length } => {
                Some(Duration::from_micros(u64::try_from(bucket_micros(*length)).unwrap_or(1)))
            }
            WindowRule::Calendar { .. } | WindowRule::Lifetime => None,
        }
    }
}

impl Window {
    /// Never ends. Begins with 1970, so that its id is the same at every start.
    pub const LIFETIME: Window = Window { start: Timestamp(0), end: Timestamp(i64::MAX), counts_from: Timestamp(0) };

    fn new(start: Timestamp, end: Timestamp) -> Window {
        Window { start, end, counts_from: start }
    }

    pub fn contains(&self, moment: Timestamp) -> bool {
        *self == Window::LIFETIME || (self.start <= moment && moment < self.end)
    }

    /// When something is freed: all of a calendar window at its end, the oldest bucket of a rolling one; `None`: never.
    pub fn resets_at(&self) -> Option<Timestamp> {
        (self.end.0 != i64::MAX).then_some(self.end)
    }

    /// Made of buckets: what was spent in several accounts counts.
    pub fn is_rolling(&self) -> bool {
        self.counts_from < self.start
    }

    /// Of a rolling window: when what was spent in the bucket that began at `start` no longer counts.
    pub fn leaves_at(&self, start: Timestamp) -> Timestamp {
        let span = self.end.0.saturating_sub(self.counts_from.0);
        Timestamp(start.0.saturating_add(span))
    }
}

/// Windows of equal length, counted from 1970.
fn aligned(now: Timestamp, length: i64) -> Window {
    let start = now.0.div_euclid(length).saturating_mul(length);
    Window::new(Timestamp(start), Timestamp(start.saturating_add(length)))
}

fn rolling(now: Timestamp, length: Duration) -> Window {
    let bucket = bucket_micros(length);
    let running = aligned(now, bucket);
    let counts_from = running.start.0.saturating_sub(bucket.saturating_mul(BUCKETS));
    Window { counts_from: Timestamp(counts_from), ..running }
}

fn bucket_micros(length: Duration) -> i64 {
    let micros = i64::try_from(length.as_micros()).unwrap_or(i64::MAX);
    (micros / BUCKETS + i64::from(micros % BUCKETS != 0)).max(1)
}

/// Real hours on the zone's own marks, cut where its clocks change.
fn hour(now: Timestamp, zone: &TimeZone) -> Window {
    let Ok(moment) = jiff::Timestamp::from_microsecond(now.0) else { return aligned(now, HOUR_MICROS) };
    let offset = i64::from(zone.to_offset(moment).seconds()).saturating_mul(1_000_000);
    let local = aligned(Timestamp(now.0.saturating_add(offset)), HOUR_MICROS);
    let (mut start, mut end) = (local.start.0.saturating_sub(offset), local.end.0.saturating_sub(offset));
    // A change at this very moment has happened already: `preceding` asks for earlier ones only.
    let after = jiff::Timestamp::from_microsecond(now.0.saturating_add(1)).unwrap_or(moment);
    if let Some(change) = zone.preceding(after).next() {
        start = start.max(change.timestamp().as_microsecond());
    }
    if let Some(change) = zone.following(moment).next() {
        end = end.min(change.timestamp().as_microsecond());
    }
    Window::new(Timestamp(start), Timestamp(end))
}

/// `None` at the edges of the calendar, thousands of years away.
fn calendar(now: Timestamp, every: Every, zone: &TimeZone, from: u8) -> Option<(Timestamp, Timestamp)> {
    let moment = jiff::Timestamp::from_microsecond(now.0).ok()?;
    let today = moment.to_zoned(zone.clone());
    let mut period = Period::around(&today, every, from)?;
    while period.begins(zone)? > now {
        period = period.moved(-1)?;
    }
    let mut next = period.moved(1)?;
    while next.begins(zone)? <= now {
        (period, next) = (next, next.moved(1)?);
    }
    Some((period.begins(zone)?, next.begins(zone)?))
}

/// One day, week, month or year, by the day it begins on.
#[derive(Clone, Copy, Debug)]
struct Period {
    every: Every,
    from: u8,
    /// Of months and years: the first of the month in which it begins.
    on: Date,
}

impl Period {
    /// One that begins near `now`.
    fn around(now: &Zoned, every: Every, from: u8) -> Option<Period> {
        let date = now.date();
        let on = match every {
            Every::Minute | Every::Hour | Every::Day => date,
            Every::Week => {
                let first = Weekday::from_monday_one_offset(i8::try_from(from.clamp(1, 7)).ok()?).ok()?;
                let since = date.weekday().since(first);
                date.checked_sub(i64::from(since).days()).ok()?
            }
            Every::Month => date.first_of_month(),
            Every::Year => Date::new(date.year(), i8::try_from(from.clamp(1, 12)).ok()?, 1).ok()?,
        };
        Some(Period { every, from, on })
    }

    fn moved(self, by: i64) -> Option<Period> {
        let span = match self.every {
            Every::Minute | Every::Hour | Every::Day => by.days(),
            Every::Week => by.weeks(),
            Every::Month => by.months(),
            Every::Year => by.years(),
        };
        Some(Period { on: self.on.checked_add(span).ok()?, ..self })
    }

    fn begins(self, zone: &TimeZone) -> Option<Timestamp> {
        let (date, hour) = match self.every {
            Every::Minute | Every::Hour | Every::Day => (self.on, i8::try_from(self.from.min(23)).ok()?),
            Every::Week | Every::Year => (self.on, 0),
            Every::Month => {
                let day = i8::try_from(self.from.clamp(1, 31)).ok()?.min(self.on.days_in_month());
                (Date::new(self.on.year(), self.on.month(), day).ok()?, 0)
            }
        };
        let moment = zone.to_ambiguous_timestamp(date.at(hour, 0, 0, 0)).compatible().ok()?;
        Some(Timestamp(moment.as_microsecond()))
    }
}

#[cfg(test)]
mod tests;
