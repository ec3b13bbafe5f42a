//! Google's wire format: `generateContent` whole and streamed, embeddings and token counts, of the Gemini API and (same
//! bodies) of Vertex.
//!
//! | Google says (`usageMetadata`) | our kind | what it includes |
//! |---|---|---|
//! | `promptTokenCount` | input | everything that is cached; not `toolUsePromptTokenCount` |
//! | `cachedContentTokenCount` | cache_read | ⊂ `promptTokenCount` |
//! | `promptTokensDetails` AUDIO, IMAGE, VIDEO | input_audio, input_image, input_video | ⊂ `promptTokenCount`, cached ones too |
//! | `cacheTokensDetails` AUDIO, IMAGE | cache_read_audio, cache_read_image | ⊂ `cachedContentTokenCount` |
//! | `toolUsePromptTokenCount`, its details | input, by modality | in no other number |
//! | `candidatesTokenCount` | output | **without** thoughts |
//! | `candidatesTokensDetails` AUDIO, IMAGE | output_audio, output_image | ⊂ `candidatesTokenCount` |
//! | `thoughtsTokenCount` | reasoning | in no other number |
//! | `groundingMetadata.webSearchQueries` of a candidate | web_search | one for each query |
//! | `serviceTier`, else `trafficType` | terms of the price | |
//!
//! Every chunk of a stream repeats the usage so far; the last one wins, and it is final once a candidate has a finish
//! reason. Without `alt=sse` a stream is one JSON array of the same chunks. A batch's responses have the same usage each.
//! Source: google-genai SDK 3.4.0 for Python, read 2026-11-21.

mod batch;
mod request;
mod response;

use super::*;
use percent_encoding::percent_decode_str;

pub use request::{prompt_texts, read_request};
pub use response::{observe_event, observe_whole};

pub fn recognise(method: &str, path: &str) -> Endpoint {
    let place = ["/upload", "/download"].into_iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
    let place =
        ["/v1beta/", "/v1/", "/v1alpha/", "/v1beta1/"].into_iter().find_map(|version| place.strip_prefix(version));
    let place = place.unwrap_or_default();
    let (resource, verb) = match place.rsplit_once(':') {
        Some((resource, verb)) if method == "POST" => (resource, verb),
        _ => (place, ""),
    };
    let model = model_of(resource);
    let (operation, body, metered) = match (verb, model.is_some()) {
        ("generateContent" | "streamGenerateContent", true) => (Operation::Chat, BodyShape::Json, true),
        ("embedContent" | "batchEmbedContents", true) => (Operation::Embeddings, BodyShape::Json, true),
        ("predict", true) => (Operation::Images, BodyShape::Json, true),
        ("countTokens", true) => (Operation::CountTokens, BodyShape::Json, false),
        ("batchGenerateContent" | "asyncBatchEmbedContent", true) => (Operation::Batches, BodyShape::Opaque, false),
        ("", _) => (listed(resource), BodyShape::Opaque, false),
        _ => (Operation::Other, BodyShape::Opaque, false),
    };
    let model_in_path = if verb.is_empty() { None } else { model };
    Endpoint {
        operation,
        model_in_path,
        result_of: if method == "GET" { result_of(resource) } else { None },
        stream_in_path: verb == "streamGenerateContent",
        body,
        metered,
    }
}

/// `models/{model}`, `tunedModels/{model}`, `projects/…/publishers/google/models/{model}`.
fn model_of(resource: &str) -> Option<Arc<str>> {
    let (collection, name) = resource.rsplit_once('/')?;
    let is_model = collection == "tunedModels" || collection.rsplit('/').next() == Some("models");
    (is_model && !name.is_empty()).then(|| Arc::from(percent_decode_str(name).decode_utf8_lossy()))
}

/// `batches/{id}` has its responses where they were asked for inline; else they are in a file, `files/{id}:download`.
fn result_of(resource: &str) -> Option<Arc<str>> {
    let (collection, id) = resource.split_once('/')?;
    let name = match collection {
        "batches" => resource,
        "files" => resource.strip_suffix(":download")?,
        _ => return None,
    };
    (!id.contains('/')).then(|| Arc::from(name))
}

fn listed(resource: &str) -> Operation {
    match resource.split('/').next() {
        Some("models" | "tunedModels") => Operation::Models,
        Some("files") => Operation::Files,
        Some("batches") => Operation::Batches,
        _ => Operation::Other,
    }
}

/// `{"error":{"code":…,"message":…,"status":…,"details":[…]}}`, as google.rpc.Status is written in JSON.
pub fn refusal(refusal: &Refusal) -> RefusalBody {
    let (code, status) = match refusal.kind {
        RefusalKind::InvalidRequest => (400, "INVALID_ARGUMENT"),
        RefusalKind::Unauthenticated => (401, "UNAUTHENTICATED"),
        RefusalKind::Blocked => (403, "PERMISSION_DENIED"),
        RefusalKind::NotFound => (404, "NOT_FOUND"),
        RefusalKind::RequestTimeout => (408, "DEADLINE_EXCEEDED"),
        RefusalKind::TooLarge => (413, "INVALID_ARGUMENT"),
        RefusalKind::BudgetExceeded | RefusalKind::RateLimited => (429, "RESOURCE_EXHAUSTED"),
        RefusalKind::Internal => (500, "INTERNAL"),
        RefusalKind::ProviderUnreachable => (502, "UNAVAILABLE"),
        RefusalKind::Unavailable => (503, "UNAVAILABLE"),
        RefusalKind::ProviderTimeout => (504, "DEADLINE_EXCEEDED"),
    };
    let mut headers = Vec::new();
    let mut details = Vec::new();
    if let Some(seconds) = refusal.retry_after_seconds {
        headers.push(("retry-after", seconds.to_string()));
        let delay = format!("{seconds}s");
        details.push(serde_json::json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
    }
    if refusal.kind == RefusalKind::BudgetExceeded {
        headers.push(("x-should-retry", "false".to_owned()));
        let reason = "BUDGET_EXCEEDED";
        details.push(
            serde_json::json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "farebox"}),
        );
    }
    let mut error = serde_json::json!({"code": code, "message": refusal.message, "status": status});
    if !details.is_empty() {
        error["details"] = serde_json::Value::Array(details);
    }
    RefusalBody { status: code, headers, body: serde_json::json!({"error": error}).to_string().into_bytes() }
}

#[cfg(test)]
mod tests;
