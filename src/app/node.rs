//! What the admin port asks of the running node.

use super::Settings;
use super::rules::RulesFolder;
use crate::api::Node;
use crate::proxy::Proxy;
use crate::store::Reader;
use crate::tracking::{Parts, Tracker};
use std::sync::Arc;
use tokio::runtime::Handle;

pub(super) fn of(proxy: &Proxy, settings: &Settings, reader: &Reader, folder: &Arc<RulesFolder>) -> Node {
    let providers = &settings.proxy.providers;
    let tracker = Tracker::new(Parts {
        ledger: Arc::clone(&proxy.ledger),
        rules: Arc::clone(&proxy.rules),
        catalog: Arc::clone(&proxy.catalog),
        telemetry: Arc::clone(&proxy.telemetry),
        clock: Arc::clone(&proxy.clock),
        reader: reader.clone(),
        dialects: providers.iter().map(|provider| (Arc::clone(&provider.name), provider.dialect)).collect(),
    });
    let (folder, history, admission) = (Arc::clone(folder), Arc::clone(folder), proxy.ledger.admission());
    Node {
        catalog: Arc::clone(&proxy.catalog),
        providers: providers.iter().map(|provider| Arc::clone(&provider.name)).collect(),
        // On a thread that may block.
        track: Arc::new(move |told| Handle::current().block_on(tracker.track(told))),
        rules: Arc::clone(&proxy.rules),
        rules_files: Arc::new(move || folder.files_in_force()),
        standing: Arc::new(move || admission.standing()),
        rules_versions: Arc::new(move || serde_json::to_value(history.versions()).unwrap_or_default()),
    }
}
