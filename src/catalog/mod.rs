//! Models and what they cost. [`model`]: names, aliases, capabilities; [`rates`]: prices with tiers and dates;
//! [`price`]: usage → cost, with the one rounding; [`import`]: community catalogues; [`file`]: the YAML as written,
//! over [`crate::yaml`], read by `read`.
#![deny(clippy::float_arithmetic)]

mod draft;
pub mod file;
pub mod import;
pub mod model;
mod names;
pub mod price;
pub mod rates;
mod read;
pub mod sheet;

pub use file::{Fault, load};
pub use model::{Capabilities, Catalog, Mode, Model, Offer};
pub use names::matches;
pub use price::{CacheWrites, Cost, Pricing, Terms, Unpriced};
