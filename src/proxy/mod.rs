//! The data port: the journey of a request from an SDK's socket to a provider and back, with its accounts.
//!
//! `exchange` is the product; everything else here is called by it. Only this module and [`crate::app`] know pingora.

pub mod account;
pub mod attempt;
pub mod caller;
pub mod chunked;
pub mod client;
pub mod counting;
pub mod decide;
pub mod deliver;
pub mod door;
pub mod downstream;
pub mod egress;
pub mod exchange;
pub mod fit;
pub mod foresee;
pub mod health;
pub mod incoming;
pub mod key_check;
pub mod limits;
pub mod links;
pub mod marks;
pub mod offer;
pub mod pool;
pub mod preview;
pub mod probe;
pub mod provider;
pub mod purse;
pub mod reason;
pub mod refusal;
pub mod route;
pub mod serving;
pub mod settings;
pub mod settling;
pub mod slices;
pub mod standing;
pub mod surface;
pub mod swap;
pub mod told;
pub mod tunnel;
pub mod upstream;

use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::ids::ExchangeId;
use crate::ledger::Ledger;
use crate::rules::RuleSet;
use crate::telemetry::Telemetry;
use crate::tenants::Keyring;
use crate::tokens::history::OutputHistory;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::BytesMut;
use client::{ByPingora, Next, Plain, Session};
use downstream::BODY_PERMIT_BYTES;
use futures_util::FutureExt;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::{ReusableHttpStream, ServerSession};
use pingora_core::protocols::{ALPN, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_timeout::fast_timeout::fast_timeout;
use provider::Provider;
use settings::Settings;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Finds an exchange's attempts in the ledger: each with the name of its caller's key, and as JSON. Blocks.
pub type Lookup = Arc<dyn Fn(ExchangeId) -> Vec<(Option<String>, serde_json::Value)> + Send + Sync>;

/// Everything that an exchange needs; one for the process.
pub struct Proxy {
    pub settings: Settings,
    pub providers: HashMap<Arc<str>, Arc<Provider>>,
    pub catalog: Arc<ArcSwap<Catalog>>,
    pub rules: Arc<ArcSwap<RuleSet>>,
    pub ledger: Arc<Ledger>,
    pub lookup: Lookup,
    pub counting: counting::Counting,
    pub settling: settling::Settling,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<dyn Clock>,
    pub namer: caller::Namer,
    /// `None`: open mode, whoever comes may come in.
    pub keyring: Option<Arc<ArcSwap<Keyring>>>,
    /// What answers were long lately, for estimates.
    pub history: OutputHistory,
    pub limits: limits::CallLimits,
    bodies: Arc<Semaphore>,
    in_flight: AtomicUsize,
}

/// What [`Proxy::new`] is made from.
pub struct Parts {
    pub settings: Settings,
    pub catalog: Arc<ArcSwap<Catalog>>,
    pub rules: Arc<ArcSwap<RuleSet>>,
    pub ledger: Arc<Ledger>,
    pub lookup: Lookup,
    pub counting: counting::Counting,
    pub telemetry: Arc<Telemetry>,
    pub clock: Arc<dyn Clock>,
    pub namer: caller::Namer,
    pub keyring: Option<Arc<ArcSwap<Keyring>>>,
}

impl Proxy {
    pub fn new(parts: Parts) -> Result<Proxy, provider::Unusable> {
        let shared = provider::shared_connector();
        let mut providers = HashMap::new();
        for settings in &parts.settings.providers {
            let provider = Provider::new(settings.clone(), &shared)?;
            providers.insert(Arc::clone(&settings.name), Arc::new(provider));
        }
        let permits = usize::try_from(parts.settings.bodies_bytes_max / BODY_PERMIT_BYTES).unwrap_or(usize::MAX);
        Ok(Proxy {
            bodies: Arc::new(Semaphore::new(permits.clamp(1, Semaphore::MAX_PERMITS))),
            in_flight: AtomicUsize::new(0),
            settings: parts.settings,
            providers,
            catalog: parts.catalog,
            rules: parts.rules,
            ledger: parts.ledger,
            lookup: parts.lookup,
            counting: parts.counting,
            settling: settling::Settling::start(),
            telemetry: parts.telemetry,
            clock: parts.clock,
            namer: parts.namer,
            keyring: parts.keyring,
            history: OutputHistory::default(),
            limits: limits::CallLimits::default(),
        })
    }

    /// Requests under way: a graceful stop waits for them.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Closes connections to providers that nobody has used for long.
    pub fn sweep_idle_connections(&self) {
        self.providers.values().for_each(|provider| provider.idle.sweep());
    }

    fn is_provider(&self, name: &str) -> bool {
        self.providers.contains_key(name)
    }

    fn body_bounds(&self) -> downstream::BodyBounds {
        downstream::BodyBounds {
            bytes_max: self.settings.body_bytes_max,
            room: Arc::clone(&self.bodies),
            room_wait_max: self.settings.body_wait_max,
            arrive_within: self.settings.request_timeout,
        }
    }
}

/// The pingora application: a client's connection, and the requests on it.
pub struct DataPort {
    proxy: Arc<Proxy>,
    framed: Arc<Framed>,
}

/// The same requests as pingora reads them: HTTP/2, and what is out of the ordinary in HTTP/1.
struct Framed(Arc<Proxy>);

impl DataPort {
    pub fn new(proxy: Arc<Proxy>) -> DataPort {
        DataPort { framed: Arc::new(Framed(Arc::clone(&proxy))), proxy }
    }
}

#[async_trait]
impl ServerApp for DataPort {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            return ServerApp::process_new(&self.framed, stream, shutdown).await;
        }
        let settings = &self.proxy.settings;
        let mut plain = Plain::on(stream, BytesMut::new(), false, settings.request_timeout);
        loop {
            let next = plain.next(settings.client_keepalive).await;
            let is_stopping = *shutdown.borrow();
            match next {
                Next::Request => plain = self.proxy.serve_plain(plain, is_stopping).await?,
                Next::Uncommon => {
                    let (stream, read) = plain.into_parts();
                    let session = self.framed.reading(stream, read);
                    // Boxed: it is rare, and its room would be every connection's.
                    let (stream, read) = Box::pin(self.framed.serve(session, is_stopping)).await?.into_parts();
                    plain = Plain::on(stream, read.unwrap_or_default(), true, settings.request_timeout);
                }
                Next::End => {
                    plain.shutdown().await;
                    return None;
                }
            }
        }
    }
}

