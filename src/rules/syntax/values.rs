//! How single values are written in rules: `500 USD`, `2M tokens`, `80%`, `>= 80%`, `mon-fri 09:00-18:00`.

use crate::budget::BasisPoints;
use crate::budget::book::Unit;
use crate::budget::window::{Every, WindowRule};
use crate::clock::Timestamp;
use crate::money::{Usd, parse_decimal};
use crate::rules::condition::{Compare, Measure, Sign};
use crate::rules::timing::{DAYS, TimeOfWeek};
use jiff::tz::TimeZone;
use std::time::Duration;

/// Why a value cannot be read. `what` continues the sentence "`limit` is `foo`, which …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub remedy: String,
}

pub type Read<T> = Result<T, Wrong>;

const NAME_LETTERS_MAX: usize = 64;
const PERCENT_MAX: i128 = 1_000;
const ROLLING_DAYS_MAX: u64 = 366;
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

fn wrong<T>(what: &str, remedy: &str) -> Read<T> {
    Err(Wrong { what: what.to_owned(), remedy: remedy.to_owned() })
}

pub fn name(text: &str) -> Read<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && text.len() <= NAME_LETTERS_MAX && text.chars().all(plain) {
        Ok(text.to_owned())
    } else {
        wrong("is not a name", "use letters, digits, `-`, `_` and `.`, at most 64: `research-month`")
    }
}

pub fn text(text: &str) -> Read<String> {
    match text.chars().count() {
        0 => wrong("is empty", "write something, or leave it out"),
        1..=500 => Ok(text.to_owned()),
        _ => wrong("is too long", "write at most 500 letters"),
    }
}

pub fn yes(text: &str) -> Read<bool> {
    match text {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => wrong("is neither yes nor no", "write `true` or `false`"),
    }
}

/// `1000`, `200k`, `2M`, `1_000`, of at least `min`.
pub fn whole(min: u64, max: u64) -> impl Fn(&str) -> Read<u64> {
    move |text| match scaled(text, 0) {
        Some(number) if (u128::from(min)..=u128::from(max)).contains(&number) => {
            Ok(u64::try_from(number).unwrap_or(max))
        }
        Some(_) => wrong("is out of range", &format!("write a whole number from {min} to {max}")),
        None => {
            wrong("is not a whole number", "write it in digits, with `k` for thousands and `M` for millions: `200k`")
        }
    }
}

/// A number with `k`, `M` or `B` behind it, in units of `10^-decimals`.
fn scaled(text: &str, decimals: u32) -> Option<u128> {
    let text = text.trim();
    let (digits, zeros) = match text.chars().last()? {
        'k' | 'K' => (text.get(..text.len() - 1)?, 3),
        'M' => (text.get(..text.len() - 1)?, 6),
        'B' | 'G' => (text.get(..text.len() - 1)?, 9),
        _ => (text, 0),
    };
    let digits = digits.trim_end().replace('_', "");
    u128::try_from(parse_decimal(&digits, decimals + zeros).ok()?).ok()
}

/// `500 USD`
pub fn dollars(text: &str) -> Read<Usd> {
    match amount(text)? {
        (Unit::PicoUsd, pico) => match i64::try_from(pico) {
            Ok(pico) => Ok(Usd::from_pico(pico)),
            Err(_) => wrong("is too much", "write at most 9000000 USD"),
        },
        _ => wrong("is no sum of money", "write it in dollars: `2 USD`"),
    }
}

