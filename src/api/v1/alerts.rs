//! Thresholds that budgets passed, of the budgets that the asker sees; and that a person knows.

use super::super::problem::Problem;
use super::fields::Asked;
use super::{Answer, Seat};
use crate::queries::Misasked;
use crate::queries::budgets::{AlertCursor, AlertId, AlertView, alerts};
use crate::store::{AlertQuery, Changes};
use serde_json::json;
use std::sync::Arc;

/// So many pages of others' alerts are passed over for one answer; then it is an empty page that goes on.
const PAGES_MAX: usize = 20;

pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let (limit, cursor) = seat.page(asked)?;
    let acknowledged = match asked.parameters.take("acknowledged")?.as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => Err(Misasked::new("acknowledged", "this is no yes or no", "write `true` or `false`"))?,
    };
    let query =
        AlertQuery { budget: asked.parameters.take("budget")?.map(Arc::from), acknowledged, before: None, limit };
    let mut cursor: Option<AlertCursor> = (!cursor.is_empty()).then(|| cursor.parse()).transpose()?;
    let reader = &seat.shared.state.reader;
    let mut seen = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = alerts(reader, &query, cursor)?;
        for alert in page.alerts {
            if seat.sees_budget(&alert.budget)? {
                seen.push(with_object(&alert));
            }
        }
        cursor = page.next_cursor.map(|next| next.parse()).transpose()?;
        if !seen.is_empty() || cursor.is_none() {
            break;
        }
    }
    let next = cursor.map(|cursor| cursor.to_string());
    Ok(Answer::of(200, &json!({ "object": "list", "items": seen, "next_cursor": next })))
}

pub(super) fn acknowledge(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let Ok(id) = asked.of_path("alert").parse::<AlertId>() else { return Err(Problem::unknown("alert")) };
    let by = seat.principal.user.as_deref().unwrap_or("admin").to_owned();
    let found = changes.acknowledge_alert(id.account, id.threshold, &by)?;
    let alert = found.ok_or_else(|| Problem::unknown("alert"))?;
    // What was written is undone where it is not allowed.
    seat.allow(&seat.place_of_budget(&alert.budget)?, "alert")?;
    Ok(Answer::of(200, &with_object(&AlertView::new(&alert))))
}

fn with_object(alert: &AlertView) -> serde_json::Value {
    let mut view = serde_json::to_value(alert).unwrap_or_default();
    view["object"] = "alert".into();
    view
}
