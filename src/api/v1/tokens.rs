//! Personal tokens: everybody makes his own; those of programs are made by who stands above them.

use super::super::problem::Problem;
use super::fields::Asked;
use super::{Answer, Seat};
use crate::queries::TokenView;
pub(super) use crate::store::drawn;
use crate::store::{Changes, Token};
use crate::tenants::{KeyText, TenantKind};
use serde_json::Value;

/// The user of the path: oneself, or one that one stands above and may look after.
pub(super) fn whose(seat: &Seat<'_>, asked: &Asked) -> Result<String, Problem> {
    let name = asked.of_path("name");
    let found = seat.register.tenant(TenantKind::User, name)?.filter(|(user, _)| user.deleted_at.is_none());
    let himself = seat.principal.user.as_deref() == Some(name);
    let Some((_, scope)) = found.filter(|(_, scope)| himself || seat.sees(scope)) else {
        return Err(Problem::unknown("user"));
    };
    if himself {
        return Ok(name.to_owned());
    }
    seat.allow(&scope, "user")?;
    seat.stands_above(name)?;
    Ok(name.to_owned())
}

pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let user = whose(seat, asked)?;
    let tokens: Vec<TokenView> =
        seat.register.tokens(&user)?.iter().map(|token| TokenView::new(&user, token)).collect();
    Ok(Answer::page(tokens, usize::MAX, |token| token.id.to_string()))
}

pub(super) fn create(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let label = asked.fields.needed("label")?;
    let not_after = asked.fields.moment("expires_at", seat.now)?;
    let user = whose(seat, asked)?;
    let is_anothers = seat.principal.user.as_deref() != Some(user.as_str());
    let by_token_of_all = seat.principal.user.is_none();
    if is_anothers && !by_token_of_all && !seat.register.is_program(&user)? {
        return Err(Problem::forbidden(
            "a person's token is made by that person",
            "let the user make it, or make a service account",
        ));
    }
    let (text, digest) = drawn(seat.shared.data_dir(), KeyText::token_from_random)?;
    let id = changes.create_token(&user, &label, &digest, text.prefix(), not_after)?;
    let token =
        Token { id, label, prefix: text.prefix().to_owned(), created_at: seat.now, not_after, revoked_at: None };
    Ok(Answer::of(201, &shown(&TokenView::new(&user, &token), "token")).with_secret("token", text.expose().to_owned()))
}

pub(super) fn revoke(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let user = whose(seat, asked)?;
    let id = asked.of_path("token").parse::<i64>().map_err(|_| Problem::unknown("token"))?;
    if !changes.revoke_token(&user, id)? {
        return Err(Problem::unknown("token"));
    }
    Ok(Answer::nothing())
}

/// A view with a place for its text, which only the first answer fills.
pub(super) fn shown(view: &impl serde::Serialize, member: &str) -> Value {
    let mut view = serde_json::to_value(view).unwrap_or_default();
    view[member] = Value::Null;
    view
}
