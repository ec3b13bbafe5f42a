//! Tokens: what a call used ([`usage`]), what a request asks ([`facts`]), exact counts of text ([`count`]) and upper
//! bounds without counting ([`bound`]).

pub mod bound;
pub mod count;
pub mod facts;
pub mod usage;
