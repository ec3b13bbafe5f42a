//! How single values are written: `10s`, `64MiB`, `127.0.0.1:4000`, `https://api.openai.com/v1`, `env:OPENAI_API_KEY`.

use crate::proxy::route::RESERVED_SEGMENTS;
use crate::proxy::settings::{BaseUrl, Fallback, Network};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Statuses that may be tried again.
const RETRY_STATUSES: &str = "408, 409, 425, 429 or 500 to 599";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why a value cannot be read. `what` continues the sentence "`listen` is `foo`, which …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    pub what: String,
    pub remedy: String,
}

pub type Read<T> = Result<T, Wrong>;

/// A provider's key, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Caller,
    Nothing,
    Sealed,
    Environment(String),
    File(PathBuf),
}

fn wrong<T>(what: &str, remedy: &str) -> Read<T> {
    Err(Wrong { what: what.to_owned(), remedy: remedy.to_owned() })
}

pub fn text(text: &str) -> Read<String> {
    if text.is_empty() { wrong("is empty", "write a value, or leave the setting out") } else { Ok(text.to_owned()) }
}

pub fn path(words: &str) -> Read<PathBuf> {
    text(words).map(PathBuf::from)
}

pub fn boolean(text: &str) -> Read<bool> {
    match text {
        "true" | "yes" | "on" => Ok(true),
        "false" | "no" | "off" => Ok(false),
        _ => wrong("is neither yes nor no", "write `true` or `false`"),
    }
}

/// A whole number between two bounds.
pub fn number(min: u64, max: u64) -> impl Fn(&str) -> Read<u64> {
    move |text| match text.parse::<u64>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        Ok(_) => wrong("is out of range", &format!("write a whole number from {min} to {max}")),
        Err(_) => wrong("is not a whole number", &format!("write a whole number from {min} to {max}")),
    }
}

/// A duration that is longer than nothing and no longer than a day.
pub fn duration(text: &str) -> Read<Duration> {
    match duration_or_zero(text)? {
        Duration::ZERO => wrong("would end everything at once", "write a duration longer than nothing, like `10s`"),
        duration => Ok(duration),
    }
}

pub fn duration_or_zero(text: &str) -> Read<Duration> {
    const REMEDY: &str = "write a whole number and its unit: `500ms`, `10s`, `5m`, `1h`";
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let millis_per_unit: u64 = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "" if digits == "0" => 1,
        _ => return wrong("is not a duration", REMEDY),
    };
    let millis = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(millis_per_unit));
    match millis.map(Duration::from_millis) {
        Some(duration) if duration <= DAY => Ok(duration),
        Some(_) => wrong("is longer than a day", "write at most `24h`"),
        None => wrong("is not a duration", REMEDY),
    }
}

/// Bytes between two bounds.
pub fn size(min: u64, max: u64) -> impl Fn(&str) -> Read<u64> {
    move |text| {
        let remedy = format!("write a size from {} to {}: `64KiB`, `16MiB`, `1GiB`", in_words(min), in_words(max));
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let bytes_per_unit: u64 = match unit.trim() {
            "" | "B" => 1,
            "kB" | "KB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return wrong("is not a size", &remedy),
        };
        match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(bytes_per_unit)) {
            Some(bytes) if (min..=max).contains(&bytes) => Ok(bytes),
            Some(_) => wrong("is out of range", &remedy),
            None => wrong("is not a size", &remedy),
        }
    }
}

