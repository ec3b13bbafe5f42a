//! `/v1/responses`: whole, streamed, in the background, and looked up again (OpenAI API reference, "Responses").

use crate::simulator::answer::{Answer, Ask, Content, calls_for_a_tool};
use crate::simulator::json::{array, null, object, text, text_or_null, with_member};
use crate::simulator::reply::{Call, Reply, event};
use crate::simulator::seen::Usage;
use crate::simulator::sending::Chunk;
use crate::simulator::shelf::Thing;
use crate::simulator::words::{count, text_of};
use serde_json::Value;

pub fn create(call: &Call<'_>) -> Reply {
    let Some(model) = call.text("model") else {
        return super::error(400, "Missing required parameter: 'model'.", Some("model"));
    };
    let ask = Ask {
        model: model.to_owned(),
        stream: call.flag("stream"),
        output_limit: call.number("max_output_tokens"),
        choices: 1,
        input_tokens: tokens_of_request(&call.json),
        tool: wanted_tool(&call.json),
        schema: wanted_schema(&call.json),
    };
    let answer = call.answer(&ask);
    let form = Form { call, answer: &answer, searches: wants_search(&call.json) };
    let done = form.response(form.status(), &form.output(), true);
    let pending = form.response("in_progress", "[]", false);
    if call.json.get("store") != Some(&Value::Bool(false)) {
        let id = form.id("resp");
        let events = if call.flag("background") { form.events() } else { Vec::new() };
        form.call.shelf.put(Thing { id, pending: pending.clone(), done: done.clone(), looks: 0, events });
    }
    let reply = if ask.stream {
        Reply::events("responses", form.events())
    } else if call.flag("background") {
        Reply::json("responses", form.response("queued", "[]", false))
    } else {
        form.call.shelf.look(&form.id("resp"));
        Reply::json("responses", done)
    };
    reply.of_model(&ask.model).using(answer.usage)
}

/// `GET`, `DELETE`, `POST …/cancel` and `GET …/input_items` of one response. A response is under way when it is first
/// looked at, and done after that; with `stream=true` it is told from its beginning to its end.
pub fn stored(call: &Call<'_>, rest: &str) -> Reply {
    let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
    let missing = || super::error(404, &format!("Response with id '{id}' not found."), None);
    if call.method == "GET" && action.is_empty() && call.query_has("stream", "true") {
        let told = call.shelf.look(id).map(|thing| thing.events).filter(|events| !events.is_empty());
        let not_streamable = || super::error(400, "Only background responses can be streamed.", Some("stream"));
        return told.map_or_else(not_streamable, |events| Reply::events("stored_response", events));
    }
    let reply = match (call.method, action) {
        ("GET", "") => call.shelf.look(id).map(|thing| if thing.looks == 0 { thing.pending } else { thing.done }),
        ("GET", "input_items") => call.shelf.look(id).map(|_| super::list(std::iter::empty())),
        ("POST", "cancel") => call.shelf.look(id).map(|thing| thing.pending.replacen("in_progress", "cancelled", 1)),
        ("DELETE", "") => {
            let gone = object([("id", text(id)), ("object", text("response")), ("deleted", "true".into())]);
            call.shelf.take(id).map(|_| gone)
        }
        _ => None,
    };
    reply.map_or_else(missing, |body| Reply::json("stored_response", body))
}

/// `POST /v1/responses/input_tokens`
pub fn input_tokens(call: &Call<'_>) -> Reply {
    let count = tokens_of_request(&call.json).to_string();
    Reply::json("count_tokens", object([("object", text("response.input_tokens")), ("input_tokens", count)]))
}

fn usage(usage: &Usage) -> String {
    let details = [
        ("cached_tokens", usage.cache_read_tokens.to_string()),
        ("cache_write_tokens", usage.cache_write_tokens.to_string()),
    ];
    object([
        ("input_tokens", usage.input_tokens.to_string()),
        ("input_tokens_details", object(details)),
        ("output_tokens", usage.output_tokens.to_string()),
        ("output_tokens_details", object([("reasoning_tokens", usage.reasoning_tokens.to_string())])),
        ("total_tokens", (usage.input_tokens + usage.output_tokens).to_string()),
    ])
}

struct Form<'a> {
    call: &'a Call<'a>,
    answer: &'a Answer,
    searches: bool,
}

