//! `/v1/chat/completions` and `/v1/completions` (OpenAI API reference; streams as recorded by the SDKs' tests).

use crate::simulator::answer::{Answer, Ask, Content, calls_for_a_tool};
use crate::simulator::json::{array, null, object, text, text_or_null, with_member};
use crate::simulator::reply::{Call, Reply, data};
use crate::simulator::seen::Usage;
use crate::simulator::sending::Chunk;
use crate::simulator::words::{count, text_of};
use serde_json::Value;

pub fn chat(call: &Call<'_>, deployment: Option<&str>) -> Reply {
    let Some(messages) = call.json.get("messages").and_then(Value::as_array) else {
        return super::error(400, "Missing required parameter: 'messages'.", Some("messages"));
    };
    let Some(model) = call.text("model").or(deployment) else {
        return super::error(400, "you must provide a model parameter", Some("model"));
    };
    let ask = Ask {
        model: model.to_owned(),
        stream: call.flag("stream"),
        output_limit: call.number("max_completion_tokens").or_else(|| call.number("max_tokens")),
        choices: call.number("n").unwrap_or(1).clamp(1, 128),
        input_tokens: tokens_of_chat(&call.json, messages),
        tool: wanted_tool(&call.json, messages),
        schema: wanted_schema(&call.json),
    };
    let answer = call.answer(&ask);
    let form = Form { call, answer: &answer, azure: deployment.is_some(), tier: tier(call, &answer) };
    let reply =
        if ask.stream { Reply::events("chat", form.chat_events()) } else { Reply::json("chat", form.whole_chat()) };
    reply.of_model(&ask.model).using(answer.usage)
}

pub fn completion(call: &Call<'_>, deployment: Option<&str>) -> Reply {
    let Some(model) = call.text("model").or(deployment) else {
        return super::error(400, "you must provide a model parameter", Some("model"));
    };
    let ask = Ask {
        model: model.to_owned(),
        stream: call.flag("stream"),
        output_limit: Some(call.number("max_tokens").unwrap_or(16)),
        choices: call.number("n").unwrap_or(1).clamp(1, 128),
        input_tokens: call.json.get("prompt").map_or(0, super::tokens_of_input),
        ..Ask::default()
    };
    let answer = call.answer(&ask);
    let form = Form { call, answer: &answer, azure: deployment.is_some(), tier: tier(call, &answer) };
    let reply = if ask.stream {
        Reply::events("completion", form.completion_events())
    } else {
        Reply::json("completion", form.whole_completion())
    };
    reply.of_model(&ask.model).using(answer.usage)
}

/// `usage` of chat and completions.
pub fn usage(usage: &Usage) -> String {
    object([
        ("prompt_tokens", usage.input_tokens.to_string()),
        ("completion_tokens", usage.output_tokens.to_string()),
        ("total_tokens", (usage.input_tokens + usage.output_tokens).to_string()),
        (
            "prompt_tokens_details",
            object([("cached_tokens", usage.cache_read_tokens.to_string()), ("audio_tokens", "0".into())]),
        ),
        (
            "completion_tokens_details",
            object([
                ("reasoning_tokens", usage.reasoning_tokens.to_string()),
                ("audio_tokens", "0".into()),
                ("accepted_prediction_tokens", "0".into()),
                ("rejected_prediction_tokens", "0".into()),
            ]),
        ),
    ])
}

struct Form<'a> {
    call: &'a Call<'a>,
    answer: &'a Answer,
    azure: bool,
    tier: String,
}

