//! A response as it comes off a provider's connection: HTTP/1, read by ourselves.
//!
//! pingora's session reads one chunk at a time through a buffer of 64 KiB, keeps two maps of the headers and copies both;
//! most of that is for what a proxy of another kind needs (docs/decisions: own HTTP/1 towards providers). Here all chunks
//! that have arrived are one piece, the head is read once, and its values are slices of what was read.
//!
//! Framing is as strict as pingora's: lengths that disagree are refused, `transfer-encoding` wins over `content-length`,
//! and a connection on which anything is doubtful is not used again.

use super::chunked::{Chunked, Malformed};
use super::reason;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts as ResponseHead;
use http::{StatusCode, Version};
use pingora_core::protocols::Stream;
use pingora_timeout::fast_timeout::fast_timeout;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Room for what is read at once.
const READ_BYTES: usize = 16 * 1024;
/// The room is made anew when less than this is left of it.
const READ_BYTES_MIN: usize = 4 * 1024;
const HEAD_BYTES_MAX: usize = 1 << 20;
/// As pingora's.
const HEADERS_MAX: usize = 256;
/// Most responses have fewer headers: a short list is tried first, since clearing the long one costs more than the rest.
const HEADERS_USUAL: usize = 48;

/// A response under way.
pub struct Incoming {
    stream: Stream,
    /// Read, and not handed out yet.
    buffer: BytesMut,
    body: Body,
    /// Something of an answer came.
    heard: bool,
    sent_whole: bool,
    /// The connection may be used again once the body was read to its end.
    keep: bool,
    idle: Option<Duration>,
}

#[derive(Debug)]
enum Body {
    /// So many bytes are to come; before the head, none.
    Length(u64),
    Chunked(Chunked),
    ToClose,
    Ended,
}

/// Why the response, or its rest, does not come.
#[derive(Debug)]
pub enum Fault {
    Closed,
    Malformed,
    TimedOut,
    Io(io::Error),
}

