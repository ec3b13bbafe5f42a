//! Certificates for `localhost`, and a client that speaks HTTP/2 over TLS.

use super::asking::PATIENCE;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub struct Certificates {
    directory: TempDir,
    der: CertificateDer<'static>,
}

/// A self-signed certificate and its key, as PEM files.
pub fn certificates() -> Certificates {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("server.crt"), made.cert.pem()).unwrap();
    std::fs::write(directory.path().join("server.key"), made.signing_key.serialize_pem()).unwrap();
    Certificates { directory, der: made.cert.der().clone() }
}

impl Certificates {
    /// Whoever trusts this trusts the server.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("server.crt")
    }

    /// A door of TLS before a server without; its URL. `plain`: `http://127.0.0.1:1234`.
    pub async fn before(&self, plain: &str) -> String {
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from_pem_file(self.directory.path().join("server.key")).unwrap();
        let config = versions.with_no_client_auth().with_single_cert(vec![self.der.clone()], key).unwrap();
        let door = TlsAcceptor::from(Arc::new(config));
        let plain: SocketAddr = plain.trim_start_matches("http://").parse().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let door = door.clone();
                tokio::spawn(async move {
                    let mut outside = door.accept(stream).await?;
                    let mut inside = TcpStream::connect(plain).await?;
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await
                });
            }
        });
        url
    }

    /// The setting that makes Farebox listen with them.
    pub fn setting(&self) -> String {
        let key = self.directory.path().join("server.key");
        format!("tls: {{certificate: {}, key: {}}}", self.certificate().display(), key.display())
    }
}

/// A connection on which ALPN agreed on HTTP/2.
pub async fn tls_to(address: SocketAddr, trusted: &Certificates) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = versions.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    stream
}

/// One request over HTTP/2, as ALPN agreed on it; the answer read to its end.
pub async fn over_http2(address: SocketAddr, trusted: &Certificates, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let stream = tls_to(address, trusted).await;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answered = tokio::time::timeout(PATIENCE, client.send_request(request)).await.unwrap().unwrap();
    let (head, body) = answered.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}
