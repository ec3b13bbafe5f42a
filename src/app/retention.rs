//! Drops what tenants want dropped: events past an age that an organisation, a team or a project has of its own.

use crate::clock::Clock;
use crate::store::{ChangeError, Store};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// Ages are counted in days; a process that is started anew each night looks as well.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);
/// For the audit log.
const ACTOR: &str = "server, retention";

/// Looks until the runtime ends: at once, and every hour.
pub async fn keep(data_dir: PathBuf, clock: Arc<dyn Clock>) {
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let (data_dir, clock) = (data_dir.clone(), Arc::clone(&clock));
        let Ok(dropped) = tokio::task::spawn_blocking(move || drop_old(&data_dir, &*clock)).await else { return };
        if let Err(error) = dropped {
            tracing::error!(%error, "events past their tenants' ages could not be dropped; tried again in an hour");
        }
    }
}

fn drop_old(data_dir: &std::path::Path, clock: &dyn Clock) -> Result<(), ChangeError> {
    let now = clock.now();
    let mut store = Store::open(data_dir, now)?;
    for of in store.retire_tenants(now, ACTOR, &mut |_| {})? {
        let (kind, name, events) = (of.kind.name(), of.name, of.retired.events);
        tracing::info!(kind, name, events, before = of.retired.before.to_rfc3339(), "events past their age dropped");
    }
    Ok(())
}
