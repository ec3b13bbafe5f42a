//! A request under way, whoever reads it.

use super::head::Head;
use super::marks::{Marks, is_ours};
use super::plain::{Length, Plain};
use crate::proxy::downstream::BodyFault;
use crate::proxy::reason;
use crate::proxy::upstream::{HOP_BY_HOP, nominated};
use bytes::Bytes;
use http::StatusCode;
use http::header::{self, AsHeaderName, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts as ResponseHead;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The time in which something must be taken of an answer counts for pieces of this size.
const WRITTEN_BYTES_MAX: usize = 64 * 1024;

/// A client's request and the way back to him.
pub enum Session {
    Plain(Plain),
    ByPingora(Box<ByPingora>),
}

/// A request that pingora has read the head of.
pub struct ByPingora {
    session: ServerSession,
    head: Arc<Head>,
}

impl ByPingora {
    pub fn new(session: ServerSession) -> ByPingora {
        let head = Arc::new(Head::from(session.req_header()));
        ByPingora { session, head }
    }

    pub fn into_inner(self) -> ServerSession {
        self.session
    }

    /// Chunked for HTTP/1.1, to the close for 1.0, by frames for 2.
    fn frame_unknown_length(&self, head: &mut ResponseHead) {
        head.headers.remove(header::CONTENT_LENGTH);
        let one_one = !self.session.is_http2() && self.head.version == http::Version::HTTP_11;
        let bodiless = matches!(head.status.as_u16(), 204 | 304) || self.head.method == http::Method::HEAD;
        if one_one && !bodiless {
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
}

/// Takes out what is of one hop only, and what is not a provider's to say.
fn keep_end_to_end(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in nominated(headers.get_all(header::CONNECTION).iter()).iter().chain(&HOP_BY_HOP).chain(&ours) {
        headers.remove(name);
    }
}

impl Session {
    pub fn head(&self) -> &Arc<Head> {
        match self {
            Session::Plain(plain) => plain.head(),
            Session::ByPingora(session) => &session.head,
        }
    }

    pub fn header(&self, name: impl AsHeaderName) -> Option<&HeaderValue> {
        self.head().headers.get(name)
    }

    /// The address at the other end of the connection.
    pub fn peer(&self) -> Option<IpAddr> {
        match self {
            Session::Plain(plain) => plain.client(),
            Session::ByPingora(session) => Some(session.session.client_addr()?.as_inet()?.ip()),
        }
    }

    pub fn asks_for_upgrade(&self) -> bool {
        match self {
            Session::Plain(_) => false,
            // Any other protocol would be one that we do not read: cleartext HTTP/2 in a tunnel passes every rule by.
            Session::ByPingora(session) => {
                let wanted = session.head.headers.get(header::UPGRADE);
                let websocket = wanted.is_some_and(|wanted| wanted.as_bytes().eq_ignore_ascii_case(b"websocket"));
                websocket && session.session.is_upgrade_req()
            }
        }
    }

    pub fn is_http2(&self) -> bool {
        match self {
            Session::Plain(_) => false,
            Session::ByPingora(session) => session.session.is_http2(),
        }
    }

    pub fn is_body_done(&mut self) -> bool {
        match self {
            Session::Plain(plain) => plain.is_body_done(),
            Session::ByPingora(session) => session.session.is_body_done(),
        }
    }

    pub fn is_body_empty(&mut self) -> bool {
        match self {
            Session::Plain(plain) => plain.is_body_empty(),
            Session::ByPingora(session) => session.session.is_body_empty(),
        }
    }

    /// A piece of the request's body; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, BodyFault> {
        match self {
            Session::Plain(plain) => plain.piece().await,
            Session::ByPingora(session) => {
                Box::pin(session.session.read_request_body()).await.map_err(|error| match error.etype() {
                    pingora_error::ErrorType::ReadTimedout => BodyFault::TooSlow,
                    _ => BodyFault::ClientGone,
                })
            }
        }
    }

    /// Returns when the client has left.
    pub async fn left(&mut self) {
        match self {
            Session::Plain(plain) => plain.left().await,
            Session::ByPingora(session) => _ = Box::pin(session.session.read_body_or_idle(true)).await,
        }
    }

    /// `expect: 100-continue` is answered by us: pingora does not.
    pub async fn go_on(&mut self) -> Result<(), BodyFault> {
        match self {
            Session::Plain(_) => Ok(()),
            Session::ByPingora(session) => {
                Box::pin(session.session.write_continue_response()).await.map_err(|_| BodyFault::ClientGone)
            }
        }
    }

    /// Longest silence in a body; `None`: none is too long.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        if let Session::ByPingora(session) = self {
            session.session.set_read_timeout(timeout);
        }
    }

    /// The connection is not used again.
    pub fn close_after(&mut self) {
        match self {
            Session::Plain(plain) => plain.close_after(),
            Session::ByPingora(session) => session.session.set_keepalive(None),
        }
    }

    /// The status that was written.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Session::Plain(plain) => plain.status(),
            Session::ByPingora(session) => session.session.response_written().map(|head| head.status),
        }
    }

    /// Writes a response's head, the provider's end-to-end headers and ours. False: the client is gone.
    pub async fn write_head(&mut self, head: ResponseHead, marks: &Marks, length: Length) -> bool {
        match self {
            Session::Plain(plain) => plain.write_head(&head, marks, length).await,
            Session::ByPingora(session) => {
                let mut head = head;
                if head.status != StatusCode::SWITCHING_PROTOCOLS {
                    keep_end_to_end(&mut head.headers);
                }
                if length == Length::Unknown {
                    session.frame_unknown_length(&mut head);
                }
                marks.put_into(&mut head.headers);
                let reason = reason::of(&head).to_owned();
                let mut head = ResponseHeader::from(head);
                // Words that cannot stand there were never kept.
                let _ = head.set_reason_phrase(Some(&reason));
                Box::pin(session.session.write_response_header(Box::new(head))).await.is_ok()
            }
        }
    }

    /// Writes a piece of the body. False: the client is gone.
    pub async fn write_piece(&mut self, bytes: Bytes, end: bool) -> bool {
        match self {
            Session::Plain(plain) => plain.write_piece(&bytes, end).await,
            Session::ByPingora(session) => {
                let mut rest = bytes;
                while rest.len() > WRITTEN_BYTES_MAX {
                    let piece = rest.split_to(WRITTEN_BYTES_MAX);
                    if Box::pin(session.session.write_response_body(piece, false)).await.is_err() {
                        return false;
                    }
                }
                Box::pin(session.session.write_response_body(rest, end)).await.is_ok()
            }
        }
    }

    /// Writes head and body at once. False: the client is gone.
    pub async fn write_whole(&mut self, head: ResponseHead, marks: &Marks, body: Bytes) -> bool {
        if let Session::Plain(plain) = self {
            return plain.write_whole(&head, marks, body).await;
        }
        self.write_head(head, marks, Length::AsItSays).await && self.write_piece(body, true).await
    }

    pub async fn shutdown(&mut self) {
        match self {
            Session::Plain(plain) => plain.shutdown().await,
            Session::ByPingora(session) => Box::pin(session.session.shutdown()).await,
        }
    }
}
