//! The page that an invitation's link leads to. The invitation stands behind the `#`, which browsers do not send: only the
//! page's own script reads it.

use super::Shared;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use std::sync::Arc;

/// Its own script, its own questions, and nothing else; in no frame of another page.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/join", get(async || shown("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/join.js", get(async || shown("text/javascript; charset=utf-8", include_str!("page.js"))))
}

fn shown(kind: &'static str, text: &'static str) -> ([(header::HeaderName, &'static str); 5], &'static str) {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, text)
}
