//! The journey of one request: arrive, read, offer, bound, decide, reserve, forward, observe, settle.
//!
//! A request that reached a provider is in the ledger whatever happens: the journal has its opening before a byte
//! leaves, and its [`Account`] settles when it is dropped.

use super::attempt::{Attempt, Run};
use super::client::{Head, Session};
use super::downstream::{self, BodyFault, WholeBody};
use super::limits::Passes;
use super::offer::{Target, targets};
use super::refusal;
use super::route::{Way, as_read, way};
use super::serving::Serving;
use super::upstream::Failure;
use super::{Proxy, door, preview, surface, tunnel};
use crate::clock::Timestamp;
use crate::dialects::openai::{FormField, multipart_facts, multipart_model};
use crate::dialects::{BodyShape, Dialect, Endpoint, Refusal, RefusalKind};
use crate::ids::ExchangeId;
use crate::telemetry::otel::Trace;
use crate::tenants::{Attribution, Caller, Credential};
use crate::tokens::facts::RequestFacts;
use bytes::Bytes;
use http::header::HeaderName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// Of a multipart body, this much is read to find its `model` before it streams on.
const MULTIPART_PREFIX_BYTES_MAX: usize = 64 * 1024;
static PROVIDER: HeaderName = HeaderName::from_static("x-farebox-provider");
static PREVIEW: HeaderName = HeaderName::from_static("x-farebox-preview");

/// A recognised request; its body is not read yet.
pub struct Arrived {
    pub id: ExchangeId,
    pub at: Timestamp,
    pub started: Instant,
    pub head: Arc<Head>,
    /// The path at the provider, before its base; and the query.
    pub rest: String,
    pub query: Option<String>,
    pub provider_in_path: Option<Arc<str>>,
    pub provider_header: Option<String>,
    default_provider: Arc<str>,
    pub dialect: Dialect,
    pub endpoint: Endpoint,
    pub caller: Arc<Caller>,
    /// In keys mode, what the caller's key opens.
    pub credential: Option<Arc<Credential>>,
    pub client: Option<IpAddr>,
    pub preview: bool,
    /// A websocket is asked for: what flows in it is not read.
    pub upgrade: bool,
    /// `None`: neither the caller nor Farebox traces.
    pub trace: Option<Trace>,
}

impl Arrived {
    /// A caller's own key goes only to the provider that the path names; for `/v1` that is the default. A virtual key
    /// goes to none.
    pub fn key_is_for(&self, provider: &str) -> bool {
        self.credential.is_none()
            && self.provider_in_path.as_ref().unwrap_or(&self.default_provider).as_ref() == provider
    }

    /// Spans are made of it.
    pub fn is_sampled(&self) -> bool {
        self.trace.as_ref().is_some_and(|trace| trace.sampled)
    }

    /// What was said about this call.
    pub fn attribution(&self, proxy: &Proxy, facts: &RequestFacts, body: &[u8]) -> Attribution {
        door::attribution(proxy, self.credential.as_deref(), &self.head.headers, facts, body)
    }
}

/// A request that was read as far as its metering needs.
pub struct Asked {
    pub facts: Arc<RequestFacts>,
    pub attribution: Arc<Attribution>,
    pub body: AskedBody,
    pub read: Instant,
}

pub enum AskedBody {
    Whole(WholeBody),
    /// The first bytes; the rest streams through.
    Streaming {
        prefix: Bytes,
    },
}

impl Asked {
    pub fn whole(&self) -> Bytes {
        match &self.body {
            AskedBody::Whole(body) => body.bytes.clone(),
            AskedBody::Streaming { .. } => Bytes::new(),
        }
    }
}

/// Runs the journey; the response has been written when it returns, or the client is gone.
pub async fn exchange(proxy: &Arc<Proxy>, session: &mut Session) {
    let arrived = match arrive(proxy, session) {
        Ok(arrived) => arrived,
        Err(way) => {
            Box::pin(surface::answer(proxy, session, way)).await;
            return downstream::linger(session).await;
        }
    };
    let serving = Serving::begin(proxy, &arrived);
    journey(proxy, session, &arrived).await;
    serving.ended(session);
    downstream::linger(session).await;
}