impl Proxy {
    /// One exchange. False: it broke down, and with it its connection.
    async fn serve(self: &Arc<Self>, session: &mut Session) -> bool {
        let _under_way = UnderWay::begin(self);
        // Pinned where it lies: handed on by value, it would be copied, and have its room twice.
        let ended = {
            let journey = pin!(exchange::exchange(self, session));
            AssertUnwindSafe(journey).catch_unwind().await
        };
        if ended.is_err() {
            Box::pin(exchange::broke_down(self, session)).await;
        }
        ended.is_ok()
    }

    /// The connection again, if it can carry another request.
    async fn serve_plain(self: &Arc<Self>, mut plain: Plain, is_stopping: bool) -> Option<Plain> {
        if is_stopping {
            plain.close_after();
        }
        let mut session = Session::Plain(plain);
        let whole = self.serve(&mut session).await;
        let Session::Plain(mut plain) = session else { return None };
        (whole && plain.ended().await).then_some(plain)
    }
}

impl Framed {
    /// A session that begins with what was read already.
    fn reading(&self, stream: Stream, read: BytesMut) -> ServerSession {
        let mut session = ServerSession::new_http1(stream);
        session.set_pipelining_enabled(true);
        session.set_pipelined_prefix(read);
        session
    }

    /// Reads the head and serves the request. `Some`: the connection can carry another one.
    async fn serve(&self, mut session: ServerSession, is_stopping: bool) -> Option<ReusableHttpStream> {
        let settings = &self.0.settings;
        session.set_keepalive(Some(settings.client_keepalive.as_secs().max(1)));
        let head = fast_timeout(settings.request_timeout, pin!(session.read_request())).await;
        match head {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => return None,
            Ok(Err(error)) => {
                if *error.etype() == pingora_error::ErrorType::InvalidHTTPHeader {
                    let _ = session.respond_error(400).await;
                }
                session.shutdown().await;
                return None;
            }
            Err(_) => {
                session.shutdown().await;
                return None;
            }
        }
        session.set_read_timeout(Some(settings.request_timeout));
        session.set_write_timeout(Some(settings.request_timeout));
        if is_stopping {
            session.set_keepalive(None);
        }
        let mut session = Session::ByPingora(Box::new(ByPingora::new(session)));
        let whole = self.0.serve(&mut session).await;
        match session {
            Session::ByPingora(session) if whole => session.into_inner().finish().await.ok().flatten(),
            Session::ByPingora(_) | Session::Plain(_) => None,
        }
    }
}

/// pingora calls it for each stream of an HTTP/2 connection.
#[async_trait]
impl HttpServerApp for Framed {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let is_stopping = *shutdown.borrow();
        self.serve(session, is_stopping).await;
        None
    }
}

/// Counts a request as under way, also when its future is dropped.
struct UnderWay<'a>(&'a Proxy);

impl<'a> UnderWay<'a> {
    fn begin(proxy: &'a Proxy) -> Self {
        proxy.in_flight.fetch_add(1, Ordering::Relaxed);
        proxy.telemetry.metrics.requests_in_flight.inc();
        UnderWay(proxy)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.telemetry.metrics.requests_in_flight.dec();
    }
}
