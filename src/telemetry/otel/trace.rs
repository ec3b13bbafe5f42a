//! The trace that an exchange belongs to (W3C Trace Context, read and written), and the moments of its steps.

use super::environment::Sampling;
use crate::clock::Timestamp;
use crate::ids::ExchangeId;
use crate::tenants::Caller;
use crate::tokens::facts::RequestFacts;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, TraceContextExt, TraceId, TraceState};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler, SamplingDecision, ShouldSample};
use std::sync::Arc;
use std::time::Instant;

pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace of one exchange.
#[derive(Clone, Debug)]
pub struct Trace {
    pub id: TraceId,
    /// The caller's span, in which he called.
    pub parent: Option<SpanId>,
    /// Our server span; where we make no spans, the caller's.
    pub span: SpanId,
    pub state: TraceState,
    /// Its spans are made and sent.
    pub sampled: bool,
    /// We make spans, if not of each trace: the provider may be told ours.
    is_ours: bool,
}

impl Trace {
    /// A new span in it.
    pub fn new_span(&self) -> SpanId {
        if self.is_ours { RandomIdGenerator::default().new_span_id() } else { self.span }
    }

    /// The `traceparent` that tells a provider of a span of ours; `None` where we make none.
    pub fn told(&self, span: SpanId) -> Option<HeaderValue> {
        let flags = u8::from(self.sampled);
        let text = self.is_ours.then(|| format!("00-{}-{span}-{flags:02x}", self.id))?;
        HeaderValue::try_from(text).ok()
    }
}

/// Begins traces.
#[derive(Debug)]
pub struct Beginnings {
    reads_context: bool,
    /// `None`: no spans are made.
    sampling: Option<Sampling>,
}

impl Beginnings {
    pub fn new(reads_context: bool, sampling: Option<Sampling>) -> Beginnings {
        Beginnings { reads_context, sampling }
    }

    /// The trace of a request: the caller's, or a new one. `None`: nobody traces.
    pub fn of(&self, headers: &HeaderMap) -> Option<Trace> {
        let caller = (self.reads_context && headers.contains_key(&TRACEPARENT)).then(|| caller(headers)).flatten();
        let Some(sampling) = &self.sampling else {
            // No span of ours: the log line still finds the caller's.
            let caller = caller?;
            let (id, span, state) = (caller.trace_id(), caller.span_id(), caller.trace_state().clone());
            return Some(Trace { id, parent: Some(span), span, state, sampled: false, is_ours: false });
        };
        let ids = RandomIdGenerator::default();
        let id = caller.as_ref().map_or_else(|| ids.new_trace_id(), SpanContext::trace_id);
        let sampled = match &caller {
            Some(caller) if sampling.parent_based => caller.is_sampled(),
            _ => is_sampled(sampling.ratio, id),
        };
        Some(Trace {
            id,
            parent: caller.as_ref().map(SpanContext::span_id),
            span: ids.new_span_id(),
            state: caller.map_or(TraceState::NONE, |caller| caller.trace_state().clone()),
            sampled,
            is_ours: true,
        })
    }
}

fn caller(headers: &HeaderMap) -> Option<SpanContext> {
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    Some(context.span().span_context().clone()).filter(SpanContext::is_valid)
}

/// By the trace's id, so that all who sample by the same share keep the same traces.
fn is_sampled(ratio: f64, id: TraceId) -> bool {
    let asked = Sampler::TraceIdRatioBased(ratio).should_sample(None, id, "", &SpanKind::Server, &[], &[]);
    asked.decision == SamplingDecision::RecordAndSample
}

/// A request's arrival by the wall and by the stopwatch: moments after it are told by the stopwatch.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: Timestamp,
    pub started: Instant,
}

/// An attempt's place in its trace, and the moments of its steps as far as they were reached.
#[derive(Clone, Debug)]
pub struct AttemptTrace {
    pub trace: Trace,
    /// The span of the call to the provider: the one that it is told.
    pub span: SpanId,
    pub arrival: Arrival,
    /// The rules were asked.
    pub asked: Instant,
    /// The budgets and the journal were asked, and answered.
    pub reserving: Instant,
    pub reserved: Instant,
    pub sent: Option<Instant>,
    pub answered: Option<Instant>,
    pub settling: Option<Instant>,
    pub settled: Option<Instant>,
    pub facts: Arc<RequestFacts>,
}

/// A whole exchange, when its response has been written.
#[derive(Clone, Debug)]
pub struct ExchangeTrace {
    pub trace: Trace,
    pub arrival: Arrival,
    pub ended: Instant,
    pub exchange: ExchangeId,
    pub method: String,
    pub operation: &'static str,
    pub caller: Arc<Caller>,
    /// As the client got it; `None`: nothing was written.
    pub status: Option<u16>,
}

/// A decision that was a no.
#[derive(Clone, Debug)]
pub struct RefusedTrace {
    pub trace: Trace,
    pub arrival: Arrival,
    pub asked: Instant,
    pub refused: Instant,
    pub kind: &'static str,
    pub rule: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(traceparent: &str) -> HeaderMap {
        [(TRACEPARENT.clone(), HeaderValue::from_str(traceparent).unwrap())].into_iter().collect()
    }

    fn all() -> Beginnings {
        Beginnings::new(true, Some(Sampling::default()))
    }

    #[test]
    fn a_callers_trace_goes_on_with_a_span_of_ours() {
        let trace = all().of(&headers(CALLER)).unwrap();
        assert_eq!(trace.id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(trace.parent.unwrap().to_string(), "00f067aa0ba902b7");
        assert!(trace.sampled && trace.span != trace.parent.unwrap());
        let span = trace.new_span();
        assert_eq!(trace.told(span).unwrap(), format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{span}-01"));
    }

    #[test]
    fn a_caller_who_does_not_sample_is_followed_and_told_on() {
        let unsampled = CALLER.replace("-01", "-00");
        let trace = all().of(&headers(&unsampled)).unwrap();
        assert!(!trace.sampled);
        assert!(trace.told(trace.new_span()).unwrap().to_str().unwrap().ends_with("-00"));
        let always = Beginnings::new(true, Some(Sampling { parent_based: false, ratio: 1.0 }));
        assert!(always.of(&headers(&unsampled)).unwrap().sampled);
    }

    #[test]
    fn without_spans_of_ours_the_callers_are_still_known_and_nothing_is_told() {
        let off = Beginnings::new(true, None);
        assert!(off.of(&HeaderMap::new()).is_none());
        let trace = off.of(&headers(CALLER)).unwrap();
        assert_eq!(trace.span.to_string(), "00f067aa0ba902b7");
        assert!(!trace.sampled && trace.told(trace.new_span()).is_none());
        assert!(Beginnings::new(false, None).of(&headers(CALLER)).is_none());
    }

    #[test]
    fn a_malformed_context_begins_a_new_trace() {
        for bad in ["00-0-0-01", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "x"] {
            let trace = all().of(&headers(bad)).unwrap();
            assert!(trace.parent.is_none() && trace.sampled, "{bad}");
        }
    }

    #[test]
    fn a_share_of_traces_is_kept() {
        let tenth = Beginnings::new(true, Some(Sampling { parent_based: true, ratio: 0.1 }));
        let kept = (0..10_000).filter(|_| tenth.of(&HeaderMap::new()).unwrap().sampled).count();
        assert!((700..1_300).contains(&kept), "{kept}");
    }
}
