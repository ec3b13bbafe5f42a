//! Counting beside the forwarding: what no decision waits for is counted on threads of its own, so that 1 MB of one
//! letter never blocks another request.

use super::Proxy;
use super::account::{Made, Unsettled};
use super::foresee;
use crate::catalog::Offer;
use crate::dialects::{Dialect, Endpoint};
use crate::meter::Counts;
use crate::tokens::bound::counted_input;
use crate::tokens::count::{Counter, always};
use crate::tokens::facts::RequestFacts;
use crate::tokens::prompt::PromptTally;
use crate::tokens::usage::TokenUsage;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Attempts that may wait to be counted; beyond it the caller's thread counts itself, which slows it down and loses
/// nothing.
const QUEUE_ATTEMPTS_MAX: usize = 8_192;

enum Job {
    Book { proxy: Arc<Proxy>, open: Box<Unsettled>, told: Option<oneshot::Sender<Made>> },
    Count { prompt: Prompt, told: oneshot::Sender<Option<Counted>> },
}

/// A request whose input is to be counted.
pub struct Prompt {
    pub dialect: Dialect,
    pub endpoint: Endpoint,
    pub facts: Arc<RequestFacts>,
    /// As the caller sent it.
    pub body: Bytes,
    pub offer: Option<Offer>,
}

/// A request's input as our tokenizer counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub usage: TokenUsage,
    pub exact: bool,
    /// Tokens by which the bound from bytes is proven too large, also where the count is not exact.
    pub saved: u64,
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
        self.enqueue(Job::Book { proxy: Arc::clone(proxy), open, told: None });
    }

    /// Counts a request's input on another thread. `None`: it cannot be counted.
    pub async fn count(&self, prompt: Prompt) -> Option<Counted> {
        let (told, heard) = oneshot::channel();
        self.enqueue(Job::Count { prompt, told });
        heard.await.ok().flatten()
    }

    /// The tokenizer.
    pub fn counter(&self) -> &Counter {
        &self.counter
    }

    /// Counts and settles on another thread, and waits for it.
    pub async fn count_and_book(&self, proxy: &Arc<Proxy>, open: Box<Unsettled>) -> Option<Made> {
        let (told, heard) = oneshot::channel();
        self.enqueue(Job::Book { proxy: Arc::clone(proxy), open, told: Some(told) });
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
    match job {
        Job::Book { proxy, open, told } => {
            let counts = counts(counter, &open);
            let made = open.book(&proxy, counts);
            if let Some(told) = told {
                let _ = told.send(made);
            }
        }
        Job::Count { prompt, told } => {
            let _ = told.send(input(counter, &prompt));
        }
    }
}

/// Input and output as our tokenizer counts them.
fn counts(counter: &Counter, open: &Unsettled) -> Counts {
    let call = &open.call;
    let prompt = Prompt {
        dialect: call.dialect,
        endpoint: call.endpoint.clone(),
        facts: Arc::clone(&call.facts),
        body: call.body.clone(),
        offer: call.offer.clone(),
    };
    let tokenizer = foresee::rule(call.offer.as_ref(), call.facts.requested_model.as_deref()).tokenizer;
    let output = open.output().and_then(|output| counter.output(&tokenizer, &output, &mut always).ok());
    let input = input(counter, &prompt).map(|counted| (counted.usage, counted.exact));
    Counts { input, output }
}

fn input(counter: &Counter, prompt: &Prompt) -> Option<Counted> {
    if prompt.body.is_empty() {
        return None;
    }
    let rule = foresee::rule(prompt.offer.as_ref(), prompt.facts.requested_model.as_deref());
    let mut go_on = always;
    let mut tally = PromptTally::new(counter, &rule.tokenizer, &mut go_on);
    prompt.dialect.prompt_texts(&prompt.endpoint, &prompt.body, &mut |text| tally.push(text));
    let saved = tally.saved();
    let count = tally.finish().ok()?;
    let (usage, exact) = counted_input(count, &prompt.facts, &rule);
    Some(Counted { usage, exact, saved })
}
