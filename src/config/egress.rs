//! The proxy through which a provider is reached: what is written for it, else what the customary variables say
//! (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, also in small letters, which win as they do in curl).

use super::section::{Notes, Placed};
use super::tree::Origin;
use super::values::{self, Wrong};
use crate::proxy::settings::{BaseUrl, EgressProxy, Network};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A provider's `proxy` setting, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// Straight out, whatever the variables say.
    Nothing,
    At(EgressProxy),
    Environment(String),
}

/// `none`, `env:NAME` or `http://host:port`. A password never stands in the file itself.
pub fn proxy(text: &str) -> values::Read<Proxy> {
    if text == "none" {
        return Ok(Proxy::Nothing);
    }
    if let Some(name) = text.strip_prefix("env:").filter(|name| !name.is_empty()) {
        return Ok(Proxy::Environment(name.to_owned()));
    }
    if text.contains('@') {
        return Err(Wrong {
            what: "has a user and a password in it".to_owned(),
            remedy: "put the whole URL into a variable and write `env:NAME`".to_owned(),
        });
    }
    url(text).map(Proxy::At)
}

/// The proxy for a provider at `base`.
pub fn chosen(
    path: &str,
    written: Option<&Placed<Proxy>>,
    base: &BaseUrl,
    variables: &BTreeMap<String, String>,
    notes: &Notes,
) -> Option<EgressProxy> {
    let Some(written) = written else { return customary(base, variables, notes) };
    match &written.value {
        Proxy::Nothing => None,
        Proxy::At(proxy) => Some(proxy.clone()),
        Proxy::Environment(name) => match variables.get(name).filter(|text| !text.is_empty()).map(|text| url(text)) {
            Some(Ok(proxy)) => Some(proxy),
            Some(Err(wrong)) => {
                let what = format!("`{path}` is in the variable {name}, which {}", wrong.what);
                notes.fault(&written.origin, what, wrong.remedy);
                None
            }
            None => {
                let what = format!("`{path}` is in the variable {name}, which is not set");
                notes.fault(&written.origin, what, format!("set {name}, or write `none`"));
                None
            }
        },
    }
}

/// As the variables say it. Our own machine is never reached through a proxy.
pub(super) fn customary(base: &BaseUrl, variables: &BTreeMap<String, String>, notes: &Notes) -> Option<EgressProxy> {
    let names = if base.https { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy", "HTTP_PROXY"] };
    let set = |name: &&str| variables.get(*name).filter(|text| !text.trim().is_empty());
    let name = names.iter().find(|name| set(name).is_some())?;
    let excepted = ["no_proxy", "NO_PROXY"].iter().find_map(set).map_or("", String::as_str);
    if is_here(&base.host) || is_excepted(base, excepted) {
        return None;
    }
    match url(set(name)?.trim()) {
        Ok(proxy) => Some(proxy),
        Err(wrong) => {
            let what = format!("it {}, and providers and receivers of alerts would be reached through it", wrong.what);
            let remedy = format!("{}; or give the providers `proxy: none`", wrong.remedy);
            notes.fault(&Origin::Variable((*name).to_owned()), what, remedy);
            None
        }
    }
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_here(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

/// `NO_PROXY`: `*`, names (with everything below them), addresses and ranges, each with a port or without.
fn is_excepted(base: &BaseUrl, list: &str) -> bool {
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let (Some(address), Ok(range)) = (address(&base.host), values::network(entry)) {
            return Network::contains(&range, address);
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => (name, port.parse::<u16>().ok()),
            _ => (entry, None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
        let below = base.host.strip_suffix(&name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        below && !name.is_empty() && port.is_none_or(|port| port == base.port)
    })
}

/// `http://user:password@host:port`; the scheme may be left out, the port is then 80 as for any `http` URL.
fn url(text: &str) -> values::Read<EgressProxy> {
    const REMEDY: &str = "write `http://host:port`: Farebox asks a proxy to CONNECT, in the clear as far as the proxy";
    let wrong = |what: &str| Wrong { what: what.to_owned(), remedy: REMEDY.to_owned() };
    let rest = match text.split_once("://") {
        Some(("http", rest)) => rest,
        Some(_) => return Err(wrong("is no `http://` proxy")),
        None => text,
    };
    let (user, authority) = match rest.rsplit_once('@') {
        Some((user, authority)) => (Some(user), authority),
        None => (None, rest),
    };
    let base =
        values::base_url(&format!("http://{}", authority.trim_end_matches('/'))).map_err(|_| wrong("is no URL"))?;
    if !base.path.is_empty() {
        return Err(wrong("has a path behind the port"));
    }
    let credentials = user.map(|user| percent_decoded(user).ok_or_else(|| wrong("has a broken user or password")));
    Ok(EgressProxy { host: base.host, port: base.port, credentials: credentials.transpose()?.map(Secret::new) })
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind.get(2..)?;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let notes = Notes::default();
        let chosen = chosen("p", None, &values::base_url(url).unwrap(), &variables, &notes);
        assert!(notes.faults.borrow().is_empty());
        chosen.map(|proxy| proxy.to_string())
    }

    #[test]
    fn each_scheme_has_its_variable_and_small_letters_win() {
        let both = [("HTTPS_PROXY", "http://big:3128"), ("https_proxy", "small:8080"), ("HTTP_PROXY", "plain")];
        assert_eq!(through("https://api.openai.com/v1", &both).as_deref(), Some("http://small:8080"));
        assert_eq!(through("http://models.example", &both).as_deref(), Some("http://plain:80"));
        assert_eq!(through("https://api.openai.com", &[("HTTPS_PROXY", " ")]), None);
    }

    #[test]
    fn our_own_machine_and_what_no_proxy_names_are_reached_straight() {
        let proxied = |url: &str, excepted: &str| {
            let variables = [("HTTPS_PROXY", "http://p:1"), ("HTTP_PROXY", "http://p:1"), ("NO_PROXY", excepted)];
            through(url, &variables).is_some()
        };
        for here in ["http://127.0.0.1:11434/v1", "http://localhost:8000", "http://[::1]:8000"] {
            assert!(!proxied(here, ""), "{here}");
        }
        assert!(!proxied("https://llm.corp.example", "x, .corp.example"));
        assert!(!proxied("https://corp.example", "corp.example"));
        assert!(!proxied("https://a.corp.example:8443", "*.corp.example:8443"));
        assert!(!proxied("http://10.1.2.3", "10.0.0.0/8") && !proxied("https://any.example", "*"));
        assert!(
            proxied("https://notcorp.example", "corp.example") && proxied("https://corp.example", "corp.example:8443")
        );
        assert!(proxied("http://11.1.2.3", "10.0.0.0/8"));
    }

    #[test]
    fn a_user_and_a_password_come_from_a_variable_and_are_not_shown() {
        let found = url("http://ann:p%40ss@proxy.corp:3128").unwrap();
        assert_eq!(found.credentials.as_ref().map(|secret| secret.expose().as_str()), Some("ann:p@ss"));
        assert!(!format!("{found:?} {found}").contains("p@ss"));
        let refused = proxy("http://ann:pass@proxy:3128").unwrap_err();
        assert!(!format!("{refused:?}").contains("pass@"), "{refused:?}");
        for text in ["socks5://p:1080", "https://p:443", "http://", "http://p:0", "http://p/path", "env:"] {
            assert!(proxy(text).is_err(), "{text}");
        }
    }
}
