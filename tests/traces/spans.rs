//! Spans as the collector got them: who is whose parent, what they say, and what they do not.

use super::traced;
use crate::support::collector::{Manner, attribute, collector};
use crate::support::{Shop, chat, shop, with};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The one span of this name.
#[track_caller]
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let span = found.next().unwrap_or_else(|| panic!("no span `{name}` in {spans:#?}"));
    assert!(found.next().is_none(), "two spans `{name}`: {spans:#?}");
    span
}

/// What the provider was sent under this name.
fn sent(shop: &Shop, attempt: u64, name: &str) -> Vec<String> {
    let headers = shop.seen(attempt).headers.into_iter();
    headers.filter(|(header, _)| header == name).map(|(_, value)| value).collect()
}

/// The log's lines about exchanges.
fn lines(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["message"] == "exchange").collect()
}

#[tokio::test]
async fn an_exchange_is_a_server_span_with_its_steps_in_the_callers_trace() {
    let collector = collector(Manner::Takes).await;
    let shop = traced(&collector)
        .with_variable("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test%2Fhere")
        .with_variable("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue")
        .with_setting("metrics: {teams: [search]}")
        .open()
        .await;
    let body = with(chat("Say something."), json!({"max_tokens": 50}));
    let asking = shop.post("/v1/chat/completions", &body).with("traceparent", CALLER).with("tracestate", "vendor=1");
    let answered = asking.with("x-farebox-team", "search").wishing("output-tokens", 5).answered().await;
    assert_eq!(answered.status, 200);

    let spans = collector.spans_once(6).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:#?}");
    let server = named(&spans, "POST chat");
    assert_eq!(hex(&server.parent_span_id), "00f067aa0ba902b7");
    assert_eq!((server.kind, server.trace_state.as_str()), (2, "vendor=1"));
    assert_eq!(attribute(server, "http.response.status_code"), "200");
    assert_eq!(attribute(server, "farebox.team"), "search");
    for step in ["decide", "reserve", "forward", "settle"] {
        let span = named(&spans, step);
        assert_eq!(span.parent_span_id, server.span_id, "{step}");
        assert!(span.start_time_unix_nano >= server.start_time_unix_nano, "{step}");
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{step}");
    }
    let call = named(&spans, "chat gpt-4o");
    assert_eq!((call.kind, &call.parent_span_id), (3, &named(&spans, "forward").span_id));
    let id = answered.header("x-farebox-exchange-id").unwrap();
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4o"),
        ("gen_ai.request.max_tokens", "50"),
        ("gen_ai.response.model", "gpt-4o"),
        ("gen_ai.response.finish_reasons", "stop"),
        ("gen_ai.usage.input_tokens", "10"),
        ("gen_ai.usage.output_tokens", "5"),
        ("server.address", "127.0.0.1"),
        ("http.response.status_code", "200"),
        ("farebox.exchange_id", id),
        ("farebox.cost_usd", "0.000075"),
        ("farebox.usage_source", "reported"),
    ] {
        assert_eq!(attribute(call, key), value, "{key} of {call:#?}");
    }
    assert_eq!(attribute(named(&spans, "decide"), "farebox.decision"), "admit");
    assert!(spans.iter().all(|span| span.status.as_ref().is_none_or(|status| status.code == 0)));
    let resource = collector.resource();
    for (key, value) in [("service.name", "farebox"), ("deployment.environment", "test/here")] {
        assert!(resource.iter().any(|pair| pair.0 == key && pair.1 == value), "{key} in {resource:?}");
    }
    assert_eq!(collector.headers()["x-tenant"], "blue");
    let line = &lines(&shop.log())[0];
    assert_eq!(
        (line["trace_id"].as_str(), line["span_id"].as_str()),
        (Some(TRACE), Some(hex(&server.span_id).as_str()))
    );
    // The provider is in a private network: it was told the span of the call to it.
    let told = format!("00-{TRACE}-{}-01", hex(&call.span_id));
    assert_eq!(sent(&shop, 1, "traceparent"), [told]);
    assert_eq!(sent(&shop, 1, "tracestate"), ["vendor=1"]);
}

