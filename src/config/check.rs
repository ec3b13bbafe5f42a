//! From what is written to what is true: defaults, presets, keys and the rules between settings. Every fault is noted;
//! the settings are worth something only when there is none.

use super::Settings;
use super::diagnose::nearest;
use super::egress;
use super::environment::{self, says_yes};
use super::file::{self, CertificateAndKey, File, HeaderValue};
use super::presets::{PRESETS, Preset, preset};
use super::section::{Notes, Placed};
use super::tree::Origin;
use super::values::Key;
use super::{login, receivers};
use crate::dialects::{Dialect, Flavor};
use crate::ledger;
use crate::proxy::settings::{
    Access, BaseUrl, Circuit, ListenerTls, OnClientGone, ProviderKey, ProviderSettings, ProviderTls, Retries,
    Settings as ProxySettings, Timeouts,
};
use crate::secret::Secret;
use crate::telemetry::otel::{self, Conventions, OtelSettings, Unfit};
use crate::telemetry::{LogFormat, LogSettings, MetricsSettings};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const MIB: u64 = 1 << 20;
/// A key file holds one line.
const KEY_BYTES_MAX: usize = 16 * 1024;
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4000);
const ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 4001);
const DATA_DIR: &str = "farebox-data";
const DEFAULT_PROVIDER: &str = "openai";

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    // A model may think for minutes before its first byte.
    first_byte: Duration::from_secs(600),
    idle: Duration::from_secs(300),
    whole: Duration::from_secs(3600),
};
const CIRCUIT: Circuit = Circuit {
    failures: 10,
    error_percent: 50,
    calls_min: 20,
    window: Duration::from_secs(30),
    open_for: Duration::from_secs(10),
};

pub type Variables = BTreeMap<String, String>;

/// Beside the configuration.
pub const RULES_DIR: &str = "rules";

/// What the node starts with. `every_preset`: the file names no providers.
pub fn settings(file: &File, every_preset: bool, variables: &Variables, notes: &Notes) -> Settings {
    let token = variables.get(environment::ADMIN_TOKEN).filter(|token| !token.is_empty());
    let settings = Settings {
        file: None,
        data_dir: or(&file.data_dir, PathBuf::from(DATA_DIR)),
        proxy: proxy(file, providers(file, every_preset, variables, notes), notes),
        admin_listen: or(&file.admin_listen, ADMIN_LISTEN),
        admin_token: token.map(|token| Secret::new(token.clone())),
        mints_on_first_start: mints(file, variables, notes),
        master_key: environment::master_key(variables),
        ledger: ledger(file, notes),
        catalog_overlays: overlays(file, notes),
        rules_dir: or(&file.rules_dir, PathBuf::from(RULES_DIR)),
        alerts: receivers::settings(&file.receivers, variables, notes),
        oidc: login::settings(&file.oidc, or(&file.admin_listen, ADMIN_LISTEN), variables, notes),
        log: LogSettings { format: or(&file.log_format, LogFormat::Auto), level: log_level(file, notes) },
        metrics: metrics(file),
        otel: otel(variables, notes),
        threads: file.threads.as_ref().map_or_else(threads, |threads| threads.value as usize),
        upgrade: false,
    };
    check_addresses(file, &settings, variables, notes);
    settings
}

/// Where nobody needs a key, none is made.
fn mints(file: &File, variables: &Variables, notes: &Notes) -> bool {
    let says_yes = says_yes(variables, environment::MINT_ON_FIRST_START, notes);
    if says_yes && or(&file.access, Access::Open) == Access::Open {
        let origin = Origin::Variable(environment::MINT_ON_FIRST_START.to_owned());
        notes.fault(&origin, "keys are minted, and nobody needs one".to_owned(), "set `access: keys`, or unset it");
    }
    says_yes
}

fn or<T: Clone>(written: &Option<Placed<T>>, default: T) -> T {
    written.as_ref().map_or(default, |placed| placed.value.clone())
}

