//! A disk that forgets: what was not synced survives a power cut sector by sector, or not.

use super::dice::Dice;
use crate::ledger::record::{Draft, HEADER_BYTES, Header, salt};
use crate::ledger::segment::Raw;

const SECTOR_BYTES: usize = 64;

/// One journal: the real records, in one segment.
#[derive(Debug)]
pub struct Disk {
    salt: u32,
    bytes: Vec<u8>,
    pub durable: usize,
    sequence: u64,
}

impl Disk {
    pub fn new(epoch: u64) -> Disk {
        Disk { salt: salt(epoch, 1), bytes: Vec::new(), durable: 0, sequence: 0 }
    }

    /// The place behind the record.
    pub fn append(&mut self, mut draft: Draft) -> u64 {
        self.bytes.extend_from_slice(draft.seal(self.salt, self.sequence));
        self.sequence += 1;
        self.written()
    }

    pub fn written(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub fn sync(&mut self) {
        self.durable = self.bytes.len();
    }

    /// Each sector behind the last sync survives by chance.
    pub fn cut(&mut self, dice: &mut Dice) {
        let mut at = self.durable;
        while at < self.bytes.len() {
            let end = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
            let end = end.min(self.bytes.len());
            if dice.one_in(2) {
                self.bytes[at..end].fill(0);
            }
            at = end;
        }
    }

    /// Shows every whole record, also those behind a hole.
    pub fn read(&self, mut visit: impl FnMut(&Raw<'_>)) {
        let mut at = 0;
        while at + HEADER_BYTES <= self.bytes.len() {
            let header = Header::read(self.bytes[at..at + HEADER_BYTES].try_into().unwrap());
            let end = at + HEADER_BYTES + header.length;
            let whole =
                header.is_plausible() && end <= self.bytes.len() && header.matches(self.salt, &self.bytes[at + 8..end]);
            if !whole {
                at += 1;
                continue;
            }
            let payload = &self.bytes[at + HEADER_BYTES..end];
            let (start, end_at) = (at as u64, end as u64);
            visit(&Raw { kind: header.kind().unwrap(), sequence: header.sequence, payload, start, end: end_at });
            at = end;
        }
    }
}
