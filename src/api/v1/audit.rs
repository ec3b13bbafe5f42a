//! The audit log: of the places that the asker looks after.

use super::super::problem::Problem;
use super::fields::Asked;
use super::{Answer, Seat};
use crate::queries::{AuditView, Misasked};
use crate::tenants::{Action, Scope};
use serde_json::json;

pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let (limit, cursor) = seat.page(asked)?;
    let before = match cursor.as_str() {
        "" => None,
        text => Some(text.parse::<u64>().map_err(|_| {
            Misasked::new("cursor", "this is no cursor", "give `next_cursor` of the page before, or leave it out")
        })?),
    };
    let may = seat.principal.grants.iter().any(|grant| grant.role >= Action::SeeAuditLog.needs());
    if !may {
        return Err(Problem::forbidden(
            "no role of yours allows to see the audit log",
            "ask for the role `admin` on a place",
        ));
    }
    let keep = |scope: &Scope| seat.principal.may(Action::SeeAuditLog, scope);
    let mut lines = seat.register.audit(before, limit + 1, &keep)?;
    for line in &mut lines {
        // A number stands for the user, whose name could not be erased from the log.
        let number = line.actor.strip_prefix("user ").and_then(|rest| rest.split(',').next()?.parse::<i64>().ok());
        if let Some(name) = number.map(|number| seat.register.name_of(number)).transpose()?.flatten() {
            line.actor = format!("{} ({name})", line.actor);
        }
    }
    let views: Vec<AuditView> = lines.iter().map(AuditView::from).collect();
    Ok(Answer::page(views, limit, |view| view.number.to_string()))
}

pub(super) fn verify(seat: &Seat<'_>, _: &mut Asked) -> Result<Answer, Problem> {
    seat.allow(&Scope::installation(), "audit log")?;
    let report = seat.shared.state.reader.verify_audit()?;
    Ok(Answer::of(
        200,
        &json!({
            "ok": report.broken_at.is_none(), "lines": report.lines, "broken_at": report.broken_at,
            "last_hash": blake3::Hash::from(report.last_hash).to_hex().as_str(),
        }),
    ))
}
