//! An OpenTelemetry collector of our own: it takes OTLP over HTTP, keeps the bytes, and can be asked what they say.

use super::asking::PATIENCE;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a collector does with what it is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// Reads it and never answers.
    Hangs,
    Refuses,
}

pub struct Collector {
    pub url: String,
    kept: Arc<Kept>,
    _alive: watch::Sender<()>,
}

struct Kept {
    manner: Manner,
    traces: Mutex<Vec<Bytes>>,
    metrics: Mutex<Vec<Bytes>>,
    headers: Mutex<Vec<HeaderMap>>,
}

pub async fn collector(manner: Manner) -> Collector {
    let kept =
        Arc::new(Kept { manner, traces: Mutex::default(), metrics: Mutex::default(), headers: Mutex::default() });
    let routes = Router::new()
        .route(
            "/v1/traces",
            post(async |State(kept): State<Arc<Kept>>, headers: HeaderMap, body: Bytes| {
                kept.headers.lock().unwrap().push(headers);
                kept.traces.lock().unwrap().push(body);
                kept.answer().await
            }),
        )
        .route(
            "/v1/metrics",
            post(async |State(kept): State<Arc<Kept>>, body: Bytes| {
                kept.metrics.lock().unwrap().push(body);
                kept.answer().await
            }),
        )
        .with_state(Arc::clone(&kept));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (alive, mut ended) = watch::channel(());
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(async move {
            let _ = ended.changed().await;
        });
        let _ = served.await;
    });
    Collector { url, kept, _alive: alive }
}

impl Kept {
    async fn answer(&self) -> StatusCode {
        match self.manner {
            Manner::Takes => StatusCode::OK,
            Manner::Refuses => StatusCode::FORBIDDEN,
            Manner::Hangs => std::future::pending().await,
        }
    }
}

impl Collector {
    /// Every span so far, in the order of their beginnings.
    pub fn spans(&self) -> Vec<Span> {
        let bodies = self.kept.traces.lock().unwrap().clone();
        let requests = bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap());
        let resources = requests.flat_map(|request| request.resource_spans);
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        let mut spans: Vec<Span> = scopes.flat_map(|scope| scope.spans).collect();
        spans.sort_by_key(|span| span.start_time_unix_nano);
        spans
    }

    /// The same once there are so many.
    pub async fn spans_once(&self, count: usize) -> Vec<Span> {
        let until = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if spans.len() >= count {
                return spans;
            }
            assert!(Instant::now() < until, "{count} spans in time; there are {}: {spans:#?}", spans.len());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn metrics_once(&self, enough: impl Fn(&[Metric]) -> bool) -> Vec<Metric> {
        let until = Instant::now() + PATIENCE;
        loop {
            let bodies = self.kept.metrics.lock().unwrap().clone();
            // Each request has everything so far.
            let last = bodies.last().map(|body| ExportMetricsServiceRequest::decode(body.clone()).unwrap());
            let resources = last.into_iter().flat_map(|request| request.resource_metrics);
            let scopes = resources.flat_map(|resource| resource.scope_metrics);
            let metrics: Vec<Metric> = scopes.flat_map(|scope| scope.metrics).collect();
            if enough(&metrics) {
                return metrics;
            }
            assert!(Instant::now() < until, "those metrics in time: {metrics:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Attributes of the resource that sent the first spans.
    pub fn resource(&self) -> Vec<(String, String)> {
        let body = self.kept.traces.lock().unwrap().first().cloned().unwrap();
        let request = ExportTraceServiceRequest::decode(body).unwrap();
        let resource = request.resource_spans[0].resource.clone().unwrap();
        resource.attributes.iter().map(|pair| (pair.key.clone(), said(pair.value.as_ref()))).collect()
    }

    pub fn headers(&self) -> HeaderMap {
        self.kept.headers.lock().unwrap().first().cloned().unwrap()
    }

    /// All that ever came, as it came.
    pub fn bytes(&self) -> Vec<u8> {
        let (traces, metrics) = (self.kept.traces.lock().unwrap(), self.kept.metrics.lock().unwrap());
        traces.iter().chain(metrics.iter()).flatten().copied().collect()
    }

    pub fn exports(&self) -> usize {
        self.kept.traces.lock().unwrap().len()
    }
}

/// A span's attribute as text; empty where it has none.
pub fn attribute(of: &Span, key: &str) -> String {
    value(&of.attributes, key)
}

pub fn value(attributes: &[KeyValue], key: &str) -> String {
    said(attributes.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_ref()))
}

fn said(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(truth)) => truth.to_string(),
        Some(Any::ArrayValue(array)) => {
            array.values.iter().map(|value| said(Some(value))).collect::<Vec<_>>().join(",")
        }
        Some(other) => format!("{other:?}"),
    }
}