impl Form<'_> {
    fn finish_reason(&self) -> &'static str {
        match (&self.answer.content, self.answer.cut_off) {
            (_, true) => "length",
            (Content::Call { .. }, _) => "tool_calls",
            (Content::Text(_), _) => "stop",
        }
    }

    fn whole_chat(&self) -> String {
        let content = text_of(self.answer.content.pieces());
        let message = match &self.answer.content {
            Content::Text(_) => object([
                ("role", text("assistant")),
                ("content", text(&content)),
                ("refusal", null()),
                ("annotations", "[]".into()),
            ]),
            Content::Call { tool, .. } => {
                let function = object([("name", text(tool)), ("arguments", text(&content))]);
                let one = object([("id", text(&self.call_id())), ("type", text("function")), ("function", function)]);
                object([
                    ("role", text("assistant")),
                    ("content", null()),
                    ("tool_calls", array([one])),
                    ("refusal", null()),
                    ("annotations", "[]".into()),
                ])
            }
        };
        let choice = |index: u64| {
            object([
                ("index", index.to_string()),
                ("message", message.clone()),
                ("logprobs", null()),
                ("finish_reason", text(self.finish_reason())),
            ])
        };
        self.whole("chat.completion", "chatcmpl", choice)
    }

    fn whole_completion(&self) -> String {
        let said = text_of(self.answer.content.pieces());
        let choice = |index: u64| {
            object([
                ("text", text(&said)),
                ("index", index.to_string()),
                ("logprobs", null()),
                ("finish_reason", text(self.finish_reason())),
            ])
        };
        self.whole("text_completion", "cmpl", choice)
    }

    fn whole(&self, kind: &str, prefix: &str, choice: impl Fn(u64) -> String) -> String {
        let mut body = object([
            ("id", text(&format!("{prefix}-sim{}", self.answer.id))),
            ("object", text(kind)),
            ("created", self.answer.created.to_string()),
            ("model", text(&self.answer.model)),
            ("choices", array((0..self.answer.choices).map(choice))),
        ]);
        if self.answer.reports_usage {
            body = with_member(body, "usage", &usage(&self.answer.usage));
        }
        body = with_member(body, "service_tier", &text(&self.tier));
        with_member(body, "system_fingerprint", &text("fp_simulator"))
    }

    fn chat_events(&self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        if self.azure {
            let safe = r#"[{"prompt_index":0,"content_filter_results":{}}]"#;
            let first = self.event("chat.completion.chunk", "chatcmpl", "[]".into(), None);
            chunks.push(Chunk::frame(data(&with_member(first, "prompt_filter_results", safe))));
        }
        let call_id = self.call_id();
        for index in 0..self.answer.choices {
            let delta = match &self.answer.content {
                Content::Text(_) => object([("role", text("assistant")), ("content", text("")), ("refusal", null())]),
                Content::Call { tool, .. } => {
                    let function = object([("name", text(tool)), ("arguments", text(""))]);
                    let one = object([
                        ("index", "0".into()),
                        ("id", text(&call_id)),
                        ("type", text("function")),
                        ("function", function),
                    ]);
                    object([
                        ("role", text("assistant")),
                        ("content", null()),
                        ("tool_calls", array([one])),
                        ("refusal", null()),
                    ])
                }
            };
            chunks.push(self.delta(index, &delta, None));
        }
        for piece in self.answer.content.pieces() {
            for index in 0..self.answer.choices {
                let delta = match &self.answer.content {
                    Content::Text(_) => object([("content", text(&piece.text))]),
                    Content::Call { .. } => {
                        let function = object([("arguments", text(&piece.text))]);
                        object([("tool_calls", array([object([("index", "0".into()), ("function", function)])]))])
                    }
                };
                chunks.push(Chunk { tokens: piece.tokens, counts: true, ..self.delta(index, &delta, None) });
            }
        }
        for index in 0..self.answer.choices {
            chunks.push(self.delta(index, "{}", Some(self.finish_reason())));
        }
        self.end("chat.completion.chunk", "chatcmpl", &mut chunks);
        chunks
    }

    fn completion_events(&self) -> Vec<Chunk> {
        let choice = |index: u64, said: &str, finish: Option<&str>| {
            let choice = object([
                ("text", text(said)),
                ("index", index.to_string()),
                ("logprobs", null()),
                ("finish_reason", text_or_null(finish)),
            ]);
            data(&self.event("text_completion", "cmpl", array([choice]), None))
        };
        let mut chunks = Vec::new();
        for piece in self.answer.content.pieces() {
            for index in 0..self.answer.choices {
                chunks.push(Chunk::content(choice(index, &piece.text, None), piece.tokens));
            }
        }
        for index in 0..self.answer.choices {
            chunks.push(Chunk::frame(choice(index, "", Some(self.finish_reason()))));
        }
        self.end("text_completion", "cmpl", &mut chunks);
        chunks
    }

    fn delta(&self, index: u64, delta: &str, finish: Option<&str>) -> Chunk {
        let choice = object([
            ("index", index.to_string()),
            ("delta", delta.to_owned()),
            ("logprobs", null()),
            ("finish_reason", text_or_null(finish)),
        ]);
        let event = self.event("chat.completion.chunk", "chatcmpl", array([choice]), None);
        Chunk::frame(data(&self.obfuscated(event, delta.len())))
    }

    /// One event: OpenAI writes `"usage":null` into each where usage was asked for.
    fn event(&self, kind: &str, prefix: &str, choices: String, usage: Option<String>) -> String {
        let event = object([
            ("id", text(&format!("{prefix}-sim{}", self.answer.id))),
            ("object", text(kind)),
            ("created", self.answer.created.to_string()),
            ("model", text(&self.answer.model)),
            ("service_tier", text(&self.tier)),
            ("system_fingerprint", text("fp_simulator")),
            ("choices", choices),
        ]);
        if self.reports_usage() { with_member(event, "usage", &usage.unwrap_or_else(null)) } else { event }
    }

    fn end(&self, kind: &str, prefix: &str, chunks: &mut Vec<Chunk>) {
        if self.reports_usage() {
            let last = self.event(kind, prefix, "[]".into(), Some(usage(&self.answer.usage)));
            chunks.push(Chunk::frame(data(&self.obfuscated(last, 3))));
        }
        chunks.push(Chunk::frame("data: [DONE]\n\n"));
    }

    fn reports_usage(&self) -> bool {
        self.answer.reports_usage && self.stream_option("include_usage") == Some(true)
    }

    fn stream_option(&self, name: &str) -> Option<bool> {
        self.call.json.get("stream_options")?.get(name)?.as_bool()
    }

    /// OpenAI pads each event to hide the lengths of tokens, unless `include_obfuscation` is false.
    fn obfuscated(&self, event: String, length: usize) -> String {
        if self.stream_option("include_obfuscation") == Some(false) {
            return event;
        }
        let padding: String = "QZx7mKp3VtR9wLcB".chars().cycle().skip(length % 16).take(16 - length % 14).collect();
        with_member(event, "obfuscation", &text(&padding))
    }

    fn call_id(&self) -> String {
        format!("call_sim{}", self.answer.id)
    }
}

