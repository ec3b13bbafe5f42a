//! Usage that did not pass through the proxy (a batch job, a framework's callback), told afterwards: priced by the
//! catalog, journalled and booked like a call's, and charged to every budget that counts it, also above a limit, since
//! it has happened.
//!
//! It belongs to the moment at which it is told: past windows never change. Prices are those of the moment at which it
//! happened.
//!
//! *Invariant:* what is told again under the same id is booked once: here it is remembered until the store has it, and
//! the store keeps the id beside the event, from where a restart finds it.

mod recent;

use crate::catalog::{Catalog, Pricing, Terms, Unpriced};
use crate::clock::{Clock, Timestamp};
use crate::dialects::{Dialect, Operation};
use crate::event::{Closing, Event, Opening, Outcome, TRACKED};
use crate::ids::{EventId, ExchangeId};
use crate::ledger::Ledger;
use crate::ledger::admission::NotAdmitted;
use crate::money::Usd;
use crate::rules::{Question, RuleSet};
use crate::store::{EventRow, Reader, StoreError, TrackedName};
use crate::telemetry::{Corrected, Telemetry};
use crate::tenants::{Attribution, Caller};
use crate::tokens::facts::RequestFacts;
use crate::tokens::usage::{TokenUsage, UsageSource};
use arc_swap::ArcSwap;
use recent::{Entry, Recent};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// One call, as it is told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The teller's own name of it: told again, it is not booked again.
    pub id: Arc<str>,
    pub caller: Arc<Caller>,
    pub attribution: Arc<Attribution>,
    pub provider: Arc<str>,
    pub model: Arc<str>,
    pub operation: Operation,
    pub usage: TokenUsage,
    pub usage_source: UsageSource,
    pub stream: bool,
    pub terms: Terms,
    /// `None`: now.
    pub occurred_at: Option<Timestamp>,
    /// By which Farebox told its caller that the call passed through it; then nothing is booked.
    pub exchange: Option<ExchangeId>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    pub event: EventId,
    pub exchange: ExchangeId,
    /// `None`: there is no price for it, and why stands in `pricing`.
    pub cost: Option<Usd>,
    /// `priced`, or why not.
    pub pricing: Arc<str>,
    /// Nothing was booked by this telling.
    pub known: Option<Known>,
}

/// Why nothing more was booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It was told before.
    Told,
    /// It passed through the proxy, which metered it.
    Metered,
}

#[derive(Debug, thiserror::Error)]
pub enum NotTracked {
    #[error("another usage was told under this id before")]
    Differs,
    #[error("this id is being told just now")]
    UnderWay,
    #[error("the ledger is away: {0}")]
    LedgerAway(NotAdmitted),
    #[error("too much is told at once: the store is behind")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Books what is told.
pub struct Tracker {
    parts: Parts,
    recent: Recent,
}

/// What a [`Tracker`] works with.
pub struct Parts {
    pub ledger: Arc<Ledger>,
    pub rules: Arc<ArcSwap<RuleSet>>,
    pub catalog: Arc<ArcSwap<Catalog>>,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<dyn Clock>,
    pub reader: Reader,
    /// Of the configured providers.
    pub dialects: HashMap<Arc<str>, Dialect>,
}

impl Tracker {
    pub fn new(parts: Parts) -> Tracker {
        Tracker { parts, recent: Recent::default() }
    }

    /// Books it once. The journal has it when this returns. Reads the store: not on a request thread.
    ///
    /// # Errors
    /// [`NotTracked`]; then nothing was booked.
    pub async fn track(&self, told: &Told) -> Result<Tracked, NotTracked> {
        let metered = told.exchange.map(|id| self.parts.reader.exchange(id)).transpose()?;
        if let Some(row) = metered.as_ref().and_then(|rows| rows.first()) {
            return Ok(known(row, Known::Metered));
        }
        let name = TrackedName::new(told.caller.organisation.as_deref(), &told.id);
        if let Some(before) = self.recent.begin(name, told, |name| Ok(self.parts.reader.tracked(name)?.is_some()))? {
            return Ok(before);
        }
        let booked = match self.parts.reader.tracked(name) {
            Ok(Some(row)) if is_same(&row, told) => Ok(known(&row, Known::Told)),
            Ok(Some(_)) => Err(NotTracked::Differs),
            Ok(None) => self.book(told).await,
            Err(error) => Err(error.into()),
        };
        let entry = booked.as_ref().ok().map(|tracked| Entry::done(told, tracked));
        self.recent.end(name, entry);
        booked
    }

