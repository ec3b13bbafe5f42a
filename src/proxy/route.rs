//! Where a path leads, and how a provider's own path is put together. Pure.

use std::borrow::Cow;

/// First segments of paths that are Farebox's own, or may become so; no provider may be called so.
pub const RESERVED_SEGMENTS: [&str; 8] = ["v1", "v1beta", "farebox", "api", "metrics", "healthz", "readyz", "favicon"];

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way<'a> {
    /// `/farebox/…`: Farebox's own surface for the holder of a key; the rest with its slash.
    Own(&'a str),
    /// `/v1/…`: the default provider, unless the request names another.
    House(&'a str),
    /// `/{provider}/…`; the rest with its slash.
    Named {
        provider: &'a str,
        rest: &'a str,
    },
    Nowhere,
}

/// `path` without its query; `prefix` is where Farebox is mounted (`/llm` or nothing). A path that a provider's server
/// would read as another one (`/v1/files/../chat/completions`) leads nowhere: what it really asks for was not metered.
pub fn way<'a>(path: &'a str, prefix: &str, is_provider: impl Fn(&str) -> bool) -> Way<'a> {
    if is_devious(path) {
        return Way::Nowhere;
    }
    let Some(path) = path.strip_prefix(prefix).filter(|rest| rest.starts_with('/')) else { return Way::Nowhere };
    let after = &path[1..];
    let end = after.find('/').unwrap_or(after.len());
    let (first, rest) = (&after[..end], &after[end..]);
    match first {
        "v1" => Way::House(path),
        "farebox" => Way::Own(rest),
        // Azure's SDK, with Farebox as its endpoint, writes `/openai/deployments/{deployment}/…`.
        "openai" if rest.starts_with("/deployments/") && is_provider("azure") => {
            Way::Named { provider: "azure", rest: path }
        }
        name if is_provider(name) => Way::Named { provider: name, rest },
        _ => Way::Nowhere,
    }
}

/// Control characters, backslashes, and segments `.` and `..`, also in their percent-encoded spelling.
fn is_devious(path: &str) -> bool {
    let hides = |text: &str| text.bytes().any(|byte| byte.is_ascii_control() || byte == b'\\');
    if path.contains(' ') || hides(path) {
        return true;
    }
    if !path.contains('%') && !path.contains("/.") {
        return false;
    }
    let read = percent_decoded(path);
    hides(&read) || read.split('/').any(|segment| matches!(segment, "." | ".."))
}

/// The path as a provider's server will read it: percent-encoded characters decoded, empty segments left out. What goes
/// on is the path as it was written.
pub fn as_read(rest: &str) -> Cow<'_, str> {
    if !rest.contains('%') && !rest.contains("//") && !rest.ends_with('/') {
        return Cow::Borrowed(rest);
    }
    let segments = rest.split('/').filter(|segment| !segment.is_empty());
    Cow::Owned(segments.flat_map(|segment| ["/".into(), percent_decoded(segment)]).collect())
}

fn percent_decoded(segment: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy()
}

/// `base` (`/openai/v1`) and `rest` (`/v1/chat/completions`) joined; segments that end the one and begin the other are
/// written once, so that a client may put `/v1` into its base URL or leave it out.
pub fn join(base: &str, rest: &str) -> String {
    let base = base.trim_end_matches('/');
    // From the left: the longest end of `base` first.
    let ends = base.match_indices('/').map(|(at, _)| &base[at..]);
    let begins = |end: &&str| rest.strip_prefix(*end).is_some_and(|more| more.is_empty() || more.starts_with('/'));
    let shared = ends.into_iter().find(begins).map_or(0, str::len);
    let mut joined = String::with_capacity(base.len() + rest.len() - shared + 1);
    joined.push_str(base);
    joined.push_str(&rest[shared..]);
    if joined.is_empty() {
        joined.push('/');
    }
    joined
}