impl Form<'_> {
    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_sim{}", self.answer.id)
    }

    fn status(&self) -> &'static str {
        if self.answer.cut_off { "incomplete" } else { "completed" }
    }

    /// The whole response object, `finished` with its usage.
    fn response(&self, status: &str, output: &str, finished: bool) -> String {
        let as_asked = |member: &str, otherwise: &str| {
            self.call.json.get(member).map_or_else(|| otherwise.to_owned(), Value::to_string)
        };
        let incomplete = match status {
            "incomplete" => object([("reason", text("max_output_tokens"))]),
            _ => null(),
        };
        let format = self.call.json.pointer("/text/format").map_or(r#"{"type":"text"}"#.to_owned(), Value::to_string);
        let asked_tier = self.call.text("service_tier").filter(|tier| *tier != "auto").unwrap_or("default");
        let tier = if finished { self.answer.service_tier.as_deref().unwrap_or(asked_tier) } else { "auto" };
        let usage = if finished && self.answer.reports_usage { usage(&self.answer.usage) } else { null() };
        object([
            ("id", text(&self.id("resp"))),
            ("object", text("response")),
            ("created_at", self.answer.created.to_string()),
            ("status", text(status)),
            ("background", as_asked("background", "false")),
            ("error", null()),
            ("incomplete_details", incomplete),
            ("instructions", as_asked("instructions", "null")),
            ("max_output_tokens", as_asked("max_output_tokens", "null")),
            ("model", text(&self.answer.model)),
            ("output", output.to_owned()),
            ("parallel_tool_calls", as_asked("parallel_tool_calls", "true")),
            ("previous_response_id", as_asked("previous_response_id", "null")),
            ("reasoning", as_asked("reasoning", r#"{"effort":null,"summary":null}"#)),
            ("service_tier", text(tier)),
            ("store", as_asked("store", "true")),
            ("temperature", as_asked("temperature", "1.0")),
            ("text", object([("format", format), ("verbosity", text("medium"))])),
            ("tool_choice", as_asked("tool_choice", "\"auto\"")),
            ("tools", as_asked("tools", "[]")),
            ("top_p", as_asked("top_p", "1.0")),
            ("truncation", as_asked("truncation", "\"disabled\"")),
            ("usage", usage),
            ("user", text_or_null(self.call.text("user"))),
            ("metadata", as_asked("metadata", "{}")),
        ])
    }

    fn output(&self) -> String {
        let mut items = self.items_before();
        items.push(self.item(&text_of(self.answer.content.pieces()), self.status()));
        array(items)
    }

    /// What stands before the message or call: a search, hidden reasoning.
    fn items_before(&self) -> Vec<String> {
        let mut items = Vec::new();
        if self.searches {
            let action = object([("type", text("search")), ("query", text("simulated"))]);
            items.push(object([
                ("id", text(&self.id("ws"))),
                ("type", text("web_search_call")),
                ("status", text("completed")),
                ("action", action),
            ]));
        }
        if !self.answer.reasoning.is_empty() {
            items.push(object([("id", text(&self.id("rs"))), ("type", text("reasoning")), ("summary", "[]".into())]));
        }
        items
    }

    fn item(&self, content: &str, status: &str) -> String {
        match &self.answer.content {
            Content::Text(_) => {
                let parts = if status == "in_progress" { "[]".into() } else { array([part(content)]) };
                object([
                    ("id", text(&self.id("msg"))),
                    ("type", text("message")),
                    ("status", text(status)),
                    ("content", parts),
                    ("role", text("assistant")),
                ])
            }
            Content::Call { tool, .. } => object([
                ("id", text(&self.id("fc"))),
                ("type", text("function_call")),
                ("status", text(status)),
                ("arguments", text(content)),
                ("call_id", text(&self.id("call"))),
                ("name", text(tool)),
            ]),
        }
    }

    fn events(&self) -> Vec<Chunk> {
        let mut told = Told { chunks: Vec::new() };
        for opening in ["response.created", "response.in_progress"] {
            told.tell(opening, [("response", self.response("in_progress", "[]", false))]);
        }
        let mut index = 0;
        for item in self.items_before() {
            let place = || index.to_string();
            told.tell("response.output_item.added", [("output_index", place()), ("item", item.clone())]);
            told.tell("response.output_item.done", [("output_index", place()), ("item", item)]);
            index += 1;
        }
        let place = || index.to_string();
        let item = self.item("", "in_progress");
        told.tell("response.output_item.added", [("output_index", place()), ("item", item)]);
        let whole = text_of(self.answer.content.pieces());
        match self.answer.content {
            Content::Text(_) => self.tell_text(&mut told, &whole, index),
            Content::Call { .. } => self.tell_call(&mut told, &whole, index),
        }
        let item = self.item(&whole, self.status());
        told.tell("response.output_item.done", [("output_index", place()), ("item", item)]);
        let last = format!("response.{}", self.status());
        told.tell(&last, [("response", self.response(self.status(), &self.output(), true))]);
        told.chunks
    }

    fn tell_text(&self, told: &mut Told, whole: &str, index: usize) {
        let at = || {
            [("item_id", text(&self.id("msg"))), ("output_index", index.to_string()), ("content_index", "0".to_owned())]
        };
        let [id, output, content] = at();
        told.tell("response.content_part.added", [id, output, content, ("part", part(""))]);
        for piece in self.answer.content.pieces() {
            let [id, output, content] = at();
            let delta = ("delta", text(&piece.text));
            let padding = ("obfuscation", text(&"k3Xq9vT2mB7wLzRp"[piece.text.len() % 16..]));
            told.tell("response.output_text.delta", [id, output, content, delta, ("logprobs", "[]".into()), padding]);
            told.count(piece.tokens);
        }
        let [id, output, content] = at();
        let said = ("text", text(whole));
        told.tell("response.output_text.done", [id, output, content, said, ("logprobs", "[]".into())]);
        let [id, output, content] = at();
        told.tell("response.content_part.done", [id, output, content, ("part", part(whole))]);
    }

    fn tell_call(&self, told: &mut Told, whole: &str, index: usize) {
        let at = || [("item_id", text(&self.id("fc"))), ("output_index", index.to_string())];
        for piece in self.answer.content.pieces() {
            let [id, output] = at();
            told.tell("response.function_call_arguments.delta", [id, output, ("delta", text(&piece.text))]);
            told.count(piece.tokens);
        }
        let [id, output] = at();
        told.tell("response.function_call_arguments.done", [id, output, ("arguments", text(whole))]);
    }
}

/// Events with their sequence numbers.
struct Told {
    chunks: Vec<Chunk>,
}

impl Told {
    fn tell<const N: usize>(&mut self, name: &str, members: [(&str, String); N]) {
        let mut json = object([("type", text(name)), ("sequence_number", self.chunks.len().to_string())]);
        for (member, value) in members {
            json = with_member(json, member, &value);
        }
        self.chunks.push(Chunk::frame(event(name, &json)));
    }

    /// The last event carried so many tokens of the answer.
    fn count(&mut self, tokens: u64) {
        if let Some(last) = self.chunks.last_mut() {
            last.tokens = tokens;
            last.counts = true;
        }
    }
}

fn part(said: &str) -> String {
    object([
        ("type", text("output_text")),
        ("annotations", "[]".into()),
        ("logprobs", "[]".into()),
        ("text", text(said)),
    ])
}

/// The rule of chat, for items: 3 each, their texts, and 3 to begin the answer; tools and formats as their JSON.
fn tokens_of_request(body: &Value) -> u64 {
    let json = |pointer: &str| body.pointer(pointer).map_or(0, |value| count(&value.to_string()));
    let instructions = body.get("instructions").and_then(Value::as_str).map_or(0, |text| 3 + count(text));
    let input = match body.get("input") {
        Some(Value::String(text)) => 3 + count(text),
        Some(Value::Array(items)) => items.iter().map(tokens_of_item).sum(),
        _ => 0,
    };
    instructions + input + 3 + json("/tools") + json("/text/format/schema")
}

fn tokens_of_item(item: &Value) -> u64 {
    let content = match item.get("content").or_else(|| item.get("output")) {
        Some(Value::String(text)) => count(text),
        Some(Value::Array(parts)) => parts.iter().map(super::chat::tokens_of_part).sum(),
        _ => 0,
    };
    let arguments = item.get("arguments").and_then(Value::as_str).map_or(0, count);
    3 + item.get("role").and_then(Value::as_str).map_or(0, count) + content + arguments
}

fn last_user_text(body: &Value) -> Option<String> {
    match body.get("input")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            items.last().filter(|item| item.get("role").and_then(Value::as_str) == Some("user")).map(Value::to_string)
        }
        _ => None,
    }
}

