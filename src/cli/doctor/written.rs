//! What people write: the configuration, the rules, the catalog.

use super::{Finding, Visit};
use crate::app::{self, rules};
use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::config::Faults;
use crate::proxy::settings::Access;
use crate::rules::syntax::Known;
use std::sync::Arc;

/// As the alert `FareboxCatalogStale` has it.
const CATALOG_DAYS_MAX: i64 = 60;

pub fn configuration_faults(faults: &Faults) -> Vec<Finding> {
    let text = |fault: &serde_json::Value, key: &str| fault[key].as_str().unwrap_or_default().to_owned();
    let one = |fault: serde_json::Value| {
        let said = format!("{}: {}", text(&fault, "place"), text(&fault, "what"));
        Finding::fault("configuration", said, text(&fault, "remedy"))
    };
    faults.to_json().into_iter().map(one).collect()
}

pub fn findings(visit: &Visit<'_>) -> Vec<Finding> {
    let mut findings = vec![configuration(visit)];
    match app::load_catalog(&visit.settings.catalog_overlays) {
        Ok(catalog) => {
            findings.push(age(&catalog, visit.now));
            findings.extend(rules(visit, &catalog));
        }
        Err(faults) => {
            findings.push(Finding::fault("catalog", faults, "mend the overlay; `farebox check` says the same"));
        }
    }
    findings
}

fn configuration(visit: &Visit<'_>) -> Finding {
    let settings = visit.settings;
    let providers = settings.proxy.providers.len();
    if !settings.admin_listen.ip().to_canonical().is_loopback() && settings.admin_token.is_none() {
        return Finding::warning(
            "configuration",
            format!("the admin port {} is open to others: it answers only /metrics and health", settings.admin_listen),
            "set FAREBOX_ADMIN_TOKEN to have the rest of it there, or listen on 127.0.0.1",
        );
    }
    let access = match settings.proxy.access {
        Access::Open => "whoever reaches it may call",
        Access::Keys => "virtual keys",
    };
    Finding::well("configuration", format!("{providers} provider(s); {access}"))
}

fn age(catalog: &Catalog, now: Timestamp) -> Finding {
    let (version, models) = (catalog.version(), catalog.models(None).len());
    let date = version.get(..10).and_then(|date| date.parse::<jiff::civil::Date>().ok());
    let midnight = date.and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC).ok());
    let days = midnight.map(|date| (now.as_seconds() - date.timestamp().as_second()) / 86_400);
    match days {
        Some(days) if days > CATALOG_DAYS_MAX => Finding::warning(
            "catalog",
            format!("its prices are {days} days old (version {version})"),
            "take a newer Farebox, or write what changed into an overlay (`farebox catalog import`, docs/catalog.md)",
        ),
        _ => Finding::well("catalog", format!("{models} models, version {version}")),
    }
}

fn rules(visit: &Visit<'_>, catalog: &Catalog) -> Vec<Finding> {
    let remedy = "`farebox rules check` shows where; a running node keeps the rules that were in force before";
    let files = match rules::read(&visit.settings.rules_dir) {
        Ok(files) => files,
        Err(what) => return vec![Finding::fault("rules", what, remedy)],
    };
    let providers: Vec<Arc<str>> =
        visit.settings.proxy.providers.iter().map(|provider| Arc::clone(&provider.name)).collect();
    let receivers: Vec<Arc<str>> =
        visit.settings.alerts.receivers.iter().map(|receiver| Arc::clone(&receiver.name)).collect();
    let known = Known { catalog: Some(catalog), providers: &providers, receivers: Some(&receivers) };
    match rules::load(&files, &known) {
        Err(faults) => vec![Finding::fault("rules", rules::in_words(&faults), remedy)],
        Ok(loaded) => {
            let warned = loaded.warnings.iter().map(|warning| {
                Finding::warning("rules", warning.to_string(), "see docs/rules.md; `farebox rules check` shows it too")
            });
            let count: usize = loaded.rules.counts().iter().map(|(_, count)| count).sum();
            let dir = visit.settings.rules_dir.display();
            let said = match count {
                0 => format!("none in {dir}: nothing is capped and nothing blocked"),
                _ => format!("{count} in {} file(s) of {dir}", files.len()),
            };
            warned.chain([Finding::well("rules", said)]).collect()
        }
    }
}
