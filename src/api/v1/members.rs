//! Roles: who has which, giving and taking them, and who one is oneself.

use super::super::access::Shown;
use super::super::problem::Problem;
use super::fields::Asked;
use super::{About, Answer, Seat, csrf_token};
use crate::queries::{MemberView, Misasked, ScopeView};
use crate::store::{ChangeError, Changes};
use crate::tenants::{Role, Scope, TenantKind};
use serde_json::json;

pub(super) fn me(seat: &Seat<'_>, _: &mut Asked) -> Result<Answer, Problem> {
    let roles = seat.principal.grants.iter();
    let roles = roles.map(|grant| json!({ "role": grant.role, "scope": ScopeView::from(&grant.scope) }));
    let mut me = json!({ "object": "me", "user": seat.principal.user, "roles": roles.collect::<Vec<_>>() });
    if let Shown::Session(text) = seat.shown {
        me["csrf_token"] = csrf_token(text.expose()).into();
    }
    Ok(Answer::of(200, &me))
}

/// A place as the register and the store want it; `None`: the whole installation.
type Place<'a> = (Scope, Option<(TenantKind, &'a str)>);

/// The place that the path names.
fn place<'a>(seat: &Seat<'_>, asked: &'a Asked) -> Result<Place<'a>, Problem> {
    if seat.endpoint.about == About::Installation {
        return Ok((Scope::installation(), None));
    }
    let name = asked.of_path("name");
    let (tenant, scope) = seat.tenant(name)?;
    if tenant.deleted_at.is_some() {
        return Err(Problem::unknown(seat.endpoint.noun()));
    }
    Ok((scope, Some((tenant.kind, name))))
}

pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let (scope, on) = place(seat, asked)?;
    seat.allow(&scope, "place")?;
    let members: Vec<MemberView> = seat.register.members(on)?.iter().map(MemberView::from).collect();
    Ok(Answer::page(members, usize::MAX, |member| member.user.to_string()))
}

pub(super) fn grant(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let text = asked.fields.needed("role")?;
    let (scope, on) = place(seat, asked)?;
    seat.allow(&scope, "place")?;
    let role = Role::named(&text)
        .ok_or_else(|| Misasked::new("role", "there is no such role", "one of: viewer, manager, admin, owner"))?;
    if seat.principal.role_in(&scope) < Some(role) {
        return Err(Problem::forbidden("this role is above your own", "ask somebody who has it"));
    }
    let user = asked.of_path("user");
    within_reach(seat, user, &scope, on)?;
    changes.grant(user, on, role).map_err(strange)?;
    let members = seat.register.members(on)?;
    let member = members.iter().find(|member| *member.user == *user).map(MemberView::from);
    Ok(Answer::of(200, &member))
}

pub(super) fn take(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let (scope, on) = place(seat, asked)?;
    seat.allow(&scope, "place")?;
    let user = asked.of_path("user");
    within_reach(seat, user, &scope, on)?;
    if !changes.take_role(user, on).map_err(strange)? {
        return Err(Problem::unknown("member"));
    }
    Ok(Answer::nothing())
}

/// A role that is above one's own is neither changed nor taken; and of users of other organisations nothing is told.
fn within_reach(seat: &Seat<'_>, user: &str, scope: &Scope, on: Option<(TenantKind, &str)>) -> Result<(), Problem> {
    let found = seat.register.tenant(TenantKind::User, user)?.filter(|(user, _)| user.deleted_at.is_none());
    let same = found.is_some_and(|(_, his)| scope.organisation.is_none() || his.organisation == scope.organisation);
    if !same {
        return Err(Problem::unknown("user"));
    }
    let members = seat.register.members(on)?;
    let had = members.iter().find(|member| *member.user == *user).map(|member| member.role);
    if had > seat.principal.role_in(scope) {
        return Err(Problem::forbidden("this user has a higher role here than you", "ask somebody who has that role"));
    }
    Ok(())
}

fn strange(error: ChangeError) -> Problem {
    match error {
        ChangeError::Foreign { .. } => Problem::unknown("user"),
        other => other.into(),
    }
}
