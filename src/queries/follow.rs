//! Events as they come into the ledger. An event's number is the moment at which its attempt *began*, so that a long
//! stream comes in behind younger calls: what is new is told by what was seen, not by what is greatest.

use crate::clock::Timestamp;
use crate::ids::id_at;
use crate::store::{EventRow, Filter, Reader, StoreError};
use std::collections::BTreeSet;

/// No attempt takes longer than this to be booked (`timeouts.whole` is an hour unless it is set otherwise).
const LONGEST_ATTEMPT_MICROS: i64 = 2 * 3_600 * 1_000_000;
/// Rows that are read at once.
const ROWS_AT_ONCE: usize = 500;

pub struct Follow {
    reader: Reader,
    filters: Vec<Filter>,
    seen: BTreeSet<u64>,
}

impl Follow {
    /// What is in the ledger now counts as seen.
    pub fn new(reader: Reader, filters: Vec<Filter>, now: Timestamp) -> Result<Follow, StoreError> {
        let mut follow = Follow { reader, filters, seen: BTreeSet::new() };
        follow.unseen(now)?;
        Ok(follow)
    }

    /// These were shown already.
    pub fn saw(&mut self, rows: &[EventRow]) {
        self.seen.extend(rows.iter().map(|row| row.id.0));
    }

    /// What came since the last time, oldest first.
    pub fn next(&mut self, now: Timestamp) -> Result<Vec<EventRow>, StoreError> {
        let unseen = self.unseen(now)?;
        let mut rows = Vec::new();
        for some in unseen.chunks(ROWS_AT_ONCE) {
            rows.extend(self.reader.events_of(some, &self.filters)?);
        }
        Ok(rows)
    }

    fn unseen(&mut self, now: Timestamp) -> Result<Vec<u64>, StoreError> {
        let from = id_at(Timestamp(now.as_micros().saturating_sub(LONGEST_ATTEMPT_MICROS)));
        let ids = self.reader.ids_since(from, self.seen.last().copied().unwrap_or(from))?;
        let unseen = ids.into_iter().filter(|id| self.seen.insert(*id)).collect();
        self.seen = self.seen.split_off(&from);
        Ok(unseen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queries::ask;
    use crate::store::fixtures::{NOON, call, later};
    use crate::store::{JournalPosition, Store};

    #[test]
    fn each_event_is_told_once_also_one_that_began_before_those_that_were_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        let mut offset = 0;
        let mut fold = |events: &[crate::event::Event]| {
            offset += 1;
            store.fold(1, events, JournalPosition { segment: 1, offset }).unwrap();
        };
        fold(&[call(NOON, 0)]);
        let mut filters = Vec::new();
        ask::filter_pair(&mut filters, "--where", "user=alice").unwrap();
        let mut follow = Follow::new(Reader::open(dir.path()).unwrap(), filters, later(1)).unwrap();
        assert!(follow.next(later(2)).unwrap().is_empty());
        let young = call(later(9), 0);
        fold(&[young.clone(), call(later(10), 0).by("bob", "key-2")]);
        assert_eq!(follow.next(later(11)).unwrap().iter().map(|row| row.id).collect::<Vec<_>>(), [young.opening.id]);
        let (long, correction) = (call(later(3), 0), call(later(-7_000_000), 0).adjusted(later(12), 5));
        fold(&[long.clone(), correction.clone()]);
        let told: Vec<_> = follow.next(later(13)).unwrap().iter().map(|row| row.id).collect();
        assert_eq!(told, [long.opening.id, correction.opening.id]);
        assert!(follow.next(later(14)).unwrap().is_empty());
    }
}
