//! Spans, made when their step has ended, beside the request's threads.
//!
//! One server span an exchange. In it, for each attempt: `decide`, `reserve`, `forward` with the client span of the call
//! to the provider (GenAI conventions 1.41), and `settle`. What was said, and who said it, is in none of them.

use super::genai::{self, Served};
use super::trace::{Arrival, AttemptTrace, ExchangeTrace, RefusedTrace, Trace};
use crate::catalog::Pricing;
use crate::event::{Event, Outcome};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SCHEMA: &str = "https://opentelemetry.io/schemas/1.41.0";

/// Makes spans of what happened.
pub struct Spans {
    scope: InstrumentationScope,
}

/// A span yet without what is alike in all.
struct Draft {
    name: Cow<'static, str>,
    kind: SpanKind,
    span: SpanId,
    parent: Option<SpanId>,
    from: Instant,
    to: Instant,
    attributes: Vec<KeyValue>,
    error: Option<Cow<'static, str>>,
}

impl Draft {
    fn inner(name: &'static str, parent: SpanId, from: Instant, to: Instant) -> Draft {
        Draft {
            name: name.into(),
            kind: SpanKind::Internal,
            span: RandomIdGenerator::default().new_span_id(),
            parent: Some(parent),
            from,
            to,
            attributes: Vec::new(),
            error: None,
        }
    }

    fn with(self, attributes: impl IntoIterator<Item = Option<KeyValue>>) -> Draft {
        Draft { attributes: attributes.into_iter().flatten().collect(), ..self }
    }

    fn failed(self, error: Option<impl Into<Cow<'static, str>>>) -> Draft {
        Draft { error: error.map(Into::into), ..self }
    }
}

impl Spans {
    pub fn new(version: &'static str) -> Spans {
        let scope = InstrumentationScope::builder("farebox").with_version(version).with_schema_url(SCHEMA);
        Spans { scope: scope.build() }
    }

