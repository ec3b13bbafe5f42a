//! The data port: the journey of a request from an SDK's socket to a provider and back, with its accounts.
//!
//! `exchange` is the product; everything else here is called by it. Only this module and [`crate::app`] know pingora.

pub mod account;
pub mod attempt;
pub mod caller;
pub mod chunked;
pub mod counting;
pub mod decide;
pub mod deliver;
pub mod door;
pub mod downstream;
pub mod egress;
pub mod exchange;
pub mod fit;
pub mod foresee;
pub mod head;
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
use downstream::BODY_PERMIT_BYTES;
use futures_util::FutureExt;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
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

/// The pingora application: one call a request.
pub struct DataPort(pub Arc<Proxy>);

#[async_trait]
impl HttpServerApp for DataPort {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let settings = &self.0.settings;
        match head::read(&mut session, settings.request_timeout).await {
            Some(Ok(true)) => {}
            Some(Ok(false)) => return None,
            Some(Err(error)) => {
                if *error.etype() == pingora_error::ErrorType::InvalidHTTPHeader {
                    let _ = Box::pin(session.respond_error(400)).await;
                }
                Box::pin(session.shutdown()).await;
                return None;
            }
            None => {
                Box::pin(session.shutdown()).await;
                return None;
            }
        }
        session.set_pipelining_enabled(true);
        session.set_read_timeout(Some(settings.request_timeout));
        if *shutdown.borrow() {
            session.set_keepalive(None);
        } else {
            session.set_keepalive(Some(settings.client_keepalive.as_secs().max(1)));
        }
        let _under_way = UnderWay::begin(&self.0);
        // Pinned where it lies: handed on by value, it would be copied, and have its room twice.
        let ended = {
            let journey = pin!(exchange::exchange(&self.0, &mut session));
            AssertUnwindSafe(journey).catch_unwind().await
        };
        if ended.is_err() {
            Box::pin(exchange::broke_down(&self.0, &mut session)).await;
            return None;
        }
        let mut persistent = HttpPersistentSettings::for_session(&session);
        persistent.set_user_context(Box::new(head::Kept));
        let reusable = session.finish().await.ok().flatten()?;
        Some(ReusedHttpStream::from_reusable_stream(reusable, persistent))
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
