//! A client that writes bytes as it likes: for what no library would send.

use super::asking::PATIENCE;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    pub async fn to(address: SocketAddr) -> Wire {
        Wire { stream: TcpStream::connect(address).await.unwrap() }
    }

    /// Writes; a connection that was closed meanwhile is no error.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Ends our half of the connection.
    pub async fn end_our_half(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads until the other side ends; what came before a reset counts.
    pub async fn rest(mut self) -> String {
        let mut heard = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("an end in time") {
                Ok(0) | Err(_) => return String::from_utf8_lossy(&heard).into_owned(),
                Ok(length) => heard.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// Reads until an answer's head was heard; then ends our half, and reads to the end.
    pub async fn end_our_half_when_heard(mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut heard = self.until(enough).await;
        self.end_our_half().await;
        heard.push_str(&self.rest().await);
        heard
    }

    /// Reads until what was heard is enough.
    pub async fn until(&mut self, enough: impl Fn(&str) -> bool) -> String {
        let mut heard = String::new();
        let mut buffer = [0; 16 * 1024];
        while !enough(&heard) {
            let length = timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("more in time").unwrap();
            assert!(length > 0, "the connection ended after: {heard}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        heard
    }
}
