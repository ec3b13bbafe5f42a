//! The OpenAI dialect, as OpenAI and Azure speak it.

mod chat;
mod media;
mod responses;
mod shelves;
mod vectors;

use super::json::{array, null, object, text, text_or_null};
use super::reply::{Call, Reply};
use super::words::count;
use serde_json::Value;

pub use vectors::vector;

pub fn reply(call: &Call<'_>) -> Reply {
    let (path, deployment) = of_azure(call.path);
    let below = |root: &str| path.strip_prefix(root).map(|rest| rest.trim_start_matches('/'));
    match (call.method, path) {
        ("POST", "/v1/chat/completions") => chat::chat(call, deployment),
        ("POST", "/v1/completions") => chat::completion(call, deployment),
        ("POST", "/v1/responses") => responses::create(call),
        ("POST", "/v1/responses/input_tokens") => responses::input_tokens(call),
        ("POST", "/v1/embeddings") => vectors::embeddings(call, deployment),
        ("POST", "/v1/images/generations" | "/v1/images/edits") => media::images(call, deployment),
        ("POST", "/v1/audio/speech") => media::speech(call, deployment),
        ("POST", "/v1/audio/transcriptions" | "/v1/audio/translations") => media::transcription(call, deployment),
        ("POST", "/v1/moderations") => shelves::moderation(call),
        ("GET", path) if path.starts_with("/v1/models") => shelves::models(path),
        // Not a provider's: whatever is sent comes back.
        (_, "/v1/echo") => Reply::bytes("other", "application/octet-stream", call.body.clone()),
        (method, _) => {
            let stored = below("/v1/responses/").map(|rest| responses::stored(call, rest));
            let files = || below("/v1/files").map(|rest| shelves::files(call, rest));
            let batches = || below("/v1/batches").map(|rest| shelves::batches(call, rest));
            let unknown = || error(404, &format!("Invalid URL ({method} {path})"), None);
            stored.or_else(files).or_else(batches).unwrap_or_else(unknown)
        }
    }
}

/// `{"error":{"message","type","param","code"}}`
pub fn error(status: u16, message: &str, param: Option<&str>) -> Reply {
    let (kind, code) = match status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        404 => ("invalid_request_error", Some("model_not_found")),
        429 => ("rate_limit_error", Some("rate_limit_exceeded")),
        400..=499 => ("invalid_request_error", None),
        _ => ("server_error", None),
    };
    let inner = object([
        ("message", text(message)),
        ("type", text(kind)),
        ("param", text_or_null(param)),
        ("code", code.map_or_else(null, text)),
    ]);
    Reply::json("error", object([("error", inner)])).with_status(status)
}

/// Azure's `/openai/deployments/{deployment}/chat/completions` as OpenAI's path, and the deployment.
fn of_azure(path: &str) -> (&str, Option<&str>) {
    let Some(rest) = path.strip_prefix("/openai/deployments/") else { return (path, None) };
    let (deployment, operation) = rest.split_once('/').unwrap_or((rest, ""));
    let known =
        ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/images/generations", "/v1/audio/speech"];
    let path = known.into_iter().find(|known| known.strip_prefix("/v1/") == Some(operation));
    (path.unwrap_or("/v1/audio/transcriptions"), Some(deployment))
}

/// Input as a text, texts, token ids or lists of them.
fn tokens_of_input(input: &Value) -> u64 {
    match input {
        Value::String(text) => count(text),
        Value::Number(_) => 1,
        Value::Array(all) => all.iter().map(tokens_of_input).sum(),
        _ => 0,
    }
}

/// `{"object":"list", …}`
fn list(items: impl Iterator<Item = String>) -> String {
    let members = [("object", text("list")), ("data", array(items)), ("has_more", "false".into())];
    object(members)
}
