//! One attempt as one line of the log, as JSON or as text for people.

use super::Beside;
use crate::catalog::Pricing;
use crate::event::Event;
use crate::money::Usd;
use opentelemetry::{SpanId, TraceId};
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Appends the line of an attempt, with its newline.
pub(super) fn write(text: &mut Vec<u8>, event: &Event, beside: &Beside, json: bool) {
    let start = text.len();
    // Into memory: nothing but a value that JSON cannot say could fail, and there is none.
    let written = match json {
        true => serde_json::to_writer(&mut *text, &Line::of(event, beside)).is_ok(),
        false => write_text(text, event, beside).is_ok(),
    };
    if !written {
        text.truncate(start);
    }
    text.push(b'\n');
}

/// The line's fields, in their order.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: &'static str,
    #[serde(serialize_with = "shown")]
    exchange_id: crate::ids::ExchangeId,
    attempt: u16,
    outcome: &'a str,
    status: Option<u16>,
    provider: &'a str,
    dialect: &'a str,
    operation: &'a str,
    requested_model: &'a Option<Arc<str>>,
    upstream_model: &'a Option<Arc<str>>,
    response_model: &'a Option<Arc<str>>,
    stream: bool,
    complete: bool,
    input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
    reasoning_output_tokens: u64,
    usage_source: &'a str,
    #[serde(serialize_with = "shown_if_known")]
    cost_usd: Option<Usd>,
    pricing: &'a str,
    #[serde(serialize_with = "shown_if_known")]
    estimated_cost_usd: Option<Usd>,
    #[serde(serialize_with = "shown_if_known")]
    ceiling_cost_usd: Option<Usd>,
    decision: &'a str,
    rule: &'a Option<Arc<str>>,
    team: &'a Option<Arc<str>>,
    project: &'a Option<Arc<str>>,
    key: &'a Option<Arc<str>>,
    client: Option<IpAddr>,
    client_request_id: &'a Option<Arc<str>>,
    provider_request_id: &'a Option<Arc<str>>,
    exchange_duration_ms: u64,
    time_to_first_token_ms: Option<u64>,
    upstream_duration_ms: Option<u64>,
    overhead_duration_us: Option<u64>,
    #[serde(serialize_with = "shown_if_known")]
    trace_id: Option<TraceId>,
    #[serde(serialize_with = "shown_if_known")]
    span_id: Option<SpanId>,
    detail: &'a Option<Arc<str>>,
}

impl<'a> Line<'a> {
    fn of(event: &'a Event, beside: &'a Beside) -> Line<'a> {
        let (opening, closing) = (&event.opening, &event.closing);
        let usage = &closing.usage;
        Line {
            timestamp: closing.ended_at.to_rfc3339(),
            level: "INFO",
            message: "exchange",
            exchange_id: opening.exchange,
            attempt: opening.attempt,
            outcome: closing.outcome.name(),
            status: closing.status,
            provider: &opening.provider,
            dialect: opening.dialect.name(),
            operation: opening.operation.name(),
            requested_model: &opening.requested_model,
            upstream_model: &opening.upstream_model,
            response_model: &closing.response_model,
            stream: opening.stream,
            complete: closing.complete,
            input_tokens: usage.input_tokens(),
            cache_read_input_tokens: usage.cache_read_input_tokens(),
            output_tokens: usage.output_tokens(),
            reasoning_output_tokens: usage.reasoning_output_tokens(),
            usage_source: closing.usage_source.name(),
            cost_usd: cost(event),
            pricing: pricing_word(&closing.pricing),
            estimated_cost_usd: opening.estimate,
            ceiling_cost_usd: opening.ceiling,
            decision: &opening.decision,
            rule: &opening.rule,
            team: &opening.caller.team,
            project: &opening.caller.project,
            key: &opening.caller.key,
            client: beside.client,
            client_request_id: &opening.client_request_id,
            provider_request_id: &closing.provider_request_id,
            exchange_duration_ms: closing.ended_at.micros_since(opening.started_at) / 1_000,
            time_to_first_token_ms: closing.first_token_micros.map(|micros| micros / 1_000),
            upstream_duration_ms: closing.upstream_micros.map(|micros| micros / 1_000),
            overhead_duration_us: closing.overhead_micros,
            trace_id: beside.trace.as_ref().map(|attempt| attempt.trace.id),
            span_id: beside.trace.as_ref().map(|attempt| attempt.trace.span),
            detail: &beside.detail,
        }
    }
}

