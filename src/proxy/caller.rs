//! Who is calling, read from the request's head. Open mode: the caller's own key passes through and names him by a keyed
//! hash; organisation, team, project and the like are what the attribution headers say.

use crate::tenants::{Attribution, Caller};
use crate::tokens::facts::{RequestFacts, TAGS_IN_METADATA};
use http::{HeaderMap, HeaderName};
use names::litellm;
use std::sync::Arc;

/// Longest attribution value that is kept; longer ones are cut.
const VALUE_BYTES_MAX: usize = 256;
const TAGS_MAX: usize = 32;

/// Names callers: a keyed hash, so that a key cannot be found from its name.
#[derive(Clone)]
pub struct Namer {
    key: [u8; 32],
}

/// Looked up on every request: known once, so that no name is parsed again.
mod names {
    use http::HeaderName;

    pub static ORGANISATION: [HeaderName; 2] =
        [HeaderName::from_static("x-farebox-organisation"), HeaderName::from_static("x-farebox-organization")];
    pub static TEAM: [HeaderName; 1] = [HeaderName::from_static("x-farebox-team")];
    pub static PROJECT: [HeaderName; 1] = [HeaderName::from_static("x-farebox-project")];
    pub static USER: [HeaderName; 1] = [HeaderName::from_static("x-farebox-user")];
    pub static END_USER: [HeaderName; 1] = [HeaderName::from_static("x-farebox-end-user")];
    pub static SESSION: [HeaderName; 2] =
        [HeaderName::from_static("x-farebox-session"), HeaderName::from_static("x-session-id")];
    pub static RUN: [HeaderName; 1] = [HeaderName::from_static("x-farebox-run")];
    pub static ENVIRONMENT: [HeaderName; 1] = [HeaderName::from_static("x-farebox-environment")];
    pub static PROMPT: [HeaderName; 1] = [HeaderName::from_static("x-farebox-prompt")];

    /// What clients of LiteLLM write, and what its proxy writes in front of us (`add_user_information_to_llm_headers`).
    pub mod litellm {
        pub const BEGIN: &str = "x-litellm-";
        pub const ORGANISATION: [&str; 2] = ["x-litellm-user_api_key_org_alias", "x-litellm-user_api_key_org_id"];
        pub const TEAM: [&str; 3] =
            ["x-litellm-user_api_key_team_alias", "x-litellm-user_api_key_team_id", "x-litellm-team-id"];
        pub const PROJECT: [&str; 2] = ["x-litellm-user_api_key_project_alias", "x-litellm-user_api_key_project_id"];
        pub const USER: [&str; 1] = ["x-litellm-user_api_key_user_id"];
        pub const END_USER: [&str; 3] =
            ["x-litellm-end-user-id", "x-litellm-customer-id", "x-litellm-user_api_key_end_user_id"];
        pub const SESSION: [&str; 1] = ["x-litellm-session-id"];
        pub const RUN: [&str; 1] = ["x-litellm-trace-id"];
        /// Its own keys' names are a tag: here a key is what Farebox was called with.
        pub const KEY: &str = "x-litellm-user_api_key_alias";
        pub const KEY_TAG: &str = "litellm_key";
    }
}

impl Namer {
    pub fn new(key: [u8; 32]) -> Self {
        Namer { key }
    }

    /// The caller of a request in open mode: `caller-` and 12 hexadecimal digits for a key, nothing for none (an empty
    /// text).
    pub fn caller(&self, text: &str, headers: &HeaderMap) -> Caller {
        let key = (!text.is_empty()).then(|| {
            let hash = blake3::keyed_hash(&self.key, text.as_bytes()).to_hex();
            Arc::from(format!("caller-{}", &hash.as_str()[..12]))
        });
        if !speaks_to_us(headers) {
            return Caller { key, ..Caller::default() };
        }
        let theirs = Litellm::of(headers);
        Caller {
            organisation: said(headers, &names::ORGANISATION).or_else(|| theirs.said(&litellm::ORGANISATION)),
            team: said(headers, &names::TEAM).or_else(|| theirs.said(&litellm::TEAM)),
            project: said(headers, &names::PROJECT).or_else(|| theirs.said(&litellm::PROJECT)),
            key,
            user: said(headers, &names::USER).or_else(|| theirs.said(&litellm::USER)),
        }
    }

    /// What was said about this one call: headers first, then the body's `user` and `metadata`.
    pub fn attribution(&self, headers: &HeaderMap, facts: &RequestFacts, body: &[u8]) -> Attribution {
        let meta =
            |name: &str| facts.metadata.iter().find(|(key, _)| &**key == name).map(|(_, value)| Arc::clone(value));
        let nothing = HeaderMap::new();
        let headers = if speaks_to_us(headers) { headers } else { &nothing };
        let theirs = Litellm::of(headers);
        Attribution {
            end_user: said(headers, &names::END_USER)
                .or_else(|| theirs.said(&litellm::END_USER))
                .or_else(|| facts.user.clone())
                .or_else(|| meta("user_api_key_end_user_id").or_else(|| meta("user_id"))),
            session: said(headers, &names::SESSION)
                .or_else(|| theirs.said(&litellm::SESSION))
                .or_else(|| meta("session_id")),
            run: said(headers, &names::RUN).or_else(|| theirs.said(&litellm::RUN)).or_else(|| meta("run_id")),
            environment: said(headers, &names::ENVIRONMENT).or_else(|| meta("environment")),
            tags: tags(headers, meta(TAGS_IN_METADATA).as_deref()),
            prompt_name: said(headers, &names::PROMPT)
                .or_else(|| facts.prompt_name.clone())
                .or_else(|| meta("prompt_name")),
            prompt_hash: facts.system_text.clone().and_then(|range| body.get(range)).map(|text| self.hash(text)),
        }
    }

