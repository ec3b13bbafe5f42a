//! What the simulated provider keeps between requests: background responses, files, batches. Bounded; the oldest go.

use super::sending::Chunk;
use parking_lot::Mutex;
use std::collections::VecDeque;

const THINGS_KEPT_MAX: usize = 10_000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thing {
    pub id: String,
    /// As it is shown while it is under way, and when it is done.
    pub pending: String,
    pub done: String,
    /// Times it was looked at.
    pub looks: u64,
    /// What a stream of it tells, where it can be streamed again.
    pub events: Vec<Chunk>,
}

#[derive(Debug, Default)]
pub struct Shelf(Mutex<VecDeque<Thing>>);

impl Shelf {
    pub fn put(&self, thing: Thing) {
        let mut things = self.0.lock();
        things.retain(|known| known.id != thing.id);
        if things.len() >= THINGS_KEPT_MAX {
            things.pop_front();
        }
        things.push_back(thing);
    }

    /// The thing as it was before this look.
    pub fn look(&self, id: &str) -> Option<Thing> {
        let mut things = self.0.lock();
        let thing = things.iter_mut().find(|thing| thing.id == id)?;
        let before = thing.clone();
        thing.looks += 1;
        Some(before)
    }

    pub fn take(&self, id: &str) -> Option<Thing> {
        let mut things = self.0.lock();
        let place = things.iter().position(|thing| thing.id == id)?;
        things.remove(place)
    }

    /// All whose id begins so, newest last.
    pub fn all(&self, prefix: &str) -> Vec<Thing> {
        self.0.lock().iter().filter(|thing| thing.id.starts_with(prefix)).cloned().collect()
    }
}
