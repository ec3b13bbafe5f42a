//! The house, tested from outside: the real binary as a child process, a simulated provider, and clients that do what
//! clients do. One test binary, so that it is linked once.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod adversaries;
mod bad_days;
mod budgets;
mod fuzz;
mod gate;
mod golden;
mod journey;
mod simulator;
mod support;
mod tenants;
mod torture;
mod traces;
