//! Keeps the keyring as the store has it: what a command changes in the store takes effect here within a second.

use super::Failure;
use crate::store::{self, Reader, StoreError};
use crate::tenants::{Keyring, Pepper};
use arc_swap::ArcSwap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often the store is asked whether anything changed: one row is read.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct Doorkeeper {
    keyring: Arc<ArcSwap<Keyring>>,
    pepper: Pepper,
    reader: Reader,
}

impl Doorkeeper {
    pub fn open(data_dir: &Path, reader: &Reader) -> Result<Doorkeeper, Failure> {
        let fault = |error: StoreError| Failure::Fault(error.to_string());
        let pepper = store::pepper(data_dir).map_err(fault)?;
        let keyring = reader.keyring(pepper.clone()).map_err(fault)?;
        if keyring.is_empty() {
            tracing::warn!("no virtual key opens anything yet: make one with `farebox key create NAME --team TEAM`");
        }
        Ok(Doorkeeper { keyring: Arc::new(ArcSwap::from_pointee(keyring)), pepper, reader: reader.clone() })
    }

    pub fn keyring(&self) -> Arc<ArcSwap<Keyring>> {
        Arc::clone(&self.keyring)
    }

    /// Looks until the runtime ends.
    pub async fn follow(self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            look.tick().await;
            let keeper = self.clone();
            let Ok(looked) = tokio::task::spawn_blocking(move || keeper.look()).await else { return };
            match looked {
                Ok(()) => well = true,
                Err(error) if well => {
                    well = false;
                    tracing::error!(%error, "virtual keys cannot be read anew; those read before stay in force");
                }
                Err(_) => {}
            }
        }
    }

    fn look(&self) -> Result<(), StoreError> {
        if self.reader.tenants_generation()? == self.keyring.load().generation {
            return Ok(());
        }
        let keyring = self.reader.keyring(self.pepper.clone())?;
        tracing::info!(keys = keyring.len(), generation = keyring.generation, "virtual keys read anew");
        self.keyring.store(Arc::new(keyring));
        Ok(())
    }
}
