use super::*;
use crate::tokens::facts::{ImageDetail, ImagePart};
use crate::tokens::prompt::PromptText;
use crate::tokens::usage::Kind;

fn messages() -> Endpoint {
    recognise("POST", "/v1/messages")
}

fn facts_of(body: &str) -> RequestFacts {
    read_request(&messages(), body.as_bytes()).expect("a readable request")
}

fn texts_of(body: &str) -> Vec<String> {
    let mut texts = Vec::new();
    prompt_texts(&messages(), body.as_bytes(), &mut |text| match text {
        PromptText::Escaped(text) => texts.push(format!("Text({:?})", (text.decode)(text.raw))),
        text => texts.push(format!("{text:?}")),
    });
    texts
}

fn observed(events: &[&str]) -> Observation {
    let mut seen = Observation::default();
    for data in events {
        observe_event(&messages(), Flavor::Standard, sse::Event { name: None, data: data.as_bytes() }, &mut seen);
    }
    seen
}

#[test]
fn paths_are_recognised_and_only_messages_are_billed() {
    let cases = [
        ("POST", "/v1/messages", Operation::Chat, true),
        ("GET", "/v1/messages", Operation::Other, false),
        ("POST", "/v1/messages/count_tokens", Operation::CountTokens, false),
        ("POST", "/v1/messages/batches", Operation::Batches, false),
        ("GET", "/v1/messages/batches/msgbatch_1/results", Operation::Batches, false),
        ("GET", "/v1/models/claude-opus-4-8", Operation::Models, false),
        ("POST", "/v1/files", Operation::Files, false),
        ("POST", "/v1/complete", Operation::Other, false),
        ("POST", "/v1/messagesx", Operation::Other, false),
    ];
    for (method, path, operation, metered) in cases {
        let endpoint = recognise(method, path);
        assert_eq!((endpoint.operation, endpoint.metered), (operation, metered), "{method} {path}");
    }
}

#[test]
fn a_request_is_read_with_the_places_that_can_be_written() {
    let body = r#"{ "model": "claude-opus-4-8", "max_tokens": 1024, "stream": true, "service_tier": "standard_only",
        "speed": "fast", "inference_geo": "us", "thinking": {"type": "enabled", "budget_tokens": 500},
        "metadata": {"user_id": "u-1", "team": "blue", "number": 7},
        "system": "Be brief.", "messages": [{"role": "user", "content": "Hello"}] }"#;
    let facts = facts_of(body);
    assert_eq!(facts.requested_model.as_deref(), Some("claude-opus-4-8"));
    assert_eq!((facts.output_limit, facts.choices, facts.stream), (Some(1024), 1, true));
    let place = |range: Option<std::ops::Range<usize>>| range.and_then(|range| body.get(range));
    assert_eq!(place(facts.splice.model), Some("\"claude-opus-4-8\""));
    assert_eq!(place(facts.splice.output_limit), Some("1024"));
    assert_eq!(facts.splice.members, Some(1));
    assert_eq!(place(facts.system_text), Some("Be brief."));
    assert_eq!((facts.service_tier.as_deref(), facts.speed.as_deref()), (Some("standard_only"), Some("fast")));
    assert_eq!((facts.region.as_deref(), facts.user.as_deref()), (Some("us"), Some("u-1")));
    assert_eq!(facts.metadata, [(Arc::from("team"), Arc::from("blue"))]);
    assert!(facts.needs.reasoning && !facts.needs.tools);
    assert_eq!((facts.input.text_bytes, facts.input.messages), (14, 2), "the system prompt is a message");
}

