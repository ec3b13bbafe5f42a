//! The admin port: health, metrics, the read side of the ledger, and under `/api/v1` ([`v1`]) who may do what.
//!
//! Who may ask: health and metrics anyone who reaches the port. `/api` whoever has the admin token, which may do all, or
//! a personal token or a session, which may do what its user may. Without an admin token set, and until somebody has a
//! role, whoever reaches a *loopback* port by a loopback name may look. That name check is what keeps a web page in the same
//! machine's browser out: by DNS rebinding it can reach 127.0.0.1, but only under its own host name.
//!
//! Every question runs on a blocking thread with a read connection of its own; both are bounded, and so are pages,
//! filters and exports. A question that cannot be answered is a 400 that names the field and the remedy.

mod access;
mod budgets;
mod join;
mod node;
mod oidc;
mod password;
mod problem;
mod usage;
mod v1;

pub use node::{Node, Track};

use crate::clock::Clock;
use crate::secret::Secret;
use crate::store::Reader;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
pub use oidc::{GroupRole, OidcSettings};
pub use password::Guesses;
use problem::Problem;
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Questions answered at a time; more wait.
const QUESTIONS_MAX: usize = 4;
/// Exports running at a time; one more is refused with `retry-after`.
const EXPORTS_MAX: usize = 2;

/// What the admin port shows. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub reader: Reader,
    pub clock: Arc<dyn Clock>,
    /// The port listens on loopback addresses only.
    pub is_loopback: bool,
    pub admin_token: Option<Secret<String>>,
    /// Makes the first owner, once; drawn at each start until somebody has a role.
    pub first_owner: Option<Secret<String>>,
    pub guesses: Guesses,
    /// Identity providers that people may log in by.
    pub oidc: Vec<OidcSettings>,
    /// Where the port listens.
    pub address: SocketAddr,
    /// The whole exposition, in Prometheus's text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    pub node: Node,
}

/// Whether new calls are admitted, and what that rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Readiness {
    pub ready: bool,
    /// Why not, for people; empty when ready.
    pub reasons: Vec<String>,
    pub catalog_version: String,
    pub ledger: serde_json::Value,
    /// Which rules are in force, and why newer ones are not.
    pub rules: serde_json::Value,
    pub providers: Vec<ProviderReadiness>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProviderReadiness {
    pub name: String,
    /// `closed` (well), `open` (not asked for now), `half_open` (being tried again).
    pub circuit: String,
    pub consecutive_failures: u64,
    /// What went wrong last.
    pub last_failure: Option<String>,
}

/// What the handlers share.
struct Shared {
    state: ApiState,
    questions: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    attempts: password::Attempts,
    oidc: oidc::Oidc,
}

impl Shared {
    fn data_dir(&self) -> &std::path::Path {
        self.state.reader.path().parent().unwrap_or_else(|| std::path::Path::new("."))
    }
}

/// The admin port's routes.
pub fn router(state: ApiState) -> Router {
    let attempts = password::Attempts::new(&state.guesses);
    let oidc = oidc::Oidc::new(&state.oidc, state.address);
    let shared = Arc::new(Shared {
        state,
        questions: Arc::new(Semaphore::new(QUESTIONS_MAX)),
        exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
        attempts,
        oidc,
    });
    let ledger = Router::new()
        .route("/api/usage/events", get(usage::events))
        .route("/api/usage/stats", get(usage::stats))
        .route("/api/usage/export", get(usage::export))
        .route("/api/usage/exchanges/{id}", get(usage::exchange))
        .route("/api/usage/budgets", get(budgets::budgets))
        .route("/api/usage/alerts", get(budgets::alerts))
        .route(
            "/api/usage/alerts/{id}/ack",
            post(budgets::acknowledge).layer(DefaultBodyLimit::max(budgets::ACKNOWLEDGEMENT_BYTES_MAX)),
        )
        .layer(middleware::from_fn_with_state(shared.clone(), access::guard));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .merge(ledger)
        .merge(v1::router())
        .merge(oidc::router())
        .merge(join::router())
        .fallback(async || Problem::not_found("nothing is here; `/api/v1/openapi.json` lists what is"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(shared)
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let readiness = (shared.state.readiness)();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = (shared.state.metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests;
