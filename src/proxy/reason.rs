//! The words behind a status in HTTP/1 (`529 Overloaded`): passed on where they are not the usual ones.

use http::response::Parts as ResponseHead;

/// Words that a provider chose.
#[derive(Clone)]
struct Reason(Box<str>);

/// Keeps what was said with the head, unless it is what anybody would say.
pub fn keep(head: &mut ResponseHead, said: &str) {
    let writable = said.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if writable && !said.is_empty() && Some(said) != head.status.canonical_reason() {
        head.extensions.insert(Reason(said.into()));
    }
}

/// The provider's words, or else the usual ones.
pub fn of(head: &ResponseHead) -> &str {
    let said = head.extensions.get::<Reason>().map(|reason| &*reason.0);
    said.or_else(|| head.status.canonical_reason()).unwrap_or_default()
}
