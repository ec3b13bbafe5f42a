//! Counting beside the forwarding: what no decision waits for is counted on threads of its own, so that 1 MB of one
//! letter never blocks another request.

use super::Proxy;
use super::account::Unsettled;
use super::foresee;
use crate::event::Event;
use crate::meter::Counts;
use crate::tokens::bound::counted_input;
use crate::tokens::count::{Counter, always};
use crate::tokens::prompt::{OutputSeen, PromptTally};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Attempts that may wait to be counted; beyond it the caller's thread counts itself, which slows it down and loses
/// nothing.
const QUEUE_ATTEMPTS_MAX: usize = 8_192;

struct Job {
    proxy: Arc<Proxy>,
    open: Box<Unsettled>,
    told: Option<oneshot::Sender<Arc<Event>>>,
}

/// The counting threads and their queue.
pub struct Counting {
    counter: Arc<Counter>,
    queue: Mutex<Option<SyncSender<Job>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Counting {
    pub fn start(counter: Arc<Counter>, threads: usize) -> Counting {
        let (queue, jobs) = sync_channel(QUEUE_ATTEMPTS_MAX);
        let jobs = Arc::new(Mutex::new(jobs));
        let spawn = |number: usize| {
            let (counter, jobs) = (Arc::clone(&counter), Arc::clone(&jobs));
            std::thread::Builder::new().name(format!("count-{number}")).spawn(move || count_jobs(&counter, &jobs)).ok()
        };
        let threads = (0..threads.max(1)).filter_map(spawn).collect();
        Counting { counter, queue: Mutex::new(Some(queue)), threads: Mutex::new(threads) }
    }

    /// Counts and settles on another thread.
    pub fn book_later(&self, proxy: &Arc<Proxy>, open: Box<Unsettled>) {
        self.enqueue(Job { proxy: Arc::clone(proxy), open, told: None });
    }

    /// Counts and settles on another thread, and waits for it.
    pub async fn count_and_book(&self, proxy: &Arc<Proxy>, open: Box<Unsettled>) -> Option<Arc<Event>> {
        let (told, heard) = oneshot::channel();
        self.enqueue(Job { proxy: Arc::clone(proxy), open, told: Some(told) });
        heard.await.ok()
    }

    /// Books everything that waits and ends the threads.
    pub fn finish(&self) {
        drop(self.queue.lock().take());
        for thread in self.threads.lock().drain(..) {
            let _ = thread.join();
        }
    }

    fn enqueue(&self, job: Job) {
        let queue = self.queue.lock().clone();
        let refused = match queue {
            None => job,
            Some(queue) => match queue.try_send(job) {
                Ok(()) => return,
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
            },
        };
        job_done(&self.counter, refused);
    }
}

fn count_jobs(counter: &Counter, jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().recv();
        match next {
            Ok(job) => job_done(counter, job),
            Err(_) => return,
        }
    }
}

fn job_done(counter: &Counter, job: Job) {
    let counts = counts(counter, &job.open);
    let event = job.open.book(&job.proxy, counts);
    if let Some(told) = job.told {
        let _ = told.send(event);
    }
}

/// Input and output as our tokenizer counts them.
fn counts(counter: &Counter, open: &Unsettled) -> Counts {
    let call = &open.call;
    let rule = foresee::rule(call.offer.as_ref(), call.facts.requested_model.as_deref());
    let tokenizer = rule.tokenizer;
    let input = if call.body.is_empty() {
        None
    } else {
        let mut go_on = always;
        let mut tally = PromptTally::new(counter, &tokenizer, &mut go_on);
        call.dialect.prompt_texts(&call.endpoint, &call.body, &mut |text| tally.push(text));
        tally.finish().ok().map(|prompt| counted_input(prompt, &call.facts, &rule))
    };
    let output = open.output().and_then(|output| {
        let seen = OutputSeen {
            text: &output.text,
            reasoning: &output.reasoning,
            tool_calls: output.tool_calls,
            dropped_bytes: output.dropped_bytes,
        };
        counter.output(&tokenizer, &seen, &mut always).ok()
    });
    Counts { input, output }
}
