//! The way out through an egress proxy: one CONNECT (RFC 9110 §9.3.6) on a fresh connection, then the tunnel is the
//! provider's, with TLS inside where the provider has it. pingora's own proxying knows Unix sockets only.

use super::settings::{BaseUrl, EgressProxy};
use async_trait::async_trait;
use base64::Engine as _;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_error::{Error, ErrorType, Result};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The error of a tunnel that was not made; its context says why, without a secret.
pub const NO_TUNNEL: ErrorType = ErrorType::new("NoTunnel");

/// Longer answers to CONNECT are none.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Tunnels to one provider.
#[derive(Debug)]
pub struct Egress {
    proxy: EgressProxy,
    /// `host:port` of the provider; the proxy resolves the name.
    authority: String,
    within: Duration,
}

impl Egress {
    pub fn new(proxy: &EgressProxy, target: &BaseUrl, within: Duration) -> Egress {
        Egress { proxy: proxy.clone(), authority: format!("{}:{}", target.host, target.port), within }
    }

    /// Connections through one proxy have one address: this tells the providers behind it apart in the pool.
    pub fn group_key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.authority.hash(&mut hasher);
        hasher.finish()
    }

    async fn tunnel(&self, address: &std::net::SocketAddr) -> Result<TcpStream, String> {
        let mut stream = TcpStream::connect(address).await.map_err(|error| reason(&error))?;
        stream.write_all(self.asking().as_bytes()).await.map_err(|error| reason(&error))?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            // Byte by byte: what comes behind the answer is the provider's. Once per connection, some hundred bytes.
            let byte = stream.read_u8().await.map_err(|_| "it closed the connection".to_owned())?;
            answer.push(byte);
            if answer.len() > ANSWER_BYTES_MAX {
                return Err("it did not answer as a proxy does".to_owned());
            }
        }
        match status(&answer) {
            Some(200..=299) => Ok(stream),
            Some(407) => Err("it answered 407: it wants a user and a password (`http://user:password@host:port` in \
                 the variable that names the proxy)"
                .to_owned()),
            Some(status) => Err(format!("it answered {status} to CONNECT {}", self.authority)),
            None => Err("it did not answer as a proxy does".to_owned()),
        }
    }

    fn asking(&self) -> String {
        let authority = &self.authority;
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n");
        if let Some(credentials) = &self.proxy.credentials {
            let encoded = base64::engine::general_purpose::STANDARD.encode(credentials.expose());
            head.push_str(&format!("proxy-authorization: Basic {encoded}\r\n"));
        }
        head.push_str("\r\n");
        head
    }
}

#[async_trait]
impl L4Connect for Egress {
    /// `address` is the proxy's.
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let fail = |why: String| Error::explain(NO_TUNNEL, format!("the egress proxy {}: {why}", self.proxy));
        let Some(address) = address.as_inet() else { return Err(fail("it has no address".to_owned())) };
        let made = tokio::time::timeout(self.within, self.tunnel(address)).await;
        let stream = made.map_err(|_| fail(format!("no tunnel within {:?}", self.within)))?.map_err(fail)?;
        Ok(Stream::from(stream))
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// `HTTP/1.1 200 Connection established`
fn status(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    let (version, rest) = line.split_once(' ')?;
    version.starts_with("HTTP/1.").then(|| rest.get(..3)?.parse().ok())?
}
