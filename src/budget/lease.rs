//! The arithmetic of leases: how much of a limit one process may spend without asking again, and what becomes of that
//! when it ends.
//!
//! Whatever is leased counts as spent until it is proven unspent. The proof is the process's own journal, or its own
//! orderly end; a time-out proves nothing.
//!
//! *Invariant:* `settled + leased + free = limit` of every window, with `leased` what other processes may still spend
//! and `free` what [`grant`] may give; it holds over every grant, fold, return and end.

/// A slice is this part of the limit, unless one call needs more: small, because a power cut charges the whole slice;
/// not too small, because every grant is a write to the store.
const SLICES: u128 = 64;

/// What the store knows of one account when a process asks for a slice of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shelf {
    pub settled: i128,
    /// What is left of the asking process's own lease. Negative when it used more than it had.
    pub own: i128,
    /// What is left of all others', of each at least 0.
    pub elsewhere: u128,
}

impl Shelf {
    /// What of the limit is gone.
    pub fn taken(&self) -> i128 {
        self.settled.saturating_add(self.own.max(0)).saturating_add_unsigned(self.elsewhere)
    }
}

/// The usual slice of a limit.
pub fn slice(limit: u128) -> u128 {
    (limit / SLICES).max(1)
}

/// How much the store gives to a process that needs `want`: never more than is free, and all of that rather than less
/// than is needed. `others`: what is taken of the accounts that share the limit (the buckets of a rolling window).
pub fn grant(limit: u128, shelf: &Shelf, others: i128, want: u128) -> u128 {
    let limit_signed = i128::try_from(limit).unwrap_or(i128::MAX);
    let gone = shelf.settled.saturating_add(shelf.own).saturating_add_unsigned(shelf.elsewhere).saturating_add(others);
    let free = u128::try_from(limit_signed.saturating_sub(gone)).unwrap_or(0);
    want.max(slice(limit)).min(free)
}

/// How a process ended, as its journal tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every record that it wrote was read: in order, or killed. What it held is charged; the rest is unspent.
    Proven,
    /// The power went, or the journal has a hole or is lost: calls may be missing from it.
    Unproven,
}

/// What is charged of the rest of a lease, when everything that the journal tells of is settled.
pub fn lost(end: End, remaining: i128) -> u128 {
    match end {
        End::Proven => 0,
        End::Unproven => u128::try_from(remaining).unwrap_or(0),
    }
}

/// What an attempt that nobody settled is charged of what it held, after a power cut: the settlement of another one,
/// whose slack it used, may be what the journal has lost. All of them together spent no more than the lease.
pub fn within(remaining: &mut i128, held: i64) -> i64 {
    let charged = i128::from(held).min((*remaining).max(0));
    *remaining -= charged;
    i64::try_from(charged).unwrap_or(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_gets_all_that_is_free_rather_than_less_than_it_needs() {
        let shelf = Shelf { settled: 600, own: 0, elsewhere: 100 };
        assert_eq!(grant(1_000, &shelf, 0, 10), 15, "a slice");
        assert_eq!(grant(1_000, &shelf, 0, 200), 200, "what is needed");
        assert_eq!(grant(1_000, &shelf, 0, 400), 300, "all there is");
        assert_eq!(grant(1_000, &shelf, 290, 400), 10, "other buckets count");
        assert_eq!(grant(500, &shelf, 0, 1), 0, "of a lowered limit nothing");
    }

    #[test]
    fn what_was_used_above_a_lease_is_not_granted_twice() {
        let shelf = Shelf { settled: 110, own: -10, elsewhere: 0 };
        let granted = grant(200, &shelf, 0, 1_000);
        let after = Shelf { own: shelf.own + granted as i128, ..shelf };
        assert_eq!((granted, after.taken()), (100, 200));
    }

    #[test]
    fn calls_that_died_with_the_power_are_charged_no_more_than_was_leased() {
        let mut remaining = 2_000;
        assert_eq!([1_500, 1_500, 10].map(|held| within(&mut remaining, held)), [1_500, 500, 0]);
    }

    #[test]
    fn only_a_journal_that_was_read_whole_gives_a_slice_back() {
        assert_eq!((lost(End::Proven, 50), lost(End::Unproven, 50), lost(End::Unproven, -5)), (0, 50, 0));
    }
}
