//! The lease thread: takes what lies at the desk to the store and brings slices back.
//!
//! However many calls want something, one exchange is under way at a time, for all of them, in one transaction. What the
//! store could not be told stays here and is tried again; a slice that the book gave up stays leased until the store
//! knows, so a failure strands money for a while and never frees any.
//!
//! A slice goes back as soon as it is free, also when the settlement that freed it is not synced: should a power cut lose
//! that one, recovery charges its hold no further than what is left of the lease (`lease::within`).

use super::admission::Admission;
use crate::budget::Budget;
use crate::budget::book::{Returned, Want};
use crate::clock::Timestamp;
use crate::store::{Alert, Exchanged, Leases};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Wants of one transaction, so that the folder is not kept waiting, nor those who came first for those who came last:
/// a transaction costs half a millisecond and each want 25 µs of it (benches/results, 2026-11-29).
const WANTS_MAX: usize = 128;
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Accounts looked at in one sweep, which holds the lock.
const SWEPT_ACCOUNTS_MAX: usize = 2_000;
/// A slice that nobody touched for so long goes back.
const IDLE: Duration = Duration::from_secs(600);

pub(super) struct Lender {
    admission: Arc<Admission>,
    leases: Leases,
    epoch: u64,
    errand: Errand,
    last_sweep: Instant,
}

/// What is to be told and asked. Kept until the store has taken it.
#[derive(Default)]
struct Errand {
    returned: Vec<Returned>,
    terms: Vec<Arc<Budget>>,
    wants: Vec<(Want, Arc<Budget>)>,
}

impl Errand {
    fn is_empty(&self) -> bool {
        self.returned.is_empty() && self.terms.is_empty() && self.wants.is_empty()
    }
}

impl Lender {
    pub fn new(admission: Arc<Admission>, leases: Leases, epoch: u64) -> Lender {
        admission.lock().desk.attended = true;
        Lender { admission, leases, epoch, errand: Errand::default(), last_sweep: Instant::now() }
    }

    /// Runs until the desk is closed.
    pub fn run(mut self) {
        while self.wait() {
            self.gather();
            self.exchange();
        }
    }

    /// Until there is something to do; `false` at the end.
    fn wait(&mut self) -> bool {
        let admission = self.admission.clone();
        let mut core = admission.lock();
        if core.desk.error.is_some() && !core.desk.closed {
            admission.lease_wanted.wait_for(&mut core, RETRY_PAUSE);
        }
        while !core.desk.closed {
            let busy = core.desk.has_work() || core.book.has_low() || !self.errand.is_empty();
            let rest = SWEEP_INTERVAL.saturating_sub(self.last_sweep.elapsed());
            if busy || rest.is_zero() {
                return true;
            }
            admission.lease_wanted.wait_for(&mut core, rest);
        }
        false
    }

    pub(super) fn gather(&mut self) {
        let now = self.admission.now();
        let mut core = self.admission.lock();
        let core = &mut *core;
        if self.last_sweep.elapsed() >= SWEEP_INTERVAL {
            self.last_sweep = Instant::now();
            let idle_since = Timestamp(now.0.saturating_sub(i64::try_from(IDLE.as_micros()).unwrap_or(i64::MAX)));
            self.errand.returned.extend(core.book.sweep(SWEPT_ACCOUNTS_MAX, now, idle_since));
        }
        self.errand.terms.extend(core.desk.take_terms());
        let room = WANTS_MAX.saturating_sub(self.errand.wants.len());
        let mut wants = core.desk.take(room);
        // A want that is there anyway fills the slice as well.
        let low = core.book.take_low();
        wants.extend(low.into_iter().filter(|want| core.desk.begin(want.instance.account)));
        self.errand.returned.extend(core.book.take_slack(&wants));
        let book = &core.book;
        self.errand.wants.extend(wants.into_iter().map(|want| {
            let terms = book.in_force(&want.instance.budget);
            (want, terms)
        }));
    }

    pub(super) fn exchange(&mut self) {
        if self.errand.is_empty() {
            return;
        }
        let Errand { returned, terms, wants } = &self.errand;
        let now = self.admission.now();
        let turn = self.admission.store_turn.lock();
        let exchanged = self.leases.exchange(self.epoch, returned, terms, wants, now);
        drop(turn);
        let mut core = self.admission.lock();
        match exchanged {
            Ok(exchanged) => {
                for grant in &exchanged.granted {
                    core.book.granted(grant, now);
                }
                for (want, _) in self.errand.wants.drain(..) {
                    core.desk.done(want.instance.account);
                    core.book.answered(want.instance.account);
                }
                if core.desk.error.take().is_some() {
                    tracing::info!("the store leases budgets again");
                }
                core.desk.answers += 1;
                core.counts.disagreements += exchanged.disagree.len() as u64;
                drop(core);
                self.errand = Errand::default();
                tell(&exchanged);
                self.admission.freed.notify_waiters();
                self.admission.answered.notify_waiters();
            }
            Err(error) => {
                if core.desk.error.is_none() {
                    tracing::error!(%error, "the store leases no budgets; calls that need a slice wait for it");
                }
                core.desk.error = Some(error.to_string().into());
            }
        }
    }
}

fn tell(exchanged: &Exchanged) {
    for account in &exchanged.disagree {
        tracing::error!(account = account.0, "book and store disagree about a budget's lease; it stays charged");
    }
    for instance in &exchanged.mistaken {
        tracing::error!(
            budget = &*instance.budget.name,
            scope = &*instance.scope,
            "another budget has this account's id; rename the budget"
        );
    }
    tell_alerts(&exchanged.alerts);
}

pub(super) fn tell_alerts(alerts: &[Alert]) {
    for alert in alerts {
        tracing::warn!(
            budget = &*alert.budget,
            scope = &*alert.scope,
            threshold_basis_points = alert.threshold.0,
            spent = %alert.spent,
            limit = %alert.limit,
            unit = alert.unit.name(),
            "a budget passed a threshold"
        );
    }
}
