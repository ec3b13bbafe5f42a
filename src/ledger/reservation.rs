//! A reservation: an attempt that was admitted, with what is held for it. It grows by top-ups while a stream flows, and
//! ends in exactly one event.

use super::admission::{Admission, Away, NotAdmitted};
use super::orphan;
use super::record::{Draft, Kind, Progressed, Settled, ToppedUp};
use super::waits::{Obstacle, Waiting, Waits};
use crate::budget::Demand;
use crate::budget::account::{Actual, Claim, Unit, charges, every_charge};
use crate::budget::book::{Hold, HoldId, Overrun};
use crate::catalog::{Pricing, Unpriced};
use crate::event::{Closing, Event, EventKind, Opening, Outcome};
use crate::ids::EventId;
use crate::money::Usd;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Output tokens between two progress records of a stream.
const PROGRESS_TOKENS: u64 = 1_000;

/// What the core keeps of a reservation that is not settled.
pub(super) struct Open {
    pub opening: Arc<Opening>,
    pub hold: HoldId,
    /// Where its record is; `None` when it was let through without one.
    pub segment: Option<u64>,
    pub owed_bytes: u64,
    pub output_tokens: Arc<AtomicU64>,
}

/// An admitted attempt. Ends by [`Reservation::settle`]; dropped without, it is booked at its best estimate and the
/// rest of its hold is withheld.
#[must_use = "a reservation that is dropped is booked as abandoned"]
pub struct Reservation {
    admission: Arc<Admission>,
    opening: Arc<Opening>,
    /// A copy of what the book holds, so that the settlement's record is made outside the lock.
    held: Mutex<Hold>,
    output_tokens: Arc<AtomicU64>,
    journalled_tokens: AtomicU64,
    journalled_millis: AtomicU64,
    since: Instant,
    is_open: bool,
}

impl Reservation {
    pub(super) fn begin(
        admission: Arc<Admission>,
        opening: Arc<Opening>,
        held: Hold,
        hold: HoldId,
        journalled: Option<(u64, u64)>,
    ) -> (Reservation, Open) {
        let output_tokens = Arc::new(AtomicU64::new(0));
        let (segment, owed_bytes) = match journalled {
            Some((segment, owed_bytes)) => (Some(segment), owed_bytes),
            None => (None, 0),
        };
        let open = Open { opening: opening.clone(), hold, segment, owed_bytes, output_tokens: output_tokens.clone() };
        let reservation = Reservation {
            admission,
            opening,
            held: Mutex::new(held),
            output_tokens,
            journalled_tokens: AtomicU64::new(0),
            journalled_millis: AtomicU64::new(0),
            since: Instant::now(),
            is_open: true,
        };
        (reservation, open)
    }

    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// Some budget waits for its end.
    pub fn holds_something(&self) -> bool {
        let held = self.held.lock();
        !held.claims.is_empty() || !held.limits.is_empty()
    }

    /// What is held of every budget, all top-ups together.
    pub fn held(&self) -> Vec<Claim> {
        let held = self.held.lock();
        held.claims.iter().chain(&held.limits).copied().collect()
    }

    /// Output tokens seen so far, all together. Cheap: journalled every 1,000 tokens or `progress_interval`, so call it
    /// with every chunk.
    pub fn progress(&self, output_tokens: u64) {
        self.output_tokens.store(output_tokens, Ordering::Relaxed);
        let interval = u64::try_from(self.admission.settings().progress_interval.as_millis()).unwrap_or(u64::MAX);
        let millis = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tokens_due =
            output_tokens >= self.journalled_tokens.load(Ordering::Relaxed).saturating_add(PROGRESS_TOKENS);
        let time_due = millis >= self.journalled_millis.load(Ordering::Relaxed).saturating_add(interval);
        let is_new = output_tokens > self.journalled_tokens.load(Ordering::Relaxed);
        if is_new && (tokens_due || time_due) {
            self.journalled_tokens.store(output_tokens, Ordering::Relaxed);
            self.journalled_millis.store(millis, Ordering::Relaxed);
            self.admission.progress(self.opening.id, output_tokens);
        }
    }

