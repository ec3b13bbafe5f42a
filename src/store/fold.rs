//! Events → rows, with the journal's position, in one transaction.

use super::names::{Interner, NameKind};
use super::row::COLUMNS;
use super::{Alert, EventRow, JournalPosition, budgets, deferred, saturate, tracked};
use crate::budget::account::Charge;
use crate::catalog::Pricing;
use crate::clock::Timestamp;
use crate::event::{Event, EventKind};
use crate::tokens::usage::Kind;
use rusqlite::{Connection, OptionalExtension, Statement, ToSql, params};
use std::sync::{Arc, LazyLock};

/// Units of one kind that one event can book. No call comes near; a provider's nonsense saturates here, so that sums
/// over millions of events stay within 64 bits.
pub(super) const UNITS_MAX: u64 = 1_000_000_000_000;

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let places = vec!["?"; COLUMNS.len()].join(", ");
    format!("INSERT OR IGNORE INTO events ({}) VALUES ({places})", COLUMNS.join(", "))
});

pub(super) fn position(connection: &Connection, journal_epoch: u64) -> rusqlite::Result<JournalPosition> {
    let found = connection
        .prepare_cached("SELECT segment, place FROM fold_positions WHERE journal_epoch = ?1")?
        .query_row([saturate(journal_epoch)], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        .optional()?;
    Ok(found.map_or(JournalPosition::default(), |(segment, offset)| JournalPosition {
        segment: segment.unsigned_abs(),
        offset: offset.unsigned_abs(),
    }))
}

/// What a fold came to.
#[derive(Clone, Debug, Default)]
pub struct Folded {
    /// Events that the store did not have.
    pub fresh: u64,
    /// Thresholds that budgets passed.
    pub alerts: Vec<Alert>,
    /// Corrections that the fold itself made: they are on no process's lease.
    pub corrected: Vec<Charge>,
    /// Adjustments that background work and batches came to.
    pub late: Vec<EventRow>,
}

/// Events that never were in a journal are folded under an epoch of their own, with this bit; their leases are the
/// process's.
pub const WITHOUT_JOURNAL: u64 = 1 << 62;

pub(super) fn fold(
    connection: &mut Connection,
    interner: &mut Interner,
    journal_epoch: u64,
    events: &[Event],
    upto: JournalPosition,
) -> rusqlite::Result<Folded> {
    let transaction = super::write_transaction(connection)?;
    interner.keep_up(&transaction)?;
    let mut folded = Folded::default();
    if upto <= position(&transaction, journal_epoch)? {
        return Ok(folded);
    }
    let (mut sums, mut at) = (budgets::Sums::new(), Timestamp::default());
    {
        let mut insert = transaction.prepare_cached(&INSERT)?;
        let mut note = transaction.prepare_cached("INSERT INTO unrolled (id) VALUES (?1)")?;
        for event in events {
            bind(&transaction, interner, event, &mut insert)?;
            if insert.raw_execute()? == 1 {
                note.execute([saturate(event.opening.id.0)])?;
                tracked::keep(&transaction, event)?;
                at = at.max(event.closing.ended_at);
                budgets::add(&mut sums, &event.charges, event.kind != EventKind::Attempt);
                folded.fresh += 1 + deferred::follow(&transaction, interner, event, &mut folded)?;
            }
        }
        transaction
            .prepare_cached(
                "INSERT INTO fold_positions (journal_epoch, segment, place) VALUES (?1, ?2, ?3)
                 ON CONFLICT (journal_epoch) DO UPDATE SET segment = excluded.segment, place = excluded.place",
            )?
            .execute(params![saturate(journal_epoch), saturate(upto.segment), saturate(upto.offset)])?;
    }
    budgets::add(&mut sums, &folded.corrected, true);
    folded.alerts = budgets::charge(&transaction, journal_epoch & !WITHOUT_JOURNAL, &sums, at)?;
    transaction.commit()?;
    Ok(folded)
}

/// Binds every column of [`COLUMNS`], in its order.
fn bind(
    connection: &Connection,
    names: &mut Interner,
    event: &Event,
    insert: &mut Statement<'_>,
) -> rusqlite::Result<()> {
    let (opening, closing) = (&event.opening, &event.closing);
    let (caller, said) = (&opening.caller, &opening.attribution);
    let mut row = Binder { statement: insert, place: 0 };
    let mut id = |kind, text: Option<&str>| names.id(connection, kind, text);
    row.put(saturate(opening.id.0))?;
    row.put(saturate(opening.exchange.0))?;
    row.put(opening.attempt)?;
    row.put(match event.kind {
        EventKind::Attempt => None,
        EventKind::Adjustment { of } => Some(saturate(of.0)),
    })?;
    row.put(opening.started_at.as_micros())?;
    row.put(closing.ended_at.as_micros())?;
    for (kind, text) in [
        (NameKind::Organisation, &caller.organisation),
        (NameKind::Team, &caller.team),
        (NameKind::Project, &caller.project),
        (NameKind::Key, &caller.key),
        (NameKind::User, &caller.user),
        (NameKind::EndUser, &said.end_user),
        (NameKind::Session, &said.session),
        (NameKind::Run, &said.run),
        (NameKind::Environment, &said.environment),
    ] {
        row.put(id(kind, text.as_deref())?)?;
    }
    row.put(id(NameKind::Tags, tags_json(&said.tags).as_deref())?)?;
    row.put(id(NameKind::PromptName, said.prompt_name.as_deref())?)?;
    row.put(said.prompt_hash.map(u64::cast_signed))?;
    row.put(id(NameKind::Provider, Some(&opening.provider))?)?;
    row.put(id(NameKind::Word, Some(opening.dialect.name()))?)?;
    row.put(id(NameKind::Word, Some(opening.operation.name()))?)?;
    for model in [&opening.requested_model, &opening.upstream_model, &closing.response_model] {
        row.put(id(NameKind::Model, model.as_deref())?)?;
    }
    row.put(opening.stream)?;
    row.put(closing.status)?;
    row.put(id(NameKind::Word, Some(closing.outcome.name()))?)?;
    row.put(closing.complete)?;
    row.put(id(NameKind::Word, closing.finish_reason.as_deref())?)?;
    row.put(id(NameKind::Word, Some(closing.usage_source.name()))?)?;
    row.put(id(NameKind::Word, Some(closing.pricing.word()))?)?;
    row.put(event.cost().as_pico())?;
    row.put(match &closing.pricing {
        Pricing::Priced(cost) => Some(names.rate_set(connection, cost)?),
        Pricing::Unpriced(_) | Pricing::Unmetered => None,
    })?;
    row.put(names.id(connection, NameKind::Word, closing.service_tier.as_deref())?)?;
    for amount in [closing.provider_cost, opening.ceiling, opening.estimate] {
        row.put(amount.map(|amount| amount.as_pico()))?;
    }
    row.put(closing.withheld.as_pico())?;
    row.put(names.id(connection, NameKind::Word, Some(&opening.decision))?)?;
    row.put(names.id(connection, NameKind::Word, opening.rule.as_deref())?)?;
    row.put(opening.client_request_id.as_deref())?;
    row.put(closing.provider_request_id.as_deref())?;
    for micros in [closing.overhead_micros, closing.first_token_micros, closing.upstream_micros] {
        row.put(micros.map(saturate))?;
    }
    row.put(saturate(closing.request_bytes))?;
    row.put(saturate(closing.response_bytes))?;
    bind_kinds(event, &mut row)
}

fn bind_kinds(event: &Event, row: &mut Binder<'_, '_>) -> rusqlite::Result<()> {
    for kind in Kind::ALL {
        row.put(saturate(event.closing.usage[kind].min(UNITS_MAX)))?;
    }
    let mut costs = [0i64; Kind::COUNT];
    if let Pricing::Priced(cost) = &event.closing.pricing {
        for (kind, amount) in &cost.by_kind {
            costs[*kind as usize] = amount.as_pico();
        }
    }
    for cost in costs {
        row.put(cost)?;
    }
    row.put(budgets::to_blob(&event.charges))
}

/// Tags as a JSON object, sorted by name so that the same tags are the same text; of a name given twice the last counts.
fn tags_json(tags: &[(Arc<str>, Arc<str>)]) -> Option<String> {
    if tags.is_empty() {
        return None;
    }
    let tags: std::collections::BTreeMap<&str, &str> = tags.iter().map(|(name, value)| (&**name, &**value)).collect();
    serde_json::to_string(&tags).ok()
}

struct Binder<'a, 'c> {
    statement: &'a mut Statement<'c>,
    place: usize,
}

impl Binder<'_, '_> {
    fn put(&mut self, value: impl ToSql) -> rusqlite::Result<()> {
        self.place += 1;
        self.statement.raw_bind_parameter(self.place, value)
    }
}
