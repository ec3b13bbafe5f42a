//! Second factors: a person begins one, proves with a first code that his app has it, and is asked for a code with his
//! password from then on. Whoever stands above him can end it, when the app is lost.

use super::super::problem::Problem;
use super::fields::Asked;
use super::tokens::whose;
use super::{Answer, Seat};
use crate::queries::Misasked;
use crate::store::{Changes, SecondFactor, pepper};
use serde_json::{Value, json};

fn view(user: &str, factor: Option<&SecondFactor>) -> Value {
    let confirmed_at = factor.and_then(|factor| factor.confirmed_at).map(crate::clock::Timestamp::to_rfc3339);
    json!({ "object": "second_factor", "user": user, "confirmed_at": confirmed_at })
}

/// The user of the path, who must be the one that asks.
fn himself(seat: &Seat<'_>, asked: &Asked) -> Result<String, Problem> {
    let user = whose(seat, asked)?;
    if seat.principal.user.as_deref() != Some(user.as_str()) {
        return Err(Problem::forbidden("a person's second factor is that person's", "let the user set it up"));
    }
    Ok(user)
}

pub(super) fn show(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let user = whose(seat, asked)?;
    Ok(Answer::of(200, &view(&user, seat.register.second_factor(&user)?.as_ref())))
}

/// Asks for the password once more: a session that was left open is not enough to shut its person out.
pub(super) fn begin(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let current = asked.fields.text("current_password")?;
    let user = himself(seat, asked)?;
    if seat.register.is_program(&user)? {
        return Err(Problem::conflict("a service account has no password").at("name", "its tokens are all it has"));
    }
    if seat.register.second_factor(&user)?.is_some_and(|factor| factor.confirmed_at.is_some()) {
        return Err(Problem::conflict("there is a second factor already").at("name", "end that one first"));
    }
    let from = asked.address();
    seat.prove(&user, current.as_deref(), &from)?;
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt).map_err(|_| Problem::busy("there are no random numbers just now", 1))?;
    seat.change_as(&user, &from, |changes| Ok(changes.begin_second_factor(&user, &salt)?))?;
    let factor = SecondFactor { salt, created_at: seat.now, confirmed_at: None, used_step: 0 };
    let secret = factor.secret(&pepper(seat.shared.data_dir())?);
    let mut body = view(&user, Some(&factor));
    body["secret"] = secret.base_32().expose().as_str().into();
    body["uri"] = secret.uri(&user).expose().as_str().into();
    Ok(Answer::of(201, &body))
}

pub(super) fn confirm(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let code = asked.fields.needed("code")?;
    let user = himself(seat, asked)?;
    seat.shared.attempts.count_code(&user)?;
    let begun = seat.register.second_factor(&user)?.filter(|factor| factor.confirmed_at.is_none());
    let factor = begun.ok_or_else(|| Problem::conflict("no second factor was begun").at("name", "begin one"))?;
    let step = factor.secret(&pepper(seat.shared.data_dir())?).step_of(&code, seat.now, factor.used_step);
    let step = step.ok_or_else(wrong_code)?;
    changes.confirm_second_factor(&user, step)?;
    Ok(Answer::of(200, &view(&user, seat.register.second_factor(&user)?.as_ref())))
}

/// Oneself with a code; whoever stands above without.
pub(super) fn end(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let code = asked.fields.text("code")?;
    let user = whose(seat, asked)?;
    let factor = seat.register.second_factor(&user)?;
    let is_his = seat.principal.user.as_deref() == Some(user.as_str());
    if let Some(factor) = factor.filter(|factor| is_his && factor.confirmed_at.is_some()) {
        seat.shared.attempts.count_code(&user)?;
        let secret = factor.secret(&pepper(seat.shared.data_dir())?);
        let step = secret.step_of(code.as_deref().unwrap_or_default(), seat.now, factor.used_step);
        step.ok_or_else(wrong_code)?;
    }
    changes.end_second_factor(&user)?;
    Ok(Answer::nothing())
}

fn wrong_code() -> Problem {
    Misasked::new("code", "this is no code of now, or it was used already", "give the next one that the app shows")
        .into()
}
