//! Server-sent events, split from any chunking.

/// One event of a stream; `data` is its data lines joined by `\n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub name: Option<&'a str>,
    pub data: &'a [u8],
}
