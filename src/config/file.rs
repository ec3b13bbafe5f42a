//! The configuration as written: every setting optional, each value with its place. Reading decides nothing;
//! [`super::check`] builds what the modules need.

use super::egress::{self, Proxy};
use super::login;
use super::receivers;
use super::section::{Notes, Placed, Section};
use super::tree::{Node, Origin, Shape};
use super::values::{self, Key};
use crate::dialects::{Dialect, Flavor};
use crate::ledger::OnFailure;
use crate::proxy::settings::{Access, BaseUrl, Fallback, Network, OnClientGone};
use crate::secret::Secret;
use crate::telemetry::LogFormat;
use crate::telemetry::otel::Conventions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub type Written<T> = Option<Placed<T>>;

#[derive(Debug)]
pub struct File {
    pub listen: Written<SocketAddr>,
    pub admin_listen: Written<SocketAddr>,
    pub access: Written<Access>,
    pub tls: CertificateAndKey,
    pub path_prefix: Written<String>,
    pub trusted_proxies: Option<Vec<Placed<Network>>>,
    pub data_dir: Written<PathBuf>,
    pub body_bytes_max: Written<u64>,
    pub bodies_bytes_max: Written<u64>,
    pub body_wait_max: Written<Duration>,
    pub request_timeout: Written<Duration>,
    pub client_keepalive: Written<Duration>,
    pub cost_header_body_bytes_max: Written<u64>,
    pub output_tokens_default: Written<u64>,
    pub progress_interval: Written<Duration>,
    pub drain_max: Written<Duration>,
    pub threads: Written<u64>,
    pub default_provider: Written<String>,
    /// `None`: the file names no providers, so that every preset stands.
    pub providers: Option<Vec<Provider>>,
    pub catalog_overlays: Option<Vec<Placed<PathBuf>>>,
    pub rules_dir: Written<PathBuf>,
    pub receivers: Vec<receivers::WrittenReceiver>,
    pub oidc: Vec<login::WrittenProvider>,
    pub ledger: Ledger,
    pub log_format: Written<LogFormat>,
    pub log_level: Written<String>,
    pub metrics_teams: Option<Vec<Placed<String>>>,
    pub metrics_projects: Option<Vec<Placed<String>>>,
    pub metrics_series_max: Written<u64>,
    pub metrics_gen_ai: Written<Conventions>,
}

#[derive(Debug)]
pub struct Provider {
    /// The whole section's place, for what is missing in it.
    pub origin: Origin,
    pub name: Written<String>,
    /// Something is written there, if not a name.
    pub has_name: bool,
    pub has_base_url: bool,
    pub preset: Written<String>,
    pub dialect: Written<Dialect>,
    pub flavor: Written<Flavor>,
    pub base_url: Written<BaseUrl>,
    pub key: Written<Key>,
    pub headers: Vec<Header>,
    pub connect: Written<Duration>,
    pub first_byte: Written<Duration>,
    pub idle: Written<Duration>,
    pub whole: Written<Duration>,
    pub concurrency_max: Written<u64>,
    pub retries: Retries,
    pub fallbacks: Option<Vec<Placed<Fallback>>>,
    pub on_client_gone: Written<OnClientGone>,
    pub circuit: Circuit,
    pub ask_for_usage: Written<bool>,
    pub trace_context: Written<bool>,
    pub proxy: Written<Proxy>,
    pub ca_file: Written<PathBuf>,
    pub client: CertificateAndKey,
}

#[derive(Debug)]
pub struct Header {
    pub name: Placed<String>,
    pub value: HeaderValue,
}

#[derive(Clone, Debug)]
pub enum HeaderValue {
    Text(Secret<String>),
    Environment(String),
}

#[derive(Debug)]
pub struct Retries {
    pub max: Written<u64>,
    pub statuses: Option<Vec<Placed<u16>>>,
    pub pause: Written<Duration>,
    pub pause_max: Written<Duration>,
}

#[derive(Debug)]
pub struct Circuit {
    pub failures: Written<u64>,
    pub error_percent: Written<u64>,
    pub calls_min: Written<u64>,
    pub window: Written<Duration>,
    pub open_for: Written<Duration>,
}

#[derive(Debug)]
pub struct CertificateAndKey {
    pub origin: Origin,
    pub certificate: Written<PathBuf>,
    pub key: Written<PathBuf>,
}

#[derive(Debug)]
pub struct Ledger {
    pub power_loss_window: Written<Duration>,
    pub sync_interval: Written<Duration>,
    pub segment_bytes: Written<u64>,
    pub backlog_bytes_max: Written<u64>,
    pub backlog_events_max: Written<u64>,
    pub fold_interval: Written<Duration>,
    pub admission_wait_max: Written<Duration>,
    pub on_failure: Written<OnFailure>,
}

