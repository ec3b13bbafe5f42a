//! Glue to pingora's upstream side: a request's head for a provider, and a connection that speaks it.

use super::client::Head;
use super::egress::NO_TUNNEL;
use super::incoming::{Fault, Incoming};
use super::provider::{NoAddress, Provider};
use super::purse::Carried;
use super::{reason, route};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Flavor};
use crate::secret::Secret;
use crate::telemetry::otel::TRACEPARENT;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use http::HeaderName;
use http::header::{self, HeaderValue};
use http::response::Parts as ResponseHead;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1;
use pingora_core::upstreams::peer::{HttpPeer, Peer as _};
use pingora_error::{Error, ErrorType};
use pingora_http::RequestHeader;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Headers of one hop only (RFC 9110 §7.6.1), and those that a proxy consumes.
pub static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Of a body, this much leaves in one write with its head.
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// Where a caller's key may stand.
pub static KEY_HEADERS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// How the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Nothing,
    Length(u64),
    Chunked,
}

/// An open connection to a provider on which nothing was sent yet.
pub struct Line {
    stream: Stream,
    peer: Arc<HttpPeer>,
    provider: Arc<Provider>,
    /// It carried a request before: its other end may be closing it at this moment.
    reused: bool,
}

/// A connection to a provider with one request under way.
pub struct Connection {
    side: Side,
    peer: Arc<HttpPeer>,
    provider: Arc<Provider>,
    reused: bool,
}

/// Who reads the response.
enum Side {
    /// The common call: its request has left whole.
    Ours(Incoming),
    /// pingora, where a body is sent in pieces, the connection may become a tunnel, or there is no body (HEAD). Boxed,
    /// since connections are handed on often and it is large.
    Pingora(Box<HttpSession>),
}

/// Why the rest of a response does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing came for as long as a provider may be silent.
    Idle,
    /// The connection ended, or what came is no HTTP.
    Broken,
}

/// Why an attempt brought no response.
#[derive(Debug)]
pub enum Failure {
    /// No byte of the request was accepted.
    NotConnected(String),
    /// The TLS handshake failed for a reason that the next try would meet again; no byte of the request was sent.
    Untrusted(String),
    /// The provider failed too often; it is left alone for so long.
    CircuitOpen { seconds: u64 },
    /// The request may have been read, no response head came.
    NoResponse(String),
    /// A kept connection ended before a byte of the answer: most likely it was being closed while we wrote. `whole`: the
    /// request had left to its last byte.
    Stale { whole: bool },
    /// Which of the provider's timeouts passed.
    Timeout(&'static str),
    /// A status that the provider's settings say to try again.
    Rejected(u16),
}

impl Failure {
    /// What the log and the ledger say of it.
    pub fn in_words(&self) -> String {
        match self {
            Failure::NotConnected(why) | Failure::Untrusted(why) | Failure::NoResponse(why) => why.clone(),
            Failure::CircuitOpen { seconds } => format!("its circuit is open for {seconds} s"),
            Failure::Stale { .. } => "it closed a kept connection under the request".to_owned(),
            Failure::Timeout(which) => format!("it did not answer within the `{which}` timeout"),
            Failure::Rejected(status) => format!("it answered {status}"),
        }
    }
}

impl From<NoAddress> for Failure {
    fn from(error: NoAddress) -> Self {
        Failure::NotConnected(error.to_string())
    }
}

impl Line {
    /// An idle connection, or a new one (where `fresh`, always a new one); every address is tried in turn.
    pub async fn open(provider: &Arc<Provider>, now: Timestamp, fresh: bool) -> Result<Line, Failure> {
        let mut last = Failure::NotConnected(String::new());
        for peer in provider.peers(now).await? {
            let address = peer.address().as_inet().filter(|_| !fresh);
            let idle = address.and_then(|address| provider.idle.take(*address));
            let reused = idle.is_some();
            let stream = match idle {
                Some(stream) => Ok(stream),
                // Boxed: connecting is rare, and its future is larger than all else of an exchange together.
                None => Box::pin(provider.connector.new_stream(&*peer)).await,
            };
            match stream {
                Ok(stream) => return Ok(Line { stream, peer, provider: Arc::clone(provider), reused }),
                Err(error) => last = unconnected(&error, &provider.settings.name),
            }
        }
        Err(last)
    }

