//! The meter: a sans-io state machine from a response's bytes to a [`Reading`].
//!
//! It is fed a copy of what went to the client, in any pieces, and never changes or delays it. Whatever a provider
//! sends, its memory is bounded: an event by its own bound, a whole body by [`JSON_BYTES_MAX`], a compressed one by what
//! it may decode to. Bytes that make no sense give no usage, never an error.

mod body;
mod decode;
mod ladder;
mod response;

pub use body::JSON_BYTES_MAX;
pub use decode::DECODED_BYTES_MAX;
pub use ladder::{Counts, Reading, reading};
pub use response::{Metered, ResponseHead, ResponseMeter};
