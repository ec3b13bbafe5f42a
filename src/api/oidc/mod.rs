//! Login by an identity provider: OpenID Connect's authorization code flow with PKCE.
//!
//! `GET /login/{provider}` sends a browser to the provider, with a state that this browser alone has in a cookie;
//! `GET /login/{provider}/callback` is where it comes back with a code. State, nonce and the PKCE verifier stay here, for
//! ten minutes and one answer ([`pending`]). What the provider then says of the person ([`provider`]) makes or finds the
//! user, and his groups are his roles on the places that the configuration names ([`arrival`]).

mod arrival;
mod outgoing;
mod pending;
mod provider;

use super::Shared;
use super::access::Shown;
use super::problem::Problem;
use super::usage::Asked as Parameters;
use super::v1::set_cookie;
use crate::alerts::Egress;
use crate::secret::Secret;
use crate::tenants::{Role, TenantKind};
use axum::Router;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use pending::{Kept, Pending};
use provider::Provider;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

const PAGE: &str = "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=\"0; url=/\"><title>Farebox</title>\
                    <p>You are logged in. <a href=\"/\">Go on</a>";

/// Keeps the state of a login with the browser that began it.
const COOKIE: &str = "farebox_login";

/// An identity provider, as configured.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    pub name: Arc<str>,
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<Secret<String>>,
    /// Where people reach the admin port; `None`: where it listens.
    pub url: Option<String>,
    pub scopes: Vec<String>,
    /// Whether an e-mail address that the provider has verified is enough to be the user of that name.
    pub trusts_email: bool,
    /// The claim that names the user.
    pub user_claim: String,
    pub groups_claim: String,
    /// Of those who come for the first time; `None`: the only one.
    pub organisation: Option<Arc<str>>,
    pub roles: Vec<GroupRole>,
    /// What leads to the provider; `None`: straight out.
    pub egress: Option<Egress>,
}

/// What being in a group means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRole {
    pub group: String,
    pub role: Role,
    /// `None`: on the whole installation.
    pub place: Option<(TenantKind, Arc<str>)>,
}

/// The providers, and the logins that are under way.
pub(super) struct Oidc {
    providers: HashMap<Arc<str>, Provider>,
    pending: Pending,
}

impl Oidc {
    /// `address`: where the port listens.
    pub(super) fn new(settings: &[OidcSettings], address: SocketAddr) -> Oidc {
        let provider = |one: &OidcSettings| (Arc::clone(&one.name), Provider::new(one.clone(), address));
        Oidc { providers: settings.iter().map(provider).collect(), pending: Pending::default() }
    }

    fn provider(&self, name: &str) -> Result<&Provider, Problem> {
        self.providers.get(name).ok_or_else(|| Problem::not_found("there is no identity provider of this name"))
    }
}

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/login/{provider}", get(begin)).route("/login/{provider}/callback", get(finish))
}

/// Sends the browser to the provider.
async fn begin(State(shared): State<Arc<Shared>>, Path(name): Path<String>, parts: Parts) -> Response {
    begun(shared, name, parts).await.unwrap_or_else(IntoResponse::into_response)
}

async fn begun(shared: Arc<Shared>, name: String, parts: Parts) -> Result<Response, Problem> {
    shared.attempts.count_address(&address(&parts))?;
    let provider = shared.oidc.provider(&name)?;
    let session = Shown::read(&shared, &parts).ok().filter(|shown| matches!(shown, Shown::Session(_)));
    drop(parts);
    let logged_in = match session {
        Some(session) => holder(Arc::clone(&shared), session).await,
        None => None,
    };
    let (url, state, secrets) = provider.begin().await?;
    let kept = Kept { provider: name, secrets, logged_in };
    shared.oidc.pending.keep(&state, kept, shared.state.clock.now())?;
    let secure = if provider.is_https() { "; Secure" } else { "" };
    let seconds = pending::SECONDS;
    // Lax: the way back from the provider is a navigation from another site.
    let cookie = format!("{COOKIE}={state}; Path=/login; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    let headers = [(header::SET_COOKIE, cookie), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((headers, Redirect::to(&url)).into_response())
}

/// The user of this session. Browsers send its cookie along from our own pages only.
async fn holder(shared: Arc<Shared>, shown: Shown) -> Option<String> {
    let looked_up = tokio::task::spawn_blocking(move || {
        let reader = shared.state.reader.clone();
        reader.register(|register| shown.principal(&shared, register))
    });
    let principal = looked_up.await.ok()?.ok()?;
    principal.user.map(|user| user.to_string())
}

/// The browser came back.
async fn finish(State(shared): State<Arc<Shared>>, Path(name): Path<String>, parts: Parts) -> Response {
    finished(shared, name, parts).await.unwrap_or_else(IntoResponse::into_response)
}

async fn finished(shared: Arc<Shared>, name: String, parts: Parts) -> Result<Response, Problem> {
    let from = address(&parts);
    let provider = shared.oidc.provider(&name)?;
    let is_https = provider.is_https();
    let mut asked = Parameters::read(&parts.uri)?;
    let (state, code) = (asked.take("state")?, asked.take("code")?);
    let state = state.filter(|state| cookie(&parts.headers).as_deref() == Some(state));
    let kept = state.and_then(|state| shared.oidc.pending.take(&state, &name, shared.state.clock.now()));
    let Kept { secrets, logged_in, .. } = kept.ok_or_else(|| not_begun(provider))?;
    let Some(code) = code else {
        let said: String = asked.take("error")?.unwrap_or_default().chars().filter(char::is_ascii_graphic).collect();
        return Err(Problem::unauthorized_for(format!("the identity provider let nobody in: {said:.60}")));
    };
    drop(parts);
    let person = provider.finish(code, secrets).await?;
    let arrived = tokio::task::spawn_blocking(move || {
        let settings = &shared.oidc.provider(&name)?.settings;
        arrival::session_of(&shared, settings, &person, logged_in.as_deref(), &from)
    });
    let session = arrived.await.map_err(|_| Problem::busy("the login was broken off", 1))??;
    let over = format!("{COOKIE}=; Path=/login; HttpOnly; SameSite=Lax; Max-Age=0");
    // A page of our own: after a redirect, browsers would not send a strict cookie along.
    let mut response = Html(PAGE).into_response();
    for cookie in [set_cookie(&session, !is_https), over] {
        let value = HeaderValue::try_from(cookie).map_err(|_| Problem::busy("the login was broken off", 1))?;
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

fn not_begun(provider: &Provider) -> Problem {
    let remedy = format!("begin it again, at {}", provider.address());
    Problem::unauthorized_for("this login was not begun by this browser, was finished already, or took too long")
        .at("state", &remedy)
}

fn address(parts: &Parts) -> String {
    let from = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    from.map_or("unknown".to_owned(), |ConnectInfo(address)| address.ip().to_canonical().to_string())
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, text)| text.to_owned())
}
