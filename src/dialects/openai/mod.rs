//! The OpenAI dialect: OpenAI, and the many that speak like it (Azure, OpenRouter, Groq, Mistral, DeepSeek, xAI, vLLM …);
//! Ollama's and llama.cpp's own paths too, since they share its base URL.
//!
#![doc = include_str!("usage_fields.md")]

mod multipart;
mod observe;
mod prompt;
mod refusal;
mod request;
mod usage;

pub use multipart::{FormField, multipart_facts, multipart_model};
pub use observe::{observe_event, observe_whole};
pub use prompt::prompt_texts;
pub use refusal::refusal;
pub use request::read_request;

use super::*;
use std::borrow::Cow;

/// Which endpoint a path is. What stands before the endpoint's own words does not matter, so every base URL in use
/// works (`/v1`, `/openai/v1`, `/api/v1`, `/openai/deployments/{d}`, nothing at all), and so no prefix, doubled slash
/// or percent escape makes a billed call look like an unmetered one.
pub fn recognise(method: &str, path: &str) -> Endpoint {
    // Nearly every call there is.
    if (method, path) == ("POST", "/v1/chat/completions") {
        let (operation, body) = (Operation::Chat, BodyShape::Json);
        return Endpoint {
            operation,
            model_in_path: None,
            result_of: None,
            stream_in_path: false,
            body,
            metered: true,
        };
    }
    let segments: Vec<Cow<'_, str>> =
        path.split('/').filter(|s| !s.is_empty() && *s != ".").map(percent_decoded).collect();
    let lower: Vec<Cow<'_, str>> = segments.iter().map(|segment| lowercase(segment)).collect();
    let lower: Vec<&str> = lower.iter().map(Cow::as_ref).collect();
    // Azure's deployments and OpenAI's old engines: the model stands in the path.
    let named_at = lower.iter().position(|word| matches!(*word, "deployments" | "engines"));
    let model_in_path = named_at.and_then(|at| segments.get(at + 1)).map(|model| Arc::from(model.as_ref()));
    let from = named_at.map_or(0, |at| at + 2);
    let found = (from..lower.len()).find_map(|at| known(method, &lower[at..]));
    let (operation, body, metered) = found.unwrap_or((Operation::Other, BodyShape::Opaque, false));
    let stored = matches!(operation, Operation::StoredResponse | Operation::Batches) && method == "GET";
    let stands_last = matches!(lower.iter().rev().nth(1), Some(&"responses" | &"batches"));
    let result_of = segments.last().filter(|_| stored && stands_last).map(|id| Arc::from(id.as_ref()));
    Endpoint { operation, model_in_path, result_of, stream_in_path: false, body, metered }
}

fn known(method: &str, words: &[&str]) -> Option<(Operation, BodyShape, bool)> {
    use BodyShape::{Json, Multipart, Opaque};
    let posted = match (method, words) {
        ("POST", ["chat", "completions"] | ["chat"]) => Some((Operation::Chat, Json)),
        ("POST", ["completions" | "completion" | "generate" | "infill"]) => Some((Operation::Completion, Json)),
        ("POST", ["responses"] | ["responses", "compact"]) => Some((Operation::Responses, Json)),
        ("POST", ["embeddings" | "embed" | "embedding"]) => Some((Operation::Embeddings, Json)),
        ("POST", ["images", "generations"]) => Some((Operation::Images, Json)),
        ("POST", ["images", "edits" | "variations"]) => Some((Operation::Images, Multipart)),
        ("POST", ["audio", "speech"]) => Some((Operation::Speech, Json)),
        ("POST", ["audio", "transcriptions" | "translations"]) => Some((Operation::Transcription, Multipart)),
        ("POST", ["moderations"]) => Some((Operation::Moderation, Json)),
        ("POST", ["rerank"]) => Some((Operation::Rerank, Json)),
        _ => None,
    };
    if let Some((operation, body)) = posted {
        return Some((operation, body, true));
    }
    match (method, words) {
        ("POST", ["responses", "input_tokens"]) => Some((Operation::CountTokens, Json, false)),
        (_, ["responses", _, ..]) => Some((Operation::StoredResponse, Opaque, false)),
        (_, ["models", ..] | ["api", "tags"]) => Some((Operation::Models, Opaque, false)),
        // An upload names no model: nothing to wait for.
        (_, ["files" | "uploads", ..]) => Some((Operation::Files, Opaque, false)),
        (_, ["batches", ..]) => Some((Operation::Batches, Opaque, false)),
        _ => None,
    }
}

fn lowercase(segment: &str) -> Cow<'_, str> {
    match segment.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(segment.to_ascii_lowercase()),
        false => Cow::Borrowed(segment),
    }
}