fn metrics(file: &File) -> MetricsSettings {
    let names = |written: &Option<Vec<Placed<String>>>| {
        written.iter().flatten().map(|name| Arc::from(name.value.as_str())).collect()
    };
    MetricsSettings {
        teams: names(&file.metrics_teams),
        projects: names(&file.metrics_projects),
        series_max: or(&file.metrics_series_max, 20_000) as usize,
        gen_ai: or(&file.metrics_gen_ai, Conventions::default()),
    }
}

/// OpenTelemetry has its own variables.
fn otel(variables: &Variables, notes: &Notes) -> OtelSettings {
    let (settings, unfit) = otel::read(variables);
    for Unfit { variable, what, remedy } in unfit {
        notes.fault(&Origin::Variable(variable), what, remedy);
    }
    settings
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn proxy(file: &File, providers: Vec<ProviderSettings>, notes: &Notes) -> ProxySettings {
    let body_bytes_max = or(&file.body_bytes_max, 64 * MIB);
    let bodies_bytes_max = or(&file.bodies_bytes_max, (512 * MIB).max(body_bytes_max));
    if bodies_bytes_max < body_bytes_max {
        let what = "`bodies_bytes_max` is smaller than one body may be (`body_bytes_max`)".to_owned();
        notes.fault(&origin(&file.bodies_bytes_max), what, "let it hold several bodies: `512MiB`");
    }
    ProxySettings {
        listen: or(&file.listen, LISTEN),
        access: or(&file.access, Access::Open),
        tls: pair("tls", &file.tls, notes),
        path_prefix: or(&file.path_prefix, String::new()),
        trusted_proxies: file.trusted_proxies.iter().flatten().map(|network| network.value).collect(),
        body_bytes_max,
        bodies_bytes_max,
        body_wait_max: or(&file.body_wait_max, Duration::from_secs(5)),
        request_timeout: or(&file.request_timeout, Duration::from_secs(60)),
        client_keepalive: or(&file.client_keepalive, Duration::from_secs(75)),
        cost_header_body_bytes_max: or(&file.cost_header_body_bytes_max, MIB),
        output_tokens_default: or(&file.output_tokens_default, 4096),
        progress_interval: or(&file.progress_interval, Duration::from_secs(1)),
        drain_max: or(&file.drain_max, Duration::from_secs(30)),
        default_provider: default_provider(file, &providers, notes),
        providers,
    }
}

fn default_provider(file: &File, providers: &[ProviderSettings], notes: &Notes) -> Arc<str> {
    let named = |name: &str| providers.iter().find(|provider| &*provider.name == name).map(|found| found.name.clone());
    if let Some(written) = &file.default_provider {
        return named(&written.value).unwrap_or_else(|| {
            let what = format!("`default_provider` is `{}`, which is no provider here", written.value);
            notes.fault(&written.origin, what, known_providers(&written.value, providers.iter().map(|p| &*p.name)));
            written.value.as_str().into()
        });
    }
    let first = || providers.first().map(|provider| provider.name.clone());
    named(DEFAULT_PROVIDER).or_else(first).unwrap_or_else(|| DEFAULT_PROVIDER.into())
}

fn known_providers<'a>(word: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, names.clone()) {
        Some(near) => format!("write `{near}`"),
        None => format!("known here: {}", names.collect::<Vec<_>>().join(", ")),
    }
}

fn providers(file: &File, every_preset: bool, variables: &Variables, notes: &Notes) -> Vec<ProviderSettings> {
    let own_keys = says_yes(variables, environment::USE_ENV_KEYS, notes);
    let building = Building { variables, own_keys, notes };
    let written = file.providers.as_deref().unwrap_or_default();
    let name_of = |provider: &file::Provider| provider.name.as_ref().map(|name| name.value.clone());
    let mut providers = Vec::new();
    if every_preset {
        let untouched = |preset: &&Preset| !written.iter().any(|one| name_of(one).as_deref() == Some(preset.name));
        let presets = PRESETS.iter().filter(|preset| preset.base_url.is_some()).filter(untouched);
        providers
            .extend(presets.filter_map(|preset| building.provider(preset.name, Some(preset), &file::Provider::bare())));
    } else if file.providers.as_ref().is_some_and(Vec::is_empty) && notes.faults.borrow().is_empty() {
        let remedy = "name one (`- name: openai`), or leave `providers` out for all that are known";
        notes.fault(&Origin::Whole, "`providers` is empty".to_owned(), remedy);
    }
    let mut names = BTreeSet::new();
    for one in written {
        let Some(name) = &one.name else {
            if !one.has_name {
                notes.fault(&one.origin, "this provider has no `name`".to_owned(), "write `- name: openai`");
            }
            continue;
        };
        if !names.insert(name.value.clone()) {
            let what = format!("a provider called `{}` is there already", name.value);
            notes.fault(&name.origin, what, "give each its own name: `openai-eu`");
        }
        let preset = building.preset(one, &name.value);
        providers.extend(building.provider(&name.value, preset, one));
    }
    check_fallbacks(written, &providers, notes);
    if or(&file.access, Access::Open) == Access::Keys {
        check_own_keys(written, &providers, notes);
    }
    providers
}

