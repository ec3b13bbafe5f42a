//! What is done about a settled call besides the request: its event, its record in the journal, its metrics and its log
//! line, on one thread of its own.
//!
//! Where budgets hold something for the call, the request's own thread settles: what is freed must be free before the
//! caller's next call. Everywhere else it only hands over, which costs a call a fraction of doing it.
//!
//! *Bound:* [`WAITING_MAX`] calls; beyond it a request does its own, which slows it down and loses nothing. A process
//! that dies within [`REST`] of a settlement leaves the attempt to recovery, which books it as it books any that was
//! under way.

use super::Proxy;
use super::account::Unsettled;
use crate::event::{Closing, Event};
use crate::telemetry::Beside;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Calls that may wait.
const WAITING_MAX: usize = 4_096;
/// After a round of work the thread looks again this much later instead of being woken for each call: waking it costs a
/// request more than what it is woken for.
const REST: Duration = Duration::from_millis(1);

/// Work that a request hands over.
pub enum Work {
    Settle { open: Box<Unsettled>, closing: Box<Closing> },
    Tell { event: Arc<Event>, beside: Box<Beside> },
}

impl Work {
    pub fn done(self, proxy: &Proxy) {
        match self {
            Work::Settle { open, closing } => {
                let (event, beside) = open.charge(proxy, *closing);
                proxy.telemetry.settled(&event, *beside);
            }
            Work::Tell { event, beside } => proxy.telemetry.settled(&event, *beside),
        }
    }
}

/// The thread and its queue. Dropped, it does what waits and ends.
pub struct Settling {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Something was done.
    done: Condvar,
}

#[derive(Default)]
struct Waiting {
    work: Vec<(Arc<Proxy>, Work)>,
    /// The thread sleeps until it is woken, and not only for its rest.
    sleeps: bool,
    ended: bool,
    /// So many were handed over, and so many of them are done.
    given: u64,
    done: u64,
}

impl Settling {
    pub fn start() -> Settling {
        let queue = Arc::new(Queue::default());
        let of_thread = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("settle".to_owned()).spawn(move || of_thread.work()).ok();
        // Without a thread, each request does its own.
        queue.waiting.lock().ended = thread.is_none();
        Settling { queue, thread: Mutex::new(thread) }
    }

    /// Hands over; done here where nobody takes it.
    pub fn hand_over(&self, proxy: &Arc<Proxy>, work: Work) {
        let mut waiting = self.queue.waiting.lock();
        if waiting.ended || waiting.work.len() >= WAITING_MAX {
            drop(waiting);
            return work.done(proxy);
        }
        waiting.work.push((Arc::clone(proxy), work));
        waiting.given += 1;
        let sleeps = std::mem::take(&mut waiting.sleeps);
        drop(waiting);
        if sleeps {
            self.queue.wake.notify_one();
        }
    }

    /// Returns when everything is done that was handed over before. Blocks for as long as that takes: milliseconds.
    pub fn catch_up(&self) {
        let mut waiting = self.queue.waiting.lock();
        let upto = waiting.given;
        while waiting.done < upto {
            self.queue.wake.notify_one();
            self.queue.done.wait(&mut waiting);
        }
    }

    /// Does what waits and ends the thread; whatever comes later is done where it arises.
    pub fn finish(&self) {
        self.end();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }

    fn end(&self) {
        self.queue.waiting.lock().ended = true;
        self.queue.wake.notify_one();
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        // Not joined: the last one to hold the proxy may be the thread itself.
        self.end();
    }
}

impl Queue {
    fn work(&self) {
        let mut round = Vec::new();
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.work.is_empty() {
                if waiting.ended {
                    return;
                }
                waiting.sleeps = true;
                self.wake.wait(&mut waiting);
                waiting.sleeps = false;
                continue;
            }
            std::mem::swap(&mut waiting.work, &mut round);
            drop(waiting);
            let count = round.len() as u64;
            for (proxy, work) in round.drain(..) {
                // A panic over one call must not end the others' settlement; its hold is booked by its drop.
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work.done(&proxy)));
                if done.is_err() {
                    tracing::error!("settling a call broke down; it is booked at its estimate");
                }
            }
            waiting = self.waiting.lock();
            waiting.done += count;
            self.done.notify_all();
            if !waiting.ended {
                self.wake.wait_for(&mut waiting, REST);
            }
        }
    }
}
