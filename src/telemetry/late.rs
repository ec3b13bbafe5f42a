//! What is known late: corrections of what was counted, and results of background work and batches that say nothing that
//! could be booked.

use crate::money::Usd;
use crate::tokens::usage::TokenUsage;

/// A later correction of what was counted; all of it differences.
#[derive(Clone, Copy, Debug)]
pub struct Corrected<'a> {
    pub team: Option<&'a str>,
    pub project: Option<&'a str>,
    pub provider: &'a str,
    /// As the catalog names it.
    pub model: Option<&'a str>,
    pub more: &'a TokenUsage,
    pub less: &'a TokenUsage,
    pub cost: Usd,
}

/// Why a result could not be booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LateUnread {
    /// The provider reports none: many that speak OpenAI's dialect have batches without `usage`.
    NoUsage,
    /// One JSON document beyond the meter's bound.
    TooLarge,
    /// Its encoding is not known, or broken.
    Unread,
}

impl LateUnread {
    pub const ALL: [LateUnread; 3] = [LateUnread::NoUsage, LateUnread::TooLarge, LateUnread::Unread];

    pub fn name(self) -> &'static str {
        match self {
            LateUnread::NoUsage => "no_usage",
            LateUnread::TooLarge => "too_large",
            LateUnread::Unread => "unread",
        }
    }
}