#[tokio::test]
async fn a_refused_call_says_which_rule_and_a_failed_one_whose_fault() {
    let collector = collector(Manner::Takes).await;
    let rules = "version: 1\nblocks:\n  - {name: no-four, when: {model: gpt-4}}\n";
    let shop = traced(&collector).with_rules(rules).open().await;
    let refused = shop.post("/v1/chat/completions", &with(chat("Hi"), json!({"model": "gpt-4"}))).answered().await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let spans = collector.spans_once(2).await;
    let (server, decide) = (named(&spans, "POST chat"), named(&spans, "decide"));
    assert_eq!((spans.len(), &decide.parent_span_id), (2, &server.span_id));
    assert_eq!(attribute(decide, "farebox.rule"), "no-four");
    assert_eq!((attribute(decide, "farebox.decision"), decide.status.as_ref().unwrap().code), ("refuse".into(), 2));
    assert_eq!(attribute(server, "http.response.status_code"), "403");

    shop.chat("Hi").wishing("status", 500).answered().await;
    let spans = collector.spans_once(8).await;
    let call = named(&spans, "chat gpt-4o");
    assert_eq!(call.status.as_ref().unwrap().code, 2);
    assert_eq!(attribute(call, "error.type"), "provider_server_error");
    let failed = spans.iter().find(|span| attribute(span, "http.response.status_code") == "500" && span.kind == 2);
    assert_eq!(attribute(failed.unwrap(), "error.type"), "500");
}

#[tokio::test]
async fn each_attempt_has_its_own_steps() {
    let collector = collector(Manner::Takes).await;
    let lines = ["base_url: http://127.0.0.1:9/v1", "fallbacks: [openai]", "retries: {max: 0}"];
    let shop = traced(&collector).with_provider("away", "openai", &lines).open().await;
    let answered = shop.post("/away/v1/chat/completions", &chat("Hi")).answered().await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    // A server span, four steps of the attempt that never left, five of the one that did.
    let spans = collector.spans_once(10).await;
    let server = named(&spans, "POST chat");
    let forwards: Vec<&Span> = spans.iter().filter(|span| span.name == "forward").collect();
    assert!(forwards.iter().all(|span| span.parent_span_id == server.span_id));
    let outcomes: Vec<String> = forwards.iter().map(|span| attribute(span, "farebox.outcome")).collect();
    assert_eq!(outcomes, ["provider_connection_failed", "ok"]);
    assert_eq!(named(&spans, "chat gpt-4o").parent_span_id, forwards[1].span_id);
    assert_eq!(spans.len(), 10);
}

#[tokio::test]
async fn what_was_said_is_in_no_span() {
    let collector = collector(Manner::Takes).await;
    let shop = traced(&collector).open().await;
    let prompt = "canary-prompt-5521 is secret";
    let whole = shop.chat(prompt).with("authorization", "Bearer sk-canary-9912").answered().await;
    let streamed = shop.stream(prompt).with("authorization", "Bearer sk-canary-9912").answered().await;
    let said = whole.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.len() > 10 && streamed.status == 200, "{said}");
    collector.spans_once(12).await;
    let bytes = collector.bytes();
    for secret in ["canary-prompt-5521", "sk-canary-9912", &said] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} was sent");
    }
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent_but_found_in_the_log() {
    let collector = collector(Manner::Takes).await;
    let shop = traced(&collector).open().await;
    shop.chat("Hi").with("traceparent", &CALLER.replace("-01", "-00")).answered().await;
    shop.chat("Hi").with("traceparent", &CALLER.replace("4736", "4737")).answered().await;
    let spans = collector.spans_once(6).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id).ends_with("4737")), "{spans:#?}");
    let lines = lines(&shop.log());
    assert_eq!(lines[0]["trace_id"], TRACE);
    let told = sent(&shop, 1, "traceparent").remove(0);
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00") && !told.contains("00f067aa0ba902b7"));

    let off = traced(&collector).with_variable("OTEL_TRACES_SAMPLER", "always_off").open().await;
    off.chat("Hi").answered().await;
    off.terminate();
    let mut off = off;
    off.ended().await;
    assert_eq!(collector.spans().len(), 6);
}

#[tokio::test]
async fn without_a_collector_the_callers_context_passes_and_is_in_the_log() {
    let shop = shop().open().await;
    shop.chat("Hi").with("traceparent", CALLER).answered().await;
    shop.chat("Hi").answered().await;
    assert_eq!(sent(&shop, 1, "traceparent"), [CALLER]);
    shop.rows(2).await;
    let lines = lines(&shop.log());
    assert_eq!((lines[0]["trace_id"].as_str(), lines[0]["span_id"].as_str()), (Some(TRACE), Some("00f067aa0ba902b7")));
    assert!(lines[1]["trace_id"].is_null());
}

#[tokio::test]
async fn a_provider_that_shall_not_know_our_spans_gets_the_callers() {
    let collector = collector(Manner::Takes).await;
    let shop = traced(&collector).with_every_provider("trace_context: false").open().await;
    shop.chat("Hi").with("traceparent", CALLER).answered().await;
    shop.chat("Hi").answered().await;
    assert_eq!(sent(&shop, 1, "traceparent"), [CALLER]);
    assert_eq!(sent(&shop, 2, "traceparent"), [""; 0]);
    collector.spans_once(12).await;
}
