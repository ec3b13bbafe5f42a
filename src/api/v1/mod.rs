//! `/api/v1/*`: tenants, keys, members and what they used, for people and programs that may see a part of it.
//!
//! One table of [`Endpoint`]s drives the router, the OpenAPI description and the matrix of roles, so that they cannot
//! disagree. An endpoint's act is a plain function; what is around it is here, once for all: who asks, the bounded body,
//! one transaction for each write, its `Idempotency-Key`, `ETag` and `If-Match`, and the refusal of what nobody asked for.
//!
//! *Invariant:* an act asks [`Seat::sees`] or [`Seat::allow`] with the place of what it shows or changes. What somebody
//! may not see is answered as what is not there.

mod alerts;
mod audit;
mod budgets;
mod fields;
mod invitations;
mod keys;
mod members;
mod openapi;
mod rules;
mod schemas;
mod second_factors;
mod sessions;
mod table;
mod tenants;
mod tokens;
mod track;
mod usage;

use super::Shared;
use super::access::Shown;
use super::problem::Problem;
use super::usage::Asked as Parameters;
use crate::clock::Timestamp;
use crate::queries::Misasked;
use crate::store::{Changes, Register, Replay, Store};
use crate::tenants::{Action, Principal, Scope, TenantKind};
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use fields::{Asked, Fields};
use serde_json::Value;
pub(super) use sessions::{COOKIE, csrf_token, session_end, set_cookie};
use std::net::SocketAddr;
use std::sync::Arc;
use table::endpoints;

/// A longer body is refused.
const BODY_BYTES_MAX: usize = 64 << 10;
/// An `Idempotency-Key` has at most so many letters.
const REPLAY_KEY_LETTERS_MAX: usize = 255;
const PAGE_DEFAULT: usize = 50;
const PAGE_MAX: usize = 200;

/// One thing that can be asked.
pub(super) struct Endpoint {
    pub method: &'static str,
    pub path: &'static str,
    /// `operationId`.
    pub name: &'static str,
    pub does: &'static str,
    pub about: About,
    /// What its asker must be allowed to.
    pub action: Action,
    pub parameters: &'static [&'static str],
    /// The body's schema and its members.
    pub body: Option<&'static str>,
    pub status: u16,
    pub answer: &'static str,
    /// A stranger may ask it: who has to log in first cannot have done so.
    pub open: bool,
    pub act: Act,
}

/// What an endpoint is about; several share an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Installation,
    Tenant(TenantKind),
    Program,
    Key,
    Budget,
}

#[derive(Clone, Copy)]
pub(super) enum Act {
    Read(fn(&Seat<'_>, &mut Asked) -> Result<Answer, Problem>),
    Write(fn(&Seat<'_>, &mut Asked, &Changes<'_>) -> Result<Answer, Problem>),
}

/// Where an act sits: who asks what, and the register in front of it.
pub(super) struct Seat<'a> {
    pub shared: &'a Shared,
    pub shown: &'a Shown,
    pub endpoint: &'static Endpoint,
    pub principal: &'a Principal,
    pub register: Register<'a>,
    pub now: Timestamp,
    /// Nobody in particular, from this machine, as long as nobody has a role.
    pub is_loopback: bool,
}

impl Seat<'_> {
    pub fn sees(&self, scope: &Scope) -> bool {
        self.principal.may(Action::See, scope)
    }

    /// Whether the endpoint's action is allowed in this place. `kind`: what is said not to be there to who cannot see it.
    pub fn allow(&self, scope: &Scope, kind: &str) -> Result<(), Problem> {
        self.allow_to(self.endpoint.action, scope, kind)
    }

    pub fn allow_to(&self, action: Action, scope: &Scope, kind: &str) -> Result<(), Problem> {
        if self.principal.may(action, scope) {
            return Ok(());
        }
        if !self.sees(scope) {
            return Err(Problem::unknown(kind));
        }
        Err(Problem::forbidden(
            format!("your role here does not allow to {}", action.name()),
            &format!("ask for the role `{}` on this place", action.needs().name()),
        ))
    }

    /// How many, and behind which name.
    pub fn page(&self, asked: &mut Asked) -> Result<(usize, String), Problem> {
        let limit = asked.parameters.take("limit")?;
        let limit = crate::queries::ask::count("limit", limit.as_deref(), PAGE_DEFAULT, PAGE_MAX)?;
        Ok((limit, asked.parameters.take("cursor")?.unwrap_or_default()))
    }
}

/// What is answered.
pub(super) struct Answer {
    status: u16,
    body: Value,
    /// A member that is sent this once, and kept nowhere.
    secret: Option<(&'static str, String)>,
    etag: Option<String>,
    cookie: Option<String>,
}

impl Answer {
    pub fn of(status: u16, view: &impl serde::Serialize) -> Answer {
        Answer { status, body: serde_json::to_value(view).unwrap_or_default(), secret: None, etag: None, cookie: None }
    }