/// In keys mode callers bring no provider's key. A preset that nobody wrote down may stay without one: it says so when
/// it is called.
fn check_own_keys(written: &[file::Provider], providers: &[ProviderSettings], notes: &Notes) {
    for one in written {
        let Some(name) = &one.name else { continue };
        let built = providers.iter().find(|provider| *provider.name == *name.value);
        if !built.is_some_and(|provider| matches!(provider.key, ProviderKey::FromCaller)) {
            continue;
        }
        let place = one.key.as_ref().map_or(&name.origin, |key| &key.origin);
        let what = format!(
            "`providers.{}` has no key of Farebox's own, and with `access: keys` callers bring none",
            name.value
        );
        let remedy = "write `key: sealed` and add one with `farebox provider-key add`, or `key: env:NAME` or `key: file:PATH` (`key: none` if it wants none), or set FAREBOX_USE_ENV_KEYS=yes";
        notes.fault(place, what, remedy);
    }
}

fn check_fallbacks(written: &[file::Provider], providers: &[ProviderSettings], notes: &Notes) {
    for from in written {
        let Some(name) = &from.name else { continue };
        let dialect = providers.iter().find(|provider| *provider.name == *name.value).map(|found| found.dialect);
        for fallback in from.fallbacks.iter().flatten() {
            let target = &fallback.value.provider;
            let what = match providers.iter().find(|provider| provider.name == *target) {
                None if written.iter().any(|one| one.name.as_ref().is_some_and(|name| *name.value == **target)) => {
                    continue;
                }
                None => format!("the fallback `{target}` is no provider here"),
                Some(_) if **target == *name.value && fallback.value.model.is_none() => {
                    format!("`{target}` falls back on itself")
                }
                Some(found) if dialect.is_some_and(|dialect| dialect != found.dialect) => {
                    format!("the fallback `{target}` speaks another dialect ({})", found.dialect.name())
                }
                Some(_) => continue,
            };
            let others = || providers.iter().map(|p| &*p.name).filter(|other| **other != *name.value);
            notes.fault(&fallback.origin, what, known_providers(target, others().collect::<Vec<_>>().into_iter()));
        }
    }
}

/// What building a provider needs besides what is written of it.
struct Building<'a> {
    variables: &'a Variables,
    own_keys: bool,
    notes: &'a Notes,
}