    /// Sends the head and a body that is already here; small ones in one write.
    ///
    /// A provider may answer before it has read everything (413): that the rest of a long body could not be written is
    /// only a failure when no response comes either, so it is not reported here.
    pub async fn send(mut self, plan: &HeadPlan<'_>, body: Bytes, timeout: Duration) -> Result<Connection, Failure> {
        if plan.original.method == http::Method::HEAD {
            // pingora must have seen this head, to expect no body behind the answer's.
            let mut connection = Box::pin(self.begin(head(plan).ok_or_else(unwritable)?, timeout)).await?;
            let _ = connection.write(body).await;
            connection.finish().await;
            return Ok(connection);
        }
        let joined = body.len().min(JOINED_BYTES_MAX);
        let mut wire = wire(plan, joined).ok_or_else(unwritable)?;
        wire.extend_from_slice(&body[..joined]);
        let first = self.write(&wire, timeout).await;
        first.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::NoResponse(error.to_string()),
            _ if self.reused => Failure::Stale { whole: false },
            _ => Failure::NoResponse(error.to_string()),
        })?;
        let sent_whole = joined == body.len() || self.write(&body[joined..], timeout).await.is_ok();
        let side = Side::Ours(Incoming::on(self.stream, sent_whole));
        Ok(Connection { side, peer: self.peer, provider: self.provider, reused: self.reused })
    }

    /// Sends the head of a body that comes in pieces, or of an upgrade.
    pub async fn begin(self, head: RequestHeader, timeout: Duration) -> Result<Connection, Failure> {
        let mut session =
            Box::new(HttpSession::H1(v1::client::HttpSession::new_with_options(self.stream, &*self.peer)));
        session.set_write_timeout(Some(timeout));
        let sent = session.write_request_header(Box::new(head)).await;
        sent.map_err(|error| match error.etype() {
            ErrorType::WriteTimedout => Failure::NoResponse(outward(&error)),
            _ if self.reused => Failure::Stale { whole: false },
            _ => Failure::NoResponse(outward(&error)),
        })?;
        let side = Side::Pingora(session);
        Ok(Connection { side, peer: self.peer, provider: self.provider, reused: self.reused })
    }

    async fn write(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<()> {
        let write = pin!(async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        pingora_timeout::fast_timeout::fast_timeout(timeout, write).await.map_err(|_| io::ErrorKind::TimedOut)?
    }
}

impl Connection {
    /// The final response head; informational ones (100, 103) are passed over, 101 is final.
    pub async fn response_head(&mut self, timeout: Duration) -> Result<ResponseHead, Failure> {
        let session = match &mut self.side {
            Side::Ours(incoming) => {
                return incoming.head(timeout).await.map_err(|fault| match fault {
                    Fault::TimedOut => Failure::Timeout("first_byte"),
                    Fault::Closed | Fault::Io(_) if self.reused && incoming.is_silent() => {
                        Failure::Stale { whole: incoming.was_asked_whole() }
                    }
                    other => Failure::NoResponse(other.outward()),
                });
            }
            Side::Pingora(session) => session,
        };
        session.set_read_timeout(Some(timeout));
        loop {
            Box::pin(session.read_response_header()).await.map_err(|error| match error.etype() {
                ErrorType::ReadTimedout => Failure::Timeout("first_byte"),
                ErrorType::ConnectionClosed | ErrorType::ReadError if self.reused => Failure::Stale { whole: true },
                _ => Failure::NoResponse(outward(&error)),
            })?;
            let Some(head) = session.response_header() else {
                return Err(Failure::NoResponse("the response has no head".to_owned()));
            };
            if !head.status.is_informational() || head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                let mut parts = head.as_owned_parts();
                reason::keep(&mut parts, head.get_reason_phrase().unwrap_or_default());
                return Ok(parts);
            }
        }
    }

    /// Longest silence between two pieces of the response; `None`: none is too long.
    pub fn set_idle_timeout(&mut self, idle: Option<Duration>) {
        match &mut self.side {
            Side::Ours(incoming) => incoming.set_idle_timeout(idle),
            Side::Pingora(session) => session.set_read_timeout(idle),
        }
    }

    /// The next piece of the response's body; `None` at its end. May be dropped and asked again.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Cut> {
        match &mut self.side {
            Side::Ours(incoming) => incoming.piece().await.map_err(Cut::from),
            Side::Pingora(session) => {
                Box::pin(session.read_response_body()).await.map_err(|error| match error.etype() {
                    ErrorType::ReadTimedout => Cut::Idle,
                    _ => Cut::Broken,
                })
            }
        }
    }

    /// The same without waiting: `None` where nothing has arrived.
    pub fn piece_that_is_here(&mut self) -> Option<Result<Option<Bytes>, Cut>> {
        match &mut self.side {
            Side::Ours(incoming) => Some(incoming.piece_that_is_here()?.map_err(Cut::from)),
            Side::Pingora(_) => self.piece().now_or_never(),
        }
    }

    /// Sends a piece of a body that comes in pieces, or into a tunnel. False: the provider reads no more.
    pub async fn write(&mut self, bytes: Bytes) -> bool {
        match &mut self.side {
            Side::Ours(_) => false,
            Side::Pingora(session) => Box::pin(session.write_request_body(bytes, false)).await.is_ok(),
        }
    }

    /// The body that came in pieces is at its end.
    pub async fn finish(&mut self) {
        if let Side::Pingora(session) = &mut self.side {
            let _ = Box::pin(session.finish_request_body()).await;
        }
    }

    /// Back among the idle ones, when the response was read to its end; closed otherwise.
    pub async fn release(self, whole: bool) {
        let kept = match self.side {
            Side::Ours(incoming) => incoming.into_kept().await,
            Side::Pingora(session) => match *session {
                HttpSession::H1(mut session) if whole => {
                    session.respect_keepalive();
                    Box::pin(session.reuse()).await
                }
                mut broken => {
                    Box::pin(broken.shutdown()).await;
                    None
                }
            },
        };
        if let (Some(stream), Some(address)) = (kept, self.peer.address().as_inet()) {
            self.provider.idle.put(*address, stream);
        }
    }
}

