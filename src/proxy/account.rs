//! One attempt's account: the hold on the ledger and the meter on the response, settled exactly once, whatever happens.
//!
//! An [`Account`] that is dropped without [`Account::settle`] (a panic, a runtime that ends) settles itself: the drop
//! hands it to the counting threads, and past those the reservation's own drop books its estimate.

mod late;

use super::Proxy;
use super::settling::Work;
use crate::budget::Demand;
use crate::catalog::model::Terms;
use crate::catalog::{Catalog, Offer, Pricing, Unpriced};
use crate::dialects::{Dialect, Endpoint, Flavor, Observation};
use crate::event::{Closing, Event, Outcome};
use crate::ledger::admission::Reservation;
use crate::meter::{Counts, Metered, Reading, ResponseHead, ResponseMeter, reading};
use crate::money::Usd;
use crate::telemetry::Beside;
use crate::telemetry::otel::AttemptTrace;
use crate::tokens::facts::RequestFacts;
use crate::tokens::history::Who;
use crate::tokens::prompt::OutputSeen;
use crate::tokens::usage::{TokenUsage, UsageSource};
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where providers put their own name of a call.
static REQUEST_IDS: [HeaderName; 4] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("x-goog-request-id"),
    HeaderName::from_static("apim-request-id"),
];

/// What is fixed when an attempt begins.
pub struct Call {
    pub endpoint: Endpoint,
    pub dialect: Dialect,
    pub flavor: Flavor,
    pub facts: Arc<RequestFacts>,
    /// The request's body as the caller sent it, for counting; empty where it streamed through.
    pub body: Bytes,
    pub offer: Option<Offer>,
    /// The model that was asked for, where a rule swapped it.
    pub swapped_from: Option<Offer>,
    pub terms: Terms,
    pub client: Option<IpAddr>,
    /// Its place in a trace, where there is one.
    pub trace: Option<Box<AttemptTrace>>,
}

/// How an attempt ended, as the journey saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The response was passed on to its end.
    Finished,
    ClientGone,
    /// The response ended before its end, or none came.
    Broken {
        outcome: Outcome,
        detail: Arc<str>,
    },
    /// We ended it: its budgets have no room for what would flow next.
    Curtailed,
    /// No byte of the request was accepted: nothing is charged.
    NotSent {
        detail: Arc<str>,
    },
    /// Nobody said how: a panic, or the runtime ended.
    Abandoned,
}

/// What an attempt came to, as far as its caller is told.
#[derive(Clone, Debug)]
pub struct Made {
    /// `None`: no price is known, or nothing is billed.
    pub cost: Option<Usd>,
    pub usage: TokenUsage,
    pub usage_source: UsageSource,
}

impl Made {
    fn of(closing: &Closing) -> Made {
        let cost = match &closing.pricing {
            Pricing::Priced(cost) => Some(cost.total),
            Pricing::Unpriced(_) | Pricing::Unmetered => None,
        };
        Made { cost, usage: closing.usage, usage_source: closing.usage_source }
    }
}

/// Moments of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    /// The request had arrived.
    pub arrived: Instant,
    /// Its body had been read.
    pub read: Instant,
    /// The request left for the provider.
    pub sent: Option<Instant>,
    /// The last byte of the provider's response.
    pub answered: Option<Instant>,
}

/// An attempt under way.
pub struct Account {
    proxy: Arc<Proxy>,
    unsettled: Option<Box<Unsettled>>,
}

/// Everything needed to settle, in one piece, so that it can move to another thread.
pub struct Unsettled {
    reservation: Reservation,
    pub call: Arc<Call>,
    meter: Option<ResponseMeter>,
    metered: Option<Metered>,
    status: Option<u16>,
    provider_request_id: Option<Arc<str>>,
    pub marks: Marks,
    request_bytes: u64,
    response_bytes: u64,
    progress_told: Instant,
    ending: Ending,
    /// Only in a trace.
    settling: Option<Instant>,
}

impl Account {
    pub fn open(proxy: &Arc<Proxy>, reservation: Reservation, call: Arc<Call>, marks: Marks) -> Account {
        let unsettled = Unsettled {
            reservation,
            call,
            meter: None,
            metered: None,
            status: None,
            provider_request_id: None,
            request_bytes: 0,
            response_bytes: 0,
            progress_told: marks.read,
            marks,
            ending: Ending::Abandoned,
            settling: None,
        };
        Account { proxy: Arc::clone(proxy), unsettled: Some(Box::new(unsettled)) }
    }

