//! Of every head that we call plain, pingora says the same: there is no request that one reads in another way.

use super::head::{Head, Parsed};
use bytes::BytesMut;
use pingora_core::protocols::http::ServerSession;
use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

const METHODS: [&str; 7] = ["POST", "GET", "DELETE", "PATCH", "HEAD", "post", "P OST"];
const TARGETS: [&str; 8] =
    ["/v1/chat/completions", "/v1/models?x=1", "//a/b", "/a b", "/%2e%2e", "http://h/v1", "*", "/\u{e9}"];
const VERSIONS: [&str; 5] = ["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1"];
const LINES: [&str; 26] = [
    "host: farebox",
    "Host: farebox",
    "host: a, b",
    "host:",
    "content-length: 2",
    "Content-Length: 3",
    "content-length: 02",
    "content-length: 2 ",
    "content-length:\t2",
    "content-length: 0x2",
    "content-length: -1",
    "content-length: 99999999999999999999",
    "transfer-encoding: chunked",
    "Transfer-Encoding: identity",
    "transfer-encoding : chunked",
    "connection: keep-alive",
    "connection: close, content-length",
    "Connection: Close",
    "x-stainless-lang: python",
    "X-Mixed: a\tb",
    " folded: yes",
    "x-bad: \u{0}",
    "x-high: \u{e9}",
    "no colon",
    ": no name",
    "expect: 100-continue",
];
/// Method, target, headers sorted, and how long the body is.
type Read = (String, Vec<u8>, Vec<(String, Vec<u8>)>, Option<u64>);

fn ours(text: &str) -> Option<Read> {
    let Parsed::Whole { head, body, .. } = Head::parse(&mut BytesMut::from(text)) else { return None };
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let mut headers: Vec<_> = headers.collect();
    headers.sort();
    Some((head.method.to_string(), head.target.to_vec(), headers, Some(body)))
}

/// `None`: pingora refuses it, or waits for more.
fn pingoras(text: &str) -> Option<Read> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(text.as_bytes()).await.unwrap();
        drop(far);
        let mut session = ServerSession::new_http1(Box::new(near));
        if !matches!(session.read_request().await, Ok(true)) {
            return None;
        }
        let empty = session.is_body_empty();
        let head = session.req_header();
        let headers = head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let mut headers: Vec<_> = headers.collect();
        headers.sort();
        let said = head.headers.get("content-length").map(|value| value.to_str().unwrap().parse().unwrap());
        let length = if empty { Some(0) } else { said };
        Some((head.method.to_string(), head.raw_path().to_vec(), headers, length))
    })
}

/// The good one nine times in ten, so that many heads are plain.
fn mostly(good: &'static str, others: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => Just(good), 1 => prop::sample::select(others)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_plain_to_us_is_the_same_to_pingora(
        method in mostly("POST", &METHODS),
        target in mostly("/v1/chat/completions", &TARGETS),
        version in mostly("HTTP/1.1", &VERSIONS),
        host in mostly("host: farebox\r\n", &["", "host: other\r\n", "host : x\r\n"]),
        lines in prop::collection::vec((prop::sample::select(&LINES[..]), mostly("\r\n", &["\n", "\r", "\n\r\n"])), 0..3),
        end in mostly("\r\n", &["\n", "\r", ""]),
    ) {
        let lines: String = lines.iter().map(|(line, end)| format!("{line}{end}")).collect();
        let text = format!("{method} {target} {version}\r\n{host}{lines}{end}{{}}more");
        if let Some(read) = ours(&text) {
            prop_assert_eq!(Some(read), pingoras(&text), "{:?}", text);
        }
    }
}

#[test]
fn heads_of_every_day_are_plain_to_us_and_to_pingora() {
    for text in [
        "POST /v1/chat/completions HTTP/1.1\r\nHost: farebox\r\ncontent-length: 2\r\n\r\n{}",
        "GET /v1/models?x=1 HTTP/1.1\r\nhost: farebox\r\nconnection: keep-alive\r\nx-stainless-lang: python\r\n\r\n",
    ] {
        assert!(ours(text).is_some());
        assert_eq!(ours(text), pingoras(text));
    }
}