impl Fault {
    /// In half a sentence, without addresses.
    pub fn outward(&self) -> String {
        match self {
            Fault::Closed => "it closed the connection".to_owned(),
            Fault::Malformed => "its response head is malformed".to_owned(),
            Fault::TimedOut => "it took too long".to_owned(),
            Fault::Io(error) => error.kind().to_string(),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Fault {
        Fault::Malformed
    }
}

impl Incoming {
    /// What comes on this connection next is a response. `sent_whole`: its request left to the last byte; otherwise the
    /// connection is not used again, whatever the provider says.
    pub fn on(stream: Stream, sent_whole: bool) -> Incoming {
        Incoming {
            stream,
            buffer: BytesMut::new(),
            body: Body::Length(0),
            heard: false,
            sent_whole,
            keep: sent_whole,
            idle: None,
        }
    }

    /// The final head; informational ones (100, 103) are passed over, 101 is final. No piece of the body is waited for
    /// longer either, unless another time is set.
    pub async fn head(&mut self, within: Duration) -> Result<ResponseHead, Fault> {
        self.idle = Some(within);
        let reading = pin!(self.read_head());
        fast_timeout(within, reading).await.unwrap_or(Err(Fault::TimedOut))
    }

    /// Nothing of an answer has come.
    pub fn is_silent(&self) -> bool {
        !self.heard
    }

    /// The request left to its last byte.
    pub fn was_asked_whole(&self) -> bool {
        self.sent_whole
    }

    /// Longest wait for a piece of the body.
    pub fn set_idle_timeout(&mut self, idle: Option<Duration>) {
        self.idle = idle;
    }

    /// The next piece of the body: all that has arrived of it. `None` at its end. May be dropped and asked again.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let piece = self.take()?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if matches!(self.body, Body::Ended) {
                return Ok(None);
            }
            let idle = self.idle;
            let read = {
                let filling = pin!(self.fill());
                match idle {
                    Some(idle) => fast_timeout(idle, filling).await.unwrap_or(Err(Fault::TimedOut))?,
                    None => filling.await?,
                }
            };
            self.seen(read)?;
        }
    }

    /// The same without waiting: `None` where nothing has arrived.
    pub fn piece_that_is_here(&mut self) -> Option<Result<Option<Bytes>, Fault>> {
        let idle = self.idle.take();
        let piece = self.piece().now_or_never();
        self.idle = idle;
        piece
    }

    /// The connection, when the response was read to its end and the next may follow; else it is closed.
    pub async fn into_kept(mut self) -> Option<Stream> {
        if self.keep && matches!(self.body, Body::Ended) && self.buffer.is_empty() {
            return Some(self.stream);
        }
        let _ = self.stream.shutdown().await;
        None
    }

    async fn read_head(&mut self) -> Result<ResponseHead, Fault> {
        loop {
            if !self.buffer.is_empty()
                && let Some(mut head) = self.parse_head()?
            {
                if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
                    continue;
                }
                self.begin_body(&mut head)?;
                return Ok(head);
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(Fault::Malformed);
            }
            if self.fill().await? == 0 {
                return Err(Fault::Closed);
            }
            self.heard = true;
        }
    }

    fn parse_head(&mut self) -> Result<Option<ResponseHead>, Fault> {
        let mut few = [httparse::EMPTY_HEADER; HEADERS_USUAL];
        match parsed(&self.buffer, &mut few) {
            Err(httparse::Error::TooManyHeaders) => {
                let mut many = [httparse::EMPTY_HEADER; HEADERS_MAX];
                let parsed = parsed(&self.buffer, &mut many).map_err(|_| Fault::Malformed)?;
                Ok(parsed.map(|parsed| parsed.cut_from(&mut self.buffer)).transpose()?)
            }
            Err(_) => Err(Fault::Malformed),
            Ok(None) => Ok(None),
            Ok(Some(parsed)) => parsed.cut_from(&mut self.buffer).map(Some),
        }
    }

    /// RFC 9112 §6.3, for a request that was no HEAD and no CONNECT.
    fn begin_body(&mut self, head: &mut ResponseHead) -> Result<(), Fault> {
        let coded = head.headers.contains_key(header::TRANSFER_ENCODING);
        let one_one = head.version == Version::HTTP_11;
        self.keep &= keeps(&head.headers).unwrap_or(one_one) && (one_one || !coded);
        self.body = match head.status.as_u16() {
            204 | 304 => Body::Ended,
            101 => Body::ToClose,
            _ if coded => {
                // Both is how responses are smuggled: the length goes, and so does the connection.
                self.keep &= head.headers.remove(header::CONTENT_LENGTH).is_none();
                if is_chunked(&head.headers) { Body::Chunked(Chunked::default()) } else { Body::ToClose }
            }
            _ => match content_length(&mut head.headers)? {
                Some(0) => Body::Ended,
                Some(bytes) => Body::Length(bytes),
                None => Body::ToClose,
            },
        };
        self.keep &= !matches!(self.body, Body::ToClose);
        Ok(())
    }

    /// What has been read of the body.
    fn take(&mut self) -> Result<Bytes, Fault> {
        match &mut self.body {
            Body::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(self.buffer.len());
                *left -= here as u64;
                if *left == 0 {
                    self.body = Body::Ended;
                }
                Ok(self.buffer.split_to(here).freeze())
            }
            Body::Chunked(chunked) => {
                let piece = chunked.take(&mut self.buffer)?;
                if chunked.has_ended() {
                    self.body = Body::Ended;
                }
                Ok(piece)
            }
            Body::ToClose => Ok(self.buffer.split().freeze()),
            Body::Ended => Ok(Bytes::new()),
        }
    }

    /// Reads what comes; 0 at the connection's end.
    fn fill(&mut self) -> impl Future<Output = Result<usize, Fault>> + Send {
        if self.buffer.capacity() - self.buffer.len() < READ_BYTES_MIN {
            self.buffer.reserve(READ_BYTES);
        }
        async { self.stream.read_buf(&mut self.buffer).await.map_err(Fault::Io) }
    }

    /// After so many bytes were read of a body that had not ended.
    fn seen(&mut self, read: usize) -> Result<(), Fault> {
        match self.body {
            _ if read > 0 => Ok(()),
            Body::ToClose => {
                self.body = Body::Ended;
                Ok(())
            }
            _ => Err(Fault::Closed),
        }
    }
}

/// A head that lies in a buffer.
struct Parsed {
    length: usize,
    status: StatusCode,
    version: Version,
    /// The words behind the status, where they are not the usual ones.
    reason: Option<Box<str>>,
    /// Each header's name, and where its value lies.
    headers: Vec<(HeaderName, std::ops::Range<usize>)>,
}

