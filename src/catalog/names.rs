//! Names that the catalog does not know by heart: prefixes, dates and versions at the end, patterns.

/// Longer names are nobody's.
pub const NAME_BYTES_MAX: usize = 256;

/// Without what a provider's own clients may put before the model: the provider, `models/` (Gemini),
/// `accounts/…/models/` (Fireworks), `publishers/…/models/` (Vertex).
pub fn without_own_prefix<'a>(provider: &str, name: &'a str) -> &'a str {
    let name = name.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
    let after_models =
        |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.split_once("/models/")).map(|(_, rest)| rest);
    let name = after_models("accounts/").or_else(|| after_models("publishers/")).unwrap_or(name);
    name.strip_prefix("models/").unwrap_or(name)
}

/// The name, then the name with less and less of the stamps at its end: `gpt-4o-2024-08-06` → `gpt-4o`,
/// `gemini-2.5-flash-preview-05-20` → `gemini-2.5-flash-preview` → `gemini-2.5-flash`. Only dates, `-latest` and version
/// numbers are stamps; `preview` and `exp` only where a stamp stood behind them: what a word means is not guessed.
pub fn stems(name: &str) -> impl Iterator<Item = &str> {
    let mut stamped = false;
    std::iter::successors(Some(name), move |name| {
        let shorter = without_stamp(name).or_else(|| without_word(name).filter(|_| stamped))?;
        stamped = true;
        Some(shorter)
    })
    .take(5)
}

/// `*` stands for any run of letters; everything else for itself.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn without_word(name: &str) -> Option<&str> {
    ["-preview", "-exp", "-experimental"]
        .into_iter()
        .find_map(|word| name.strip_suffix(word))
        .filter(|rest| !rest.is_empty())
}

/// Each shape is the separator, then digits (`0`) and letters as they stand.
const STAMPS: [&str; 12] = [
    "-0000-00-00",
    "-00000000",
    "@00000000",
    "-00-0000",
    "-00-00",
    "-0000",
    "-000",
    "-latest",
    "@latest",
    "-v0:0",
    ":0",
    "@000",
];

fn without_stamp(name: &str) -> Option<&str> {
    STAMPS.iter().find_map(|shape| {
        let at = name.len().checked_sub(shape.len()).filter(|at| *at > 0)?;
        let (rest, stamp) = name.split_at_checked(at)?;
        let fits = stamp.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == shape,
        });
        (fits && plausible(stamp)).then_some(rest)
    })
}

/// Numbers that could be sizes of a model (`-128`, `-7000`) are not taken for dates or versions.
fn plausible(stamp: &str) -> bool {
    let number = |range: std::ops::Range<usize>| stamp.get(range).and_then(|digits| digits.parse::<u32>().ok());
    let is_day = |day: Option<u32>| day.is_some_and(|day| (1..=31).contains(&day));
    let is_month = |month: Option<u32>| month.is_some_and(|month| (1..=12).contains(&month));
    let is_year = |year: Option<u32>| year.is_some_and(|year| (2020..2100).contains(&year));
    match (stamp.len(), stamp.as_bytes().first()) {
        (11, _) => is_year(number(1..5)) && is_month(number(6..8)) && is_day(number(9..11)),
        (9, _) => is_year(number(1..5)) && is_month(number(5..7)) && is_day(number(7..9)),
        (8, _) if !stamp.ends_with("latest") => is_month(number(1..3)) && is_year(number(4..8)),
        (6, Some(b'-')) if stamp.as_bytes().get(3) == Some(&b'-') => is_month(number(1..3)) && is_day(number(4..6)),
        // MMDD (`gpt-4-0613`) or YYMM (`codestral-2508`).
        (5, Some(b'-')) if !stamp.contains(':') => {
            let (high, low) = (number(1..3), number(3..5));
            (is_month(high) && is_day(low)) || (high.is_some_and(|year| (23..40).contains(&year)) && is_month(low))
        }
        (4, Some(b'-' | b'@')) => stamp.get(1..3) == Some("00"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stems_of(name: &str) -> Vec<&str> {
        stems(name).collect()
    }

    #[test]
    fn dates_and_versions_are_taken_off_the_end() {
        assert_eq!(stems_of("gpt-4o-2024-08-06"), ["gpt-4o-2024-08-06", "gpt-4o"]);
        assert_eq!(stems_of("claude-sonnet-4-5-20250929"), ["claude-sonnet-4-5-20250929", "claude-sonnet-4-5"]);
        assert_eq!(stems_of("claude-3-5-sonnet@20241022"), ["claude-3-5-sonnet@20241022", "claude-3-5-sonnet"]);
        assert_eq!(
            stems_of("gemini-2.5-flash-preview-05-20"),
            ["gemini-2.5-flash-preview-05-20", "gemini-2.5-flash-preview", "gemini-2.5-flash"]
        );
        assert_eq!(stems_of("gemini-2.5-flash-preview-09-2025")[2], "gemini-2.5-flash");
        assert_eq!(stems_of("gemini-1.5-pro-002"), ["gemini-1.5-pro-002", "gemini-1.5-pro"]);
        assert_eq!(stems_of("mistral-large-latest"), ["mistral-large-latest", "mistral-large"]);
        assert_eq!(stems_of("gpt-4-0613"), ["gpt-4-0613", "gpt-4"]);
        assert_eq!(stems_of("codestral-2508"), ["codestral-2508", "codestral"]);
    }

    #[test]
    fn numbers_that_are_part_of_a_name_stay() {
        for name in [
            "claude-opus-4-5",
            "gpt-4o",
            "phi-3-128",
            "llama-3.1-405b",
            "model-9999",
            "o1-preview",
            "text-embedding-3-small",
        ] {
            assert_eq!(stems_of(name), [name]);
        }
    }

    #[test]
    fn a_star_stands_for_any_run() {
        assert!(matches("*", "anything"));
        assert!(matches("llama3*", "llama3.1:8b"));
        assert!(matches("*-embed-*", "nomic-embed-text"));
        assert!(!matches("llama3*", "llama2"));
        assert!(!matches("a*a", "a"));
        assert!(matches("exact", "exact") && !matches("exact", "exactly"));
    }

    #[test]
    fn a_provider_s_own_prefix_is_not_part_of_the_name() {
        assert_eq!(without_own_prefix("groq", "groq/llama-3.3-70b"), "llama-3.3-70b");
        assert_eq!(without_own_prefix("gemini", "models/gemini-2.5-pro"), "gemini-2.5-pro");
        assert_eq!(without_own_prefix("fireworks", "accounts/fireworks/models/kimi-k2"), "kimi-k2");
    }

    proptest! {
        #[test]
        fn no_name_makes_it_panic(name in ".{0,40}", pattern in "[a*-]{0,12}") {
            let _ = (stems(&name).count(), matches(&pattern, &name), without_own_prefix(&pattern, &name));
        }

        #[test]
        fn every_stem_is_a_beginning_of_the_name(name in "[a-z0-9:@.-]{0,40}") {
            prop_assert!(stems(&name).all(|stem| name.starts_with(stem)));
        }
    }
}
