//! Who may come in. Open mode: anyone, named by the key that he brought. Keys mode: whoever holds a virtual key, and for
//! what it is good for; the key stops here, a provider never sees it.

use super::Proxy;
use super::client::Head;
use super::offer::Target;
use super::refusal::because;
use super::upstream::KEY_HEADERS;
use crate::clock::Timestamp;
use crate::dialects::{Operation, Refusal, RefusalKind};
use crate::tenants::{Attribution, Caller, Closed, Credential, Forbidden, NotAdmitted, looks_like_a_key};
use crate::tokens::facts::RequestFacts;
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::Arc;

const TAGS_MAX: usize = 32;
const PLACES: &str = "`authorization: Bearer fb-…` (or `x-api-key`, `api-key`, `x-goog-api-key`, `?key=`)";

/// Somebody who came in.
pub struct Identity {
    pub caller: Arc<Caller>,
    /// In keys mode, what his key opens.
    pub credential: Option<Arc<Credential>>,
}

/// Tells who calls.
///
/// # Errors
/// In keys mode, a call without a key that opens something. In open mode, a call with a virtual key: it would go to the
/// provider, and is nobody else's business.
pub fn identify(proxy: &Proxy, headers: &HeaderMap, query: Option<&str>, now: Timestamp) -> Result<Identity, Refusal> {
    let text = presented(headers, query);
    let Some(keyring) = &proxy.keyring else {
        if looks_like_a_key(text) {
            let message = "This is a key of Farebox's, and this Farebox runs in open mode, where callers bring their provider's key: it was stopped here. Set `access: keys`.";
            return Err(because(RefusalKind::Unauthenticated, message));
        }
        return Ok(Identity { caller: Arc::new(proxy.namer.caller(text, headers)), credential: None });
    };
    match keyring.load().authenticate(text, now) {
        Ok(credential) => {
            Ok(Identity { caller: Arc::clone(&credential.caller), credential: Some(Arc::clone(credential)) })
        }
        Err(why) => Err(not_admitted(&why)),
    }
}

impl Identity {
    /// Whether he may call this at all, and from here: asked before the body is read.
    pub fn may_call(&self, operation: Operation, from: Option<IpAddr>) -> Result<(), Refusal> {
        match &self.credential {
            Some(credential) => {
                credential.permissions.may_call(operation, from).map_err(|why| forbidden(credential, &why))
            }
            None => Ok(()),
        }
    }
}

/// Whether a request may go to this target: the one it asks for, a fallback, a swap's.
pub fn may_use(credential: Option<&Credential>, operation: Operation, target: &Target) -> Result<(), Forbidden> {
    let Some(credential) = credential else { return Ok(()) };
    let catalog_name = target.offer.as_ref().map(|offer| &*offer.model.id);
    credential.permissions.may_use(operation, &target.provider.settings.name, target.model.as_deref(), catalog_name)
}

/// A 403 in words.
pub fn forbidden(credential: &Credential, why: &Forbidden) -> Refusal {
    let key = credential.caller.key.as_deref().unwrap_or_default();
    because(RefusalKind::Blocked, format!("The key `{key}` {why}."))
}

/// What was said about one call; in keys mode with the key's own tags, which win over what the caller says.
pub fn attribution(
    proxy: &Proxy,
    credential: Option<&Credential>,
    headers: &HeaderMap,
    facts: &RequestFacts,
    body: &[u8],
) -> Attribution {
    let mut said = proxy.namer.attribution(headers, facts, body);
    if let Some(credential) = credential.filter(|credential| !credential.tags.is_empty()) {
        said.tags.retain(|(name, _)| !credential.tags.iter().any(|(own, _)| own == name));
        said.tags.truncate(TAGS_MAX.saturating_sub(credential.tags.len()));
        said.tags.extend(credential.tags.iter().cloned());
        said.tags.sort();
    }
    said
}

/// Cuts a virtual key out of a head that may be forwarded.
pub fn without_key(head: &Head) -> Arc<Head> {
    Arc::new(head.without(&KEY_HEADERS))
}

/// The key that the caller brought, wherever SDKs put one: one of ours before any other; empty for none.
fn presented<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> &'a str {
    let in_headers = KEY_HEADERS.iter().filter_map(|name| headers.get(name)).filter_map(|value| value.to_str().ok());
    let in_query = query.unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("key="));
    let mut first = "";
    for text in in_headers.map(without_scheme).chain(in_query) {
        if looks_like_a_key(text) {
            return text;
        }
        if first.is_empty() {
            first = text;
        }
    }
    first
}

fn without_scheme(value: &str) -> &str {
    let bearer = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    bearer.map_or(value, |_| &value[7..]).trim()
}

/// A 401 in words; what was brought is never repeated.
fn not_admitted(why: &NotAdmitted) -> Refusal {
    let message = match why {
        NotAdmitted::Missing => {
            format!("Farebox wants one of its own keys here, and this call brings none. Send it as {PLACES}.")
        }
        NotAdmitted::NotOurs => format!(
            "The key of this call is not one of Farebox's, which begin with `fb-`; a provider's key is not wanted here. Send yours as {PLACES}."
        ),
        NotAdmitted::Unknown => {
            "This key opens nothing here: it is mistyped, revoked, replaced, or another Farebox's.".to_owned()
        }
        NotAdmitted::Expired { key, at } => {
            format!(
                "This text of the key `{key}` expired at {}; ask whoever gave it to you for another.",
                at.to_rfc3339()
            )
        }
        NotAdmitted::Disabled { key, what: Closed::Key } => format!("The key `{key}` is disabled."),
        NotAdmitted::Disabled { key, what: Closed::Unreadable } => {
            format!("What the key `{key}` may do was written by a newer Farebox, and this one cannot read it.")
        }
        NotAdmitted::Disabled { key, what } => {
            format!("The key `{key}` is disabled with the {} that it belongs to.", what.name())
        }
    };
    because(RefusalKind::Unauthenticated, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::KeyText;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_found_wherever_sdks_put_one_and_ours_before_a_placeholder() {
        let key = KeyText::from_random(&[7; 32]).expose().to_owned();
        for (name, value) in
            [("authorization", format!("Bearer {key}")), ("x-api-key", key.clone()), ("api-key", key.clone())]
        {
            assert_eq!(presented(&headers(&[(name, &value)]), None), key);
        }
        assert_eq!(presented(&headers(&[("authorization", "bearer sk-dummy"), ("x-goog-api-key", &key)]), None), key);
        assert_eq!(presented(&headers(&[("x-api-key", "unused")]), Some(&format!("alt=sse&key={key}"))), key);
        assert_eq!(presented(&headers(&[("authorization", "Bearer sk-1")]), None), "sk-1");
        assert_eq!(presented(&headers(&[]), Some("alt=sse&key=")), "");
    }

    #[test]
    fn no_refusal_repeats_what_was_brought() {
        let key = KeyText::from_random(&[7; 32]);
        for why in [NotAdmitted::Missing, NotAdmitted::NotOurs, NotAdmitted::Unknown] {
            assert!(!not_admitted(&why).message.contains(&key.expose()[3..8]));
        }
    }
}
