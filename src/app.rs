//! The composition root: alone sees everything, and knows the order of start and stop.
//!
//! Start: log, catalog, rules, ledger (which recovers), proxy, sockets, admin port, data port, signals. Stop: no new
//! connections, exchanges under way finish (bounded), counting ends, the ledger folds everything and closes.

use self::doorkeeper::Doorkeeper;
use self::rules::RulesFolder;
use self::settings_file::SettingsFile;
use self::sockets::{Sockets, upgrade_socket};
use self::strongroom::Strongroom;
use crate::alerts::Postman;
use crate::api::{self, ApiState, ProviderReadiness, Readiness};
use crate::catalog::{self, Catalog};
use crate::clock::{Clock, SystemClock};
pub use crate::config::Settings;
use crate::ids::ExchangeId;
use crate::ledger::Ledger;
use crate::proxy::caller::Namer;
use crate::proxy::counting::Counting;
use crate::proxy::provider::Provider;
use crate::proxy::settings::{Access, ProviderSettings};
use crate::proxy::{DataPort, Parts, Proxy};
use crate::queries::lately::{Answers, answers_lately};
use crate::queries::view::ExchangeView;
use crate::store::Reader;
use crate::telemetry::otel::Served;
use crate::telemetry::{Log, Metrics, Otel, Reloaded, Telemetry};
use crate::tokens::count::Counter;
use crate::tokens::history::Who;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Fds;
use pingora_core::services::Service as _;
use pingora_core::services::listening::Service;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

mod doorkeeper;
mod first_owner;
mod first_start;
pub mod history;
mod late;
mod node;
mod retention;
pub mod rules;
mod settings_file;
mod sockets;
mod strongroom;

/// How often a drain, a fence and changed files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
const CATALOG_LOOK_EVERY: Duration = Duration::from_millis(500);
const COUNTING_THREADS: usize = 1;

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What broke, where, and how to mend it.
    #[error("{0}")]
    Fault(String),
    /// The ledger could not be written: the node stopped admitting and ends, so that its supervisor starts another.
    #[error("{0}")]
    Fenced(String),
}

/// Runs until asked to stop.
pub fn serve(settings: Settings) -> Result<(), Failure> {
    let log = Log::start(&settings.log);
    trusted_authorities(&settings)?;
    raise_open_files();
    refuse_huge_pages();
    let house = House::build(&settings, log, Arc::new(SystemClock))?;
    let sockets = Sockets::open(&settings)?;
    let runtime = runtime("request", settings.threads)?;
    let admin = runtime_of_admin()?;
    let ended = house.run(&settings, sockets, &runtime, &admin);
    // In order: nothing may settle after the ledger is closed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    admin.shutdown_timeout(Duration::from_secs(1));
    house.close();
    ended
}

/// The parts that live as long as the process.
struct House {
    proxy: Arc<Proxy>,
    reader: Reader,
    clock: Arc<dyn Clock>,
    overlays: Vec<PathBuf>,
    rules: Arc<RulesFolder>,
    doorkeeper: Option<Doorkeeper>,
    strongroom: Strongroom,
}

