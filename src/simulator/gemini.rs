//! The Gemini dialect: `generateContent`, `streamGenerateContent` (events or a JSON array), `countTokens`, embeddings
//! (Gemini API reference, v1beta).

mod batches;

use super::answer::{Answer, Ask, Content, calls_for_a_tool};
use super::json::{array, object, text, with_member};
use super::openai::vector;
use super::reply::{Call, Reply, ReplyBody, data};
use super::seen::Usage;
use super::sending::Chunk;
use super::words::{count, text_of};
use serde_json::Value;

const MODELS: [&str; 3] = ["gemini-4-argon", "gemini-3.8-flash", "gemini-embedding-001"];
const DIMENSIONS_DEFAULT: u64 = 768;

pub fn reply(call: &Call<'_>) -> Reply {
    if call.path.contains("/batches/") || call.path.contains("/files/") {
        return batches::stored(call);
    }
    let rest = call.path.split_once("/models").map_or("", |(_, rest)| rest.trim_start_matches('/'));
    let (model, verb) = rest.split_once(':').unwrap_or((rest, ""));
    match (call.method, verb) {
        ("POST", "generateContent") => generate(call, model, false),
        ("POST", "streamGenerateContent") => generate(call, model, true),
        ("POST", "countTokens") => {
            let inner = call.json.get("generateContentRequest").unwrap_or(&call.json);
            Reply::json("count_tokens", object([("totalTokens", tokens_of_request(inner).to_string())]))
        }
        ("POST", "batchGenerateContent") => batches::begin(call, model),
        ("POST", "embedContent") => embed(call, model),
        ("POST", "batchEmbedContents") => embed_all(call, model),
        ("GET", "") => models(model),
        (method, _) => error(404, &format!("not found: {method} {}", call.path)),
    }
}

/// `{"error":{"code","message","status"}}`
pub fn error(status: u16, message: &str) -> Reply {
    let name = match status {
        400 | 413 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    };
    let inner = object([("code", status.to_string()), ("message", text(message)), ("status", text(name))]);
    Reply::json("error", object([("error", inner)])).with_status(status)
}

fn generate(call: &Call<'_>, model: &str, stream: bool) -> Reply {
    if call.json.get("contents").and_then(Value::as_array).is_none() {
        return error(400, "* GenerateContentRequest.contents: contents is not specified");
    }
    let setting = |name: &str| call.json.pointer(&format!("/generationConfig/{name}"));
    let ask = Ask {
        model: model.to_owned(),
        stream,
        output_limit: setting("maxOutputTokens").and_then(Value::as_u64),
        choices: setting("candidateCount").and_then(Value::as_u64).unwrap_or(1).clamp(1, 8),
        input_tokens: tokens_of_request(&call.json),
        tool: wanted_tool(&call.json),
        schema: setting("responseSchema").or_else(|| setting("responseJsonSchema")).cloned(),
    };
    let answer = call.answer(&ask);
    let form = Form { answer: &answer };
    let reply = match (stream, call.query_has("alt", "sse")) {
        (false, _) => Reply::json("chat", form.whole()),
        (true, true) => Reply { content_type: "text/event-stream", ..Reply::events("chat", form.events()) },
        (true, false) => Reply { body: ReplyBody::Stream(form.array()), ..Reply::json("chat", "") },
    };
    reply.of_model(model).using(answer.usage)
}

struct Form<'a> {
    answer: &'a Answer,
}

impl Form<'_> {
    fn finish_reason(&self) -> &'static str {
        if self.answer.cut_off { "MAX_TOKENS" } else { "STOP" }
    }

    /// `usageMetadata` with so much visible output so far: thoughts are not among the candidates' tokens.
    fn usage(&self, candidates: u64) -> String {
        let Usage { input_tokens, cache_read_tokens, reasoning_tokens, .. } = self.answer.usage;
        let total = input_tokens + candidates + reasoning_tokens;
        let modality = object([("modality", text("TEXT")), ("tokenCount", input_tokens.to_string())]);
        let mut used = object([("promptTokenCount", input_tokens.to_string())]);
        if candidates > 0 {
            used = with_member(used, "candidatesTokenCount", &candidates.to_string());
        }
        used = with_member(used, "totalTokenCount", &total.to_string());
        if cache_read_tokens > 0 {
            used = with_member(used, "cachedContentTokenCount", &cache_read_tokens.to_string());
        }
        used = with_member(used, "promptTokensDetails", &array([modality]));
        if reasoning_tokens > 0 {
            used = with_member(used, "thoughtsTokenCount", &reasoning_tokens.to_string());
        }
        used
    }

    fn response(&self, part: &str, finish: Option<&str>, candidates: u64) -> String {
        let content = object([("parts", array([part.to_owned()])), ("role", text("model"))]);
        let candidate = |index: u64| {
            let mut candidate = object([("content", content.clone())]);
            if let Some(finish) = finish {
                candidate = with_member(candidate, "finishReason", &text(finish));
            }
            with_member(candidate, "index", &index.to_string())
        };
        let mut body = object([("candidates", array((0..self.answer.choices).map(candidate)))]);
        if self.answer.reports_usage {
            body = with_member(body, "usageMetadata", &self.usage(candidates));
        }
        body = with_member(body, "modelVersion", &text(&self.answer.model));
        with_member(body, "responseId", &text(&format!("sim{}", self.answer.id)))
    }

    fn visible_tokens(&self) -> u64 {
        self.answer.usage.output_tokens - self.answer.usage.reasoning_tokens
    }

    fn whole(&self) -> String {
        let part = match &self.answer.content {
            Content::Text(pieces) => object([("text", text(&text_of(pieces)))]),
            Content::Call { tool, arguments } => function_call(tool, &text_of(arguments)),
        };
        self.response(&part, Some(self.finish_reason()), self.visible_tokens())
    }

    /// The chunks of the stream: each repeats the usage so far; the last has the finish reason.
    fn chunks(&self) -> Vec<(String, u64)> {
        let Content::Text(pieces) = &self.answer.content else {
            return vec![(self.whole(), self.visible_tokens())];
        };
        if pieces.is_empty() {
            return vec![(self.whole(), 0)];
        }
        let mut so_far = 0;
        let mut chunks = Vec::new();
        for (place, piece) in pieces.iter().enumerate() {
            so_far += piece.tokens * self.answer.choices;
            let finish = (place + 1 == pieces.len()).then(|| self.finish_reason());
            let part = object([("text", text(&piece.text))]);
            chunks.push((self.response(&part, finish, so_far), piece.tokens * self.answer.choices));
        }
        chunks
    }

    /// Gemini ends its lines with `\r\n`.
    fn events(&self) -> Vec<Chunk> {
        let as_event = |(json, tokens): (String, u64)| Chunk::content(data(&json).replace('\n', "\r\n"), tokens);
        self.chunks().into_iter().map(as_event).collect()
    }

    fn array(&self) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = Vec::new();
        for (place, (json, tokens)) in self.chunks().into_iter().enumerate() {
            let before = if place == 0 { "[" } else { ",\r\n" };
            chunks.push(Chunk::content(format!("{before}{json}"), tokens));
        }
        chunks.push(Chunk::frame("]"));
        chunks
    }
}

