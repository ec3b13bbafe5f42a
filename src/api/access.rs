//! Who asks over the admin port. See the module above for the rule.

use super::Shared;
use super::problem::Problem;
use super::v1::{COOKIE, csrf_token};
use crate::secret::Secret;
use crate::store::{Register, pepper};
use crate::tenants::{Action, Principal, Role, Scope, looks_like_a_token};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// What a request shows of its sender.
pub(super) enum Shown {
    /// The admin token.
    AdminToken,
    /// A personal token, not yet looked up.
    Token(Secret<String>),
    /// The cookie of a session, not yet looked up; for a write it came with its CSRF token.
    Session(Secret<String>),
    /// Nothing, but it came to a loopback port by a loopback name, and no admin token is set.
    Loopback,
    /// Whatever it shows is not looked at: what is asked is for strangers too.
    Stranger,
}

impl Shown {
    pub(super) fn read(shared: &Shared, parts: &Parts) -> Result<Shown, Problem> {
        let (headers, host) = (&parts.headers, host(parts));
        let admin_token = shared.state.admin_token.as_ref();
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            let guess = bearer(given.as_bytes()).ok_or_else(Problem::unauthorized)?;
            if admin_token.is_some_and(|token| is_same(guess, token)) {
                return Ok(Shown::AdminToken);
            }
            let token = std::str::from_utf8(guess).ok().filter(|text| looks_like_a_token(text));
            return token.map(|text| Shown::Token(Secret::new(text.to_owned()))).ok_or_else(Problem::unauthorized);
        }
        if let Some(text) = cookie(headers) {
            let expected = csrf_token(&text);
            let token = headers.get("x-csrf-token").map(|value| value.as_bytes());
            let is_read = matches!(parts.method, Method::GET | Method::HEAD);
            if !is_read && !token.is_some_and(|token| blake3::hash(token) == blake3::hash(expected.as_bytes())) {
                return Err(Problem::without_csrf_token());
            }
            return Ok(Shown::Session(Secret::new(text)));
        }
        if admin_token.is_some() {
            return Err(Problem::unauthorized());
        }
        if !shared.state.is_loopback {
            return Err(Problem::forbidden(
                "this port listens beyond the loopback and no admin token is set, so it shows health and metrics only",
                "set FAREBOX_ADMIN_TOKEN and send it as a bearer token, send a personal token, or listen on 127.0.0.1",
            ));
        }
        if host.is_some_and(is_loopback_name) {
            return Ok(Shown::Loopback);
        }
        let seen: String = host.unwrap_or("none").chars().take(100).collect();
        Err(Problem::forbidden(
            format!("the host `{seen}` is not this machine's loopback name (a guard against DNS rebinding)"),
            "ask http://127.0.0.1 or http://localhost, or set FAREBOX_ADMIN_TOKEN and send it as a bearer token",
        ))
    }

    /// Whose it is. Reads the store: not on a request thread.
    pub(super) fn principal(&self, shared: &Shared, register: &Register<'_>) -> Result<Principal, Problem> {
        match self {
            Shown::AdminToken => Ok(Principal::everywhere(Role::Owner)),
            Shown::Stranger => Ok(Principal { user: None, grants: Vec::new() }),
            Shown::Session(text) => {
                let digest = pepper(shared.data_dir())?.digest(text.expose());
                let found = register.holder_of_session(&digest, shared.state.clock.now())?;
                found.map(|(principal, _)| principal).ok_or_else(Problem::unauthorized)
            }
            Shown::Token(text) => {
                let digest = pepper(shared.data_dir())?.digest(text.expose());
                let found = register.holder_of_token(&digest, shared.state.clock.now())?;
                found.ok_or_else(Problem::unauthorized)
            }
            // Every account of this machine reaches the loopback: it may look, until somebody has a role here.
            Shown::Loopback if register.has_members()? => Err(Problem::unauthorized()),
            Shown::Loopback => Ok(Principal::everywhere(Role::Viewer)),
        }
    }
}

/// The session's text among the cookies.
fn cookie(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, text)| *name == COOKIE && looks_like_a_token(text)).map(|(_, text)| text.to_owned())
}

/// The name under which a request came.
fn host(parts: &Parts) -> Option<&str> {
    parts.uri.host().or_else(|| parts.headers.get(header::HOST)?.to_str().ok())
}

/// Before the paths under `/api/usage`, which show everything: for whoever may see the whole installation.
pub(super) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let admitted = match Shown::read(&shared, &parts) {
        Ok(Shown::AdminToken) => Ok(()),
        Ok(shown) => {
            let action = if parts.method == Method::GET { Action::See } else { Action::Acknowledge };
            may_everywhere(Arc::clone(&shared), shown, action).await
        }
        Err(problem) => Err(problem),
    };
    match admitted {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(problem) => problem.into_response(),
    }
}

async fn may_everywhere(shared: Arc<Shared>, shown: Shown, action: Action) -> Result<(), Problem> {
    let asked = tokio::task::spawn_blocking(move || {
        let reader = shared.state.reader.clone();
        let principal = reader.register(|register| shown.principal(&shared, register))?;
        // As long as the loopback may look, it may also say that a person knows of an alert.
        if matches!(shown, Shown::Loopback) || principal.may(action, &Scope::installation()) {
            return Ok(());
        }
        Err(Problem::forbidden(
            "these paths are about the usage of all organisations",
            "ask those under `/api/v1`, which are about what is yours",
        ))
    });
    asked.await.unwrap_or_else(|_| Err(Problem::busy("the question was broken off", 1)))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Compares hashes, and BLAKE3's compare in constant time: how much of a guess was right does not show.
pub(super) fn is_same(guess: &[u8], token: &Secret<String>) -> bool {
    blake3::hash(guess) == blake3::hash(token.expose().as_bytes())
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
