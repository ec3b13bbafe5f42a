//! Recovery: books what a process that died left in its journal.
//!
//! Settled events that the store does not have are folded as they are. What was open gets an event with the outcome
//! `proxy_died`, at its best estimate, with the rest of its hold withheld. Nothing is ever appended to a recovered
//! journal: every process begins its own. Recovery may itself be killed anywhere: the store's position and the ids of
//! events make a second run add nothing twice, and a journal is removed only when all of it is in the store.

use super::lender::tell_alerts;
use super::orphan;
use super::place;
use super::record::{Clean, Kind, Progressed, Reserved, Settled, ToppedUp};
use super::reservation::actual;
use super::segment::{self, Raw, Scanner, Step};
use crate::budget::account::{BudgetId, Claim, charges};
use crate::budget::lease::{End, within};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind, Opening, Outcome};
use crate::ids::EventId;
use crate::store::{JournalPosition, Store, StoreError};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

const BATCH_EVENTS_MAX: usize = 5_000;

/// What was found in one journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub epoch: u64,
    /// Settled events that the store did not have yet.
    pub settled: u64,
    /// Attempts that were open, now booked at their estimate.
    pub died: u64,
    /// The process had ended in order.
    pub clean: bool,
    /// The machine went down under it: up to the power loss window of calls may be missing, and budgets are charged
    /// everything that was leased.
    pub power_loss: bool,
    pub greatest_id: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("cannot read the journal {}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error(
        "{} was written by another version of Farebox (format {format}): start that version once and stop it in \
         order (SIGTERM), then start this one", path.display()
    )]
    Foreign { path: PathBuf, format: u8 },
    #[error("{} has a whole record at byte {at} that cannot be understood ({error}); \
         it was written by another version of Farebox: start that one once and stop it in order", path.display())]
    Undecodable { path: PathBuf, at: u64, error: postcard::Error },
}

/// Recovers every journal whose owner is gone. `own`: the journal of this process, which is left alone.
pub(super) fn recover_all(
    data_dir: &Path,
    own: Option<u64>,
    store: &mut Store,
) -> Result<Vec<Recovered>, RecoveryError> {
    let journals = place::journals(data_dir).map_err(at(data_dir))?;
    let mut recovered = Vec::new();
    for (epoch, dir) in journals.into_iter().filter(|(epoch, _)| Some(*epoch) != own) {
        // The lock is held while recovering, and is given up after the directory is gone.
        let Some(_lock) = place::lock_silently(&dir.join("lock")).map_err(at(&dir))? else { continue };
        let found = recover(&dir, epoch, store)?;
        place::remove_journal(&dir).map_err(at(&dir))?;
        store.forget_journal(epoch)?;
        tell(&found);
        recovered.push(found);
    }
    charge_the_lost(data_dir, own, store)?;
    Ok(recovered)
}

/// A process that has leases and no journal: its volume is lost, or someone deleted it. Nothing proves what it spent.
fn charge_the_lost(data_dir: &Path, own: Option<u64>, store: &mut Store) -> Result<(), RecoveryError> {
    let journals = place::journals(data_dir).map_err(at(data_dir))?;
    for epoch in store.leasing_epochs()? {
        if Some(epoch) != own && journals.iter().all(|(known, _)| *known != epoch) {
            tracing::error!(
                epoch,
                "the journal of a process is gone; the slices of budgets that it had are charged whole"
            );
            let opened = store.epoch(epoch)?.map(|epoch| epoch.opened_at).unwrap_or_default();
            tell_alerts(&store.end_leases(epoch, End::Unproven, opened)?);
        }
    }
    Ok(())
}

