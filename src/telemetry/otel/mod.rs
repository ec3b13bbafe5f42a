//! OpenTelemetry: traces by OTLP, and the `gen_ai.*` metrics on `/metrics` and by OTLP.
//!
//! A request's thread only leaves a note of what happened; one thread beside makes spans and metrics of it, and the SDK's
//! threads send them. A collector that is slow or away costs a call nothing: what has no room is dropped and counted.

mod collector;
mod environment;
mod genai;
mod spans;
mod trace;

pub use environment::{Collector, OtelSettings, Sampling, Unfit, read};
pub use genai::{Conventions, Served};
pub use trace::{Arrival, AttemptTrace, ExchangeTrace, RefusedTrace, TRACEPARENT, Trace};

use super::Beside;
use super::metrics::Metrics;
use super::series::Cell;
use crate::event::Event;
use collector::{CountedMetrics, CountedSpans, Sent};
use genai::GenAi;
use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanProcessor};
use parking_lot::{Condvar, Mutex};
use spans::Spans;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use trace::Beginnings;

/// Notes that may wait; beyond it they are dropped and counted.
const NOTES_MAX: usize = 16_384;
/// After its work the thread rests this long: waking it for each note would cost a request more than the note.
const REST: Duration = Duration::from_millis(50);
/// Longest flush of spans at the end; that of metrics is the SDK's, five seconds.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Something that happened.
enum Note {
    Attempt {
        event: Arc<Event>,
        model: Option<Arc<str>>,
        trace: Option<Box<AttemptTrace>>,
    },
    Exchange(Box<ExchangeTrace>),
    Refused(Box<RefusedTrace>),
    /// One that cannot be taken up.
    #[cfg(test)]
    Faulty,
}

/// Traces and `gen_ai.*` metrics of the process. Dropped, it sends what waits and ends.
pub struct Otel {
    beginnings: Beginnings,
    /// `None`: neither spans nor metrics are made.
    notes: Option<Arc<Notes>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Notes {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    recorder: Mutex<Recorder>,
    dropped: Arc<Cell>,
    broken: Arc<Cell>,
}

#[derive(Default)]
struct Waiting {
    notes: Vec<Note>,
    /// The thread sleeps until it is woken, and not only for its rest.
    sleeps: bool,
    ended: bool,
}

/// Makes spans and metrics.
struct Recorder {
    served: HashMap<Arc<str>, Served>,
    unknown: Served,
    gen_ai: Option<GenAi>,
    meters: Option<SdkMeterProvider>,
    spans: Option<Sending>,
}

/// Spans on their way.
struct Sending {
    make: Spans,
    processor: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    waiting_max: usize,
    dropped: Arc<Cell>,
}

impl Otel {
    /// Nothing is sent and no metric made.
    pub fn off() -> Otel {
        Otel { beginnings: Beginnings::new(true, None), notes: None, thread: Mutex::default() }
    }

    /// `served`: the configured providers. Errors: what of the settings cannot be used, in words.
    pub fn start(
        settings: &OtelSettings,
        conventions: Conventions,
        served: HashMap<Arc<str>, Served>,
        metrics: &Metrics,
    ) -> Result<Otel, String> {
        let sampling = settings.traces.is_some().then_some(settings.sampler);
        let beginnings = Beginnings::new(settings.reads_context, sampling);
        if settings.traces.is_none() && conventions == Conventions::Off {
            return Ok(Otel { beginnings, notes: None, thread: Mutex::default() });
        }
        let resource = resource(settings);
        let meters = match conventions {
            Conventions::Off => None,
            Conventions::V1_41 => Some(meters(settings, metrics, &resource)?),
        };
        let recorder = Recorder {
            served,
            unknown: Served { provider: "other".into(), address: "".into(), port: 0 },
            gen_ai: meters.as_ref().map(|meters| GenAi::new(meters, metrics.room())),
            meters,
            spans: settings.traces.as_ref().map(|to| Sending::to(to, settings, metrics, &resource)).transpose()?,
        };
        let notes = Arc::new(Notes {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            recorder: Mutex::new(recorder),
            dropped: Arc::clone(&metrics.otel_notes_dropped),
            broken: Arc::clone(&metrics.otel_notes_broken),
        });
        let beside = Arc::clone(&notes);
        let thread = std::thread::Builder::new().name("otel".to_owned()).spawn(move || beside.look_after());
        let thread = thread.map_err(|error| format!("no thread can be started: {error}"))?;
        Ok(Otel { beginnings, notes: Some(notes), thread: Mutex::new(Some(thread)) })
    }

    /// The trace of a request; `None`: nobody traces.
    pub fn begin(&self, headers: &HeaderMap) -> Option<Trace> {
        self.beginnings.of(headers)
    }

    /// An attempt was settled.
    pub(super) fn attempt(&self, event: &Arc<Event>, beside: &Beside) {
        if let Some(notes) = &self.notes {
            let trace = beside.trace.clone().filter(|attempt| attempt.trace.sampled);
            notes.push(Note::Attempt { event: Arc::clone(event), model: beside.model_label.clone(), trace });
        }
    }

    /// The response to a request was written. Only for sampled traces.
    pub fn exchange(&self, told: ExchangeTrace) {
        if let Some(notes) = &self.notes {
            notes.push(Note::Exchange(Box::new(told)));
        }
    }

    /// A request was refused. Only for sampled traces.
    pub fn refused(&self, told: RefusedTrace) {
        if let Some(notes) = &self.notes {
            notes.push(Note::Refused(Box::new(told)));
        }
    }

