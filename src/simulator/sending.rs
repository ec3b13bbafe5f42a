//! The body of an answer on its way out: chunk by chunk, with the pauses and the accidents that were wished.

use super::door::Line;
use super::seen::{Ending, Visit};
use super::squeeze::Squeezer;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Bytes that leave together, and the tokens of output that they carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    pub bytes: Bytes,
    pub tokens: u64,
    /// One of those that pauses and accidents count.
    pub counts: bool,
}

impl Chunk {
    /// A part of the answer.
    pub fn content(bytes: impl Into<Bytes>, tokens: u64) -> Chunk {
        Chunk { bytes: bytes.into(), tokens, counts: true }
    }

    /// What stands around the answer: openings, endings, pings.
    pub fn frame(bytes: impl Into<Bytes>) -> Chunk {
        Chunk { bytes: bytes.into(), tokens: 0, counts: false }
    }
}

/// What happens after so many chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accident {
    /// Silence until the client leaves.
    Stall { after: u64 },
    /// The connection ends without the body's end.
    Cut { after: u64 },
}

pub struct Sending {
    chunks: VecDeque<Chunk>,
    pause: Duration,
    accident: Option<Accident>,
    squeezer: Option<Squeezer>,
    /// Of the whole body, where it is known: it becomes the `content-length`.
    bytes_left: Option<u64>,
    visit: Visit,
    line: Arc<Line>,
    sent_chunks: u64,
    waiting: Option<Pin<Box<Sleep>>>,
    waited: bool,
    flushed: bool,
}

impl Sending {
    pub(super) fn new(chunks: Vec<Chunk>, visit: Visit, line: Arc<Line>) -> Sending {
        Sending {
            chunks: chunks.into(),
            pause: Duration::ZERO,
            accident: None,
            squeezer: None,
            bytes_left: None,
            visit,
            line,
            sent_chunks: 0,
            waiting: None,
            waited: false,
            flushed: false,
        }
    }

    pub fn pausing(mut self, pause: Duration) -> Sending {
        self.pause = pause;
        self
    }

    pub fn with_accident(mut self, accident: Option<Accident>) -> Sending {
        self.accident = accident;
        self
    }

    pub fn squeezed(mut self, squeezer: Option<Squeezer>) -> Sending {
        self.squeezer = squeezer;
        self
    }

    /// The length is told beforehand.
    pub fn of_known_length(mut self) -> Sending {
        let bytes = self.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum();
        if bytes == 0 {
            self.visit.end(Ending::Completed);
        }
        self.bytes_left = Some(bytes);
        self
    }

    fn poll_accident(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = |after: u64| self.sent_chunks >= after;
        match self.accident {
            Some(Accident::Stall { after }) if due(after) => Poll::Pending,
            Some(Accident::Cut { after }) if due(after) => {
                // Pending once, so that hyper writes out what it holds before the connection goes.
                if std::mem::replace(&mut self.flushed, true) {
                    self.visit.end(Ending::Cut);
                    self.line.cut();
                } else {
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn poll_pause(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.pause.is_zero() || self.waited || !self.chunks.front().is_some_and(|chunk| chunk.counts) {
            return Poll::Ready(());
        }
        let pause = self.pause;
        let sleep = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.waiting = None;
        self.waited = true;
        Poll::Ready(())
    }

    fn squeeze(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.squeezer {
            Some(squeezer) => squeezer.push(&bytes).unwrap_or_default(),
            None => bytes,
        }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        std::task::ready!(this.poll_accident(context));
        std::task::ready!(this.poll_pause(context));
        this.waited = false;
        let Some(chunk) = this.chunks.pop_front() else {
            let tail = this.squeezer.take().and_then(|squeezer| squeezer.finish().ok()).filter(|tail| !tail.is_empty());
            return match tail {
                Some(tail) => Poll::Ready(Some(Ok(Frame::data(tail)))),
                None => {
                    this.visit.end(Ending::Completed);
                    Poll::Ready(None)
                }
            };
        };
        let bytes = this.squeeze(chunk.bytes);
        this.sent_chunks += u64::from(chunk.counts);
        this.visit.sent(bytes.len() as u64, chunk.tokens);
        if let Some(left) = &mut this.bytes_left {
            *left = left.saturating_sub(bytes.len() as u64);
            // hyper does not ask again once the length is reached.
            if this.chunks.is_empty() && *left == 0 {
                this.visit.end(Ending::Completed);
            }
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.squeezer.is_none() && self.accident.is_none() && self.bytes_left.is_some()
    }

    fn size_hint(&self) -> SizeHint {
        self.bytes_left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