    /// With an `ETag`.
    pub fn one(status: u16, view: &impl serde::Serialize) -> Answer {
        let answer = Answer::of(status, view);
        Answer { etag: Some(etag(&answer.body)), ..answer }
    }

    pub fn tagged(self, etag: String) -> Answer {
        Answer { etag: Some(etag), ..self }
    }

    pub fn with_status(self, status: u16) -> Answer {
        Answer { status, ..self }
    }

    pub fn nothing() -> Answer {
        Answer { status: 204, body: Value::Null, secret: None, etag: None, cookie: None }
    }

    /// A page: `limit` of what was found, and where it goes on.
    pub fn page<T: serde::Serialize>(mut found: Vec<T>, limit: usize, name: impl Fn(&T) -> String) -> Answer {
        let more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| more).map(name);
        Answer::of(200, &serde_json::json!({ "object": "list", "items": found, "next_cursor": next }))
    }

    pub fn with_secret(mut self, member: &'static str, text: String) -> Answer {
        self.secret = Some((member, text));
        self
    }

    pub fn with_cookie(mut self, cookie: String) -> Answer {
        self.cookie = Some(cookie);
        self
    }

    fn into_response(mut self, replayed: bool) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        if let (Some((member, text)), Value::Object(members)) = (self.secret.take(), &mut self.body) {
            members.insert(member.to_owned(), text.into());
        }
        let headers = [(header::CACHE_CONTROL, "no-store")];
        let mut response = if status == StatusCode::NO_CONTENT {
            (status, headers).into_response()
        } else {
            (status, headers, axum::Json(self.body)).into_response()
        };
        if let Some(etag) = self.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        if let Some(cookie) = self.cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        if replayed {
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
        }
        response
    }
}

/// Of what an editor changes: when a key was used last is not his.
pub(super) fn etag(body: &Value) -> String {
    let mut body = body.clone();
    if let Value::Object(members) = &mut body {
        members.remove("last_used_at");
    }
    format!("\"{}\"", &blake3::hash(body.to_string().as_bytes()).to_hex()[..20])
}

/// The routes of the table.
pub(super) fn router() -> Router<Arc<Shared>> {
    let mut router = Router::new();
    for endpoint in endpoints() {
        let method = Method::from_bytes(endpoint.method.as_bytes()).ok();
        let Some(filter) = method.and_then(|method| MethodFilter::try_from(method).ok()) else { continue };
        let act = move |State(shared): State<Arc<Shared>>,
                        path: Result<Path<Vec<(String, String)>>, PathRejection>,
                        parts: Parts,
                        body: Result<Bytes, BytesRejection>| async move {
            answered(shared, endpoint, path, parts, body).await.unwrap_or_else(IntoResponse::into_response)
        };
        router = router.route(endpoint.path, on(filter, act));
    }
    router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

/// A request, read; not yet known whose.
struct Letter {
    endpoint: &'static Endpoint,
    shown: Shown,
    asked: Asked,
    /// The `Idempotency-Key`, and the hash of what was asked.
    replay: Option<(String, [u8; 32])>,
}

async fn answered(
    shared: Arc<Shared>,
    endpoint: &'static Endpoint,
    path: Result<Path<Vec<(String, String)>>, PathRejection>,
    parts: Parts,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    // Who asks comes first: a stranger learns nothing of how he should have asked.
    let shown = if endpoint.open { Shown::Stranger } else { Shown::read(&shared, &parts)? };
    let letter = opened(endpoint, shown, path, &parts, body)?;
    let unchanged = parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let turn = shared.turn().await?;
    let done = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        match endpoint.act {
            Act::Read(act) => read(&shared, letter, act).map(|answer| (answer, false)),
            Act::Write(act) => write(&shared, letter, act),
        }
    });
    let (answer, replayed) = done.await.map_err(|_| Problem::busy("the question was broken off", 1))??;
    // A budget's tag is that of its definition, and what was spent of it changes.
    let whole = endpoint.about != About::Budget;
    if whole && endpoint.method == "GET" && unchanged.is_some() && unchanged == answer.etag {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(answer.into_response(replayed))
}