impl Building<'_> {
    fn preset(&self, written: &file::Provider, name: &str) -> Option<&'static Preset> {
        let Some(asked) = &written.preset else { return preset(name) };
        let found = preset(&asked.value);
        if found.is_none() {
            let what = format!("`providers.{name}.preset` is `{}`, which is none", asked.value);
            self.notes.fault(&asked.origin, what, known_providers(&asked.value, PRESETS.iter().map(|p| p.name)));
        }
        found
    }

    fn provider(&self, name: &str, preset: Option<&Preset>, written: &file::Provider) -> Option<ProviderSettings> {
        let dialect = or(&written.dialect, preset.map_or(Dialect::OpenAi, |preset| preset.dialect));
        let base_url = self.base_url(name, preset, written)?;
        let path = format!("providers.{name}.proxy");
        Some(ProviderSettings {
            name: name.into(),
            dialect,
            flavor: or(&written.flavor, preset.map_or(Flavor::Standard, |preset| preset.flavor)),
            proxy: egress::chosen(&path, written.proxy.as_ref(), &base_url, self.variables, self.notes),
            key: self.key(name, preset, written),
            headers: self.headers(name, written),
            timeouts: Timeouts {
                connect: or(&written.connect, TIMEOUTS.connect),
                first_byte: or(&written.first_byte, TIMEOUTS.first_byte),
                idle: or(&written.idle, TIMEOUTS.idle),
                whole: or(&written.whole, TIMEOUTS.whole),
            },
            concurrency_max: written.concurrency_max.as_ref().map(|max| max.value as usize),
            retries: self.retries(name, &written.retries),
            fallbacks: written.fallbacks.iter().flatten().map(|fallback| fallback.value.clone()).collect(),
            on_client_gone: or(&written.on_client_gone, OnClientGone::Cancel),
            circuit: circuit(&written.circuit),
            ask_for_usage: or(
                &written.ask_for_usage,
                dialect == Dialect::OpenAi && preset.is_none_or(|preset| preset.ask_for_usage),
            ),
            trace_context: or(&written.trace_context, base_url.is_private()),
            base_url,
            tls: ProviderTls {
                ca_file: written
                    .ca_file
                    .as_ref()
                    .map(|file| there(&format!("providers.{name}.tls.ca_file"), file, self.notes)),
                client: pair(&format!("providers.{name}.tls.client"), &written.client, self.notes),
            },
        })
    }

    fn base_url(&self, name: &str, preset: Option<&Preset>, written: &file::Provider) -> Option<BaseUrl> {
        if let Some(url) = &written.base_url {
            return Some(url.value.clone());
        }
        if let Some(url) = preset.and_then(|preset| preset.base_url) {
            return super::values::base_url(url).ok();
        }
        // What is written but unreadable is a fault already.
        if !written.has_base_url && (written.preset.is_none() || preset.is_some()) {
            let what = format!("the provider `{name}` has no `base_url`");
            let remedy = "write `base_url: https://…/v1`, or `preset:` and a known provider";
            self.notes.fault(&written.origin, what, remedy);
        }
        None
    }

    fn key(&self, name: &str, preset: Option<&Preset>, written: &file::Provider) -> ProviderKey {
        let Some(key) = &written.key else {
            let variable = preset.and_then(|preset| preset.key_variable);
            let standard = variable.filter(|_| self.own_keys).and_then(|variable| self.variables.get(variable));
            return match (standard.filter(|key| !key.is_empty()), preset) {
                (Some(key), _) => self.own_key(name, &written.origin, key),
                (None, Some(preset)) if preset.key_variable.is_none() => ProviderKey::Nothing,
                (None, _) => ProviderKey::FromCaller,
            };
        };
        match &key.value {
            Key::Caller => ProviderKey::FromCaller,
            Key::Nothing => ProviderKey::Nothing,
            Key::Sealed => ProviderKey::Sealed,
            Key::Environment(variable) => match self.variables.get(variable).filter(|key| !key.is_empty()) {
                Some(found) => self.own_key(name, &key.origin, found),
                None => {
                    let what = format!("`providers.{name}.key` is in the variable {variable}, which is not set");
                    self.notes.fault(&key.origin, what, format!("set {variable}, or write `caller`"));
                    ProviderKey::Nothing
                }
            },
            Key::File(path) => match std::fs::read_to_string(path) {
                Ok(found) => self.own_key(name, &key.origin, &found),
                Err(error) => {
                    let what = format!("`providers.{name}.key` cannot be read from {}: {error}", path.display());
                    self.notes.fault(&key.origin, what, "put the key there, alone on its line");
                    ProviderKey::Nothing
                }
            },
        }
    }

    fn own_key(&self, name: &str, origin: &Origin, text: &str) -> ProviderKey {
        let key = text.trim();
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.chars().all(|letter| letter.is_ascii_graphic()) {
            let what = format!("what was found for `providers.{name}.key` is no key");
            self.notes.fault(origin, what, "it must be one word of printable letters");
        }
        ProviderKey::Own(Secret::new(key.to_owned()))
    }

    fn headers(&self, name: &str, written: &file::Provider) -> Vec<(String, Secret<String>)> {
        let value = |header: &file::Header| match &header.value {
            HeaderValue::Text(text) => text.clone(),
            HeaderValue::Environment(variable) => {
                let found = self.variables.get(variable);
                if found.is_none_or(|text| http::HeaderValue::from_str(text).is_err()) {
                    let what =
                        format!("`providers.{name}.headers.{}` is in the variable {variable}", header.name.value);
                    let remedy = format!("set {variable} to printable letters: it is not set, or holds others");
                    self.notes.fault(&header.name.origin, what, remedy);
                }
                Secret::new(found.cloned().unwrap_or_default())
            }
        };
        written.headers.iter().map(|header| (header.name.value.clone(), value(header))).collect()
    }

    fn retries(&self, name: &str, written: &file::Retries) -> Retries {
        let pause = or(&written.pause, Duration::from_millis(200));
        let pause_max = or(&written.pause_max, Duration::from_secs(5).max(pause));
        if pause_max < pause {
            let what = format!("`providers.{name}.retries.pause_max` is shorter than the first `pause`");
            self.notes.fault(&origin(&written.pause_max), what, "let it be at least as long");
        }
        let statuses: BTreeSet<u16> = written.statuses.iter().flatten().map(|status| status.value).collect();
        Retries { max: or(&written.max, 2) as u16, statuses: statuses.into_iter().collect(), pause, pause_max }
    }
}