/// What is done with a request that was let in.
async fn journey(proxy: &Arc<Proxy>, session: &mut Session, arrived: &Arrived) {
    if arrived.upgrade {
        return Box::pin(tunnel::run(proxy, session, arrived)).await;
    }
    let asked = match read(proxy, session, arrived).await {
        Ok(asked) => asked,
        Err(Some(refused)) => return Box::pin(refuse(proxy, session, arrived, refused)).await,
        Err(None) => return,
    };
    let catalog = proxy.catalog.load_full();
    let targets = match targets(proxy, &catalog, arrived, asked.facts.requested_model.as_deref()) {
        Ok(targets) => targets,
        Err(refused) => return Box::pin(refuse(proxy, session, arrived, refused)).await,
    };
    if arrived.preview {
        return Box::pin(preview::answer(proxy, session, arrived, &asked, &targets[0])).await;
    }
    forward(proxy, session, arrived, &asked, &targets).await;
}

/// Recognises the endpoint and the caller. `Err`: the path is Farebox's own, or nobody's, or the caller may not.
fn arrive(proxy: &Proxy, session: &Session) -> Result<Arrived, surface::Asked> {
    let head = session.head();
    arrive_at(proxy, session, head, head.target())
}

/// The same for a path that the request only tells of: a preview's.
pub fn arrive_at(proxy: &Proxy, session: &Session, head: &Arc<Head>, path: &str) -> Result<Arrived, surface::Asked> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let (provider_in_path, rest) = match way(path, &proxy.settings.path_prefix, |name| proxy.is_provider(name)) {
        Way::House(rest) => (None, rest),
        Way::Named { provider, rest } => (Some(Arc::from(provider)), rest),
        Way::Own(rest) => return Err(surface::Asked::Own(rest.to_owned())),
        Way::Nowhere => return Err(surface::Asked::Nowhere(path.chars().take(200).collect())),
    };
    let dialect = match &provider_in_path {
        Some(name) => proxy.providers.get(name).map_or(Dialect::OpenAi, |provider| provider.settings.dialect),
        None => Dialect::OpenAi,
    };
    let now = proxy.clock.now();
    let id = ExchangeId(proxy.ledger.next_exchange_id(now).0);
    let (endpoint, client) = (recognise(dialect, head, rest), client_address(proxy, session));
    let identity = door::identify(proxy, &head.headers, query, now)
        .and_then(|identity| identity.may_call(endpoint.operation, client).map(|()| identity))
        .map_err(|refusal| surface::Asked::Refused { dialect, id, refusal })?;
    let forwarded = if identity.credential.is_some() { door::without_key(head) } else { Arc::clone(head) };
    Ok(Arrived {
        id,
        at: now,
        started: Instant::now(),
        endpoint,
        rest: rest.to_owned(),
        query: query.map(str::to_owned),
        provider_header: text(&PROVIDER).map(str::to_owned),
        default_provider: Arc::clone(&proxy.settings.default_provider),
        caller: identity.caller,
        credential: identity.credential,
        client,
        preview: text(&PREVIEW).is_some_and(|value| value.eq_ignore_ascii_case("only")),
        upgrade: session.asks_for_upgrade(),
        trace: proxy.telemetry.otel.begin(&head.headers),
        head: forwarded,
        provider_in_path,
        dialect,
    })
}