impl House {
    fn build(settings: &Settings, log: Log, clock: Arc<dyn Clock>) -> Result<House, Failure> {
        let catalog = load_catalog(&settings.catalog_overlays).map_err(Failure::Fault)?;
        let ledger = Ledger::open(settings.ledger.clone(), Arc::clone(&clock))
            .map_err(|error| Failure::Fault(error.to_string()))?;
        let names: Vec<&str> = settings.proxy.providers.iter().map(|provider| &*provider.name).collect();
        let metrics = Metrics::new(&settings.metrics, &names, env!("CARGO_PKG_VERSION"));
        let metrics = metrics.map_err(|error| Failure::Fault(error.to_string()))?;
        let otel = Otel::start(&settings.otel, settings.metrics.gen_ai, served(settings), &metrics);
        let otel = otel.map_err(|why| Failure::Fault(format!("OpenTelemetry cannot be started: {why}")))?;
        metrics.catalog_in_force(catalog.models(None).len(), catalog.version());
        metrics.in_force(Reloaded::Catalog, true, clock.now());
        metrics.ledger_queue_capacity.set(f64_of(settings.ledger.backlog_events_max));
        let counter = Arc::new(Counter::new(random_key()?));
        let reader = Reader::open(&settings.data_dir).map_err(|error| Failure::Fault(error.to_string()))?;
        let folder = RulesFolder::new(settings, reader.clone());
        let rules = folder.begin(&catalog, clock.now()).map_err(Failure::Fault)?;
        let asked = reader.clone();
        if settings.mints_on_first_start {
            first_start::mint(&settings.data_dir, &reader, clock.now())?;
        }
        let doorkeeper = match settings.proxy.access {
            Access::Open => None,
            Access::Keys => Some(Doorkeeper::open(&settings.data_dir, &reader)?),
        };
        let proxy = Proxy::new(Parts {
            settings: settings.proxy.clone(),
            catalog: Arc::new(ArcSwap::from_pointee(catalog)),
            rules: Arc::new(ArcSwap::from_pointee(rules)),
            ledger: Arc::new(ledger),
            lookup: Arc::new(move |id| attempts_of(&asked, id)),
            counting: Counting::start(counter, COUNTING_THREADS),
            telemetry: Arc::new(Telemetry::new(metrics, otel, log)),
            clock: Arc::clone(&clock),
            namer: Namer::new(kept_key(&settings.data_dir)?),
            keyring: doorkeeper.as_ref().map(|doorkeeper| doorkeeper.keyring()),
        });
        let proxy = proxy.map_err(|error| Failure::Fault(error.to_string()))?;
        let proxy = Arc::new(proxy);
        remember_answers(&proxy, &reader);
        let overlays = settings.catalog_overlays.clone();
        folder.begun(&proxy);
        let strongroom = Strongroom::open(&proxy, &reader, settings.data_dir.clone(), settings.master_key.clone());
        Ok(House { proxy, reader, clock, overlays, rules: Arc::new(folder), doorkeeper, strongroom })
    }

    fn run(
        &self,
        settings: &Settings,
        sockets: Sockets,
        data: &tokio::runtime::Runtime,
        admin: &tokio::runtime::Runtime,
    ) -> Result<(), Failure> {
        let (stop, stopped) = watch::channel(false);
        let mut service = Service::new("data".to_owned(), DataPort::new(Arc::clone(&self.proxy)));
        let address = settings.proxy.listen.to_string();
        match &settings.proxy.tls {
            None => service.add_tcp(&address),
            Some(tls) => service.add_tls_with_settings(&address, None, listener_tls(tls)?),
        }
        let fds = Arc::new(Mutex::new(sockets.fds));
        let listening = Arc::clone(&fds);
        data.spawn(async move { service.start_service(Some(listening), stopped, 1).await });
        if let Some(doorkeeper) = self.doorkeeper.clone() {
            admin.spawn(doorkeeper.follow());
        }
        let postman = Postman::new(
            settings.alerts.clone(),
            &settings.data_dir,
            Arc::clone(&self.clock),
            Arc::clone(&self.proxy.telemetry),
        )
        .map_err(|error| Failure::Fault(error.to_string()))?;
        let proxy = Arc::clone(&self.proxy);
        admin.spawn(postman.run(move |alert| proxy.rules.load().receivers(&alert.budget, alert.threshold)));
        admin.spawn(self.strongroom.clone().follow());
        admin.spawn(retention::keep(settings.data_dir.clone(), Arc::clone(&self.clock)));
        let router = api::router(self.api(settings, sockets.admin_address)?);
        admin.spawn(async move {
            let listener = sockets.admin.and_then(tokio::net::TcpListener::from_std);
            match listener {
                Ok(listener) => {
                    let router = router.into_make_service_with_connect_info::<SocketAddr>();
                    drop(axum::serve(listener, router).await);
                }
                Err(error) => tracing::error!(%error, "the admin port does not listen"),
            }
        });
        // Before anybody is told where we listen: who knows it may also ask us to stop.
        let signals = data.block_on(async { Signals::watch() })?;
        // Before anybody hears of the node: a change after that is one to tell of.
        let file = SettingsFile::new(settings.file.clone());
        tracing::info!(
            data = %sockets.data_address,
            admin = %sockets.admin_address,
            data_dir = %settings.data_dir.display(),
            catalog = %self.proxy.catalog.load().version(),
            "listening"
        );
        let ended = data.block_on(self.until_asked_to_stop(settings, file, &fds, signals));
        let _ = stop.send(true);
        data.block_on(self.drain(settings.proxy.drain_max));
        ended
    }

