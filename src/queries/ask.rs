//! Reading what people ask: groups, filters, ranges of time, limits. Pure; a fault names the field and the remedy.

use crate::clock::Timestamp;
use crate::store::{Dimension, Filter, GroupBy, TimeRange, TimeUnit};
use jiff::tz::TimeZone;

/// Members of `group_by`; more make groups of one.
pub const GROUP_BY_MAX: usize = 6;
/// Filters in one question, values included.
pub const FILTERS_MAX: usize = 100;
/// Bytes of one filter value.
pub const VALUE_BYTES_MAX: usize = 512;

/// A question that cannot be answered as it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {problem}; {remedy}")]
pub struct Misasked {
    pub field: String,
    pub problem: String,
    pub remedy: String,
}

impl Misasked {
    pub fn new(field: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Misasked { field: field.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// Reads `day,model` as it is given to `field`.
pub fn group_by(field: &str, texts: &[String]) -> Result<Vec<GroupBy>, Misasked> {
    let mut groups = Vec::new();
    for name in texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
        let group = GroupBy::named(name)
            .ok_or_else(|| Misasked::new(field, format!("no group is named `{}`", short(name)), one_of_groups(name)))?;
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    if groups.len() > GROUP_BY_MAX {
        let problem = format!("{} groups are too many", groups.len());
        return Err(Misasked::new(field, problem, format!("give at most {GROUP_BY_MAX}")));
    }
    Ok(groups)
}

/// Adds one `dimension=value` to the filters: the same dimension twice means either value.
pub fn add_filter(filters: &mut Vec<Filter>, field: &str, name: &str, value: &str) -> Result<(), Misasked> {
    let Some(dimension) = Dimension::named(name) else {
        return Err(Misasked::new(field, format!("nothing is named `{}`", short(name)), one_of_dimensions(name)));
    };
    if value.len() > VALUE_BYTES_MAX {
        let problem = format!("a value of {} bytes is too long", value.len());
        return Err(Misasked::new(
            field,
            problem,
            format!("give at most {VALUE_BYTES_MAX} bytes, `*` stands for any text"),
        ));
    }
    if filters.iter().map(|filter| filter.values.len()).sum::<usize>() >= FILTERS_MAX {
        return Err(Misasked::new(field, "too many filters", format!("give at most {FILTERS_MAX}")));
    }
    match filters.iter_mut().find(|filter| filter.dimension == dimension) {
        Some(filter) => filter.values.push(value.to_owned()),
        None => filters.push(Filter { dimension, values: vec![value.to_owned()] }),
    }
    Ok(())
}

/// Reads `model=gpt-*`.
pub fn filter_pair(filters: &mut Vec<Filter>, field: &str, text: &str) -> Result<(), Misasked> {
    let Some((name, value)) = text.split_once('=') else {
        let problem = format!("`{}` has no `=`", short(text));
        return Err(Misasked::new(field, problem, "write NAME=VALUE, such as model=gpt-4o"));
    };
    add_filter(filters, field, name.trim(), value)
}

/// Reads a range from the texts of its two ends.
pub fn range(from: (&str, Option<&str>), to: (&str, Option<&str>), now: Timestamp) -> Result<TimeRange, Misasked> {
    let end = |(field, text): (&str, Option<&str>)| text.map(|text| moment(field, text, now)).transpose();
    let range = TimeRange { from: end(from)?, to: end(to)? };
    if let (Some(start), Some(stop)) = (range.from, range.to)
        && start >= stop
    {
        let problem = format!("the range ends ({}) before it begins ({})", stop.to_rfc3339(), start.to_rfc3339());
        return Err(Misasked::new(to.0, problem, format!("give a later `{}` or an earlier `{}`", to.0, from.0)));
    }
    Ok(range)
}

/// Reads a moment: `90m`, `24h`, `7d`, `2w` before now; `2026-11`, `2026-11-21` (their first moment, UTC); RFC 3339.
pub fn moment(field: &str, text: &str, now: Timestamp) -> Result<Timestamp, Misasked> {
    let text = text.trim();
    before_now(text, now).or_else(|| of_calendar(text)).or_else(|| of_rfc3339(text)).ok_or_else(|| {
        Misasked::new(
            field,
            format!("`{}` is not a moment", short(text)),
            "write `24h`, `7d`, `2026-11-21`, `2026-11` or `2026-11-21T10:00:00Z`",
        )
    })
}

/// Reads a count between 1 and `max`.
pub fn count(field: &str, text: Option<&str>, default: usize, max: usize) -> Result<usize, Misasked> {
    let Some(text) = text else { return Ok(default) };
    text.parse().ok().filter(|count| (1..=max).contains(count)).ok_or_else(|| {
        let problem = format!("`{}` is not a number from 1 to {max}", short(text));
        Misasked::new(field, problem, format!("leave it out for {default}, or give 1 to {max}"))
    })
}

fn before_now(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let count: u32 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    let micros = i64::from(count).checked_mul(seconds)?.checked_mul(1_000_000)?;
    Some(Timestamp(now.as_micros().checked_sub(micros)?))
}

fn of_calendar(text: &str) -> Option<Timestamp> {
    let whole = if text.len() == "2026-11".len() { format!("{text}-01") } else { text.to_owned() };
    if whole.len() != "2026-11-21".len() {
        return None;
    }
    let date: jiff::civil::Date = whole.parse().ok()?;
    Some(Timestamp(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond()))
}

fn of_rfc3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|moment| Timestamp(moment.as_microsecond()))
}

fn one_of_groups(name: &str) -> String {
    let units = TimeUnit::ALL.into_iter().map(|unit| unit.name().to_owned());
    one_of(name, units.chain(Dimension::NAMED.iter().map(Dimension::name)).collect())
}

fn one_of_dimensions(name: &str) -> String {
    one_of(name, Dimension::NAMED.iter().map(Dimension::name).collect())
}

fn one_of(name: &str, mut known: Vec<String>) -> String {
    known.push("tag.NAME".to_owned());
    let nearest = known.iter().find(|candidate| candidate.starts_with(name) || name.starts_with(candidate.as_str()));
    match nearest.filter(|_| !name.is_empty()) {
        Some(nearest) => format!("did you mean `{nearest}`? One of: {}", known.join(", ")),
        None => format!("one of: {}", known.join(", ")),
    }
}

/// What people wrote, short enough to be shown again.
fn short(text: &str) -> String {
    text.chars().take(60).collect()
}
