//! Every event as CSV, page by page: constant memory whatever the ledger's size, and no long read transaction that
//! would keep SQLite's log from being reset. A thread reads ahead while a page is written.

use super::csv::{Line, Moments};
use crate::store::{Ahead, EventQuery, EventRow, Filter, Order, PAGE_ROWS, Reader, StoreError, TimeRange};
use crate::tokens::usage::{Kind, TokenUsage};

/// Room made for a row, and for a page at once; it grows where rows are longer.
const ROW_BYTES: usize = 640;
const CHUNK_BYTES: usize = PAGE_ROWS * ROW_BYTES;

const BEFORE_KINDS: [&str; 36] = [
    "id",
    "exchange_id",
    "attempt",
    "adjusts",
    "started_at",
    "ended_at",
    "organisation",
    "team",
    "project",
    "key",
    "user",
    "end_user",
    "session",
    "run",
    "environment",
    "tags",
    "prompt_name",
    "prompt_hash",
    "provider",
    "dialect",
    "operation",
    "requested_model",
    "upstream_model",
    "response_model",
    "stream",
    "status",
    "outcome",
    "complete",
    "finish_reason",
    "usage_source",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "output_tokens",
    "pricing",
    "cost_usd",
];

const BEHIND_KINDS: [&str; 17] = [
    "catalog_version",
    "rates_usd_per_million",
    "price_terms",
    "service_tier",
    "provider_cost_usd",
    "ceiling_usd",
    "estimate_usd",
    "withheld_usd",
    "decision",
    "rule",
    "client_request_id",
    "provider_request_id",
    "overhead_us",
    "first_token_us",
    "upstream_us",
    "request_bytes",
    "response_bytes",
];

/// A running export.
#[derive(Debug)]
pub struct Export {
    pages: Ahead,
    moments: (Moments, Moments),
    is_begun: bool,
    rows: u64,
}

impl Export {
    /// Oldest first.
    ///
    /// # Errors
    /// As [`Ahead::start`].
    pub fn new(reader: Reader, filters: Vec<Filter>, range: TimeRange) -> Result<Self, StoreError> {
        let query = EventQuery { filters, range, order: Order::OldestFirst, ..EventQuery::default() };
        Ok(Export { pages: Ahead::start(reader, query)?, moments: Default::default(), is_begun: false, rows: 0 })
    }

    /// The next piece of the file; `None` behind the last. The first piece begins with the header line.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(page) = self.pages.next() else { return Ok(None) };
        let page = page?;
        let mut chunk = Vec::with_capacity(CHUNK_BYTES.min((page.len() + 1) * ROW_BYTES));
        if !self.is_begun {
            write_header(&mut chunk);
            self.is_begun = true;
        }
        page.iter().for_each(|row| write_row(&mut chunk, row, &mut self.moments));
        self.rows += page.len() as u64;
        Ok(Some(chunk))
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// A page of rows that were read already, as a file of its own.
pub fn page(rows: &[EventRow]) -> Vec<u8> {
    let mut file = Vec::new();
    write_header(&mut file);
    let mut moments = Default::default();
    for row in rows {
        write_row(&mut file, row, &mut moments);
    }
    file
}

/// The same without the header.
pub fn page_behind(rows: &[EventRow]) -> Vec<u8> {
    let (mut lines, mut moments) = (Vec::new(), Default::default());
    rows.iter().for_each(|row| write_row(&mut lines, row, &mut moments));
    lines
}

fn write_header(buffer: &mut Vec<u8>) {
    let mut line = Line::new(buffer);
    for name in BEFORE_KINDS {
        line.plain(name);
    }
    for kind in Kind::ALL {
        line.plain(format_args!("units_{}", kind.name()));
    }
    for kind in Kind::ALL {
        line.plain(format_args!("cost_{}_usd", kind.name()));
    }
    for name in BEHIND_KINDS {
        line.plain(name);
    }
    line.end();
}

fn write_row(buffer: &mut Vec<u8>, row: &EventRow, moments: &mut (Moments, Moments)) {
    let mut line = Line::new(buffer);
    line.plain(row.id);
    line.plain(row.exchange);
    line.number(u64::from(row.attempt));
    match row.adjusts {
        Some(adjusts) => line.plain(adjusts),
        None => line.text(None),
    }
    moments.0.write(&mut line, row.started_at);
    moments.1.write(&mut line, row.ended_at);
    for text in [
        &row.organisation,
        &row.team,
        &row.project,
        &row.key,
        &row.user,
        &row.end_user,
        &row.session,
        &row.run,
        &row.environment,
        &row.tags,
        &row.prompt_name,
    ] {
        line.text(text.as_deref());
    }
    match row.prompt_hash {
        Some(hash) => line.plain(format_args!("{hash:016x}")),
        None => line.text(None),
    }
    for text in
        [&row.provider, &row.dialect, &row.operation, &row.requested_model, &row.upstream_model, &row.response_model]
    {
        line.text(text.as_deref());
    }
    line.flag(row.stream);
    line.number_or_empty(row.status.map(u64::from));
    line.text(row.outcome.as_deref());
    line.flag(row.complete);
    line.text(row.finish_reason.as_deref());
    line.text(row.usage_source.as_deref());
    line.signed(row.net(TokenUsage::input_tokens));
    line.signed(row.net(TokenUsage::cache_read_input_tokens));
    line.signed(row.net(TokenUsage::cache_write_input_tokens));
    line.signed(row.net(TokenUsage::output_tokens));
    line.text(row.pricing.as_deref());
    line.money(row.cost.map(|cost| cost.widen()));
    for kind in Kind::ALL {
        line.signed(row.units(kind));
    }
    for pico in row.cost_by_kind {
        line.money(row.cost.map(|_| i128::from(pico)));
    }
    write_row_end(line, row);
}

fn write_row_end(mut line: Line<'_>, row: &EventRow) {
    let rates = row.rates.as_deref();
    line.text(rates.map(|rates| &*rates.catalog));
    line.text(rates.map(|rates| &*rates.rates));
    line.text(rates.map(|rates| &*rates.terms));
    line.text(row.service_tier.as_deref());
    for amount in [row.provider_cost, row.ceiling, row.estimate, Some(row.withheld)] {
        line.money(amount.map(|amount| amount.widen()));
    }
    for text in [&row.decision, &row.rule, &row.client_request_id, &row.provider_request_id] {
        line.text(text.as_deref());
    }
    for micros in [row.overhead_micros, row.first_token_micros, row.upstream_micros] {
        line.number_or_empty(micros);
    }
    line.number(row.request_bytes);
    line.number(row.response_bytes);
    line.end();
}
