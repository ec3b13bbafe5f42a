//! A CONNECT proxy: every tunnel leads to one place, whatever name was asked for.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

pub struct Egress {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heads: Mutex<Vec<String>>,
    leads_to: Mutex<Option<SocketAddr>>,
}

/// `status`: what it answers to CONNECT; from 300 on it makes no tunnel.
pub async fn egress(status: u16) -> Egress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::new(Shared::default());
    let kept = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, status, Arc::clone(&kept)));
        }
    });
    Egress { address, shared }
}

impl Egress {
    pub fn lead_to(&self, address: SocketAddr) {
        *self.shared.leads_to.lock().unwrap() = Some(address);
    }

    /// The heads of the CONNECTs that came, in small letters.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, status: u16, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    shared.heads.lock().unwrap().push(String::from_utf8(head).unwrap().to_ascii_lowercase());
    let answer = format!("HTTP/1.1 {status} said\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    let leads_to = *shared.leads_to.lock().unwrap();
    if let (Some(address), 200..300) = (leads_to, status) {
        let mut inner = TcpStream::connect(address).await.unwrap();
        let _ = copy_bidirectional(&mut stream, &mut inner).await;
    }
}