/// The path tells the endpoint; a form's endpoint that takes JSON as well (OpenAI: images/edits) is told by the type.
fn recognise(dialect: Dialect, head: &Head, rest: &str) -> Endpoint {
    let endpoint = dialect.recognise(head.method.as_str(), &as_read(rest));
    let kind = head.headers.get(http::header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let json = endpoint.body == BodyShape::Multipart && kind.starts_with(b"application/json");
    if json { Endpoint { body: BodyShape::Json, ..endpoint } } else { endpoint }
}

/// The client's address; behind a trusted proxy, the last address that is not a trusted proxy's. Each proxy adds the one
/// before it at the end, in the same line or in one of its own; what stands before is anybody's word, and so is what
/// stands before a hop that is no address.
fn client_address(proxy: &Proxy, session: &Session) -> Option<IpAddr> {
    let peer = session.peer()?;
    let trusted = |address: IpAddr| is_trusted(proxy, address);
    if !trusted(peer) {
        return Some(peer);
    }
    let lines: Vec<_> = session.head().headers.get_all("x-forwarded-for").iter().collect();
    let hops = lines.into_iter().rev().flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    let addresses = hops.map_while(|hop| address(hop.trim()));
    Some(addresses.into_iter().find(|hop| !trusted(*hop)).unwrap_or(peer))
}

/// Some proxies write the port as well.
fn address(hop: &str) -> Option<IpAddr> {
    hop.parse().ok().or_else(|| Some(hop.parse::<SocketAddr>().ok()?.ip()))
}

/// What it says of the client is believed.
pub fn is_trusted(proxy: &Proxy, peer: IpAddr) -> bool {
    proxy.settings.trusted_proxies.iter().any(|network| network.contains(peer))
}

/// Reads a metered JSON body whole, of a multipart body as much as names its model, of others nothing.
async fn read(proxy: &Proxy, session: &mut Session, arrived: &Arrived) -> Result<Asked, Option<Refusal>> {
    let bounds = proxy.body_bounds();
    let unread = |fault: BodyFault| refusal::unread_body(&fault, bounds.bytes_max);
    let (facts, body) = match arrived.endpoint.body {
        BodyShape::Json => {
            let body = downstream::read_whole(session, &bounds).await.map_err(unread)?;
            let facts = facts(arrived, &body).map_err(Some)?;
            (facts, AskedBody::Whole(body))
        }
        BodyShape::Multipart => {
            downstream::continue_if_expected(session).await.map_err(unread)?;
            let (facts, prefix) = Box::pin(multipart_prefix(session, arrived)).await.map_err(unread)?;
            (facts, AskedBody::Streaming { prefix })
        }
        BodyShape::Opaque => {
            let facts = RequestFacts { choices: 1, ..RequestFacts::default() };
            if session.is_body_empty() {
                (facts, AskedBody::Whole(WholeBody::default()))
            } else {
                downstream::continue_if_expected(session).await.map_err(unread)?;
                (facts, AskedBody::Streaming { prefix: Bytes::new() })
            }
        }
    };
    Ok(understood(proxy, arrived, facts, body))
}

/// The facts of a JSON body. A compressed request passes as it is: its usage will be reported, its facts stay unknown.
fn facts(arrived: &Arrived, body: &WholeBody) -> Result<RequestFacts, Refusal> {
    if arrived.head.headers.contains_key(http::header::CONTENT_ENCODING) || body.bytes.is_empty() {
        return Ok(RequestFacts { choices: 1, ..RequestFacts::default() });
    }
    arrived.dialect.read_request(&arrived.endpoint, &body.bytes).map_err(refusal::malformed)
}

/// A request whose body is here already.
pub fn asked(proxy: &Proxy, arrived: &Arrived, body: WholeBody) -> Result<Asked, Refusal> {
    let facts = facts(arrived, &body)?;
    Ok(understood(proxy, arrived, facts, AskedBody::Whole(body)))
}

fn understood(proxy: &Proxy, arrived: &Arrived, facts: RequestFacts, body: AskedBody) -> Asked {
    let facts = RequestFacts {
        requested_model: facts.requested_model.clone().or_else(|| arrived.endpoint.model_in_path.clone()),
        stream: facts.stream || arrived.endpoint.stream_in_path,
        ..facts
    };
    let bytes = match &body {
        AskedBody::Whole(body) => body.bytes.clone(),
        AskedBody::Streaming { .. } => Bytes::new(),
    };
    let attribution = Arc::new(arrived.attribution(proxy, &facts, &bytes));
    Asked { facts: Arc::new(facts), attribution, body, read: Instant::now() }
}

/// Reads until the form's `model` was seen (or cannot come any more), and what the form says up to there.
async fn multipart_prefix(session: &mut Session, arrived: &Arrived) -> Result<(RequestFacts, Bytes), BodyFault> {
    let content_type = arrived.head.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type.and_then(boundary).unwrap_or_default();
    let mut prefix = bytes::BytesMut::new();
    while let Some(chunk) = session.piece().await? {
        prefix.extend_from_slice(&chunk);
        let missing = multipart_model(&prefix, boundary) == FormField::NeedMore;
        if !missing || prefix.len() >= MULTIPART_PREFIX_BYTES_MAX {
            break;
        }
    }
    Ok((multipart_facts(&prefix, boundary), prefix.freeze()))
}

/// The `boundary` parameter of a content type, unquoted.
fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1);
    let boundary = parameters
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    Some(boundary.1.trim().trim_matches('"'))
}

