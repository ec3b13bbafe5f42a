//! Stands in for the store until it lands; remembers nothing.
use crate::clock::Timestamp;
use crate::event::Event;
use crate::store::JournalPosition;
use std::collections::HashMap;
use std::path::Path;

#[derive(Debug, thiserror::Error)]
#[error("the store")]
pub struct StoreError;

pub struct Store(HashMap<u64, JournalPosition>, u64);

impl Store {
    pub fn open(_dir: &Path, _now: Timestamp) -> Result<Store, StoreError> {
        Ok(Store(HashMap::new(), 0))
    }
    pub fn position(&self, epoch: u64) -> Result<JournalPosition, StoreError> {
        Ok(self.0.get(&epoch).copied().unwrap_or_default())
    }
    pub fn fold(&mut self, epoch: u64, _events: &[Event], upto: JournalPosition) -> Result<(), StoreError> {
        self.0.insert(epoch, upto);
        Ok(())
    }
    pub fn greatest_event_id(&self) -> Result<u64, StoreError> {
        Ok(0)
    }
    pub fn open_epoch(&mut self, _boot_id: &str, _now: Timestamp) -> Result<u64, StoreError> {
        self.1 += 1;
        Ok(self.1)
    }
    pub fn flush_rollups(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