/// `500 USD`, `2M tokens`, `1000 requests`.
pub fn amount(text: &str) -> Read<(Unit, u128)> {
    const REMEDY: &str = "write a number and what it counts: `500 USD`, `2M tokens`, `1000 requests`";
    if text.starts_with(['$', '€', '£']) {
        return wrong("has a sign for the currency", "write `USD` behind the number: `500 USD`");
    }
    if text.contains(',') {
        return wrong(
            "has a comma in the number",
            "write thousands as `k` or with `_`, and decimals with a point: `1_000.50 USD`",
        );
    }
    let at = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let (unit, decimals) = match unit.trim() {
        "USD" => (Unit::PicoUsd, 12),
        "tokens" | "token" => (Unit::Tokens, 0),
        "requests" | "request" | "calls" | "call" => (Unit::Requests, 0),
        "" => return wrong("does not say what it counts", REMEDY),
        "usd" | "Usd" | "dollars" | "dollar" => {
            return wrong("spells the currency otherwise", "write `USD`: `500 USD`");
        }
        "EUR" | "GBP" | "JPY" | "CHF" | "CNY" | "INR" => {
            return wrong("is in a currency that prices are not known in", "write it in US dollars: `500 USD`");
        }
        _ => return wrong("counts what is not known here", REMEDY),
    };
    match scaled(number, decimals) {
        // The book counts money of all kinds in 64 bits.
        Some(value) if unit != Unit::PicoUsd || value <= 9_000_000_000_000_000_000 => Ok((unit, value)),
        Some(_) => wrong("is too much", "write at most 9000000 USD"),
        None => wrong("is not an amount", REMEDY),
    }
}

/// `80%`, `12.5%`, up to 1000 %.
pub fn percent(text: &str) -> Read<BasisPoints> {
    const REMEDY: &str = "write it with its sign: `80%`";
    let Some(number) = text.strip_suffix('%') else { return wrong("is no percentage", REMEDY) };
    match parse_decimal(number.trim(), 2) {
        Ok(points) if (1..=PERCENT_MAX * 100).contains(&points) => Ok(BasisPoints(u32::try_from(points).unwrap_or(0))),
        Ok(_) => wrong("is out of range", "write a percentage above 0% and up to 1000%"),
        Err(_) => wrong("is no percentage", REMEDY),
    }
}

/// `>= 80%`; without a sign: at least.
pub fn share(text: &str) -> Read<Compare> {
    let (sign, rest) = sign(text);
    let BasisPoints(points) = percent_or_zero(rest)?;
    Ok(Compare { sign: sign.unwrap_or(Sign::AtLeast), bound: u128::from(points), measure: Measure::Share })
}

/// `< 10 USD`, `> 100k tokens`.
pub fn compared_amount(text: &str) -> Read<Compare> {
    let (sign, rest) = sign(text);
    let (unit, bound) = amount(rest)?;
    compared(sign, bound, Measure::Of(unit))
}

pub fn compared_dollars(text: &str) -> Read<Compare> {
    let (sign, rest) = sign(text);
    let bound = u128::try_from(dollars(rest)?.as_pico()).unwrap_or(0);
    compared(sign, bound, Measure::Of(Unit::PicoUsd))
}

/// `> 100k`, with or without `tokens` behind it.
pub fn compared_tokens(text: &str) -> Read<Compare> {
    let (sign, rest) = sign(text);
    let number = rest.strip_suffix("tokens").unwrap_or(rest);
    let bound = whole(0, u64::MAX)(number.trim())?;
    compared(sign, u128::from(bound), Measure::Of(Unit::Tokens))
}

fn compared(sign: Option<Sign>, bound: u128, measure: Measure) -> Read<Compare> {
    match sign {
        Some(sign) => Ok(Compare { sign, bound, measure }),
        None => wrong("does not say on which side", "write `<`, `<=`, `>` or `>=` before it"),
    }
}

fn percent_or_zero(text: &str) -> Read<BasisPoints> {
    if text.trim() == "0%" { Ok(BasisPoints(0)) } else { percent(text) }
}

fn sign(text: &str) -> (Option<Sign>, &str) {
    let signs = [(">=", Sign::AtLeast), ("<=", Sign::AtMost), (">", Sign::Above), ("<", Sign::Below)];
    let found = signs.into_iter().find_map(|(word, sign)| Some((Some(sign), text.strip_prefix(word)?.trim())));
    found.unwrap_or((None, text.trim()))
}

