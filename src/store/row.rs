//! One event as it is read back: the ledger's columns, names instead of numbers.

use super::names::{NOBODY, NameCache, PRICED, UNMETERED};
use super::saturate;
use crate::budget::account::Charge;
use crate::clock::Timestamp;
use crate::ids::{EventId, ExchangeId};
use crate::money::Usd;
use crate::tokens::usage::{Kind, TokenUsage};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// Columns of `events` before the units and costs by kind.
const FIXED: [&str; 47] = [
    "id",
    "exchange",
    "attempt",
    "adjusts",
    "started_us",
    "ended_us",
    "organisation_id",
    "team_id",
    "project_id",
    "key_id",
    "user_id",
    "end_user_id",
    "session_id",
    "run_id",
    "environment_id",
    "tags_id",
    "prompt_name_id",
    "prompt_hash",
    "provider_id",
    "dialect_id",
    "operation_id",
    "requested_model_id",
    "upstream_model_id",
    "response_model_id",
    "stream",
    "status",
    "outcome_id",
    "complete",
    "finish_reason_id",
    "usage_source_id",
    "pricing_id",
    "cost_pico",
    "rate_set",
    "service_tier_id",
    "provider_cost_pico",
    "ceiling_pico",
    "estimate_pico",
    "withheld_pico",
    "decision_id",
    "rule_id",
    "client_request_id",
    "provider_request_id",
    "overhead_us",
    "first_token_us",
    "upstream_us",
    "request_bytes",
    "response_bytes",
];

/// Every column of `events`, in the order in which they are written and read.
pub(super) static COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let units = Kind::ALL.into_iter().map(|kind| format!("units_{}", kind.name()));
    let costs = Kind::ALL.into_iter().map(|kind| format!("cost_{}", kind.name()));
    FIXED.into_iter().map(str::to_owned).chain(units).chain(costs).chain(["charges".to_owned()]).collect()
});

/// One row of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    pub id: EventId,
    pub exchange: ExchangeId,
    pub attempt: u16,
    /// The event that this one corrects; its units and cost are then differences.
    pub adjusts: Option<EventId>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub organisation: Option<Arc<str>>,
    pub team: Option<Arc<str>>,
    pub project: Option<Arc<str>>,
    pub key: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub end_user: Option<Arc<str>>,
    pub session: Option<Arc<str>>,
    pub run: Option<Arc<str>>,
    pub environment: Option<Arc<str>>,
    /// A JSON object of strings.
    pub tags: Option<Arc<str>>,
    pub prompt_name: Option<Arc<str>>,
    pub prompt_hash: Option<u64>,
    pub provider: Option<Arc<str>>,
    pub dialect: Option<Arc<str>>,
    pub operation: Option<Arc<str>>,
    pub requested_model: Option<Arc<str>>,
    pub upstream_model: Option<Arc<str>>,
    pub response_model: Option<Arc<str>>,
    pub stream: bool,
    pub status: Option<u16>,
    pub outcome: Option<Arc<str>>,
    pub complete: bool,
    pub finish_reason: Option<Arc<str>>,
    pub usage: TokenUsage,
    /// What an adjustment takes back of its event's units.
    pub usage_less: TokenUsage,
    pub usage_source: Option<Arc<str>>,
    /// `priced`, `unmetered`, or why there is no price.
    pub pricing: Option<Arc<str>>,
    /// List price; `None` when it is unknown, zero for what nobody bills.
    pub cost: Option<Usd>,
    /// Parts of the cost, by [`Kind`]; they sum to it.
    pub cost_by_kind: [i64; Kind::COUNT],
    pub rates: Option<Arc<RateSet>>,
    pub service_tier: Option<Arc<str>>,
    pub provider_cost: Option<Usd>,
    pub ceiling: Option<Usd>,
    pub estimate: Option<Usd>,
    pub withheld: Usd,
    pub decision: Option<Arc<str>>,
    pub rule: Option<Arc<str>>,
    pub client_request_id: Option<Arc<str>>,
    pub provider_request_id: Option<Arc<str>>,
    pub overhead_micros: Option<u64>,
    pub first_token_micros: Option<u64>,
    pub upstream_micros: Option<u64>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// What it takes from budgets.
    pub charges: Vec<Charge>,
}

