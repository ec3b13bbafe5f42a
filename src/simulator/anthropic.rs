//! The Anthropic dialect: `/v1/messages` whole and streamed, `count_tokens`, models (Anthropic API reference; event
//! order as in its "Streaming messages" page).

mod batches;

use super::answer::{Answer, Ask, Content, calls_for_a_tool};
use super::json::{array, members_in_order, null, object, text, with_member};
use super::reply::{Call, Reply, event};
use super::seen::Usage;
use super::sending::Chunk;
use super::words::{count, text_of};
use serde_json::Value;

/// What `message_start` says before anything was said: a placeholder that must not be billed.
const PLACEHOLDER_OUTPUT_TOKENS: u64 = 1;
const MODELS: [&str; 3] = ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5"];

pub fn reply(call: &Call<'_>) -> Reply {
    let reply = match (call.method, call.path) {
        ("POST", "/v1/messages") => messages(call),
        ("POST", "/v1/messages/count_tokens") => {
            let counted = tokens_of_request(&call.json).to_string();
            Reply::json("count_tokens", object([("input_tokens", counted)]))
        }
        (_, path) if path.starts_with("/v1/messages/batches") => {
            batches::reply(call, path["/v1/messages/batches".len()..].trim_start_matches('/'))
        }
        ("GET", path) if path.starts_with("/v1/models") => models(path),
        (method, path) => error(404, &format!("Not found: {method} {path}")),
    };
    reply.with_header("anthropic-organization-id", "simulator")
}

/// `{"type":"error","error":{"type","message"},"request_id"}`
pub fn error(status: u16, message: &str) -> Reply {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let inner = object([("type", text(kind)), ("message", text(message))]);
    let body = object([("type", text("error")), ("error", inner), ("request_id", text("req_simulator"))]);
    Reply::json("error", body).with_status(status)
}

fn messages(call: &Call<'_>) -> Reply {
    let Some(model) = call.text("model") else { return error(400, "model: Field required") };
    if call.json.get("messages").and_then(Value::as_array).is_none() {
        return error(400, "messages: Field required");
    }
    let Some(limit) = call.number("max_tokens") else { return error(400, "max_tokens: Field required") };
    let ask = Ask {
        model: model.to_owned(),
        stream: call.flag("stream"),
        output_limit: Some(limit),
        choices: 1,
        input_tokens: tokens_of_request(&call.json),
        tool: wanted_tool(&call.json),
        schema: wanted_schema(&call.json),
    };
    let answer = call.answer(&ask);
    let form = Form { answer: &answer, searches: u64::from(wants_search(&call.json)) };
    let reply = if ask.stream { Reply::events("chat", form.events()) } else { Reply::json("chat", form.whole()) };
    reply.of_model(&ask.model).using(answer.usage)
}

struct Form<'a> {
    answer: &'a Answer,
    searches: u64,
}

