//! The two ports: free, or held by a Farebox that is well.

use super::elsewhere::fetch;
use super::{Finding, Visit};
use crate::cli::healthcheck::reachable;
use serde_json::Value;
use std::net::{SocketAddr, TcpListener};

pub async fn findings(visit: &Visit<'_>) -> Vec<Finding> {
    let (data, admin) = (visit.settings.proxy.listen, visit.settings.admin_listen);
    match (taken(data), taken(admin)) {
        (None, None) => {
            vec![Finding::well("ports", format!("{data} and {admin} are free; no Farebox is running here"))]
        }
        (data_taken, admin_taken) => {
            let mut findings = Vec::new();
            let running = match admin_taken {
                Some(_) => running(visit, admin).await,
                None => None,
            };
            match running {
                Some(told) => {
                    findings.extend(well(&told, visit));
                    if data_taken.is_none() {
                        let said = format!("a Farebox answers on {admin}, but nothing listens on {data}");
                        findings.push(Finding::fault("ports", said, "does it run with another `listen`? Restart it"));
                    }
                }
                None => {
                    for (address, why) in [(data, data_taken), (admin, admin_taken)] {
                        let Some(why) = why else { continue };
                        let said = format!("{address} cannot be listened on, and it is no Farebox that has it: {why}");
                        let remedy = "end that process, or choose another `listen` (`admin_listen`)";
                        findings.push(Finding::fault("ports", said, remedy));
                    }
                }
            }
            findings
        }
    }
}

/// Why it cannot be listened on; `None`: it can.
fn taken(address: SocketAddr) -> Option<String> {
    TcpListener::bind(address).err().map(|error| error.to_string())
}

/// What a Farebox there says of itself.
async fn running(visit: &Visit<'_>, admin: SocketAddr) -> Option<Value> {
    let answer = fetch(&format!("http://{}/readyz", reachable(admin)), visit.timeout).await.ok()?;
    let told: Value = serde_json::from_slice(&answer.body).ok()?;
    (told.get("ready").is_some() && told.get("ledger").is_some()).then_some(told)
}

fn well(told: &Value, visit: &Visit<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if told["ready"] == true {
        findings.push(Finding::well("ports", "held by a Farebox that is ready"));
    } else {
        let reasons = told["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let said = format!("held by a Farebox that admits no calls: {}", reasons.collect::<Vec<_>>().join("; "));
        findings.push(Finding::fault("ports", said, "see docs/operating.md, `When the ledger cannot be written`"));
    }
    let (waiting, most) = (told["ledger"]["backlog_events"].as_u64(), visit.settings.ledger.backlog_events_max);
    if let Some(waiting) = waiting.filter(|waiting| *waiting > most / 2) {
        let said = format!("{waiting} events wait to be folded, of {most} that may");
        findings.push(Finding::warning("backlog", said, "is the disk slow? Beyond the bound new calls wait"));
    }
    if let Some(error) = told["ledger"]["fold_error"].as_str() {
        let remedy = "events wait in the journal meanwhile; free the disk, or restart once it is mended";
        findings.push(Finding::fault("backlog", format!("the store takes no events: {error}"), remedy));
    }
    for provider in told["providers"].as_array().into_iter().flatten() {
        if provider["circuit"] == "open" {
            let name = provider["name"].as_str().unwrap_or_default();
            let why = provider["last_failure"].as_str().unwrap_or("it failed too often");
            let said = format!("`{name}` is left alone for now: {why}");
            findings.push(Finding::warning("providers", said, format!("try `--call-providers {name}`")));
        }
    }
    findings
}
