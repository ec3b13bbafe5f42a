//! What the API, the command line and `/farebox/*` ask of the ledger, and how the answers are written.
//!
//! *Invariant:* every surface writes the same integers: sums and rows come from one place ([`crate::store::Reader`]),
//! and money is written exactly, by one function.

pub mod ask;
pub mod budgets;
pub mod csv;
pub mod export;
pub mod follow;
pub mod lately;
pub mod stats;
pub mod tenants;
pub mod view;

pub use ask::Misasked;
pub use export::Export;
pub use follow::Follow;
pub use stats::{Stats, StatsQuestion, stats};
pub use tenants::{AuditView, KeyView, MemberView, ScopeView, TenantView, TokenView};
pub use view::{EventView, EventsPage, ExchangeView};

#[cfg(test)]
mod tests;