fn circuit(written: &file::Circuit) -> Circuit {
    Circuit {
        failures: or(&written.failures, CIRCUIT.failures.into()) as u32,
        error_percent: or(&written.error_percent, CIRCUIT.error_percent.into()) as u8,
        calls_min: or(&written.calls_min, CIRCUIT.calls_min.into()) as u32,
        window: or(&written.window, CIRCUIT.window),
        open_for: or(&written.open_for, CIRCUIT.open_for),
    }
}

/// Certificate and key: both or none.
fn pair(path: &str, written: &CertificateAndKey, notes: &Notes) -> Option<ListenerTls> {
    match (&written.certificate, &written.key) {
        (Some(certificate), Some(key)) => Some(ListenerTls {
            certificate: there(&format!("{path}.certificate"), certificate, notes),
            key: there(&format!("{path}.key"), key, notes),
        }),
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_some() { "key" } else { "certificate" };
            let what = format!("`{path}` has no `{missing}`");
            notes.fault(&written.origin, what, "write both `certificate` and `key`, PEM files");
            None
        }
    }
}

/// A file that must be there.
fn there(path: &str, file: &Placed<PathBuf>, notes: &Notes) -> PathBuf {
    if let Err(error) = readable(&file.value) {
        let what = format!("`{path}` is `{}`: {error}", file.value.display());
        notes.fault(
            &file.origin,
            what,
            "name a file that Farebox may read; it is looked for from the working directory",
        );
    }
    file.value.clone()
}

fn readable(path: &Path) -> std::io::Result<()> {
    let file = std::fs::File::open(path)?;
    if file.metadata()?.is_dir() { Err(std::io::Error::other("it is a folder")) } else { Ok(()) }
}

fn overlays(file: &File, notes: &Notes) -> Vec<PathBuf> {
    file.catalog_overlays.iter().flatten().map(|overlay| there("catalog.overlays", overlay, notes)).collect()
}

fn log_level(file: &File, notes: &Notes) -> String {
    let Some(level) = &file.log_level else { return "info".to_owned() };
    if tracing_subscriber::EnvFilter::builder().parse(&level.value).is_err() {
        let what = format!("`log.level` is `{}`, which is no level", level.value);
        notes.fault(&level.origin, what, "write `error`, `warn`, `info`, `debug` or `trace`");
    }
    level.value.clone()
}