impl From<Fault> for Cut {
    fn from(fault: Fault) -> Cut {
        match fault {
            Fault::TimedOut => Cut::Idle,
            Fault::Closed | Fault::Malformed | Fault::Io(_) => Cut::Broken,
        }
    }
}

/// What the head of an attempt is made from.
pub struct HeadPlan<'a> {
    pub original: &'a Head,
    pub provider: &'a Provider,
    /// The path on the provider's side (before its base), with its slash, without the query.
    pub rest: &'a str,
    pub query: Option<&'a str>,
    pub framing: Framing,
    /// The meter must read this response's text in flight: no content encoding.
    pub identity: bool,
    /// The target is the one that the caller's key was meant for.
    pub caller_key_may_pass: bool,
    /// Our span, in place of the caller's; `None`: his passes as it came.
    pub traceparent: Option<HeaderValue>,
    pub carried: &'a Carried,
}

/// The head as it goes over the wire: what most requests need of it. `None`: it cannot be written.
fn wire(plan: &HeadPlan<'_>, room: usize) -> Option<BytesMut> {
    let target = target(plan);
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return None;
    }
    let mut wire = BytesMut::with_capacity(1_024 + room);
    wire.put_slice(plan.original.method.as_str().as_bytes());
    wire.put_u8(b' ');
    wire.put_slice(target.as_bytes());
    wire.put_slice(b" HTTP/1.1\r\n");
    headers(plan, &mut |name, value| {
        wire.put_slice(name);
        wire.put_slice(b": ");
        wire.put_slice(value);
        wire.put_slice(b"\r\n");
        Some(())
    })?;
    wire.put_slice(b"\r\n");
    Some(wire)
}

