use super::*;
use crate::tokens::facts::{ImageDetail, ImagePart};
use crate::tokens::usage::Kind;

fn generate() -> Endpoint {
    recognise("POST", "/v1beta/models/gemini-3.8-flash:generateContent")
}

fn facts_of(body: &str) -> RequestFacts {
    read_request(&generate(), body.as_bytes()).expect("a readable request")
}

fn whole(body: &str) -> Observation {
    let mut seen = Observation::default();
    observe_whole(&generate(), Flavor::Standard, body.as_bytes(), &mut seen);
    seen
}

fn usage_of(metadata: &str) -> TokenUsage {
    whole(&format!(r#"{{"candidates":[],"usageMetadata":{metadata}}}"#)).usage.expect("usage")
}

#[test]
fn paths_are_recognised_with_their_model() {
    let cases = [
        ("POST", "/v1beta/models/gemini-2.5-pro:generateContent", Operation::Chat, Some("gemini-2.5-pro"), true),
        ("POST", "/v1/models/a%2Fb:streamGenerateContent", Operation::Chat, Some("a/b"), true),
        ("POST", "/v1beta/tunedModels/mine:generateContent", Operation::Chat, Some("mine"), true),
        (
            "POST",
            "/v1beta1/projects/p/locations/l/publishers/google/models/g:generateContent",
            Operation::Chat,
            Some("g"),
            true,
        ),
        ("POST", "/v1beta/models/e:embedContent", Operation::Embeddings, Some("e"), true),
        ("POST", "/v1beta/models/e:batchEmbedContents", Operation::Embeddings, Some("e"), true),
        ("POST", "/v1beta/models/i:predict", Operation::Images, Some("i"), true),
        ("POST", "/v1beta/models/g:countTokens", Operation::CountTokens, Some("g"), false),
        ("POST", "/v1beta/models/g:batchGenerateContent", Operation::Batches, Some("g"), false),
        ("POST", "/v1beta/models/g:predictLongRunning", Operation::Other, Some("g"), false),
        ("GET", "/v1beta/models", Operation::Models, None, false),
        ("GET", "/v1beta/models/gemini-2.5-pro", Operation::Models, None, false),
        ("POST", "/upload/v1beta/files", Operation::Files, None, false),
        ("GET", "/v1beta/files/abc", Operation::Files, None, false),
        ("POST", "/v1beta/cachedContents", Operation::Other, None, false),
        ("POST", "/elsewhere", Operation::Other, None, false),
    ];
    for (method, path, operation, model, metered) in cases {
        let endpoint = recognise(method, path);
        assert_eq!((endpoint.operation, endpoint.metered), (operation, metered), "{method} {path}");
        assert_eq!(endpoint.model_in_path.as_deref(), model, "{method} {path}");
        assert_eq!(endpoint.stream_in_path, path.contains("stream"), "{method} {path}");
    }
}

const CAMEL: &str = r#"{"systemInstruction":{"parts":[{"text":"Rules"}]},
    "contents":[{"role":"user","parts":[{"text":"Hi"},
        {"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgoAAAANSUhEUgAAASwAAADICAYAAABS39xVAAAA"}},
        {"inlineData":{"data":"AAAA","mimeType":"audio/wav"}},{"fileData":{"mimeType":"application/pdf","fileUri":"gs://x"}}]},
      {"role":"model","parts":[{"functionCall":{"name":"look","args":{"at":1}}}]},
      {"role":"user","parts":[{"functionResponse":{"name":"look","response":{"ok":true}}}]}],
    "tools":[{"functionDeclarations":[{"name":"look"},{"name":"see"}]},{"googleSearch":{}}],
    "generationConfig":{"maxOutputTokens":512,"candidateCount":2,"responseSchema":{"type":"OBJECT"},
        "thinkingConfig":{"thinkingBudget":100},"mediaResolution":"MEDIA_RESOLUTION_LOW"},
    "labels":{"team":"blue"}}"#;

