//! How much memory the process holds: idle, with the tokenizer loaded, and with 10,000 streams open at once.

use super::contestants::{Contestant, Process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const STREAMS_WANTED: usize = 10_000;
/// Open files that a proxy needs besides its streams'.
const FILES_BESIDE: usize = 1_000;

pub fn report(farebox: &Contestant, open_files_max: usize) {
    let streams_open = STREAMS_WANTED.min((open_files_max - FILES_BESIDE) / 2);
    if streams_open < STREAMS_WANTED {
        println!("A process may open {} files here, and a stream has two in the proxy.\n", open_files_max);
    }
    let process = farebox.process.unwrap();
    println!("## Resident memory\n\n| state | MiB |\n|---|---|");
    println!("| idle, before the first count | {:.1} |", resident(process));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // A stream that is cut is counted, and so loads the vocabulary.
        drop(open(&farebox.address, 0).await);
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        println!("| with o200k loaded | {:.1} |", resident(process));
        let mut streams = Vec::with_capacity(streams_open);
        for number in 0..streams_open {
            streams.push(open(&farebox.address, number).await);
        }
        println!("| {streams_open} streams open (plaintext) | {:.1} |", resident(process));
    });
    println!();
}

/// A stream of which the first event has come and no further one will.
async fn open(address: &str, number: usize) -> TcpStream {
    let body = format!(
        "{{\"model\":\"gpt-4o-mini\",\"stream\":true,\"hold\":{number},\"messages\":[{{\"role\":\"user\",\"content\":\"wait\"}}]}}"
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer sk-bench\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(6).any(|window| window == b"word0 ") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "closed: {}", String::from_utf8_lossy(&seen));
    }
    stream
}

fn resident(process: Process) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    let kilobytes: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes / 1024.0
}