fn opened(
    endpoint: &'static Endpoint,
    shown: Shown,
    path: Result<Path<Vec<(String, String)>>, PathRejection>,
    parts: &Parts,
    body: Result<Bytes, BytesRejection>,
) -> Result<Letter, Problem> {
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Path(path) = path.map_err(|_| Problem::not_found("the path is not written in UTF-8"))?;
    let body = body.map_err(|_| Problem::too_large(BODY_BYTES_MAX))?;
    if !body.is_empty() && !header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(Problem::not_json());
    }
    let fields = if body.is_empty() { Fields::default() } else { Fields::read(&body)? };
    let from = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| *address);
    let asked = Asked { path, parameters: Parameters::read(&parts.uri)?, fields, expected: header("if-match"), from };
    let replay = match parts.headers.get("idempotency-key") {
        Some(_) if endpoint.method == "GET" => None,
        None => None,
        Some(key) => {
            let letters = key.to_str().ok().filter(|key| !key.is_empty() && key.len() <= REPLAY_KEY_LETTERS_MAX);
            let key = letters.ok_or_else(|| {
                let remedy = format!("1 to {REPLAY_KEY_LETTERS_MAX} plain letters, another for each request");
                Problem::from(Misasked::new("idempotency-key", "this is no such key", remedy))
            })?;
            let asked = format!("{} {} {:?}\n", endpoint.method, parts.uri, header("if-match"));
            let hash = blake3::Hasher::new().update(asked.as_bytes()).update(&body).finalize();
            Some((key.to_owned(), *hash.as_bytes()))
        }
    };
    Ok(Letter { endpoint, shown, asked, replay })
}

fn read(
    shared: &Shared,
    mut letter: Letter,
    act: fn(&Seat<'_>, &mut Asked) -> Result<Answer, Problem>,
) -> Result<Answer, Problem> {
    shared.state.reader.register(|register| {
        let principal = letter.shown.principal(shared, register)?;
        let register = register.again();
        let seat = Seat {
            shared,
            shown: &letter.shown,
            endpoint: letter.endpoint,
            principal: &principal,
            register,
            now: shared.state.clock.now(),
            is_loopback: matches!(letter.shown, Shown::Loopback),
        };
        known(&letter)?;
        let answer = act(&seat, &mut letter.asked)?;
        finished(&letter)?;
        Ok(answer)
    })
}

/// One transaction: who asks, the change, its lines in the audit log, and the answer that a repetition gets.
fn write(
    shared: &Shared,
    mut letter: Letter,
    act: fn(&Seat<'_>, &mut Asked, &Changes<'_>) -> Result<Answer, Problem>,
) -> Result<(Answer, bool), Problem> {
    let now = shared.state.clock.now();
    let (principal, who) = shared.state.reader.register(|register| {
        let principal = letter.shown.principal(shared, register)?;
        let who = who(register, &principal, &letter.shown)?;
        Ok::<_, Problem>((principal, who))
    })?;
    let actor = format!("{who}, from {}", letter.asked.address());
    let mut store = Store::open(shared.data_dir(), now)?;
    store.change_or(now, &actor, |changes| {
        if let Some((key, asked)) = &letter.replay
            && let Some(before) = changes.register().replay(&who, key)?
        {
            if before.asked != *asked {
                return Err(Problem::replayed());
            }
            let body = serde_json::from_str(&before.answer).unwrap_or_default();
            return Ok((Answer { status: before.status, body, secret: None, etag: None, cookie: None }, true));
        }
        let register = changes.register();
        let seat = Seat {
            shared,
            shown: &letter.shown,
            endpoint: letter.endpoint,
            principal: &principal,
            register,
            now,
            is_loopback: matches!(letter.shown, Shown::Loopback),
        };
        known(&letter)?;
        let answer = act(&seat, &mut letter.asked, changes)?;
        finished(&letter)?;
        if let Some((key, asked)) = &letter.replay {
            let replay = Replay { asked: *asked, status: answer.status, answer: answer.body.to_string() };
            changes.keep_replay(&who, key, &replay)?;
        }
        Ok((answer, false))
    })
}

/// Who asks, for the audit log: people by their numbers, for names can be erased and the log cannot.
fn who(register: &Register<'_>, principal: &Principal, shown: &Shown) -> Result<String, Problem> {
    let number = principal.user.as_ref().map(|user| register.number_of(user)).transpose()?.flatten();
    Ok(match (number, shown) {
        (Some(number), _) => format!("user {number}"),
        (None, Shown::AdminToken) => "admin token".to_owned(),
        (None, Shown::Stranger) => "first owner's token".to_owned(),
        (None, _) => "loopback".to_owned(),
    })
}

/// Refuses a member that the body's schema does not have.
fn known(letter: &Letter) -> Result<(), Problem> {
    let known = letter.endpoint.body.map(openapi::members_of).unwrap_or_default();
    letter.asked.fields.only(&known)
}

/// What nobody took is a fault; a write that had it is undone.
fn finished(letter: &Letter) -> Result<(), Problem> {
    letter.asked.parameters.check_nothing_more(letter.endpoint.parameters)?;
    letter.asked.fields.only(&[])
}

#[cfg(test)]
mod tests;