/// `None`: it is not whole yet.
fn parsed<'b>(buffer: &'b [u8], headers: &mut [httparse::Header<'b>]) -> Result<Option<Parsed>, httparse::Error> {
    let mut response = httparse::Response::new(headers);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser.allow_obsolete_multiline_headers_in_responses(true);
    let httparse::Status::Complete(length) = parser.parse_response(&mut response, buffer)? else { return Ok(None) };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(httparse::Error::Status)?;
    let version = if response.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let place = |value: &[u8]| {
        let start = value.as_ptr() as usize - buffer.as_ptr() as usize;
        start..start + value.len()
    };
    let named = response.headers.iter().map(|header| {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
        Ok((name, if header.value.is_empty() { 0..0 } else { place(header.value) }))
    });
    let headers = named.collect::<Result<_, httparse::Error>>()?;
    let reason = response.reason.filter(|said| Some(*said) != status.canonical_reason()).map(Box::from);
    Ok(Some(Parsed { length, status, version, reason, headers }))
}

impl Parsed {
    /// Takes the head out of the buffer that it was found in. Its values are slices of that buffer.
    fn cut_from(self, buffer: &mut BytesMut) -> Result<ResponseHead, Fault> {
        let bytes = buffer.split_to(self.length).freeze();
        let (mut head, ()) = http::Response::new(()).into_parts();
        (head.status, head.version) = (self.status, self.version);
        // Room for what Farebox adds.
        head.headers = HeaderMap::with_capacity(self.headers.len() + 12);
        for (name, place) in self.headers {
            let value = value(bytes.slice(place)).ok_or(Fault::Malformed)?;
            head.headers.append(name, value);
        }
        if let Some(said) = &self.reason {
            reason::keep(&mut head, said);
        }
        Ok(head)
    }
}

/// A folded value (RFC 9112 §5.2) goes on in one line.
fn value(bytes: Bytes) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(bytes.clone()).ok().or_else(|| {
        let unfolded: Vec<u8> =
            bytes.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        HeaderValue::from_bytes(&unfolded).ok()
    })
}

