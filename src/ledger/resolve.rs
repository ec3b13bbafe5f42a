//! What was withheld for attempts that nobody settled is decided by a person: released, or charged. Either way the
//! decision is an adjustment, a new event; the first one stays as it was.

use super::fold::without_journal;
use super::place;
use super::recovery::{self, RecoveryError};
use crate::budget::account::{BudgetId, Charge, Unit};
use crate::catalog::{Cost, Pricing};
use crate::clock::{Clock, Timestamp};
use crate::dialects::{Dialect, Operation};
use crate::event::{Closing, Event, EventKind, Opening, Outcome};
use crate::ids::{EventId, IdSource};
use crate::money::Usd;
use crate::store::{
    Dimension, EventQuery, EventRow, Filter, JournalPosition, Order, Reader, Store, StoreError, TimeRange,
};
use crate::tenants::{Attribution, Caller};
use crate::tokens::usage::{Kind, TokenUsage};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PAGE_EVENTS: usize = 1_000;

/// Which events are decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    One(EventId),
    /// Every event made before this moment.
    AllBefore(Timestamp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The provider did not bill it: the budget gets it back.
    Release,
    /// The provider billed it: it becomes cost.
    Charge,
}

/// One decision that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub of: EventId,
    pub adjustment: EventId,
    pub amount: Usd,
}

#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(
        "a server{} is running on {}; stop it first, resolve, and start it again",
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default(), data_dir.display()
    )]
    Running { data_dir: PathBuf, pid: Option<u32> },
    #[error("there is no event {0}")]
    NoSuchEvent(EventId),
    #[error("cannot use the data directory {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
}

/// Brings what processes left that are gone into the store, as the next start would; `false`: a server runs, and does so
/// itself.
///
/// # Errors
/// The journals cannot be read, or not by this version.
pub fn recover_the_dead(data_dir: &Path, clock: &dyn Clock) -> Result<bool, ResolveError> {
    let io_at = |error| ResolveError::Io { path: data_dir.to_owned(), error };
    let Ok(_lock) = place::lock(&data_dir.join("store.lock"), &place::boot_id()).map_err(io_at)? else {
        return Ok(false);
    };
    recovery::recover_all(data_dir, None, &mut Store::open(data_dir, clock.now())?)?;
    Ok(true)
}

/// Writes an adjustment for each event that has something withheld. Doing it twice changes nothing.
///
/// # Errors
/// [`ResolveError::Running`] while a server folds into this ledger: only one process may write it.
pub fn resolve(
    data_dir: &Path,
    which: Which,
    verdict: Verdict,
    clock: &dyn Clock,
) -> Result<Vec<Resolved>, ResolveError> {
    let io_at = |error| ResolveError::Io { path: data_dir.to_owned(), error };
    // Opened to read first, so that a mistyped directory is not made.
    let reader = Reader::open(data_dir)?;
    let boot = place::boot_id();
    let locked = place::lock_patiently(&data_dir.join("store.lock"), &boot).map_err(io_at)?;
    let _lock = locked.map_err(|holder| ResolveError::Running { data_dir: data_dir.to_owned(), pid: holder.pid })?;
    let mut store = Store::open(data_dir, clock.now())?;
    recovery::recover_all(data_dir, None, &mut store)?;
    let withheld = match which {
        Which::One(id) => vec![reader.event(id)?.ok_or(ResolveError::NoSuchEvent(id))?],
        Which::AllBefore(moment) => unsettled_before(&reader, moment)?,
    };
    let epoch = store.open_epoch(&boot, clock.now())?;
    let ids = IdSource::new(epoch, store.greatest_event_id()?);
    let (mut resolved, mut adjustments) = (Vec::new(), Vec::new());
    for row in withheld.into_iter().filter(|row| row.adjusts.is_none()) {
        let amount = left(&reader, &row)?;
        if amount > Usd::ZERO {
            let now = clock.now();
            let adjustment = EventId(ids.next(now));
            resolved.push(Resolved { of: row.id, adjustment, amount });
            let charges = recharge(&reader, &store, &row, verdict)?;
            adjustments.push(adjust(&row, adjustment, amount, verdict, now, charges));
        }
    }
    for (count, chunk) in (1u64..).zip(adjustments.chunks(PAGE_EVENTS)) {
        store.fold(without_journal(epoch), chunk, JournalPosition { segment: 0, offset: count })?;
    }
    store.flush_rollups()?;
    store.close_epoch(epoch, clock.now())?;
    Ok(resolved)
}

/// Events that nobody settled, and work in the background whose result nobody saw; only those have something withheld.
fn unsettled_before(reader: &Reader, moment: Timestamp) -> Result<Vec<EventRow>, StoreError> {
    let died = [Outcome::ProxyDied, Outcome::ProxyInternal].map(|outcome| outcome.name().to_owned());
    let ok = vec![Outcome::Ok.name().to_owned(), Outcome::CallerCancelled.name().to_owned()];
    let later = [Operation::Responses, Operation::Batches].map(|operation| operation.name().to_owned());
    let of = |dimension, values| Filter { dimension, values };
    let mut found = withheld_before(reader, moment, vec![of(Dimension::Outcome, died.into())])?;
    let begun = vec![of(Dimension::Operation, later.into()), of(Dimension::Outcome, ok)];
    found.extend(withheld_before(reader, moment, begun)?);
    Ok(found)
}