impl EventRow {
    /// A sum over the units; below zero where an adjustment takes back.
    pub fn net(&self, sum: fn(&TokenUsage) -> u64) -> i64 {
        saturate(sum(&self.usage)).saturating_sub(saturate(sum(&self.usage_less)))
    }

    /// The units of a kind; below zero where an adjustment takes back.
    pub fn units(&self, kind: Kind) -> i64 {
        saturate(self.usage[kind]).saturating_sub(saturate(self.usage_less[kind]))
    }
}

/// What an event was priced with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateSet {
    /// Version of the catalog.
    pub catalog: Arc<str>,
    /// JSON object: dollars per million units, by kind.
    pub rates: Arc<str>,
    /// JSON array of words: `tier >272000`, `service_tier flex` …
    pub terms: Arc<str>,
}

pub(super) fn event(connection: &Connection, id: EventId) -> rusqlite::Result<Option<EventRow>> {
    let sql = format!("SELECT {} FROM events WHERE id = ?1", COLUMNS.join(", "));
    let mut remembered = Remembered::default();
    let mut decoder = Decoder::new(connection, &mut remembered);
    connection.prepare_cached(&sql)?.query_row(params![saturate(id.0)], |row| decoder.decode(row)).optional()
}

/// Names and rate sets that were read already, to be kept over the pages of one export and no longer: an erased name
/// would live on in it.
#[derive(Debug, Default)]
pub struct Remembered {
    names: NameCache,
    rate_sets: HashMap<i64, Arc<RateSet>>,
}

/// Reads rows.
pub(super) struct Decoder<'c> {
    connection: &'c Connection,
    remembered: &'c mut Remembered,
}

impl<'c> Decoder<'c> {
    pub(super) fn new(connection: &'c Connection, remembered: &'c mut Remembered) -> Self {
        Decoder { connection, remembered }
    }

    /// A row that was selected as [`COLUMNS`].
    pub(super) fn decode(&mut self, row: &Row<'_>) -> rusqlite::Result<EventRow> {
        let mut column = Columns { row, place: 0 };
        let column = &mut column;
        let pricing;
        let mut usage = TokenUsage::ZERO;
        Ok(EventRow {
            id: EventId(column.unsigned()?),
            exchange: ExchangeId(column.unsigned()?),
            attempt: column.unsigned()?.try_into().unwrap_or(u16::MAX),
            adjusts: column.integer()?.map(|id| EventId(id.unsigned_abs())),
            started_at: Timestamp(column.number()?),
            ended_at: Timestamp(column.number()?),
            organisation: self.name(column)?,
            team: self.name(column)?,
            project: self.name(column)?,
            key: self.name(column)?,
            user: self.name(column)?,
            end_user: self.name(column)?,
            session: self.name(column)?,
            run: self.name(column)?,
            environment: self.name(column)?,
            tags: self.name(column)?,
            prompt_name: self.name(column)?,
            prompt_hash: column.integer()?.map(i64::cast_unsigned),
            provider: self.name(column)?,
            dialect: self.name(column)?,
            operation: self.name(column)?,
            requested_model: self.name(column)?,
            upstream_model: self.name(column)?,
            response_model: self.name(column)?,
            stream: column.number()? != 0,
            status: column.integer()?.and_then(|status| status.try_into().ok()),
            outcome: self.name(column)?,
            complete: column.number()? != 0,
            finish_reason: self.name(column)?,
            usage_source: self.name(column)?,
            pricing: {
                pricing = column.number()?;
                self.remembered.names.text(self.connection, pricing)?
            },
            cost: {
                let pico = column.number()?;
                (pricing == PRICED || pricing == UNMETERED).then(|| Usd::from_pico(pico))
            },
            rates: self.rate_set(column)?,
            service_tier: self.name(column)?,
            provider_cost: column.integer()?.map(Usd::from_pico),
            ceiling: column.integer()?.map(Usd::from_pico),
            estimate: column.integer()?.map(Usd::from_pico),
            withheld: Usd::from_pico(column.number()?),
            decision: self.name(column)?,
            rule: self.name(column)?,
            client_request_id: column.text()?,
            provider_request_id: column.text()?,
            overhead_micros: column.integer()?.map(i64::unsigned_abs),
            first_token_micros: column.integer()?.map(i64::unsigned_abs),
            upstream_micros: column.integer()?.map(i64::unsigned_abs),
            request_bytes: column.unsigned()?,
            response_bytes: column.unsigned()?,
            usage_less: column.usage(&mut usage)?,
            usage,
            cost_by_kind: column.costs()?,
            charges: match column.next()? {
                ValueRef::Blob(blob) => super::budgets::from_blob(blob),
                _ => Vec::new(),
            },
        })
    }

