//! A client's connection that speaks plain HTTP/1.1: requests read one after the other, each answered before the next.

use super::head::{Head, Parsed};
use super::marks::{Marks, is_ours};
use crate::proxy::downstream::BodyFault;
use crate::proxy::reason;
use crate::proxy::upstream::{HOP_BY_HOP, nominated};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header;
use http::response::Parts as ResponseHead;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_timeout::fast_timeout::fast_timeout;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Room for what is read at once: a head and a small body.
const READ_BYTES: usize = 8 * 1024;
/// Of a long body, so much is read at once.
const BODY_READ_BYTES: usize = 64 * 1024;
/// An answer is written in one piece with its head up to this.
const JOINED_BYTES_MAX: usize = 64 * 1024;

/// A connection, and the request on it that is under way.
pub struct Plain {
    stream: Stream,
    /// Read, and not part of a request yet.
    buffer: BytesMut,
    head: Arc<Head>,
    announced: u64,
    /// Of the body, so much is to come.
    left: u64,
    keep: bool,
    /// A request on this connection was answered before.
    used: bool,
    gone: bool,
    answered: Option<StatusCode>,
    writing: Writing,
    peer: Option<IpAddr>,
    /// A request arrives within it, and of an answer something is taken within it.
    within: Duration,
}

/// How the body of the answer is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writing {
    Nothing,
    Length(u64),
    Chunked,
    ToClose,
}

/// Whether the length of a response's body is known when its head is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// What the head says of it is so.
    AsItSays,
    Unknown,
}

/// What comes next on a connection.
pub enum Next {
    /// A request whose head was read.
    Request,
    /// What was read must be read by pingora.
    Uncommon,
    /// The client is gone, or said nothing for too long.
    End,
}

