//! The admin port, asked over a real socket.

mod usage;

use super::*;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::store::fixtures::{NOON, call, daily, later, open_accounts};
use crate::store::{JournalPosition, Store};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tempfile::TempDir;

#[derive(Debug)]
struct AtNoon;

impl Clock for AtNoon {
    fn now(&self) -> Timestamp {
        NOON
    }
}

/// A ledger and its admin port on a free loopback port.
struct Port {
    _dir: TempDir,
    store: Store,
    address: std::net::SocketAddr,
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn port(change: impl FnOnce(&mut ApiState)) -> Port {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), NOON).unwrap();
    let mut state = ApiState {
        reader: Reader::open(dir.path()).unwrap(),
        clock: Arc::new(AtNoon),
        is_loopback: true,
        admin_token: None,
        first_owner: None,
        guesses: Guesses::default(),
        oidc: Vec::new(),
        address: SocketAddr::from(([127, 0, 0, 1], 4001)),
        metrics: Arc::new(|| "farebox_up 1\n".to_owned()),
        readiness: Arc::new(|| Readiness { ready: true, catalog_version: "v1".into(), ..Readiness::default() }),
        node: crate::api::Node::of_nothing(),
    };
    change(&mut state);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router(state)).await });
    Port { _dir: dir, store, address }
}

impl Port {
    fn fold(&mut self, events: &[Event]) {
        let position = self.store.position(1).unwrap();
        let upto = JournalPosition { segment: 0, offset: position.offset + 1 };
        self.store.fold(1, events, upto).unwrap();
    }

    async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(http::Method::GET, path, headers, "").await
    }

    async fn ask(&self, method: http::Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut request = http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response =
            client.request(request.body(Full::new(bytes::Bytes::from(body.to_owned()))).unwrap()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_are_open() {
    let port = port(|state| {
        state.is_loopback = false;
        state.readiness = Arc::new(|| Readiness { reasons: vec!["fenced".into()], ..Readiness::default() });
    })
    .await;
    assert_eq!(port.get("/healthz").await.status, 200);
    let ready = port.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["reasons"][0]), (503, &"fenced".into()));
    let metrics = port.get("/metrics").await;
    assert_eq!((metrics.status, metrics.body.as_str()), (200, "farebox_up 1\n"));
}

#[tokio::test]
async fn beyond_the_loopback_the_ledger_needs_the_token() {
    let closed = port(|state| state.is_loopback = false).await;
    let answer = closed.get("/api/usage/stats").await;
    assert_eq!(answer.status, 403);
    assert!(answer.json()["remedy"].as_str().unwrap().contains("FAREBOX_ADMIN_TOKEN"));

    let open = port(|state| {
        state.is_loopback = false;
        state.admin_token = Some(Secret::new("s3cret".to_owned()));
    })
    .await;
    for wrong in [&[][..], &[("authorization", "Bearer s3cre")], &[("authorization", "Basic s3cret")]] {
        assert_eq!(open.get_with("/api/usage/stats", wrong).await.status, 401);
    }
    assert_eq!(open.get_with("/api/usage/stats", &[("authorization", "Bearer s3cret")]).await.status, 200);
    assert!(!open.get("/api/usage/stats").await.body.contains("s3cret"));
}

#[tokio::test]
async fn a_rebound_host_name_is_refused_on_the_loopback() {
    let port = port(|_| {}).await;
    let refused = port.get_with("/api/usage/stats", &[("host", "evil.example:4001")]).await;
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("DNS rebinding"), "{}", refused.body);
    assert_eq!(port.get_with("/api/usage/stats", &[("host", "localhost:4001")]).await.status, 200);
}

#[tokio::test]
async fn events_are_paged_by_cursor_while_new_ones_arrive() {
    let mut port = port(|_| {}).await;
    port.fold(&(0..7).map(|n| call(later(-n), 0)).collect::<Vec<_>>());
    let mut path = "/api/usage/events?limit=3&model=gpt-4o".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = port.get(&path).await.json();
        for event in page["events"].as_array().unwrap() {
            seen.push(event["started_at"].as_str().unwrap().to_owned());
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/usage/events?limit=3&model=gpt-4o&cursor={cursor}");
        port.fold(&[call(later(100 + seen.len() as i64), 0)]);
    }
    let expected: Vec<String> = (0..7).map(|n| later(-n).to_rfc3339()).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn stats_group_filter_and_sum() {
    let mut port = port(|_| {}).await;
    port.fold(&[
        call(later(-3_600), 0),
        call(later(-7_200), 0).by("bob", "caller-bob"),
        call(later(-90_000), 0),
        call(later(-10), 0).of_model("anthropic", "claude-opus-4-5"),
    ]);
    let answer = port.get("/api/usage/stats?group_by=user&from=24h&provider=openai").await.json();
    assert_eq!(answer["totals"]["calls"], 2);
    assert_eq!(answer["totals"]["cost_usd"], "0.007");
    assert_eq!(answer["groups"].as_array().unwrap().len(), 2);
    assert_eq!(answer["from"], "2026-11-20T12:00:00.000000Z");
    assert_eq!(answer["group_by"], serde_json::json!(["user"]));
}

#[tokio::test]
async fn an_exchange_is_found_by_the_id_of_its_header() {
    let mut port = port(|_| {}).await;
    let event = call(NOON, 0);
    port.fold(std::slice::from_ref(&event));
    let found = port.get(&format!("/api/usage/exchanges/{}", event.opening.exchange)).await;
    assert_eq!((found.status, &found.json()["cost_usd"]), (200, &"0.0035".into()));
    assert_eq!(found.json()["events"][0]["id"], event.opening.id.to_string());
    assert_eq!(port.get("/api/usage/exchanges/fbx_0000000000000").await.status, 404);
    let bad = port.get("/api/usage/exchanges/seven").await;
    assert_eq!((bad.status, &bad.json()["field"]), (400, &"id".into()));
}

#[tokio::test]
async fn bad_parameters_are_named_with_their_remedy() {
    let port = port(|_| {}).await;
    for (path, field) in [
        ("/api/usage/stats?group_by=colour", "group_by"),
        ("/api/usage/stats?from=soon", "from"),
        ("/api/usage/stats?from=1h&to=2h", "to"),
        ("/api/usage/stats?modell=gpt-4o", "modell"),
        ("/api/usage/events?limit=1001", "limit"),
        ("/api/usage/events?limit=5&limit=6", "limit"),
        ("/api/usage/events?cursor=17", "cursor"),
        ("/api/usage/events?order=random", "order"),
        ("/api/usage/export?limit=5", "limit"),
    ] {
        let answer = port.get(path).await;
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.json()["field"], field, "{path}");
        assert!(!answer.json()["remedy"].as_str().unwrap().is_empty());
    }
    let long = format!("/api/usage/events?user={}", "x".repeat(20_000));
    assert_eq!(port.get(&long).await.json()["field"], "query");
    assert_eq!(port.get("/api/nothing").await.status, 404);
}

