//! Errors of the admin port: RFC 9457 problem documents that say what, where, and how to mend it.

use crate::queries::Misasked;
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
    /// The parameter at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    #[serde(skip)]
    retry_after_seconds: Option<u32>,
}

impl Problem {
    pub(super) fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not found", detail)
    }

    pub(super) fn method_not_allowed() -> Problem {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed",
            "this path is not asked in this way; `/api/v1/openapi.json` says how",
        )
    }

    pub(super) fn unauthorized() -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "the token is missing or wrong")
            .mended("send `authorization: Bearer` with a personal token, or with that of FAREBOX_ADMIN_TOKEN")
    }

    /// Whether it was the name or the password is not told.
    pub(super) fn wrong_password() -> Problem {
        Problem::unauthorized_for("name or password are wrong")
    }

    pub(super) fn unauthorized_for(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    pub(super) fn without_csrf_token() -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", "the session's CSRF token is missing or wrong")
            .at("x-csrf-token", "send the `csrf_token` of the answer that opened the session")
    }

    /// Something that is not there, or that this asker may not see: both are told alike.
    pub(super) fn unknown(kind: &str) -> Problem {
        Problem::not_found(format!("there is no such {kind}, or it is not yours to see"))
    }

    pub(super) fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, "conflict", detail)
    }

    pub(super) fn stale() -> Problem {
        Problem::new(StatusCode::PRECONDITION_FAILED, "changed meanwhile", "it is no longer as `if-match` says")
            .mended("read it again, and send its `etag`")
    }

    pub(super) fn too_large(bytes_max: usize) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", "the body is too large or did not arrive whole")
            .mended(format!("send at most {bytes_max} bytes"))
    }

    pub(super) fn not_json() -> Problem {
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not JSON", "the body is not said to be JSON")
            .mended("send `content-type: application/json`")
    }

    pub(super) fn replayed() -> Problem {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "another request", "this key came with another request before")
            .at("idempotency-key", "give each request a key of its own")
    }

    pub(super) fn at(mut self, field: &str, remedy: &str) -> Problem {
        self.field = Some(field.to_owned());
        self.mended(remedy)
    }

    pub(super) fn forbidden(detail: impl Into<String>, remedy: &str) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).mended(remedy)
    }

    pub(super) fn busy(detail: impl Into<String>, retry_after_seconds: u32) -> Problem {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many at a time", detail);
        Problem { retry_after_seconds: Some(retry_after_seconds), ..problem }
    }

    /// It heals by itself.
    pub(super) fn unavailable(detail: impl Into<String>, retry_after_seconds: u32) -> Problem {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not now", detail);
        Problem { retry_after_seconds: Some(retry_after_seconds), ..problem }
    }

    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            title,
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            remedy: None,
            retry_after_seconds: None,
        }
    }

    fn mended(mut self, remedy: impl Into<String>) -> Problem {
        self.remedy = Some(remedy.into());
        self
    }
}

impl From<Misasked> for Problem {
    fn from(fault: Misasked) -> Self {
        let mut problem = Problem::new(StatusCode::BAD_REQUEST, "bad parameter", fault.problem).mended(fault.remedy);
        problem.field = Some(fault.field);
        problem
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if let StoreError::TooManyGroups { .. } = error {
            return Problem::new(StatusCode::BAD_REQUEST, "too many groups", error.to_string());
        }
        tracing::error!(%error, "a question to the ledger failed");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the ledger cannot be read", error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