/// Reads the tree; faults and keys go into the notes.
pub fn read(root: &Node, notes: &Notes) -> File {
    let mut file = Section::root(root, notes);
    let providers = file.items("providers").map(|items| {
        items.iter().enumerate().filter_map(|(place, item)| provider(&file, place, item, notes)).collect()
    });
    let mut catalog = file.section("catalog");
    let catalog_overlays = catalog.list("overlays", values::path);
    catalog.close();
    let mut rules = file.section("rules");
    let rules_dir = rules.value("dir", values::path);
    rules.close();
    let mut log = file.section("log");
    let (log_format, log_level) = (log.value("format", values::one_of(&LOG_FORMATS)), log.value("level", values::text));
    log.close();
    let mut metrics = file.section("metrics");
    let [metrics_teams, metrics_projects] = ["teams", "projects"].map(|key| metrics.list(key, values::text));
    let metrics_series_max = metrics.value("series_max", values::number(1_000, 1_000_000));
    let metrics_gen_ai = metrics.value("gen_ai", values::one_of(&GEN_AI));
    metrics.close();
    let written = File {
        listen: file.value("listen", values::address),
        admin_listen: file.value("admin_listen", values::address),
        access: file.value("access", values::one_of(&[("open", Access::Open), ("keys", Access::Keys)])),
        tls: certificate_and_key(file.section("tls")),
        path_prefix: file.value("path_prefix", values::path_prefix),
        trusted_proxies: file.list("trusted_proxies", values::network),
        data_dir: file.value("data_dir", values::path),
        body_bytes_max: file.value("body_bytes_max", values::size(KIB, 4 * GIB)),
        bodies_bytes_max: file.value("bodies_bytes_max", values::size(KIB, 1024 * GIB)),
        body_wait_max: file.value("body_wait_max", values::duration_or_zero),
        request_timeout: file.value("request_timeout", values::duration),
        client_keepalive: file.value("client_keepalive", values::duration),
        cost_header_body_bytes_max: file.value("cost_header_body_bytes_max", values::size(0, 4 * GIB)),
        output_tokens_default: file.value("output_tokens_default", values::number(1, 10_000_000)),
        progress_interval: file.value("progress_interval", values::duration),
        drain_max: file.value("drain_max", values::duration_or_zero),
        threads: file.value("threads", values::number(1, 1024)),
        default_provider: file.value("default_provider", values::text),
        providers,
        catalog_overlays,
        rules_dir,
        receivers: receivers::read(file.section("alerts"), notes),
        oidc: login::read(file.section("login"), notes),
        ledger: ledger(file.section("ledger")),
        log_format,
        log_level,
        metrics_teams,
        metrics_projects,
        metrics_series_max,
        metrics_gen_ai,
    };
    file.close();
    written
}

impl Provider {
    /// Of which nothing is written.
    pub fn bare() -> Provider {
        let (root, notes) = (Node::empty(), Notes::default());
        read_provider(Section::root(&root, &notes).item("providers", "", None))
    }
}

/// Every setting's name, as `ledger.sync_interval` and `providers.timeouts.connect`.
pub fn keys() -> Vec<String> {
    let (root, notes) = (Node::empty(), Notes::default());
    read(&root, &notes);
    read_provider(Section::root(&root, &notes).item("providers", "", None));
    notes.keys.into_inner().into_iter().collect()
}

const LOG_FORMATS: [(&str, LogFormat); 3] =
    [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];

/// Versions of OpenTelemetry's GenAI conventions.
const GEN_AI: [(&str, Conventions); 2] = [("v1.41", Conventions::V1_41), ("off", Conventions::Off)];

const DIALECTS: [(&str, Dialect); 3] =
    [("openai", Dialect::OpenAi), ("anthropic", Dialect::Anthropic), ("gemini", Dialect::Gemini)];

const FLAVORS: [(&str, Flavor); 12] = [
    ("standard", Flavor::Standard),
    ("azure", Flavor::Azure),
    ("openrouter", Flavor::Openrouter),
    ("deepseek", Flavor::Deepseek),
    ("groq", Flavor::Groq),
    ("xai", Flavor::Xai),
    ("mistral", Flavor::Mistral),
    ("perplexity", Flavor::Perplexity),
    ("cohere", Flavor::Cohere),
    ("ollama", Flavor::Ollama),
    ("vllm", Flavor::Vllm),
    ("llamacpp", Flavor::Llamacpp),
];

fn provider(file: &Section<'_>, place: usize, item: &Node, notes: &Notes) -> Option<Provider> {
    if !matches!(item.shape, Shape::Section(_)) {
        notes.fault(&item.origin, format!("`providers[{place}]` is {}", item.kind()), "write `- name: openai`");
        return None;
    }
    let called = match item.entry("name").map(|entry| &entry.value.shape) {
        Some(Shape::Scalar(name)) => name.clone(),
        _ => place.to_string(),
    };
    Some(read_provider(file.item("providers", &called, Some(item))))
}