/// Brings one journal into the store. Does not remove it.
pub(super) fn recover(dir: &Path, epoch: u64, store: &mut Store) -> Result<Recovered, RecoveryError> {
    let folded = store.position(epoch)?;
    let mut replay = Replay::new(epoch, folded);
    for (number, path) in newest_run(segment::list(dir).map_err(at(dir))?) {
        let mut scanner = Scanner::open(&path, epoch, number, 0).map_err(at(&path))?;
        while replay.step(&mut scanner, number, &path)? {
            if replay.batch.len() >= BATCH_EVENTS_MAX {
                replay.fold(store)?;
            }
        }
    }
    replay.fold(store)?;
    let fenced = store.epoch(epoch)?.is_some_and(|epoch| epoch.fenced_at.is_some());
    let boot = place::lock_text(&dir.join("lock")).map_err(at(dir))?.boot.unwrap_or_default();
    let now = place::boot_id();
    let other_boot = boot.is_empty() || boot != now;
    replay.found.power_loss = replay.hole || fenced || (other_boot && !replay.found.clean);
    replay.bury(store)?;
    let end = if replay.found.power_loss { End::Unproven } else { End::Proven };
    tell_alerts(&store.end_leases(epoch, end, replay.last_seen)?);
    Ok(replay.found)
}

/// An attempt that is not settled, as far as the journal was read.
struct Open {
    opening: Opening,
    claims: Vec<Claim>,
    output_tokens: u64,
}

/// The state of reading a journal.
pub(super) struct Replay {
    found: Recovered,
    /// The store has everything up to here.
    folded: JournalPosition,
    pub position: JournalPosition,
    /// Settled events that were read and are not folded.
    pub batch: Vec<Event>,
    /// By id, so that what died is booked in the order in which it began.
    open: BTreeMap<EventId, Open>,
    next_sequence: Option<u64>,
    hole: bool,
    last_seen: Timestamp,
}

impl Replay {
    pub fn new(epoch: u64, folded: JournalPosition) -> Replay {
        let found = Recovered { epoch, settled: 0, died: 0, clean: false, power_loss: false, greatest_id: 0 };
        Replay {
            found,
            folded,
            position: JournalPosition::default(),
            batch: Vec::new(),
            open: BTreeMap::new(),
            next_sequence: None,
            hole: false,
            last_seen: Timestamp::default(),
        }
    }

    /// Takes one record; `false` at the segment's end.
    pub fn step(&mut self, scanner: &mut Scanner, number: u64, path: &Path) -> Result<bool, RecoveryError> {
        match scanner.next().map_err(at(path))? {
            Step::Record(raw) => {
                let start = raw.start;
                self.record(number, &raw).map_err(|error| RecoveryError::Undecodable {
                    path: path.into(),
                    at: start,
                    error,
                })?;
                Ok(true)
            }
            Step::Foreign(format) => Err(RecoveryError::Foreign { path: path.into(), format }),
            Step::End => {
                let more = scanner.skip_hole(self.next_sequence.unwrap_or(0)).map_err(at(path))?;
                self.hole |= more;
                Ok(more)
            }
        }
    }

    /// Records are missing between others.
    pub fn has_hole(&self) -> bool {
        self.hole
    }

    /// The next record of a segment.
    pub fn record(&mut self, segment: u64, raw: &Raw<'_>) -> postcard::Result<()> {
        self.position = JournalPosition { segment, offset: raw.end };
        self.hole |= self.next_sequence.is_some_and(|expected| expected != raw.sequence);
        self.next_sequence = Some(raw.sequence + 1);
        self.take(raw)
    }