pub fn zone(text: &str) -> Read<TimeZone> {
    match TimeZone::get(text) {
        Ok(zone) => Ok(zone),
        Err(_) => wrong("is no time zone", "write it as the time-zone database does: `Europe/Berlin`, `UTC`"),
    }
}

/// `month`, `rolling 5h`, `lifetime`.
pub fn window(zone: &TimeZone) -> impl Fn(&str) -> Read<WindowRule> + use<> {
    let zone = zone.clone();
    move |text| {
        const REMEDY: &str = "write `hour`, `day`, `week`, `month`, `year`, `rolling 5h`, `rolling 30d` or `lifetime`";
        if text == "lifetime" {
            return Ok(WindowRule::Lifetime);
        }
        if let Some(length) = text.strip_prefix("rolling") {
            return Ok(WindowRule::Rolling { length: rolling(length.trim())? });
        }
        match every(text) {
            Ok(every) => Ok(WindowRule::Calendar { every, zone: zone.clone(), from: first(every) }),
            Err(_) => wrong("is no window", REMEDY),
        }
    }
}

pub fn every(text: &str) -> Read<Every> {
    match text {
        "hour" => Ok(Every::Hour),
        "day" => Ok(Every::Day),
        "week" => Ok(Every::Week),
        "month" => Ok(Every::Month),
        "year" => Ok(Every::Year),
        _ => wrong("is no period", "write `hour`, `day`, `week`, `month` or `year`"),
    }
}

/// Where a period begins if nothing is written.
pub fn first(every: Every) -> u8 {
    if matches!(every, Every::Day | Every::Hour | Every::Minute) { 0 } else { 1 }
}

/// The 15th of a month, a weekday, an hour of the day, a month of the year.
pub fn from(every: Every) -> impl Fn(&str) -> Read<u8> {
    move |text| {
        let lower = text.to_ascii_lowercase();
        let named = |words: &[&str]| {
            let place = words.iter().position(|word| lower.len() >= 3 && word.starts_with(&lower));
            place.and_then(|place| u8::try_from(place + 1).ok())
        };
        let number = lower.parse::<u8>().ok();
        let (found, remedy) = match every {
            Every::Month => (number.filter(|day| (1..=31).contains(day)), "write the day of the month: `15`"),
            Every::Week => (named(&WEEKDAYS), "write the weekday: `monday`"),
            Every::Year => (named(&MONTHS), "write the month: `april`"),
            Every::Day => {
                let hour = lower.strip_suffix(":00").unwrap_or(&lower).parse::<u8>().ok();
                (hour.filter(|hour| *hour < 24), "write the full hour: `06:00`")
            }
            Every::Hour | Every::Minute => (None, "leave it out: an hour begins with its first minute"),
        };
        match found {
            Some(found) => Ok(found),
            None => wrong("is no beginning of such a window", remedy),
        }
    }
}

fn rolling(text: &str) -> Read<Duration> {
    const REMEDY: &str = "write a whole number and its unit: `rolling 5h`, `rolling 30d`, `rolling 15m`";
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds_per_unit: u64 = match unit.trim() {
        "m" | "min" | "minutes" => 60,
        "h" | "hours" => 3_600,
        "d" | "days" => 86_400,
        _ => return wrong("has no length", REMEDY),
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds_per_unit)) {
        Some(seconds) if (60..=ROLLING_DAYS_MAX * 86_400).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        Some(_) => wrong("is shorter than a minute or longer than a year", REMEDY),
        None => wrong("has no length", REMEDY),
    }
}

