//! A million metered calls through the real binary, whole and streamed, with budgets, a limit and a swap rule on; then
//! `farebox ledger verify`. What is kept: how long it took, memory, sizes, and that every call is in the ledger.
//!
//! `cargo bench --bench million` or `make million`; `… -- 20000` for fewer. The provider is `end_to_end/upstream.rs`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops and says where")]

#[path = "end_to_end/upstream.rs"]
mod upstream;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CALLS: u64 = 1_000_000;
const CONNECTIONS: u64 = 32;
/// One of so many is a stream of 50 events.
const STREAM_EVERY: u64 = 5;
const RULES: &str = include_str!("end_to_end/rules.yaml");

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|word| word == "upstream") {
        return upstream::run();
    }
    let calls = arguments.first().map_or(CALLS, |number| number.parse().unwrap());
    let mut provider = Command::new(std::env::current_exe().unwrap());
    let mut provider = Killed(provider.arg("upstream").stdout(Stdio::piped()).spawn().unwrap());
    let mut address = String::new();
    BufReader::new(provider.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut farebox, listen) = serve(dir.path(), address.trim());
    println!("# {calls} metered calls\n");
    println!("Command: `make million` (`cargo bench --bench million -- {calls}`), {}.\n", profile());
    let took = load(&listen, calls);
    let pid = farebox.0.id();
    let (peak, now) = (status_kib(pid, "VmHWM:"), status_kib(pid, "VmRSS:"));
    let cpu = cpu_seconds(pid);
    let stopped = stop(&mut farebox);
    let data = dir.path().join("data");
    println!("| what | figure |\n|---|---|");
    println!("| calls, {CONNECTIONS} at a time, one of {STREAM_EVERY} a stream of 50 events | {calls} |");
    println!("| time, and calls a second | {:.1} s, {:.0} |", took.as_secs_f64(), calls as f64 / took.as_secs_f64());
    println!("| CPU of Farebox, all threads, a call | {:.1} µs |", cpu * 1e6 / calls as f64);
    println!("| resident, most and at the end | {} MiB, {} MiB |", peak >> 10, now >> 10);
    println!("| until everything was in the store after SIGTERM | {:.2} s |", stopped.as_secs_f64());
    println!(
        "| ledger, journal | {} MiB, {} MiB |",
        bytes_of(&data, "sqlite") >> 20,
        bytes_of(&data.join("journal"), "") >> 20
    );
    let began = Instant::now();
    let verify = Command::new(env!("CARGO_BIN_EXE_farebox"))
        .args(["ledger", "verify"])
        .env("FAREBOX_DATA_DIR", &data)
        .output()
        .unwrap();
    let children = children_peak_kib();
    println!(
        "| `farebox ledger verify`: time, greatest resident size of a child | {:.1} s, {} MiB |",
        began.elapsed().as_secs_f64(),
        children >> 10
    );
    let told = String::from_utf8_lossy(&verify.stdout).into_owned();
    println!("\n```text\n{}\n```", told.trim());
    assert!(verify.status.success(), "the ledger does not agree with itself");
    let reader = farebox::store::Reader::open(&data).unwrap();
    let query = farebox::store::EventQuery { limit: calls as usize + 10, ..farebox::store::EventQuery::default() };
    let rows = reader.events(&query).unwrap();
    println!(
        "\n{} rows for {calls} calls; {} of them as reported by the provider.",
        rows.len(),
        rows.iter().filter(|row| row.usage_source.as_deref() == Some("reported")).count()
    );
    assert_eq!(rows.len() as u64, calls);
}

fn profile() -> String {
    let profile = if cfg!(debug_assertions) { "debug assertions on: no result" } else { "release profile" };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("{profile}, load {} as it began", load.split(' ').next().unwrap_or("unknown"))
}

/// The real binary on a free port, and that.
fn serve(dir: &Path, upstream: &str) -> (Killed, String) {
    let rules = dir.join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("bench.yaml"), RULES).unwrap();
    let config = format!(
        "default_provider: openai\nproviders:\n  - name: openai\n    dialect: openai\n    base_url: http://{upstream}/v1\n    key: caller\n"
    );
    std::fs::write(dir.join("farebox.yaml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_farebox"));
    command.arg("serve").arg("--config").arg(dir.join("farebox.yaml"));
    command.env("FAREBOX_DATA_DIR", dir.join("data")).env("FAREBOX_LOG_FORMAT", "json");
    command.env("FAREBOX_LISTEN", "127.0.0.1:0").env("FAREBOX_ADMIN_LISTEN", "127.0.0.1:0");
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).ok()?;
        let fields = line.get("fields").unwrap_or(&line);
        (fields["message"] == "listening").then(|| fields["data"].as_str().unwrap().to_owned())
    });
    // A line for each call comes after it; a full pipe would stop the node.
    std::thread::spawn(move || lines.for_each(drop));
    (Killed(child), address.unwrap())
}

fn load(address: &str, calls: u64) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let began = Instant::now();
    runtime.block_on(async {
        let next = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..CONNECTIONS.min(calls))
            .map(|_| tokio::spawn(client(address.to_owned(), Arc::clone(&next), calls)))
            .collect();
        for client in clients {
            client.await.unwrap();
        }
    });
    began.elapsed()
}

async fn client(address: String, next: Arc<AtomicU64>, calls: u64) {
    let requests = [false, true].map(|stream| {
        let body = format!(
            "{{\"model\":\"gpt-4o-mini\",\"stream\":{stream},\"max_tokens\":200,\"messages\":[{{\"role\":\"user\",\"content\":\"Say something about the sea.\"}}]}}"
        );
        let length = body.len();
        format!("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    });
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::with_capacity(64 << 10);
    loop {
        let nth = next.fetch_add(1, Ordering::Relaxed);
        if nth >= calls {
            return;
        }
        let streamed = nth.is_multiple_of(STREAM_EVERY);
        stream.write_all(requests[usize::from(streamed)].as_bytes()).await.unwrap();
        buffer.clear();
        while !is_complete(&buffer, streamed) {
            let read = stream.read_buf(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&buffer));
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
    }
}

fn is_complete(buffer: &[u8], streamed: bool) -> bool {
    if streamed {
        return buffer.ends_with(b"0\r\n\r\n");
    }
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| buffer.len() >= head + 4 + length)
}

/// SIGTERM, and how long it took to end with everything in the store.
fn stop(farebox: &mut Killed) -> Duration {
    let began = Instant::now();
    let asked = Command::new("kill").args(["-TERM", &farebox.0.id().to_string()]).status().unwrap();
    assert!(asked.success() && farebox.0.wait().unwrap().success());
    began.elapsed()
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or_default()
}

/// Of all threads, as the kernel counts it.
fn cpu_seconds(pid: u32) -> f64 {
    let nanos = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.map(nanos).sum::<u64>() as f64 / 1e9
}

/// Of children that have ended; the node is among them, so it is at least that one's.
fn children_peak_kib() -> u64 {
    // SAFETY: a zeroed `rusage` is a valid one, and the call only writes into it.
    #[expect(unsafe_code, reason = "the standard library does not tell what a child used")]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    usage.ru_maxrss as u64
}

/// Of the files below whose names have this in them.
fn bytes_of(folder: &Path, part: &str) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() && part.is_empty() {
            bytes_of(&path, part)
        } else if name.contains(part) {
            entry.metadata().map_or(0, |file| file.len())
        } else {
            0
        }
    });
    bytes.sum()
}
