//! A provider that says its last event and never ends its answer: what it said is all that there is, and the transport
//! goes on until the other side leaves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A whole stream of chat: two tokens, the usage that was asked for, the ending.
const EVENTS: [&str; 4] = [
    r#"{"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"one"}}],"usage":null}"#,
    r#"{"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"two"},"finish_reason":"stop"}],"usage":null}"#,
    r#"{"id":"c1","object":"chat.completion.chunk","model":"gpt-4o","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}"#,
    "[DONE]",
];

pub struct Unending {
    pub address: SocketAddr,
    events: Arc<AtomicUsize>,
}

impl Unending {
    pub async fn start() -> Unending {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let events = Arc::new(AtomicUsize::new(EVENTS.len()));
        let kept = Arc::clone(&events);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kept.load(Ordering::Relaxed)));
            }
        });
        Unending { address, events }
    }

    /// Of further answers, only so many events.
    pub fn say_only(&self, events: usize) {
        self.events.store(events, Ordering::Relaxed);
    }
}

async fn serve(mut stream: TcpStream, events: usize) {
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut piece = [0; 4096];
        let Ok(length @ 1..) = stream.read(&mut piece).await else { return };
        request.extend_from_slice(&piece[..length]);
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut said = head.to_owned();
    for event in &EVENTS[..events] {
        let data = format!("data: {event}\n\n");
        said.push_str(&format!("{:x}\r\n{data}\r\n", data.len()));
    }
    let _ = stream.write_all(said.as_bytes()).await;
    let _ = stream.read(&mut [0; 1]).await;
}
