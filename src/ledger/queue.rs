//! Settled events on their way to the store: in memory as long as they fit, else only in the journal, from where the
//! folder reads them back.

use crate::event::Event;
use crate::store::JournalPosition;
use std::collections::VecDeque;
use std::sync::Arc;

/// Events without a journal record that may wait at once (a fenced journal, or `on_failure: pass`).
const LOOSE_EVENTS_MAX: usize = 100_000;

/// A settled event and the place behind its record.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub event: Arc<Event>,
    pub end: JournalPosition,
    /// All bytes of the journal up to `end`.
    written_bytes: u64,
}

#[derive(Debug)]
pub(super) struct FoldQueue {
    events_max: usize,
    waiting: VecDeque<Waiting>,
    loose: VecDeque<Arc<Event>>,
    /// Set while events are only in the journal: everything behind the folded position must be read from there.
    spilled: bool,
    settled: u64,
    folded: u64,
    folded_bytes: u64,
    position: JournalPosition,
}

/// What the folder should do next.
#[derive(Debug)]
pub(super) enum Batch {
    Nothing,
    Events(Vec<Waiting>),
    /// Read the journal from here.
    Journal(JournalPosition),
}

impl FoldQueue {
    pub fn new(events_max: usize, position: JournalPosition) -> FoldQueue {
        FoldQueue {
            events_max,
            waiting: VecDeque::new(),
            loose: VecDeque::new(),
            spilled: false,
            settled: 0,
            folded: 0,
            folded_bytes: 0,
            position,
        }
    }

    pub fn push(&mut self, event: Arc<Event>, end: JournalPosition, written_bytes: u64) {
        self.settled += 1;
        self.spilled |= self.waiting.len() >= self.events_max;
        if !self.spilled {
            self.waiting.push_back(Waiting { event, end, written_bytes });
        }
    }

    /// `false`: there was no place for it.
    pub fn push_loose(&mut self, event: Arc<Event>) -> bool {
        let fits = self.loose.len() < LOOSE_EVENTS_MAX;
        if fits {
            self.loose.push_back(event);
        }
        fits
    }

    /// The next events up to `upto`, at most `events_max` of them. They stay here until [`FoldQueue::folded`].
    pub fn batch(&self, upto: JournalPosition, events_max: usize) -> Batch {
        let ready = self.waiting.iter().take(events_max).take_while(|waiting| waiting.end <= upto);
        let events: Vec<Waiting> = ready.cloned().collect();
        match events.is_empty() {
            false => Batch::Events(events),
            true if self.spilled && self.waiting.is_empty() && self.position < upto => Batch::Journal(self.position),
            true => Batch::Nothing,
        }
    }

    /// The store has `events` more, up to `position`; `read_bytes` were read back from the journal for it.
    pub fn folded(&mut self, events: u64, position: JournalPosition, read_bytes: u64) {
        while self.waiting.front().is_some_and(|waiting| waiting.end <= position) {
            if let Some(done) = self.waiting.pop_front() {
                self.folded_bytes = done.written_bytes;
            }
        }
        self.folded += events;
        self.folded_bytes += read_bytes;
        self.position = self.position.max(position);
    }

    /// The folder has read the journal to `position`; when nothing was settled behind it, events stay in memory again.
    pub fn caught_up(&mut self, written: JournalPosition, written_bytes: u64) {
        if self.spilled && self.folded == self.settled && self.waiting.is_empty() {
            self.spilled = false;
            self.folded_bytes = written_bytes;
            self.position = self.position.max(written);
        }
    }

    pub fn loose(&self, events_max: usize) -> Vec<Arc<Event>> {
        self.loose.iter().take(events_max).cloned().collect()
    }

    pub fn loose_folded(&mut self, events: usize) {
        self.loose.drain(..events.min(self.loose.len()));
    }

    /// Events and journal bytes that the store does not have.
    pub fn backlog(&self, written_bytes: u64) -> (u64, u64) {
        let events = self.settled.saturating_sub(self.folded) + self.loose.len() as u64;
        let bytes = if events == 0 { 0 } else { written_bytes.saturating_sub(self.folded_bytes) };
        (events, bytes)
    }

    /// No segment from here on may be deleted: it has settlements that are not in the store.
    pub fn oldest_needed(&self, durable: JournalPosition) -> u64 {
        match self.waiting.front() {
            Some(first) => first.end.segment,
            None if self.spilled => self.position.segment,
            None => durable.segment,
        }
    }

    pub fn is_spilled(&self) -> bool {
        self.spilled
    }

    pub fn is_empty(&self) -> bool {
        self.backlog(0).0 == 0
    }
}