    /// What the provider is told of its trace, where Farebox makes spans.
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let traced = self.unsettled.as_ref()?.call.trace.as_ref()?;
        traced.trace.told(traced.span)
    }

    /// The request's bytes left.
    pub fn sent(&mut self, bytes: u64) {
        if let Some(open) = &mut self.unsettled {
            open.marks.sent.get_or_insert_with(Instant::now);
            open.request_bytes += bytes;
        }
    }

    /// The provider's response head came.
    pub fn answered(&mut self, head: &http::response::Parts) {
        let Some(open) = &mut self.unsettled else { return };
        let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        open.status = Some(head.status.as_u16());
        open.provider_request_id = REQUEST_IDS.iter().find_map(text).map(Arc::from);
        let response = ResponseHead {
            status: head.status.as_u16(),
            content_type: text(&header::CONTENT_TYPE),
            content_encoding: text(&header::CONTENT_ENCODING),
        };
        let call = &open.call;
        open.meter = Some(ResponseMeter::new(call.dialect, &call.endpoint, call.flavor, &response));
    }

    /// Bytes of the response, after they went to the client.
    pub fn observe(&mut self, chunk: &[u8]) {
        let Some(open) = &mut self.unsettled else { return };
        open.response_bytes += chunk.len() as u64;
        let Some(meter) = &mut open.meter else { return };
        meter.observe(chunk, self.proxy.clock.now());
        if open.reservation.opening().stream && open.progress_told.elapsed() >= self.proxy.settings.progress_interval {
            open.progress_told = Instant::now();
            open.reservation.progress(meter.output_tokens_so_far());
        }
    }

    /// What was observed of the response so far.
    pub fn seen(&mut self) -> Option<&Observation> {
        self.unsettled.as_mut().and_then(|open| open.meter.as_mut()).and_then(ResponseMeter::seen)
    }

    /// Holds more of every budget; all or nothing. False: there is no room.
    pub async fn top_up(&self, demands: &[Demand], patience: Duration) -> bool {
        match &self.unsettled {
            Some(open) => open.reservation.top_up(demands, patience).await.is_ok(),
            None => false,
        }
    }

    /// The dialect's own ending has been observed (`[DONE]`, `message_stop`), whatever the transport still sends.
    pub fn has_heard_the_end(&mut self) -> bool {
        self.seen().is_some_and(|seen| seen.finished)
    }

    /// The last byte of the provider's response came.
    pub fn ended(&mut self) {
        if let Some(open) = &mut self.unsettled {
            open.marks.answered = Some(Instant::now());
        }
    }

    /// Settles. Where the provider reported no usage, the count is made by the counting threads, and `settle` returns
    /// before it is; [`Account::settle_and_wait`] returns after.
    pub fn settle(mut self, ending: Ending) {
        self.hand_over(ending);
    }

    /// As [`Account::settle`], and waits for what was made of it: that goes into a header.
    pub async fn settle_and_wait(mut self, ending: Ending) -> Option<Made> {
        let open = self.close(ending)?;
        if open.wants_count() {
            let proxy = Arc::clone(&self.proxy);
            return Box::pin(proxy.counting.count_and_book(&proxy, open)).await;
        }
        Some(open.book(&self.proxy, Counts::default()))
    }

    fn hand_over(&mut self, ending: Ending) {
        let Some(open) = self.close(ending) else { return };
        if open.wants_count() {
            let proxy = Arc::clone(&self.proxy);
            proxy.counting.book_later(&proxy, open);
        } else {
            open.book(&self.proxy, Counts::default());
        }
    }

    fn close(&mut self, ending: Ending) -> Option<Box<Unsettled>> {
        let mut open = self.unsettled.take()?;
        open.metered = open.meter.take().map(ResponseMeter::finish);
        open.ending = ending;
        open.settling = open.call.trace.is_some().then(Instant::now);
        Some(open)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.hand_over(Ending::Abandoned);
    }
}

impl Unsettled {
    /// The provider may have billed and did not say what: our tokenizer must.
    pub fn wants_count(&self) -> bool {
        let silent = !self.metered.as_ref().is_some_and(|metered| is_final(&metered.observation));
        self.call.endpoint.metered && self.may_be_billed() && silent
    }