fn read_provider(mut provider: Section<'_>) -> Provider {
    let mut timeouts = provider.section("timeouts");
    let [connect, first_byte, idle, whole] =
        ["connect", "first_byte", "idle", "whole"].map(|key| timeouts.value(key, values::duration));
    timeouts.close();
    let mut tls = provider.section("tls");
    let (ca_file, client) = (tls.value("ca_file", values::path), certificate_and_key(tls.section("client")));
    tls.close();
    let written = Provider {
        origin: provider.origin(),
        has_name: provider.has("name"),
        has_base_url: provider.has("base_url"),
        name: provider.value("name", values::provider_name),
        preset: provider.value("preset", values::text),
        dialect: provider.value("dialect", values::one_of(&DIALECTS)),
        flavor: provider.value("flavor", values::one_of(&FLAVORS)),
        base_url: provider.value("base_url", values::base_url),
        key: provider.secret("key", values::key),
        headers: headers(&mut provider),
        connect,
        first_byte,
        idle,
        whole,
        concurrency_max: provider.value("concurrency_max", values::number(1, 1_000_000)),
        retries: retries(provider.section("retries")),
        fallbacks: provider.list("fallbacks", values::fallback),
        on_client_gone: provider.value(
            "on_client_gone",
            values::one_of(&[("cancel", OnClientGone::Cancel), ("drain", OnClientGone::Drain)]),
        ),
        circuit: circuit(provider.section("circuit")),
        ask_for_usage: provider.value("ask_for_usage", values::boolean),
        trace_context: provider.value("trace_context", values::boolean),
        proxy: provider.secret("proxy", egress::proxy),
        ca_file,
        client,
    };
    provider.close();
    written
}

fn headers(provider: &mut Section<'_>) -> Vec<Header> {
    let path = provider.spelled("headers");
    let mut headers = Vec::new();
    for entry in provider.free("headers") {
        // A variable's name has no `-`.
        let name = match entry.origin {
            Origin::Variable(_) => entry.key.replace('_', "-"),
            _ => entry.key.to_ascii_lowercase(),
        };
        let fault = |what: &str, remedy: &str| {
            provider.notes().fault(&entry.value.origin, format!("`{path}.{name}` {what}"), remedy);
        };
        let Shape::Scalar(text) = &entry.value.shape else {
            fault("has no value", "write the value, or `env:NAME`");
            continue;
        };
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            fault("is no name of a header", "use letters, digits and `-`");
        } else if HOP_HEADERS.contains(&name.as_str()) {
            fault("belongs to the connection", "leave it out: Farebox sets it");
        } else if http::HeaderValue::from_str(text).is_err() {
            fault("holds a letter that no header may", "use printable ASCII letters");
        } else {
            let value = match text.strip_prefix("env:") {
                Some(variable) => HeaderValue::Environment(variable.to_owned()),
                None => HeaderValue::Text(Secret::new(text.clone())),
            };
            headers.push(Header { name: Placed { value: name, origin: entry.value.origin.clone() }, value });
        }
    }
    headers
}

/// Headers of one connection (RFC 9110 §7.6.1), and those that say where the body ends.
const HOP_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn retries(mut section: Section<'_>) -> Retries {
    let written = Retries {
        max: section.value("max", values::number(0, 10)),
        statuses: section.list("statuses", values::retry_status),
        pause: section.value("pause", values::duration_or_zero),
        pause_max: section.value("pause_max", values::duration_or_zero),
    };
    section.close();
    written
}

fn circuit(mut section: Section<'_>) -> Circuit {
    let written = Circuit {
        failures: section.value("failures", values::number(0, 1_000_000)),
        error_percent: section.value("error_percent", values::number(1, 100)),
        calls_min: section.value("calls_min", values::number(1, 1_000_000)),
        window: section.value("window", values::duration),
        open_for: section.value("open_for", values::duration),
    };
    section.close();
    written
}

fn certificate_and_key(mut section: Section<'_>) -> CertificateAndKey {
    let written = CertificateAndKey {
        origin: section.origin(),
        certificate: section.value("certificate", values::path),
        key: section.value("key", values::path),
    };
    section.close();
    written
}

fn ledger(mut section: Section<'_>) -> Ledger {
    let written = Ledger {
        power_loss_window: section.value("power_loss_window", values::duration),
        sync_interval: section.value("sync_interval", values::duration),
        segment_bytes: section.value("segment_bytes", values::size(MIB, 4 * GIB)),
        backlog_bytes_max: section.value("backlog_bytes_max", values::size(2 * MIB, 1024 * GIB)),
        fold_interval: section.value("fold_interval", values::duration),
        admission_wait_max: section.value("admission_wait_max", values::duration_or_zero),
        backlog_events_max: section.value("backlog_events_max", values::number(1_000, 100_000_000)),
        on_failure: section
            .value("on_failure", values::one_of(&[("refuse", OnFailure::Refuse), ("pass", OnFailure::Pass)])),
    };
    section.close();
    written
}
