//! A provider at run time: its addresses, its connections, its health.

use super::egress::Egress;
use super::health::Health;
use super::pool::Pool;
use super::purse::Purse;
use super::settings::{ProviderSettings, ProviderTls};
use crate::clock::Timestamp;
use parking_lot::Mutex;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::CertKey;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a name's addresses are used before they are asked for again.
const ADDRESSES_KEPT_MICROS: u64 = 30_000_000;
const ADDRESSES_MAX: usize = 8;

/// One configured provider.
pub struct Provider {
    pub settings: ProviderSettings,
    /// What `host` says to it.
    pub host: String,
    pub connector: Arc<TransportConnector>,
    pub idle: Pool,
    pub purse: Purse,
    pub health: Mutex<Health>,
    slots: Option<Arc<Semaphore>>,
    client_certificate: Option<Arc<CertKey>>,
    peers: Mutex<Option<Peers>>,
    next: AtomicUsize,
}

#[derive(Clone)]
struct Peers {
    since: Timestamp,
    list: Arc<[Arc<HttpPeer>]>,
}

/// Why a provider cannot be set up; said at start.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error("{path}: {why}")]
    Certificate { path: String, why: String },
}

/// Why no address is known.
#[derive(Debug, thiserror::Error)]
#[error("the name `{host}` has no address: {why}")]
pub struct NoAddress {
    pub host: String,
    pub why: String,
}

impl Provider {
    /// `shared` is used unless the provider has certificate authorities of its own.
    pub fn new(settings: ProviderSettings, shared: &Arc<TransportConnector>) -> Result<Provider, Unusable> {
        let connector = match &settings.tls.ca_file {
            Some(path) => {
                readable_pem(path, "CERTIFICATE")?;
                let mut options = connector_options();
                options.ca_file = Some(path.to_string_lossy().into_owned());
                Arc::new(TransportConnector::new(Some(options)))
            }
            None => Arc::clone(shared),
        };
        let client_certificate = client_certificate(&settings.tls)?;
        Ok(Provider {
            host: settings.base_url.authority(),
            health: Mutex::new(Health::new(settings.circuit)),
            slots: settings.concurrency_max.map(|max| Arc::new(Semaphore::new(max))),
            connector,
            idle: Pool::default(),
            purse: Purse::new(&settings),
            client_certificate,
            peers: Mutex::new(None),
            next: AtomicUsize::new(0),
            settings,
        })
    }

    /// A place among the calls under way, waited for as long as a connection would be; `None`: full.
    pub async fn slot(&self) -> Option<Option<OwnedSemaphorePermit>> {
        match &self.slots {
            None => Some(None),
            Some(slots) => {
                match Box::pin(tokio::time::timeout(self.settings.timeouts.connect, Arc::clone(slots).acquire_owned()))
                    .await
                {
                    Ok(Ok(permit)) => Some(Some(permit)),
                    Ok(Err(_)) | Err(_) => None,
                }
            }
        }
    }

    /// Every address of the provider, the next in turn first: all are tried before the provider counts as unreachable.
    pub async fn peers(&self, now: Timestamp) -> Result<Vec<Arc<HttpPeer>>, NoAddress> {
        let known = self.peers.lock().clone();
        let peers = match known {
            Some(peers) if now.micros_since(peers.since) < ADDRESSES_KEPT_MICROS => peers,
            stale => match Box::pin(self.resolve()).await {
                Ok(addresses) => self.remember(&addresses, now),
                // A name server that is away for a moment does not stop what worked a moment ago.
                Err(error) => stale.ok_or(error)?,
            },
        };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % peers.list.len().max(1);
        let (behind, ahead) = peers.list.split_at(turn);
        Ok(ahead.iter().chain(behind).cloned().collect())
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, NoAddress> {
        let base = &self.settings.base_url;
        // Behind an egress proxy the provider's name is the proxy's to resolve: it may mean nothing here.
        let (host, port) = match &self.settings.proxy {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (&base.host, base.port),
        };
        let fail = |why: String| NoAddress { host: host.clone(), why };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let looked_up = tokio::time::timeout(self.settings.timeouts.connect, tokio::net::lookup_host((bare, port)));
        let addresses = looked_up.await.map_err(|_| fail("the name server did not answer in time".to_owned()))?;
        let mut list: Vec<SocketAddr> = addresses.map_err(|error| fail(error.to_string()))?.collect();
        // IPv4 first: a container without IPv6 would otherwise fail on every second attempt.
        list.sort_by_key(SocketAddr::is_ipv6);
        list.truncate(ADDRESSES_MAX);
        if list.is_empty() { Err(fail("the answer was empty".to_owned())) } else { Ok(list) }
    }

    fn remember(&self, addresses: &[SocketAddr], now: Timestamp) -> Peers {
        let list = addresses.iter().map(|address| Arc::new(self.peer(*address))).collect();
        let peers = Peers { since: now, list };
        *self.peers.lock() = Some(peers.clone());
        peers
    }

    fn peer(&self, address: SocketAddr) -> HttpPeer {
        let base = &self.settings.base_url;
        let mut peer = HttpPeer::new(address, base.https, base.host.clone());
        let connect = self.settings.timeouts.connect;
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect.saturating_mul(2));
        peer.client_cert_key = self.client_certificate.clone();
        if let Some(proxy) = &self.settings.proxy {
            let egress = Egress::new(proxy, base, connect);
            peer.group_key = egress.group_key();
            peer.options.custom_l4 = Some(Arc::new(egress));
        }
        peer
    }
}

/// The connector that most providers share: the system's certificate authorities.
pub fn shared_connector() -> Arc<TransportConnector> {
    Arc::new(TransportConnector::new(Some(connector_options())))
}

fn connector_options() -> ConnectorOptions {
    // Its own pool stays empty: idle connections are kept by [`Provider::idle`].
    ConnectorOptions::new(1)
}

fn client_certificate(tls: &ProviderTls) -> Result<Option<Arc<CertKey>>, Unusable> {
    let Some(client) = &tls.client else { return Ok(None) };
    let certificates = readable_pem(&client.certificate, "CERTIFICATE")?;
    let key = readable_pem(&client.key, "PRIVATE KEY")?.into_iter().next().unwrap_or_default();
    Ok(Some(Arc::new(CertKey::new(certificates, key))))
}

/// The DER bytes of every block of a PEM file whose label ends in `label`; at least one.
fn readable_pem(path: &Path, label: &str) -> Result<Vec<Vec<u8>>, Unusable> {
    use base64::Engine as _;
    let fail = |why: String| Unusable::Certificate { path: path.display().to_string(), why };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines().map(str::trim) {
        match (&mut open, line.strip_prefix("-----BEGIN "), line.starts_with("-----END ")) {
            (None, Some(rest), _) if rest.trim_end_matches('-').ends_with(label) => open = Some(String::new()),
            (Some(body), _, true) => {
                let der = base64::engine::general_purpose::STANDARD.decode(body.as_bytes());
                blocks.push(der.map_err(|error| fail(format!("a {label} block is not base64: {error}")))?);
                open = None;
            }
            (Some(body), _, false) => body.push_str(line),
            _ => {}
        }
    }
    if blocks.is_empty() { Err(fail(format!("holds no `{label}` block (PEM)"))) } else { Ok(blocks) }
}
