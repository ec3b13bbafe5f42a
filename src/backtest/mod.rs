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

use crate::store::{Ahead, EventQuery, EventRow, Order, PAGE_ROWS, Reader, StoreError, TimeRange};

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

/// Every event of a range, oldest first.
fn visit(reader: &Reader, range: TimeRange, each: &mut dyn FnMut(&EventRow)) -> Result<(), StoreError> {
    let query = EventQuery { range, order: Order::OldestFirst, ..EventQuery::default() };
    for page in Ahead::start(reader.clone(), query)? {
        page?.iter().for_each(&mut *each);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
