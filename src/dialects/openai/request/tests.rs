use super::*;
use crate::dialects::{Dialect, PromptText};
use crate::tokens::facts::ImageDetail;

fn facts_at(path: &str, body: &str) -> RequestFacts {
    Dialect::OpenAi.read_request(&Dialect::OpenAi.recognise("POST", path), body.as_bytes()).unwrap()
}

fn chat(body: &str) -> RequestFacts {
    facts_at("/v1/chat/completions", body)
}

fn texts_at(path: &str, body: &str) -> Vec<String> {
    let mut found = Vec::new();
    let endpoint = Dialect::OpenAi.recognise("POST", path);
    Dialect::OpenAi.prompt_texts(&endpoint, body.as_bytes(), &mut |text| {
        found.push(match text {
            PromptText::Message(role) => format!("<{role}>"),
            PromptText::Name(name) => format!("name {name}"),
            PromptText::Text(text) => text.to_owned(),
            PromptText::Escaped(text) => (text.decode)(text.raw),
            PromptText::ToolCall { name, arguments } => format!("{name}({arguments})"),
            PromptText::Definition(raw) => format!("definition {raw}"),
        });
    });
    found
}

const CHAT: &str = r#"{
  "model": "gpt-4o", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 100,
  "messages": [
    {"role": "system", "content": "Be kind."},
    {"content": [{"type": "text", "text": "caf\u00e9"},
      {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
      {"type": "input_audio", "input_audio": {"data": "AAAAAAAA", "format": "wav"}}], "role": "user", "name": "Ann"},
    {"role": "assistant", "tool_calls": [{"id": "c", "type": "function",
      "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
    {"role": "tool", "tool_call_id": "c", "content": "ok"}
  ],
  "tools": [{"type": "function", "function": {"name": "f"}}],
  "response_format": {"type": "json_schema", "json_schema": {}},
  "n": 2, "user": "u1", "metadata": {"team": "a", "n": 1}, "service_tier": "flex", "reasoning_effort": "low"
}"#;

#[test]
fn a_chat_says_what_it_asks() {
    let facts = chat(CHAT);
    assert_eq!(facts.requested_model.as_deref(), Some("gpt-4o"));
    assert!(facts.stream && facts.asked_for_usage && !facts.server_state && !facts.server_tools);
    assert_eq!((facts.output_limit, facts.choices), (Some(100), 2));
    assert_eq!((facts.user.as_deref(), facts.service_tier.as_deref()), (Some("u1"), Some("flex")));
    assert_eq!(facts.metadata, [("team".into(), "a".into())]);
    let tools = r#"{"type": "function", "function": {"name": "f"}}"#.len();
    let schema = r#"{"type": "json_schema", "json_schema": {}}"#.len();
    let texts = "Be kind.".len() + "café".len() + "Ann".len() + "f{\"a\":1}".len() + "ok".len();
    assert_eq!(facts.input.text_bytes, (texts + tools + schema) as u64);
    assert_eq!((facts.input.messages, facts.input.tools), (4, 1));
    assert_eq!(facts.input.images, [ImagePart { detail: ImageDetail::Low, size: None }]);
    assert_eq!((facts.input.audio_parts, facts.input.audio_bytes), (1, 6));
    assert_eq!(&CHAT[facts.system_text.unwrap()], "Be kind.");
    assert_eq!(&CHAT[facts.splice.model.unwrap()], "\"gpt-4o\"");
    assert_eq!(&CHAT[facts.splice.output_limit.unwrap()], "100");
    assert_eq!(facts.splice.members, Some(1));
    let needs = facts.needs;
    assert!(needs.vision && needs.audio_input && needs.tools && needs.json_schema && needs.reasoning);
}

#[test]
fn the_texts_of_a_chat_come_in_order_and_decoded() {
    assert_eq!(
        texts_at("/v1/chat/completions", CHAT),
        [
            "<system>",
            "Be kind.",
            "<user>",
            "café",
            "name Ann",
            "<assistant>",
            "f({\"a\":1})",
            "<tool>",
            "ok",
            r#"definition {"type": "function", "function": {"name": "f"}}"#,
            r#"definition {"type": "json_schema", "json_schema": {}}"#,
        ]
    );
}

#[test]
fn a_body_that_is_no_object_is_refused_with_the_place() {
    let refused = |body: &str| {
        let endpoint = Dialect::OpenAi.recognise("POST", "/v1/chat/completions");
        Dialect::OpenAi.read_request(&endpoint, body.as_bytes()).unwrap_err()
    };
    let broken = refused("{\"model\":\"m\",\n \"messages\":[}");
    assert!(broken.message.contains("line 2, column 14 (byte 27)"), "{}", broken.message);
    let odd = refused("{\"model\":7}");
    assert!(odd.message.contains("line 1, column 10"), "{}", odd.message);
    assert_eq!(odd.member, Some("model"));
    for body in ["", "[]", "null", "{} {}"] {
        assert!(!refused(body).message.is_empty());
    }
}

#[test]
fn what_a_provider_may_accept_passes() {
    for body in [
        r#"{"messages":"hi","tools":{},"metadata":7,"n":null,"stop":NaN,"model":null}"#,
        r#"{"messages":[null,7,"x",{"content":null},{"content":[null,{"image_url":[]}]}],"stream":"no"}"#,
    ] {
        assert_eq!(chat(body).choices, 1);
    }
}

#[test]
fn nothing_nested_without_end_exhausts_the_stack() {
    for (open, close) in [
        ("{\"messages\":[{\"content\":", "}]}"),
        ("{\"messages\":[{\"images\":", "}]}"),
        ("{\"tools\":[{\"type\":", "}]}"),
    ] {
        for (outer, end) in [("[", "]"), ("{\"image_url\":", "}"), ("{\"content\":", "}"), ("{\"function\":", "}")] {
            let (outer, end) = (outer.repeat(50_000), end.repeat(50_000));
            assert_eq!(chat(&format!("{open}{outer}0{end}{close}")).choices, 1);
        }
    }
}

#[test]
fn the_largest_of_several_limits_bounds_the_output_and_no_limit_is_none() {
    let both = chat(r#"{"max_tokens":5,"max_completion_tokens":9,"max_tokens":7}"#);
    assert_eq!((both.output_limit, both.splice.output_limit_again.len()), (Some(9), 2));
    assert_eq!(chat(r#"{"max_tokens":-1}"#).output_limit, None);
    assert_eq!(chat(r#"{"max_tokens":null}"#).output_limit, None);
}

#[test]
fn an_inline_picture_has_its_size() {
    let facts = chat(
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"detail":"high","url":
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAASwAAADICAYAAABS39xVAAAA"}}]}]}"#,
    );
    assert_eq!(facts.input.images, [ImagePart { detail: ImageDetail::High, size: Some((300, 200)) }]);
    assert_eq!(facts.input.text_bytes, 0);
}

#[test]
fn a_response_may_refer_to_what_the_body_does_not_show() {
    let ask = |members: &str| facts_at("/v1/responses", &format!("{{\"model\":\"m\",{members}}}"));
    for members in [
        r#""previous_response_id":"resp_1""#,
        r#""conversation":{"id":"c"}"#,
        r#""prompt":{"id":"pmpt_1","variables":{"a":"b"}}"#,
        r#""input":[{"type":"item_reference","id":"i"}]"#,
        r#""input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]"#,
        r#""input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]"#,
    ] {
        assert!(ask(members).server_state, "{members}");
    }
    assert!(!ask(r#""previous_response_id":null,"input":"hi""#).server_state);
    assert_eq!(ask(r#""prompt":{"id":"pmpt_1"}"#).prompt_name.as_deref(), Some("pmpt_1"));
}

#[test]
fn tools_of_the_provider_are_told_from_the_callers() {
    let ask = |tool: &str| facts_at("/v1/responses", &format!("{{\"tools\":[{tool}]}}")).server_tools;
    for kind in ["web_search", "file_search", "code_interpreter", "image_generation", "mcp", "computer_use_preview"] {
        assert!(ask(&format!("{{\"type\":\"{kind}\"}}")), "{kind}");
    }
    assert!(!ask(r#"{"type":"function","name":"f"}"#) && !ask(r#"{"type":"custom","name":"f"}"#));
    assert!(chat(r#"{"web_search_options":{}}"#).server_tools);
}

#[test]
fn the_items_of_a_response_are_all_counted() {
    let body = r#"{"instructions":"Be kind.","background":true,"max_output_tokens":50,"input":[
        {"role":"user","content":"hi"},
        {"type":"function_call","name":"f","arguments":"{}","call_id":"c"},
        {"type":"function_call_output","call_id":"c","output":"done"},
        {"type":"reasoning","summary":[{"type":"summary_text","text":"so"}],"encrypted_content":"abc"}],
        "text":{"format":{"type":"json_schema","schema":{}}}}"#;
    let facts = facts_at("/v1/responses", body);
    assert_eq!(
        texts_at("/v1/responses", body),
        [
            "<system>",
            "Be kind.",
            "<user>",
            "hi",
            "<user>",
            "f({})",
            "<user>",
            "done",
            "<user>",
            "so",
            "abc",
            r#"definition {"type":"json_schema","schema":{}}"#
        ]
    );
    assert_eq!((facts.output_limit, facts.background, facts.needs.json_schema), (Some(50), true, true));
    assert_eq!(&body[facts.system_text.unwrap()], "Be kind.");
}

#[test]
fn embeddings_take_texts_or_token_ids() {
    let ask = |input: &str| facts_at("/v1/embeddings", &format!("{{\"input\":{input}}}")).input;
    assert_eq!((ask("\"abc\"").text_bytes, ask("[\"abc\",\"de\"]").text_bytes), (3, 5));
    assert_eq!((ask("[1,2,3]").token_ids, ask("[[1,2],[3]]").token_ids), (3, 3));
    assert_eq!((ask("[1,2,3]").messages, ask("[[1,2],[3]]").messages, ask("[\"a\",\"b\"]").messages), (1, 2, 2));
    assert_eq!(texts_at("/v1/embeddings", r#"{"input":["abc","de"]}"#), ["abc", "de"]);
}

#[test]
fn every_prompt_of_a_list_is_answered() {
    let facts = facts_at("/v1/completions", r#"{"prompt":["a","b","c"],"n":2,"best_of":4}"#);
    assert_eq!((facts.choices, facts.input.text_bytes), (12, 3));
}

#[test]
fn pictures_and_speech_are_ordered_by_size_and_characters() {
    let picture = facts_at("/v1/images/generations", r#"{"prompt":"a cat","n":3,"size":"1024x1024","quality":"hd"}"#);
    let order = picture.image.unwrap();
    assert_eq!((order.size.as_deref(), order.quality.as_deref(), picture.choices), (Some("1024x1024"), Some("hd"), 3));
    let speech = facts_at("/v1/audio/speech", r#"{"input":"Grüße","voice":"alloy","stream_format":"sse"}"#);
    assert_eq!((speech.characters, speech.input.text_bytes, speech.stream), (5, 7, true));
}

#[test]
fn a_reranked_query_is_read_with_every_document() {
    let facts = facts_at("/v1/rerank", r#"{"query":"abc","documents":["12345",{"text":"12345"}]}"#);
    assert!(facts.input.text_bytes >= 2 * 3 + 10, "{}", facts.input.text_bytes);
}

#[test]
fn ollama_keeps_its_limit_in_options() {
    let body =
        r#"{"model":"m","options":{"num_predict":7},"messages":[{"role":"user","content":"x","images":["AA"]}]}"#;
    let facts = facts_at("/api/chat", body);
    assert_eq!((facts.output_limit, facts.input.images.len()), (Some(7), 1));
    assert_eq!(&body[facts.splice.output_limit.unwrap()], "7");
}

/// `cargo test --lib a_megabyte -- --ignored --nocapture` prints how long the facts of a 1 MB prompt take.
#[test]
#[ignore = "a measurement, not a check"]
fn a_megabyte_of_prompt_is_read_quickly() {
    let line = "The quick \"brown\" fox jumps over the lazy dog.\nIt costs 5 € and the dog says nothing at all.\n";
    let plain = serde_json::to_string(&line.repeat(11)).unwrap();
    let message = format!("{{\"role\":\"user\",\"content\":{plain}}}");
    let body = format!("{{\"model\":\"m\",\"messages\":[{}]}}", vec![message; 950].join(","));
    let ascii: String = body.chars().map(|c| if c.is_ascii() { c.to_string() } else { "\\u20ac".to_owned() }).collect();
    for (name, body) in [("UTF-8", body), ("escaped", ascii)] {
        let mut best = std::time::Duration::MAX;
        for _ in 0..20 {
            let start = std::time::Instant::now();
            std::hint::black_box(chat(&body));
            best = best.min(start.elapsed());
        }
        println!("{name}: {} bytes in {best:?}", body.len());
    }
}
