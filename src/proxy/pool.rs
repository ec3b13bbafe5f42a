//! Idle connections to one provider, the longest idle first.
//!
//! pingora's own pool watches each idle connection with a task and a timer, which costs a call more than the rest of
//! finding a connection; here a connection is looked at when it is taken, and all of them twice a second.

use futures_util::FutureExt;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

/// Idle connections kept to one provider.
const CONNECTIONS_MAX: usize = 1_024;
/// Shorter than the keep-alive of common servers, so that we rarely write into a connection that is being closed.
const IDLE_MAX: Duration = Duration::from_secs(50);

#[derive(Default)]
pub struct Pool {
    idle: Mutex<VecDeque<Idle>>,
}

struct Idle {
    stream: Stream,
    address: SocketAddr,
    since: Instant,
}

impl Pool {
    /// The connection to `address` that was used last, unless its other end has closed it.
    pub fn take(&self, address: SocketAddr) -> Option<Stream> {
        loop {
            let found = {
                let mut idle = self.idle.lock();
                let place = idle.iter().rposition(|idle| idle.address == address)?;
                idle.remove(place)
            };
            let mut found = found?;
            if found.is_alive() {
                return Some(found.stream);
            }
        }
    }

    /// Keeps a connection whose last response was read to its end.
    pub fn put(&self, address: SocketAddr, stream: Stream) {
        let mut idle = self.idle.lock();
        idle.push_back(Idle { stream, address, since: Instant::now() });
        let oldest = (idle.len() > CONNECTIONS_MAX).then(|| idle.pop_front());
        // Closed without the lock.
        drop(idle);
        drop(oldest);
    }

    /// Closes what has been idle for too long, or was closed at its other end.
    pub fn sweep(&self) {
        let mut dead = Vec::new();
        let mut idle = self.idle.lock();
        let mut kept = VecDeque::with_capacity(idle.len());
        for mut one in idle.drain(..) {
            if one.is_alive() { kept.push_back(one) } else { dead.push(one) }
        }
        *idle = kept;
        drop(idle);
        drop(dead);
    }
}

impl Idle {
    /// A provider says nothing on an idle connection: whatever can be read is its end, or not meant for us.
    fn is_alive(&mut self) -> bool {
        let mut byte = [0u8; 1];
        // Without tokio's budget, which would make a connection look alive when it is spent.
        let read = tokio::task::unconstrained(self.stream.read(&mut byte)).now_or_never();
        read.is_none() && self.since.elapsed() < IDLE_MAX
    }
}
