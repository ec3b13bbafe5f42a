//! What can be asked of the ledger: dimensions to group and filter by, units of time, ranges.

use super::names::NameKind;
use crate::clock::Timestamp;
use crate::ids::{EPOCH_MILLIS, MILLIS_SHIFT, id_at, made_at};

/// A property of events to group or filter by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    Provider,
    /// The model that was sent upstream, and so priced; the requested one where none was sent.
    Model,
    RequestedModel,
    UpstreamModel,
    ResponseModel,
    Operation,
    Dialect,
    Outcome,
    Organisation,
    Team,
    Project,
    Key,
    User,
    EndUser,
    Session,
    Run,
    Environment,
    PromptName,
    ServiceTier,
    UsageSource,
    /// `priced`, `unmetered`, or why there is no price.
    Pricing,
    Decision,
    Rule,
    FinishReason,
    /// The provider's HTTP status.
    Status,
    Stream,
    Complete,
    /// The value of one tag.
    Tag(String),
}

/// How a dimension's column is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Name(NameKind),
    Integer,
    Flag,
}

impl Dimension {
    /// Every dimension that has a fixed name, in the order of help texts.
    pub const NAMED: [Dimension; 27] = [
        Dimension::Provider,
        Dimension::Model,
        Dimension::RequestedModel,
        Dimension::UpstreamModel,
        Dimension::ResponseModel,
        Dimension::Operation,
        Dimension::Dialect,
        Dimension::Outcome,
        Dimension::Organisation,
        Dimension::Team,
        Dimension::Project,
        Dimension::Key,
        Dimension::User,
        Dimension::EndUser,
        Dimension::Session,
        Dimension::Run,
        Dimension::Environment,
        Dimension::PromptName,
        Dimension::ServiceTier,
        Dimension::UsageSource,
        Dimension::Pricing,
        Dimension::Decision,
        Dimension::Rule,
        Dimension::FinishReason,
        Dimension::Status,
        Dimension::Stream,
        Dimension::Complete,
    ];

    /// Reads `model`, `key` …, and `tag.NAME`.
    pub fn named(name: &str) -> Option<Dimension> {
        match name.strip_prefix("tag.") {
            Some(tag) if !tag.is_empty() => Some(Dimension::Tag(tag.to_owned())),
            Some(_) => None,
            None => Dimension::NAMED.into_iter().find(|dimension| dimension.name() == name),
        }
    }

    pub fn name(&self) -> String {
        match self {
            Dimension::Tag(tag) => format!("tag.{tag}"),
            Dimension::Model => "model".to_owned(),
            named => named.rollup_column().trim_end_matches("_id").to_owned(),
        }
    }

    /// The column of a rollup that has this dimension.
    pub(super) fn rollup_column(&self) -> &'static str {
        match self {
            Dimension::Provider => "provider_id",
            Dimension::Model => "model_id",
            Dimension::RequestedModel => "requested_model_id",
            Dimension::UpstreamModel => "upstream_model_id",
            Dimension::ResponseModel => "response_model_id",
            Dimension::Operation => "operation_id",
            Dimension::Dialect => "dialect_id",
            Dimension::Outcome => "outcome_id",
            Dimension::Organisation => "organisation_id",
            Dimension::Team => "team_id",
            Dimension::Project => "project_id",
            Dimension::Key => "key_id",
            Dimension::User => "user_id",
            Dimension::EndUser => "end_user_id",
            Dimension::Session => "session_id",
            Dimension::Run => "run_id",
            Dimension::Environment => "environment_id",
            Dimension::PromptName => "prompt_name_id",
            Dimension::ServiceTier => "service_tier_id",
            Dimension::UsageSource => "usage_source_id",
            Dimension::Pricing => "pricing_id",
            Dimension::Decision => "decision_id",
            Dimension::Rule => "rule_id",
            Dimension::FinishReason => "finish_reason_id",
            Dimension::Status => "status",
            Dimension::Stream => "stream",
            Dimension::Complete => "complete",
            Dimension::Tag(_) => "tags_id",
        }
    }

    /// The same over a row of `events`.
    pub(super) fn event_expression(&self) -> &'static str {
        match self {
            Dimension::Model => "iif(upstream_model_id <> 0, upstream_model_id, requested_model_id)",
            other => other.rollup_column(),
        }
    }

    pub(super) fn reading(&self) -> Reading {
        match self {
            Dimension::Status => Reading::Integer,
            Dimension::Stream | Dimension::Complete => Reading::Flag,
            Dimension::Provider => Reading::Name(NameKind::Provider),
            Dimension::Model | Dimension::RequestedModel | Dimension::UpstreamModel | Dimension::ResponseModel => {
                Reading::Name(NameKind::Model)
            }
            Dimension::Organisation => Reading::Name(NameKind::Organisation),
            Dimension::Team => Reading::Name(NameKind::Team),
            Dimension::Project => Reading::Name(NameKind::Project),
            Dimension::Key => Reading::Name(NameKind::Key),
            Dimension::User => Reading::Name(NameKind::User),
            Dimension::EndUser => Reading::Name(NameKind::EndUser),
            Dimension::Session => Reading::Name(NameKind::Session),
            Dimension::Run => Reading::Name(NameKind::Run),
            Dimension::Environment => Reading::Name(NameKind::Environment),
            Dimension::PromptName => Reading::Name(NameKind::PromptName),
            Dimension::Tag(_) => Reading::Name(NameKind::Tags),
            Dimension::Operation
            | Dimension::Dialect
            | Dimension::Outcome
            | Dimension::ServiceTier
            | Dimension::UsageSource
            | Dimension::Pricing
            | Dimension::Decision
            | Dimension::Rule
            | Dimension::FinishReason => Reading::Name(NameKind::Word),
        }
    }
}

