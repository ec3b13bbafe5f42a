//! What Farebox itself answers on the data port: `/farebox/me` and `/farebox/exchanges/{id}` for the holder of a key, the
//! catalog's models where a provider has no list, and a path that leads nowhere.

use super::client::Session;
use super::door::{self, Identity};
use super::exchange::Arrived;
use super::{Proxy, downstream, refusal, standing};
use crate::catalog::Model;
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Operation, Refusal, RefusalKind};
use crate::ids::ExchangeId;
use serde_json::json;
use std::sync::Arc;

/// A request that no provider answers.
pub enum Asked {
    /// Behind `/farebox`.
    Own(String),
    Nowhere(String),
    /// Whoever asks may not.
    Refused {
        dialect: Dialect,
        id: ExchangeId,
        refusal: Refusal,
    },
}

/// Answers it.
pub async fn answer(proxy: &Arc<Proxy>, session: &mut Session, asked: Asked) {
    match asked {
        Asked::Refused { dialect, id, refusal } => refuse(proxy, session, dialect, id, &refusal).await,
        Asked::Nowhere(path) => nowhere(proxy, session, &path).await,
        Asked::Own(rest) => match identify(proxy, session) {
            Ok(identity) => own(proxy, session, &rest, identity).await,
            Err(refusal) => {
                let id = ExchangeId(proxy.ledger.next_exchange_id(proxy.clock.now()).0);
                refuse(proxy, session, Dialect::OpenAi, id, &refusal).await;
            }
        },
    }
}

fn identify(proxy: &Proxy, session: &Session) -> Result<Identity, Refusal> {
    let head = session.head();
    door::identify(proxy, &head.headers, head.query(), proxy.clock.now())
}

/// Tells a caller no before anything of his request was read.
async fn refuse(proxy: &Proxy, session: &mut Session, dialect: Dialect, id: ExchangeId, refused: &Refusal) {
    proxy.telemetry.metrics.refused(refused.kind);
    tracing::info!(exchange_id = %id, kind = ?refused.kind, reason = refused.message, "refused at the door");
    downstream::refuse(session, dialect.refusal(refused), &id.to_string()).await;
}

async fn own(proxy: &Arc<Proxy>, session: &mut Session, rest: &str, identity: Identity) {
    if rest.trim_end_matches('/') == "/preview" && session.head().method == "POST" {
        return super::preview::of_body(proxy, session).await;
    }
    let found = match rest.trim_end_matches('/') {
        "/me" => Some(standing::of(proxy, &identity, &session.head().headers).await),
        path => match path.strip_prefix("/exchanges/").and_then(|id| id.parse::<ExchangeId>().ok()) {
            Some(id) => exchange(proxy, id, identity.caller.key.clone()).await,
            None => None,
        },
    };
    match found {
        Some(body) => {
            downstream::respond_json(session, 200, &[], body.to_string().into_bytes()).await;
        }
        None => nowhere(proxy, session, &format!("/farebox{rest}")).await,
    }
}

/// An exchange of the caller's own; another key's is as unknown as one that never was.
async fn exchange(proxy: &Arc<Proxy>, id: ExchangeId, key: Option<Arc<str>>) -> Option<serde_json::Value> {
    let lookup = Arc::clone(&proxy.lookup);
    let attempts = tokio::task::spawn_blocking(move || lookup(id)).await.ok()?;
    let own = !attempts.is_empty() && attempts.iter().all(|(owner, _)| owner.as_deref() == key.as_deref());
    let attempts: Vec<serde_json::Value> = attempts.into_iter().map(|(_, attempt)| attempt).collect();
    own.then(|| json!({ "object": "farebox.exchange", "id": id.to_string(), "attempts": attempts }))
}

/// A provider that knows no list of models (some self-hosted servers): the catalog's stands in.
pub fn lists_models_itself(arrived: &Arrived, status: u16) -> bool {
    let words = arrived.rest.trim_matches('/');
    let list = matches!(words, "v1/models" | "models" | "v1beta/models");
    list && arrived.endpoint.operation == Operation::Models && matches!(status, 404 | 405 | 501)
}

/// The catalog's models that can be called, in a dialect's shape.
pub fn model_list(dialect: Dialect, models: &[Arc<Model>], now: Timestamp) -> serde_json::Value {
    let listed = models.iter().filter(|model| !model.is_retired(now) && !model.id.contains('*'));
    match dialect {
        Dialect::OpenAi => {
            let data: Vec<_> = listed
                .map(|model| json!({ "id": model.id, "object": "model", "created": 0, "owned_by": model.provider }))
                .collect();
            json!({ "object": "list", "data": data })
        }
        Dialect::Anthropic => {
            let data: Vec<_> = listed
                .map(|model| json!({ "type": "model", "id": model.id, "display_name": model.id, "created_at": "1970-01-01T00:00:00Z" }))
                .collect();
            let (first, last) =
                (data.first().map(|model| model["id"].clone()), data.last().map(|model| model["id"].clone()));
            json!({ "data": data, "has_more": false, "first_id": first, "last_id": last })
        }
        Dialect::Gemini => {
            let models: Vec<_> = listed
                .map(|model| {
                    json!({
                        "name": format!("models/{}", model.id),
                        "displayName": model.id,
                        "inputTokenLimit": model.context_window,
                        "outputTokenLimit": model.max_output_tokens,
                    })
                })
                .collect();
            json!({ "models": models })
        }
    }
}

async fn nowhere(proxy: &Arc<Proxy>, session: &mut Session, path: &str) {
    let prefix = &proxy.settings.path_prefix;
    let refused = refusal::because(
        RefusalKind::NotFound,
        format!(
            "Nothing is at `{path}`. Farebox answers at `{prefix}/v1/…`, `{prefix}/PROVIDER/…` and `{prefix}/farebox/…`."
        ),
    );
    proxy.telemetry.metrics.refused(refused.kind);
    let body = Dialect::OpenAi.refusal(&refused);
    if !session.is_body_done() {
        session.close_after();
    }
    downstream::respond_json(session, body.status, &body.headers, body.body).await;
}
