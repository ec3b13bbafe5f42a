//! Receivers of alerts: as written, and as the postman needs them. Addresses and tokens are secrets, so they stand in a
//! variable or a file; a webhook without a secret in it may stand in the configuration.

use super::check::Variables;
use super::egress;
use super::file::Written;
use super::section::{Notes, Placed, Section};
use super::tree::{Node, Origin, Shape};
use super::values::{self, Read, Wrong};
use crate::alerts::{Egress, Receiver, Settings, Way};
use crate::proxy::settings::EgressProxy;
use crate::secret::Secret;
use std::path::PathBuf;
use std::sync::Arc;

/// A receiver as written.
#[derive(Debug)]
pub struct WrittenReceiver {
    origin: Origin,
    called: String,
    name: Written<String>,
    slack: Written<Found>,
    webhook: Written<Found>,
    token: Written<Found>,
}

/// Where a value is found.
#[derive(Clone, Debug)]
pub enum Found {
    Here(String),
    Environment(String),
    File(PathBuf),
}

/// `alerts.receivers`.
pub fn read(mut alerts: Section<'_>, notes: &Notes) -> Vec<WrittenReceiver> {
    let items = alerts.items("receivers").unwrap_or_default();
    let each = items.iter().enumerate().filter_map(|(place, item)| {
        let called = called(item, ("name", "finops"), place, "alerts.receivers", notes)?;
        Some(read_one(alerts.item("receivers", &called, Some(item)), called))
    });
    let written = each.collect();
    alerts.close();
    written
}

/// What an item is called in sentences: its first key's value, or its place. `None` if it is no section.
pub fn called(item: &Node, (key, such_as): (&str, &str), place: usize, list: &str, notes: &Notes) -> Option<String> {
    if !matches!(item.shape, Shape::Section(_)) {
        let what = format!("`{list}[{place}]` is {}", item.kind());
        notes.fault(&item.origin, what, format!("write `- {key}: {such_as}`"));
        return None;
    }
    Some(match item.entry(key).map(|entry| &entry.value.shape) {
        Some(Shape::Scalar(name)) => name.clone(),
        _ => place.to_string(),
    })
}

fn read_one(mut section: Section<'_>, called: String) -> WrittenReceiver {
    let written = WrittenReceiver {
        origin: section.origin(),
        called,
        name: section.value("name", values::provider_name),
        slack: section.secret("slack", secret),
        webhook: section.secret("webhook", address),
        token: section.secret("token", secret),
    };
    section.close();
    written
}

pub fn secret(text: &str) -> Read<Found> {
    match text.split_once(':') {
        Some(("env", name)) if values::is_variable(name) => Ok(Found::Environment(name.to_owned())),
        Some(("file", path)) if !path.is_empty() => Ok(Found::File(PathBuf::from(path))),
        _ => Err(Wrong {
            what: "is no place where a secret is found".to_owned(),
            remedy: "write `env:NAME` or `file:PATH`; the secret itself never stands in the file".to_owned(),
        }),
    }
}

fn address(text: &str) -> Read<Found> {
    if is_address(text) { Ok(Found::Here(text.to_owned())) } else { secret(text) }
}

pub fn is_address(text: &str) -> bool {
    let uri = text.parse::<http::Uri>().ok();
    uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

/// What the postman needs; what is missing or wrong goes into the notes.
pub fn settings(written: &[WrittenReceiver], variables: &Variables, notes: &Notes) -> Settings {
    let mut receivers: Vec<Receiver> = Vec::new();
    for receiver in written {
        let path = format!("alerts.receivers.{}", receiver.called);
        let Some(name) = &receiver.name else {
            notes.fault(&receiver.origin, format!("`{path}` has no name"), "write `name: finops`, which rules name");
            continue;
        };
        if receivers.iter().any(|known| *known.name == *name.value) {
            let what = format!("there are two receivers `{}`", name.value);
            notes.fault(&name.origin, what, "give each a name of its own");
            continue;
        }
        let lookup = |key: &str, found: &Placed<Found>| look_up(&format!("{path}.{key}"), found, variables, notes);
        let way = match (&receiver.slack, &receiver.webhook) {
            (Some(slack), None) => {
                url(&format!("{path}.slack"), slack, lookup("slack", slack), notes).map(|url| Way::Slack { url })
            }
            (None, Some(webhook)) => {
                let token = receiver.token.as_ref().and_then(|token| lookup("token", token));
                url(&format!("{path}.webhook"), webhook, lookup("webhook", webhook), notes)
                    .map(|url| Way::Webhook { url, token })
            }
            _ => {
                let what = format!("`{path}` says no way, or two, to be told");
                notes.fault(&receiver.origin, what, "write `slack: env:NAME` or `webhook: https://…`");
                None
            }
        };
        receivers.extend(way.map(|way| {
            let (Way::Slack { url } | Way::Webhook { url, .. }) = &way;
            let egress = through(url.expose(), variables, notes);
            Receiver { name: Arc::from(name.value.as_str()), way, egress }
        }));
    }
    Settings { receivers }
}

/// As providers without a `proxy:` of their own are reached.
pub fn through(url: &str, variables: &Variables, notes: &Notes) -> Option<Egress> {
    let uri = url.parse::<http::Uri>().ok()?;
    let base = values::base_url(&format!("{}://{}", uri.scheme_str()?, uri.authority()?)).ok()?;
    let EgressProxy { host, port, credentials } = egress::customary(&base, variables, notes)?;
    Some(Egress { host, port, credentials })
}

pub fn look_up(path: &str, found: &Placed<Found>, variables: &Variables, notes: &Notes) -> Option<Secret<String>> {
    let text = match &found.value {
        Found::Here(text) => Ok(text.clone()),
        Found::Environment(name) => {
            let set = variables.get(name).filter(|text| !text.trim().is_empty());
            set.cloned()
                .ok_or_else(|| (format!("`{path}` is in the variable {name}, which is not set"), format!("set {name}")))
        }
        Found::File(file) => std::fs::read_to_string(file).map_err(|error| {
            let what = format!("`{path}` cannot be read from {}: {error}", file.display());
            (what, "put it there, alone on its line".to_owned())
        }),
    };
    match text {
        Ok(text) => Some(Secret::new(text.trim().to_owned())),
        Err((what, remedy)) => {
            notes.fault(&found.origin, what, remedy);
            None
        }
    }
}

fn url(path: &str, written: &Placed<Found>, found: Option<Secret<String>>, notes: &Notes) -> Option<Secret<String>> {
    let found = found?;
    if is_address(found.expose()) {
        return Some(found);
    }
    let what = format!("what was found for `{path}` is no address");
    notes.fault(&written.origin, what, "it must be `https://…`");
    None
}
