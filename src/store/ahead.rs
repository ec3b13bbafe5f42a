//! Pages of events, read ahead by a thread of their own: who makes something of each row need not wait for the reading.

use super::{EventQuery, EventRow, Reader, Remembered, StoreError};
use std::sync::mpsc::{Receiver, sync_channel};

/// Rows read in one transaction and handed on together.
pub const PAGE_ROWS: usize = 4_000;
/// Pages read ahead; constant memory, whatever the ledger's size.
const PAGES_AHEAD_MAX: usize = 2;

/// Every event that a query finds, page by page. Dropped, its thread ends with the page that it reads.
#[derive(Debug)]
pub struct Ahead {
    pages: Receiver<Result<Vec<EventRow>, StoreError>>,
    ended: bool,
}

impl Ahead {
    /// The query's limit gives way to the page's.
    ///
    /// # Errors
    /// The machine gives no thread.
    pub fn start(reader: Reader, query: EventQuery) -> Result<Ahead, StoreError> {
        let (sender, pages) = sync_channel(PAGES_AHEAD_MAX);
        let read = move || {
            let mut query = EventQuery { limit: PAGE_ROWS, ..query };
            let mut remembered = Remembered::default();
            loop {
                let mut page = Vec::with_capacity(PAGE_ROWS);
                let read = reader.visit_events(&query, &mut remembered, &mut |row| page.push(row));
                query.after = read.as_ref().ok().copied().flatten().or(query.after);
                let is_last = page.len() < PAGE_ROWS;
                if sender.send(read.map(|_| page)).is_err() || is_last {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name("read ahead".to_owned()).spawn(read);
        started.map_err(StoreError::thread("start a thread to read events"))?;
        Ok(Ahead { pages, ended: false })
    }
}

impl Iterator for Ahead {
    type Item = Result<Vec<EventRow>, StoreError>;

    /// After an error there is nothing more. A reader that breaks down is an error, never an end.
    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let broken = || StoreError::thread("read events")(std::io::ErrorKind::BrokenPipe.into());
        let page = self.pages.recv().unwrap_or_else(|_| Err(broken()));
        self.ended = !page.as_ref().is_ok_and(|page| page.len() == PAGE_ROWS);
        Some(page)
    }
}
