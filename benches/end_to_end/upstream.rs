//! A provider as fast as can be: fixed answers over keep-alive connections.

use std::io::Write as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const EVENTS: usize = 50;

/// Serves until killed; prints its address first.
pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        std::io::stdout().flush().unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
}

async fn serve(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let (json, events) = (json(), events());
    let mut buffer = Vec::new();
    let mut piece = vec![0u8; 64 * 1024];
    loop {
        let Some(length) = request_length(&buffer) else {
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(read) => buffer.extend_from_slice(&piece[..read]),
            }
            continue;
        };
        let held = buffer[..length].windows(6).any(|window| window == b"\"hold\"");
        let streamed = buffer[..length].windows(13).any(|window| window == b"\"stream\":true");
        buffer.drain(..length);
        if held {
            let _ = write_events(&mut stream, &events[..2]).await;
            let _ = stream.read(&mut piece).await;
            return;
        }
        let written = if streamed { write_events(&mut stream, &events).await } else { stream.write_all(&json).await };
        if written.is_err() {
            return;
        }
    }
}

async fn write_events(stream: &mut TcpStream, events: &[Vec<u8>]) -> std::io::Result<()> {
    for event in events {
        stream.write_all(event).await?;
    }
    Ok(())
}

/// Head and body, once both are here.
fn request_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
    let body = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .and_then(|length| length.trim().parse().ok());
    (buffer.len() >= head + body.unwrap_or(0)).then_some(head + body.unwrap_or(0))
}

fn json() -> Vec<u8> {
    let body = format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{}\"}},\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":40,\"completion_tokens\":60,\"total_tokens\":100,\"prompt_tokens_details\":{{\"cached_tokens\":0}},\"completion_tokens_details\":{{\"reasoning_tokens\":0}}}},\"service_tier\":\"default\"}}",
        "word ".repeat(50)
    );
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn events() -> Vec<Vec<u8>> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len()).into_bytes();
    let mut events =
        vec![b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec()];
    for number in 0..EVENTS {
        events.push(chunk(&format!("data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"word{number} \"}},\"finish_reason\":null}}],\"usage\":null}}\n\n")));
    }
    events.push(chunk("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":100,\"total_tokens\":140}}\n\n"));
    events.push(chunk("data: [DONE]\n\n"));
    events.push(b"0\r\n\r\n".to_vec());
    events
}
