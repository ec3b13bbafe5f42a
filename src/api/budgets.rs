//! `/api/usage/budgets` and `/api/usage/alerts`: how budgets stand, which thresholds they passed, and that a person
//! knows.

use super::Shared;
use super::problem::Problem;
use super::usage::{Asked, answer, json};
use crate::queries::budgets::{
    ALERTS_DEFAULT, ALERTS_MAX, AlertCursor, AlertId, AlertView, BUDGETS_DEFAULT, BUDGETS_MAX, alerts as passed,
    budgets as standing, name,
};
use crate::queries::{Misasked, ask};
use crate::store::{AlertQuery, acknowledge_alert};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;

/// `{"by": "ann"}`, and some room.
pub(super) const ACKNOWLEDGEMENT_BYTES_MAX: usize = 4 << 10;

pub(super) async fn budgets(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let mut asked = Asked::read(&uri)?;
    let budget = asked.take("budget")?;
    let limit = ask::count("limit", asked.take("limit")?.as_deref(), BUDGETS_DEFAULT, BUDGETS_MAX)?;
    asked.nothing_more(&["budget", "limit"])?;
    let now = shared.state.clock.now();
    answer(&shared, move |reader| Ok(json(&standing(reader, now, budget.as_deref(), limit)?))).await
}

pub(super) async fn alerts(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<Response, Problem> {
    let mut asked = Asked::read(&uri)?;
    let acknowledged = match asked.take("acknowledged")?.as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => Err(Misasked::new("acknowledged", "this is no yes or no", "write `true` or `false`"))?,
    };
    let query = AlertQuery {
        budget: asked.take("budget")?.map(Arc::from),
        acknowledged,
        before: None,
        limit: ask::count("limit", asked.take("limit")?.as_deref(), ALERTS_DEFAULT, ALERTS_MAX)?,
    };
    let cursor: Option<AlertCursor> = asked.take("cursor")?.map(|text| text.parse()).transpose()?;
    asked.nothing_more(&["budget", "acknowledged", "limit", "cursor"])?;
    answer(&shared, move |reader| Ok(json(&passed(reader, &query, cursor)?))).await
}

/// What a client says when it acknowledges.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledgement {
    by: String,
}

pub(super) async fn acknowledge(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    const REMEDY: &str = "send `{\"by\": \"ann\"}` with `content-type: application/json`";
    // A page of another site can post a form to this port, but not JSON: its browser would ask first, and be refused.
    let is_json =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !is_json {
        return Err(Misasked::new("content-type", "this is not JSON", REMEDY).into());
    }
    let id: AlertId = id.parse()?;
    let read: Acknowledgement =
        serde_json::from_slice(&body).map_err(|error| Misasked::new("body", error.to_string(), REMEDY))?;
    let by = name("by", &read.by)?;
    let now = shared.state.clock.now();
    answer(&shared, move |reader| {
        let data_dir = reader.path().parent().unwrap_or_else(|| std::path::Path::new("."));
        Ok(match acknowledge_alert(data_dir, id.account, id.threshold, now, &by)? {
            Some(alert) => json(&AlertView::new(&alert)),
            None => Problem::not_found(format!("no alert {id}; `/api/usage/alerts` lists them")).into_response(),
        })
    })
    .await
}