    fn hash(&self, text: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.key, text);
        let mut first = [0u8; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

/// LiteLLM's headers, looked for only where there is one: most calls have none.
struct Litellm<'a>(Option<&'a HeaderMap>);

impl Litellm<'_> {
    fn of(headers: &HeaderMap) -> Litellm<'_> {
        Litellm(headers.keys().any(|name| name.as_str().starts_with(litellm::BEGIN)).then_some(headers))
    }

    fn said(&self, names: &[&str]) -> Option<Arc<str>> {
        let headers = self.0?;
        let value = names.iter().find_map(|name| headers.get(*name))?.to_str().ok()?.trim();
        (!value.is_empty()).then(|| Arc::from(cut(value)))
    }
}

/// `x-farebox-tag-<name>: value`, LiteLLM's `x-litellm-tags: a,b`, and `in_metadata`: the body's `metadata.tags`.
fn tags(headers: &HeaderMap, in_metadata: Option<&str>) -> Vec<(Arc<str>, Arc<str>)> {
    let mut tags: Vec<(Arc<str>, Arc<str>)> = Vec::new();
    for (name, value) in headers {
        if !speaks(name) {
            continue;
        }
        let Ok(value) = value.to_str() else { continue };
        if let Some(tag) = name.as_str().strip_prefix("x-farebox-tag-") {
            tags.push((Arc::from(cut(tag)), Arc::from(cut(value))));
        } else if name == "x-litellm-tags" || name == "x-farebox-tags" {
            tags.extend(listed(value));
        } else if name == litellm::KEY {
            tags.push((Arc::from(litellm::KEY_TAG), Arc::from(cut(value))));
        }
    }
    tags.extend(in_metadata.into_iter().flat_map(listed));
    tags.sort();
    tags.dedup();
    tags.truncate(TAGS_MAX);
    tags
}

/// Most requests carry none of our headers: told by one pass, instead of looking for each of twenty names.
fn speaks_to_us(headers: &HeaderMap) -> bool {
    headers.keys().any(speaks)
}

/// All names above begin like one of these.
fn speaks(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-farebox-") || name.starts_with("x-litellm-") || name == "x-session-id"
}

fn listed(value: &str) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
    let each = value.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    each.map(|tag| match tag.split_once('=') {
        Some((name, value)) => (Arc::from(cut(name)), Arc::from(cut(value))),
        None => (Arc::from("tag"), Arc::from(cut(tag))),
    })
}

fn said(headers: &HeaderMap, names: &[HeaderName]) -> Option<Arc<str>> {
    let value = names.iter().find_map(|name| headers.get(name))?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| Arc::from(cut(value)))
}

fn cut(value: &str) -> &str {
    let mut end = value.len().min(VALUE_BYTES_MAX);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_same_key_has_the_same_name_which_does_not_show_it() {
        let name = |seed: u8, text| Namer::new([seed; 32]).caller(text, &headers(&[])).key;
        let mine = name(7, "sk-1");
        assert!(mine.as_ref().is_some_and(|name| name.starts_with("caller-") && !name.contains("sk")));
        assert_eq!(mine, name(7, "sk-1"));
        assert_ne!(mine, name(7, "sk-2"));
        assert_ne!(mine, name(8, "sk-1"));
        assert_eq!(name(7, ""), None);
    }

    #[test]
    fn attribution_comes_from_headers_then_from_the_body() {
        let facts = RequestFacts {
            user: Some(Arc::from("u-body")),
            metadata: vec![(Arc::from("session_id"), Arc::from("s-9"))],
            ..RequestFacts::default()
        };
        let head =
            headers(&[("x-farebox-tag-feature", "search"), ("x-litellm-tags", "a, team=b"), ("x-farebox-run", "r1")]);
        let said = Namer::new([0; 32]).attribution(&head, &facts, b"");
        assert_eq!(said.end_user.as_deref(), Some("u-body"));
        assert_eq!((said.session.as_deref(), said.run.as_deref()), (Some("s-9"), Some("r1")));
        let tags: Vec<(&str, &str)> = said.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(tags, [("feature", "search"), ("tag", "a"), ("team", "b")]);
    }

    #[test]
    fn litellms_proxy_in_front_says_who_it_calls_for_and_our_own_headers_win() {
        let head = headers(&[
            ("x-litellm-user_api_key_team_id", "t-1"),
            ("x-litellm-user_api_key_team_alias", "research"),
            ("x-litellm-user_api_key_user_id", "ann"),
            ("x-litellm-user_api_key_alias", "notebook"),
            ("x-litellm-trace-id", "trace-1"),
            ("x-farebox-user", "bob"),
        ]);
        let namer = Namer::new([0; 32]);
        let caller = namer.caller("", &head);
        assert_eq!((caller.team.as_deref(), caller.user.as_deref()), (Some("research"), Some("bob")));
        let facts = RequestFacts {
            metadata: vec![("tags".into(), "night, app=search".into()), ("user_id".into(), "customer-7".into())],
            ..RequestFacts::default()
        };
        let said = namer.attribution(&head, &facts, b"");
        assert_eq!((said.run.as_deref(), said.end_user.as_deref()), (Some("trace-1"), Some("customer-7")));
        let tags: Vec<(&str, &str)> = said.tags.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(tags, [("app", "search"), ("litellm_key", "notebook"), ("tag", "night")]);
    }
}