/// `mon-fri 09:00-18:00`, `weekend`, `22:00-06:00`, with a zone behind it or the file's.
pub fn time_of_week(zone_of_file: &TimeZone) -> impl Fn(&str) -> Read<TimeOfWeek> + use<> {
    let zone_of_file = zone_of_file.clone();
    move |text| {
        const REMEDY: &str =
            "write days, hours, or both: `mon-fri 09:00-18:00`, `weekend`, `22:00-06:00 Europe/Berlin`";
        let mut time = TimeOfWeek {
            days: [true; 7],
            from: TimeOfWeek::WHOLE_DAY.0,
            to: TimeOfWeek::WHOLE_DAY.1,
            zone: zone_of_file.clone(),
        };
        let mut words = text.split_ascii_whitespace().peekable();
        let mut said = false;
        if let Some(days) = words.peek().and_then(|word| days(word)) {
            (time.days, said) = (days, true);
            words.next();
        }
        if let Some((from, to)) = words.peek().and_then(|word| hours(word)) {
            (time.from, time.to, said) = (from, to, true);
            words.next();
        }
        if let Some(word) = words.next() {
            match TimeZone::get(word) {
                Ok(zone) => time.zone = zone,
                Err(_) => return wrong("is no time of the week", REMEDY),
            }
        }
        if !said || words.next().is_some() {
            return wrong("is no time of the week", REMEDY);
        }
        if time.from == time.to {
            return wrong("ends when it begins", "leave the hours out for whole days");
        }
        Ok(time)
    }
}

