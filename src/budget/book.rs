//! The serial core: claims, holds; all or nothing.

/// A request's claim on one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub budget: u64,
    pub pico_usd: i64,
}
