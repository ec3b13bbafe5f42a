//! The ledger on real files. A crash is what `kill -9` leaves: everything written, nothing closed.

mod budgets;
mod clock;
mod crash;
mod decisions;
mod disk;
mod journey;
mod simulation;
mod storm;
mod takeover;

use super::admission::{Admission, NotAdmitted, Reservation};
use super::fold::{Folder, Writer};
use super::journal::Journal;
use super::lender::Lender;
use super::recovery::{self, Recovered};
use super::{Ledger, Settings, place};
use crate::budget::account::Unit;
use crate::budget::window::WindowRule;
use crate::budget::{Budget, Demand, Hardness, Instance};
use crate::catalog::{Cost, Pricing};
use crate::clock::{Clock, Timestamp};
use crate::dialects::{Dialect, Operation};
use crate::event::{Closing, Opening, Outcome};
use crate::ids::{EventId, ExchangeId};
use crate::money::Usd;
use crate::store::{EventQuery, EventRow, Leases, Order, Reader, Store};
use crate::tokens::usage::{Kind, TokenUsage, UsageSource};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const START: Timestamp = Timestamp(1_795_302_453_000_000);

/// A clock that stands still.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        START
    }
}

/// An id as if made `sequence` milliseconds after [`START`].
fn id(sequence: u64) -> EventId {
    EventId(crate::ids::id_at(START) + (sequence << 21))
}

fn opening(sequence: u64) -> Opening {
    Opening {
        id: id(sequence),
        exchange: ExchangeId(id(sequence).0 + 1),
        attempt: 1,
        started_at: START,
        caller: Arc::default(),
        attribution: Arc::default(),
        provider: Arc::from("openai"),
        dialect: Dialect::OpenAi,
        operation: Operation::Chat,
        requested_model: Some(Arc::from("gpt-5")),
        upstream_model: Some(Arc::from("gpt-5")),
        stream: true,
        client_request_id: None,
        decision: Arc::from("admit"),
        rule: None,
        ceiling: Some(Usd::from_pico(900_000_000)),
        estimate: Some(Usd::from_pico(300_000_000)),
        estimated_usage: TokenUsage::ZERO.with(Kind::Input, 100),
        estimated_input_cost: Some(Usd::from_pico(125_000_000)),
        cost_per_1k_output: Some(Usd::from_pico(10_000_000_000)),
    }
}

/// 100 tokens in, 20 out, 325 µ$.
fn closing() -> Closing {
    let (input, output) = (Usd::from_pico(125_000_000), Usd::from_pico(200_000_000));
    let cost = Cost {
        total: Usd::from_pico(325_000_000),
        by_kind: vec![(Kind::Input, input), (Kind::Output, output)],
        rates: Vec::new(),
        catalog: Arc::from("test"),
        terms: Vec::new(),
    };
    Closing {
        ended_at: Timestamp(START.0 + 1_000),
        response_model: None,
        status: Some(200),
        outcome: Outcome::Ok,
        complete: true,
        usage: TokenUsage::ZERO.with(Kind::Input, 100).with(Kind::Output, 20),
        usage_source: UsageSource::Reported,
        pricing: Pricing::Priced(Box::new(cost)),
        service_tier: None,
        provider_cost: None,
        provider_request_id: None,
        finish_reason: Some(Arc::from("stop")),
        overhead_micros: Some(50),
        first_token_micros: Some(500),
        upstream_micros: Some(900),
        request_bytes: 400,
        response_bytes: 900,
        withheld: Usd::ZERO,
        deferred: None,
    }
}

fn closing_of(pico: i64) -> Closing {
    let cost = Usd::from_pico(pico);
    let priced = Cost {
        total: cost,
        by_kind: vec![(Kind::Output, cost)],
        rates: Vec::new(),
        catalog: Arc::from("test"),
        terms: Vec::new(),
    };
    Closing { pricing: Pricing::Priced(Box::new(priced)), ..closing() }
}

/// Small segments, no waiting, so that a few hundred calls see rotation, spares and deletion.
/// Tests sync by hand: how long that takes on a busy machine is not what they are about.
fn settings(dir: &Path) -> Settings {
    let power_loss_window = std::time::Duration::from_secs(60);
    let admission_wait_max = std::time::Duration::ZERO;
    Settings { segment_bytes: 64 << 10, admission_wait_max, power_loss_window, ..Settings::new(dir) }
}

fn open(dir: &Path) -> Ledger {
    Ledger::open(settings(dir), Arc::new(Still)).unwrap()
}

fn rows(dir: &Path) -> Vec<EventRow> {
    let query = EventQuery { order: Order::OldestFirst, limit: 1_000_000, ..EventQuery::default() };
    Reader::open(dir).unwrap().events(&query).unwrap()
}

fn outcome(row: &EventRow) -> &str {
    row.outcome.as_deref().unwrap()
}

/// A lifetime budget in dollars.
fn team(limit: u128) -> Arc<Instance> {
    instance("team", limit, WindowRule::Lifetime)
}

fn instance(name: &str, limit: u128, window: WindowRule) -> Arc<Instance> {
    let budget = Budget {
        name: Arc::from(name),
        unit: Unit::PicoUsd,
        limit,
        hardness: Hardness::Hard,
        window,
        thresholds: Vec::new(),
        is_rate_limit: false,
        clamp: true,
        show_amounts: true,
        message: None,
    };
    let window = budget.window.at(START);
    Arc::new(Instance::new(Arc::new(budget), Arc::from(""), window))
}

