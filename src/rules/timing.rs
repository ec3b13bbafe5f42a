//! Times of the week: `mon-fri 09:00-18:00`, `weekend`, `22:00-06:00`.

use crate::clock::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;

pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// Some hours of some days. Hours that end before they begin run over midnight and belong to the day that they begin on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeOfWeek {
    /// Monday first.
    pub days: [bool; 7],
    /// Minutes since midnight, by the clock on the wall.
    pub from: u16,
    /// Exclusive.
    pub to: u16,
    pub zone: TimeZone,
}

impl TimeOfWeek {
    pub const WHOLE_DAY: (u16, u16) = (0, MINUTES_OF_A_DAY);

    pub fn holds(&self, now: Timestamp) -> bool {
        let Some((day, minute)) = self.at(now) else { return false };
        let yesterday = (day + 6) % 7;
        if self.from < self.to {
            self.days[day] && (self.from..self.to).contains(&minute)
        } else {
            (self.days[day] && minute >= self.from) || (self.days[yesterday] && minute < self.to)
        }
    }

    /// `sat 14:05 Europe/Berlin`
    pub fn clock(&self, now: Timestamp) -> String {
        match self.at(now) {
            Some((day, minute)) => format!("{} {} {}", DAYS[day], hour(minute), name_of(&self.zone)),
            None => "no time".to_owned(),
        }
    }

    fn at(&self, now: Timestamp) -> Option<(usize, u16)> {
        let civil = jiff::Timestamp::from_microsecond(now.as_micros()).ok()?.to_zoned(self.zone.clone()).datetime();
        let day = usize::try_from(civil.weekday().to_monday_zero_offset()).ok()?;
        let minute = u16::try_from(civil.hour()).ok()? * 60 + u16::try_from(civil.minute()).ok()?;
        Some((day, minute))
    }
}

impl fmt::Display for TimeOfWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = (0..7).filter(|day| self.days[*day]).map(|day| DAYS[day]).collect();
        let words = match days.as_slice() {
            ["mon", "tue", "wed", "thu", "fri"] => "mon-fri".to_owned(),
            ["sat", "sun"] => "weekend".to_owned(),
            all if all.len() == 7 => String::new(),
            some => some.join(","),
        };
        let hours = if (self.from, self.to) == Self::WHOLE_DAY {
            String::new()
        } else {
            format!("{}-{}", hour(self.from), hour(self.to))
        };
        let parts = [words, hours, name_of(&self.zone)];
        f.write_str(&parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" "))
    }
}

fn hour(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

pub fn name_of(zone: &TimeZone) -> String {
    zone.iana_name().unwrap_or("UTC").to_owned()
}