#[test]
fn both_spellings_are_read_alike() {
    let snake = [
        ("systemInstruction", "system_instruction"),
        ("inlineData", "inline_data"),
        ("mimeType", "mime_type"),
        ("fileData", "file_data"),
        ("functionCall", "function_call"),
        ("functionResponse", "function_response"),
        ("functionDeclarations", "function_declarations"),
        ("googleSearch", "google_search"),
        ("generationConfig", "generation_config"),
        ("maxOutputTokens", "max_output_tokens"),
        ("candidateCount", "candidate_count"),
        ("responseSchema", "response_schema"),
        ("thinkingConfig", "thinking_config"),
        ("thinkingBudget", "thinking_budget"),
        ("mediaResolution", "media_resolution"),
    ];
    let body = snake.iter().fold(CAMEL.to_owned(), |body, (camel, snake)| body.replace(camel, snake));
    for body in [CAMEL, &body] {
        let facts = facts_of(body);
        assert_eq!(facts.requested_model.as_deref(), Some("gemini-3.8-flash"), "the path's");
        assert_eq!((facts.output_limit, facts.choices, facts.stream), (Some(512), 2, false));
        assert_eq!(facts.splice.output_limit.and_then(|place| body.get(place)), Some("512"));
        assert_eq!(facts.system_text.and_then(|place| body.get(place)), Some("Rules"));
        let input = &facts.input;
        assert_eq!((input.messages, input.tools, input.tool_calls), (5, 2, 1));
        assert_eq!(input.images, [ImagePart { detail: ImageDetail::Low, size: Some((300, 200)) }]);
        assert_eq!((input.audio_parts, input.audio_bytes, input.file_parts, input.file_bytes), (1, 3, 1, 0));
        assert!(facts.server_tools && facts.server_state, "a search, and a file that the body does not show");
        let needs = facts.needs;
        assert!(needs.vision && needs.audio_input && needs.file_input);
        assert!(needs.tools && needs.json_schema && needs.reasoning);
        assert_eq!(facts.metadata, [(Arc::from("team"), Arc::from("blue"))]);
    }
}

#[test]
fn texts_come_in_order_without_media() {
    let mut texts = Vec::new();
    prompt_texts(&generate(), CAMEL.as_bytes(), &mut |text| texts.push(format!("{text:?}")));
    let expected = [
        r#"Message("system")"#,
        r#"Text("Rules")"#,
        r#"Message("user")"#,
        r#"Text("Hi")"#,
        r#"Message("model")"#,
        r#"ToolCall { name: "look", arguments: "{\"at\":1}" }"#,
        r#"Message("user")"#,
        r#"Message("tool")"#,
        r#"Text("{\"name\":\"look\",\"response\":{\"ok\":true}}")"#,
        r#"Definition("{\"functionDeclarations\":[{\"name\":\"look\"},{\"name\":\"see\"}]}")"#,
        r#"Definition("{\"googleSearch\":{}}")"#,
        r#"Definition("{\"type\":\"OBJECT\"}")"#,
    ];
    assert_eq!(texts, expected);
}