    /// Looks after reloads and fences until a signal says stop.
    async fn until_asked_to_stop(
        &self,
        settings: &Settings,
        mut file: SettingsFile,
        fds: &Mutex<Fds>,
        mut signals: Signals,
    ) -> Result<(), Failure> {
        let (look_now, asked) = std::sync::mpsc::channel();
        self.rules
            .watch(&self.proxy, asked)
            .map_err(|error| Failure::Fault(format!("no thread can be started for the rules: {error}")))?;
        let mut look = tokio::time::interval(CATALOG_LOOK_EVERY);
        let mut seen = overlay_hashes(&self.overlays);
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return Ok(()),
                _ = signals.interrupt.recv() => return Ok(()),
                _ = signals.quit.recv() => {
                    if self.hand_over(settings, fds) {
                        return Ok(());
                    }
                }
                _ = signals.hangup.recv() => {
                    self.reload_catalog();
                    let _ = look_now.send(());
                }
                _ = look.tick() => {
                    self.proxy.sweep_idle_connections();
                    late::count(&self.proxy);
                    file.look();
                    let now = overlay_hashes(&self.overlays);
                    if now != seen {
                        seen = now;
                        self.reload_catalog();
                    }
                    if let Some(why) = self.proxy.ledger.status().reason.filter(|_| self.proxy.ledger.status().fenced) {
                        return Err(Failure::Fenced(why.to_string()));
                    }
                }
            }
        }
    }

    /// Gives the listening sockets to the process that was started with `--upgrade`.
    fn hand_over(&self, settings: &Settings, fds: &Mutex<Fds>) -> bool {
        let path = upgrade_socket(&settings.data_dir);
        match fds.lock().send_to_sock(path.to_string_lossy().as_ref()) {
            Ok(_) => {
                tracing::info!("sockets handed over; finishing what is under way");
                true
            }
            Err(error) => {
                tracing::error!(%error, "no process with --upgrade took the sockets over; going on");
                false
            }
        }
    }

    /// A good catalog takes effect at once and whole; a bad one never does, and says so.
    fn reload_catalog(&self) {
        let metrics = &self.proxy.telemetry.metrics;
        match load_catalog(&self.overlays) {
            Ok(catalog) => {
                tracing::info!(version = %catalog.version(), "catalog reloaded");
                metrics.catalog_in_force(catalog.models(None).len(), catalog.version());
                metrics.reloaded(Reloaded::Catalog, true, self.clock.now());
                self.proxy.catalog.store(Arc::new(catalog));
            }
            Err(faults) => {
                metrics.reloaded(Reloaded::Catalog, false, self.clock.now());
                tracing::error!(%faults, "the changed catalog has faults; the one before stays in force");
            }
        }
    }

    /// Exchanges under way may finish.
    async fn drain(&self, at_most: Duration) {
        let until = tokio::time::Instant::now() + at_most;
        let under_way = self.proxy.in_flight();
        if under_way > 0 {
            tracing::info!(under_way, ?at_most, "finishing what is under way");
        }
        while self.proxy.in_flight() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn close(&self) {
        self.proxy.counting.finish();
        self.proxy.settling.finish();
        let closed = self.proxy.ledger.close();
        self.proxy.telemetry.otel.finish();
        tracing::info!(folded = closed.folded, abandoned = closed.abandoned, "stopped");
    }

    fn api(&self, settings: &Settings, admin_address: SocketAddr) -> Result<ApiState, Failure> {
        let (ready, shown) = (Arc::clone(&self.proxy), Arc::clone(&self.proxy));
        let rules = Arc::clone(&self.rules);
        let first_owner = match settings.admin_token {
            Some(_) => None,
            None => first_owner::token(&self.reader, admin_address)?,
        };
        Ok(ApiState {
            reader: self.reader.clone(),
            clock: Arc::clone(&self.clock),
            is_loopback: admin_address.ip().is_loopback(),
            admin_token: settings.admin_token.clone(),
            first_owner,
            guesses: api::Guesses::default(),
            oidc: settings.oidc.clone(),
            address: admin_address,
            readiness: Arc::new(move || readiness(&ready, &rules)),
            metrics: Arc::new(move || exposition(&shown)),
            node: node::of(&self.proxy, settings, &self.reader, &self.rules),
        })
    }
}

/// The providers as OpenTelemetry's conventions name them.
fn served(settings: &Settings) -> HashMap<Arc<str>, Served> {
    let providers = settings.proxy.providers.iter();
    let one = |provider: &ProviderSettings| {
        let url = &provider.base_url;
        let served = Served::new(&provider.name, (provider.dialect, provider.flavor), (&url.host, url.port));
        (Arc::clone(&provider.name), served)
    };
    providers.map(one).collect()
}

