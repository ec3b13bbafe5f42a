//! The gate against getting slower: what a small call costs Farebox's request threads, beside what it costs an empty
//! pingora `ProxyHttp`, in short rounds in turns. A ratio of CPU time, because that is neither the machine's speed nor its
//! load; the middle one of all pairs of rounds. Farebox itself is unoptimised in this build, so the
//! figure says nothing but whether it has grown. Budgets, rules, ledger, metrics and log are on.
//!
//! `ratio.txt` has what it was; `FAREBOX_BLESS=1` writes it anew.

use crate::support::shop;
use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// It fails when a call costs half more than it did.
const GROWTH_MAX: f64 = 1.5;
const ROUNDS: usize = 15;
const CALLS: u64 = 40;
/// What is found once is looked at again; what is true is found each time.
const LOOKS: usize = 3;

const PASS: &str = "FAREBOX_GATE_PASS";
const KNOWN: &str = include_str!("ratio.txt");
const KNOWN_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gate/ratio.txt");
const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"gpt-4o-mini","choices":[{"index":0,"message":{"role":"assistant","content":"Hello there."},"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"completion_tokens":3,"total_tokens":43}}"#;
const QUESTION: &str = r#"{"model":"gpt-4o-mini","max_tokens":20,"messages":[{"role":"user","content":"Say something about the sea, and be terse."}]}"#;
const RULES: &str = "version: 1\nbudgets:\n  - {name: house, window: month, limit: 900000 USD}\n  - {name: each, for_each: key, window: day, limit: 900000 USD}\n";

#[tokio::test]
async fn a_call_costs_less_than_half_more_than_it_did_beside_an_empty_pass_through() {
    if !is_the_build_that_was_measured() {
        return;
    }
    let upstream = upstream();
    let base = format!("base_url: http://{upstream}/v1");
    let shop = shop().with_setting("threads: 1").with_setting("default_provider: far").with_rules(RULES);
    let shop = shop.with_catalog("providers:\n  far: {like: [openai]}\n");
    let shop = shop.with_provider("far", "openai", &[&base]).open().await;
    let farebox = Contestant { address: shop.address(), pid: shop.pid(), threads: "request" };
    let (pass, _ended) = pass(upstream);
    let known = ratio_in(KNOWN);
    let bless = std::env::var_os("FAREBOX_BLESS").is_some();
    let mut found = f64::INFINITY;
    for _ in 0..LOOKS {
        let pairs = (0..ROUNDS).map(|_| (pass.round(), farebox.round())).collect();
        found = found.min(median_ratio(pairs));
        if !bless && found < known * GROWTH_MAX {
            return;
        }
    }
    if bless {
        let text = KNOWN.replace(&format!("{known:.2}"), &format!("{found:.2}"));
        return std::fs::write(KNOWN_PATH, text).unwrap();
    }
    panic!("{found:.2} × an empty pass-through; it was {known:.2} ×. If that is meant, see tests/gate/ratio.txt");
}

/// Of rounds that were one after the other, so that both had the same neighbours.
fn median_ratio(pairs: Vec<(f64, f64)>) -> f64 {
    let mut ratios: Vec<f64> = pairs.iter().map(|(pass, farebox)| farebox / pass).collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ratios.len() / 2];
    eprintln!("{:.2} ×, between {:.2} and {:.2}", ratio, ratios[0], ratios[ratios.len() - 1]);
    ratio
}

/// An optimised build has another ratio, and so has one that counts which lines are run.
fn is_the_build_that_was_measured() -> bool {
    cfg!(all(debug_assertions, target_os = "linux")) && std::env::var_os("LLVM_PROFILE_FILE").is_none()
}

/// The line that is no remark.
fn ratio_in(text: &str) -> f64 {
    let line = text.lines().find(|line| !line.starts_with('#')).expect("a ratio");
    line.parse().expect("a number")
}

/// The child of the gate; by itself it does nothing.
#[test]
fn pass_through() {
    let Ok(addresses) = std::env::var(PASS) else { return };
    let (listen, upstream) = addresses.split_once(',').unwrap();
    let conf = ServerConf { threads: 1, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Pass(upstream.parse().unwrap()));
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

struct Pass(SocketAddr);

#[async_trait]
impl ProxyHttp for Pass {
    type CTX = ();
    fn new_ctx(&self) {}
    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// What a child of ours is killed by, however the test ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pass(upstream: SocketAddr) -> (Contestant, Ended) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "gate::pass_through", "--nocapture"]).env(PASS, format!("{address},{upstream}"));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = child.id();
    let ended = Ended(child);
    let until = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "the pass-through listens");
        std::thread::sleep(Duration::from_millis(10));
    }
    (Contestant { address, pid, threads: "" }, ended)
}

/// A provider that answers everything alike, each connection on a thread of its own.
fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let answer = message("HTTP/1.1 200 OK", ANSWER);
                let _ = stream.set_nodelay(true);
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut writer = stream;
                while received(&mut reader).is_some() && writer.write_all(&answer).is_ok() {}
            });
        }
    });
    address
}

struct Contestant {
    address: SocketAddr,
    pid: u32,
    /// How the names of the threads that carry requests begin.
    threads: &'static str,
}

impl Contestant {
    /// Nanoseconds of CPU for a call, in one round on one connection.
    fn round(&self) -> f64 {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-gate";
        let question = message(head, QUESTION);
        let mut before = 0;
        for call in 0..=CALLS {
            // The first one opens connections and is no part of it.
            if call == 1 {
                before = self.nanos();
            }
            writer.write_all(&question).unwrap();
            let first = received(&mut reader).expect("an answer");
            assert!(first.starts_with("http/1.1 200"), "{first}");
        }
        (self.nanos() - before) as f64 / CALLS as f64
    }

    /// CPU time that its threads have had (`sched-stats` of the kernel's documentation: the first number).
    fn nanos(&self) -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().flatten();
        let of = |task: &Path| {
            let read = |name: &str| std::fs::read_to_string(task.join(name)).unwrap_or_default();
            let nanos = read("schedstat").split(' ').next().and_then(|text| text.parse::<u64>().ok());
            nanos.filter(|_| read("comm").starts_with(self.threads)).unwrap_or(0)
        };
        tasks.map(|task| of(&task.path())).sum()
    }
}

fn message(first_line: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{first_line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// The first line of the next message, once its body is here too.
fn received(reader: &mut impl BufRead) -> Option<String> {
    let (mut first, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        length = line.strip_prefix("content-length:").map_or(length, |text| text.trim().parse().unwrap());
        first.get_or_insert(line);
    }
    reader.take(length).read_to_end(&mut Vec::new()).ok()?;
    first
}
