//! A simulated provider: all dialects, whole and streamed, with usage that is true and the same on every run. For tests,
//! for `farebox demo`, and for trying a client without a key. It shares no code with what it is there to check.
//!
//! Requests steer it by `x-sim-*` headers (the table is in [`wishes`]); what reached it is in its [`SeenLog`], and over
//! HTTP at `/simulator/attempts` and `/simulator/totals`.

mod answer;
mod anthropic;
mod door;
mod gemini;
mod json;
mod openai;
mod reply;
mod seen;
mod sending;
mod shelf;
mod squeeze;
pub mod wishes;
mod words;

pub use seen::{Attempt, Ending, SeenLog, Totals, Usage};

use crate::clock::{Clock, SystemClock};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// How the simulator behaves where a request wishes nothing else.
#[derive(Clone)]
pub struct SimulatorSettings {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    pub clock: Arc<dyn Clock>,
    /// Another seed says other words and has other faults.
    pub seed: u64,
    /// Requests without a key get a 401.
    pub require_key: bool,
    pub first_byte: Duration,
    pub chunk_pause: Duration,
    /// Visible output tokens of an answer.
    pub output_tokens: RangeInclusive<u64>,
    /// So many requests of a hundred fail with 429, 500 or 503.
    pub error_percent: u8,
    pub attempts_kept_max: usize,
    /// Keep request bodies in the log.
    pub keep_bodies: bool,
}

impl Default for SimulatorSettings {
    fn default() -> Self {
        SimulatorSettings {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            clock: Arc::new(SystemClock),
            seed: 0,
            require_key: false,
            first_byte: Duration::ZERO,
            chunk_pause: Duration::ZERO,
            output_tokens: 16..=48,
            error_percent: 0,
            attempts_kept_max: 100_000,
            keep_bodies: false,
        }
    }
}

/// A simulator that runs until it is dropped.
#[derive(Debug)]
pub struct Running {
    pub address: SocketAddr,
    pub log: Arc<SeenLog>,
    serving: JoinHandle<()>,
}

impl Running {
    /// `http://127.0.0.1:12345`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Starts a simulator in the running tokio runtime.
pub async fn start(settings: SimulatorSettings) -> io::Result<Running> {
    let listener = TcpListener::bind(settings.listen).await?;
    let address = listener.local_addr()?;
    let log = SeenLog::new(settings.attempts_kept_max);
    let shop = Arc::new(door::Shop { settings, log: Arc::clone(&log), shelf: shelf::Shelf::default() });
    let serving = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(connections.spawn(door::serve(Arc::clone(&shop), stream))),
                    // Out of file descriptors, most likely: others will be given back.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok(Running { address, log, serving })
}