fn hold(
    admission: &Arc<Admission>,
    sequence: u64,
    demands: &[(&Arc<Instance>, u64)],
) -> Result<Reservation, NotAdmitted> {
    let demand = |(instance, amount): &(&Arc<Instance>, u64)| Demand {
        instance: Arc::clone(instance),
        amount: *amount,
        binds: true,
    };
    let demands = demands.iter().map(demand).collect();
    now_or_soon(admission.reserve(opening(sequence), demands, std::time::Duration::ZERO))
}

fn demand(instance: &Arc<Instance>, amount: u64) -> Demand {
    Demand { instance: instance.clone(), amount, binds: true }
}

/// As [`hold`], with a lease thread that the test runs when it is wanted.
fn hold_with(
    lender: &RefCell<Lender>,
    bench: &Bench,
    sequence: u64,
    demands: &[(&Arc<Instance>, u64)],
) -> Result<Reservation, NotAdmitted> {
    let demands: Vec<Demand> = demands.iter().map(|(instance, amount)| demand(instance, *amount)).collect();
    let asking = bench.admission.reserve(opening(sequence), demands, std::time::Duration::ZERO);
    let lending = async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
            lender.borrow_mut().gather();
            lender.borrow_mut().exchange();
        }
    };
    now_or_soon(async { tokio::join!(asking, lending).0 })
}

/// As [`hold`], in real time, for a ledger with threads.
fn patiently(
    admission: &Arc<Admission>,
    sequence: u64,
    demands: &[(&Arc<Instance>, u64)],
) -> Result<Reservation, NotAdmitted> {
    let demands: Vec<Demand> = demands.iter().map(|(instance, amount)| demand(instance, *amount)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(admission.reserve(opening(sequence), demands, std::time::Duration::ZERO))
}

/// Runs a future that is ready, or becomes ready by time alone.
fn now_or_soon<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

/// A ledger without threads: the test says when something is synced, folded, or the process dies.
struct Bench {
    admission: Arc<Admission>,
    folder: Folder,
    data_dir: PathBuf,
    epoch: u64,
    _journal_lock: place::Held,
}

impl Bench {
    fn start(data_dir: &Path) -> Bench {
        Bench::with(settings(data_dir))
    }

    /// Like [`Ledger::open`] without recovery.
    fn with(settings: Settings) -> Bench {
        let data_dir = settings.data_dir.clone();
        place::make_directory(&data_dir).unwrap();
        let lock = place::lock(&data_dir.join("store.lock"), "boot").unwrap().unwrap();
        let mut store = Store::open(&data_dir, START).unwrap();
        let epoch = store.open_epoch("boot", START).unwrap();
        let dir = place::journal_dir(&data_dir, epoch);
        place::make_directory(&dir).unwrap();
        let journal_lock = place::lock(&dir.join("lock"), &place::boot_id()).unwrap().unwrap();
        let journal = Journal::create(&dir, epoch, settings.segment_bytes).unwrap();
        let admission = Arc::new(Admission::new(settings, Arc::new(Still), journal));
        let folder = Folder::new(admission.clone(), Some(Writer { store, _lock: lock }), epoch);
        Bench { admission, folder, data_dir, epoch, _journal_lock: journal_lock }
    }

    fn reserve(&self, sequence: u64) -> Reservation {
        now_or_soon(self.admission.reserve(opening(sequence), Vec::new(), std::time::Duration::ZERO)).unwrap()
    }

    /// `None`: the journal has no room just now.
    fn try_reserve(&self, sequence: u64) -> Option<Reservation> {
        now_or_soon(self.admission.reserve(opening(sequence), Vec::new(), std::time::Duration::ZERO)).ok()
    }

    fn call(&self, sequence: u64) {
        self.reserve(sequence).settle(closing());
    }

    fn lend(&self) -> RefCell<Lender> {
        let leases = Leases::open(&self.data_dir, START).unwrap();
        RefCell::new(Lender::new(self.admission.clone(), leases, self.epoch))
    }

    fn sync(&self) {
        let mut core = self.admission.lock();
        if let Some(unsynced) = core.journal.unsynced() {
            unsynced.sync().unwrap();
            core.journal.synced(&unsynced);
        }
    }

    /// Makes the segments that are wanted.
    fn spare(&self) {
        let mut core = self.admission.lock();
        let owed = core.owed_bytes;
        while let Some((number, size)) = core.journal.spare_wanted(owed) {
            let (dir, epoch) = (core.journal.dir().to_owned(), core.journal.epoch());
            core.journal.push_spare(super::segment::Segment::create(&dir, epoch, number, size).unwrap());
        }
    }

    fn fold(&mut self) {
        while self.folder.step().unwrap() {}
    }

    fn journal_dir(&self) -> PathBuf {
        place::journal_dir(&self.data_dir, self.epoch)
    }

    fn segments(&self) -> Vec<u64> {
        super::segment::list(&self.journal_dir()).unwrap().into_iter().map(|(number, _)| number).collect()
    }

    /// `kill -9`: what was open is never dropped in order.
    fn die(self, open: Vec<Reservation>) {
        std::mem::forget(open);
    }
}

/// What the next start does.
fn recover(data_dir: &Path) -> Vec<Recovered> {
    let mut store = Store::open(data_dir, START).unwrap();
    recovery::recover_all(data_dir, None, &mut store).unwrap()
}

fn data_dir() -> TempDir {
    tempfile::Builder::new().prefix("farebox-ledger").tempdir().unwrap()
}

fn wait_until(done: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !done() {
        assert!(std::time::Instant::now() < deadline, "it did not happen within 30 s");
        std::thread::yield_now();
    }
}
