//! Who may read the ledger over the admin port. See the module above for the rule.

use super::Shared;
use super::problem::Problem;
use crate::secret::Secret;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let host = request.uri().host().or_else(|| request.headers().get(header::HOST)?.to_str().ok());
    match admit(&shared, host, request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn admit(shared: &Shared, host: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(token) = &shared.state.admin_token {
        return if is_bearer(headers, token) { Ok(()) } else { Err(Problem::unauthorized()) };
    }
    if !shared.state.is_loopback {
        return Err(Problem::forbidden(
            "this port listens beyond the loopback and no admin token is set, so it shows health and metrics only",
            "set FAREBOX_ADMIN_TOKEN and send it as a bearer token, or listen on 127.0.0.1",
        ));
    }
    if host.is_some_and(is_loopback_name) {
        return Ok(());
    }
    let seen: String = host.unwrap_or("none").chars().take(100).collect();
    Err(Problem::forbidden(
        format!("the host `{seen}` is not this machine's loopback name (a guard against DNS rebinding)"),
        "ask http://127.0.0.1 or http://localhost, or set FAREBOX_ADMIN_TOKEN and send it as a bearer token",
    ))
}

/// Compares hashes, and BLAKE3's compare in constant time: how much of a guess was right does not show.
fn is_bearer(headers: &HeaderMap, token: &Secret<String>) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let Some((scheme, guess)) = given.and_then(|value| value.split_at_checked("Bearer ".len())) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && blake3::hash(guess) == blake3::hash(token.expose().as_bytes())
}

/// `localhost`, `127.0.0.1`, `[::1]`, with any port.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_told_from_names_that_begin_like_them() {
        for host in ["localhost", "LOCALHOST:4001", "127.0.0.1:4001", "127.9.9.9", "[::1]:4001", "[::1]"] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:4001", "[::2]", "10.0.0.1"] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }
}
