//! Floods over HTTP/2, which is spoken where Farebox listens with TLS.

use super::MEMORY_BYTES_MAX;
use crate::support::tls::{Certificates, certificates, over_http2, tls_to};
use crate::support::{Shop, chat, shop};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const FLOOD: u32 = 20_000;
/// What opens a connection: the preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// length (24 bits), kind, flags, stream, payload
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// `:method GET`, `:scheme https`, `:path /`, and an authority, by HPACK's static table (RFC 7541, appendix A).
fn head() -> Vec<u8> {
    let mut head = vec![0x82, 0x87, 0x84, 0x41, 9];
    head.extend_from_slice(b"localhost");
    head
}

/// Writes the flood until it is all gone or the node has hung up, while what it answers is read away.
async fn flood(shop: &Shop, ours: &Certificates, frames: impl Iterator<Item = Vec<u8>>) {
    let (mut reads, mut writes) = tokio::io::split(tls_to(shop.address(), ours).await);
    let drained = tokio::spawn(async move { drain(&mut reads).await });
    let said = tokio::time::timeout(Duration::from_secs(30), say(&mut writes, frames)).await;
    // Whoever reads no more is stopped by the transport, which is a bound too.
    let _ = said;
    drained.abort();
}

async fn say(writes: &mut (impl AsyncWrite + Unpin), frames: impl Iterator<Item = Vec<u8>>) {
    if writes.write_all(HELLO).await.is_err() {
        return;
    }
    for frame in frames {
        if writes.write_all(&frame).await.is_err() {
            return;
        }
    }
    let _ = writes.flush().await;
}

async fn drain(reads: &mut (impl AsyncRead + Unpin)) {
    let mut piece = [0; 16 * 1024];
    while matches!(reads.read(&mut piece).await, Ok(1..)) {}
}

async fn still_serves(shop: &Shop, ours: &Certificates) {
    let request = Request::post("https://localhost/v1/chat/completions")
        .body(Full::new(Bytes::from(chat("Hi").to_string())))
        .unwrap();
    assert_eq!(over_http2(shop.address(), ours, request).await.status(), 200);
    let peak = shop.memory_peak();
    assert!(peak < MEMORY_BYTES_MAX, "{} MiB were resident at one moment", peak >> 20);
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_at_once_do_not_pile_up() {
    let ours = certificates();
    let shop = shop().with_setting(&ours.setting()).open().await;
    let opened_and_reset = (0..FLOOD).flat_map(|place| {
        let stream = 2 * place + 1;
        [frame(1, 0x5, stream, &head()), frame(3, 0, stream, &8u32.to_be_bytes())]
    });
    flood(&shop, &ours, opened_and_reset).await;
    still_serves(&shop, &ours).await;
}

#[tokio::test]
async fn a_flood_of_settings_and_pings_costs_little() {
    let ours = certificates();
    let shop = shop().with_setting(&ours.setting()).open().await;
    let questions = (0..FLOOD).flat_map(|_| [frame(4, 0, 0, &[0, 3, 0, 0, 0, 1]), frame(6, 0, 0, &[7; 8])]);
    flood(&shop, &ours, questions).await;
    still_serves(&shop, &ours).await;
}

#[tokio::test]
async fn a_head_that_goes_on_for_ever_is_not_kept() {
    let ours = certificates();
    let shop = shop().with_setting(&ours.setting()).open().await;
    let mut literal = vec![0x00, 0x01, b'x', 0x7f, 0x81, 0x7f];
    literal.resize(16_000, b'y');
    let first = frame(1, 0x1, 1, &head());
    let more = std::iter::repeat_n(frame(9, 0, 1, &literal), FLOOD as usize / 4);
    flood(&shop, &ours, std::iter::once(first).chain(more)).await;
    still_serves(&shop, &ours).await;
}
