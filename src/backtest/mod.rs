//! The past under new rules: the ledger's events, oldest first, asked again of another rules folder and a book in
//! memory. Says what would have been blocked, swapped and clamped, and what that would have saved.
//!
//! Constant memory apart from the budgets' instances and the calls under way at a time.

mod book;
mod limits;
mod recall;
mod replay;
mod report;

pub use replay::{Backtest, Premises, windows_begin};
pub use report::{BudgetCurve, ChangedCall, DayPoint, Report, RuleLine, TeamLine, Totals};

use crate::store::{EventQuery, EventRow, Order, Reader, Remembered, StoreError, TimeRange};
use std::sync::mpsc::sync_channel;

/// Rows read in one transaction and handed on together.
const PAGE_ROWS: usize = 4_000;
/// Pages read ahead.
const PAGES_AHEAD_MAX: usize = 2;

/// Shows every event of a range to a backtest. `seen`: rows so far.
pub fn replay(
    reader: &Reader,
    range: TimeRange,
    backtest: &mut Backtest,
    seen: &mut dyn FnMut(u64),
) -> Result<(), StoreError> {
    let mut rows = 0;
    visit(reader, range, &mut |row| {
        backtest.observe(row);
        rows += 1;
        if rows % PAGE_ROWS as u64 == 0 {
            seen(rows);
        }
    })?;
    seen(rows);
    Ok(())
}

/// Lets a backtest's budgets begin with what the ledger says was spent in a range before it.
pub fn begin_with(reader: &Reader, before: TimeRange, backtest: &mut Backtest) -> Result<(), StoreError> {
    visit(reader, before, &mut |row| backtest.begin_with(row))
}

/// Every event of a range, oldest first; one thread reads ahead.
fn visit(reader: &Reader, range: TimeRange, each: &mut dyn FnMut(&EventRow)) -> Result<(), StoreError> {
    let (sender, receiver) = sync_channel::<Vec<EventRow>>(PAGES_AHEAD_MAX);
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut query = EventQuery { range, order: Order::OldestFirst, limit: PAGE_ROWS, ..EventQuery::default() };
            let mut remembered = Remembered::default();
            loop {
                let mut page = Vec::with_capacity(PAGE_ROWS);
                let last = reader.visit_events(&query, &mut remembered, &mut |row| page.push(row))?;
                let is_last = page.len() < PAGE_ROWS;
                if sender.send(page).is_err() || is_last {
                    return Ok(());
                }
                query.after = last.or(query.after);
            }
        });
        for page in receiver {
            page.iter().for_each(&mut *each);
        }
        reading.join().unwrap_or(Ok(()))
    })
}

#[cfg(test)]
mod tests;
