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
            "this port is read with GET; only an alert is acknowledged with POST",
        )
    }

    pub(super) fn unauthorized() -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "the admin token is missing or wrong")
            .mended("send `authorization: Bearer` with the token of FAREBOX_ADMIN_TOKEN")
    }

    pub(super) fn forbidden(detail: impl Into<String>, remedy: &str) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "forbidden", detail).mended(remedy)
    }

    pub(super) fn busy(detail: impl Into<String>, retry_after_seconds: u32) -> Problem {
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too many at a time", detail);
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
