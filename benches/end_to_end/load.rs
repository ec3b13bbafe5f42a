//! The load: raw HTTP/1.1 over keep-alive connections, one call after the other on each.

use super::contestants::Process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone, Copy)]
pub enum Kind {
    Json,
    Stream,
    /// A prompt of 1 MB that no rule needs a count of.
    LongPrompt,
}

impl Kind {
    pub fn title(self) -> &'static str {
        match self {
            Kind::Json => "Small chat calls, whole",
            Kind::Stream => "Streams of 50 events, sent back to back",
            Kind::LongPrompt => "Prompts of 1 MB, short answers",
        }
    }

    fn request(self, address: &str) -> Vec<u8> {
        let stream = matches!(self, Kind::Stream);
        let said = "Say something about the sea. ";
        let times = if matches!(self, Kind::LongPrompt) { 1_000_000 / said.len() } else { 4 };
        let body = format!(
            "{{\"model\":\"gpt-4o-mini\",\"stream\":{stream},\"messages\":[{{\"role\":\"system\",\"content\":\"You are a terse assistant.\"}},{{\"role\":\"user\",\"content\":\"{}\"}}],\"max_tokens\":200}}",
            said.repeat(times)
        );
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer sk-bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// One run against one contestant.
pub struct Measured {
    calls: u64,
    seconds: f64,
    request_nanos: u64,
    other_nanos: u64,
    /// Sorted, µs.
    durations: Vec<f64>,
    pub first_byte_p50: f64,
}

impl Measured {
    pub fn calls_per_second(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    pub fn request_cpu_micros(&self) -> f64 {
        self.request_nanos as f64 / 1e3 / self.calls.max(1) as f64
    }

    pub fn other_cpu_micros(&self) -> f64 {
        self.other_nanos as f64 / 1e3 / self.calls.max(1) as f64
    }

    pub fn percentile(&self, percent: f64) -> f64 {
        let place = (self.durations.len() as f64 * percent / 100.0) as usize;
        self.durations.get(place.min(self.durations.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }
}

pub fn run(address: &str, kind: Kind, connections: usize, length: Duration, process: Option<Process>) -> Measured {
    let before = process.map(cpu).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = Instant::now();
    let results = runtime.block_on(async {
        let over = Arc::new(AtomicBool::new(false));
        let request: Arc<[u8]> = kind.request(address).into();
        let tasks: Vec<_> = (0..connections)
            .map(|_| tokio::spawn(client(address.to_owned(), Arc::clone(&request), Arc::clone(&over))))
            .collect();
        tokio::time::sleep(length).await;
        over.store(true, Ordering::Relaxed);
        let mut results = Vec::new();
        for task in tasks {
            results.extend(task.await.unwrap());
        }
        results
    });
    let seconds = started.elapsed().as_secs_f64();
    let after = process.map(cpu).unwrap_or_default();
    let mut durations: Vec<f64> = results.iter().map(|(_, whole)| whole.as_secs_f64() * 1e6).collect();
    let mut firsts: Vec<f64> = results.iter().map(|(first, _)| first.as_secs_f64() * 1e6).collect();
    durations.sort_by(f64::total_cmp);
    firsts.sort_by(f64::total_cmp);
    Measured {
        calls: results.len() as u64,
        seconds,
        request_nanos: after.0 - before.0,
        other_nanos: after.1 - before.1,
        first_byte_p50: firsts.get(firsts.len() / 2).copied().unwrap_or(f64::NAN),
        durations,
    }
}

async fn client(address: String, request: Arc<[u8]>, over: Arc<AtomicBool>) -> Vec<(Duration, Duration)> {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut results = Vec::new();
    let mut buffer = Vec::with_capacity(64 * 1024);
    while !over.load(Ordering::Relaxed) {
        let started = Instant::now();
        stream.write_all(&request).await.unwrap();
        buffer.clear();
        let mut first = None;
        while !complete(&buffer) {
            let read = stream.read_buf(&mut buffer).await.unwrap();
            assert!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&buffer));
            first.get_or_insert_with(|| started.elapsed());
        }
        assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer));
        results.push((first.unwrap(), started.elapsed()));
    }
    results
}

fn complete(buffer: &[u8]) -> bool {
    if buffer.ends_with(b"0\r\n\r\n") {
        return true;
    }
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_some_and(|length| buffer.len() >= head + 4 + length)
}

/// Nanoseconds of the request threads, and of all others.
fn cpu(process: Process) -> (u64, u64) {
    let mut sums = (0, 0);
    for task in std::fs::read_dir(format!("/proc/{}/task", process.pid)).into_iter().flatten().flatten() {
        let read = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let nanos: u64 = read("schedstat").split_whitespace().next().and_then(|text| text.parse().ok()).unwrap_or(0);
        if read("comm").starts_with(process.request_threads) { sums.0 += nanos } else { sums.1 += nanos }
    }
    sums
}