/// Tells the estimates how long answers were lately. Beside the start: a call that comes first is estimated without.
fn remember_answers(proxy: &Arc<Proxy>, reader: &Reader) {
    let (proxy, reader) = (Arc::clone(proxy), reader.clone());
    let reading = move || match answers_lately(&reader, proxy.clock.now()) {
        Ok(lately) => {
            for Answers { key, model, calls, output_tokens } in lately {
                let who = Who::new(&key, &model, Who::ANY_OPERATION);
                proxy.history.learn_many(who, output_tokens / calls.max(1), calls);
            }
        }
        Err(error) => tracing::info!(%error, "estimates begin without the callers' history"),
    };
    if let Err(error) = std::thread::Builder::new().name("history".to_owned()).spawn(reading) {
        tracing::warn!(%error, "estimates begin without the callers' history");
    }
}

/// What the process is asked from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Hand the sockets over and stop.
    quit: Signal,
    /// Read the catalog and the rules again.
    hangup: Signal,
}

impl Signals {
    fn watch() -> Result<Signals, Failure> {
        let watched =
            |kind| signal(kind).map_err(|error| Failure::Fault(format!("signals cannot be watched: {error}")));
        Ok(Signals {
            terminate: watched(SignalKind::terminate())?,
            interrupt: watched(SignalKind::interrupt())?,
            quit: watched(SignalKind::quit())?,
            hangup: watched(SignalKind::hangup())?,
        })
    }
}

fn listener_tls(tls: &crate::proxy::settings::ListenerTls) -> Result<TlsSettings, Failure> {
    let (certificate, key) = (tls.certificate.to_string_lossy(), tls.key.to_string_lossy());
    let fault = |error: String| {
        Failure::Fault(format!("the listener's certificate {certificate} and key {key} cannot be used: {error}"))
    };
    for path in [&tls.certificate, &tls.key] {
        std::fs::read(path).map_err(|error| fault(error.to_string()))?;
    }
    let mut settings = TlsSettings::intermediate(&certificate, &key).map_err(|error| fault(error.to_string()))?;
    settings.enable_h2();
    Ok(settings)
}

fn runtime(name: &str, threads: usize) -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name(name)
        .enable_all()
        .build();
    built.map_err(|error| Failure::Fault(format!("threads cannot be started: {error}")))
}

fn runtime_of_admin() -> Result<tokio::runtime::Runtime, Failure> {
    runtime("admin", 1)
}

/// Of each connection's buffers a few kilobytes are used. In pages of 2 MiB, which the allocator asks for, all of them
/// would be resident: 1,705 MiB with 9,500 streams open, where 585 do.
fn refuse_huge_pages() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call touches no memory of ours; where the kernel does not know it, nothing changes.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    unsafe {
        let (on, unused): (libc::c_ulong, libc::c_ulong) = (1, 0);
        libc::prctl(libc::PR_SET_THP_DISABLE, on, unused, unused, unused);
    }
}

/// A stream holds two sockets, and the customary soft limit of 1,024 files is soon reached: the hard limit counts.
fn raise_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write the struct that they are given.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 && {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit) == 0
        }
    };
    if !raised {
        tracing::warn!("the limit of open files could not be raised");
    }
}

/// pingora panics without certificate authorities: say it before.
fn trusted_authorities(settings: &Settings) -> Result<(), Failure> {
    let needs =
        settings.proxy.providers.iter().any(|provider| provider.base_url.https && provider.tls.ca_file.is_none());
    if needs && rustls_native_certs::load_native_certs().certs.is_empty() {
        return Err(Failure::Fault(
            "no certificate authorities are installed, so no provider's certificate could be checked: install the package `ca-certificates`, or point SSL_CERT_FILE to a bundle".to_owned(),
        ));
    }
    Ok(())
}

/// The shipped catalog with overlays on it; every fault of it in words.
pub fn load_catalog(overlays: &[PathBuf]) -> Result<Catalog, String> {
    let mut texts = Vec::new();
    for path in overlays {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        texts.push((path.display().to_string(), text));
    }
    let overlays: Vec<(&str, &str)> = texts.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    catalog::file::load(catalog::file::SHIPPED, &overlays)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

fn overlay_hashes(overlays: &[PathBuf]) -> Vec<Option<blake3::Hash>> {
    overlays.iter().map(|path| std::fs::read(path).ok().map(|bytes| blake3::hash(&bytes))).collect()
}

/// The key that names callers: random, made once, kept beside the ledger.
fn kept_key(data_dir: &Path) -> Result<[u8; 32], Failure> {
    let path = data_dir.join("caller-names.key");
    let fault = |error: std::io::Error| Failure::Fault(format!("{}: {error}", path.display()));
    let kept = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            crate::store::make_once(&path, &random_key()?).map_err(fault)?;
            std::fs::read(&path)
        }
        read => read,
    };
    kept.map_err(fault)?.try_into().map_err(|_| {
        Failure::Fault(format!("{} is damaged: 32 bytes are expected; delete it to name callers anew", path.display()))
    })
}