const CONVERSATION: &str = r#"{"model":"m","max_tokens":9,
    "system":[{"type":"text","text":"Rules\u00e9","cache_control":{"type":"ephemeral","ttl":"1h"}}],
    "tools":[{"name":"look","description":"d","input_schema":{"type":"object"}},
             {"type":"web_search_20250305","name":"web_search","max_uses":5},
             {"type":"bash_20250124","name":"bash"}],
    "messages":[
      {"content":[{"text":"See","type":"text"},
                  {"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAASwAAADICAYAAABS39xVAAAA"}},
                  {"type":"image","source":{"type":"url","url":"https://x/y.png"}},
                  {"type":"document","title":"T","source":{"type":"base64","media_type":"application/pdf","data":"AAAAAAAA"}},
                  {"type":"document","source":{"type":"text","media_type":"text/plain","data":"plain"}}],"role":"user"},
      {"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"xyz"},
                  {"type":"tool_use","id":"t1","name":"look","input":{"at": 1}}]},
      {"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","cache_control":{"type":"ephemeral"},
                  "content":[{"type":"text","text":"seen"}]},{"type":"novelty","n":1}]}]}"#;

#[test]
fn blocks_are_sized_by_what_they_are() {
    let facts = facts_of(CONVERSATION);
    let input = &facts.input;
    assert_eq!((input.messages, input.tools, input.tool_calls), (5, 3, 1), "a tool's result is a message");
    assert_eq!((input.file_parts, input.file_bytes), (1, 6));
    let known = ImagePart { detail: ImageDetail::Auto, size: Some((300, 200)) };
    assert_eq!(input.images, [known, ImagePart { size: None, ..known }]);
    assert_eq!(facts.cache_write, Some(Kind::CacheWrite1h), "the dearest that is asked for");
    assert!(facts.server_tools && !facts.server_state);
    assert!(facts.needs.vision && facts.needs.file_input && facts.needs.tools);
}

#[test]
fn texts_come_in_order_without_media() {
    let texts = texts_of(CONVERSATION);
    let expected = [
        r#"Message("system")"#,
        r#"Text("Rulesé")"#,
        r#"Definition("{\"name\":\"look\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"}}")"#,
        r#"Definition("{\"type\":\"web_search_20250305\",\"name\":\"web_search\",\"max_uses\":5}")"#,
        r#"Definition("{\"type\":\"bash_20250124\",\"name\":\"bash\"}")"#,
        r#"Message("user")"#,
        r#"Text("See")"#,
        r#"Text("T")"#,
        r#"Text("plain")"#,
        r#"Message("assistant")"#,
        r#"Text("hm")"#,
        r#"ToolCall { name: "look", arguments: "{\"at\": 1}" }"#,
        r#"Message("user")"#,
        r#"Message("tool")"#,
        r#"Text("seen")"#,
        r#"Text("{\"type\":\"novelty\",\"n\":1}")"#,
    ];
    assert_eq!(texts, expected);
}