fn in_words(bytes: u64) -> String {
    match bytes.trailing_zeros() {
        _ if bytes == 0 => "0".to_owned(),
        30.. => format!("{}GiB", bytes >> 30),
        20..30 => format!("{}MiB", bytes >> 20),
        10..20 => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

pub fn address(text: &str) -> Read<SocketAddr> {
    let spelled = match text.split_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    match spelled.parse() {
        Ok(address) => Ok(address),
        Err(_) => wrong("is not an address and a port", "write `127.0.0.1:4000`, `0.0.0.0:4000` or `[::1]:4000`"),
    }
}

pub fn network(text: &str) -> Read<Network> {
    match text.parse() {
        Ok(network) => Ok(network),
        Err(_) => {
            wrong("is not an address range", "write an address or a range: `127.0.0.1`, `10.0.0.0/8`, `fd00::/8`")
        }
    }
}

pub fn path_prefix(text: &str) -> Read<String> {
    let trimmed = text.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    if trimmed.is_empty() {
        Ok(String::new())
    } else if trimmed.starts_with('/') && !trimmed.contains("//") && trimmed.chars().all(plain) {
        Ok(trimmed.to_owned())
    } else {
        wrong("is not a path", "write it as it stands behind the host: `/llm`")
    }
}

pub fn provider_name(text: &str) -> Read<String> {
    let letters = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if text.is_empty() || text.len() > 40 || !letters || text.starts_with('-') {
        return wrong("is not a provider's name", "use small letters, digits and `-`, at most 40: `openai-eu`");
    }
    if RESERVED_SEGMENTS.contains(&text) {
        return wrong("is the beginning of Farebox's own paths", "call the provider something else");
    }
    Ok(text.to_owned())
}

pub fn base_url(text: &str) -> Read<BaseUrl> {
    const REMEDY: &str = "write it as the provider's SDK takes it: `https://api.openai.com/v1`";
    let (https, rest) = match text.split_once("://") {
        Some(("https", rest)) => (true, rest),
        Some(("http", rest)) => (false, rest),
        _ => return wrong("does not begin with `https://` or `http://`", REMEDY),
    };
    if rest.contains(['?', '#', '@', ' ', '\\']) {
        return wrong("has more in it than host, port and path", REMEDY);
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port.map(str::parse::<u16>) {
        None => {
            if https {
                443
            } else {
                80
            }
        }
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return wrong("has a port that is none", "write a port from 1 to 65535, or leave it out"),
    };
    let host = host.to_ascii_lowercase();
    if !is_host(&host) {
        return wrong("has no host in it", REMEDY);
    }
    Ok(BaseUrl { https, host, port, path: path.trim_end_matches('/').to_owned() })
}

fn is_host(host: &str) -> bool {
    if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return v6.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let letters = |label: &str| label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    !host.is_empty() && host.trim_end_matches('.').split('.').all(|label| !label.is_empty() && letters(label))
}

/// A key is never written into the file itself, and never shown.
pub fn key(text: &str) -> Read<Key> {
    const REMEDY: &str =
        "write `caller`, `none`, `sealed`, `env:NAME` or `file:PATH`; the key itself never stands in the file";
    match (text, text.split_once(':')) {
        ("caller", _) => Ok(Key::Caller),
        ("none", _) => Ok(Key::Nothing),
        ("sealed", _) => Ok(Key::Sealed),
        (_, Some(("env", name))) if is_variable(name) => Ok(Key::Environment(name.to_owned())),
        (_, Some(("file", path))) if !path.is_empty() => Ok(Key::File(PathBuf::from(path))),
        _ => wrong("is no place where a key is found", REMEDY),
    }
}

pub fn is_variable(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// `provider` or `provider/model`; a model's name may have slashes of its own.
pub fn fallback(text: &str) -> Read<Fallback> {
    let (provider, model) = text.split_once('/').map_or((text, None), |(provider, model)| (provider, Some(model)));
    if provider.is_empty() || model.is_some_and(str::is_empty) {
        return wrong("is no fallback", "write `provider` or `provider/model`");
    }
    Ok(Fallback { provider: provider.into(), model: model.map(Into::into) })
}

pub fn retry_status(text: &str) -> Read<u16> {
    match text.parse() {
        Ok(status @ (408 | 409 | 425 | 429 | 500..=599)) => Ok(status),
        _ => wrong("is no status that may be tried again", &format!("write {RETRY_STATUSES}")),
    }
}

/// One of some words.
pub fn one_of<T: Clone + 'static>(words: &'static [(&'static str, T)]) -> impl Fn(&str) -> Read<T> {
    move |text| match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(meaning.clone()),
        None => {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
            wrong("is not known here", &format!("write one of {}", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_end_within_a_day() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration_or_zero("0"), Ok(Duration::ZERO));
        for text in ["10", "-1s", "1.5s", "s", "25h", "0s", "99999999999999999999s", "1 fortnight"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_both_kinds_of_unit() {
        assert_eq!(size(0, u64::MAX)("64MiB"), Ok(67_108_864));
        assert_eq!(size(0, u64::MAX)("64 MB"), Ok(64_000_000));
        assert_eq!(size(0, u64::MAX)("1234"), Ok(1234));
        let fault = size(1024, 1 << 30)("1GiBi").unwrap_err();
        assert!(fault.remedy.contains("from 1KiB to 1GiB"), "{fault:?}");
        assert!(size(1024, 1 << 30)("2GiB").is_err());
    }

    #[test]
    fn a_base_url_is_taken_apart() {
        let url = base_url("https://api.groq.com/openai/v1/").unwrap();
        let expected = BaseUrl { https: true, host: "api.groq.com".into(), port: 443, path: "/openai/v1".into() };
        assert_eq!(url, expected);
        assert_eq!(base_url("http://127.0.0.1:8000").unwrap().port, 8000);
        assert_eq!(base_url("http://[::1]:11434/v1").unwrap().host, "[::1]");
        assert_eq!(base_url("http://[::1]/v1").unwrap().port, 80);
        for text in
            ["api.openai.com", "ftp://x", "https://", "https://a b", "https://u:p@h/", "https://h:0", "https://h?q=1"]
        {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_written_out_is_refused() {
        assert_eq!(key("env:OPENAI_API_KEY"), Ok(Key::Environment("OPENAI_API_KEY".into())));
        assert_eq!(key("file:/run/secrets/openai"), Ok(Key::File("/run/secrets/openai".into())));
        for text in ["sk-live-123", "env:", "file:", "env:1X", "Caller", ""] {
            let fault = key(text).unwrap_err();
            assert!(!format!("{fault:?}").contains("sk-live"), "{fault:?}");
        }
    }

    #[test]
    fn ranges_and_names() {
        let network = |text: &str| super::network(text).unwrap();
        assert!(network("10.0.0.0/8").contains("10.9.8.7".parse().unwrap()));
        assert!(!network("10.0.0.1").contains("10.0.0.2".parse().unwrap()));
        assert!(super::network("10.0.0.0/33").is_err());
        assert!(provider_name("openai-eu").is_ok());
        assert!(RESERVED_SEGMENTS.iter().all(|name| provider_name(name).is_err()));
        assert!(provider_name("farebox").is_err() && provider_name("OpenAI").is_err());
        assert_eq!(fallback("openrouter/openai/gpt-5").unwrap().model.as_deref(), Some("openai/gpt-5"));
        assert_eq!(path_prefix("/llm/"), Ok("/llm".to_owned()));
        assert!(path_prefix("llm").is_err());
    }
}
