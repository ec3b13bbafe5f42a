//! Links to the provider inside an answer. Anthropic names the results of a batch by a whole URL, and its SDKs follow it:
//! past Farebox, unbooked, and with a key that the provider may not know. What stands before the path becomes the address
//! by which the client came.

use super::Proxy;
use super::client::Session;
use super::exchange::{Arrived, is_trusted};
use crate::dialects::{Dialect, Operation};
use bytes::{Bytes, BytesMut};
use http::header;

const MEMBER: &[u8] = b"\"results_url\"";
const PATH: &[u8] = b"/v1/messages/batches/";

/// Answers that may hold one: they are asked for uncompressed and read whole.
pub fn may_stand_in(arrived: &Arrived) -> bool {
    let endpoint = &arrived.endpoint;
    arrived.dialect == Dialect::Anthropic
        && endpoint.operation == Operation::Batches
        && endpoint.result_of.is_none()
        && arrived.provider_in_path.is_some()
}

/// The body with every such link leading here. As it is, where nobody said how he came here.
pub fn made_ours(proxy: &Proxy, arrived: &Arrived, session: &Session, body: Bytes) -> Bytes {
    match here(proxy, arrived, session) {
        Some(here) => replaced(&body, here.as_bytes()).unwrap_or(body),
        None => body,
    }
}

/// `https://farebox.example/llm/anthropic`: the provider's root, as the client wrote it.
fn here(proxy: &Proxy, arrived: &Arrived, session: &Session) -> Option<String> {
    let text = |name: &str| session.header(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).or(session.head().authority.as_deref()).filter(|host| is_plain(host))?;
    let forwarded = text("x-forwarded-proto").filter(|_| session.peer().is_some_and(|peer| is_trusted(proxy, peer)));
    let own = if proxy.settings.tls.is_some() { "https" } else { "http" };
    let scheme = forwarded.filter(|scheme| matches!(*scheme, "http" | "https")).unwrap_or(own);
    let provider = arrived.provider_in_path.as_deref()?;
    Some(format!("{scheme}://{host}{}/{provider}", proxy.settings.path_prefix))
}

/// It can stand in JSON and in a URL.
fn is_plain(host: &str) -> bool {
    host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
}

/// `None`: there is no link in it.
fn replaced(body: &[u8], here: &[u8]) -> Option<Bytes> {
    let mut written = BytesMut::new();
    let mut from = 0;
    for at in memchr::memmem::find_iter(body, MEMBER) {
        let behind = at + MEMBER.len();
        let Some(quote) = memchr::memchr(b'"', &body[behind..]).map(|quote| behind + quote) else { break };
        let is_its_value = body[behind..quote].iter().all(|byte| b": \t\r\n".contains(byte));
        let Some(end) = memchr::memchr(b'"', &body[quote + 1..]).map(|end| quote + 1 + end) else { break };
        let link = &body[quote + 1..end];
        let path = memchr::memmem::find(link, PATH).filter(|_| is_its_value && link.starts_with(b"http"));
        if let Some(path) = path {
            written.extend_from_slice(&body[from..=quote]);
            written.extend_from_slice(here);
            from = quote + 1 + path;
        }
    }
    if from == 0 {
        return None;
    }
    written.extend_from_slice(&body[from..]);
    Some(written.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_before_the_path_of_a_link_changes() {
        let body = br#"{"data":[{"id":"a","results_url": "https://api.anthropic.com/v1/messages/batches/a/results"},
            {"id":"b","results_url":null,"x":"results_url"},
            {"results_url":"http://gateway/x/v1/messages/batches/c/results","n":1.50}]}"#;
        let ours = replaced(body, b"http://here/anthropic").unwrap();
        let expected = std::str::from_utf8(body)
            .unwrap()
            .replace("https://api.anthropic.com", "http://here/anthropic")
            .replace("http://gateway/x", "http://here/anthropic");
        assert_eq!(std::str::from_utf8(&ours).unwrap(), expected);
    }

    #[test]
    fn a_body_without_a_link_is_left_alone() {
        for body in [
            &br#"{"results_url":null}"#[..],
            br#"{"results_url":"/v1/messages/batches/a/results"}"#,
            br#"{"results_url":"https://elsewhere/file"}"#,
            br#"{"results_url"#,
            br#"{"results_url":"http"#,
        ] {
            assert_eq!(replaced(body, b"http://here"), None, "{}", String::from_utf8_lossy(body));
        }
    }
}
