//! A provider that answers with bytes of our choosing, whatever they are.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is said to one request.
#[derive(Clone, Default)]
pub struct Script {
    said: Vec<u8>,
    /// Said so many times after it.
    again: (Vec<u8>, usize),
    /// The connection stays open until the other side leaves.
    stays: bool,
}

impl Script {
    pub fn new(said: impl Into<Vec<u8>>) -> Script {
        Script { said: said.into(), ..Script::default() }
    }

    /// A head of 200 with these lines, and a body.
    pub fn answer(lines: &str, body: impl AsRef<[u8]>) -> Script {
        let mut said = format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n").into_bytes();
        said.extend_from_slice(body.as_ref());
        Script::new(said)
    }

    /// JSON of a length that is true.
    pub fn json(body: impl AsRef<[u8]>) -> Script {
        let length = body.as_ref().len();
        Script::answer(&format!("content-type: application/json\r\ncontent-length: {length}"), body)
    }

    pub fn then(mut self, piece: impl Into<Vec<u8>>, times: usize) -> Script {
        self.again = (piece.into(), times);
        self
    }

    pub fn and_stays(mut self) -> Script {
        self.stays = true;
        self
    }
}

pub struct Crooked {
    pub address: SocketAddr,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    requests: Arc<AtomicUsize>,
}

impl Crooked {
    pub async fn start() -> Crooked {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (scripts, requests) = (Arc::<Mutex<VecDeque<Script>>>::default(), Arc::new(AtomicUsize::new(0)));
        let (kept, counted) = (Arc::clone(&scripts), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept), Arc::clone(&counted)));
            }
        });
        Crooked { address, scripts, requests }
    }

    /// Of further requests, each is answered so.
    pub fn says(&self, script: Script) {
        self.says_in_turn([script]);
    }

    /// Of further requests, the first is answered by the first, and those behind the last by the last.
    pub fn says_in_turn(&self, scripts: impl IntoIterator<Item = Script>) {
        *self.scripts.lock().unwrap() = scripts.into_iter().collect();
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, scripts: Arc<Mutex<VecDeque<Script>>>, requests: Arc<AtomicUsize>) {
    while read_request(&mut stream).await {
        requests.fetch_add(1, Ordering::SeqCst);
        let script = next(&scripts);
        if stream.write_all(&script.said).await.is_err() {
            return;
        }
        for _ in 0..script.again.1 {
            if stream.write_all(&script.again.0).await.is_err() {
                return;
            }
        }
        if !script.stays {
            return;
        }
    }
}

fn next(scripts: &Mutex<VecDeque<Script>>) -> Script {
    let mut scripts = scripts.lock().unwrap();
    let next = if scripts.len() > 1 { scripts.pop_front() } else { scripts.front().cloned() };
    next.unwrap_or_default()
}

/// Reads a request with a length, or none; false at the connection's end.
async fn read_request(stream: &mut TcpStream) -> bool {
    let (mut request, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let Ok(length @ 1..) = stream.read(&mut piece).await else { return false };
        request.extend_from_slice(&piece[..length]);
        let Some(head) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let lines = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
        let length = lines.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if request.len() >= head + 4 + length.unwrap_or(0) {
            return true;
        }
    }
}