    fn name(&mut self, column: &mut Columns<'_, '_>) -> rusqlite::Result<Option<Arc<str>>> {
        match column.number()? {
            NOBODY => Ok(None),
            id => self.remembered.names.text(self.connection, id),
        }
    }

    fn rate_set(&mut self, column: &mut Columns<'_, '_>) -> rusqlite::Result<Option<Arc<RateSet>>> {
        let Some(id) = column.integer()? else { return Ok(None) };
        if let Some(known) = self.remembered.rate_sets.get(&id) {
            return Ok(Some(known.clone()));
        }
        let text = |row: &Row<'_>, place| row.get::<_, String>(place).map(Arc::from);
        let found = self
            .connection
            .prepare_cached("SELECT catalog, rates, terms FROM rate_sets WHERE id = ?1")?
            .query_row([id], |row| Ok(RateSet { catalog: text(row, 0)?, rates: text(row, 1)?, terms: text(row, 2)? }))
            .optional()?
            .map(Arc::new);
        if let Some(found) = &found {
            self.remembered.rate_sets.insert(id, found.clone());
        }
        Ok(found)
    }
}

/// A row's columns, one after the other.
struct Columns<'r, 's> {
    row: &'r Row<'s>,
    place: usize,
}

impl Columns<'_, '_> {
    fn next(&mut self) -> rusqlite::Result<ValueRef<'_>> {
        let value = self.row.get_ref(self.place)?;
        self.place += 1;
        Ok(value)
    }

    fn integer(&mut self) -> rusqlite::Result<Option<i64>> {
        Ok(match self.next()? {
            ValueRef::Integer(value) => Some(value),
            _ => None,
        })
    }

    fn number(&mut self) -> rusqlite::Result<i64> {
        Ok(self.integer()?.unwrap_or(0))
    }

    fn unsigned(&mut self) -> rusqlite::Result<u64> {
        Ok(u64::try_from(self.number()?).unwrap_or(0))
    }

    fn text(&mut self) -> rusqlite::Result<Option<Arc<str>>> {
        Ok(match self.next()? {
            ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into()),
            _ => None,
        })
    }

    /// Fills in the units above zero, and gives those below.
    fn usage(&mut self, usage: &mut TokenUsage) -> rusqlite::Result<TokenUsage> {
        let mut less = TokenUsage::ZERO;
        for kind in Kind::ALL {
            let units = self.number()?;
            let side = if units < 0 { &mut less } else { &mut *usage };
            side[kind] = units.unsigned_abs();
        }
        Ok(less)
    }

    fn costs(&mut self) -> rusqlite::Result<[i64; Kind::COUNT]> {
        let mut costs = [0; Kind::COUNT];
        for cost in &mut costs {
            *cost = self.number()?;
        }
        Ok(costs)
    }
}