    async fn book(&self, told: &Told) -> Result<Tracked, NotTracked> {
        let now = self.parts.clock.now();
        let catalog = self.parts.catalog.load();
        let offer = catalog.resolve(&told.provider, &told.model);
        let at = told.occurred_at.unwrap_or(now);
        let pricing = match &offer {
            Some(offer) => offer.model.price(&told.usage, &told.terms, at),
            None => Pricing::Unpriced(Unpriced::UnknownModel),
        };
        let facts = RequestFacts { requested_model: Some(Arc::clone(&told.model)), ..RequestFacts::default() };
        let cost = pricing.cost();
        let question = Question {
            caller: &told.caller,
            attribution: &told.attribution,
            facts: &facts,
            operation: told.operation,
            dialect: self.dialect(&told.provider),
            metered: true,
            reads_only: false,
            provider: &told.provider,
            upstream_model: Some(&told.model),
            model: offer.as_ref().map(|offer| &*offer.model),
            bound: told.usage,
            input_is_counted: true,
            terms: &told.terms,
            ceiling: cost,
            estimate: None,
            bounded_by_context: false,
            refuses_swaps: true,
            does_not_fit: false,
            applied: &[],
            now,
        };
        let demands = self.parts.rules.load().charged(&question);
        let opening = self.opening(told, at, now, cost);
        let admission = self.parts.ledger.admission();
        let reserved = admission.reserve(opening, demands, Duration::ZERO).await.map_err(NotTracked::LedgerAway)?;
        let closing = Closing {
            response_model: Some(Arc::clone(&told.model)),
            complete: true,
            usage: told.usage,
            usage_source: told.usage_source,
            service_tier: told.terms.service_tier.clone(),
            ..Closing::unseen(at, Outcome::Ok, pricing)
        };
        let event = reserved.settle(closing);
        self.tell(&event, offer.as_ref().map(|offer| &*offer.model.id));
        Ok(Tracked {
            event: event.opening.id,
            exchange: event.opening.exchange,
            cost,
            pricing: event.closing.pricing.word().into(),
            known: None,
        })
    }

    fn opening(&self, told: &Told, at: Timestamp, now: Timestamp, cost: Option<Usd>) -> Opening {
        Opening {
            id: self.parts.ledger.next_event_id(now),
            exchange: self.parts.ledger.next_exchange_id(now),
            attempt: 1,
            started_at: at,
            caller: Arc::clone(&told.caller),
            attribution: Arc::clone(&told.attribution),
            provider: Arc::clone(&told.provider),
            dialect: self.dialect(&told.provider),
            operation: told.operation,
            requested_model: Some(Arc::clone(&told.model)),
            upstream_model: Some(Arc::clone(&told.model)),
            stream: told.stream,
            client_request_id: Some(Arc::clone(&told.id)),
            decision: TRACKED.into(),
            rule: None,
            ceiling: cost,
            estimate: None,
            // All that recovery needs, should the process die before the settlement is written.
            estimated_usage: told.usage,
            estimated_input_cost: cost,
            cost_per_1k_output: None,
        }
    }

    fn dialect(&self, provider: &str) -> Dialect {
        self.parts.dialects.get(provider).copied().unwrap_or(Dialect::OpenAi)
    }

    /// In the metrics' sums of tokens and cost, and a line in the log.
    fn tell(&self, event: &Event, model: Option<&str>) {
        let (opening, closing) = (&event.opening, &event.closing);
        self.parts.telemetry.metrics.corrected(&Corrected {
            team: opening.caller.team.as_deref(),
            project: opening.caller.project.as_deref(),
            provider: &opening.provider,
            model,
            more: &closing.usage,
            less: &TokenUsage::ZERO,
            cost: event.cost(),
        });
        tracing::info!(
            event = %opening.id, provider = %opening.provider, model, pricing = closing.pricing.word(),
            cost_usd = %event.cost(), "usage from outside booked"
        );
    }
}

fn known(row: &EventRow, how: Known) -> Tracked {
    let pricing = row.pricing.clone().unwrap_or_default();
    Tracked { event: row.id, exchange: row.exchange, cost: row.cost, pricing, known: Some(how) }
}

/// The same call: an id that comes with another one is a mistake of its teller.
fn is_same(row: &EventRow, told: &Told) -> bool {
    row.provider.as_deref() == Some(&*told.provider)
        && row.upstream_model.as_deref() == Some(&*told.model)
        && row.usage == told.usage
}

#[cfg(test)]
mod tests;
