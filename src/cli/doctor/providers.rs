//! Providers: whether there are keys, and if asked, whether they are good, and whether our clock is.

use super::{Finding, Visit};
use crate::clock::{Clock, SystemClock};
use crate::proxy::probe::{Probed, probe};
use crate::proxy::settings::{Access, ProviderKey, ProviderSettings};
use std::time::UNIX_EPOCH;

/// The header has whole seconds, and an answer takes its time.
const SKEW_SECONDS_WISHED: i64 = 10;
const SKEW_SECONDS_MAX: i64 = 60;

pub async fn findings(visit: &Visit<'_>) -> Vec<Finding> {
    let mut findings = vec![keys(visit)];
    let Some(named) = &visit.arguments.call_providers else { return findings };
    let providers = &visit.settings.proxy.providers;
    for name in named.iter().filter(|name| !name.is_empty()) {
        if !providers.iter().any(|provider| *provider.name == **name) {
            let known: Vec<&str> = providers.iter().map(|provider| &*provider.name).collect();
            let said = format!("`{name}` is no provider here");
            findings.push(Finding::fault("providers", said, format!("known: {}", known.join(", "))));
        }
    }
    let wanted = |provider: &&ProviderSettings| match named.iter().any(|name| !name.is_empty()) {
        true => named.iter().any(|name| **name == *provider.name),
        false => matches!(provider.key, ProviderKey::Own(_)) || provider.name == visit.settings.proxy.default_provider,
    };
    let mut clock = None;
    for provider in providers.iter().filter(wanted) {
        let trusts = provider.base_url.https && provider.tls.ca_file.is_none();
        if trusts && rustls_native_certs::load_native_certs().certs.is_empty() {
            let remedy = "install the package `ca-certificates`, or point SSL_CERT_FILE to a bundle";
            findings.push(Finding::fault("providers", "no certificate authorities are installed", remedy));
            break;
        }
        match probe(provider, visit.now, visit.timeout).await {
            Ok(answer) => {
                clock = clock.or_else(|| skew(&answer).map(|skew| (provider.name.clone(), skew)));
                findings.push(answered(provider, &answer));
            }
            Err(why) => findings.push(unreached(provider, &why)),
        }
    }
    findings.extend(clock.map(|(whose, skew)| of_clock(&whose, skew)));
    findings
}

fn keys(visit: &Visit<'_>) -> Finding {
    let proxy = &visit.settings.proxy;
    let own: Vec<&str> = proxy
        .providers
        .iter()
        .filter(|provider| matches!(provider.key, ProviderKey::Own(_)))
        .map(|provider| &*provider.name)
        .collect();
    let wants_none = proxy.providers.iter().any(|provider| matches!(provider.key, ProviderKey::Nothing));
    match (own.as_slice(), proxy.access) {
        ([], Access::Keys) if !wants_none => Finding::fault(
            "keys",
            "Farebox has no provider's key, and with `access: keys` callers bring none",
            "write `key: env:NAME` for a provider, or set FAREBOX_USE_ENV_KEYS=yes",
        ),
        ([], _) => Finding::well("keys", "none of Farebox's own: callers bring theirs"),
        (own, _) => Finding::well("keys", format!("Farebox has its own for {}", own.join(", "))),
    }
}

fn answered(provider: &ProviderSettings, answer: &Probed) -> Finding {
    let (name, status, took) = (&provider.name, answer.status, answer.took.as_millis());
    let own = matches!(provider.key, ProviderKey::Own(_));
    match status {
        200..=299 => {
            let key = if own { "takes the key" } else { "answers" };
            Finding::well("providers", format!("`{name}` {key} ({took} ms)"))
        }
        401 | 403 if own => Finding::fault(
            "providers",
            format!("`{name}` refuses Farebox's key ({status})"),
            "put a valid key where the configuration says, and restart (`serve --upgrade` drops no call)",
        ),
        // Callers bring the key; that it asks for one is as it should be.
        401 | 403 => Finding::well("providers", format!("`{name}` is there ({took} ms) and wants the caller's key")),
        402 | 429 => Finding::warning(
            "providers",
            format!("`{name}` is there and answers {status}"),
            "look at the account's limits and balance at the provider",
        ),
        400..=499 => Finding::well(
            "providers",
            format!("`{name}` is there ({took} ms); it has no list of models ({status}), so its key was not tried"),
        ),
        _ => Finding::warning(
            "providers",
            format!("`{name}` answers {status}"),
            "see the provider's status page; calls there fail too",
        ),
    }
}

fn unreached(provider: &ProviderSettings, why: &str) -> Finding {
    let url = &provider.base_url;
    let scheme = if url.https { "https" } else { "http" };
    let said = format!("`{}` ({scheme}://{}) cannot be reached: {why}", provider.name, url.authority());
    let remedy = match &provider.proxy {
        Some(proxy) => format!("is the egress proxy {proxy} right? (HTTPS_PROXY, or `proxy` of the provider)"),
        None => {
            "is `base_url` right, and may this machine go there? An egress proxy is named by HTTPS_PROXY".to_owned()
        }
    };
    Finding::fault("providers", said, remedy)
}

/// How many seconds our clock is ahead of the provider's.
fn skew(answer: &Probed) -> Option<i64> {
    let theirs = httpdate::parse_http_date(answer.date.as_deref()?).ok()?;
    let theirs = i64::try_from(theirs.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
    Some(SystemClock.now().as_seconds() - theirs)
}

fn of_clock(whose: &str, skew: i64) -> Finding {
    let way = if skew > 0 { "ahead of" } else { "behind" };
    let said = format!("this machine's clock is {} s {way} `{whose}`'s", skew.abs());
    let remedy = "set the clock (NTP): the windows of budgets begin and end by it";
    match skew.abs() {
        0..=SKEW_SECONDS_WISHED => {
            Finding::well("clock", format!("agrees with `{whose}`'s within {SKEW_SECONDS_WISHED} s"))
        }
        seconds if seconds > SKEW_SECONDS_MAX => Finding::fault("clock", said, remedy),
        _ => Finding::warning("clock", said, remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Level;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off() {
        let levels = [0, -9, 11, -30, 61, -4_000].map(|skew| of_clock("openai", skew).level);
        use Level::{Fault, Warning, Well};
        assert_eq!(levels, [Well, Well, Warning, Warning, Fault, Fault]);
        assert!(of_clock("openai", -4_000).said.contains("4000 s behind `openai`'s"));
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let answer = |date: &str| Probed { status: 200, date: Some(date.to_owned()), took: Default::default() };
        assert!(skew(&answer("Sun, 06 Nov 1994 08:49:37 GMT")).unwrap() > 31 * 365 * 86_400);
        assert_eq!(skew(&answer("yesterday")), None);
    }
}
