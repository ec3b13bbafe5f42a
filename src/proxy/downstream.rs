//! Glue to pingora's downstream side: a client's body in, a response out.

use super::upstream::{HOP_BY_HOP, nominated};
use crate::dialects::RefusalBody;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http::header;
use http::response::Parts as ResponseHead;
use pingora_core::protocols::http::ServerSession;
use pingora_http::ResponseHeader;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit of the body budget.
pub const BODY_PERMIT_BYTES: u64 = 1_024;

/// How long the rest of a refused request's body is read, so that its sender sees the refusal.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// A request body that was read whole, with the memory it is allowed to hold.
#[derive(Debug, Default)]
pub struct WholeBody {
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

impl WholeBody {
    /// Bytes that are held already, as a part of another body.
    pub fn of(bytes: Bytes) -> WholeBody {
        WholeBody { bytes, _room: None }
    }
}

/// Bounds of reading a body.
#[derive(Clone, Debug)]
pub struct BodyBounds {
    pub bytes_max: u64,
    pub room: Arc<Semaphore>,
    pub room_wait_max: Duration,
    pub arrive_within: Duration,
}

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyFault {
    TooLarge,
    TooSlow,
    /// All bodies together fill the memory that is meant for them.
    NoRoom,
    ClientGone,
}

/// Reads the whole body.
pub async fn read_whole(session: &mut ServerSession, bounds: &BodyBounds) -> Result<WholeBody, BodyFault> {
    let announced = content_length(session);
    if announced.is_some_and(|bytes| bytes > bounds.bytes_max) {
        return Err(BodyFault::TooLarge);
    }
    if announced == Some(0) || (announced.is_none() && session.is_body_empty()) {
        return Ok(WholeBody::default());
    }
    continue_if_expected(session).await?;
    let reading = pin!(collect(session, bounds, announced));
    pingora_timeout::fast_timeout::fast_timeout(bounds.arrive_within, reading).await.unwrap_or(Err(BodyFault::TooSlow))
}

async fn collect(
    session: &mut ServerSession,
    bounds: &BodyBounds,
    announced: Option<u64>,
) -> Result<WholeBody, BodyFault> {
    let mut room: Option<OwnedSemaphorePermit> = None;
    if let Some(bytes) = announced {
        room = Some(acquire(bounds, permits(bytes)).await?);
    }
    let Some(first) = next_chunk(session).await? else { return Ok(WholeBody { bytes: Bytes::new(), _room: room }) };
    if announced == Some(first.len() as u64) {
        // The common small call: one chunk, no copy; the end is read so that the connection can be kept.
        let _ = next_chunk(session).await?;
        return Ok(WholeBody { bytes: first, _room: room });
    }
    let mut body = BytesMut::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0).max(first.len() * 2));
    let mut next = Some(first);
    while let Some(chunk) = next {
        let length = (body.len() + chunk.len()) as u64;
        if length > bounds.bytes_max {
            return Err(BodyFault::TooLarge);
        }
        let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = permits(length) as usize;
        if wanted > held {
            let more = acquire(bounds, u32::try_from(wanted - held).unwrap_or(u32::MAX)).await?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
        }
        body.extend_from_slice(&chunk);
        next = next_chunk(session).await?;
    }
    Ok(WholeBody { bytes: body.freeze(), _room: room })
}

/// One chunk of the body; `None` at its end.
pub async fn next_chunk(session: &mut ServerSession) -> Result<Option<Bytes>, BodyFault> {
    session.read_request_body().await.map_err(|error| match error.etype() {
        pingora_error::ErrorType::ReadTimedout => BodyFault::TooSlow,
        _ => BodyFault::ClientGone,
    })
}

/// `Expect: 100-continue` is answered by us: pingora does not.
pub async fn continue_if_expected(session: &mut ServerSession) -> Result<(), BodyFault> {
    let expects =
        session.get_header(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects {
        Box::pin(session.write_continue_response()).await.map_err(|_| BodyFault::ClientGone)?;
    }
    Ok(())
}

pub fn content_length(session: &ServerSession) -> Option<u64> {
    session.get_header(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

async fn acquire(bounds: &BodyBounds, permits: u32) -> Result<OwnedSemaphorePermit, BodyFault> {
    if let Ok(permit) = Arc::clone(&bounds.room).try_acquire_many_owned(permits) {
        return Ok(permit);
    }
    let room = Arc::clone(&bounds.room).acquire_many_owned(permits);
    match Box::pin(tokio::time::timeout(bounds.room_wait_max, room)).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(BodyFault::NoRoom),
    }
}

fn permits(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(BODY_PERMIT_BYTES)).unwrap_or(u32::MAX)
}

/// The head that a client sees: the provider's end-to-end headers as they came.
pub fn end_to_end(mut head: ResponseHead) -> ResponseHead {
    for name in nominated(head.headers.get_all(header::CONNECTION).iter()) {
        head.headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        head.headers.remove(name);
    }
    head
}

/// Frames a body whose length is not known: chunked for HTTP/1.1, to the close for 1.0, by frames for 2.
pub fn frame_unknown_length(head: &mut ResponseHead, session: &ServerSession) {
    head.headers.remove(header::CONTENT_LENGTH);
    let one_one = !session.is_http2() && session.req_header().version == http::Version::HTTP_11;
    let bodiless = matches!(head.status.as_u16(), 204 | 304) || session.req_header().method == http::Method::HEAD;
    if one_one && !bodiless {
        head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Writes an answer of our own: JSON, complete.
pub async fn respond_json(session: &mut ServerSession, status: u16, extra: &[(&str, String)], body: Vec<u8>) -> bool {
    let Ok(mut head) = ResponseHeader::build(status, Some(extra.len() + 4)) else { return false };
    let _ = head.insert_header(header::CONTENT_TYPE, "application/json");
    let _ = head.insert_header(header::CONTENT_LENGTH, body.len().to_string());
    for (name, value) in extra {
        let _ = head.insert_header((*name).to_owned(), value.as_str());
    }
    let bodiless = session.req_header().method == http::Method::HEAD;
    if session.write_response_header(Box::new(head)).await.is_err() {
        return false;
    }
    let body = if bodiless { Bytes::new() } else { Bytes::from(body) };
    session.write_response_body(body, true).await.is_ok()
}

/// Writes a refusal in the caller's dialect. The connection is kept only when the request was read to its end.
pub async fn refuse(session: &mut ServerSession, refusal: RefusalBody, exchange: &str) -> bool {
    if !session.is_body_done() {
        session.set_keepalive(None);
    }
    let mut extra: Vec<(&str, String)> = refusal.headers;
    extra.push(("x-farebox-exchange-id", exchange.to_owned()));
    let written = respond_json(session, refusal.status, &extra, refusal.body).await;
    if !session.is_body_done() {
        // A socket closed with unread bytes is reset, and the client would lose the answer that it is about to read.
        let _ = tokio::time::timeout(LINGER_MAX, Box::pin(session.drain_request_body())).await;
    }
    written
}