    /// Takes up what waits, so that a scrape shows what happened before it.
    pub fn catch_up(&self) {
        if let Some(notes) = &self.notes {
            notes.take_up();
        }
    }
}

impl Otel {
    /// Sends what waits, and ends. Blocks for eight seconds at most.
    pub fn finish(&self) {
        if let Some(notes) = &self.notes {
            notes.waiting.lock().ended = true;
            notes.wake.notify_one();
        }
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Otel {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Notes {
    fn push(&self, note: Note) {
        let mut waiting = self.waiting.lock();
        if waiting.notes.len() >= NOTES_MAX {
            drop(waiting);
            return self.dropped.add(1);
        }
        waiting.notes.push(note);
        let sleeps = std::mem::take(&mut waiting.sleeps);
        drop(waiting);
        if sleeps {
            self.wake.notify_one();
        }
    }

    /// Until the end: takes up what comes, then sends the rest.
    fn look_after(&self) {
        loop {
            self.take_up();
            let mut waiting = self.waiting.lock();
            if waiting.ended {
                break;
            }
            if waiting.notes.is_empty() {
                waiting.sleeps = true;
                self.wake.wait(&mut waiting);
                waiting.sleeps = false;
            }
            if !waiting.ended {
                self.wake.wait_for(&mut waiting, REST);
            }
        }
        self.take_up();
        self.recorder.lock().end();
    }

    fn take_up(&self) {
        let mut recorder = self.recorder.lock();
        let notes = std::mem::take(&mut self.waiting.lock().notes);
        for note in notes {
            // A note that breaks down, here or in the SDK, must not end the telling of all others.
            let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| recorder.take_up(note)));
            if taken.is_err() {
                tracing::error!("telling OpenTelemetry of a call broke down; it is in the ledger and in no trace");
                self.broken.add(1);
            }
        }
    }
}

impl Recorder {
    fn take_up(&mut self, note: Note) {
        match (note, &self.spans) {
            (Note::Attempt { event, model, trace }, spans) => {
                let served = self.served.get(&event.opening.provider).unwrap_or(&self.unknown);
                if let (Some(trace), Some(sending)) = (trace, spans) {
                    let spans = sending.make.attempt(&trace, &event, served);
                    spans.into_iter().for_each(|span| sending.send(span));
                }
                if let Some(gen_ai) = &mut self.gen_ai {
                    gen_ai.record(&event, model.as_deref().unwrap_or("other"), served);
                }
            }
            (Note::Exchange(told), Some(sending)) => sending.send(sending.make.exchange(&told)),
            (Note::Refused(told), Some(sending)) => sending.send(sending.make.refused(&told)),
            (Note::Exchange(_) | Note::Refused(_), None) => {}
            #[cfg(test)]
            (Note::Faulty, _) => panic!("a note that cannot be taken up"),
        }
    }

    /// What could not be sent is counted by its exporter.
    fn end(&mut self) {
        if let Some(sending) = self.spans.take() {
            let _ = sending.processor.shutdown_with_timeout(FLUSH_MAX);
        }
        if let Some(meters) = self.meters.take() {
            let _ = meters.shutdown_with_timeout(FLUSH_MAX);
        }
    }
}

impl Sending {
    fn to(to: &Collector, settings: &OtelSettings, metrics: &Metrics, resource: &Resource) -> Result<Sending, String> {
        let waiting = Arc::new(AtomicUsize::new(0));
        let sent = Sent::new("traces", &to.url, metrics.otlp_failures("traces"));
        let exporter = CountedSpans { inner: collector::spans(to)?, waiting: Arc::clone(&waiting), sent };
        let batches = BatchConfigBuilder::default().with_max_queue_size(settings.span_queue_max).build();
        let mut processor = BatchSpanProcessor::new(exporter, batches);
        processor.set_resource(resource);
        let make = Spans::new(env!("CARGO_PKG_VERSION"));
        let (waiting_max, dropped) = (settings.span_queue_max, Arc::clone(&metrics.spans_dropped));
        Ok(Sending { make, processor, waiting, waiting_max, dropped })
    }

    /// Spans that are being sent count as waiting, so this bound is reached before the SDK's, which drops in silence.
    fn send(&self, span: SpanData) {
        let room = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
            Some(waiting + 1).filter(|waiting| *waiting <= self.waiting_max)
        });
        match room {
            Ok(_) => self.processor.on_end(span),
            Err(_) => self.dropped.add(1),
        }
    }
}

/// `gen_ai.*` on `/metrics`, and to a collector where there is one.
fn meters(settings: &OtelSettings, metrics: &Metrics, resource: &Resource) -> Result<SdkMeterProvider, String> {
    let shown = opentelemetry_prometheus::exporter()
        .with_registry(metrics.registry().clone())
        .without_target_info()
        .scope_info_enabled(false)
        .build()
        .map_err(|error| error.to_string())?;
    let mut meters =
        SdkMeterProvider::builder().with_resource(resource.clone()).with_view(genai::limit).with_reader(shown);
    if let Some(to) = &settings.metrics {
        let sent = Sent::new("metrics", &to.url, metrics.otlp_failures("metrics"));
        let exporter = CountedMetrics { inner: collector::metrics(to)?, sent };
        meters = meters.with_reader(PeriodicReader::builder(exporter).build());
    }
    Ok(meters.build())
}

fn resource(settings: &OtelSettings) -> Resource {
    let instance = {
        use opentelemetry_sdk::trace::IdGenerator;
        opentelemetry_sdk::trace::RandomIdGenerator::default().new_trace_id().to_string()
    };
    let own = [("service.version", env!("CARGO_PKG_VERSION").to_owned()), ("service.instance.id", instance)];
    let own = own.into_iter().map(|(key, value)| KeyValue::new(key, value));
    let given = settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder().with_attributes(own.chain(given)).build()
}

#[cfg(test)]
mod tests;
