//! What was told lately, until the store has it: the fold runs behind, and two tellings may come at once.

use super::{Known, NotTracked, Told, Tracked};
use crate::store::{StoreError, TrackedName};
use crate::tokens::usage::TokenUsage;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// So many are remembered; then those that the store has are forgotten, and if it has none, nothing more is taken.
const RECENT_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<HashMap<TrackedName, Entry>>);

#[derive(Clone, Debug)]
pub(super) enum Entry {
    UnderWay,
    Done(Box<Done>),
}

/// What was told, and what it came to.
#[derive(Clone, Debug)]
pub(super) struct Done {
    provider: Arc<str>,
    model: Arc<str>,
    usage: TokenUsage,
    tracked: Tracked,
}

impl Entry {
    pub fn done(told: &Told, tracked: &Tracked) -> Entry {
        let (provider, model) = (Arc::clone(&told.provider), Arc::clone(&told.model));
        let tracked = Tracked { known: Some(Known::Told), ..tracked.clone() };
        Entry::Done(Box::new(Done { provider, model, usage: told.usage, tracked }))
    }
}

impl Recent {
    /// What became of it when it was told before; `None`: it is this telling's to book, and to [`Recent::end`].
    pub fn begin(
        &self,
        name: TrackedName,
        told: &Told,
        is_stored: impl Fn(TrackedName) -> Result<bool, StoreError>,
    ) -> Result<Option<Tracked>, NotTracked> {
        let mut entries = self.0.lock();
        match entries.get(&name) {
            Some(Entry::UnderWay) => return Err(NotTracked::UnderWay),
            Some(Entry::Done(done)) => {
                let same = done.provider == told.provider && done.model == told.model && done.usage == told.usage;
                return if same { Ok(Some(done.tracked.clone())) } else { Err(NotTracked::Differs) };
            }
            None => {}
        }
        if entries.len() >= RECENT_MAX {
            let done = entries.iter().filter(|(_, entry)| matches!(entry, Entry::Done(_)));
            for name in done.map(|(name, _)| *name).collect::<Vec<_>>() {
                if is_stored(name)? {
                    entries.remove(&name);
                }
            }
            if entries.len() >= RECENT_MAX {
                return Err(NotTracked::TooMany);
            }
        }
        entries.insert(name, Entry::UnderWay);
        Ok(None)
    }

    /// `None`: it was not booked, and may be told again.
    pub fn end(&self, name: TrackedName, entry: Option<Entry>) {
        let mut entries = self.0.lock();
        match entry {
            Some(entry) => drop(entries.insert(name, entry)),
            None => drop(entries.remove(&name)),
        }
    }
}