impl Form<'_> {
    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_sim{}", self.answer.id)
    }

    fn stop_reason(&self) -> &'static str {
        match (&self.answer.content, self.answer.cut_off) {
            (_, true) => "max_tokens",
            (Content::Call { .. }, _) => "tool_use",
            (Content::Text(_), _) => "end_turn",
        }
    }

    /// `usage` with so much output: `input_tokens` leaves out what is cached.
    fn usage(&self, output_tokens: u64) -> String {
        let Usage { input_tokens, cache_read_tokens, cache_write_tokens, .. } = self.answer.usage;
        let uncached = input_tokens - cache_read_tokens - cache_write_tokens;
        let writes = [
            ("ephemeral_5m_input_tokens", cache_write_tokens.to_string()),
            ("ephemeral_1h_input_tokens", "0".to_owned()),
        ];
        let used = object([
            ("input_tokens", uncached.to_string()),
            ("cache_creation_input_tokens", cache_write_tokens.to_string()),
            ("cache_read_input_tokens", cache_read_tokens.to_string()),
            ("cache_creation", object(writes)),
            ("output_tokens", output_tokens.to_string()),
            ("service_tier", text(self.answer.service_tier.as_deref().unwrap_or("standard"))),
        ]);
        let searched = object([("web_search_requests", self.searches.to_string())]);
        if self.searches > 0 { with_member(used, "server_tool_use", &searched) } else { used }
    }

    fn message(&self, content: String, stop: String, output_tokens: u64) -> String {
        let message = object([
            ("id", text(&self.id("msg"))),
            ("type", text("message")),
            ("role", text("assistant")),
            ("model", text(&self.answer.model)),
            ("content", content),
            ("stop_reason", stop),
            ("stop_sequence", null()),
        ]);
        if self.answer.reports_usage { with_member(message, "usage", &self.usage(output_tokens)) } else { message }
    }

    fn whole(&self) -> String {
        let said = text_of(self.answer.content.pieces());
        let mut blocks = Vec::new();
        if !self.answer.reasoning.is_empty() {
            blocks.push(thinking(&text_of(&self.answer.reasoning), "c2ltdWxhdGVk"));
        }
        blocks.push(match &self.answer.content {
            Content::Text(_) => object([("type", text("text")), ("text", text(&said))]),
            Content::Call { tool, .. } => self.tool_use(tool, if said.is_empty() { "{}" } else { &said }),
        });
        self.message(array(blocks), text(self.stop_reason()), self.answer.usage.output_tokens)
    }

    fn tool_use(&self, tool: &str, input: &str) -> String {
        // A call cut off by the limit is no JSON: Anthropic shows what it could read of it.
        let input = if serde_json::from_str::<Value>(input).is_ok() { input } else { "{}" };
        let id = text(&self.id("toolu"));
        object([("type", text("tool_use")), ("id", id), ("name", text(tool)), ("input", input.to_owned())])
    }

    fn events(&self) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let mut tell = |name: &str, members: &[(&str, String)]| {
            let kind = [("type", text(name))];
            let json = members_in_order(kind.into_iter().chain(members.iter().cloned()));
            chunks.push(Chunk::frame(event(name, &json)));
            chunks.len() - 1
        };
        let first = self.message("[]".into(), null(), PLACEHOLDER_OUTPUT_TOKENS);
        tell("message_start", &[("message", first)]);
        let mut counted = Vec::new();
        let mut index = 0;
        if !self.answer.reasoning.is_empty() {
            tell("content_block_start", &block("content_block", 0, thinking("", "")));
            tell("ping", &[]);
            for piece in &self.answer.reasoning {
                let delta = object([("type", text("thinking_delta")), ("thinking", text(&piece.text))]);
                counted.push((tell("content_block_delta", &block("delta", 0, delta)), piece.tokens));
            }
            let signature = object([("type", text("signature_delta")), ("signature", text("c2ltdWxhdGVk"))]);
            tell("content_block_delta", &block("delta", 0, signature));
            tell("content_block_stop", &[("index", "0".into())]);
            index = 1;
        }
        let opening = match &self.answer.content {
            Content::Text(_) => object([("type", text("text")), ("text", text(""))]),
            Content::Call { tool, .. } => self.tool_use(tool, "{}"),
        };
        tell("content_block_start", &block("content_block", index, opening));
        if index == 0 {
            tell("ping", &[]);
        }
        for piece in self.answer.content.pieces() {
            let delta = match self.answer.content {
                Content::Text(_) => object([("type", text("text_delta")), ("text", text(&piece.text))]),
                Content::Call { .. } => {
                    object([("type", text("input_json_delta")), ("partial_json", text(&piece.text))])
                }
            };
            counted.push((tell("content_block_delta", &block("delta", index, delta)), piece.tokens));
        }
        tell("content_block_stop", &[("index", index.to_string())]);
        let delta = object([("stop_reason", text(self.stop_reason())), ("stop_sequence", null())]);
        let mut last = vec![("delta", delta)];
        if self.answer.reports_usage {
            last.push(("usage", self.usage(self.answer.usage.output_tokens)));
        }
        tell("message_delta", &last);
        tell("message_stop", &[]);
        for (place, tokens) in counted {
            chunks[place].tokens = tokens;
            chunks[place].counts = true;
        }
        chunks
    }
}