/// The head for pingora, which must know it where it frames the body, or has none.
pub fn head(plan: &HeadPlan<'_>) -> Option<RequestHeader> {
    let mut head = RequestHeader::build(plan.original.method.clone(), target(plan).as_bytes(), None).ok()?;
    head.set_version(http::Version::HTTP_11);
    headers(plan, &mut |name, value| {
        let value = HeaderValue::from_bytes(value).ok()?;
        head.append_header(String::from_utf8_lossy(name).into_owned(), value).ok().map(drop)
    })?;
    Some(head)
}

/// The path at the provider and the query.
fn target(plan: &HeadPlan<'_>) -> String {
    let mut target = route::join(&plan.provider.settings.base_url.path, plan.rest);
    let query = plan.query.map(|query| without_key(query, own_key(plan)));
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        target.push('?');
        target.push_str(&query);
    }
    target
}

/// The headers for a provider, one after the other: end-to-end ones as they came, the key replaced, ours removed.
/// `None` when one cannot be written.
fn headers(plan: &HeadPlan<'_>, put: &mut impl FnMut(&[u8], &[u8]) -> Option<()>) -> Option<()> {
    let settings = &plan.provider.settings;
    let original = &plan.original.headers;
    put(b"host", plan.provider.host.as_bytes())?;
    let nominated = nominated(original.get_all(header::CONNECTION).iter());
    let own_key = own_key(plan);
    let replaced = |name: &HeaderName| {
        HOP_BY_HOP.contains(name)
            || *name == header::HOST
            || *name == header::EXPECT
            || *name == header::CONTENT_LENGTH
            || name.as_str().starts_with("x-farebox-")
            || own_key && KEY_HEADERS.contains(name)
            || plan.identity && *name == header::ACCEPT_ENCODING
            || plan.traceparent.is_some() && *name == TRACEPARENT
            || settings.headers.iter().any(|(set, _)| set.eq_ignore_ascii_case(name.as_str()))
            || nominated.contains(name)
    };
    // The spelling of names passes as well.
    for (written, name, value) in plan.original.lines() {
        if !replaced(name) {
            put(written, value.as_bytes())?;
        }
    }
    if let Carried::Own(key) = plan.carried {
        let (name, value) = key.header.as_ref()?;
        put(name.as_bytes(), value.as_bytes())?;
    }
    for (name, value) in &settings.headers {
        put(name.as_bytes(), HeaderValue::from_str(value.expose()).ok()?.as_bytes())?;
    }
    if plan.identity {
        put(b"accept-encoding", b"identity")?;
    }
    if let Some(traceparent) = &plan.traceparent {
        put(b"traceparent", traceparent.as_bytes())?;
    }
    match plan.framing {
        Framing::Nothing => Some(()),
        Framing::Length(bytes) => put(b"content-length", bytes.to_string().as_bytes()),
        Framing::Chunked => put(b"transfer-encoding", b"chunked"),
    }
}

fn own_key(plan: &HeadPlan<'_>) -> bool {
    !matches!(plan.carried, Carried::Callers) || !plan.caller_key_may_pass
}

