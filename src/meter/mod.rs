//! The meter: a sans-io state machine from a response's bytes to a [`Reading`].

use crate::tokens::usage::{TokenUsage, UsageSource};

/// What a response used, and how that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub usage: TokenUsage,
    pub source: UsageSource,
}