    /// What flowed out and no report covers, for counting.
    pub fn output(&self) -> Option<OutputSeen<'_>> {
        self.metered.as_ref().map(|metered| metered.observation.unreported_output())
    }

    fn may_be_billed(&self) -> bool {
        !matches!(self.ending, Ending::NotSent { .. }) && self.status.is_none_or(|status| status < 400)
    }

    /// Reading → cost; then, here or on the settling thread, settled reservation → log line and metrics.
    pub fn book(mut self: Box<Self>, proxy: &Arc<Proxy>, counts: Counts) -> Made {
        // What was counted is counted: the room of the body is this thread's, for the next request.
        if let Some(call) = Arc::get_mut(&mut self.call) {
            call.body = Bytes::new();
        }
        let catalog = proxy.catalog.load();
        let closing = Closing { deferred: self.deferred(proxy, &catalog), ..self.closing(&catalog, &counts) };
        drop(catalog);
        let made = Made::of(&closing);
        let work = if self.reservation.holds_something() {
            let (event, beside) = self.charge(proxy, closing);
            Work::Tell { event, beside }
        } else {
            Work::Settle { open: self, closing: Box::new(closing) }
        };
        proxy.settling.hand_over(proxy, work);
        made
    }

    /// Settles the reservation: the journal has the event when this returns.
    pub fn charge(self: Box<Self>, proxy: &Proxy, closing: Closing) -> (Arc<Event>, Box<Beside>) {
        let mut beside = Box::new(Beside {
            model_label: self.call.offer.as_ref().map(|offer| Arc::clone(&offer.model.id)),
            client: self.call.client,
            detail: self.detail(),
            saved_by_swap: self.saved_by_swap(&closing),
            trace: self.call.trace.clone(),
        });
        let choices = self.call.facts.choices.max(1);
        let (marks, settling) = (self.marks, self.settling);
        let event = self.reservation.settle(closing);
        if let Some(trace) = &mut beside.trace {
            (trace.sent, trace.answered, trace.settling) = (marks.sent, marks.answered, settling);
            trace.settled = Some(Instant::now());
        }
        learn(proxy, &event, choices);
        (event, beside)
    }

    /// List price of the same usage at the model that was asked for, less what it cost.
    fn saved_by_swap(&self, closing: &Closing) -> Option<Usd> {
        let asked = self.call.swapped_from.as_ref()?;
        let started = self.reservation.opening().started_at;
        match (asked.model.price(&closing.usage, &self.call.terms, started), &closing.pricing) {
            (Pricing::Priced(asked), Pricing::Priced(cost)) => asked.total.checked_sub(cost.total),
            _ => None,
        }
    }

    fn closing(&self, catalog: &Catalog, counts: &Counts) -> Closing {
        let read = self.read(counts);
        let seen = self.metered.as_ref().map(|metered| &metered.observation);
        let elapsed = self.marks.arrived.elapsed();
        let opening = self.reservation.opening();
        let started = opening.started_at;
        let ended_at = crate::clock::Timestamp(started.as_micros().saturating_add(micros_signed(elapsed)));
        Closing {
            ended_at,
            response_model: seen.and_then(|seen| seen.response_model.clone()),
            status: self.status,
            outcome: self.outcome(),
            complete: self.ending == Ending::Finished
                && seen.is_none_or(|seen| {
                    seen.finished || self.status.is_some_and(|status| status >= 400) || !self.call.endpoint.metered
                }),
            usage: read.usage,
            usage_source: read.source,
            pricing: self.price(catalog, &read),
            service_tier: seen.and_then(|seen| seen.service_tier.clone()),
            provider_cost: seen.and_then(|seen| seen.provider_cost),
            provider_request_id: self
                .provider_request_id
                .clone()
                .or_else(|| seen.and_then(|seen| seen.response_id.clone())),
            finish_reason: seen.and_then(|seen| seen.finish_reason.clone()),
            overhead_micros: self.marks.sent.map(|sent| micros(self.marks.overhead(sent))),
            first_token_micros: self.first_token(started),
            upstream_micros: self
                .marks
                .sent
                .zip(self.marks.answered)
                .map(|(sent, end)| micros(end.saturating_duration_since(sent))),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            withheld: Usd::ZERO,
            deferred: None,
        }
    }

    fn first_token(&self, started: crate::clock::Timestamp) -> Option<u64> {
        self.metered.as_ref()?.first_content_at.map(|at| at.micros_since(started))
    }

    fn read(&self, counts: &Counts) -> Reading {
        if !self.call.endpoint.metered {
            return Reading { usage: TokenUsage::ZERO, source: UsageSource::None };
        }
        let silent = Observation::default();
        let seen = self.metered.as_ref().map_or(&silent, |metered| &metered.observation);
        if !self.may_be_billed() && !is_final(seen) {
            return Reading { usage: TokenUsage::ZERO, source: UsageSource::Reported };
        }
        let read = reading(&self.call.endpoint, self.status.unwrap_or(200), seen, &self.call.facts, counts);
        // A background call goes on after its answer: what was counted is only a part.
        if seen.pending && self.call.facts.background {
            Reading { source: UsageSource::Estimated, ..read }
        } else {
            read
        }
    }

    fn price(&self, catalog: &Catalog, read: &Reading) -> Pricing {
        if !self.call.endpoint.metered {
            return Pricing::Unmetered;
        }
        if read.source == UsageSource::None {
            return Pricing::Unpriced(Unpriced::UnknownUsage);
        }
        let seen = self.metered.as_ref().map(|metered| &metered.observation);
        let opening = self.reservation.opening();
        let answered = seen.and_then(|seen| seen.response_model.as_deref());
        // The model that answered sets the price where the catalog knows it (routers, deployments, dated names).
        let offer =
            answered.and_then(|name| catalog.resolve(&opening.provider, name)).or_else(|| self.call.offer.clone());
        let asked = &self.call.terms;
        let terms = Terms {
            service_tier: seen.and_then(|seen| seen.service_tier.clone()).or_else(|| asked.service_tier.clone()),
            region: seen.and_then(|seen| seen.region.clone()).or_else(|| asked.region.clone()),
            speed: seen.and_then(|seen| seen.speed.clone()).or_else(|| asked.speed.clone()),
            ..asked.clone()
        };
        match offer {
            Some(offer) => offer.model.price(&read.usage, &terms, opening.started_at),
            None if read.usage.is_zero() && read.source == UsageSource::Reported && !self.may_be_billed() => {
                Pricing::Unmetered
            }
            None => Pricing::Unpriced(Unpriced::UnknownModel),
        }
    }

    fn outcome(&self) -> Outcome {
        match (&self.ending, self.status) {
            (Ending::Finished, Some(status)) if status >= 400 => Outcome::of_status(status),
            (Ending::Finished, _) if self.was_cut_unnoticed() => Outcome::ProviderCut,
            (Ending::Finished, _) => Outcome::Ok,
            (Ending::ClientGone, _) => Outcome::CallerCancelled,
            (Ending::Broken { outcome, .. }, _) => *outcome,
            (Ending::Curtailed, _) => Outcome::PolicyBudgetExceeded,
            (Ending::NotSent { .. }, _) => Outcome::ProviderConnectionFailed,
            (Ending::Abandoned, _) => Outcome::ProxyInternal,
        }
    }

    /// A stream whose transport ended well, but without the dialect's ending and without usage.
    fn was_cut_unnoticed(&self) -> bool {
        let seen = self.metered.as_ref().map(|metered| &metered.observation);
        let streamed = self.call.endpoint.metered && self.reservation.opening().stream;
        streamed && seen.is_some_and(|seen| !seen.finished && !is_final(seen) && seen.error_code.is_none())
    }

    fn detail(&self) -> Option<Arc<str>> {
        match &self.ending {
            Ending::Broken { detail, .. } | Ending::NotSent { detail } => Some(Arc::clone(detail)),
            Ending::Finished | Ending::ClientGone | Ending::Curtailed | Ending::Abandoned => None,
        }
    }
}

impl Marks {
    /// Time in our hands: from the read request to its leaving, and from the response's end to now.
    fn overhead(&self, sent: Instant) -> Duration {
        let before = sent.saturating_duration_since(self.read);
        before + self.answered.map_or(Duration::ZERO, |answered| answered.elapsed())
    }
}

/// How long an answer was, for the estimate of the next one.
fn learn(proxy: &Proxy, event: &Event, choices: u64) {
    let (opening, closing) = (&event.opening, &event.closing);
    let whole = closing.outcome == Outcome::Ok && closing.complete && closing.usage_source != UsageSource::None;
    if let (true, Some(model)) = (whole, &opening.upstream_model) {
        let key = opening.caller.key.as_deref().unwrap_or_default();
        let who = Who::new(key, model, opening.operation.name());
        proxy.history.learn(who, closing.usage.output_tokens() / choices);
    }
}

/// The provider said what the whole response used.
fn is_final(seen: &Observation) -> bool {
    seen.usage.is_some() && seen.usage_is_final
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn micros_signed(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