#[test]
fn embeddings_counts_and_images_are_read_from_where_they_stand() {
    let single = facts_of(r#"{"content":{"parts":[{"text":"four"}]},"taskType":"X"}"#);
    let batch =
        facts_of(r#"{"requests":[{"content":{"parts":[{"text":"four"}]}},{"content":{"parts":[{"text":"five5"}]}}]}"#);
    let count = facts_of(r#"{"generateContentRequest":{"model":"m","contents":[{"parts":[{"text":"six666"}]}]}}"#);
    let image = facts_of(r#"{"instances":[{"prompt":"a cat"}],"parameters":{"sampleCount":4}}"#);
    let sizes = [&single, &batch, &count, &image].map(|facts| facts.input.text_bytes);
    assert_eq!((sizes, image.choices), ([4, 9, 6, 5], 4));
    assert!(facts_of(r#"{"cachedContent":"cachedContents/x"}"#).server_state);
    assert!(!facts_of(r#"{"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}}"#).needs.reasoning);
}

#[test]
fn a_body_that_is_no_json_object_says_where() {
    let fault = |body: &str| read_request(&generate(), body.as_bytes()).expect_err("malformed").message;
    assert!(fault("nonsense").contains("line 1, column 1"));
    assert!(fault("{\n\"contents\":[}").contains("line 2"));
}

#[test]
fn thoughts_are_beside_the_candidates_and_the_cached_inside_the_prompt() {
    let usage = usage_of(
        r#"{"promptTokenCount":1000,"cachedContentTokenCount":400,"candidatesTokenCount":50,"thoughtsTokenCount":70,
            "toolUsePromptTokenCount":30,"totalTokenCount":1150}"#,
    );
    let expected = TokenUsage::ZERO
        .with(Kind::Input, 630)
        .with(Kind::CacheRead, 400)
        .with(Kind::Output, 50)
        .with(Kind::Reasoning, 70);
    assert_eq!(usage, expected);
    assert_eq!(usage.input_tokens() + usage.output_tokens(), 1_150, "the total");
}

#[test]
fn modalities_are_kinds_of_their_own() {
    let usage = usage_of(
        r#"{"promptTokenCount":1000,"cachedContentTokenCount":300,"candidatesTokenCount":1300,"totalTokenCount":2300,
        "promptTokensDetails":[{"modality":"TEXT","tokenCount":100},{"modality":"AUDIO","tokenCount":500},
            {"modality":"IMAGE","tokenCount":258},{"modality":"VIDEO","tokenCount":142}],
        "cacheTokensDetails":[{"modality":"AUDIO","tokenCount":200},{"modality":"IMAGE","tokenCount":58},{"modality":"TEXT","tokenCount":42}],
        "candidatesTokensDetails":[{"modality":"TEXT","tokenCount":10},{"modality":"IMAGE","tokenCount":1290}]}"#,
    );
    let expected = TokenUsage::ZERO
        .with(Kind::Input, 58)
        .with(Kind::CacheRead, 42)
        .with(Kind::CacheReadAudio, 200)
        .with(Kind::CacheReadImage, 58)
        .with(Kind::InputAudio, 300)
        .with(Kind::InputImage, 200)
        .with(Kind::InputVideo, 142)
        .with(Kind::Output, 10)
        .with(Kind::OutputImage, 1_290);
    assert_eq!(usage, expected);
}

#[test]
fn details_that_do_not_fit_never_change_the_sum() {
    let usage = usage_of(
        r#"{"promptTokenCount":10,"cachedContentTokenCount":90,"candidatesTokenCount":5,
            "promptTokensDetails":[{"modality":"AUDIO","tokenCount":77}],"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":9}]}"#,
    );
    assert_eq!((usage.input_tokens(), usage.output_tokens()), (10, 5));
    assert_eq!(usage_of(r#"{"promptTokenCount":10,"thoughtsTokenCount":3,"totalTokenCount":20}"#)[Kind::Output], 7);
}

const CHUNK: &str = r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"Hm","thought":true},{"text":"Hello"}]},"index":0}],
    "usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":1,"totalTokenCount":9},"modelVersion":"gemini-3.8-flash-001","responseId":"r1"}"#;
const LAST: &str = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"look","args":{"at":1}}}]},"finishReason":"STOP",
    "groundingMetadata":{"webSearchQueries":["a","b"]}}],
    "usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":21,"totalTokenCount":29,"trafficType":"ON_DEMAND_PRIORITY"}}"#;

