//! Invitations: a link by which somebody sets his first password, or a new one when he forgot his. It is for one user,
//! once, and a week; the next one for him takes its place.

use super::super::problem::Problem;
use super::fields::Asked;
use super::tokens::drawn;
use super::{Answer, Seat};
use crate::queries::TenantView;
use crate::store::{Changes, invitation_end, pepper};
use crate::tenants::{KeyText, TenantKind};
use serde_json::json;

/// The user of the path, if one may send him an invitation.
fn invited(seat: &Seat<'_>, asked: &Asked) -> Result<String, Problem> {
    let name = asked.of_path("name");
    let found = seat.register.tenant(TenantKind::User, name)?.filter(|(user, _)| user.deleted_at.is_none());
    let seen = found.filter(|(_, scope)| seat.sees(scope) || seat.principal.user.as_deref() == Some(name));
    let (_, scope) = seen.ok_or_else(|| Problem::unknown("user"))?;
    seat.allow(&scope, "user")?;
    seat.stands_above(name)?;
    if seat.principal.user.as_deref() == Some(name) {
        return Err(Problem::conflict("nobody invites himself").at("name", "set your password, with the one you have"));
    }
    if seat.register.is_program(name)? {
        return Err(Problem::conflict("a service account has no password").at("name", "make a token for it"));
    }
    Ok(name.to_owned())
}

pub(super) fn create(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let asked_for = asked.fields.moment("expires_at", seat.now)?;
    let user = invited(seat, asked)?;
    let not_after = asked_for.unwrap_or_else(|| invitation_end(seat.now));
    let (text, digest) = drawn(seat.shared.data_dir(), KeyText::invitation_from_random)?;
    changes.invite(&user, &digest, not_after)?;
    let view = json!({
        "object": "invitation", "user": user, "created_at": seat.now.to_rfc3339(),
        "expires_at": not_after.to_rfc3339(), "link": null,
    });
    // Behind the `#`: browsers keep it to themselves, so that no log along the way has it.
    Ok(Answer::of(201, &view).with_secret("link", format!("/join#{}", text.expose())))
}

pub(super) fn end(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let user = invited(seat, asked)?;
    changes.end_invitation(&user)?;
    Ok(Answer::nothing())
}

/// For strangers: what they have is the invitation. Its own transaction, which does not wait for the hash.
pub(super) fn accept(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let token = asked.fields.needed("token")?;
    let new = asked.fields.needed("password")?;
    let from = asked.address();
    seat.shared.attempts.count_address(&from)?;
    let digest = pepper(seat.shared.data_dir())?.digest(&token);
    let unknown = || {
        let problem = Problem::unauthorized_for("there is no such invitation, or it was accepted, or it is over");
        problem.at("token", "ask for another one")
    };
    let user = seat.register.invited(&digest, seat.now)?.ok_or_else(unknown)?;
    let hash = seat.shared.state.guesses.hashed(&new)?;
    let was_there = seat.change_as(&user, &from, |changes| Ok(changes.accept_invitation(&user, &digest, &hash)?))?;
    if !was_there {
        return Err(unknown());
    }
    let view = seat.register.tenant(TenantKind::User, &user)?.map(|(user, _)| TenantView::from(&user));
    Ok(Answer::of(200, &view))
}
