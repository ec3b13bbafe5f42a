//! How many series there may be.

use super::series::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The lines of the exposition that label values without a bound of their own may take together.
pub struct Room {
    lines_max: usize,
    lines: AtomicUsize,
    overflow: Arc<Cell>,
}

impl Room {
    /// `overflow`: counts what was folded.
    pub fn new(lines_max: usize, overflow: Arc<Cell>) -> Room {
        Room { lines_max, lines: AtomicUsize::new(0), overflow }
    }

    /// False: there is no room for so many more.
    pub fn take(&self, lines: usize) -> bool {
        let taken = self.lines.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            Some(taken + lines).filter(|taken| *taken <= self.lines_max)
        });
        taken.is_ok()
    }

    /// Something was counted under `other` for want of it.
    pub fn overflowed(&self) {
        self.overflow.add(1);
    }
}
