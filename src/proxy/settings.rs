//! What the proxy needs to know, true and complete: built by `config::check`, never read from a file here.

use crate::dialects::{Dialect, Flavor};
use crate::secret::Secret;
pub use crate::tenants::Network;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Everything of the data port.
#[derive(Clone, Debug)]
pub struct Settings {
    pub listen: SocketAddr,
    pub access: Access,
    pub tls: Option<ListenerTls>,
    /// `/llm` when Farebox is mounted below a path of another proxy; empty for none. Without a trailing slash.
    pub path_prefix: String,
    /// Whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Longest metered JSON body; beyond it 413 in the dialect.
    pub body_bytes_max: u64,
    /// All bodies in memory together; beyond it new ones wait, then 503.
    pub bodies_bytes_max: u64,
    pub body_wait_max: Duration,
    /// The whole request must have arrived by then (slow-loris).
    pub request_timeout: Duration,
    /// Idle keep-alive connections of clients are closed after this.
    pub client_keepalive: Duration,
    /// Whole responses up to this are completed before they are passed on, so that their cost is in a header.
    pub cost_header_body_bytes_max: u64,
    /// Of `max output tokens` where neither request nor catalog says one.
    pub output_tokens_default: u64,
    /// Output progress of streams is journalled this often.
    pub progress_interval: Duration,
    /// In-flight exchanges may finish for this long after a stop is asked for.
    pub drain_max: Duration,
    pub default_provider: Arc<str>,
    /// In the order of the file; names are unique.
    pub providers: Vec<ProviderSettings>,
}

/// Who may call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the port, with a provider's key of his own where Farebox has none.
    #[default]
    Open,
    /// Whoever holds a virtual key; providers are called with Farebox's own keys only.
    Keys,
}

/// Certificate and key of the listener, PEM files.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// One provider.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// `[a-z0-9-]+`, the first segment of `/{provider}/…`.
    pub name: Arc<str>,
    pub dialect: Dialect,
    pub flavor: Flavor,
    pub base_url: BaseUrl,
    pub key: ProviderKey,
    /// Sent with every request, replacing the caller's of the same name.
    pub headers: Vec<(String, Secret<String>)>,
    pub timeouts: Timeouts,
    /// Calls under way at once; further ones wait up to the connect timeout, then 503. `None`: no bound.
    pub concurrency_max: Option<usize>,
    pub retries: Retries,
    /// Where to go when every attempt here failed before a response byte: `provider` or `provider/model`.
    pub fallbacks: Vec<Fallback>,
    /// What happens upstream when the client leaves.
    pub on_client_gone: OnClientGone,
    pub circuit: Circuit,
    /// Ask for `stream_options.include_usage` on the caller's behalf (OpenAI dialect).
    pub ask_for_usage: bool,
    /// It is told our span (`traceparent`) where Farebox makes spans; else the caller's passes as it came.
    pub trace_context: bool,
    pub tls: ProviderTls,
    /// Reached through this; `None`: straight.
    pub proxy: Option<EgressProxy>,
}

/// The proxy through which a provider is reached: asked to CONNECT, also for plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressProxy {
    pub host: String,
    pub port: u16,
    /// `user:password`, decoded.
    pub credentials: Option<Secret<String>>,
}

impl fmt::Display for EgressProxy {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// `https://api.openai.com/v1`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// `` or `/v1`; no trailing slash.
    pub path: String,
}

impl BaseUrl {
    /// On this machine or in a private network, as far as the name tells: an address of one (RFC 1918, 4193, 6598), a
    /// name without a dot, or one of a private zone.
    pub fn is_private(&self) -> bool {
        let host = self.host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        match host.parse() {
            Ok(IpAddr::V4(ip)) => {
                let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
                ip.is_loopback() || ip.is_private() || ip.is_link_local() || shared
            }
            Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
            Err(_) => {
                let zones = [".local", ".localhost", ".internal", ".lan", ".home.arpa", ".svc", ".intranet", ".corp"];
                !host.contains('.') || zones.iter().any(|zone| host.ends_with(zone))
            }
        }
    }

    /// The `Host` header: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let own = if self.https { 443 } else { 80 };
        if self.port == own { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

#[derive(Clone, Debug)]
pub enum ProviderKey {
    /// The caller's own key passes through.
    FromCaller,
    /// Farebox's own (from the environment or a file); the caller's is cut out.
    Own(Secret<String>),
    /// Farebox's own, which it keeps sealed (`farebox provider-key add`); the caller's is cut out.
    Sealed,
    /// The provider wants none (Ollama, vLLM on one's own machine); the caller's is cut out.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// From the request's last byte to the response's head.
    pub first_byte: Duration,
    /// Between two chunks of the response.
    pub idle: Duration,
    /// The whole attempt.
    pub whole: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Further attempts at the same provider; 0 for none.
    pub max: u16,
    /// Statuses that are tried again (a subset of 408, 409, 425, 429, 500–599); empty by default: SDKs retry them too.
    pub statuses: Vec<u16>,
    /// First pause; doubled each time, with jitter; a `retry-after` of the provider is honoured instead.
    pub pause: Duration,
    pub pause_max: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    pub provider: Arc<str>,
    /// Another model name there; `None` keeps the requested one.
    pub model: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnClientGone {
    /// Close the connection to the provider; what flowed is counted.
    Cancel,
    /// Read on to the end (bounded by the whole timeout), so that the usage is reported.
    Drain,
}

/// When a provider counts as down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Failures in a row that open it; 0 switches it off.
    pub failures: u32,
    /// Or this share of failures, in percent, over the last `window` with at least `calls_min` calls.
    pub error_percent: u8,
    pub calls_min: u32,
    pub window: Duration,
    /// Open for this long; then one probe at a time.
    pub open_for: Duration,
}

#[derive(Clone, Debug, Default)]
pub struct ProviderTls {
    /// The certificate authorities that this provider's certificate is checked by, instead of the system's: a PEM file.
    pub ca_file: Option<PathBuf>,
    /// Client certificate and key, PEM files.
    pub client: Option<ListenerTls>,
}

#[cfg(test)]
mod tests {
    use super::BaseUrl;

    #[test]
    fn what_is_private_is_told_by_its_name_or_address() {
        let private =
            |host: &str| BaseUrl { https: false, host: host.into(), port: 80, path: String::new() }.is_private();
        for host in
            ["127.0.0.1", "[::1]", "10.2.3.4", "192.168.1.9", "100.64.0.1", "[fd00::1]", "vllm", "Llm.Corp", "llm.svc"]
        {
            assert!(private(host), "{host}");
        }
        for host in ["api.openai.com", "8.8.8.8", "[2606:4700::1]", "100.128.0.1", "local.example.com"] {
            assert!(!private(host), "{host}");
        }
    }
}
