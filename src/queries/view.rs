//! Events as JSON. Money is exact decimal text; what is unknown is `null`, never zero.

use crate::ids::{EventId, ExchangeId};
use crate::money::{Usd, pico_to_decimal};
use crate::store::EventRow;
use crate::tokens::usage::{Kind, TokenUsage};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Pico-dollars, written as decimal dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pico(pub i128);

impl Serialize for Pico {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&pico_to_decimal(self.0))
    }
}

/// The units that were used, by kind.
#[derive(Debug)]
pub struct Units<'a>(pub &'a TokenUsage);

impl Serialize for Units<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.used().map(|(kind, units)| (kind.name(), units)))
    }
}

/// The units of a row by kind; below zero where an adjustment takes back.
#[derive(Debug)]
struct NetUnits<'a>(&'a EventRow);

impl Serialize for NetUnits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let units = Kind::ALL.into_iter().map(|kind| (kind.name(), self.0.units(kind)));
        serializer.collect_map(units.filter(|(_, units)| *units != 0))
    }
}

/// One row of the ledger.
#[derive(Debug, Serialize)]
pub struct EventView<'a> {
    id: String,
    exchange_id: String,
    attempt: u16,
    adjusts: Option<String>,
    started_at: String,
    ended_at: String,
    organisation: Option<&'a str>,
    team: Option<&'a str>,
    project: Option<&'a str>,
    key: Option<&'a str>,
    user: Option<&'a str>,
    end_user: Option<&'a str>,
    session: Option<&'a str>,
    run: Option<&'a str>,
    environment: Option<&'a str>,
    tags: Option<&'a RawValue>,
    prompt_name: Option<&'a str>,
    prompt_hash: Option<String>,
    provider: Option<&'a str>,
    dialect: Option<&'a str>,
    operation: Option<&'a str>,
    requested_model: Option<&'a str>,
    upstream_model: Option<&'a str>,
    response_model: Option<&'a str>,
    stream: bool,
    status: Option<u16>,
    outcome: Option<&'a str>,
    complete: bool,
    finish_reason: Option<&'a str>,
    usage_source: Option<&'a str>,
    input_tokens: i64,
    cache_read_input_tokens: i64,
    cache_write_input_tokens: i64,
    output_tokens: i64,
    reasoning_output_tokens: i64,
    units: NetUnits<'a>,
    pricing: Option<&'a str>,
    cost_usd: Option<Pico>,
    cost_by_kind_usd: Parts<'a>,
    catalog_version: Option<&'a str>,
    rates_usd_per_million: Option<&'a RawValue>,
    price_terms: Option<&'a RawValue>,
    service_tier: Option<&'a str>,
    provider_cost_usd: Option<Pico>,
    ceiling_usd: Option<Pico>,
    estimate_usd: Option<Pico>,
    /// Cost less estimate: negative where less was used than expected.
    estimate_error_usd: Option<Pico>,
    withheld_usd: Pico,
    decision: Option<&'a str>,
    rule: Option<&'a str>,
    client_request_id: Option<&'a str>,
    provider_request_id: Option<&'a str>,
    overhead_us: Option<u64>,
    first_token_us: Option<u64>,
    upstream_us: Option<u64>,
    request_bytes: u64,
    response_bytes: u64,
}

