//! The data port.

pub mod settings;