fn check_addresses(file: &File, settings: &Settings, variables: &Variables, notes: &Notes) {
    let listen = settings.proxy.listen;
    let open = says_yes(variables, environment::OPEN_ON_PUBLIC, notes);
    let anyone = settings.proxy.access == Access::Open;
    if !listen.ip().to_canonical().is_loopback() && anyone && !open {
        let what =
            format!("`listen` is `{listen}`, which others can reach, and nobody needs a key of Farebox's to use it");
        let remedy = "set `access: keys`, or listen on 127.0.0.1, or set FAREBOX_OPEN_ON_PUBLIC=yes if something in front keeps strangers out";
        notes.fault(&origin(&file.listen), what, remedy);
    }
    if listen == settings.admin_listen && listen.port() != 0 {
        let written = if file.admin_listen.is_some() { &file.admin_listen } else { &file.listen };
        notes.fault(&origin(written), "`listen` and `admin_listen` are the same".to_owned(), "give each its own port");
    }
}

fn ledger(file: &File, notes: &Notes) -> ledger::Settings {
    let usual = ledger::Settings::new(or(&file.data_dir, PathBuf::from(DATA_DIR)));
    let written = &file.ledger;
    let settings = ledger::Settings {
        power_loss_window: or(&written.power_loss_window, usual.power_loss_window),
        sync_interval: or(&written.sync_interval, usual.sync_interval),
        segment_bytes: or(&written.segment_bytes, usual.segment_bytes),
        backlog_bytes_max: or(&written.backlog_bytes_max, usual.backlog_bytes_max),
        backlog_events_max: or(&written.backlog_events_max, usual.backlog_events_max),
        fold_interval: or(&written.fold_interval, usual.fold_interval),
        admission_wait_max: or(&written.admission_wait_max, usual.admission_wait_max),
        on_failure: or(&written.on_failure, usual.on_failure),
        progress_interval: or(&file.progress_interval, usual.progress_interval),
        ..usual
    };
    if settings.power_loss_window < settings.sync_interval {
        let window = &written.power_loss_window;
        let written = if window.is_some() { window } else { &written.sync_interval };
        let what = "`ledger.power_loss_window` is shorter than `ledger.sync_interval`: no call could be admitted";
        notes.fault(&origin(written), what.to_owned(), "let the window hold several syncs: `100ms` and `10ms`");
    }
    if settings.backlog_bytes_max < 2 * settings.segment_bytes {
        let bytes = &written.backlog_bytes_max;
        let written = if bytes.is_some() { bytes } else { &written.segment_bytes };
        let what = "`ledger.backlog_bytes_max` holds fewer than two segments (`ledger.segment_bytes`)".to_owned();
        notes.fault(&origin(written), what, "let it hold several segments: `1GiB` and `64MiB`");
    }
    settings
}

fn origin<T>(written: &Option<Placed<T>>) -> Origin {
    written.as_ref().map_or(Origin::Whole, |placed| placed.origin.clone())
}

impl Settings {
    /// What `farebox check` shows when all is well.
    pub fn summary(&self) -> String {
        let key = |provider: &ProviderSettings| match provider.key {
            ProviderKey::FromCaller => "the caller's key",
            ProviderKey::Own(_) => "Farebox's own key",
            ProviderKey::Sealed => "Farebox's sealed keys",
            ProviderKey::Nothing => "no key",
        };
        let access = |access| match access {
            Access::Open => "open: whoever reaches it may call",
            Access::Keys => "keys: whoever holds a virtual key may call",
        };
        let mut lines = vec![
            format!("listen    {}{}", self.proxy.listen, self.proxy.path_prefix),
            format!("admin     {}", self.admin_listen),
            format!("access    {}", access(self.proxy.access)),
            format!("data      {}", self.data_dir.display()),
        ];
        for provider in &self.proxy.providers {
            let url = &provider.base_url;
            let scheme = if url.https { "https" } else { "http" };
            let mark = if provider.name == self.proxy.default_provider { " (default)" } else { "" };
            let (name, authority, path) = (&provider.name, url.authority(), &url.path);
            let way = provider.proxy.as_ref().map(|proxy| format!(", through {proxy}")).unwrap_or_default();
            lines.push(format!("provider  {name}{mark}: {scheme}://{authority}{path}, {}{way}", key(provider)));
        }
        lines.push("all is well".to_owned());
        lines.join("\n")
    }
}
