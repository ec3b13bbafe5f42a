//! One message on its way: HTTP/1.1, with TLS by the system's certificates, through the egress proxy where there is one.

use super::{Egress, Receiver, Way, message};
use crate::store::Alert;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Of an answer, what is worth telling.
const ANSWER_BYTES_MAX: usize = 1_000;
const ANSWER_CHARS_MAX: usize = 200;

/// Why it did not arrive. Holds nothing secret: the address of a webhook is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub why: String,
    /// Worth another attempt.
    pub again: bool,
}

impl Failed {
    pub fn gone(why: &str) -> Failed {
        Failed { why: why.to_owned(), again: false }
    }

    fn for_now(why: String) -> Failed {
        Failed { why, again: true }
    }
}

/// Or why there can be no TLS.
type Tls = Result<rustls::ClientConfig, String>;

pub struct Sender {
    tls: Tls,
}

impl Sender {
    pub fn new() -> Sender {
        use hyper_rustls::ConfigBuilderExt as _;
        let builder = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("there is no TLS: {error}"));
        let with_roots = builder.and_then(|builder| {
            builder.with_native_roots().map_err(|error| format!("the system's certificates cannot be read: {error}"))
        });
        Sender { tls: with_roots.map(|builder| builder.with_no_client_auth()) }
    }

    pub async fn send(&self, receiver: &Receiver, alert: &Alert) -> Result<(), Failed> {
        let (url, token, body) = match &receiver.way {
            Way::Slack { url } => (url, None, message::slack(alert)),
            Way::Webhook { url, token } => (url, token.as_ref(), message::webhook(alert)),
        };
        let id = message::id(alert);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(address(url.expose(), receiver.egress.is_some()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("farebox/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", &id)
            .header("x-farebox-alert-id", &id);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Full::new(Bytes::from(body.to_string())));
        let request = request.map_err(|_| Failed::gone("the receiver's address or token cannot be sent"))?;
        let tls = self.tls.clone().map_err(Failed::for_now)?;
        let answered = tokio::time::timeout(TIMEOUT, async {
            let response = match &receiver.egress {
                None => asked(request, tls, direct()).await,
                Some(egress) => {
                    let tunnel = tunnel(egress).ok_or_else(|| Failed::gone("the egress proxy's address is none"))?;
                    asked(request, tls, tunnel).await
                }
            }?;
            let (status, body) = (response.status(), Limited::new(response.into_body(), ANSWER_BYTES_MAX));
            let said = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            judged(status, &said)
        });
        answered.await.unwrap_or_else(|_| Err(Failed::for_now(format!("no answer within {} s", TIMEOUT.as_secs()))))
    }
}

/// On a connection of its own: messages are few.
async fn asked<C>(
    request: Request<Full<Bytes>>,
    tls: rustls::ClientConfig,
    way: C,
) -> Result<Response<Incoming>, Failed>
where
    HttpsConnector<C>: Connect + Clone + Send + Sync + 'static,
{
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(way);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    client.request(request).await.map_err(|error| Failed::for_now(unreachable(&error)))
}

/// A tunnel leads to port 443 where the address names none, also without TLS: there the port must be written.
fn address(url: &str, through_a_proxy: bool) -> String {
    let rest = url.strip_prefix("http://").filter(|_| through_a_proxy);
    let Some(rest) = rest else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let has_port = authority.rsplit(']').next().is_some_and(|end| end.contains(':'));
    if has_port { url.to_owned() } else { format!("http://{authority}:80{path}") }
}

fn direct() -> HttpConnector {
    let mut connector = HttpConnector::new();
    // TLS is spoken on top of it.
    connector.enforce_http(false);
    connector
}

fn tunnel(egress: &Egress) -> Option<Tunnel<HttpConnector>> {
    let proxy = Uri::builder().scheme("http").authority(format!("{}:{}", egress.host, egress.port)).path_and_query("/");
    let tunnel = Tunnel::new(proxy.build().ok()?, HttpConnector::new());
    let Some(credentials) = &egress.credentials else { return Some(tunnel) };
    let encoded = base64::engine::general_purpose::STANDARD.encode(credentials.expose());
    Some(tunnel.with_auth(HeaderValue::try_from(format!("Basic {encoded}")).ok()?))
}

/// What went wrong, without the address.
fn unreachable(error: &hyper_util::client::legacy::Error) -> String {
    let mut why = if error.is_connect() { "no connection" } else { "no answer" }.to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        why = format!("{why}: {inner}");
        source = inner.source();
    }
    why
}

/// 2xx is taken. A receiver that is overloaded or broken is asked again; one that does not want it is not, but for what
/// an operator may mend meanwhile (a token, an address).
fn judged(status: StatusCode, said: &[u8]) -> Result<(), Failed> {
    if status.is_success() {
        return Ok(());
    }
    let said: String =
        String::from_utf8_lossy(said).chars().filter(|c| !c.is_control()).take(ANSWER_CHARS_MAX).collect();
    let refused = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
    Err(Failed { why: format!("it answered {}: {said}", status.as_u16()), again: !refused.contains(&status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_the_clear_names_its_port_to_a_proxy() {
        assert_eq!(address("http://a.example/hook?key=1", true), "http://a.example:80/hook?key=1");
        for (url, proxied) in
            [("http://a.example:8080/x", true), ("https://a.example/x", true), ("http://a.example", false)]
        {
            assert_eq!(address(url, proxied), url);
        }
        assert_eq!(address("http://[::2]?a=b:1", true), "http://[::2]:80?a=b:1");
    }

    #[test]
    fn what_may_be_mended_is_tried_again_and_what_is_not_wanted_is_not() {
        assert_eq!(judged(StatusCode::NO_CONTENT, b""), Ok(()));
        let again = |status: u16| judged(StatusCode::from_u16(status).unwrap(), b"sorry\n").unwrap_err().again;
        assert!([401, 403, 404, 408, 429, 500, 503].into_iter().all(again));
        assert!(![400, 413, 422].into_iter().any(again));
        assert_eq!(judged(StatusCode::BAD_GATEWAY, b"so\nrry").unwrap_err().why, "it answered 502: sorry");
    }
}