/// An exchange's attempts, each with its caller's key name.
fn attempts_of(reader: &Reader, id: ExchangeId) -> Vec<(Option<String>, serde_json::Value)> {
    let rows = reader.exchange(id).unwrap_or_default();
    let one = |row| {
        let view = ExchangeView::new(id, std::slice::from_ref(row));
        (row.key.as_deref().map(str::to_owned), serde_json::to_value(view).unwrap_or_default())
    };
    rows.iter().map(one).collect()
}

fn random_key() -> Result<[u8; 32], Failure> {
    let mut key = [0u8; 32];
    getrandom::fill(&mut key).map_err(|error| Failure::Fault(format!("no random numbers: {error}")))?;
    Ok(key)
}

fn readiness(proxy: &Proxy, rules: &RulesFolder) -> Readiness {
    let status = proxy.ledger.status();
    let mut providers: Vec<ProviderReadiness> =
        proxy.providers.values().map(|provider| provider_readiness(provider)).collect();
    providers.sort_by(|a, b| a.name.cmp(&b.name));
    Readiness {
        ready: status.accepting,
        reasons: status.reason.iter().map(ToString::to_string).collect(),
        catalog_version: proxy.catalog.load().version().to_string(),
        rules: rules.detail(),
        ledger: serde_json::json!({
            "accepting": status.accepting,
            "fenced": status.fenced,
            "folding": status.folding,
            "epoch": status.epoch,
            "open_reservations": status.open_reservations,
            "backlog_events": status.backlog_events,
            "backlog_bytes": status.backlog_bytes,
            "last_sync_age_ms": u64::try_from(status.last_sync_age.as_millis()).unwrap_or(u64::MAX),
            "last_commit_at": status.last_commit_at.map(|at| at.to_rfc3339()),
            "fold_error": status.fold_error,
            "spare_error": status.spare_error,
        }),
        providers,
    }
}

fn provider_readiness(provider: &Provider) -> ProviderReadiness {
    let health = provider.health.lock();
    ProviderReadiness {
        name: provider.settings.name.to_string(),
        circuit: health.state().name().to_owned(),
        consecutive_failures: u64::from(health.failures_in_a_row()),
        last_failure: health.last_failure().map(str::to_owned),
    }
}

fn exposition(proxy: &Proxy) -> String {
    use crate::proxy::health::State;
    proxy.settling.catch_up();
    let metrics = &proxy.telemetry.metrics;
    let status = proxy.ledger.status();
    metrics.ledger_accepting.set(f64::from(u8::from(status.accepting)));
    metrics.ledger_store_faulty.set(f64::from(u8::from(status.fold_error.is_some())));
    metrics.ledger_queue.set(f64_of(status.backlog_events));
    metrics.ledger_sync_age.set(status.last_sync_age.as_secs_f64());
    metrics.ledger_counts(status.counts.lost, status.counts.passed_unjournalled, status.counts.overruns);
    if let Some(at) = status.last_commit_at {
        #[expect(clippy::cast_precision_loss, reason = "a moment as Prometheus writes it")]
        metrics.ledger_last_commit.set(at.as_millis() as f64 / 1e3);
    }
    let now = proxy.clock.now();
    let mut standing = proxy.ledger.admission().standing();
    standing.retain(|(instance, _)| instance.window.contains(now));
    metrics.budgets.show(standing);
    for provider in proxy.providers.values() {
        let health = provider.health.lock();
        let state = match health.state() {
            State::Closed => 0.0,
            State::HalfOpen { .. } => 1.0,
            State::Open { .. } => 2.0,
        };
        let name = [&*provider.settings.name];
        metrics.provider_circuit.with_label_values(&name).set(state);
        metrics.provider_failures.with_label_values(&name).set(f64::from(health.failures_in_a_row()));
        metrics.provider_key_refused.with_label_values(&name).set(f64::from(u8::from(health.key_is_refused())));
    }
    let keys = proxy.providers.values().flat_map(|provider| {
        let of_it = provider.purse.standing(now).into_iter();
        of_it.map(|(key, health)| (Arc::clone(&provider.settings.name), key, health))
    });
    metrics.provider_keys(keys);
    proxy.telemetry.exposition()
}

#[expect(clippy::cast_precision_loss, reason = "a count as Prometheus writes it")]
fn f64_of(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