fn days(word: &str) -> Option<[bool; 7]> {
    let mut days = [false; 7];
    for part in word.split(',') {
        let span = match part {
            "weekend" => (5, 5 + 1),
            "weekdays" | "weekday" => (0, 4),
            _ => match part.split_once('-') {
                Some((from, to)) => (day(from)?, day(to)?),
                None => (day(part)?, day(part)?),
            },
        };
        let mut at = span.0;
        loop {
            days[at] = true;
            if at == span.1 {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Some(days)
}

fn day(word: &str) -> Option<usize> {
    let lower = word.to_ascii_lowercase();
    DAYS.iter().position(|day| *day == lower).or_else(|| WEEKDAYS.iter().position(|day| *day == lower))
}

fn hours(word: &str) -> Option<(u16, u16)> {
    let (from, to) = word.split_once('-')?;
    Some((clock(from)?, clock(to)?)).filter(|(from, _)| *from < 24 * 60)
}

/// `09:30`; `24:00` is the day's end.
fn clock(word: &str) -> Option<u16> {
    let (hour, minute) = word.split_once(':')?;
    let two = |digits: &str| (digits.len() <= 2).then(|| digits.parse::<u16>().ok())?;
    let (hour, minute) = (two(hour)?, two(minute)?);
    (hour <= 23 && minute <= 59 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

/// `2026-11-01`: its first moment in the zone.
pub fn day_of(zone: &TimeZone) -> impl Fn(&str) -> Read<Timestamp> + use<> {
    let zone = zone.clone();
    move |text| {
        let date: Result<jiff::civil::Date, _> = text.parse();
        let begun = date.ok().filter(|_| text.len() == 10).and_then(|date| date.to_zoned(zone.clone()).ok());
        match begun {
            Some(begun) => Ok(Timestamp(begun.timestamp().as_microsecond())),
            None => wrong("is no day", "write it as `2026-11-01`"),
        }
    }
}

/// `2026-11-21 14:30`, with a zone behind it or the file's; or RFC 3339.
pub fn moment(zone_of_file: &TimeZone) -> impl Fn(&str) -> Read<Timestamp> + use<> {
    let zone_of_file = zone_of_file.clone();
    move |text| {
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Timestamp(at.as_microsecond()));
        }
        let mut words = text.split_ascii_whitespace();
        let date: Option<jiff::civil::Date> = words.next().and_then(|word| word.parse().ok());
        let rest: Vec<&str> = words.collect();
        let (minute, zone) = match rest.as_slice() {
            [] => (Some(0), Some(zone_of_file.clone())),
            [time] => (clock(time), Some(zone_of_file.clone())),
            [time, zone] => (clock(time), TimeZone::get(zone).ok()),
            _ => (None, None),
        };
        let found = date.zip(minute).zip(zone).and_then(|((date, minute), zone)| {
            let (hour, minute) = (i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?);
            (hour < 24).then(|| date.at(hour, minute, 0, 0).to_zoned(zone).ok())?
        });
        match found {
            Some(at) => Ok(Timestamp(at.timestamp().as_microsecond())),
            None => wrong("is no moment", "write it as `2026-11-21 14:30`, or `2026-11-21 14:30 Europe/Berlin`"),
        }
    }
}

/// One of some words.
pub fn one_of<T: Clone + 'static>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Read<T> {
    move |text| match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(meaning.clone()),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let remedy = match crate::yaml::nearest(text, known.iter().copied()) {
                Some(near) => format!("write `{near}`"),
                None => format!("write one of `{}`", known.join("`, `")),
            };
            wrong("is not known here", &remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_say_what_they_count() {
        assert_eq!(amount("500 USD"), Ok((Unit::PicoUsd, 500_000_000_000_000)));
        assert_eq!(amount("0.25 USD"), Ok((Unit::PicoUsd, 250_000_000_000)));
        assert_eq!(amount("2.5M tokens"), Ok((Unit::Tokens, 2_500_000)));
        assert_eq!(amount("1_000 requests"), Ok((Unit::Requests, 1_000)));
        for text in
            ["500", "$500", "500 EUR", "500 usd", "1,000 USD", "x USD", "-5 USD", "0.5 tokens", "99999999 USD", ""]
        {
            assert!(amount(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_without_a_sign_mean_at_least() {
        let at_least = |bound| Compare { sign: Sign::AtLeast, bound, measure: Measure::Share };
        assert_eq!(share("80%"), Ok(at_least(8_000)));
        assert_eq!(share(">= 12.5%"), Ok(at_least(1_250)));
        assert_eq!(share("< 0%").map(|compare| compare.bound), Ok(0));
        assert!(share("80").is_err() && share("=> 80%").is_err() && percent("0%").is_err());
        assert!(compared_amount("10 USD").is_err(), "of an amount, the side must be said");
    }

    #[test]
    fn windows_are_periods_rolling_or_for_ever() {
        let window = window(&TimeZone::UTC);
        assert!(matches!(window("month"), Ok(WindowRule::Calendar { every: Every::Month, from: 1, .. })));
        assert_eq!(window("rolling 5h"), Ok(WindowRule::Rolling { length: Duration::from_secs(18_000) }));
        assert_eq!(window("lifetime"), Ok(WindowRule::Lifetime));
        for text in ["monthly", "rolling", "rolling 5", "rolling 1s", "rolling 400d", "rolling 99999999999999999999d"] {
            assert!(window(text).is_err(), "{text}");
        }
        assert_eq!(
            (from(Every::Week)("wednesday"), from(Every::Year)("apr"), from(Every::Day)("06:00")),
            (Ok(3), Ok(4), Ok(6))
        );
        assert!(from(Every::Month)("32").is_err() && from(Every::Hour)("1").is_err());
    }

    #[test]
    fn times_of_the_week_run_over_midnight_on_the_day_that_they_begin() {
        let time = |text: &str| time_of_week(&TimeZone::UTC)(text).unwrap();
        let at = |text: &str| moment(&TimeZone::UTC)(text).unwrap();
        let night = time("fri 22:00-06:00");
        assert!(night.holds(at("2026-11-20 23:00")) && night.holds(at("2026-11-21 05:59")));
        assert!(!night.holds(at("2026-11-21 06:00")) && !night.holds(at("2026-11-20 05:00")));
        assert!(time("weekend").holds(at("2026-11-22 00:00")) && !time("weekend").holds(at("2026-11-23 00:00")));
        assert!(time("sat-mon 00:00-24:00").holds(at("2026-11-23 12:00")));
        assert!(time("08:00-09:00 Europe/Berlin").holds(at("2026-11-23 07:30")), "zones shift");
        for text in
            ["", "Europe/Berlin", "mon-fri 9-17", "mon-fri 09:00-09:00", "mon 09:00-10:00 Nowhere/Land", "24:00-25:00"]
        {
            assert!(time_of_week(&TimeZone::UTC)(text).is_err(), "{text}");
        }
        assert_eq!(time("weekend 09:00-18:00 Europe/Berlin").to_string(), "weekend 09:00-18:00 Europe/Berlin");
    }
}