fn function_call(tool: &str, arguments: &str) -> String {
    let arguments = if serde_json::from_str::<Value>(arguments).is_ok() { arguments } else { "{}" };
    object([("functionCall", object([("name", text(tool)), ("args", arguments.to_owned())]))])
}

fn embed(call: &Call<'_>, model: &str) -> Reply {
    let input_tokens = call.json.get("content").map_or(0, tokens_of_content);
    let body = object([("embedding", embedding(&call.json))]);
    Reply::json("embeddings", body).of_model(model).using(Usage { input_tokens, ..Usage::default() })
}

fn embed_all(call: &Call<'_>, model: &str) -> Reply {
    let requests = call.json.get("requests").and_then(Value::as_array);
    let requests: Vec<&Value> = requests.into_iter().flatten().collect();
    let input_tokens = requests.iter().filter_map(|one| one.get("content")).map(tokens_of_content).sum();
    let body = object([("embeddings", array(requests.into_iter().map(embedding)))]);
    Reply::json("embeddings", body).of_model(model).using(Usage { input_tokens, ..Usage::default() })
}

fn embedding(request: &Value) -> String {
    let dimensions = request.get("outputDimensionality").and_then(Value::as_u64).unwrap_or(DIMENSIONS_DEFAULT);
    let content = request.get("content").map(Value::to_string).unwrap_or_default();
    object([("values", array(vector(&content, dimensions.clamp(1, 8192)).iter().map(f32::to_string)))])
}

fn models(name: &str) -> Reply {
    let model = |id: &str| {
        object([
            ("name", text(&format!("models/{id}"))),
            ("displayName", text(id)),
            ("inputTokenLimit", "1048576".into()),
            ("outputTokenLimit", "65536".into()),
            ("supportedGenerationMethods", array([text("generateContent"), text("countTokens")])),
        ])
    };
    let body = if name.is_empty() { object([("models", array(MODELS.into_iter().map(model)))]) } else { model(name) };
    Reply::json("models", body)
}

/// A simple rule of our own: the texts, and 1 a content; a picture or file 258; tools and schemas as their JSON.
fn tokens_of_request(body: &Value) -> u64 {
    let contents = body.get("contents").and_then(Value::as_array);
    let all: u64 = contents.into_iter().flatten().map(|content| 1 + tokens_of_content(content)).sum();
    let json = |pointer: &str| body.pointer(pointer).map_or(0, |value| count(&value.to_string()));
    let system = body.get("systemInstruction").or_else(|| body.get("system_instruction"));
    all + system.map_or(0, tokens_of_content) + json("/tools") + json("/generationConfig/responseSchema")
}

fn tokens_of_content(content: &Value) -> u64 {
    let part = |part: &Value| match part.get("text").and_then(Value::as_str) {
        Some(text) => count(text),
        None if part.get("inlineData").is_some() || part.get("fileData").is_some() => 258,
        None => count(&part.to_string()),
    };
    content.get("parts").and_then(Value::as_array).into_iter().flatten().map(part).sum()
}

fn wanted_tool(body: &Value) -> Option<(String, Value)> {
    let tools = body.get("tools")?.as_array()?;
    let declared =
        |tool: &Value| tool.get("functionDeclarations").and_then(Value::as_array).cloned().unwrap_or_default();
    let functions: Vec<Value> = tools.iter().flat_map(declared).collect();
    let mode = body.pointer("/toolConfig/functionCallingConfig/mode").and_then(Value::as_str).unwrap_or("AUTO");
    let last = body.get("contents")?.as_array()?.last()?.to_string();
    let asked = calls_for_a_tool(&last) && !last.contains("functionResponse");
    let chosen = functions.first().filter(|_| mode == "ANY" || (mode == "AUTO" && asked))?;
    let parameters = chosen.get("parameters").or_else(|| chosen.get("parametersJsonSchema"));
    Some((chosen.get("name")?.as_str()?.to_owned(), parameters.cloned().unwrap_or_default()))
}
