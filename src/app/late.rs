//! Late usage on its way from the ledger into the metrics.

use crate::proxy::Proxy;
use crate::telemetry::Corrected;

/// What background work and batches came to, counted in the series of whoever began them.
pub(super) fn count(proxy: &Proxy) {
    let late = proxy.ledger.take_late();
    if late.is_empty() {
        return;
    }
    let catalog = proxy.catalog.load();
    for row in &late {
        let provider = row.provider.as_deref().unwrap_or_default();
        let model = row.response_model.as_deref().and_then(|model| catalog.resolve(provider, model));
        proxy.telemetry.metrics.corrected(&Corrected {
            team: row.team.as_deref(),
            project: row.project.as_deref(),
            provider,
            model: model.as_ref().map(|offer| &*offer.model.id),
            more: &row.usage,
            less: &row.usage_less,
            cost: row.cost.unwrap_or_default(),
        });
    }
}