fn thinking(said: &str, signature: &str) -> String {
    object([("type", text("thinking")), ("thinking", text(said)), ("signature", text(signature))])
}

fn block(what: &'static str, index: u64, inner: String) -> [(&'static str, String); 2] {
    [("index", index.to_string()), (what, inner)]
}

fn models(path: &str) -> Reply {
    let model = |id: &str| {
        let created = text("2026-10-01T00:00:00Z");
        object([("type", text("model")), ("id", text(id)), ("display_name", text(id)), ("created_at", created)])
    };
    let body = match path.strip_prefix("/v1/models/") {
        Some(id) => model(id),
        None => object([
            ("data", array(MODELS.into_iter().map(model))),
            ("has_more", "false".into()),
            ("first_id", text(MODELS[0])),
            ("last_id", text(MODELS[2])),
        ]),
    };
    Reply::json("models", body)
}

/// A simple rule of our own: 3 a message, its role and texts, the system's text, 3 to begin; tools as their JSON, an
/// image 1,000, a document 500.
fn tokens_of_request(body: &Value) -> u64 {
    let message = |message: &Value| {
        3 + message.get("role").and_then(Value::as_str).map_or(0, count) + message.get("content").map_or(0, tokens_of)
    };
    let messages = body.get("messages").and_then(Value::as_array);
    let all: u64 = messages.into_iter().flatten().map(message).sum();
    let tools = body.get("tools").map_or(0, |tools| count(&tools.to_string()));
    all + 3 + body.get("system").map_or(0, tokens_of) + tools
}

fn tokens_of(content: &Value) -> u64 {
    match content {
        Value::String(text) => count(text),
        Value::Array(blocks) => blocks.iter().map(tokens_of).sum(),
        block => match block.get("type").and_then(Value::as_str) {
            Some("text") => block.get("text").and_then(Value::as_str).map_or(0, count),
            Some("image") => 1_000,
            Some("document") => 500,
            Some("tool_result") => block.get("content").map_or(0, tokens_of),
            Some("tool_use") => block.get("input").map_or(0, |input| count(&input.to_string())),
            _ => 0,
        },
    }
}

fn last_user_text(body: &Value) -> Option<String> {
    let last = body.get("messages")?.as_array()?.last()?;
    let is_result = last.to_string().contains("\"tool_result\"");
    (last.get("role")?.as_str()? == "user" && !is_result).then(|| last.to_string())
}

fn wanted_tool(body: &Value) -> Option<(String, Value)> {
    let tools: Vec<&Value> =
        body.get("tools")?.as_array()?.iter().filter(|tool| tool.get("input_schema").is_some()).collect();
    let choice = body.get("tool_choice");
    let kind = choice.and_then(|choice| choice.get("type")).and_then(Value::as_str).unwrap_or("auto");
    let asked = || last_user_text(body).is_some_and(|text| calls_for_a_tool(&text));
    let chosen = match kind {
        "tool" => tools.iter().find(|tool| tool.get("name") == choice.and_then(|choice| choice.get("name"))),
        "any" => tools.first(),
        "auto" if asked() => tools.first(),
        _ => None,
    }?;
    Some((chosen.get("name")?.as_str()?.to_owned(), chosen.get("input_schema")?.clone()))
}

fn wants_search(body: &Value) -> bool {
    let is_search =
        |tool: &Value| tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("web_search"));
    let offered = body.get("tools").and_then(Value::as_array).is_some_and(|tools| tools.iter().any(is_search));
    offered && last_user_text(body).is_some_and(|text| text.to_lowercase().contains("search the web"))
}

fn wanted_schema(body: &Value) -> Option<Value> {
    let format = body.pointer("/output_config/format").or_else(|| body.get("output_format"))?;
    format.get("schema").cloned()
}
