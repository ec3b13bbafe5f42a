//! Good collectors and bad ones.

use super::traced;
use crate::support::collector::{Manner, collector, value};
use crate::support::tls::certificates;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use std::time::{Duration, Instant};

fn histogram_sums(metrics: &[Metric], name: &str) -> Vec<(String, f64, u64)> {
    let found = metrics.iter().find(|metric| metric.name == name);
    let Some(Data::Histogram(histogram)) = found.and_then(|metric| metric.data.as_ref()) else { return Vec::new() };
    let points = histogram.data_points.iter();
    let mut sums: Vec<_> = points
        .map(|point| (value(&point.attributes, "gen_ai.token.type"), point.sum.unwrap_or_default(), point.count))
        .collect();
    sums.sort_by(|a, b| a.0.cmp(&b.0));
    sums
}

#[tokio::test]
async fn the_gen_ai_metrics_are_pushed_and_stand_on_the_page_of_metrics() {
    let collector = collector(Manner::Takes).await;
    let shop = traced(&collector).open().await;
    for _ in 0..3 {
        shop.chat("Say something.").wishing("output-tokens", 5).answered().await;
    }
    let tokens = "gen_ai.client.token.usage";
    let all = |metrics: &[Metric]| histogram_sums(metrics, tokens).first().is_some_and(|(_, _, count)| *count == 3);
    let metrics = collector.metrics_once(all).await;
    assert_eq!(histogram_sums(&metrics, tokens), [("input".into(), 30.0, 3), ("output".into(), 15.0, 3)]);
    assert_eq!(histogram_sums(&metrics, "gen_ai.client.operation.duration")[0].2, 3);

    let text = shop.admin("/metrics").answered().await.text();
    let line = |start: &str, with: &str, value: &str| {
        let found = text.lines().any(|line| line.starts_with(start) && line.contains(with) && line.ends_with(value));
        assert!(found, "no {start} with {with} and {value} in\n{text}");
    };
    line("gen_ai_client_token_usage_sum{", "gen_ai_token_type=\"input\"", " 30");
    line("gen_ai_client_token_usage_bucket{", "le=\"67108864\"", " 3");
    line("gen_ai_client_operation_duration_seconds_count{", "gen_ai_request_model=\"gpt-4o\"", " 3");
    assert!(!text.contains("otel_scope") && !text.contains("target_info"), "{text}");
}

#[tokio::test]
async fn a_collector_that_hangs_slows_no_call_and_is_counted() {
    let collector = collector(Manner::Hangs).await;
    let shop = traced(&collector)
        .with_variable("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .with_variable("OTEL_BSP_MAX_QUEUE_SIZE", "20")
        .open()
        .await;
    shop.chat("Hi").answered().await;
    while collector.exports() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(shop.chat("Hi").answered().await.status, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    shop.admin("/metrics").answered().await;
    let text = shop.admin("/metrics").answered().await.text();
    // 21 calls of 6 spans, of which 20 wait.
    assert!(text.lines().any(|line| line == "farebox_telemetry_dropped_total{what=\"spans\"} 106"), "{text}");

    // It does not keep the process either.
    let mut shop = shop;
    let begun = Instant::now();
    shop.terminate();
    assert!(shop.ended().await.success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_collector_that_refuses_is_counted_and_said_once() {
    let collector = collector(Manner::Refuses).await;
    let shop = traced(&collector).with_variable("OTEL_METRICS_EXPORTER", "none").open().await;
    for exports in 1..=2 {
        shop.chat("Hi").answered().await;
        while collector.exports() < exports {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let text = shop.admin("/metrics").answered().await.text();
        let counted =
            text.lines().find(|line| line.starts_with("farebox_otlp_export_failures_total{signal=\"traces\"}"));
        let failures: u64 = counted.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        if failures >= 2 {
            break;
        }
        assert!(Instant::now() < until, "{text}");
    }
    let said = shop.log().matches("the collector does not take what is sent").count();
    assert_eq!(said, 1, "{}", shop.log());
}

#[tokio::test]
async fn what_waits_is_sent_when_the_node_stops() {
    let collector = collector(Manner::Takes).await;
    let mut shop = traced(&collector).with_variable("OTEL_BSP_SCHEDULE_DELAY", "600000").open().await;
    shop.chat("Hi").answered().await;
    shop.terminate();
    assert!(shop.ended().await.success());
    assert_eq!(collector.spans().len(), 6);
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_where_it_is_named_and_nowhere_else() {
    let collector = collector(Manner::Takes).await;
    let certificates = certificates();
    let door = certificates.before(&collector.url).await;
    let trusting = certificates.certificate().display().to_string();
    let shop = traced(&collector)
        .with_variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{door}/v1/traces"))
        .with_variable("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &format!("{door}/v1/metrics"))
        .with_variable("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &trusting)
        .with_variable("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .open()
        .await;
    shop.chat("Hi").answered().await;
    let until = Instant::now() + Duration::from_secs(20);
    while collector.exports() == 0 {
        assert!(Instant::now() < until, "{}", shop.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(collector.headers()["content-encoding"], "gzip");
    // The metrics' collector has the same certificate, and nobody said to trust it.
    while !shop.log().contains("the collector does not take what is sent") {
        assert!(Instant::now() < until, "{}", shop.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!shop.log().contains("\"signal\":\"traces\""), "{}", shop.log());
}