/// How a dialect carries a key.
pub fn key_header(dialect: Dialect, flavor: Flavor, key: &Secret<String>) -> (&'static str, String) {
    match (dialect, flavor) {
        (Dialect::OpenAi, Flavor::Azure) => ("api-key", key.expose().clone()),
        (Dialect::OpenAi, _) => ("authorization", format!("Bearer {}", key.expose())),
        (Dialect::Anthropic, _) => ("x-api-key", key.expose().clone()),
        (Dialect::Gemini, _) => ("x-goog-api-key", key.expose().clone()),
    }
}

/// Gemini's clients may write their key into the query.
fn without_key(query: &str, cut: bool) -> String {
    if !cut {
        return query.to_owned();
    }
    let kept: Vec<&str> = query.split('&').filter(|pair| *pair != "key" && !pair.starts_with("key=")).collect();
    kept.join("&")
}

/// The request has a path or a header that cannot be passed on.
pub fn unwritable() -> Failure {
    Failure::NotConnected(
        "the request cannot be written: its path or a header has bytes that may not stand there".to_owned(),
    )
}

/// Header names that `connection` nominates; never those that routing and framing rest on.
pub fn nominated<'a>(connection: impl Iterator<Item = &'a HeaderValue>) -> Vec<HeaderName> {
    connection
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|token| token.trim().parse::<HeaderName>().ok())
        .filter(|name| ![header::HOST, header::CONTENT_LENGTH, header::AUTHORIZATION].contains(name))
        .collect()
}

/// Why there is no connection. What rustls says of a handshake is in the error's context only.
fn unconnected(error: &Error, provider: &str) -> Failure {
    let said = error.context.as_ref().map_or("", |context| context.as_str());
    let shaking_hands = matches!(error.etype(), ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert);
    let certificate = said.split_once("invalid peer certificate: ").map(|(_, why)| why);
    if let Some(why) = certificate.filter(|_| shaking_hands) {
        let why: String = why.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect();
        let remedy = match why.as_str() {
            // A bad signature: an authority of the same name is known, with another key.
            "UnknownIssuer" | "BadSignature" => format!(
                "if an authority of your own signed it, name that authority's PEM file in `tls.ca_file` of `{provider}`, or in SSL_CERT_FILE for all"
            ),
            "NotValidForName" => "it is for another name than the host of `base_url`".to_owned(),
            "Expired" | "ExpiredContext" => "it has expired; is the clock right here?".to_owned(),
            _ => "whoever runs the provider must mend it".to_owned(),
        };
        return Failure::Untrusted(format!("its certificate is not trusted here ({why}): {remedy}"));
    }
    let told = ["received fatal alert: ", "peer is incompatible: "];
    let refused = told.iter().find_map(|words| Some((words, said.split_once(words)?.1)));
    if let Some((words, why)) = refused.filter(|_| shaking_hands) {
        let why: String = why.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect();
        let remedy = "does it want a certificate of ours (`tls.client`), or speak no TLS 1.2 or 1.3?";
        return Failure::Untrusted(format!("the TLS handshake failed ({words}{why}): {remedy}"));
    }
    Failure::NotConnected(outward(error))
}

/// What may be said outward of an error below us: its kind, without addresses or paths of files.
fn outward(error: &Error) -> String {
    match error.etype() {
        no_tunnel if *no_tunnel == NO_TUNNEL => error.context.as_ref().map_or_else(String::new, |why| why.to_string()),
        ErrorType::ConnectRefused => "connection refused".to_owned(),
        ErrorType::ConnectTimedout => "connecting took too long".to_owned(),
        ErrorType::ConnectNoRoute => "no route to it".to_owned(),
        ErrorType::TLSHandshakeTimedout => "the TLS handshake took too long".to_owned(),
        ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => {
            "the TLS handshake was broken off (does it speak TLS on this port?)".to_owned()
        }
        ErrorType::ConnectionClosed => "it closed the connection".to_owned(),
        ErrorType::InvalidHTTPHeader => "its response head is malformed".to_owned(),
        other => other.as_str().to_owned(),
    }
}
