//! Who looks at this Farebox: a Prometheus, and an OpenTelemetry collector.

use super::{Finding, Visit};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// A Prometheus with thousands of targets says so in a few megabytes.
const ANSWER_BYTES_MAX: usize = 32 << 20;

pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// `GET url`
pub async fn fetch(url: &str, timeout: Duration) -> Result<Answer, String> {
    send(Method::GET, url, None, timeout).await
}

async fn send(method: Method, url: &str, kind: Option<&str>, timeout: Duration) -> Result<Answer, String> {
    let tls = trust(url.starts_with("https:")).map_err(|error| error.to_string())?;
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let mut request = Request::builder().method(method).uri(url);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let request = request.body(Full::default()).map_err(|error| format!("`{url}` is no URL: {error}"))?;
    let asking = async {
        let response = client.request(request).await.map_err(|error| because(&error))?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok(Answer { status, body: body.map_err(|error| error.to_string())?.to_bytes() })
    };
    tokio::time::timeout(timeout, asking).await.map_err(|_| format!("no answer within {} s", timeout.as_secs()))?
}

/// Without TLS nobody need be trusted, nor authorities be installed.
fn trust(tls: bool) -> Result<ClientConfig, Box<dyn std::error::Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = match tls {
        true => config.with_native_roots()?,
        false => config.with_root_certificates(RootCertStore::empty()),
    };
    Ok(config.with_no_client_auth())
}

/// The innermost reason: the outer ones only say that something failed.
fn because(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    innermost.to_string()
}

pub async fn findings(visit: &Visit<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(url) = &visit.arguments.prometheus {
        findings.push(prometheus(url.trim_end_matches('/'), visit).await);
    }
    for collector in [&visit.settings.otel.traces, &visit.settings.otel.metrics].into_iter().flatten() {
        findings.push(of_collector(&collector.url, collector.authority.is_some(), visit.timeout).await);
    }
    findings
}

/// An empty export is a valid one.
async fn of_collector(url: &str, own_authority: bool, timeout: Duration) -> Finding {
    if own_authority {
        return Finding::well("collector", format!("{url} was not tried: it has an authority of its own"));
    }
    let remedy = "is the collector running, and does it take OTLP over HTTP there? Calls go on without it";
    match send(Method::POST, url, Some("application/x-protobuf"), timeout).await {
        Ok(Answer { status: 200..=299, .. }) => Finding::well("collector", format!("{url} takes OTLP")),
        Ok(Answer { status: status @ (401 | 403), .. }) => {
            Finding::well("collector", format!("{url} is there ({status}: it wants its headers)"))
        }
        Ok(Answer { status, .. }) => Finding::warning("collector", format!("{url} answers {status}"), remedy),
        Err(why) => Finding::warning("collector", format!("{url}: {why}"), remedy),
    }
}

async fn prometheus(url: &str, visit: &Visit<'_>) -> Finding {
    match targets(url, visit).await {
        Ok(told) => judged(&told.0, &told.1, visit.settings.admin_listen.port()),
        Err(why) => Finding::fault("prometheus", format!("{url}: {why}"), "is it running there? Name its URL"),
    }
}

async fn targets(url: &str, visit: &Visit<'_>) -> Result<(Value, Value), String> {
    let ask = async |path: &str| {
        let answer = fetch(&format!("{url}{path}"), visit.timeout).await?;
        if answer.status != 200 {
            return Err(format!("{path} is answered {}", answer.status));
        }
        serde_json::from_slice::<Value>(&answer.body).map_err(|_| "that is no Prometheus".to_owned())
    };
    Ok((ask("/api/v1/targets?state=active").await?, ask("/api/v1/query?query=farebox_build_info").await?))
}

/// `builds`: who says `farebox_build_info`. Among the targets is ours where one has our port, or the job's name.
fn judged(targets: &Value, builds: &Value, port: u16) -> Finding {
    let said_by: Vec<&str> = builds["data"]["result"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["metric"]["instance"].as_str())
        .collect();
    if !said_by.is_empty() {
        return Finding::well("prometheus", format!("scrapes Farebox at {}", said_by.join(", ")));
    }
    let ours = |target: &&Value| {
        let address = target["scrapeUrl"].as_str().unwrap_or_default();
        address.contains(&format!(":{port}/")) || target["labels"]["job"] == "farebox"
    };
    match targets["data"]["activeTargets"].as_array().into_iter().flatten().find(ours) {
        Some(target) => {
            let address = target["scrapeUrl"].as_str().unwrap_or_default();
            let why = match target["lastError"].as_str() {
                None | Some("") => "it was not scraped yet",
                Some(why) => why,
            };
            let said = format!("its target {address} is {}: {why}", target["health"].as_str().unwrap_or("unknown"));
            Finding::fault("prometheus", said, "is Farebox running, and may Prometheus reach its admin port?")
        }
        None => Finding::fault(
            "prometheus",
            "none of its targets is a Farebox",
            "add the scrape configuration of prometheus/prometheus.yml (docs/monitoring.md)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;
    use serde_json::json;

    fn none() -> Value {
        json!({"status": "success", "data": {"resultType": "vector", "result": []}})
    }

    #[test]
    fn a_scraped_farebox_is_well() {
        let builds = json!({"data": {"result": [{"metric": {"instance": "farebox:4001", "version": "0.1.0"}}]}});
        let found = judged(&json!({}), &builds, 4001);
        assert_eq!((found.level, found.said.as_str()), (Level::Well, "scrapes Farebox at farebox:4001"));
    }

    #[test]
    fn a_target_that_is_down_says_why() {
        let target = json!({"scrapeUrl": "http://127.0.0.1:4001/metrics", "health": "down",
            "labels": {"job": "llm"}, "lastError": "connection refused"});
        let found = judged(&json!({"data": {"activeTargets": [target]}}), &none(), 4001);
        assert_eq!(found.level, Level::Fault);
        assert!(found.said.contains("http://127.0.0.1:4001/metrics is down: connection refused"), "{}", found.said);
    }

    #[test]
    fn no_target_is_a_fault_with_the_way_to_one() {
        let other = json!({"scrapeUrl": "http://h:9100/metrics", "health": "up", "labels": {"job": "node"}});
        let found = judged(&json!({"data": {"activeTargets": [other]}}), &none(), 4001);
        assert!(found.level == Level::Fault && found.remedy.unwrap().contains("prometheus/prometheus.yml"));
    }
}