fn withheld_before(reader: &Reader, moment: Timestamp, filters: Vec<Filter>) -> Result<Vec<EventRow>, StoreError> {
    let mut query = EventQuery {
        filters,
        range: TimeRange { from: None, to: Some(moment) },
        order: Order::OldestFirst,
        after: None,
        limit: PAGE_EVENTS,
    };
    let mut found = Vec::new();
    loop {
        let page = reader.events(&query)?;
        query.after = page.last().map(|row| row.id);
        let is_last = page.len() < PAGE_EVENTS;
        found.extend(page.into_iter().filter(|row| row.withheld > Usd::ZERO));
        if is_last {
            return Ok(found);
        }
    }
}

/// What earlier adjustments left of it. An adjustment belongs to the exchange of its event.
fn left(reader: &Reader, row: &EventRow) -> Result<Usd, StoreError> {
    let rows = reader.exchange(row.exchange)?;
    let own = rows.iter().filter(|other| other.id == row.id || other.adjusts == Some(row.id));
    let sum = own.fold(0i128, |sum, other| sum + other.withheld.widen());
    Ok(Usd::from_pico(i64::try_from(sum).unwrap_or(0)))
}

/// What a release gives back to budgets: what they were charged above the event's own cost and tokens. A charge leaves
/// them as they are, since the whole hold was charged to them.
fn recharge(reader: &Reader, store: &Store, row: &EventRow, verdict: Verdict) -> Result<Vec<Charge>, StoreError> {
    if verdict == Verdict::Charge {
        return Ok(Vec::new());
    }
    let rows = reader.exchange(row.exchange)?;
    let own = rows.iter().filter(|other| other.id == row.id || other.adjusts == Some(row.id));
    let (mut charged, mut pico, mut tokens) = (BTreeMap::<BudgetId, i64>::new(), 0i64, 0i64);
    for other in own {
        pico = pico.saturating_add(other.cost.map_or(0, Usd::as_pico));
        tokens = tokens.saturating_add(other.net(TokenUsage::input_tokens));
        tokens = tokens.saturating_add(other.net(TokenUsage::output_tokens));
        for charge in &other.charges {
            let sum = charged.entry(charge.account).or_default();
            *sum = sum.saturating_add(charge.amount);
        }
    }
    let mut charges = Vec::new();
    for (account, charged) in charged {
        let used = match store.budget_unit(account)? {
            Some(Unit::PicoUsd) => pico,
            Some(Unit::Tokens) => tokens,
            Some(Unit::Requests) | None => charged,
        };
        let amount = used.min(charged).saturating_sub(charged);
        charges.extend((amount != 0).then_some(Charge { account, amount }));
    }
    Ok(charges)
}

fn adjust(row: &EventRow, id: EventId, amount: Usd, verdict: Verdict, now: Timestamp, charges: Vec<Charge>) -> Event {
    let charged = match verdict {
        Verdict::Release => Usd::ZERO,
        Verdict::Charge => amount,
    };
    let cost = Cost {
        total: charged,
        by_kind: [(Kind::Output, charged)].into_iter().filter(|(_, cost)| *cost != Usd::ZERO).collect(),
        rates: Vec::new(),
        catalog: row.rates.as_ref().map_or_else(|| Arc::from(""), |rates| rates.catalog.clone()),
        terms: vec![Arc::from(match verdict {
            Verdict::Release => "withheld, released",
            Verdict::Charge => "withheld, charged",
        })],
    };
    let outcome = Outcome::ALL.into_iter().find(|outcome| Some(outcome.name()) == row.outcome.as_deref());
    let closing = Closing {
        response_model: row.response_model.clone(),
        service_tier: row.service_tier.clone(),
        withheld: Usd::from_pico(-amount.as_pico()),
        ..Closing::unseen(now, outcome.unwrap_or(Outcome::ProxyDied), Pricing::Priced(Box::new(cost)))
    };
    Event { kind: EventKind::Adjustment { of: row.id }, opening: opening(row, id, now), closing, charges }
}

/// The adjustment is on the account of whoever made the call.
fn opening(row: &EventRow, id: EventId, now: Timestamp) -> Opening {
    let tags: BTreeMap<Arc<str>, Arc<str>> =
        row.tags.as_deref().and_then(|tags| serde_json::from_str(tags).ok()).unwrap_or_default();
    let dialect = Dialect::ALL.into_iter().find(|dialect| Some(dialect.name()) == row.dialect.as_deref());
    let operation = Operation::ALL.into_iter().find(|operation| Some(operation.name()) == row.operation.as_deref());
    Opening {
        id,
        exchange: row.exchange,
        attempt: row.attempt,
        started_at: now,
        caller: Arc::new(Caller {
            organisation: row.organisation.clone(),
            team: row.team.clone(),
            project: row.project.clone(),
            key: row.key.clone(),
            user: row.user.clone(),
        }),
        attribution: Arc::new(Attribution {
            end_user: row.end_user.clone(),
            session: row.session.clone(),
            run: row.run.clone(),
            environment: row.environment.clone(),
            tags: tags.into_iter().collect(),
            prompt_name: row.prompt_name.clone(),
            prompt_hash: row.prompt_hash,
        }),
        provider: row.provider.clone().unwrap_or_else(|| Arc::from("")),
        dialect: dialect.unwrap_or(Dialect::OpenAi),
        operation: operation.unwrap_or(Operation::Other),
        requested_model: row.requested_model.clone(),
        upstream_model: row.upstream_model.clone(),
        stream: row.stream,
        client_request_id: None,
        decision: Arc::from("resolve"),
        rule: None,
        ceiling: None,
        estimate: None,
        estimated_usage: TokenUsage::ZERO,
        estimated_input_cost: None,
        cost_per_1k_output: None,
    }
}