#[test]
fn the_last_chunk_of_a_stream_wins_and_is_final() {
    let endpoint = recognise("POST", "/v1beta/models/m:streamGenerateContent");
    let mut seen = Observation::default();
    let observe = |data: &str, seen: &mut Observation| {
        observe_event(&endpoint, Flavor::Standard, sse::Event { name: None, data: data.as_bytes() }, seen);
    };
    observe(CHUNK, &mut seen);
    assert!(!seen.usage_is_final && !seen.finished && seen.has_content);
    assert_eq!(seen.usage.map(|usage| usage[Kind::Input]), Some(8));
    observe(LAST, &mut seen);
    assert!(seen.usage_is_final && seen.finished);
    assert_eq!(seen.usage, Some(TokenUsage::ZERO.with(Kind::Input, 8).with(Kind::Output, 21)));
    assert_eq!((seen.output.reasoning.as_str(), seen.output.text.as_str()), ("Hm", "Hellolook{\"at\":1}"));
    assert_eq!((seen.output.tool_calls, seen.tool_calls[Kind::WebSearch]), (1, 2));
    assert_eq!((seen.finish_reason.as_deref(), seen.service_tier.as_deref()), (Some("STOP"), Some("priority")));
    let names = (seen.response_model.as_deref(), seen.response_id.as_deref());
    assert_eq!(names, (Some("gemini-3.8-flash-001"), Some("r1")));
}

#[test]
fn a_stream_without_sse_is_an_array_of_the_same_chunks() {
    let endpoint = recognise("POST", "/v1beta/models/m:streamGenerateContent");
    let observe = |body: &str| {
        let mut seen = Observation::default();
        observe_whole(&endpoint, Flavor::Standard, body.as_bytes(), &mut seen);
        seen
    };
    let seen = observe(&format!("[{CHUNK}\n,\r\n{LAST}]"));
    assert_eq!(seen.usage, Some(TokenUsage::ZERO.with(Kind::Input, 8).with(Kind::Output, 21)));
    assert!(seen.usage_is_final && seen.finished);
    let cut = observe(&format!("[{CHUNK},{{\"candid"));
    assert!(!cut.usage_is_final && !cut.finished && cut.output.text == "Hello");
}

#[test]
fn pictures_of_imagen_are_counted() {
    let seen = whole(r#"{"predictions":[{"bytesBase64Encoded":"AA"},{"bytesBase64Encoded":"AA"}]}"#);
    assert_eq!((seen.images_made, seen.usage), (2, None));
}

#[test]
fn errors_and_blocked_prompts_are_endings() {
    let seen = whole(r#"{"error":{"code":429,"message":"no","status":"RESOURCE_EXHAUSTED"}}"#);
    assert_eq!((seen.error_code.as_deref(), seen.usage), (Some("RESOURCE_EXHAUSTED"), None));
    let seen = whole(r#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#);
    assert_eq!(seen.error_code.as_deref(), Some("UNAVAILABLE"));
    let seen = whole(
        r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":4,"totalTokenCount":4}}"#,
    );
    assert_eq!((seen.finish_reason.as_deref(), seen.finished), (Some("SAFETY"), true));
    assert_eq!(seen.usage, Some(TokenUsage::ZERO.with(Kind::Input, 4)));
}

#[test]
fn refusals_have_googles_shape_and_statuses() {
    let refuse =
        |kind, retry_after_seconds| refusal(&Refusal { kind, message: "no".into(), member: None, retry_after_seconds });
    let limited = refuse(RefusalKind::RateLimited, Some(7));
    assert_eq!((limited.status, limited.headers), (429, vec![("retry-after", "7".to_owned())]));
    let body: serde_json::Value = serde_json::from_slice(&limited.body).expect("JSON");
    assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(body["error"]["details"][0]["retryDelay"], "7s");
    let budget = refuse(RefusalKind::BudgetExceeded, None);
    let body: serde_json::Value = serde_json::from_slice(&budget.body).expect("JSON");
    assert_eq!((budget.status, &body["error"]["code"]), (429, &serde_json::json!(429)));
    assert_eq!(body["error"]["details"][0]["reason"], "BUDGET_EXCEEDED");
    let statuses = [RefusalKind::Blocked, RefusalKind::Unavailable, RefusalKind::ProviderTimeout]
        .map(|kind| refuse(kind, None).status);
    assert_eq!(statuses, [403, 503, 504]);
}