impl<'a> From<&'a EventRow> for EventView<'a> {
    fn from(row: &'a EventRow) -> Self {
        let money = |amount: Option<Usd>| amount.map(|amount| Pico(amount.widen()));
        let rates = row.rates.as_deref();
        EventView {
            id: row.id.to_string(),
            exchange_id: row.exchange.to_string(),
            attempt: row.attempt,
            adjusts: row.adjusts.map(|id| id.to_string()),
            started_at: row.started_at.to_rfc3339(),
            ended_at: row.ended_at.to_rfc3339(),
            organisation: row.organisation.as_deref(),
            team: row.team.as_deref(),
            project: row.project.as_deref(),
            key: row.key.as_deref(),
            user: row.user.as_deref(),
            end_user: row.end_user.as_deref(),
            session: row.session.as_deref(),
            run: row.run.as_deref(),
            environment: row.environment.as_deref(),
            tags: row.tags.as_deref().and_then(raw),
            prompt_name: row.prompt_name.as_deref(),
            prompt_hash: row.prompt_hash.map(|hash| format!("{hash:016x}")),
            provider: row.provider.as_deref(),
            dialect: row.dialect.as_deref(),
            operation: row.operation.as_deref(),
            requested_model: row.requested_model.as_deref(),
            upstream_model: row.upstream_model.as_deref(),
            response_model: row.response_model.as_deref(),
            stream: row.stream,
            status: row.status,
            outcome: row.outcome.as_deref(),
            complete: row.complete,
            finish_reason: row.finish_reason.as_deref(),
            usage_source: row.usage_source.as_deref(),
            input_tokens: row.net(TokenUsage::input_tokens),
            cache_read_input_tokens: row.net(TokenUsage::cache_read_input_tokens),
            cache_write_input_tokens: row.net(TokenUsage::cache_write_input_tokens),
            output_tokens: row.net(TokenUsage::output_tokens),
            reasoning_output_tokens: row.net(TokenUsage::reasoning_output_tokens),
            units: NetUnits(row),
            pricing: row.pricing.as_deref(),
            cost_usd: money(row.cost),
            cost_by_kind_usd: Parts(&row.cost_by_kind),
            catalog_version: rates.map(|rates| &*rates.catalog),
            rates_usd_per_million: rates.and_then(|rates| raw(&rates.rates)),
            price_terms: rates.and_then(|rates| raw(&rates.terms)),
            service_tier: row.service_tier.as_deref(),
            provider_cost_usd: money(row.provider_cost),
            ceiling_usd: money(row.ceiling),
            estimate_usd: money(row.estimate),
            estimate_error_usd: estimate_error(row),
            withheld_usd: Pico(row.withheld.widen()),
            decision: row.decision.as_deref(),
            rule: row.rule.as_deref(),
            client_request_id: row.client_request_id.as_deref(),
            provider_request_id: row.provider_request_id.as_deref(),
            overhead_us: row.overhead_micros,
            first_token_us: row.first_token_micros,
            upstream_us: row.upstream_micros,
            request_bytes: row.request_bytes,
            response_bytes: row.response_bytes,
        }
    }
}

/// A page of events and where the next one begins.
#[derive(Debug, Serialize)]
pub struct EventsPage<'a> {
    pub events: Vec<EventView<'a>>,
    /// Give it as `cursor` for the next page; `null` at the end.
    pub next_cursor: Option<String>,
}

impl<'a> EventsPage<'a> {
    /// `rows` were asked for with this limit: a full page may have a next one.
    pub fn new(rows: &'a [EventRow], limit: usize) -> Self {
        let last = rows.last().filter(|_| rows.len() >= limit).map(|row: &EventRow| row.id);
        EventsPage {
            events: rows.iter().map(EventView::from).collect(),
            next_cursor: last.map(|id: EventId| id.to_string()),
        }
    }
}

/// One exchange: its attempts and adjustments, and what they cost together.
#[derive(Debug, Serialize)]
pub struct ExchangeView<'a> {
    exchange_id: String,
    /// Of the attempts that have a price.
    cost_usd: Pico,
    /// Attempts whose cost is unknown.
    unpriced_attempts: usize,
    input_tokens: i64,
    output_tokens: i64,
    events: Vec<EventView<'a>>,
}

impl<'a> ExchangeView<'a> {
    pub fn new(id: ExchangeId, rows: &'a [EventRow]) -> Self {
        let net = |sum: fn(&TokenUsage) -> u64| rows.iter().map(|row| row.net(sum)).sum();
        ExchangeView {
            exchange_id: id.to_string(),
            cost_usd: Pico(rows.iter().filter_map(|row| row.cost).map(Usd::widen).sum()),
            unpriced_attempts: rows.iter().filter(|row| row.cost.is_none()).count(),
            input_tokens: net(TokenUsage::input_tokens),
            output_tokens: net(TokenUsage::output_tokens),
            events: rows.iter().map(EventView::from).collect(),
        }
    }
}

/// Parts of a cost by kind, those that are not zero.
#[derive(Debug)]
struct Parts<'a>(&'a [i64; Kind::COUNT]);

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (kind, pico) in Kind::ALL.into_iter().zip(self.0).filter(|(_, pico)| **pico != 0) {
            map.serialize_entry(kind.name(), &Pico(i128::from(*pico)))?;
        }
        map.end()
    }
}

/// Of a first-hand event that has a price and an estimate.
fn estimate_error(row: &EventRow) -> Option<Pico> {
    let cost = row.cost.filter(|_| row.adjusts.is_none() && row.pricing.as_deref() == Some("priced"))?;
    Some(Pico(cost.widen() - row.estimate?.widen()))
}

fn raw(json: &str) -> Option<&RawValue> {
    serde_json::from_str(json).ok()
}