#[test]
fn what_the_body_does_not_show_is_said() {
    let by_id =
        r#"{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"f"}}]}]}"#;
    assert!(facts_of(by_id).server_state);
    assert!(facts_of(r#"{"container":"c_1"}"#).server_state);
    assert!(!facts_of(r#"{"container":null,"mcp_servers":[]}"#).server_state);
    assert!(facts_of(r#"{"mcp_servers":[{"type":"url","url":"https://x"}]}"#).server_tools);
    assert!(facts_of(r#"{"output_config":{"format":{"type":"json_schema","schema":{}}}}"#).needs.json_schema);
}

#[test]
fn a_repeated_name_is_found_everywhere_it_must_be_written() {
    let facts = facts_of(r#"{"model":"a","max_tokens":7,"model":"b","max_tokens":5}"#);
    assert_eq!((facts.requested_model.as_deref(), facts.output_limit), (Some("b"), Some(7)));
    assert_eq!((facts.splice.model, facts.splice.model_again.first()), (Some(36..39), Some(&(9..12))));
    assert_eq!((facts.splice.output_limit, facts.splice.output_limit_again.first()), (Some(53..54), Some(&(26..27))));
}

#[test]
fn a_body_that_is_no_json_object_says_where() {
    let fault = |body: &str| read_request(&messages(), body.as_bytes()).expect_err("malformed").message;
    assert!(fault("[]").contains("line 1, column 1"), "{}", fault("[]"));
    assert!(fault("{\n \"model\": }").contains("line 2"), "{}", fault("{\n \"model\": }"));
    assert!(fault("{} {}").contains("column 4"), "{}", fault("{} {}"));
}

#[test]
fn blocks_nested_without_end_are_read_without_recursion() {
    let deep = 100_000;
    let open = r#"{"type":"tool_result","content":["#.repeat(deep);
    let close = "]}".repeat(deep);
    let facts = facts_of(&format!(r#"{{"messages":[{{"role":"user","content":[{open}{close}]}}]}}"#));
    assert!(facts.input.text_bytes > 1_000_000, "what lies deeper counts as its JSON");
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-opus-4-8","content":[],"stop_reason":null,
    "usage":{"input_tokens":25,"cache_read_input_tokens":100,"cache_creation_input_tokens":30,
    "cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1,"service_tier":"standard"}}}"#;

#[test]
fn the_placeholder_of_a_stream_that_was_cut_is_not_final() {
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}"#;
    let think = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}"#;
    let seen = observed(&[START, r#"{"type":"ping"}"#, think, text]);
    assert!(!seen.usage_is_final && !seen.finished && seen.has_content);
    let usage = seen.usage.expect("the input is known");
    assert_eq!((usage[Kind::Input], usage[Kind::CacheRead]), (25, 100));
    assert_eq!((usage[Kind::CacheWrite5m], usage[Kind::CacheWrite1h]), (10, 20));
    assert_eq!((seen.output.text.as_str(), seen.output.reasoning.as_str()), ("Hello", "Hm"));
    assert_eq!(seen.response_model.as_deref(), Some("claude-opus-4-8"));
}

#[test]
fn the_last_cumulative_report_wins_member_by_member() {
    let first = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":7}}"#;
    let last = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},
        "usage":{"input_tokens":25,"cache_creation_input_tokens":30,"output_tokens":42,"output_tokens_details":{"thinking_tokens":12},
        "server_tool_use":{"web_search_requests":2,"web_fetch_requests":9},"speed":"fast","inference_geo":"us"}}"#;
    let seen = observed(&[START, first, last, r#"{"type":"message_stop"}"#]);
    let expected = TokenUsage::ZERO
        .with(Kind::Input, 25)
        .with(Kind::CacheRead, 100)
        .with(Kind::CacheWrite5m, 10)
        .with(Kind::CacheWrite1h, 20)
        .with(Kind::Output, 30)
        .with(Kind::Reasoning, 12)
        .with(Kind::WebSearch, 2);
    assert_eq!(seen.usage, Some(expected));
    assert!(seen.usage_is_final && seen.finished);
    assert_eq!((seen.finish_reason.as_deref(), seen.service_tier.as_deref()), (Some("end_turn"), Some("standard")));
    assert_eq!((seen.speed.as_deref(), seen.region.as_deref()), (Some("fast"), Some("us")));
}

#[test]
fn compaction_is_billed_although_no_other_number_has_it() {
    let body = r#"{"type":"message","id":"m","model":"c","stop_reason":"end_turn","content":[],"usage":{"input_tokens":100,"output_tokens":50,
        "iterations":[{"type":"compaction","input_tokens":9000,"output_tokens":300},
                      {"type":"message","input_tokens":100,"output_tokens":50,"cache_creation_input_tokens":5}]}}"#;
    let mut seen = Observation::default();
    observe_whole(&messages(), Flavor::Standard, body.as_bytes(), &mut seen);
    let expected = TokenUsage::ZERO.with(Kind::Input, 9_100).with(Kind::CacheWrite5m, 5).with(Kind::Output, 350);
    assert_eq!(seen.usage, Some(expected));
}

#[test]
fn tool_calls_are_output_and_searches_are_counted_until_they_are_reported() {
    let tool = r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"look","input":{}}}"#;
    let json =
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"at\":1}"}}"#;
    let search = r#"{"type":"content_block_start","index":2,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#;
    let seen = observed(&[START, tool, json, search]);
    assert_eq!(seen.output.text, "look{\"at\":1}web_search");
    assert_eq!((seen.output.tool_calls, seen.tool_calls[Kind::WebSearch]), (2, 1));
    let report = r#"{"type":"message_delta","delta":{},"usage":{"output_tokens":3,"server_tool_use":{"web_search_requests":1}}}"#;
    let seen = observed(&[START, tool, json, search, report]);
    assert_eq!((seen.tool_calls[Kind::WebSearch], seen.usage.map(|usage| usage[Kind::WebSearch])), (0, Some(1)));
}

#[test]
fn errors_are_seen_whole_and_in_mid_stream() {
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
    let seen = observed(&[START, error]);
    assert_eq!((seen.error_code.as_deref(), seen.finished), (Some("overloaded_error"), false));
    let mut seen = Observation::default();
    observe_whole(&messages(), Flavor::Standard, error.as_bytes(), &mut seen);
    assert_eq!((seen.error_code.as_deref(), seen.usage), (Some("overloaded_error"), None));
}

#[test]
fn the_end_of_a_very_large_body_is_enough() {
    let mut seen = Observation::default();
    let tail = br#"{"usage":{"input_tokens":5,"output_tokens":6},"model":"c","id":"m"}"#;
    observe_whole(&messages(), Flavor::Standard, tail, &mut seen);
    assert_eq!(seen.usage, Some(TokenUsage::ZERO.with(Kind::Input, 5).with(Kind::Output, 6)));
}

#[test]
fn the_results_of_a_batch_add_up() {
    let line = |input: u64| {
        format!(
            r#"{{"custom_id":"a","result":{{"type":"succeeded","message":{{"id":"m","type":"message","model":"c","content":[],
            "usage":{{"input_tokens":{input},"output_tokens":5,"service_tier":"batch"}}}}}}}}"#
        )
        .replace('\n', "")
    };
    let body =
        format!("{}\n{}\n{}\n", line(10), line(20), r#"{"custom_id":"b","result":{"type":"errored","error":{}}}"#);
    let mut seen = Observation::default();
    observe_whole(&recognise("GET", "/v1/messages/batches/b/results"), Flavor::Standard, body.as_bytes(), &mut seen);
    assert_eq!(seen.usage, Some(TokenUsage::ZERO.with(Kind::Input, 30).with(Kind::Output, 10)));
    assert_eq!(seen.service_tier.as_deref(), Some("batch"));
    let mut seen = Observation::default();
    let state = br#"{"id":"msgbatch_1","type":"message_batch","processing_status":"in_progress"}"#;
    observe_whole(&recognise("GET", "/v1/messages/batches/b"), Flavor::Standard, state, &mut seen);
    assert!(seen.pending && seen.usage.is_none());
}

#[test]
fn refusals_have_anthropics_shape_and_statuses() {
    let refuse = |kind, retry_after_seconds| {
        refusal(&Refusal { kind, message: "no \"budget\"".into(), member: None, retry_after_seconds })
    };
    let budget = refuse(RefusalKind::BudgetExceeded, None);
    assert_eq!((budget.status, budget.headers), (402, vec![("x-should-retry", "false".to_owned())]));
    let body: serde_json::Value = serde_json::from_slice(&budget.body).expect("JSON");
    let expected = serde_json::json!({"type": "error", "error": {"type": "billing_error", "message": "no \"budget\""}});
    assert_eq!(body, expected);
    let limited = refuse(RefusalKind::RateLimited, Some(7));
    assert_eq!((limited.status, limited.headers), (429, vec![("retry-after", "7".to_owned())]));
    assert_eq!(refuse(RefusalKind::Unavailable, None).status, 529);
}
