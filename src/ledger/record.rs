//! One record of the journal, as bytes.
//!
//! ```text
//! length of the payload  u32 | crc32  u32 | format and kind  u8 | sequence  u64 | payload (postcard)
//! ```
//! Little endian. The checksum covers everything behind itself and is salted with epoch and segment, so that a record
//! that strayed in from another file is never taken for one of ours. Unwritten space is zeros: a length of 0 is the end.

use crate::budget::account::Claim;
use crate::clock::Timestamp;
use crate::event::{Event, Opening};
use crate::ids::EventId;
use serde::{Deserialize, Serialize};

/// The bytes before the payload.
pub(super) const HEADER_BYTES: usize = 17;

/// No record is longer: the proxy bounds every text that goes into an event.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Counts up whenever the shape of what is encoded below changes: a journal left by another format is refused by name.
const FORMAT: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Reserve = 1,
    Progress = 2,
    Settle = 3,
    Clean = 4,
    TopUp = 5,
}

/// What was admitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reserved<'a> {
    pub opening: std::borrow::Cow<'a, Opening>,
    pub claims: std::borrow::Cow<'a, [Claim]>,
}

/// How far an open attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progressed {
    pub id: EventId,
    pub output_tokens: u64,
    pub at: Timestamp,
}

/// More is held for an open attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ToppedUp<'a> {
    pub id: EventId,
    pub claims: std::borrow::Cow<'a, [Claim]>,
}

/// An attempt's whole event, with what it charges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settled<'a> {
    pub event: std::borrow::Cow<'a, Event>,
}

/// The process ended in order: nothing was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Clean {
    pub at: Timestamp,
}

/// A record before it has its place: header still empty, payload behind it. Made outside the lock.
pub(super) struct Draft {
    format: u8,
    kind: u8,
    bytes: Vec<u8>,
}

/// The content could not be written as bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwritable {
    #[error("the record cannot be encoded: {0}")]
    Encoding(postcard::Error),
    #[error("the record has {0} bytes, more than {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
}

impl Draft {
    pub fn new<T: Serialize>(kind: Kind, content: &T) -> Result<Draft, Unwritable> {
        let mut bytes = Vec::with_capacity(1024);
        bytes.resize(HEADER_BYTES, 0);
        postcard::serialize_with_flavor(content, Tail(&mut bytes)).map_err(Unwritable::Encoding)?;
        let payload = bytes.len() - HEADER_BYTES;
        if payload > PAYLOAD_BYTES_MAX {
            return Err(Unwritable::TooLong(payload));
        }
        Ok(Draft { format: FORMAT, kind: kind as u8, bytes })
    }

    /// Any bytes as a record of this kind (1 to 5; others are of no kind that there is).
    pub fn of_bytes(kind: u8, payload: &[u8]) -> Draft {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(&payload[..payload.len().min(PAYLOAD_BYTES_MAX)]);
        Draft { format: FORMAT, kind: kind & 15, bytes }
    }

    #[cfg(test)]
    pub fn foreign() -> Draft {
        Draft { format: FORMAT + 1, kind: Kind::Settle as u8, bytes: vec![1; HEADER_BYTES + 40] }
    }

    /// Bytes on disk, header included.
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Fills in the header for its place and gives the bytes to write.
    pub fn seal(&mut self, salt: u32, sequence: u64) -> &[u8] {
        let length = (self.bytes.len() - HEADER_BYTES) as u32;
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[8] = (self.format << 4) | self.kind;
        self.bytes[9..17].copy_from_slice(&sequence.to_le_bytes());
        let crc = checksum(salt, &self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        &self.bytes
    }
}

/// A header as read, before its payload was looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub length: usize,
    crc: u32,
    tag: u8,
    pub sequence: u64,
}

impl Header {
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> Header {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let sequence = u64::from(word(9)) | u64::from(word(13)) << 32;
        Header { length: word(0) as usize, crc: word(4), tag: bytes[8], sequence }
    }

    /// Nothing was written here.
    pub fn is_blank(&self) -> bool {
        self.length == 0 && self.crc == 0 && self.tag == 0 && self.sequence == 0
    }

    /// Could be one of ours: cheap, before the checksum is computed.
    pub fn is_plausible(&self) -> bool {
        (1..=PAYLOAD_BYTES_MAX).contains(&self.length) && (1..=15).contains(&(self.tag & 15)) && self.tag >> 4 > 0
    }

    /// `from_tag` is everything from the tag on: the rest of the header and the payload.
    pub fn matches(&self, salt: u32, from_tag: &[u8]) -> bool {
        checksum(salt, from_tag) == self.crc
    }

    /// The kind, or the format's number when another version of Farebox wrote it.
    pub fn kind(&self) -> Result<Kind, u8> {
        match (self.tag >> 4, self.tag & 15) {
            (FORMAT, 1) => Ok(Kind::Reserve),
            (FORMAT, 2) => Ok(Kind::Progress),
            (FORMAT, 3) => Ok(Kind::Settle),
            (FORMAT, 4) => Ok(Kind::Clean),
            (FORMAT, 5) => Ok(Kind::TopUp),
            (format, _) => Err(format),
        }
    }
}

/// Where in the world a record belongs.
pub(super) fn salt(epoch: u64, segment: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&epoch.to_le_bytes());
    hasher.update(&segment.to_le_bytes());
    hasher.finalize()
}

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

/// A digest of how a reservation and a settlement are written.
#[cfg(test)]
pub(super) fn shape(opening: &Opening, closing: &crate::event::Closing) -> String {
    use crate::budget::account::{BudgetId, Charge, Unit};
    use crate::event::EventKind::{Adjustment, Attempt};
    use std::borrow::Cow::Owned;
    let claims = vec![Claim { budget: BudgetId(7), unit: Unit::Tokens, amount: 9 }];
    let charges = vec![Charge { account: BudgetId(7), amount: -9 }];
    let mut hasher = blake3::Hasher::new();
    for kind in [Attempt, Adjustment { of: opening.id }] {
        let event = Event { kind, opening: opening.clone(), closing: closing.clone(), charges: charges.clone() };
        let settled = Settled { event: Owned(event) };
        hasher.update(&postcard::to_stdvec(&settled).unwrap());
    }
    let topped_up = ToppedUp { id: opening.id, claims: Owned(claims.clone()) };
    hasher.update(&postcard::to_stdvec(&topped_up).unwrap());
    let reserved = Reserved { opening: Owned(opening.clone()), claims: Owned(claims) };
    hasher.update(&postcard::to_stdvec(&reserved).unwrap());
    format!("format {FORMAT}: {}", &hasher.finalize().to_hex()[..16])
}

/// Appends what postcard writes to a buffer that already has the header's place.
struct Tail<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
