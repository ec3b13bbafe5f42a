//! People are told: a threshold that is passed reaches its receivers, also when they are away, also across a kill.

use super::{bounded, cost_pico, usd};
use crate::support::egress::egress;
use crate::support::{Shop, shop};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A receiver on a port of its own, that answers what it is told to and keeps what it got.
struct Receiver {
    url: String,
    state: Arc<Kept>,
}

struct Kept {
    status: AtomicU16,
    got: Mutex<Vec<(HeaderMap, Value)>>,
}

impl Receiver {
    async fn answering(status: u16) -> Receiver {
        let state = Arc::new(Kept { status: AtomicU16::new(status), got: Mutex::default() });
        let take = |State(kept): State<Arc<Kept>>, headers: HeaderMap, body: String| async move {
            kept.got.lock().unwrap().push((headers, serde_json::from_str(&body).unwrap()));
            StatusCode::from_u16(kept.status.load(Ordering::SeqCst)).unwrap()
        };
        let router = Router::new().fallback(axum::routing::post(take)).with_state(Arc::clone(&state));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/services/T0/secret-part", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Receiver { url, state }
    }

    fn answer(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    fn got(&self) -> Vec<(HeaderMap, Value)> {
        self.state.got.lock().unwrap().clone()
    }

    async fn until(&self, shop: &Shop, enough: impl Fn(&[(HeaderMap, Value)]) -> bool) -> Vec<(HeaderMap, Value)> {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let got = self.got();
            if enough(&got) {
                return got;
            }
            assert!(Instant::now() < until, "got {got:?}\n{}", shop.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn rules() -> String {
    format!(
        "version: 1
budgets:
  - {{name: day, for_each: user, window: month, limit: {}, thresholds: [50%, 100%]}}
alerts:
  - {{name: all, budget: day, receivers: [pager]}}
  - {{name: late, budget: '*', thresholds: [100%], receivers: [finops]}}
",
        usd(cost_pico(20) * 2)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_receiver_did_not_take_comes_again_under_its_id_also_after_a_kill() {
    let (pager, finops) = (Receiver::answering(503).await, Receiver::answering(200).await);
    let receivers = "alerts: {receivers: [{name: pager, webhook: 'env:PAGER', token: 'env:TOKEN'}, {name: finops, slack: 'env:SLACK'}]}";
    let mut shop = shop()
        .with_setting(receivers)
        .with_variable("PAGER", &pager.url)
        .with_variable("TOKEN", "canary-token")
        .with_variable("SLACK", &finops.url)
        .with_rules(&rules())
        .open()
        .await;
    let call = |shop: &Shop| bounded(shop, 20, false).with("x-farebox-user", "ann").answered();
    assert_eq!(call(&shop).await.status, 200);
    pager.until(&shop, |got| !got.is_empty()).await;
    shop.kill();
    pager.answer(200);
    shop.start();
    assert_eq!(call(&shop).await.status, 200);
    let is_whole = |got: &[(HeaderMap, Value)]| {
        ["5000", "10000"].iter().all(|threshold| {
            got.iter().any(|(_, body)| body["id"].as_str().unwrap().ends_with(&format!("-{threshold}")))
        }) && got.len() >= 3
    };
    let got = pager.until(&shop, is_whole).await;
    let ids: Vec<_> = got.iter().map(|(_, body)| body["id"].as_str().unwrap()).collect();
    assert_eq!(ids[0], *ids.iter().skip(1).find(|id| id.ends_with("-5000")).unwrap(), "the same id each time");
    let (headers, body) = &got[0];
    assert_eq!(headers["authorization"], "Bearer canary-token");
    assert_eq!(headers["idempotency-key"].to_str().unwrap(), ids[0]);
    assert_eq!(
        (&body["budget"], &body["scope"], &body["threshold_percent"]),
        (&"day".into(), &"user=ann".into(), &50.0.into())
    );
    let slack = finops.until(&shop, |got| !got.is_empty()).await;
    let text = slack[0].1["text"].as_str().unwrap();
    assert!(
        text.contains("The budget day (user=ann) passed 100 %") && text.contains(&format!("{}-10000", &ids[0][..16])),
        "{text}"
    );
    let delivered = |alert: &Value| {
        alert["deliveries"].as_array().unwrap().iter().all(|delivery| delivery["delivered_at"].is_string())
    };
    let until = Instant::now() + Duration::from_secs(20);
    let alerts = loop {
        let listed: Value = serde_json::from_slice(&shop.command(&["alerts", "--json"]).stdout).unwrap();
        let alerts = listed["alerts"].as_array().unwrap().clone();
        if alerts.len() == 2 && alerts.iter().all(delivered) {
            break alerts;
        }
        assert!(Instant::now() < until, "{listed}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let to: Vec<_> = alerts.iter().map(|alert| alert["deliveries"].as_array().unwrap().len()).collect();
    assert_eq!(to, [2, 1], "100 % to both, 50 % to the pager alone: {alerts:?}");
    assert_eq!(finops.got().len(), 1);
    for secret in ["secret-part", "canary-token"] {
        assert!(!shop.log().contains(secret), "{}", shop.log());
    }
}

/// The line of a metric that begins so.
async fn until_shown(shop: &Shop, line: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let told = shop.admin("/metrics").answered().await.text();
        if told.lines().any(|shown| shown == line) {
            return;
        }
        let ours: Vec<_> = told.lines().filter(|shown| shown.starts_with("farebox_alert")).collect();
        assert!(Instant::now() < until, "{line} in {ours:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_are_reached_through_the_egress_proxy_and_what_waits_and_fails_is_counted() {
    let pager = Receiver::answering(503).await;
    let egress = egress(200).await;
    egress.lead_to(pager.url["http://".len()..].split('/').next().unwrap().parse().unwrap());
    let shop = shop()
        .with_setting("alerts: {receivers: [{name: pager, webhook: 'http://alerts.corp.example/hook?key=canary'}]}")
        .with_variable("http_proxy", &format!("http://ann:secret@{}", egress.address))
        .with_rules(&rules().replace(", receivers: [finops]", ""))
        .open()
        .await;
    until_shown(&shop, "farebox_alert_deliveries_total{receiver=\"pager\",result=\"delivered\"} 0").await;
    assert_eq!(bounded(&shop, 20, false).with("x-farebox-user", "ann").answered().await.status, 200);
    pager.until(&shop, |got| !got.is_empty()).await;
    let head = egress.heads().remove(0);
    assert!(
        head.starts_with("connect alerts.corp.example:80 ") && head.contains("proxy-authorization: basic "),
        "{head}"
    );
    until_shown(&shop, "farebox_alert_deliveries_waiting 1").await;
    pager.answer(200);
    until_shown(&shop, "farebox_alert_deliveries_total{receiver=\"pager\",result=\"delivered\"} 1").await;
    until_shown(&shop, "farebox_alert_deliveries_waiting 0").await;
    let told = shop.admin("/metrics").answered().await.text();
    let failed = told.lines().find(|line| line.contains("receiver=\"pager\",result=\"failed\"")).unwrap();
    assert!(!failed.ends_with(" 0"), "{failed}");
    assert!(!shop.log().contains("canary") && !shop.log().contains("secret"), "{}", shop.log());
}

#[tokio::test]
async fn a_receiver_that_nobody_configured_is_a_warning_and_its_alert_says_so() {
    let shop = shop().with_rules(&rules()).open().await;
    assert!(shop.log().contains("no receiver `pager` is configured"), "{}", shop.log());
    let call = || bounded(&shop, 20, false).with("x-farebox-user", "ann").answered();
    assert_eq!((call().await.status, call().await.status), (http::StatusCode::OK, http::StatusCode::OK));
    let until = Instant::now() + Duration::from_secs(20);
    while !shop.log().contains("an alert will not be delivered") {
        assert!(Instant::now() < until, "{}", shop.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