/// `2026-11-28T17:00:00Z 200 chat openai/gpt-4o in 10 out 5 (reported) $0.00007 12 ms ok  search/app exg_…`
fn write_text(text: &mut Vec<u8>, event: &Event, beside: &Beside) -> std::io::Result<()> {
    let (opening, closing) = (&event.opening, &event.closing);
    let model = opening.upstream_model.as_deref().unwrap_or("-");
    let status = closing.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    write!(
        text,
        "{} {status} {:<12} {}/{model} in {} out {} ({}) {} {} ms {}",
        closing.ended_at.to_rfc3339(),
        opening.operation.name(),
        opening.provider,
        closing.usage.input_tokens(),
        closing.usage.output_tokens(),
        closing.usage_source.name(),
        cost(event).map_or_else(|| pricing_word(&closing.pricing).to_owned(), |usd| format!("${usd}")),
        closing.ended_at.micros_since(opening.started_at) / 1_000,
        closing.outcome.name(),
    )?;
    let caller = &opening.caller;
    let who = [&caller.team, &caller.project, &caller.key].into_iter().flatten();
    let who = who.map(|name| &**name).collect::<Vec<_>>().join("/");
    write!(text, "  {}{}{}", who, if who.is_empty() { "" } else { " " }, opening.exchange)?;
    if &*opening.decision != "admit" {
        write!(text, " {}", opening.decision)?;
        opening.rule.iter().try_for_each(|rule| write!(text, " by {rule}"))?;
    }
    beside.detail.iter().try_for_each(|detail| write!(text, ": {detail}"))
}

fn cost(event: &Event) -> Option<Usd> {
    match &event.closing.pricing {
        Pricing::Priced(cost) => Some(cost.total),
        Pricing::Unpriced(_) | Pricing::Unmetered => None,
    }
}

fn pricing_word(pricing: &Pricing) -> &'static str {
    match pricing {
        Pricing::Priced(_) => "priced",
        Pricing::Unpriced(_) => "unpriced",
        Pricing::Unmetered => "unmetered",
    }
}

fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn shown_if_known<S: Serializer>(value: &Option<impl Display>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::event::Outcome;
    use crate::store::fixtures::call;
    use crate::tenants::Caller;
    use crate::tokens::usage::{Kind, TokenUsage, UsageSource};

    const AT: Timestamp = Timestamp(1_795_302_453_000_000);

    fn said(event: &Event, beside: &Beside, json: bool) -> String {
        let mut text = Vec::new();
        write(&mut text, event, beside, json);
        String::from_utf8(text).unwrap()
    }

    fn finished() -> Event {
        let mut event = call(AT, 1).costing(75_000_000);
        event.opening.provider = "openai".into();
        event.opening.upstream_model = Some("gpt-4o".into());
        event.opening.caller =
            Arc::new(Caller { team: Some("search".into()), key: Some("nightly".into()), ..Caller::default() });
        event.closing.ended_at = Timestamp(AT.0 + 12_000);
        event.closing.status = Some(200);
        event.closing.outcome = Outcome::Ok;
        event.closing.usage_source = UsageSource::Reported;
        event.closing.usage = TokenUsage::ZERO.with(Kind::Input, 10).with(Kind::Output, 5);
        event
    }

    #[test]
    fn a_person_reads_a_call_in_one_line() {
        let event = finished();
        let line = said(&event, &Beside::default(), false);
        let expected = format!(
            "2026-11-21T23:07:33.012000Z 200 chat         openai/gpt-4o in 10 out 5 (reported) $0.000075 12 ms ok  search/nightly {}\n",
            event.opening.exchange
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn what_a_rule_did_what_is_not_known_and_what_went_wrong_are_said() {
        let mut event = finished();
        event.opening.caller = Arc::default();
        event.opening.decision = "swap".into();
        event.opening.rule = Some("research-saves".into());
        event.closing.status = None;
        event.closing.outcome = Outcome::ProviderCut;
        event.closing.pricing = Pricing::Unpriced(crate::catalog::Unpriced::UnknownModel);
        let beside = Beside { detail: Some("the connection was reset".into()), ..Beside::default() };
        let line = said(&event, &beside, false);
        assert!(line.contains("Z --- chat ") && line.contains(" unpriced 12 ms "), "{line}");
        let end = format!("  {} swap by research-saves: the connection was reset\n", event.opening.exchange);
        assert!(line.ends_with(&end) && line.lines().count() == 1, "{line}");
    }

    #[test]
    fn text_and_json_tell_of_the_same_call() {
        let event = finished();
        let json: serde_json::Value = serde_json::from_str(&said(&event, &Beside::default(), true)).unwrap();
        let text = said(&event, &Beside::default(), false);
        for field in ["timestamp", "exchange_id", "outcome", "provider", "usage_source", "cost_usd", "team", "key"] {
            let value = json[field].as_str().unwrap();
            assert!(text.contains(value), "{field} {value} in {text}");
        }
    }
}
