//! The way to a collector: OTLP over HTTP, on the threads of the SDK, never on a request's.

use super::environment::Collector;
use crate::telemetry::series::Cell;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as ExportSpans};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Of an answer nothing but its status and a short reason is of use.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// One signal's failed exports, and whether the last one was well: each turn is said once.
#[derive(Clone, Debug)]
pub struct Sent {
    pub failures: Arc<Cell>,
    signal: &'static str,
    url: Arc<str>,
    failing: Arc<AtomicBool>,
}

impl Sent {
    pub fn new(signal: &'static str, url: &str, failures: Arc<Cell>) -> Sent {
        Sent { failures, signal, url: url.into(), failing: Arc::default() }
    }

    fn ended(&self, result: &OTelSdkResult) {
        let (signal, url) = (self.signal, &*self.url);
        match result {
            Ok(()) if self.failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(signal, url, "the collector takes what is sent again");
            }
            Ok(()) => {}
            Err(error) => {
                self.failures.add(1);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(signal, url, %error, "the collector does not take what is sent; calls go on");
                }
            }
        }
    }
}

/// Sends spans and counts what is on its way, so that the queue's bound is ours to see.
#[derive(Debug)]
pub struct CountedSpans {
    pub inner: SpanExporter,
    pub waiting: Arc<AtomicUsize>,
    pub sent: Sent,
}

impl ExportSpans for CountedSpans {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.inner.export(batch).await;
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        self.sent.ended(&result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sends metrics and counts failures.
pub struct CountedMetrics {
    pub inner: MetricExporter,
    pub sent: Sent,
}

impl PushMetricExporter for CountedMetrics {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.inner.export(metrics).await;
        self.sent.ended(&result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.inner.temporality()
    }
}

/// The SDK's exporter of spans to this collector.
pub fn spans(to: &Collector) -> Result<SpanExporter, String> {
    let built = SpanExporter::builder().with_http().with_http_client(Wire::to(to)?);
    built.with_endpoint(&to.url).with_timeout(to.timeout).build().map_err(|error| error.to_string())
}

/// The SDK's exporter of metrics to this collector.
pub fn metrics(to: &Collector) -> Result<MetricExporter, String> {
    let built = MetricExporter::builder().with_http().with_http_client(Wire::to(to)?);
    built.with_endpoint(&to.url).with_timeout(to.timeout).build().map_err(|error| error.to_string())
}

/// Sends one request at a time, on whichever thread asks; a connection each, since exports are seconds apart.
#[derive(Debug)]
struct Wire {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Runtime,
    timeout: Duration,
}

impl Wire {
    fn to(collector: &Collector) -> Result<Wire, String> {
        let tls = if collector.url.starts_with("https:") { trust(collector)? } else { nobody()? };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Wire { client, runtime: runtime.map_err(|error| error.to_string())?, timeout: collector.timeout })
    }
}

#[async_trait::async_trait]
impl HttpClient for Wire {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let sending = async {
            let response = self.client.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?;
            Ok(http::Response::from_parts(head, body.to_bytes()))
        };
        // The SDK's threads know no runtime.
        self.runtime.block_on(async { tokio::time::timeout(self.timeout, sending).await? })
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// No TLS is spoken: nobody need be trusted, and no certificates be read.
fn nobody() -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| error.to_string())?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn trust(collector: &Collector) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?;
    let config = match &collector.authority {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            config.with_root_certificates(roots)
        }
        None => config.with_native_roots().map_err(|error| format!("no certificate authorities are known: {error}"))?,
    };
    match &collector.client {
        None => Ok(config.with_no_client_auth()),
        Some((certificate, key)) => {
            let read = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
            config.with_client_auth_cert(certificates(certificate)?, read).map_err(|error| error.to_string())
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |error: String| format!("{}: {error}", path.display());
    let read = CertificateDer::pem_file_iter(path).map_err(|error| fault(error.to_string()))?;
    let read = read.collect::<Result<Vec<_>, _>>().map_err(|error| fault(error.to_string()))?;
    if read.is_empty() { Err(fault("it holds no certificate".to_owned())) } else { Ok(read) }
}