impl Plain {
    /// `read`: bytes that came on it already. `used`: it has carried requests. `within`: the longest silence in a request,
    /// and the longest time that a client may take nothing of his answer.
    pub fn on(stream: Stream, read: BytesMut, used: bool, within: Duration) -> Plain {
        let peer = stream.get_socket_digest().and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()));
        Plain {
            stream,
            buffer: read,
            head: Arc::default(),
            announced: 0,
            left: 0,
            keep: true,
            used,
            gone: false,
            answered: None,
            writing: Writing::Nothing,
            peer,
            within,
        }
    }

    /// The connection, and what was read of it and belongs to no request.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Waits for a request: `idle` for its first bytes on a connection that was used, and from then on (on a new one from
    /// the beginning) as long as a request may take to arrive.
    pub async fn next(&mut self, idle: Duration) -> Next {
        self.answered = None;
        self.writing = Writing::Nothing;
        if !self.buffer.is_empty() {
            // A request that is here already waits for nothing: others must get their turn.
            tokio::task::consume_budget().await;
        }
        let mut began = (!self.used || !self.buffer.is_empty()).then(Instant::now);
        loop {
            if !self.buffer.is_empty() {
                match Head::parse(&mut self.buffer) {
                    Parsed::Whole { head, body, keep } => {
                        self.head = head;
                        (self.announced, self.left, self.keep) = (body, body, keep);
                        return Next::Request;
                    }
                    Parsed::Uncommon => return Next::Uncommon,
                    Parsed::Part => {}
                }
            }
            let within = began.map_or(idle, |began| self.within.saturating_sub(began.elapsed()));
            if self.read(READ_BYTES, within).await.is_err() {
                return Next::End;
            }
            began.get_or_insert_with(Instant::now);
        }
    }

    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    pub fn client(&self) -> Option<IpAddr> {
        self.peer
    }

    pub fn is_body_done(&self) -> bool {
        self.left == 0
    }

    pub fn is_body_empty(&self) -> bool {
        self.announced == 0
    }

    pub fn status(&self) -> Option<StatusCode> {
        self.answered
    }

    pub fn close_after(&mut self) {
        self.keep = false;
    }

    /// A piece of the request's body: all that is here of it. `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, BodyFault> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.buffer.is_empty() {
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(BODY_READ_BYTES);
            self.read(wanted, self.within).await.map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => BodyFault::TooSlow,
                _ => BodyFault::ClientGone,
            })?;
        }
        let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.buffer.len());
        self.left -= here as u64;
        Ok(Some(self.buffer.split_to(here).freeze()))
    }

    /// Returns when the client has left. What he says meanwhile is kept for his next request.
    pub async fn left(&mut self) {
        if self.gone {
            return;
        }
        if self.buffer.is_empty() {
            self.make_room(READ_BYTES);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => {
                    (self.gone, self.keep) = (true, false);
                    return;
                }
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Writes the head of a response; hop-by-hop headers of the provider's are left out. False: the client is gone.
    pub async fn write_head(&mut self, head: &ResponseHead, marks: &Marks, length: Length) -> bool {
        self.writing = framing(head, length);
        let wire = self.begin(head, marks, 0);
        let flushed = !matches!(self.writing, Writing::Length(1..));
        self.send(&[&wire], flushed).await
    }

    /// Writes a response whole.
    pub async fn write_whole(&mut self, head: &ResponseHead, marks: &Marks, body: Bytes) -> bool {
        self.writing = framing(head, Length::AsItSays);
        let joined = body.len() <= JOINED_BYTES_MAX;
        let mut wire = self.begin(head, marks, if joined { body.len() } else { 0 });
        if self.writing == Writing::Nothing {
            return self.send(&[&wire], true).await;
        }
        self.writing = Writing::Nothing;
        if joined {
            wire.extend_from_slice(&body);
            return self.send(&[&wire], true).await;
        }
        self.send(&[&wire, &body], true).await
    }

    /// Writes a piece of a response's body as its head framed it.
    pub async fn write_piece(&mut self, bytes: &[u8], end: bool) -> bool {
        let written = match &mut self.writing {
            Writing::Nothing => true,
            _ if bytes.is_empty() => true,
            Writing::ToClose => self.send(&[bytes], true).await,
            Writing::Length(left) => {
                let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= fits as u64;
                self.send(&[bytes.get(..fits).unwrap_or_default()], true).await
            }
            Writing::Chunked => {
                let size = format!("{:x}\r\n", bytes.len());
                self.send(&[size.as_bytes(), bytes, b"\r\n"], !end).await
            }
        };
        if !end || !written {
            return written;
        }
        match std::mem::replace(&mut self.writing, Writing::Nothing) {
            Writing::Chunked => self.send(&[b"0\r\n\r\n"], true).await,
            Writing::Length(1..) | Writing::ToClose => {
                self.keep = false;
                true
            }
            Writing::Length(0) | Writing::Nothing => true,
        }
    }

    pub async fn shutdown(&mut self) {
        self.keep = false;
        let _ = self.stream.shutdown().await;
    }

    /// The exchange is over: can the next request come? The connection is shut down where it cannot.
    pub async fn ended(&mut self) -> bool {
        self.used = true;
        let whole = self.left == 0 && self.writing == Writing::Nothing && self.answered.is_some();
        if self.keep && whole {
            return true;
        }
        let _ = self.stream.shutdown().await;
        false
    }

    /// The head as it is written, with room for so many bytes behind it.
    fn begin(&mut self, head: &ResponseHead, marks: &Marks, room: usize) -> Vec<u8> {
        self.answered = Some(head.status);
        // The rest of a body that nobody reads would be taken for the next request.
        self.keep &= self.left == 0;
        self.keep &= self.writing != Writing::ToClose;
        let mut wire = Vec::with_capacity(1_024 + room);
        wire.extend_from_slice(b"HTTP/1.1 ");
        wire.extend_from_slice(head.status.as_str().as_bytes());
        wire.push(b' ');
        wire.extend_from_slice(reason::of(head).as_bytes());
        wire.extend_from_slice(b"\r\n");
        let mut line = |name: &[u8], value: &[u8]| {
            wire.extend_from_slice(name);
            wire.extend_from_slice(b": ");
            wire.extend_from_slice(value);
            wire.extend_from_slice(b"\r\n");
        };
        let connection = head.headers.get_all(header::CONNECTION).iter();
        let nominated = nominated(connection);
        // RFC 9110 §8.6: whoever believed it would take the next answer for a body.
        let no_length = matches!(head.status.as_u16(), 100..=199 | 204);
        let mut dated = false;
        for (name, value) in &head.headers {
            let gives_way = *name == header::CONTENT_LENGTH && (no_length || self.writing == Writing::Chunked);
            if gives_way || HOP_BY_HOP.contains(name) || nominated.contains(name) || is_ours(name) {
                continue;
            }
            dated |= *name == header::DATE;
            line(name.as_str().as_bytes(), value.as_bytes());
        }
        if !dated {
            line(b"date", get_cached_date().as_bytes());
        }
        if self.writing == Writing::Chunked {
            line(b"transfer-encoding", b"chunked");
        }
        line(b"connection", if self.keep { b"keep-alive" } else { b"close" });
        wire.extend_from_slice(marks.as_bytes());
        wire.extend_from_slice(b"\r\n");
        wire
    }

    async fn send(&mut self, pieces: &[&[u8]], flush: bool) -> bool {
        let mut sent = true;
        for piece in pieces {
            sent = sent && self.put(piece).await.is_ok();
        }
        if flush && sent {
            let flushing = pin!(self.stream.flush());
            sent = matches!(fast_timeout(self.within, flushing).await, Ok(Ok(())));
        }
        self.keep &= sent;
        sent
    }

    /// Writes it all, as long as the client takes something of it from time to time.
    async fn put(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let taken = {
                let writing = pin!(self.stream.write(rest));
                fast_timeout(self.within, writing).await.map_err(|_| io::ErrorKind::TimedOut)??
            };
            match rest.get(taken..) {
                Some(left) if taken > 0 => rest = left,
                _ => return Err(io::ErrorKind::WriteZero.into()),
            }
        }
        Ok(())
    }

    /// Reads what comes, at least a byte.
    async fn read(&mut self, room: usize, within: Duration) -> io::Result<()> {
        self.make_room(room);
        let read = {
            let reading = pin!(self.stream.read_buf(&mut self.buffer));
            fast_timeout(within, reading).await.map_err(|_| io::ErrorKind::TimedOut)??
        };
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    fn make_room(&mut self, room: usize) {
        if self.buffer.capacity() - self.buffer.len() < room.min(READ_BYTES) {
            self.buffer.reserve(room.max(READ_BYTES));
        }
    }
}

fn framing(head: &ResponseHead, length: Length) -> Writing {
    if matches!(head.status.as_u16(), 100..=199 | 204 | 304) {
        return Writing::Nothing;
    }
    if length == Length::Unknown {
        return Writing::Chunked;
    }
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    match length {
        Some(0) => Writing::Nothing,
        Some(length) => Writing::Length(length),
        None => Writing::ToClose,
    }
}
