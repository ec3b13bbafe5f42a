//! The log: one line per attempt that reads alone, written by a thread of its own so that no request waits for a slow
//! terminal. Keys, bodies and queries never get here.

use super::{Beside, line};
use crate::event::Event;
use parking_lot::{Condvar, Mutex};
use std::io::Write;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tracing_subscriber::filter::{EnvFilter, FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that may wait for the writer; beyond it they are dropped and counted.
const QUEUE_LINES_MAX: usize = 16_384;

/// After writing, the writer rests this long: waking it for each line costs a request more than making the line.
const REST: Duration = Duration::from_millis(10);
const WRITE_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Json,
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub format: LogFormat,
    /// `info`, or a filter such as `farebox=debug,pingora_core=warn`. Libraries never say more than `info`: in detail
    /// they write keys.
    pub level: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings { format: LogFormat::Auto, level: "info".to_owned() }
    }
}

/// The writer of exchange lines. Dropped, it writes what waits and ends.
pub struct Log {
    queue: Option<Arc<Queue>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<(Arc<Event>, Beside)>,
    /// The writer sleeps until it is woken, and not only for its rest.
    writer_sleeps: bool,
    ended: bool,
}

impl Log {
    /// Starts the writer (stderr) and installs the subscriber for all other messages.
    pub fn start(settings: &LogSettings) -> Log {
        let json = match settings.format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !std::io::IsTerminal::is_terminal(&std::io::stderr()),
        };
        install(settings, json);
        let exchanges =
            EnvFilter::new(&settings.level).max_level_hint().is_none_or(|level| level >= tracing::Level::INFO);
        if !exchanges {
            return Log { queue: None, writer: None };
        }
        let queue = Arc::new(Queue::default());
        let lines = Arc::clone(&queue);
        let writer = std::thread::Builder::new().name("log".to_owned()).spawn(move || lines.write_lines(json));
        Log { queue: Some(queue), writer: writer.ok() }
    }

    /// A log that says nothing, for tests and tools.
    pub fn silent() -> Log {
        Log { queue: None, writer: None }
    }

    /// False when the line was dropped.
    pub(super) fn exchange(&self, event: Arc<Event>, beside: Beside) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.push(event, beside))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.waiting.lock().ended = true;
            queue.wake.notify_one();
        }
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Queue {
    /// False when there was no room for it.
    fn push(&self, event: Arc<Event>, beside: Beside) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.lines.len() >= QUEUE_LINES_MAX {
            return false;
        }
        waiting.lines.push((event, beside));
        let sleeps = std::mem::take(&mut waiting.writer_sleeps);
        drop(waiting);
        if sleeps {
            self.wake.notify_one();
        }
        true
    }

    /// Writes what comes until the log ends.
    fn write_lines(&self, json: bool) {
        let (mut lines, mut text) = (Vec::new(), Vec::new());
        let mut waiting = self.waiting.lock();
        loop {
            if waiting.lines.is_empty() {
                if waiting.ended {
                    return;
                }
                waiting.writer_sleeps = true;
                self.wake.wait(&mut waiting);
                continue;
            }
            std::mem::swap(&mut waiting.lines, &mut lines);
            drop(waiting);
            for (event, beside) in lines.drain(..) {
                line::write(&mut text, &event, &beside, json);
                if text.len() >= WRITE_BYTES {
                    write_out(&mut text);
                }
            }
            write_out(&mut text);
            waiting = self.waiting.lock();
            if !waiting.ended {
                self.wake.wait_for(&mut waiting, REST);
            }
        }
    }
}

/// A log that cannot be written is no reason to stop.
fn write_out(text: &mut Vec<u8>) {
    let _ = std::io::stderr().lock().write_all(text);
    text.clear();
}

fn install(settings: &LogSettings, json: bool) {
    let filter = EnvFilter::try_new(&settings.level).unwrap_or_else(|_| EnvFilter::new("info"));
    // Libraries write heads with the keys in them when they are asked for every detail.
    let not_their_details = filter_fn(|about| {
        let ours = about.target().starts_with("farebox");
        // What it says of sockets that were not handed over yet, we say in words.
        ours || *about.level() <= tracing::Level::INFO && !about.target().ends_with("::transfer_fd")
    });
    let filter = filter.and(not_their_details.with_max_level_hint(LevelFilter::TRACE));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = if json {
        let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
        tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
    } else {
        // Colours are for a terminal, not for a file.
        let lines = lines.compact().with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
        tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
    };
}