    pub fn exchange(&self, told: &ExchangeTrace) -> SpanData {
        let failed = told.status.is_none_or(|status| status >= 500);
        let error: Option<Cow<'static, str>> = match told.status {
            Some(status) if failed => Some(status.to_string().into()),
            None => Some("no_response".into()),
            Some(_) => None,
        };
        let draft = Draft {
            name: format!("{} {}", told.method, told.operation).into(),
            kind: SpanKind::Server,
            span: told.trace.span,
            parent: told.trace.parent,
            ..Draft::inner("", told.trace.span, told.arrival.started, told.ended)
        };
        let draft = draft.failed(error).with([
            Some(KeyValue::new("http.request.method", told.method.clone())),
            told.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))),
            Some(KeyValue::new("farebox.exchange_id", told.exchange.to_string())),
            Some(KeyValue::new("farebox.operation", told.operation)),
            text("farebox.team", told.caller.team.as_deref()),
            text("farebox.project", told.caller.project.as_deref()),
        ]);
        self.span(&told.trace, told.arrival, draft)
    }

    pub fn refused(&self, told: &RefusedTrace) -> SpanData {
        let draft = Draft::inner("decide", told.trace.span, told.asked, told.refused).failed(Some(told.kind)).with([
            Some(KeyValue::new("farebox.decision", "refuse")),
            Some(KeyValue::new("farebox.refusal", told.kind)),
            text("farebox.rule", told.rule.as_deref()),
        ]);
        self.span(&told.trace, told.arrival, draft)
    }

    /// The spans of a settled attempt.
    pub fn attempt(&self, told: &AttemptTrace, event: &Event, served: &Served) -> Vec<SpanData> {
        let (opening, closing) = (&event.opening, &event.closing);
        let server = told.trace.span;
        let settling = told.settling.unwrap_or(told.reserved);
        let settled = told.settled.unwrap_or(settling);
        let decide = Draft::inner("decide", server, told.asked, told.reserving).with([
            Some(KeyValue::new("farebox.decision", opening.decision.to_string())),
            text("farebox.rule", opening.rule.as_deref()),
            text("farebox.requested_model", opening.requested_model.as_deref()),
            text("farebox.model", opening.upstream_model.as_deref()),
        ]);
        let reserve = Draft::inner("reserve", server, told.reserving, told.reserved).with([
            opening.estimate.map(|usd| KeyValue::new("farebox.estimated_cost_usd", usd.to_string())),
            opening.ceiling.map(|usd| KeyValue::new("farebox.ceiling_cost_usd", usd.to_string())),
        ]);
        let failure = (closing.outcome != Outcome::Ok).then(|| closing.outcome.name());
        let forward = Draft::inner("forward", server, told.reserved, settling).failed(failure).with([
            Some(KeyValue::new("farebox.attempt", i64::from(opening.attempt))),
            Some(KeyValue::new("farebox.outcome", closing.outcome.name())),
        ]);
        let settle = Draft::inner("settle", server, settling, settled)
            .with([Some(KeyValue::new("farebox.usage_source", closing.usage_source.name())), cost(&closing.pricing)]);
        let call = told.sent.map(|sent| {
            let to = told.answered.unwrap_or(settling).max(sent);
            let name = opening.upstream_model.as_deref().unwrap_or_default();
            Draft {
                name: format!("{} {name}", genai::operation(opening)).trim_end().to_owned().into(),
                kind: SpanKind::Client,
                span: told.span,
                ..Draft::inner("", forward.span, sent, to)
            }
            .failed(failure)
            .with(call_attributes(told, event, served))
        });
        let drafts = [Some(decide), Some(reserve), Some(forward), call, Some(settle)];
        drafts.into_iter().flatten().map(|draft| self.span(&told.trace, told.arrival, draft)).collect()
    }

    fn span(&self, trace: &Trace, arrival: Arrival, draft: Draft) -> SpanData {
        let mut attributes = draft.attributes;
        let status = match draft.error {
            Some(error) => {
                attributes.push(KeyValue::new("error.type", error));
                Status::error("")
            }
            None => Status::Unset,
        };
        let is_server = draft.kind == SpanKind::Server;
        SpanData {
            span_context: SpanContext::new(trace.id, draft.span, TraceFlags::SAMPLED, false, trace.state.clone()),
            parent_span_id: draft.parent.unwrap_or(SpanId::INVALID),
            parent_span_is_remote: is_server && draft.parent.is_some(),
            span_kind: draft.kind,
            name: draft.name,
            start_time: moment(arrival, draft.from),
            end_time: moment(arrival, draft.to),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

/// As the conventions name what a client of a model knows.
fn call_attributes(told: &AttemptTrace, event: &Event, served: &Served) -> Vec<Option<KeyValue>> {
    let (opening, closing) = (&event.opening, &event.closing);
    let usage = &closing.usage;
    let number = |name: &'static str, count: u64| KeyValue::new(name, i64::try_from(count).unwrap_or(i64::MAX));
    let used = |name: &'static str, count: u64| (!usage.is_zero()).then(|| number(name, count));
    let some = |name: &'static str, count: u64| (count > 0).then(|| number(name, count));
    let finished = closing.finish_reason.as_deref().map(|reason| {
        let reasons = Value::Array(Array::String(vec![StringValue::from(reason.to_owned())]));
        KeyValue::new("gen_ai.response.finish_reasons", reasons)
    });
    let choices = told.facts.choices;
    vec![
        Some(KeyValue::new("gen_ai.operation.name", genai::operation(opening))),
        Some(KeyValue::new("gen_ai.provider.name", served.provider.clone())),
        text("gen_ai.request.model", opening.upstream_model.as_deref()),
        told.facts.output_limit.map(|limit| number("gen_ai.request.max_tokens", limit)),
        (choices > 1).then(|| number("gen_ai.request.choice.count", choices)),
        text("gen_ai.response.model", closing.response_model.as_deref()),
        finished,
        used("gen_ai.usage.input_tokens", usage.input_tokens()),
        used("gen_ai.usage.output_tokens", usage.output_tokens()),
        some("gen_ai.usage.cache_read.input_tokens", usage.cache_read_input_tokens()),
        some("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_input_tokens()),
        Some(KeyValue::new("server.address", served.address.clone())),
        Some(KeyValue::new("server.port", i64::from(served.port))),
        closing.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))),
        Some(KeyValue::new("farebox.exchange_id", opening.exchange.to_string())),
        Some(KeyValue::new("farebox.attempt", i64::from(opening.attempt))),
        Some(KeyValue::new("farebox.stream", opening.stream)),
        Some(KeyValue::new("farebox.usage_source", closing.usage_source.name())),
        text("farebox.provider_request_id", closing.provider_request_id.as_deref()),
        closing.first_token_micros.map(|micros| number("farebox.time_to_first_token_us", micros)),
        cost(&closing.pricing),
    ]
}

/// Exact, in decimal dollars: a double could not say it.
fn cost(pricing: &Pricing) -> Option<KeyValue> {
    match pricing {
        Pricing::Priced(cost) => Some(KeyValue::new("farebox.cost_usd", cost.total.to_string())),
        Pricing::Unpriced(_) | Pricing::Unmetered => None,
    }
}

fn text(name: &'static str, value: Option<&str>) -> Option<KeyValue> {
    value.map(|value| KeyValue::new(name, value.to_owned()))
}

fn moment(arrival: Arrival, at: Instant) -> SystemTime {
    let arrived = u64::try_from(arrival.at.as_micros()).unwrap_or(0);
    UNIX_EPOCH + Duration::from_micros(arrived) + at.saturating_duration_since(arrival.started)
}