/// `provider/model` → its two parts, where the first is a configured provider.
pub fn split_model(model: &str, is_provider: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    model.split_once('/').filter(|(provider, rest)| !rest.is_empty() && is_provider(provider))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> bool {
        ["openai", "anthropic", "azure", "groq"].contains(&name)
    }

    #[test]
    fn a_path_leads_to_its_provider_or_to_the_house() {
        assert_eq!(way("/v1/chat/completions", "", known), Way::House("/v1/chat/completions"));
        assert_eq!(
            way("/anthropic/v1/messages", "", known),
            Way::Named { provider: "anthropic", rest: "/v1/messages" }
        );
        assert_eq!(way("/farebox/me", "", known), Way::Own("/me"));
        assert_eq!(way("/nobody/v1/x", "", known), Way::Nowhere);
        assert_eq!(way("/", "", known), Way::Nowhere);
        assert_eq!(way("/groq", "", known), Way::Named { provider: "groq", rest: "" });
    }

    #[test]
    fn a_path_that_is_read_as_another_leads_nowhere() {
        for path in [
            "/v1/files/../chat/completions",
            "/v1/./chat/completions",
            "/v1/files/..",
            "/v1/files/%2e%2E/chat/completions",
            "/v1/files/.%2e/chat/completions",
            "/v1/files/%2e%2e%2fchat/completions",
            "/v1/files\\..\\chat",
            "/v1/files/%00",
            "/v1/mo\0dels",
        ] {
            assert_eq!(way(path, "", known), Way::Nowhere, "{path}");
        }
        for path in ["/v1/models/gpt-4.1", "/v1/models/..gpt", "/v1/files/.hidden", "/v1/files/a%20b", "/v1/files/%25"]
        {
            assert_eq!(way(path, "", known), Way::House(path));
        }
    }

    #[test]
    fn a_path_is_recognised_as_the_provider_reads_it() {
        assert_eq!(as_read("/v1/chat/completions"), "/v1/chat/completions");
        assert_eq!(as_read("/v1//chat/%63ompletions"), "/v1/chat/completions");
        assert_eq!(as_read("/v1/models/a%2Fb/"), "/v1/models/a/b");
        assert_eq!(as_read("/v1/chat/completions/"), "/v1/chat/completions");
    }

    #[test]
    fn a_provider_of_a_reserved_name_could_not_be_reached_and_is_refused() {
        for name in ["v1", "farebox"] {
            assert!(!matches!(way(&format!("/{name}/x"), "", |_| true), Way::Named { .. }), "{name}");
            assert!(RESERVED_SEGMENTS.contains(&name));
        }
    }

    #[test]
    fn behind_a_path_prefix_only_paths_below_it_are_ours() {
        assert_eq!(way("/llm/v1/models", "/llm", known), Way::House("/v1/models"));
        assert_eq!(way("/v1/models", "/llm", known), Way::Nowhere);
        assert_eq!(way("/llmv1/models", "/llm", known), Way::Nowhere);
    }

    #[test]
    fn azure_deployments_keep_their_path() {
        let path = "/openai/deployments/gpt/chat/completions";
        assert_eq!(way(path, "", known), Way::Named { provider: "azure", rest: path });
        let direct = way("/openai/v1/chat/completions", "", known);
        assert_eq!(direct, Way::Named { provider: "openai", rest: "/v1/chat/completions" });
    }

    #[test]
    fn shared_segments_are_written_once() {
        let cases = [
            ("/v1", "/v1/chat/completions", "/v1/chat/completions"),
            ("/v1", "/chat/completions", "/v1/chat/completions"),
            ("/openai/v1", "/v1/models", "/openai/v1/models"),
            ("/openai/v1", "/openai/v1/models", "/openai/v1/models"),
            ("", "/v1/messages", "/v1/messages"),
            ("", "", "/"),
            ("/api/v1", "/v1beta/x", "/api/v1/v1beta/x"),
        ];
        for (base, rest, joined) in cases {
            assert_eq!(join(base, rest), joined, "{base} + {rest}");
        }
    }

    #[test]
    fn a_model_may_name_its_provider() {
        assert_eq!(split_model("groq/openai/gpt-oss-20b", known), Some(("groq", "openai/gpt-oss-20b")));
        assert_eq!(split_model("meta/llama", known), None);
        assert_eq!(split_model("gpt-4o", known), None);
    }
}