/// The tier of the response: as wished, else as asked, where `auto` means `default`.
fn tier(call: &Call<'_>, answer: &Answer) -> String {
    let asked = call.text("service_tier").filter(|tier| *tier != "auto").unwrap_or("default");
    answer.service_tier.clone().unwrap_or_else(|| asked.to_owned())
}

/// OpenAI's documented rule (cookbook, "How to count tokens"): 3 a message, its role, its text, its name and 1 more,
/// and 3 to begin the answer. Tools and schemas as their JSON, an image 85, a file 100: our own simple rule.
fn tokens_of_chat(body: &Value, messages: &[Value]) -> u64 {
    let of = |value: Option<&Value>| value.and_then(Value::as_str).map_or(0, count);
    let json = |member: &str| body.get(member).map_or(0, |value| count(&value.to_string()));
    let framing = |message: &Value| {
        let name = message.get("name").and_then(Value::as_str).map_or(0, |name| count(name) + 1);
        3 + of(message.get("role")) + name
    };
    let content = |message: &Value| match message.get("content") {
        Some(Value::String(text)) => count(text),
        Some(Value::Array(parts)) => parts.iter().map(tokens_of_part).sum(),
        _ => 0,
    };
    let calls = |message: &Value| message.get("tool_calls").map_or(0, |calls| count(&calls.to_string()));
    let all: u64 = messages.iter().map(|message| framing(message) + content(message) + calls(message)).sum();
    all + 3 + json("tools") + json("response_format")
}

pub fn tokens_of_part(part: &Value) -> u64 {
    match part.get("type").and_then(Value::as_str) {
        Some("text" | "input_text" | "output_text") => part.get("text").and_then(Value::as_str).map_or(0, count),
        Some("image_url" | "input_image") => 85,
        _ => 100,
    }
}

/// The tool to call: as `tool_choice` says, or where the last user's words ask for it.
fn wanted_tool(body: &Value, messages: &[Value]) -> Option<(String, Value)> {
    let functions: Vec<&Value> =
        body.get("tools")?.as_array()?.iter().filter_map(|tool| tool.get("function")).collect();
    let choice = body.get("tool_choice");
    let named = choice.and_then(|choice| choice.pointer("/function/name")).and_then(Value::as_str);
    let last = messages.last()?;
    let asked = last.get("role").and_then(Value::as_str) == Some("user") && calls_for_a_tool(&last.to_string());
    let required = choice.and_then(Value::as_str) == Some("required");
    let forbidden = choice.and_then(Value::as_str) == Some("none");
    let chosen = match named {
        Some(name) => functions.iter().find(|tool| tool.get("name").and_then(Value::as_str) == Some(name)),
        None if required || (asked && !forbidden) => functions.first(),
        None => None,
    }?;
    let parameters = chosen.get("parameters").cloned().unwrap_or_default();
    Some((chosen.get("name")?.as_str()?.to_owned(), parameters))
}

fn wanted_schema(body: &Value) -> Option<Value> {
    let format = body.get("response_format")?;
    match format.get("type")?.as_str()? {
        "json_schema" => format.pointer("/json_schema/schema").cloned(),
        "json_object" => Some(serde_json::json!({"type": "object", "properties": {"answer": {"type": "string"}}})),
        _ => None,
    }
}
