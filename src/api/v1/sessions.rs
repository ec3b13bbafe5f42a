//! Sessions of people: a password opens one, its cookie keeps it, and writing in it asks for its CSRF token.
//!
//! The cookie is 256 random bits of which the store has a keyed hash: it needs no signature, for it says nothing that
//! could be changed. The CSRF token is a hash of it that no other page can compute or read.

use super::super::access::{Shown, is_same};
use super::super::problem::Problem;
use super::fields::Asked;
use super::tokens::{drawn, whose};
use super::{Answer, Seat};
use crate::clock::Timestamp;
use crate::queries::{Misasked, TenantView};
use crate::store::{Changes, Session, Store, pepper};
use crate::tenants::{KeyText, Role, TenantKind};
use serde_json::{Value, json};

/// The cookie of a session.
pub(in crate::api) const COOKIE: &str = "farebox_session";
const SESSION_SECONDS: i64 = 12 * 3_600;

/// What a page sends along with a write: who cannot read the answer that opened the session does not know it.
pub(in crate::api) fn csrf_token(text: &str) -> String {
    blake3::derive_key("farebox admin session csrf v1", text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn view(user: &str, session: &Session) -> Value {
    json!({
        "object": "session", "id": session.id, "user": user, "opened_from": session.opened_from,
        "created_at": session.created_at.to_rfc3339(), "expires_at": session.not_after.to_rfc3339(),
    })
}

/// What a stranger may ask. Its own transaction: a guess never holds the store's lock while it is hashed.
pub(super) fn open(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let user = asked.fields.needed("user")?;
    let guess = asked.fields.needed("password")?;
    let code = asked.fields.text("code")?;
    let from = asked.address();
    seat.shared.attempts.count(&user, &from)?;
    let hash = seat.register.password_of(&user)?;
    if !seat.shared.state.guesses.is_right(&guess, hash.as_deref()) {
        return Err(Problem::wrong_password());
    }
    let step = seat.second_step(&user, code.as_deref())?;
    let (session, text) = opened(seat, &user, &from, step)?;
    let mut body = view(&user, &session);
    body["csrf_token"] = csrf_token(text.expose()).into();
    Ok(Answer::of(201, &body).with_cookie(set_cookie(&text, seat.shared.state.is_loopback)))
}

/// The session of somebody who has shown who he is, with the step of the code that he gave for it.
fn opened(seat: &Seat<'_>, user: &str, from: &str, step: Option<i64>) -> Result<(Session, KeyText), Problem> {
    let (text, digest) = drawn(seat.shared.data_dir(), KeyText::token_from_random)?;
    let not_after = session_end(seat.now);
    let id = seat.change_as(user, from, |changes| match step {
        Some(step) if !changes.use_code(user, step)? => Err(wrong_code()),
        _ => Ok(changes.open_session(user, &digest, from, not_after)?),
    })?;
    Ok((Session { id, opened_from: from.to_owned(), created_at: seat.now, not_after }, text))
}

/// When a session that begins now is over.
pub(in crate::api) fn session_end(now: Timestamp) -> Timestamp {
    Timestamp(now.as_micros().saturating_add(SESSION_SECONDS * 1_000_000))
}

pub(in crate::api) fn set_cookie(text: &KeyText, is_loopback: bool) -> String {
    let secure = if is_loopback { "" } else { "; Secure" };
    format!("{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={SESSION_SECONDS}{secure}", text.expose())
}

fn wrong_code() -> Problem {
    Problem::unauthorized_for("a code of this user's second factor is missing, wrong, or was used already")
        .at("code", "give the six digits that the authenticator shows now")
}

impl Seat<'_> {
    /// The step of the code of the second factor of a user whose password was right; `None` when he has none.
    fn second_step(&self, user: &str, code: Option<&str>) -> Result<Option<i64>, Problem> {
        let factor = self.register.second_factor(user)?.filter(|factor| factor.confirmed_at.is_some());
        let Some(factor) = factor else { return Ok(None) };
        // A page that does not know of the factor yet sends none; that is no guess.
        let code = code.ok_or_else(wrong_code)?;
        self.shared.attempts.count_code(user)?;
        let secret = factor.secret(&pepper(self.shared.data_dir())?);
        let step = secret.step_of(code, self.now, factor.used_step);
        step.map(Some).ok_or_else(wrong_code)
    }

    /// Asks somebody for the password that he has, if he has one.
    pub(super) fn prove(&self, user: &str, current: Option<&str>, from: &str) -> Result<(), Problem> {
        let Some(hash) = self.register.password_of(user)? else { return Ok(()) };
        self.shared.attempts.count(user, from)?;
        if self.shared.state.guesses.is_right(current.unwrap_or_default(), Some(&hash)) {
            return Ok(());
        }
        Err(Misasked::new("current_password", "this is not the password until now", "give that one").into())
    }

    /// A change of its own by this user, who may not be the one that asks: he may just be about to come in.
    pub(super) fn change_as<T>(
        &self,
        user: &str,
        from: &str,
        work: impl FnOnce(&Changes<'_>) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let number = self.register.number_of(user)?.unwrap_or_default();
        let mut store = Store::open(self.shared.data_dir(), self.now)?;
        store.change_or(self.now, &format!("user {number}, from {from}"), work)
    }
}

/// One's own, or those of the user of the path.
pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let user = match asked.of_path("name") {
        "" => seat.principal.user.as_ref().map(ToString::to_string),
        _ => Some(whose(seat, asked)?),
    };
    let sessions = user.as_deref().map(|user| seat.register.sessions(user, seat.now)).transpose()?;
    let view = |session: &Session| view(user.as_deref().unwrap_or_default(), session);
    Ok(Answer::page(sessions.unwrap_or_default().iter().map(view).collect(), usize::MAX, |_| String::new()))
}

/// Ends one of one's own sessions; `current` is the one that asks. One that is over already is ended all the same.
pub(super) fn end(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let id = match asked.of_path("session") {
        "current" => match seat.shown {
            Shown::Session(text) => {
                let digest = pepper(seat.shared.data_dir())?.digest(text.expose());
                seat.register.holder_of_session(&digest, seat.now)?.map(|(_, id)| id)
            }
            _ => None,
        },
        id => id.parse().ok(),
    };
    if let (Some(user), Some(id)) = (&seat.principal.user, id) {
        changes.end_session(user, id)?;
    }
    Ok(Answer::nothing().with_cookie(format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0")))
}

/// Ends a session of the user of the path, who may be somebody below.
pub(super) fn end_of_user(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let user = whose(seat, asked)?;
    if let Ok(id) = asked.of_path("session").parse() {
        changes.end_session(&user, id)?;
    }
    Ok(Answer::nothing())
}

/// Whoever started Farebox makes himself its owner: once, and only while nobody has a role.
pub(super) fn first_owner(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let token = asked.fields.needed("token")?;
    let user = asked.fields.needed("user")?;
    let new = asked.fields.needed("password")?;
    let organisation = asked.fields.text("organisation")?;
    let from = asked.address();
    seat.shared.attempts.count("first owner", &from)?;
    let expected = seat.shared.state.first_owner.as_ref();
    if !expected.is_some_and(|expected| is_same(token.as_bytes(), expected)) || seat.register.has_members()? {
        return Err(Problem::wrong_password());
    }
    let hash = seat.shared.state.guesses.hashed(&new)?;
    changes.create_tenant(TenantKind::User, &user, organisation.as_deref())?;
    changes.grant(&user, None, Role::Owner)?;
    changes.set_password(&user, &hash)?;
    let made = seat.register.tenant(TenantKind::User, &user)?.map(|(user, _)| TenantView::from(&user));
    Ok(Answer::of(201, &made))
}

/// Sets a password: one's own, for which the one before is asked, or that of somebody whom one stands above.
pub(super) fn set_password(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let new = asked.fields.needed("password")?;
    let current = asked.fields.text("current_password")?;
    let name = asked.of_path("name").to_owned();
    let himself = seat.principal.user.as_deref() == Some(name.as_str());
    let found = seat.register.tenant(TenantKind::User, &name)?.filter(|(user, _)| user.deleted_at.is_none());
    let Some((_, scope)) = found.filter(|(_, scope)| himself || seat.sees(scope)) else {
        return Err(Problem::unknown("user"));
    };
    let from = asked.address();
    if himself {
        seat.prove(&name, current.as_deref(), &from)?;
    } else {
        seat.allow(&scope, "user")?;
        seat.stands_above(&name)?;
    }
    if seat.register.is_program(&name)? {
        return Err(Problem::conflict("a service account has no password").at("name", "make a token for it"));
    }
    let hash = seat.shared.state.guesses.hashed(&new)?;
    let who = super::who(&seat.register, seat.principal, seat.shown)?;
    let mut store = Store::open(seat.shared.data_dir(), seat.now)?;
    store.change(seat.now, &format!("{who}, from {from}"), |changes| changes.set_password(&name, &hash))?;
    Ok(Answer::nothing())
}
