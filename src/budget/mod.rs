//! Budgets: the arithmetic of holds. [`book`] is the serial core behind the ledger's one mutex.
#![deny(clippy::float_arithmetic)]

pub mod book;
