//! The house put together, with a fault planted in it.

use super::*;
use crate::clock::Timestamp;
use crate::config::{self, Surroundings};
use crate::simulator::{Running, SeenLog, SimulatorSettings, start};
use crate::store::{EventQuery, EventRow, Order};
use pingora_core::apps::ServerApp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A clock that panics once, when the request thread asks it for the first time after a provider has seen an attempt of
/// this number.
struct FaultyClock {
    thread: ThreadId,
    log: Arc<SeenLog>,
    faulty_at: AtomicU64,
}

impl Clock for FaultyClock {
    fn now(&self) -> Timestamp {
        let seen = self.log.totals().attempts;
        let here = std::thread::current().id() == self.thread;
        if here && self.faulty_at.compare_exchange(seen, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() && seen > 0 {
            panic!("a fault that was planted");
        }
        SystemClock.now()
    }
}

struct Bench {
    house: House,
    clock: Arc<FaultyClock>,
    _simulator: Running,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn open() -> Bench {
        let simulator = start(SimulatorSettings::default()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let url = simulator.url();
        let text = format!(
            "data_dir: {}\nproviders:\n\
             - {{name: openai, base_url: \"{url}/v1\", key: none}}\n\
             - {{name: anthropic, base_url: \"{url}\", key: none}}\n",
            dir.path().display()
        );
        let settings = config::read(None, &text, &Surroundings::default()).unwrap();
        let clock = Arc::new(FaultyClock {
            thread: std::thread::current().id(),
            log: Arc::clone(&simulator.log),
            faulty_at: AtomicU64::new(0),
        });
        let house = House::build(&settings, Log::silent(), Arc::clone(&clock) as Arc<dyn Clock>).unwrap();
        Bench { house, clock, _simulator: simulator, dir }
    }

    /// One request on a connection of its own, and everything that is said in answer.
    async fn ask(&self, path: &str, body: &str) -> String {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let app = Arc::new(DataPort::new(Arc::clone(&self.house.proxy)));
        let (_stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(async move {
            app.process_new(Box::new(server), &stopped).await;
        });
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        client.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        serving.await.expect("the connection's task lives on");
        answer
    }

    async fn rows(&self, count: usize) -> Vec<EventRow> {
        let query = EventQuery { order: Order::OldestFirst, limit: 100, ..EventQuery::default() };
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let rows = Reader::open(self.dir.path()).unwrap().events(&query).unwrap();
            if rows.len() >= count {
                return rows;
            }
            assert!(tokio::time::Instant::now() < until, "{count} rows in time");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_panic_inside_an_exchange_is_a_500_in_the_dialect_with_a_row_and_nobody_else_notices() {
    let bench = Bench::open().await;
    let chat = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}"#;
    let claude = r#"{"model":"claude-sonnet-5-5","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}"#;
    bench.clock.faulty_at.store(1, Ordering::Relaxed);
    let openai = bench.ask("/v1/chat/completions", chat).await;
    assert!(openai.starts_with("HTTP/1.1 500") && openai.contains("\"code\":\"internal_error\""), "{openai}");
    bench.clock.faulty_at.store(2, Ordering::Relaxed);
    let anthropic = bench.ask("/anthropic/v1/messages", claude).await;
    assert!(anthropic.starts_with("HTTP/1.1 500") && anthropic.contains("\"type\":\"api_error\""), "{anthropic}");
    let whole = bench.ask("/v1/chat/completions", chat).await;
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
    let rows = bench.rows(3).await;
    let outcomes: Vec<_> = rows.iter().map(|row| row.outcome.as_deref().unwrap()).collect();
    assert_eq!(outcomes, ["proxy_internal", "proxy_internal", "ok"]);
    assert!(rows[..2].iter().all(|row| row.usage.input_tokens() > 0 && !row.complete), "{rows:#?}");
    assert_eq!((bench.house.proxy.in_flight(), bench.house.proxy.ledger.status().open_reservations), (0, 0));
    bench.house.close();
}

#[tokio::test]
async fn a_panic_in_the_middle_of_a_stream_cuts_it_and_books_what_flowed() {
    let bench = Bench::open().await;
    let stream = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    assert!(bench.ask("/v1/chat/completions", stream).await.contains("[DONE]"));
    bench.clock.faulty_at.store(2, Ordering::Relaxed);
    let cut = bench.ask("/v1/chat/completions", stream).await;
    assert!(!cut.contains("[DONE]"), "{cut}");
    assert_eq!(bench.rows(2).await[1].outcome.as_deref(), Some("proxy_internal"));
    bench.house.close();
}
