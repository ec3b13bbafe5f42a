//! Tokens: what a call used ([`usage`]), what a request asks ([`facts`]), how a model makes tokens of text
//! ([`tokenizer`]) and of pictures and sound ([`media`]), exact counts of text ([`count`]), of whole prompts ([`prompt`]) and bounds without counting
//! ([`bound`]).

pub mod bound;
pub mod count;
pub mod facts;
pub mod history;
mod known;
pub mod media;
mod memo;
pub mod prompt;
mod render;
mod split;
pub mod tokenizer;
pub mod usage;
