//! One question over HTTP/1.1, with TLS by the system's certificates, through the egress proxy where there is one.

use super::Egress;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;

/// Or why there can be no TLS.
type Tls = Result<rustls::ClientConfig, String>;

pub struct Outgoing {
    tls: Tls,
}

impl Default for Outgoing {
    fn default() -> Outgoing {
        use hyper_rustls::ConfigBuilderExt as _;
        let builder = rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("there is no TLS: {error}"));
        let with_roots = builder.and_then(|builder| {
            builder.with_native_roots().map_err(|error| format!("the system's certificates cannot be read: {error}"))
        });
        Outgoing { tls: with_roots.map(|builder| builder.with_no_client_auth()) }
    }
}

impl Outgoing {
    /// On a connection of its own: such questions are few. Redirects are not followed.
    ///
    /// # Errors
    /// What went wrong, without the address.
    pub async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        egress: Option<&Egress>,
    ) -> Result<Response<Incoming>, String> {
        let tls = self.tls.clone()?;
        let Some(egress) = egress else { return asked(request, tls, direct()).await };
        *request.uri_mut() = with_port(request.uri()).ok_or("the address is none")?;
        let tunnel = tunnel(egress).ok_or("the egress proxy's address is none")?;
        asked(request, tls, tunnel).await
    }
}

async fn asked<C>(
    request: Request<Full<Bytes>>,
    tls: rustls::ClientConfig,
    way: C,
) -> Result<Response<Incoming>, String>
where
    HttpsConnector<C>: Connect + Clone + Send + Sync + 'static,
{
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(way);
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    client.request(request).await.map_err(|error| unreachable(&error))
}

/// A tunnel leads to port 443 where the address names none, also without TLS: there the port must be written.
fn with_port(uri: &Uri) -> Option<Uri> {
    if uri.scheme_str() != Some("http") || uri.port().is_some() {
        return Some(uri.clone());
    }
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(format!("{}:80", parts.authority?).parse().ok()?);
    Uri::from_parts(parts).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_the_clear_names_its_port_to_a_proxy() {
        for (url, told) in [
            ("http://a.example/hook?key=1", "http://a.example:80/hook?key=1"),
            ("http://a.example:8080/x", "http://a.example:8080/x"),
            ("https://a.example/x", "https://a.example/x"),
            ("http://[::2]/?a=b:1", "http://[::2]:80/?a=b:1"),
        ] {
            assert_eq!(with_port(&url.parse().unwrap()).unwrap().to_string(), told);
        }
    }
}
