//! The head of a request, and the reading of a plain one.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};
use pingora_http::RequestHeader;
use std::sync::Arc;

/// More headers than SDKs send; a request with more is not plain.
const HEADERS_MAX: usize = 64;
/// A plain head is shorter.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Method, target and headers of a request.
#[derive(Clone, Debug, Default)]
pub struct Head {
    pub method: Method,
    pub version: Version,
    /// Path and query as written.
    pub target: Bytes,
    /// Where it does not stand in `host`: HTTP/2, and targets in the absolute form.
    pub authority: Option<Arc<str>>,
    pub headers: HeaderMap,
    /// Names as written, in the order of `headers`; `None`: all in lower case.
    spelled: Option<Vec<Bytes>>,
}

/// What the first bytes of a connection, or those behind a request, are.
#[derive(Debug)]
pub enum Parsed {
    Whole {
        head: Arc<Head>,
        /// Bytes of the body behind it.
        body: u64,
        /// The client will use the connection again.
        keep: bool,
    },
    /// More must come.
    Part,
    /// Not for us to read.
    Uncommon,
}

impl Head {
    /// The target as text; what is no text leads nowhere.
    pub fn target(&self) -> &str {
        std::str::from_utf8(&self.target).unwrap_or("/")
    }

    /// The query, behind the question mark.
    pub fn query(&self) -> Option<&str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// Every header with its name as it was written.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &HeaderName, &HeaderValue)> {
        let mut spelled = self.spelled.iter().flatten();
        self.headers.iter().map(move |(name, value)| {
            let written = spelled.next().map_or(name.as_str().as_bytes(), |written| &written[..]);
            (written, name, value)
        })
    }

    /// The same without these headers.
    pub fn without(&self, names: &[HeaderName]) -> Head {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        let mut spelled = self.spelled.as_ref().map(|_| Vec::with_capacity(self.headers.len()));
        for (written, name, value) in self.lines().filter(|(_, name, _)| !names.contains(name)) {
            headers.append(name.clone(), value.clone());
            if let Some(spelled) = &mut spelled {
                spelled.push(Bytes::copy_from_slice(written));
            }
        }
        Head { headers, spelled, ..self.clone() }
    }

    /// Takes a plain head out of what was read, with its values as slices of it.
    pub fn parse(read: &mut BytesMut) -> Parsed {
        let mut lines = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut lines);
        let length = match request.parse(read) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if read.len() <= HEAD_BYTES_MAX => return Parsed::Part,
            Ok(httparse::Status::Partial) | Err(_) => return Parsed::Uncommon,
        };
        match Shape::of(&request, read.get(..length).unwrap_or_default()) {
            Some(shape) => shape.taken(read, length).unwrap_or(Parsed::Uncommon),
            None => Parsed::Uncommon,
        }
    }
}

impl From<&RequestHeader> for Head {
    fn from(read: &RequestHeader) -> Head {
        let spelled = read.has_case().then(|| {
            read.case_header_iter().map(|(written, _)| Bytes::copy_from_slice(written.as_slice())).collect::<Vec<_>>()
        });
        Head {
            method: read.method.clone(),
            version: read.version,
            target: Bytes::copy_from_slice(read.raw_path()),
            authority: read.uri.authority().map(|authority| Arc::from(authority.as_str())),
            headers: read.headers.clone(),
            spelled,
        }
    }
}

/// Where the parts of a plain head lie in what was read.
struct Shape {
    method: Method,
    target: std::ops::Range<usize>,
    headers: Vec<Line>,
    /// A name has a capital letter.
    has_capitals: bool,
    body: u64,
    keep: bool,
}

struct Line {
    name: HeaderName,
    written: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

impl Shape {
    /// `None`: not plain.
    fn of(request: &httparse::Request<'_, '_>, head: &[u8]) -> Option<Shape> {
        let place = |part: &[u8]| {
            let start = part.as_ptr() as usize - head.as_ptr() as usize;
            if part.is_empty() { 0..0 } else { start..start + part.len() }
        };
        let method = match request.method? {
            "POST" => Method::POST,
            "GET" => Method::GET,
            "DELETE" => Method::DELETE,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            _ => return None,
        };
        let target = request.path?.as_bytes();
        let is_path = target.first() == Some(&b'/') && target.iter().all(|byte| (b'!'..=b'~').contains(byte));
        if request.version != Some(1) || !is_path || !ends_lines_well(head) {
            return None;
        }
        let mut shape = Shape {
            method,
            target: place(target),
            headers: Vec::with_capacity(request.headers.len()),
            has_capitals: false,
            body: 0,
            keep: true,
        };
        for line in request.headers.iter() {
            let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
            shape.heed(&name, line.value)?;
            shape.has_capitals |= line.name.bytes().any(|byte| byte.is_ascii_uppercase());
            shape.headers.push(Line { name, written: place(line.name.as_bytes()), value: place(line.value) });
        }
        shape.headers.iter().any(|line| line.name == header::HOST).then_some(shape)
    }

    /// What a header says of the framing. `None`: something that a plain request does not say.
    fn heed(&mut self, name: &HeaderName, value: &[u8]) -> Option<()> {
        match *name {
            header::CONTENT_LENGTH => {
                let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
                self.body = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
            }
            header::CONNECTION if value.eq_ignore_ascii_case(b"keep-alive") => {}
            header::CONNECTION if value.eq_ignore_ascii_case(b"close") => self.keep = false,
            header::CONNECTION | header::TRANSFER_ENCODING | header::UPGRADE | header::EXPECT | header::TRAILER => {
                return None;
            }
            header::HOST if value.is_empty() || value.iter().any(|byte| matches!(byte, b'@' | b'/' | b' ' | b',')) => {
                return None;
            }
            _ => {}
        }
        Some(())
    }

