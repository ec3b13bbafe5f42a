//! Anthropic's wire format: Messages, whole and streamed, token counts and batches.
//!
//! | Anthropic says | our kind | what it includes |
//! |---|---|---|
//! | `input_tokens` | input | excludes everything cached |
//! | `cache_read_input_tokens` | cache_read | |
//! | `cache_creation_input_tokens` | cache_write_5m | all writes; what the split does not name is of 5 minutes |
//! | `cache_creation.ephemeral_5m_input_tokens` | cache_write_5m | ⊂ `cache_creation_input_tokens` |
//! | `cache_creation.ephemeral_1h_input_tokens` | cache_write_1h | ⊂ `cache_creation_input_tokens` |
//! | `output_tokens` | output | thinking included |
//! | `output_tokens_details.thinking_tokens` | reasoning | ⊂ `output_tokens` |
//! | `server_tool_use.web_search_requests` | web_search | billed each; `web_fetch_requests` are free |
//! | `iterations[]` | their sum replaces all token kinds | compaction is in no other number |
//! | `service_tier`, `speed`, `inference_geo` | terms of the price | |
//!
//! In a stream every report is cumulative and the last one wins, member by member; `message_start` has the input and a
//! placeholder output of 1 to 4, which is never booked. Source: anthropic SDK 2.12.0 for Python, read 2026-11-21.

mod request;
mod response;

use super::*;

pub use request::{prompt_texts, read_request};
pub use response::{observe_event, observe_whole};

pub fn recognise(method: &str, path: &str) -> Endpoint {
    let (operation, body, metered) = match (method, path) {
        ("POST", "/v1/messages") => (Operation::Chat, BodyShape::Json, true),
        ("POST", "/v1/messages/count_tokens") => (Operation::CountTokens, BodyShape::Json, false),
        (_, path) if is_or_is_under(path, "/v1/messages/batches") => (Operation::Batches, BodyShape::Opaque, false),
        (_, path) if is_or_is_under(path, "/v1/models") => (Operation::Models, BodyShape::Opaque, false),
        (_, path) if is_or_is_under(path, "/v1/files") => (Operation::Files, BodyShape::Opaque, false),
        _ => (Operation::Other, BodyShape::Opaque, false),
    };
    // The batch itself says no usage; its results do.
    let batch = path.strip_prefix("/v1/messages/batches/").and_then(|rest| rest.strip_suffix("/results"));
    let result_of = batch.filter(|_| method == "GET").map(Arc::from);
    Endpoint { operation, model_in_path: None, result_of, stream_in_path: false, body, metered }
}

fn is_or_is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `{"type":"error","error":{"type":…,"message":…}}`, with the statuses of Anthropic's error page: its SDKs try again on
/// 408, 409, 429 and above 499, unless `x-should-retry` says no.
pub fn refusal(refusal: &Refusal) -> RefusalBody {
    let (status, kind) = match refusal.kind {
        RefusalKind::InvalidRequest => (400, "invalid_request_error"),
        RefusalKind::Unauthenticated => (401, "authentication_error"),
        RefusalKind::BudgetExceeded => (402, "billing_error"),
        RefusalKind::Blocked => (403, "permission_error"),
        RefusalKind::NotFound => (404, "not_found_error"),
        RefusalKind::RequestTimeout => (408, "timeout_error"),
        RefusalKind::TooLarge => (413, "request_too_large"),
        RefusalKind::RateLimited => (429, "rate_limit_error"),
        RefusalKind::Internal => (500, "api_error"),
        RefusalKind::ProviderUnreachable => (502, "api_error"),
        RefusalKind::ProviderTimeout => (504, "timeout_error"),
        // Not 503: the clients know 529 as "overloaded".
        RefusalKind::Unavailable => (529, "overloaded_error"),
    };
    let mut headers = Vec::new();
    if let Some(seconds) = refusal.retry_after_seconds {
        headers.push(("retry-after", seconds.to_string()));
    }
    if refusal.kind == RefusalKind::BudgetExceeded {
        headers.push(("x-should-retry", "false".to_owned()));
    }
    let body = serde_json::json!({"type": "error", "error": {"type": kind, "message": refusal.message}});
    RefusalBody { status, headers, body: body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests;