fn wanted_tool(body: &Value) -> Option<(String, Value)> {
    let is_function = |tool: &&Value| tool.get("type").and_then(Value::as_str) == Some("function");
    let functions: Vec<&Value> = body.get("tools")?.as_array()?.iter().filter(is_function).collect();
    let choice = body.get("tool_choice");
    let required = choice.and_then(Value::as_str) == Some("required");
    let asked = last_user_text(body).is_some_and(|text| calls_for_a_tool(&text));
    let chosen = match choice.and_then(|choice| choice.get("name")).and_then(Value::as_str) {
        Some(name) => functions.iter().find(|tool| tool.get("name").and_then(Value::as_str) == Some(name)),
        None if required || asked => functions.first(),
        None => None,
    }?;
    Some((chosen.get("name")?.as_str()?.to_owned(), chosen.get("parameters").cloned().unwrap_or_default()))
}

fn wants_search(body: &Value) -> bool {
    let has_tool =
        |tool: &Value| tool.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("web_search"));
    let offered = body.get("tools").and_then(Value::as_array).is_some_and(|tools| tools.iter().any(has_tool));
    offered && last_user_text(body).is_some_and(|text| text.to_lowercase().contains("search the web"))
}

fn wanted_schema(body: &Value) -> Option<Value> {
    let format = body.pointer("/text/format")?;
    match format.get("type")?.as_str()? {
        "json_schema" => format.get("schema").cloned(),
        "json_object" => Some(serde_json::json!({"type": "object", "properties": {"answer": {"type": "string"}}})),
        _ => None,
    }
}