    /// `None`: not plain after all; nothing was taken.
    fn taken(self, read: &mut BytesMut, length: usize) -> Option<Parsed> {
        let bytes = read.split_to(length).freeze();
        let head = self.cut_from(&bytes);
        if head.is_none() {
            let behind = std::mem::replace(read, BytesMut::from(&bytes[..]));
            read.extend_from_slice(&behind);
        }
        head
    }

    fn cut_from(self, bytes: &Bytes) -> Option<Parsed> {
        let written = |line: &Line| bytes.slice(line.written.clone());
        let spelled = self.has_capitals.then(|| self.headers.iter().map(written).collect());
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for line in self.headers {
            let value = HeaderValue::from_maybe_shared(bytes.slice(line.value)).ok()?;
            // A name that stands twice is not for us to join.
            if headers.insert(line.name, value).is_some() {
                return None;
            }
        }
        let target = bytes.slice(self.target);
        let head = Head { method: self.method, version: Version::HTTP_11, target, authority: None, headers, spelled };
        Some(Parsed::Whole { head: Arc::new(head), body: self.body, keep: self.keep })
    }
}

/// Every line ends in CR LF: what ends otherwise is read in more than one way.
fn ends_lines_well(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head.get(at - 1) == Some(&b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: farebox\r\nX-Stainless-Lang: python\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}GET";

    fn parsed(text: &str) -> Parsed {
        Head::parse(&mut BytesMut::from(text))
    }

    #[test]
    fn a_plain_head_is_taken_and_what_is_behind_it_stays() {
        let mut read = BytesMut::from(PLAIN);
        let Parsed::Whole { head, body, keep } = Head::parse(&mut read) else { panic!("it is plain") };
        assert_eq!((body, keep, &read[..]), (2, true, &b"{}GET"[..]));
        assert_eq!(
            (head.method.as_str(), head.target(), head.query()),
            ("POST", "/v1/chat/completions?x=1", Some("x=1"))
        );
        let lines: Vec<_> = head.lines().map(|(written, _, value)| (written, value.as_bytes())).collect();
        assert_eq!(lines[1], (&b"X-Stainless-Lang"[..], &b"python"[..]), "spelled as it was");
        assert_eq!(head.headers["x-stainless-lang"], "python");
    }

    #[test]
    fn a_head_that_is_not_whole_waits() {
        for length in 1..PLAIN.find("{}").unwrap() {
            assert!(matches!(parsed(&PLAIN[..length]), Parsed::Part), "{length} bytes");
        }
    }

    #[test]
    fn whatever_is_out_of_the_ordinary_is_left_to_pingora_untouched() {
        let uncommon = [
            ("HTTP/1.1\r\n", "HTTP/1.0\r\n"),
            ("POST ", "HEAD "),
            ("POST ", "CONNECT "),
            ("/v1/chat", "http://farebox/v1/chat"),
            ("/v1/chat", "/v1/ch\u{e4}t"),
            ("Host: farebox\r\n", ""),
            ("Host: farebox", "Host: a@b"),
            ("Host: farebox\r\n", "Host: farebox\r\nhost: other\r\n"),
            ("content-length: 2", "content-length: +2"),
            ("content-length: 2", "content-length: 2, 2"),
            ("content-length: 2", "content-length: "),
            ("content-length: 2\r\n", "content-length: 2\r\nContent-Length: 2\r\n"),
            ("content-length: 2\r\n", "content-length: 2\r\ntransfer-encoding: chunked\r\n"),
            ("connection: keep-alive", "connection: x-secret"),
            ("connection: keep-alive", "expect: 100-continue"),
            ("connection: keep-alive", "upgrade: websocket"),
            ("X-Stainless-Lang: python", "X-Stainless-Lang : python"),
            ("X-Stainless-Lang: python", "X-Stainless-Lang: py\r\n thon"),
            ("X-Stainless-Lang: python", "X-Stainless-Lang: py\u{1}thon"),
            ("farebox\r\n", "farebox\n"),
        ];
        for (plain, strange) in uncommon {
            let text = PLAIN.replacen(plain, strange, 1);
            let mut read = BytesMut::from(&text[..]);
            assert!(matches!(Head::parse(&mut read), Parsed::Uncommon), "{strange}");
            assert_eq!(&read[..], text.as_bytes(), "nothing was taken of {strange}");
        }
    }

    #[test]
    fn a_closing_client_is_plain_and_not_kept() {
        let closing = PLAIN.replace("keep-alive", "Close");
        assert!(matches!(parsed(&closing), Parsed::Whole { keep: false, .. }));
    }

    #[test]
    fn without_takes_headers_out_and_keeps_the_spelling_of_the_others() {
        let Parsed::Whole { head, .. } = parsed(PLAIN) else { panic!("it is plain") };
        let less = head.without(&[header::HOST]);
        let written: Vec<_> = less.lines().map(|(written, ..)| String::from_utf8_lossy(written).into_owned()).collect();
        assert_eq!(written, ["X-Stainless-Lang", "connection", "content-length"]);
    }
}
