//! Background responses and batches: which attempt began them, and what they used once their result is seen.

use super::{Ending, Proxy, Unsettled, is_final};
use crate::catalog::model::Terms;
use crate::catalog::{Catalog, Pricing, Unpriced};
use crate::clock::Timestamp;
use crate::dialects::{Observation, Operation};
use crate::event::{Deferred, LateUse};
use crate::ids::EventId;
use crate::meter::Metered;
use crate::telemetry::LateUnread;
use crate::tokens::usage::TokenUsage;
use std::sync::Arc;

impl Unsettled {
    /// What this attempt's response says of work that goes on after its answer.
    pub(super) fn deferred(&self, proxy: &Proxy, catalog: &Catalog) -> Option<Box<Deferred>> {
        let seen = &self.metered.as_ref()?.observation;
        // A stream that was left is over; only what was asked for in the background goes on.
        let may_go_on = match self.call.endpoint.operation {
            Operation::Responses => self.call.facts.background,
            operation => operation == Operation::Batches,
        };
        if may_go_on && seen.pending && self.status == Some(200) {
            let reference = seen.response_id.clone()?;
            return Some(Box::new(Deferred::Begun { reference }));
        }
        self.result(proxy, catalog, seen)
    }

    /// A result that was read to its end, with its usage.
    fn result(&self, proxy: &Proxy, catalog: &Catalog, seen: &Observation) -> Option<Box<Deferred>> {
        let reference = self.call.endpoint.result_of.clone()?;
        let metered = self.metered.as_ref()?;
        let whole = self.ending == Ending::Finished && metered.oversized_events == 0 && !metered.unreadable;
        if self.status != Some(200) {
            return None;
        }
        if !whole || !is_final(seen) {
            self.tell_unread(proxy, &reference, metered);
            return None;
        }
        let now = proxy.clock.now();
        let one = |model: &Option<Arc<str>>, usage: &TokenUsage| LateUse {
            id: EventId(proxy.ledger.next_event_id(now).0),
            pricing: self.price_late(catalog, seen, model.as_deref(), usage, now),
            model: model.clone(),
            service_tier: seen.service_tier.clone(),
            usage: *usage,
        };
        let uses = match (&seen.by_model[..], seen.usage) {
            ([], Some(mut usage)) => {
                for (kind, units) in seen.tool_calls.used() {
                    usage[kind] = usage[kind].max(units);
                }
                vec![one(&seen.response_model, &usage)]
            }
            (by_model, _) => by_model.iter().map(|(model, usage)| one(model, usage)).collect(),
        };
        let adopt = self.is_of_a_batch();
        Some(Box::new(Deferred::Ended { reference, uses, adopt }))
    }

    /// Work that is over, and of which nothing can be booked: whoever runs the node must hear of it.
    fn tell_unread(&self, proxy: &Proxy, reference: &str, metered: &Metered) {
        let seen = &metered.observation;
        let why = if metered.oversized_events > 0 {
            LateUnread::TooLarge
        } else if metered.unreadable {
            LateUnread::Unread
        } else if self.ending == Ending::Finished && seen.is_done_without_usage() {
            LateUnread::NoUsage
        } else {
            return;
        };
        let provider = &self.reservation.opening().provider;
        proxy.telemetry.metrics.late_unread(provider, why);
        tracing::warn!(
            %provider,
            reference,
            why = why.name(),
            "what work in the background used cannot be read from its result; its budgets stay charged with the bound"
        );
    }

    /// The batch itself, or the file of its results.
    fn is_of_a_batch(&self) -> bool {
        matches!(self.call.endpoint.operation, Operation::Batches | Operation::Files)
    }

    /// At today's prices: the moment at which the work began is not in its result.
    fn price_late(
        &self,
        catalog: &Catalog,
        seen: &Observation,
        model: Option<&str>,
        usage: &TokenUsage,
        now: Timestamp,
    ) -> Pricing {
        let provider = &self.reservation.opening().provider;
        let Some(offer) = model.and_then(|model| catalog.resolve(provider, model)) else {
            return Pricing::Unpriced(Unpriced::UnknownModel);
        };
        let terms = Terms {
            service_tier: seen.service_tier.clone(),
            region: seen.region.clone(),
            batch: self.is_of_a_batch(),
            ..Terms::default()
        };
        offer.model.price(usage, &terms, now)
    }
}