/// What `connection` says of the connection's future.
fn keeps(headers: &HeaderMap) -> Option<bool> {
    let has = |wanted: &str| {
        let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    if !headers.contains_key(header::CONNECTION) {
        return None;
    }
    if has("close") { Some(false) } else { has("keep-alive").then_some(true) }
}

/// Chunked is the last of the transfer codings.
fn is_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(header::TRANSFER_ENCODING).iter().next_back();
    let last = last.map_or(&b""[..], |value| value.as_bytes()).rsplit(|byte| *byte == b',').next();
    last.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The length that all `content-length` headers agree on; said once, whoever reads behind us reads the same.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, Fault> {
    let (mut agreed, mut said) = (None, 0);
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for text in value.to_str().map_err(|_| Fault::Malformed)?.split(',') {
            let text = text.trim();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length: u64 = text.parse().ok().filter(|_| digits).ok_or(Fault::Malformed)?;
            if agreed.replace(length).is_some_and(|before| before != length) {
                return Err(Fault::Malformed);
            }
            said += 1;
        }
    }
    if let Some(length) = agreed.filter(|_| said > 1) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(agreed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora_core::protocols::l4::stream::Stream as Tcp;
    use tokio::net::{TcpListener, TcpStream};

    const SOON: Duration = Duration::from_secs(10);

    /// A provider that writes these pieces, one after the other, and closes where it is told to.
    async fn answering(pieces: &'static [&'static str], closes: bool) -> Incoming {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            for piece in pieces {
                far.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
            if !closes {
                std::future::pending::<()>().await;
            }
        });
        Incoming::on(Box::new(Tcp::from(near)), true)
    }

    async fn whole(incoming: &mut Incoming) -> Result<Vec<u8>, Fault> {
        let mut body = Vec::new();
        while let Some(piece) = incoming.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// Status, body, and whether the connection is kept.
    async fn read(pieces: &'static [&'static str], closes: bool) -> Result<(u16, String, bool), Fault> {
        let mut incoming = answering(pieces, closes).await;
        let head = incoming.head(SOON).await?;
        let body = String::from_utf8(whole(&mut incoming).await?).unwrap();
        Ok((head.status.as_u16(), body, incoming.into_kept().await.is_some()))
    }

    #[tokio::test]
    async fn bodies_end_where_their_framing_says() {
        let kept = |body: &str| (200, body.to_owned(), true);
        let closed = |body: &str| (200, body.to_owned(), false);
        let length: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-le", "ngth: 5\r\n\r\nab", "cde"];
        assert_eq!(read(length, false).await.unwrap(), kept("abcde"));
        let twice: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\n\r\nab"];
        assert_eq!(read(twice, false).await.unwrap(), kept("ab"));
        let chunked: &[&str] = &["HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n1\r\na\r", "\n0\r\n\r\n"];
        assert_eq!(read(chunked, false).await.unwrap(), kept("a"));
        let nothing: &[&str] = &["HTTP/1.1 204 No Content\r\n\r\n"];
        assert_eq!(read(nothing, false).await.unwrap(), (204, String::new(), true));
        let to_close: &[&str] = &["HTTP/1.1 200 OK\r\n\r\nab", "c"];
        assert_eq!(read(to_close, true).await.unwrap(), closed("abc"));
        let one_zero: &[&str] = &["HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na"];
        assert_eq!(read(one_zero, false).await.unwrap(), closed("a"));
    }

    #[tokio::test]
    async fn a_connection_on_which_anything_is_doubtful_is_not_used_again() {
        let both: &[&str] =
            &["HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"];
        assert_eq!(read(both, false).await.unwrap(), (200, "a".to_owned(), false));
        let more: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\n\r\n"];
        assert_eq!(read(more, false).await.unwrap(), (200, "a".to_owned(), false));
        let closing: &[&str] = &["HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 1\r\n\r\na"];
        assert_eq!(read(closing, false).await.unwrap(), (200, "a".to_owned(), false));
        let mut unread = answering(&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\na"], false).await;
        unread.head(SOON).await.unwrap();
        assert!(unread.into_kept().await.is_none());
    }

    #[tokio::test]
    async fn lengths_that_disagree_or_are_none_are_malformed() {
        let heads: [&[&str]; 5] = [
            &["HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\na"],
            &["HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na"],
            &["HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\na"],
            &["HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\na"],
            &["ICY 200 OK\r\n\r\n"],
        ];
        for head in heads {
            assert!(matches!(read(head, true).await, Err(Fault::Malformed)), "{head:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_cut_is_no_end() {
        let cut: &[&str] = &["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"];
        assert!(matches!(read(cut, true).await, Err(Fault::Closed)));
        let cut: &[&str] = &["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"];
        assert!(matches!(read(cut, true).await, Err(Fault::Closed)));
        assert!(matches!(read(&[], true).await, Err(Fault::Closed)));
    }

    #[tokio::test]
    async fn informational_heads_are_passed_over_and_values_unfolded() {
        let mut incoming = answering(
            &["HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\ncontent-length: 0\r\n\r\n"],
            false,
        )
        .await;
        let head = incoming.head(SOON).await.unwrap();
        assert_eq!((head.status.as_u16(), head.headers.len()), (200, 2));
        assert_eq!(head.headers["x-long"].to_str().unwrap().split_whitespace().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[tokio::test]
    async fn more_headers_than_usual_are_read_and_far_too_many_are_not() {
        let many = |count: usize| -> &'static str {
            let lines: String = (0..count).map(|number| format!("x-{number}: {number}\r\n")).collect();
            format!("HTTP/1.1 200 OK\r\n{lines}content-length: 0\r\n\r\n").leak()
        };
        let mut incoming = answering(Vec::leak(vec![many(HEADERS_USUAL + 10)]), false).await;
        assert_eq!(incoming.head(SOON).await.unwrap().headers.len(), HEADERS_USUAL + 11);
        let mut incoming = answering(Vec::leak(vec![many(HEADERS_MAX + 10)]), false).await;
        assert!(matches!(incoming.head(SOON).await, Err(Fault::Malformed)));
    }

    #[tokio::test]
    async fn silence_is_a_timeout_and_what_is_here_needs_no_waiting() {
        let mut incoming = answering(&["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"], false).await;
        incoming.head(SOON).await.unwrap();
        incoming.set_idle_timeout(Some(Duration::from_millis(30)));
        assert_eq!(incoming.piece().await.unwrap().as_deref(), Some(&b"ab"[..]));
        assert!(incoming.piece_that_is_here().is_none());
        assert!(matches!(incoming.piece().await, Err(Fault::TimedOut)));
        let mut silent = answering(&[], false).await;
        assert!(matches!(silent.head(Duration::from_millis(30)).await, Err(Fault::TimedOut)));
    }
}