/// Tries the targets in order until one answers, and passes its answer on.
async fn forward(proxy: &Arc<Proxy>, session: &mut Session, arrived: &Arrived, asked: &Asked, targets: &[Target]) {
    let mut number = 0u16;
    let mut last: Option<(Arc<str>, Failure)> = None;
    let mut passes = Passes::default();
    let mut keys_tried: Vec<Arc<str>> = Vec::new();
    for (place, target) in targets.iter().enumerate() {
        let name = Arc::clone(&target.provider.settings.name);
        let more_targets = place + 1 < targets.len();
        let (mut tried, mut fresh) = (0u16, false);
        loop {
            if !target.provider.health.lock().permit(proxy.clock.now()) {
                let seconds = target.provider.health.lock().seconds_to_probe(proxy.clock.now());
                last.get_or_insert_with(|| (Arc::clone(&name), Failure::CircuitOpen { seconds }));
                break;
            }
            number += 1;
            let can_retry = tried < target.provider.settings.retries.max;
            let keys_tried_so_far = &keys_tried[..];
            let run = Run {
                proxy,
                arrived,
                asked,
                target,
                number,
                can_retry,
                more_targets,
                keys_tried: keys_tried_so_far,
                fresh,
            };
            match run.attempt(session, &mut passes).await {
                Attempt::Done => return,
                Attempt::Refused(refused) => return Box::pin(refuse(proxy, session, arrived, refused)).await,
                Attempt::NextKey(name) => keys_tried.push(name),
                Attempt::Failed { failure: Failure::Stale { .. }, .. } if run.may_repeat() => fresh = true,
                Attempt::Failed { failure, pause } => {
                    let is_down = target.provider.health.lock().is_down(proxy.clock.now());
                    let again = can_retry && run.may_try_again(&failure) && !is_down;
                    let elsewhere = more_targets && run.may_try_elsewhere(&failure);
                    last = Some((Arc::clone(&name), failure));
                    if !again {
                        if elsewhere {
                            break;
                        }
                        return Box::pin(refuse_failed(proxy, session, arrived, last)).await;
                    }
                    tried += 1;
                    Box::pin(tokio::time::sleep(pause.unwrap_or_else(|| run.pause(tried)))).await;
                }
            }
        }
    }
    Box::pin(refuse_failed(proxy, session, arrived, last)).await;
}

impl Asked {
    pub fn is_whole(&self) -> bool {
        matches!(self.body, AskedBody::Whole(_))
    }
}

/// Writes a refusal in the caller's dialect.
pub async fn refuse(proxy: &Proxy, session: &mut Session, arrived: &Arrived, refused: Refusal) {
    proxy.telemetry.metrics.refused(refused.kind);
    let Caller { team, project, key, .. } = &*arrived.caller;
    tracing::info!(
        exchange_id = %arrived.id,
        kind = refused.kind.name(),
        path = arrived.rest,
        team = team.as_deref(),
        project = project.as_deref(),
        key = key.as_deref(),
        client = arrived.client.map(tracing::field::display),
        trace_id = arrived.trace.as_ref().map(|trace| tracing::field::display(trace.id)),
        span_id = arrived.trace.as_ref().map(|trace| tracing::field::display(trace.span)),
        reason = refused.message,
        "refused"
    );
    let body = arrived.dialect.refusal(&refused);
    downstream::refuse(session, body, &arrived.id.to_string()).await;
}

async fn refuse_failed(proxy: &Proxy, session: &mut Session, arrived: &Arrived, last: Option<(Arc<str>, Failure)>) {
    let refused = match &last {
        Some((provider, failure)) => refusal::no_response(provider, failure),
        None => refusal::because(RefusalKind::ProviderUnreachable, "No provider could be tried."),
    };
    refuse(proxy, session, arrived, refused).await;
}

/// A panic: a fault of ours. The attempt that was under way booked itself when it was dropped; whoever asked is told, as
/// far as nothing was written yet, and his connection ends.
pub async fn broke_down(proxy: &Proxy, session: &mut Session) {
    let path = session.head().target().to_owned();
    tracing::error!(path, "an exchange broke down; what it had sent is in the ledger");
    if session.status().is_none() {
        let provider = match way(&path, &proxy.settings.path_prefix, |name| proxy.is_provider(name)) {
            Way::Named { provider, .. } => proxy.providers.get(provider),
            Way::House(_) | Way::Own(_) | Way::Nowhere => None,
        };
        let dialect = provider.map_or(Dialect::OpenAi, |provider| provider.settings.dialect);
        let refused = refusal::because(
            RefusalKind::Internal,
            "Farebox itself failed at this request. What reached a provider is in the ledger; the log has the reason.",
        );
        proxy.telemetry.metrics.refused(refused.kind);
        let body = dialect.refusal(&refused);
        session.close_after();
        downstream::respond_json(session, body.status, &body.headers, body.body).await;
    }
    session.shutdown().await;
}