    /// Holds more, all or nothing, for what flows next: waits for slices from the store, and up to `patience` where only
    /// what other calls hold is in the way. The journal has it when this returns.
    ///
    /// # Errors
    /// [`NotAdmitted`]; then no more is held than before.
    pub async fn top_up(&self, demands: &[Demand], patience: Duration) -> Result<(), NotAdmitted> {
        let settings = self.admission.settings();
        let (mut waits, mut waiting) = (Waits::begin(patience), None);
        loop {
            let mut room = std::pin::pin!(self.admission.room.notified());
            let mut freed = std::pin::pin!(self.admission.freed.notified());
            let mut answered = std::pin::pin!(self.admission.answered.notified());
            room.as_mut().enable();
            freed.as_mut().enable();
            answered.as_mut().enable();
            let Err(obstacle) = self.top_up_now(demands, Some(&waits)) else { return Ok(()) };
            let now = tokio::time::Instant::now();
            let until = waits.until(&obstacle, settings, now).filter(|until| *until > now);
            let Some(until) = until else { return Err(obstacle.into()) };
            waiting.get_or_insert_with(|| Waiting::begin(&self.admission.waiting));
            let _ = match obstacle {
                Obstacle::Away(_) => tokio::time::timeout_at(until, room).await,
                Obstacle::Wanting(_) => tokio::time::timeout_at(until, answered).await,
                Obstacle::Over { .. } => tokio::time::timeout_at(until, freed).await,
            };
        }
    }

    /// [`Reservation::top_up`] without waiting for anything. What is wanted from the store is asked for all the same, so
    /// that the next try may find it.
    ///
    /// # Errors
    /// As there.
    pub fn try_top_up(&self, demands: &[Demand]) -> Result<(), NotAdmitted> {
        self.top_up_now(demands, None).map_err(NotAdmitted::from)
    }

    /// Books what the attempt was. The event is on its way to the store when this returns.
    pub fn settle(mut self, closing: Closing) -> Arc<Event> {
        self.is_open = false;
        let hold = std::mem::take(&mut *self.held.lock());
        self.admission.book(&self.opening, &hold, closing)
    }

    fn top_up_now(&self, demands: &[Demand], waits: Option<&Waits>) -> Result<(), Obstacle> {
        if demands.is_empty() {
            return Ok(());
        }
        let added = Hold::of(demands);
        let admission = &*self.admission;
        let content = ToppedUp { id: self.opening.id, claims: Cow::Borrowed(&added.claims) };
        let mut draft = Draft::new(Kind::TopUp, &content)
            .map_err(|error| Obstacle::Away(Away::Unwritable(error.to_string().into())))?;
        let mut core = admission.lock();
        if let Some(why) = admission.away_in(&core, core.owed_bytes + draft.len()) {
            return Err(Obstacle::Away(why));
        }
        let (owed, was_clean) = (core.owed_bytes, core.journal.unsynced_for().is_none());
        let Some(open) = core.open.get(&self.opening.id) else {
            return Err(Obstacle::Over { blocked: Vec::new(), by_holds: false });
        };
        let (hold, journalled) = (open.hold, open.segment.is_some());
        let answered = waits.is_some_and(|waits| waits.is_answered(core.desk.answers));
        let asked = answered && !core.desk.owes(demands);
        let hold = match core.book.top_up(hold, demands, asked, admission.now()) {
            Ok(hold) => hold,
            Err(denied) => return Err(admission.denied(&mut core, denied)),
        };
        if let Some(open) = core.open.get_mut(&self.opening.id) {
            open.hold = hold;
        }
        if journalled && let Err(error) = core.journal.append(&mut draft, owed) {
            core.book.take_back(hold, &added);
            return Err(Obstacle::Away(admission.away_after(&mut core, error)));
        }
        self.held.lock().extend(demands);
        admission.wake_after_write(&core, was_clean);
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_open {
            let tokens = self.output_tokens.load(Ordering::Relaxed);
            let hold = std::mem::take(&mut *self.held.lock());
            let closing =
                orphan::closing(&self.opening, &hold.claims, tokens, self.admission.now(), Outcome::ProxyInternal);
            let event = self.admission.book(&self.opening, &hold, closing);
            self.admission.core.lock().counts.abandoned += 1;
            tracing::error!(event = %event.opening.id, exchange = %event.opening.exchange,
                "an attempt was dropped without a settlement; it is booked at its estimate");
        }
    }
}

