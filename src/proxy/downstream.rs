//! A client's body read whole, within bounds; and answers of our own to him.

use super::client::{Marks, Session};
use crate::dialects::RefusalBody;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{self, HeaderValue};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One permit of the body budget.
pub const BODY_PERMIT_BYTES: u64 = 1_024;

/// How long the rest of an answered request's body is read, so that its sender sees the answer.
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
pub async fn read_whole(session: &mut Session, bounds: &BodyBounds) -> Result<WholeBody, BodyFault> {
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

async fn collect(session: &mut Session, bounds: &BodyBounds, announced: Option<u64>) -> Result<WholeBody, BodyFault> {
    let mut room: Option<OwnedSemaphorePermit> = None;
    if let Some(bytes) = announced {
        room = Some(acquire(bounds, permits(bytes)).await?);
    }
    let Some(first) = session.piece().await? else { return Ok(WholeBody { bytes: Bytes::new(), _room: room }) };
    if announced == Some(first.len() as u64) {
        // The common small call: one chunk, no copy; the end is read so that the connection can be kept.
        let _ = session.piece().await?;
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
        next = session.piece().await?;
    }
    Ok(WholeBody { bytes: body.freeze(), _room: room })
}

/// `expect: 100-continue` is answered before its body is read.
pub async fn continue_if_expected(session: &mut Session) -> Result<(), BodyFault> {
    let expects =
        session.header(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expects { session.go_on().await } else { Ok(()) }
}

pub fn content_length(session: &Session) -> Option<u64> {
    session.header(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
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

/// Writes an answer of our own: JSON, complete.
pub async fn respond_json(session: &mut Session, status: u16, extra: &[(&str, String)], body: Vec<u8>) -> bool {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.insert(header::CONTENT_LENGTH, (body.len() as u64).into());
    let mut marks = Marks::default();
    for (name, value) in extra {
        marks.put(name, value);
    }
    let bodiless = session.head().method == http::Method::HEAD;
    let body = if bodiless { Bytes::new() } else { Bytes::from(body) };
    session.write_whole(head, &marks, body).await
}

/// Writes a refusal in the caller's dialect. The connection is kept only when the request was read to its end.
pub async fn refuse(session: &mut Session, refusal: RefusalBody, exchange: &str) -> bool {
    if !session.is_body_done() {
        session.close_after();
    }
    let mut extra: Vec<(&str, String)> = refusal.headers;
    extra.push(("x-farebox-exchange-id", exchange.to_owned()));
    respond_json(session, refusal.status, &extra, refusal.body).await
}

/// After an answer that came before the end of its request: the rest is read for a while. A socket closed with unread
/// bytes is reset, and the client would lose the answer that it is about to read.
pub async fn linger(session: &mut Session) {
    if session.status().is_some() && !session.is_body_done() {
        let unread = async { while let Ok(Some(_)) = session.piece().await {} };
        let _ = tokio::time::timeout(LINGER_MAX, Box::pin(unread)).await;
    }
}