#[tokio::test]
async fn the_export_streams_every_event_with_the_same_integers() {
    let mut port = port(|_| {}).await;
    for batch in 0..6 {
        port.fold(&(0..4_000).map(|n| call(later(batch * 10), n)).collect::<Vec<_>>());
    }
    let export = port.get("/api/usage/export").await;
    assert_eq!(export.headers["content-type"], "text/csv; charset=utf-8; header=present");
    assert_eq!(export.body.lines().count(), 24_001);
    let total = port.get("/api/usage/stats").await.json();
    assert_eq!((&total["totals"]["calls"], &total["totals"]["cost_usd"]), (&24_000.into(), &"84.00".into()));
    let filtered = port.get("/api/usage/export?user=nobody").await;
    assert_eq!(filtered.body.lines().count(), 1);
}

#[tokio::test]
async fn exports_beyond_the_bound_are_told_when_to_come_back() {
    let mut port = port(|_| {}).await;
    // More than the socket's and the channel's buffers hold, so that unread exports stay open.
    port.fold(&(0..60_000).map(|n| call(NOON, n)).collect::<Vec<_>>());
    let mut open = Vec::new();
    for _ in 0..EXPORTS_MAX {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let request = http::Request::get(format!("http://{}/api/usage/export", port.address));
        open.push(client.request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap());
    }
    let refused = port.get("/api/usage/export").await;
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "10"));
}

#[tokio::test]
async fn budgets_and_their_alerts_are_read_and_an_alert_is_acknowledged() {
    let mut port = port(|_| {}).await;
    let research = daily("research-day", "", 2_000_000_000_000);
    open_accounts(port._dir.path(), &[&research]);
    port.fold(&[call(later(-1), 0).charged_to(&research, 1_700_000_000_000)]);
    let budgets = port.get("/api/usage/budgets?budget=research-day").await.json();
    assert_eq!((&budgets["budgets"][0]["spent"], &budgets["budgets_more"]), (&"1.70".into(), &0.into()));
    let first = port.get("/api/usage/alerts?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = port.get(&format!("/api/usage/alerts?limit=1&cursor={cursor}")).await.json();
    assert_eq!(first["alerts"][0]["threshold_percent"], 80.0);
    assert_eq!(second["alerts"][0]["threshold_percent"], 50.0);

    let path = format!("/api/usage/alerts/{}/ack", first["alerts"][0]["id"].as_str().unwrap());
    let json = [("content-type", "application/json")];
    let known = port.ask(http::Method::POST, &path, &json, "{\"by\": \"ann\"}").await;
    assert_eq!((known.status, &known.json()["acknowledged_by"]), (200, &"ann".into()), "{}", known.body);
    let new = port.get("/api/usage/alerts?acknowledged=false").await.json();
    assert_eq!(new["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(port.ask(http::Method::POST, &path, &json, "{\"by\": \"\"}").await.json()["field"], "by");
    let unknown = "/api/usage/alerts/00000000000000ff-1/ack";
    assert_eq!(port.ask(http::Method::POST, unknown, &json, "{\"by\": \"ann\"}").await.status, 404);
    assert_eq!(port.get("/api/usage/alerts?budgets=x").await.json()["field"], "budgets");
}

#[tokio::test]
async fn no_page_of_another_site_acknowledges_an_alert() {
    let port = port(|_| {}).await;
    let path = "/api/usage/alerts/00000000000000ff-1/ack";
    let form = [("content-type", "text/plain")];
    assert_eq!(port.ask(http::Method::POST, path, &form, "{\"by\": \"ann\"}").await.status, 400);
    let rebound = [("content-type", "application/json"), ("host", "evil.example")];
    assert_eq!(port.ask(http::Method::POST, path, &rebound, "{\"by\": \"ann\"}").await.status, 403);
}
