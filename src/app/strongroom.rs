//! Keeps the providers' sealed keys as the store has them, and tells the store how they stand: what a command changes
//! takes effect here within a second, and what a provider says of a key is there for the next who asks.

use crate::proxy::Proxy;
use crate::proxy::purse::{CONFIGURED, OpenedKey};
use crate::secret::Secret;
use crate::store::{MasterKeySource, Reader, SealedKey, Store, StoreError};
use crate::tenants::{KeyHealth, MasterKey, ProviderKeyRecord};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How often the store is asked whether anything changed: one row is read.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Clone)]
pub struct Strongroom {
    proxy: Arc<Proxy>,
    reader: Reader,
    data_dir: PathBuf,
    master: MasterKeySource,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    generation: Option<u64>,
    told: HashMap<Arc<str>, KeyHealth>,
    /// Why keys stay shut; said once.
    shut: Option<String>,
}

impl Strongroom {
    /// Opens what is sealed before the first call comes.
    pub fn open(proxy: &Arc<Proxy>, reader: &Reader, data_dir: PathBuf, master: MasterKeySource) -> Strongroom {
        let (proxy, reader) = (Arc::clone(proxy), reader.clone());
        let room = Strongroom { proxy, reader, data_dir, master, seen: Arc::default() };
        if let Err(error) = room.look() {
            tracing::error!(%error, "sealed provider keys cannot be read");
        }
        room
    }

    /// Looks until the runtime ends.
    pub async fn follow(self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut well = true;
        loop {
            look.tick().await;
            let room = self.clone();
            let Ok(looked) = tokio::task::spawn_blocking(move || room.look()).await else { return };
            match looked {
                Ok(()) => well = true,
                Err(error) if well => {
                    well = false;
                    tracing::error!(%error, "provider keys cannot be read anew; those read before stay in force");
                }
                Err(_) => {}
            }
        }
    }

    fn look(&self) -> Result<(), StoreError> {
        let generation = self.reader.tenants_generation()?;
        if self.seen.lock().generation == Some(generation) {
            return self.tell();
        }
        let kept = self.reader.provider_keys(false)?;
        if !kept.is_empty() || self.seen.lock().generation.is_some() {
            self.fill(&kept)?;
        }
        self.seen.lock().generation = Some(generation);
        Ok(())
    }

    fn fill(&self, kept: &[SealedKey]) -> Result<(), StoreError> {
        let masters = if kept.is_empty() { Vec::new() } else { self.master.candidates(&self.data_dir)? };
        let mut shut = Vec::new();
        for provider in self.proxy.providers.values() {
            let of_it = kept.iter().filter(|key| key.record.provider == provider.settings.name);
            let wanted = of_it.filter(|key| key.record.disabled_at.is_none());
            let opened: Vec<OpenedKey> = wanted
                .filter_map(|key| {
                    let opened = open(key, &masters);
                    if opened.is_none() {
                        shut.push(key.record.name.to_string());
                    }
                    opened
                })
                .collect();
            provider.purse.fill(&provider.settings, opened);
        }
        let mut seen = self.seen.lock();
        seen.told = kept.iter().filter_map(|key| Some((Arc::clone(&key.record.name), key.record.seen?.0))).collect();
        let shut = (!shut.is_empty()).then(|| shut.join(", "));
        if let Some(keys) = shut.as_ref().filter(|_| shut != seen.shut) {
            tracing::error!(%keys, "these provider keys are sealed under another master key: set FAREBOX_MASTER_KEY or FAREBOX_MASTER_KEY_FILE to theirs, or add them anew");
        }
        seen.shut = shut;
        Ok(())
    }

    /// Writes down what changed since it was last written: one transaction, and only when there is something.
    fn tell(&self) -> Result<(), StoreError> {
        let now = self.proxy.clock.now();
        let mut seen = self.seen.lock();
        let mut changed = Vec::new();
        for provider in self.proxy.providers.values() {
            for (name, health) in provider.purse.standing(now) {
                let before = seen.told.get(&name).copied();
                let is_new = before != Some(health) && !(before.is_none() && health == KeyHealth::Valid);
                if *name != *CONFIGURED && is_new {
                    seen.told.insert(Arc::clone(&name), health);
                    tracing::info!(provider = %provider.settings.name, key = %name, state = health.name(), "a provider key changed its state");
                    changed.push((name, health, now));
                }
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        Store::open(&self.data_dir, now)?.provider_keys_seen(&changed)
    }
}

fn open(key: &SealedKey, masters: &[MasterKey]) -> Option<OpenedKey> {
    let record = &key.record;
    let purpose = ProviderKeyRecord::purpose(&record.name, &record.provider);
    let plain = masters.iter().find_map(|master| master.open(&key.sealed, &purpose).ok())?;
    let secret = Secret::new(String::from_utf8(plain.expose().clone()).ok()?);
    // Any change of the row makes another version; what was seen of it does not.
    let parts = (record.weight, record.not_after, record.created_at, secret.expose());
    let digest = blake3::hash(format!("{parts:?}").as_bytes());
    let version = digest.as_bytes().iter().take(8).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
    Some(OpenedKey {
        name: Arc::clone(&record.name),
        secret,
        weight: record.weight,
        not_after: record.not_after,
        seen: record.seen,
        version,
    })
}