fn percent_decoded(segment: &str) -> Cow<'_, str> {
    if !segment.contains('%') {
        return Cow::Borrowed(segment);
    }
    let bytes = segment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit =
            |offset: usize| char::from(*bytes.get(at + offset)?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_known_behind_every_base_url() {
        for prefix in ["", "/v1", "/openai/v1", "/api/v1", "/openai", "//v1", "/v1beta/openai", "/%76%31/."] {
            let chat = recognise("POST", &format!("{prefix}/chat/completions"));
            assert_eq!((chat.operation, chat.body, chat.metered), (Operation::Chat, BodyShape::Json, true), "{prefix}");
            assert_eq!(recognise("POST", &format!("{prefix}/responses/")).operation, Operation::Responses);
            assert_eq!(recognise("GET", &format!("{prefix}/models/a/b")).operation, Operation::Models);
        }
    }

    #[test]
    fn every_documented_path_is_what_it_is() {
        for (method, path, operation, body, metered) in [
            ("POST", "/v1/completions", Operation::Completion, BodyShape::Json, true),
            ("POST", "/v1/embeddings", Operation::Embeddings, BodyShape::Json, true),
            ("POST", "/v1/images/generations", Operation::Images, BodyShape::Json, true),
            ("POST", "/v1/images/edits", Operation::Images, BodyShape::Multipart, true),
            ("POST", "/v1/images/variations", Operation::Images, BodyShape::Multipart, true),
            ("POST", "/v1/audio/speech", Operation::Speech, BodyShape::Json, true),
            ("POST", "/v1/audio/transcriptions", Operation::Transcription, BodyShape::Multipart, true),
            ("POST", "/v1/audio/translations", Operation::Transcription, BodyShape::Multipart, true),
            ("POST", "/v1/moderations", Operation::Moderation, BodyShape::Json, true),
            ("POST", "/v1/rerank", Operation::Rerank, BodyShape::Json, true),
            ("POST", "/v1/responses/input_tokens", Operation::CountTokens, BodyShape::Json, false),
            ("GET", "/v1/responses/resp_1", Operation::StoredResponse, BodyShape::Opaque, false),
            ("GET", "/v1/responses/resp_1/input_items", Operation::StoredResponse, BodyShape::Opaque, false),
            ("POST", "/v1/responses/resp_1/cancel", Operation::StoredResponse, BodyShape::Opaque, false),
            ("GET", "/v1/models", Operation::Models, BodyShape::Opaque, false),
            ("POST", "/v1/files", Operation::Files, BodyShape::Opaque, false),
            ("POST", "/v1/batches", Operation::Batches, BodyShape::Opaque, false),
            ("POST", "/api/chat", Operation::Chat, BodyShape::Json, true),
            ("POST", "/api/generate", Operation::Completion, BodyShape::Json, true),
            ("POST", "/api/embed", Operation::Embeddings, BodyShape::Json, true),
            ("POST", "/completion", Operation::Completion, BodyShape::Json, true),
            ("GET", "/v1/chat/completions", Operation::Other, BodyShape::Opaque, false),
            ("POST", "/v1/fine_tuning/jobs", Operation::Other, BodyShape::Opaque, false),
            ("GET", "/", Operation::Other, BodyShape::Opaque, false),
        ] {
            let found = recognise(method, path);
            assert_eq!((found.operation, found.body, found.metered), (operation, body, metered), "{method} {path}");
        }
    }

    #[test]
    fn the_path_of_a_result_names_what_it_is_of() {
        let result_of = |method, path| recognise(method, path).result_of;
        assert_eq!(result_of("GET", "/v1/responses/resp_1").as_deref(), Some("resp_1"));
        assert_eq!(result_of("GET", "/openai/v1/batches/batch_1/").as_deref(), Some("batch_1"));
        for (method, path) in [
            ("GET", "/v1/responses/resp_1/input_items"),
            ("DELETE", "/v1/responses/resp_1"),
            ("GET", "/v1/batches"),
            ("GET", "/v1/models/gpt-4o"),
        ] {
            assert_eq!(result_of(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn azure_names_the_model_in_the_path() {
        let chat = recognise("POST", "/openai/deployments/My%20GPT/chat/completions");
        assert_eq!((chat.operation, chat.model_in_path.as_deref()), (Operation::Chat, Some("My GPT")));
        let odd = recognise("POST", "/openai/deployments/chat/embeddings");
        assert_eq!((odd.operation, odd.model_in_path.as_deref()), (Operation::Embeddings, Some("chat")));
    }
}
