//! Models and what they cost. [`model`]: names, aliases, capabilities; [`rates`]: prices with tiers and dates;
//! [`price`]: usage → cost, with the one rounding; [`import`]: community catalogues; [`file`]: the YAML as written.
#![deny(clippy::float_arithmetic)]

pub mod file;
pub mod import;
pub mod model;
pub mod price;
pub mod rates;

pub use model::{Catalog, Model, Offer};
pub use price::{Cost, Pricing, Unpriced};
