//! Our no, in the words of OpenAI's API: `{"error": {"message", "type", "param", "code"}}`.

use super::super::{Refusal, RefusalBody, RefusalKind};

/// Status, `type` and `code` of each kind. Sources: OpenAI's error codes guide; its SDKs retry 408, 409, 429 and 5xx
/// unless `x-should-retry: false` says not to.
fn shape(kind: RefusalKind) -> (u16, &'static str, Option<&'static str>) {
    match kind {
        RefusalKind::InvalidRequest => (400, "invalid_request_error", None),
        RefusalKind::Unauthenticated => (401, "invalid_request_error", Some("invalid_api_key")),
        RefusalKind::Blocked => (403, "permission_error", Some("blocked_by_rule")),
        RefusalKind::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        RefusalKind::TooLarge => (413, "invalid_request_error", Some("request_too_large")),
        RefusalKind::RequestTimeout => (408, "invalid_request_error", Some("request_timeout")),
        RefusalKind::BudgetExceeded => (429, "insufficient_quota", Some("insufficient_quota")),
        RefusalKind::RateLimited => (429, "requests", Some("rate_limit_exceeded")),
        RefusalKind::ProviderUnreachable => (502, "server_error", Some("provider_unreachable")),
        RefusalKind::ProviderTimeout => (504, "server_error", Some("provider_timeout")),
        RefusalKind::Unavailable => (503, "server_error", Some("unavailable")),
        RefusalKind::Internal => (500, "server_error", Some("internal_error")),
    }
}

pub fn refusal(refusal: &Refusal) -> RefusalBody {
    let (status, kind, code) = shape(refusal.kind);
    let mut headers = Vec::new();
    // A budget does not refill within a client's retries.
    if refusal.kind == RefusalKind::BudgetExceeded {
        headers.push(("x-should-retry", "false".to_owned()));
    }
    if let Some(seconds) = refusal.retry_after_seconds {
        headers.push(("retry-after", seconds.to_string()));
    }
    let error = serde_json::json!({
        "error": { "message": refusal.message, "type": kind, "param": refusal.member, "code": code }
    });
    RefusalBody { status, headers, body: error.to_string().into_bytes() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(kind: RefusalKind, retry_after_seconds: Option<u64>) -> (RefusalBody, serde_json::Value) {
        let body =
            refusal(&Refusal { kind, message: "no \"more\"".to_owned(), member: Some("model"), retry_after_seconds });
        let json = serde_json::from_slice(&body.body).unwrap();
        (body, json)
    }

    #[test]
    fn an_empty_budget_is_insufficient_quota_and_not_worth_a_retry() {
        let (body, json) = refused(RefusalKind::BudgetExceeded, None);
        assert_eq!((body.status, body.headers), (429, vec![("x-should-retry", "false".to_owned())]));
        assert_eq!(json["error"]["code"], "insufficient_quota");
        assert_eq!(json["error"]["message"], "no \"more\"");
        assert_eq!(json["error"]["param"], "model");
    }

    #[test]
    fn a_rate_limit_says_when_to_come_back() {
        let (body, json) = refused(RefusalKind::RateLimited, Some(7));
        assert_eq!((body.status, body.headers), (429, vec![("retry-after", "7".to_owned())]));
        assert_eq!(json["error"]["code"], "rate_limit_exceeded");
    }
}
