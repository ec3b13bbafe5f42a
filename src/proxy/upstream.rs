//! Glue to pingora's upstream side: a request's head for a provider, and a connection that speaks it.

use super::egress::NO_TUNNEL;
use super::provider::{NoAddress, Provider};
use super::route;
use super::settings::{BaseUrl, ProviderKey};
use crate::clock::Timestamp;
use crate::dialects::{Dialect, Flavor};
use crate::secret::Secret;
use bytes::Bytes;
use http::HeaderName;
use http::header::{self, HeaderValue};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use std::sync::Arc;
use std::time::Duration;

/// Headers of one hop only (RFC 9110 §7.6.1), and those that a proxy consumes.
pub const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a caller's key may stand.
pub const KEY_HEADERS: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// How the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Nothing,
    Length(u64),
    Chunked,
}

/// A connection to a provider with one request under way.
pub struct Connection {
    pub session: HttpSession,
    pub peer: Arc<HttpPeer>,
    /// It came out of the pool: the provider may have closed it a moment ago.
    pub reused: bool,
    provider: Arc<Provider>,
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
    /// Which of the provider's timeouts passed.
    Timeout(&'static str),
    /// A status that the provider's settings say to try again.
    Rejected(u16),
}

impl From<NoAddress> for Failure {
    fn from(error: NoAddress) -> Self {
        Failure::NotConnected(error.to_string())
    }
}

impl Connection {
    /// Connects, trying every address in turn.
    pub async fn open(provider: &Arc<Provider>, now: Timestamp) -> Result<Connection, Failure> {
        let mut last = Failure::NotConnected(String::new());
        for peer in provider.peers(now).await? {
            match provider.connector.get_http_session(&*peer).await {
                Ok((session, reused)) => {
                    return Ok(Connection { session, peer, reused, provider: Arc::clone(provider) });
                }
                Err(error) => last = unconnected(&error, &provider.settings.name),
            }
        }
        Err(last)
    }

    /// Sends the head and a body that is already here.
    ///
    /// A provider may answer before it has read everything (413): a failed write is only a failure when no response
    /// comes either, so it is not reported here.
    pub async fn send(&mut self, head: RequestHeader, body: Bytes, timeout: Duration) -> Result<(), Failure> {
        self.session.set_write_timeout(Some(timeout));
        let sent = self.session.write_request_header(Box::new(head)).await;
        sent.map_err(|error| Failure::NoResponse(outward(&error)))?;
        if !body.is_empty() && self.session.write_request_body(body, true).await.is_err() {
            return Ok(());
        }
        let _ = self.session.finish_request_body().await;
        Ok(())
    }

    /// The final response head; informational ones (100, 103) are passed over, 101 is final.
    pub async fn response_head(&mut self, timeout: Duration) -> Result<ResponseHeader, Failure> {
        self.session.set_read_timeout(Some(timeout));
        loop {
            self.session.read_response_header().await.map_err(|error| match error.etype() {
                ErrorType::ReadTimedout => Failure::Timeout("first_byte"),
                _ => Failure::NoResponse(outward(&error)),
            })?;
            let Some(head) = self.session.response_header() else {
                return Err(Failure::NoResponse("the response has no head".to_owned()));
            };
            if !head.status.is_informational() || head.status == http::StatusCode::SWITCHING_PROTOCOLS {
                return Ok(head.clone());
            }
        }
    }

    /// Back into the pool, when the response was read to its end; closed otherwise.
    pub async fn release(mut self, whole: bool) {
        if whole {
            let idle = self.peer.options.idle_timeout;
            self.provider.connector.release_http_session(self.session, &*self.peer, idle).await;
        } else {
            self.session.shutdown().await;
        }
    }
}

/// What the head of an attempt is made from.
pub struct HeadPlan<'a> {
    pub original: &'a RequestHeader,
    pub provider: &'a Provider,
    pub dialect: Dialect,
    /// The path on the provider's side (before its base), with its slash, without the query.
    pub rest: &'a str,
    pub query: Option<&'a str>,
    pub framing: Framing,
    /// The meter must read this response's text in flight: no content encoding.
    pub identity: bool,
    /// The target is the one that the caller's key was meant for.
    pub caller_key_may_pass: bool,
}

/// The request head for a provider: end-to-end headers as they came, the key replaced, ours removed.
pub fn head(plan: &HeadPlan<'_>) -> pingora_error::Result<RequestHeader> {
    let mut head = plan.original.clone();
    strip_hop_by_hop(&mut head);
    let ours: Vec<HeaderName> =
        head.headers.keys().filter(|name| name.as_str().starts_with("x-farebox-")).cloned().collect();
    for name in ours {
        head.remove_header(&name);
    }
    head.remove_header(&header::EXPECT);
    head.set_version(http::Version::HTTP_11);
    set_key(&mut head, plan)?;
    let base: &BaseUrl = &plan.provider.settings.base_url;
    let query = plan.query.map(|query| without_key(query, own_key(plan)));
    let mut path = route::join(&base.path, plan.rest);
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        path.push('?');
        path.push_str(&query);
    }
    head.set_raw_path(path.as_bytes())?;
    head.insert_header(header::HOST, base.authority())?;
    for (name, value) in &plan.provider.settings.headers {
        head.insert_header(name.clone(), value.expose().as_str())?;
    }
    if plan.identity {
        head.insert_header(header::ACCEPT_ENCODING, "identity")?;
    }
    frame(&mut head, plan.framing)?;
    Ok(head)
}

fn frame(head: &mut RequestHeader, framing: Framing) -> pingora_error::Result<()> {
    match framing {
        Framing::Nothing => {
            head.remove_header(&header::CONTENT_LENGTH);
        }
        Framing::Length(bytes) => head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(bytes))?,
        Framing::Chunked => {
            head.remove_header(&header::CONTENT_LENGTH);
            head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
    }
    Ok(())
}

fn own_key(plan: &HeadPlan<'_>) -> bool {
    !matches!(plan.provider.settings.key, ProviderKey::FromCaller) || !plan.caller_key_may_pass
}

fn set_key(head: &mut RequestHeader, plan: &HeadPlan<'_>) -> pingora_error::Result<()> {
    if own_key(plan) {
        for name in KEY_HEADERS {
            head.remove_header(name);
        }
    }
    let ProviderKey::Own(key) = &plan.provider.settings.key else { return Ok(()) };
    let (name, value) = key_header(plan.dialect, plan.provider.settings.flavor, key);
    head.insert_header(name, value)
}

/// How a dialect carries a key.
fn key_header(dialect: Dialect, flavor: Flavor, key: &Secret<String>) -> (&'static str, String) {
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

/// Removes the hop-by-hop headers and those that `connection` names.
fn strip_hop_by_hop(head: &mut RequestHeader) {
    for name in nominated(head.headers.get_all(header::CONNECTION).iter()) {
        head.remove_header(name.as_str());
    }
    for name in HOP_BY_HOP {
        head.remove_header(name);
    }
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