/// Keeps the events whose dimension has one of the values. `*` in a value stands for any text; an empty value is
/// "none". For [`Dimension::Status`] values are numbers, for flags `true` and `false`; others match nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub dimension: Dimension,
    pub values: Vec<String>,
}

/// A unit of calendar time, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeUnit {
    Hour,
    Day,
    Month,
}

impl TimeUnit {
    pub const ALL: [TimeUnit; 3] = [TimeUnit::Hour, TimeUnit::Day, TimeUnit::Month];

    pub fn name(self) -> &'static str {
        match self {
            TimeUnit::Hour => "hour",
            TimeUnit::Day => "day",
            TimeUnit::Month => "month",
        }
    }

    /// The start of the unit that holds this second.
    pub fn floor(self, second: i64) -> i64 {
        match self {
            TimeUnit::Hour => second - second.rem_euclid(3_600),
            TimeUnit::Day => second - second.rem_euclid(86_400),
            TimeUnit::Month => month_start(second).0,
        }
    }

    /// The start of the unit behind the one that holds this second.
    pub fn next(self, second: i64) -> i64 {
        match self {
            TimeUnit::Hour => self.floor(second) + 3_600,
            TimeUnit::Day => self.floor(second) + 86_400,
            TimeUnit::Month => month_start(second).1,
        }
    }

    /// `2026-11-21T23:00Z`, `2026-11-21`, `2026-11`.
    pub fn write(self, second: i64) -> String {
        let Ok(moment) = jiff::Timestamp::from_second(second) else { return format!("{second}s") };
        match self {
            TimeUnit::Hour => moment.strftime("%Y-%m-%dT%H:%MZ").to_string(),
            TimeUnit::Day => moment.strftime("%Y-%m-%d").to_string(),
            TimeUnit::Month => moment.strftime("%Y-%m").to_string(),
        }
    }

    /// The same as [`TimeUnit::floor`] in SQL, of an expression in seconds.
    pub(super) fn floor_sql(self, seconds: &str) -> String {
        match self {
            TimeUnit::Hour => format!("({seconds}) / 3600 * 3600"),
            TimeUnit::Day => format!("({seconds}) / 86400 * 86400"),
            TimeUnit::Month => format!("unixepoch({seconds}, 'unixepoch', 'start of month')"),
        }
    }
}

/// The second of an event's id, in SQL.
pub(super) fn event_second_sql(id: &str) -> String {
    format!("(({id} >> {MILLIS_SHIFT}) + {EPOCH_MILLIS}) / 1000")
}

fn month_start(second: i64) -> (i64, i64) {
    let fallback = (second, second + 1);
    let Ok(moment) = jiff::Timestamp::from_second(second) else { return fallback };
    let first = moment.to_zoned(jiff::tz::TimeZone::UTC).date().first_of_month();
    let start_of =
        |date: jiff::civil::Date| date.to_zoned(jiff::tz::TimeZone::UTC).map(|zoned| zoned.timestamp().as_second());
    let next = first.checked_add(jiff::Span::new().months(1));
    match (start_of(first), next.and_then(start_of)) {
        (Ok(start), Ok(end)) => (start, end),
        _ => fallback,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    Time(TimeUnit),
    Dimension(Dimension),
}

impl GroupBy {
    pub fn named(name: &str) -> Option<GroupBy> {
        let unit = TimeUnit::ALL.into_iter().find(|unit| unit.name() == name).map(GroupBy::Time);
        unit.or_else(|| Dimension::named(name).map(GroupBy::Dimension))
    }

    pub fn name(&self) -> String {
        match self {
            GroupBy::Time(unit) => unit.name().to_owned(),
            GroupBy::Dimension(dimension) => dimension.name(),
        }
    }
}

/// A half-open range of time, to the millisecond; an open end has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

impl TimeRange {
    /// The ids within, half-open.
    pub(super) fn ids(&self) -> (i64, i64) {
        let bound = |moment: Timestamp| super::saturate(id_at(moment));
        (self.from.map_or(0, bound), self.to.map_or(i64::MAX, bound))
    }
}

/// The second at which an id's window counting stands.
pub(super) fn second_of(id: i64) -> i64 {
    made_at(id.unsigned_abs()).as_seconds()
}