    fn take(&mut self, raw: &Raw<'_>) -> postcard::Result<()> {
        match raw.kind {
            Kind::Reserve => {
                let Reserved { opening, claims } = postcard::from_bytes(raw.payload)?;
                let (opening, claims) = (opening.into_owned(), claims.into_owned());
                self.seen(opening.id, opening.started_at);
                // A straggler's record is written twice: the second must not forget its progress, and has its top-ups.
                let fresh = Open { opening, claims: Vec::new(), output_tokens: 0 };
                self.open.entry(fresh.opening.id).or_insert(fresh).claims = claims;
            }
            Kind::TopUp => {
                let ToppedUp { id, claims } = postcard::from_bytes(raw.payload)?;
                let Some(Open { claims: held, .. }) = self.open.get_mut(&id) else { return Ok(()) };
                for added in claims.iter() {
                    match held.iter_mut().find(|claim| claim.budget == added.budget) {
                        Some(claim) => claim.amount = claim.amount.saturating_add(added.amount),
                        None => held.push(*added),
                    }
                }
            }
            Kind::Progress => {
                let Progressed { id, output_tokens, at } = postcard::from_bytes(raw.payload)?;
                self.seen(id, at);
                if let Some(open) = self.open.get_mut(&id) {
                    open.output_tokens = output_tokens.max(open.output_tokens);
                }
            }
            Kind::Settle => {
                let event = postcard::from_bytes::<Settled<'_>>(raw.payload)?.event.into_owned();
                self.seen(event.opening.id, event.closing.ended_at);
                self.open.remove(&event.opening.id);
                if self.position > self.folded {
                    self.batch.push(event);
                }
            }
            Kind::Clean => {
                let Clean { at } = postcard::from_bytes(raw.payload)?;
                self.last_seen = self.last_seen.max(at);
                self.found.clean = true;
            }
        }
        Ok(())
    }

    fn seen(&mut self, id: EventId, at: Timestamp) {
        self.found.greatest_id = self.found.greatest_id.max(id.0);
        self.last_seen = self.last_seen.max(at);
    }

    fn fold(&mut self, store: &mut Store) -> Result<(), RecoveryError> {
        if !self.batch.is_empty() {
            store.fold(self.found.epoch, &self.batch, self.position)?;
            self.found.settled += self.batch.len() as u64;
            self.batch.clear();
        }
        Ok(())
    }

    /// Books what was open, at positions behind everything that the journal can hold.
    fn bury(&mut self, store: &mut Store) -> Result<(), RecoveryError> {
        let epoch = self.found.epoch;
        let mut leases = if self.found.power_loss { Some(store.leased(epoch)?) } else { None };
        for chunk in self.deaths(leases.as_mut()).chunks(BATCH_EVENTS_MAX) {
            self.found.died += chunk.len() as u64;
            let behind = JournalPosition { segment: self.position.segment + 1, offset: self.found.died };
            store.fold(epoch, chunk, behind)?;
        }
        Ok(())
    }

    /// The events of what was open: the best estimate, and the whole hold charged; after a power cut, no more than what
    /// was leased of each account.
    pub fn deaths(&mut self, mut leases: Option<&mut HashMap<BudgetId, i128>>) -> Vec<Event> {
        let last_seen = self.last_seen;
        let died = std::mem::take(&mut self.open).into_values().map(|Open { opening, claims, output_tokens }| {
            let closing = orphan::closing(&opening, &claims, output_tokens, last_seen, Outcome::ProxyDied);
            let mut charges = charges(&claims, &actual(&closing));
            for charge in &mut charges {
                if let Some(remaining) = leases.as_mut().and_then(|leases| leases.get_mut(&charge.account)) {
                    charge.amount = within(remaining, charge.amount);
                }
            }
            Event { kind: EventKind::Attempt, opening, closing, charges }
        });
        died.collect()
    }
}

/// The segments behind the last gap. Segments are deleted oldest first, so one before a gap was on its way out when
/// the power went: everything that was settled in it is in the store.
fn newest_run(segments: Vec<(u64, PathBuf)>) -> Vec<(u64, PathBuf)> {
    let gap = segments.windows(2).rposition(|pair| pair[0].0 + 1 != pair[1].0);
    segments.into_iter().skip(gap.map_or(0, |before| before + 1)).collect()
}

fn tell(found: &Recovered) {
    let Recovered { epoch, settled, died, power_loss, .. } = found;
    match (found.clean, power_loss) {
        (_, true) => tracing::warn!(epoch, settled, died, "recovered a journal after a power loss"),
        (true, false) => tracing::info!(epoch, settled, "folded the rest of a journal that ended in order"),
        (false, false) => tracing::warn!(epoch, settled, died, "recovered the journal of a process that died"),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> RecoveryError {
    let path = path.to_owned();
    move |error| RecoveryError::Io { path: path.clone(), error }
}