impl Admission {
    fn progress(&self, id: EventId, output_tokens: u64) {
        let Ok(mut draft) = Draft::new(Kind::Progress, &Progressed { id, output_tokens, at: self.now() }) else {
            return;
        };
        let mut core = self.core.lock();
        if core.open.get(&id).is_none_or(|open| open.segment.is_none()) {
            return;
        }
        let (owed, was_clean) = (core.owed_bytes, core.journal.unsynced_for().is_none());
        // Progress only sharpens an estimate: without room for it, the settlements' space is worth more.
        if core.journal.append(&mut draft, owed).is_ok() {
            self.wake_after_write(&core, was_clean);
        }
    }

    /// Ends a reservation with its event. One that was ended before, by [`super::Ledger::close`], stays as it was.
    pub(super) fn book(&self, opening: &Opening, hold: &Hold, mut closing: Closing) -> Arc<Event> {
        if closing.goes_on() {
            let held = held_pico(&hold.claims).and_then(|pico| i64::try_from(pico).ok()).map(Usd::from_pico);
            let above = held.and_then(|held| held.checked_sub(closing.cost())).unwrap_or(Usd::ZERO);
            closing.withheld = above.max(Usd::ZERO);
        }
        let used = actual(&closing);
        let kind = EventKind::Attempt;
        let charges = if closing.deferred.is_some() { every_charge } else { charges }(&hold.claims, &used);
        let event = Arc::new(Event { kind, opening: opening.clone(), closing, charges });
        let draft = Draft::new(Kind::Settle, &Settled { event: Cow::Borrowed(&*event) });
        let mut core = self.core.lock();
        let Some(open) = core.take(event.opening.id) else { return event };
        let overruns = core.book.settle(open.hold, &used).unwrap_or_default();
        let was_clean = core.journal.unsynced_for().is_none();
        let written = match (draft, open.segment) {
            (Ok(mut draft), Some(_)) => core.journal.append(&mut draft, 0).ok(),
            (Err(_), _) | (_, None) => None,
        };
        let bytes = core.journal.written_bytes();
        match written {
            Some(end) => core.queue.push(event.clone(), end, bytes),
            None => {
                if !core.queue.push_loose(event.clone()) {
                    core.counts.lost += 1;
                    tracing::error!(event = %event.opening.id, "journal and store are away: this event is lost");
                }
                self.foldable.notify_one();
            }
        }
        core.counts.overruns += overruns.len() as u64;
        self.wake_after_write(&core, was_clean);
        drop(core);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_waiters();
        }
        tell_overruns(&event, &overruns);
        event
    }
}

impl From<Obstacle> for NotAdmitted {
    fn from(obstacle: Obstacle) -> NotAdmitted {
        match obstacle {
            Obstacle::Away(why) => why.into(),
            Obstacle::Wanting(asked) => Away::NotLeased(asked.why).into(),
            Obstacle::Over { blocked, .. } => NotAdmitted::OverBudget { blocked },
        }
    }
}

/// What the budgets are charged: the cost. What nobody settled, and what goes on after its answer, is charged what was
/// held of each, if that is more.
pub(super) fn actual(closing: &Closing) -> Actual {
    let pico_usd = match &closing.pricing {
        Pricing::Unpriced(_) => None,
        Pricing::Priced(_) | Pricing::Unmetered => u64::try_from(closing.cost().as_pico()).ok(),
    };
    let unknown = closing.pricing == Pricing::Unpriced(Unpriced::UnknownUsage);
    let tokens = closing.usage.input_tokens().saturating_add(closing.usage.output_tokens());
    let never_arrived = closing.outcome == Outcome::ProviderConnectionFailed && closing.status.is_none();
    Actual {
        pico_usd,
        tokens: (!unknown).then_some(tokens),
        requests: u64::from(!never_arrived),
        at_least_held: closing.goes_on()
            || matches!(closing.outcome, Outcome::ProxyDied | Outcome::ProxyInternal) && !closing.complete,
    }
}

/// The dollars that are held, of the budget that holds most.
pub(super) fn held_pico(claims: &[Claim]) -> Option<u64> {
    claims.iter().filter(|claim| claim.unit == Unit::PicoUsd).map(|claim| claim.amount).max()
}

fn tell_overruns(event: &Event, overruns: &[Overrun]) {
    for Overrun { budget, above } in overruns {
        tracing::error!(event = %event.opening.id, budget = budget.0, above,
            "an attempt used more than was held for it; the overrun is booked");
    }
}
