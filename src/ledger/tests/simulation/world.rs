//! One simulated node on a simulated disk and store, with the real book, the real records and the real replay. After
//! every act the sums are compared with what really happened, which only the world knows.

use super::dice::Dice;
use super::disk::Disk;
use super::shelf::Store;
use super::{Act, Mutation};
use crate::budget::account::{Actual, BudgetId, Claim, Unit, charges};
use crate::budget::book::{Book, Denied, HoldId, Want};
use crate::budget::lease::End;
use crate::budget::window::WindowRule;
use crate::budget::{Budget, Demand, Hardness, Instance};
use crate::clock::Timestamp;
use crate::event::{Event, EventKind, Opening};
use crate::ids::EventId;
use crate::ledger::record::{Draft, Kind, Reserved, Settled, ToppedUp};
use crate::ledger::recovery::Replay;
use crate::ledger::tests::{START, closing_of, opening};
use crate::money::Usd;
use crate::store::JournalPosition;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// A call that reached the provider: what it costs if the provider bills it, which is at most what is held, but for
/// overruns.
#[derive(Clone, Debug)]
struct Forwarded {
    claims: Vec<Claim>,
    cost: u64,
}

struct Open {
    opening: Opening,
    hold: HoldId,
    claims: Vec<Claim>,
}

struct Node {
    epoch: u64,
    book: Book,
    disk: Disk,
    open: Vec<Open>,
    settled: VecDeque<(Event, u64)>,
}

pub struct World {
    pub dice: Dice,
    mutation: Mutation,
    now: Timestamp,
    store: Store,
    node: Node,
    budgets: Vec<Arc<Budget>>,
    /// The greatest limit that was ever in force.
    limits_max: Vec<u128>,
    forwarded: BTreeMap<EventId, Forwarded>,
    /// Events whose records a power cut may have taken.
    excused: Vec<EventId>,
    /// By account: settled above holds.
    overruns: BTreeMap<BudgetId, u128>,
    calls: u64,
    steps: u64,
    pub admitted: u64,
    pub refused: u64,
    fault: Option<String>,
}

fn budget(name: &str, limit: u128, window: WindowRule) -> Arc<Budget> {
    Arc::new(Budget {
        name: name.into(),
        unit: Unit::PicoUsd,
        limit,
        hardness: Hardness::Hard,
        window,
        thresholds: Vec::new(),
        is_rate_limit: false,
        clamp: true,
        show_amounts: true,
        message: None,
    })
}

impl World {
    pub fn new(seed: u64, mutation: Mutation) -> World {
        let hour = |length| WindowRule::Rolling { length: Duration::from_secs(length) };
        let day =
            WindowRule::Calendar { every: crate::budget::window::Every::Hour, zone: jiff::tz::TimeZone::UTC, from: 1 };
        let budgets = vec![
            budget("life", 20_000, WindowRule::Lifetime),
            budget("hour", 3_000, day),
            budget("rolling", 2_000, hour(1_800)),
        ];
        let limits_max = budgets.iter().map(|budget| budget.limit).collect();
        let mut world = World {
            dice: Dice::new(seed),
            mutation,
            now: START,
            store: Store::default(),
            node: Node::new(1),
            budgets,
            limits_max,
            forwarded: BTreeMap::new(),
            excused: Vec::new(),
            overruns: BTreeMap::new(),
            calls: 0,
            steps: 0,
            admitted: 0,
            refused: 0,
            fault: None,
        };
        world.node.book.set_terms(&world.budgets);
        world
    }

    /// The first thing that was wrong.
    pub fn act(&mut self, act: &Act) -> Result<(), String> {
        match act {
            Act::Call { budgets, amount } => self.call(*budgets, *amount),
            Act::TopUp { at, amount } => self.top_up(*at, *amount),
            Act::Settle { at, percent } => self.settle(*at, *percent),
            Act::Sync => self.node.disk.sync(),
            Act::Fold => self.fold(),
            Act::Sweep => self.sweep(),
            Act::Reload { budget, percent } => self.reload(*budget, *percent),
            Act::Clock { seconds } => self.now = Timestamp(self.now.0 + seconds * 1_000_000),
            Act::Kill => self.restart(false),
            Act::PowerCut => self.restart(true),
            Act::Close => self.close(),
        }
        self.steps += 1;
        if self.steps.is_multiple_of(8) || matches!(act, Act::Kill | Act::PowerCut | Act::Close) {
            self.look();
        }
        self.fault.take().map_or(Ok(()), Err)
    }

    /// A last kill, so that everything is settled.
    pub fn end(mut self) -> Result<(u64, u64), String> {
        self.act(&Act::Kill)?;
        Ok((self.admitted, self.refused))
    }

    fn demands(&self, budgets: u8, amount: u64) -> Vec<Demand> {
        let chosen = self.budgets.iter().enumerate().filter(|(place, _)| budgets >> place & 1 == 1);
        let demand = |(_, budget): (usize, &Arc<Budget>)| {
            let instance = Instance::new(budget.clone(), Arc::from("team=a"), budget.window.at(self.now));
            Demand { instance: Arc::new(instance), amount, binds: true }
        };
        chosen.map(demand).collect()
    }

    /// What a book without leases would say: one that knows every settlement, loss and hold.
    fn reference_admits(&self, demands: &[Demand]) -> bool {
        demands.iter().all(|demand| {
            let window = demand.instance.window;
            let counts = |id: &BudgetId| match self.store.rows.get(id) {
                Some(row) if window.is_rolling() => {
                    row.series == demand.instance.series && row.start >= window.counts_from
                }
                _ => *id == demand.instance.account,
            };
            let stored: i128 = self.store.rows.iter().filter(|(id, _)| counts(id)).map(|(_, row)| row.settled).sum();
            let waiting = self.node.settled.iter().flat_map(|(event, _)| &event.charges);
            let waiting: i128 = waiting.filter(|charge| counts(&charge.account)).map(|c| i128::from(c.amount)).sum();
            let held = self.node.open.iter().flat_map(|open| &open.claims);
            let held: i128 = held.filter(|claim| counts(&claim.budget)).map(|claim| i128::from(claim.amount)).sum();
            stored + waiting + held + i128::from(demand.amount) <= demand.instance.budget.limit as i128
        })
    }

    fn call(&mut self, budgets: u8, amount: u64) {
        let demands = self.demands(budgets, amount);
        let expected = self.reference_admits(&demands);
        let held = self.admit(|book, demands, asked, now| book.reserve(demands, asked, now), &demands);
        if held.is_ok() != expected && self.mutation != Mutation::SliceReturnedByTimeOut {
            self.fault(format!("admitted: {}, a book without leases: {expected}", held.is_ok()));
        }
        let Ok(hold) = held else {
            self.refused += 1;
            return;
        };
        self.admitted += 1;
        self.calls += 1;
        let opening = Opening { estimated_input_cost: Some(Usd::ZERO), ..opening(self.calls) };
        let claims = self.node.book.held(hold).map(|hold| hold.claims.clone()).unwrap_or_default();
        let cost = match self.dice.below(40) {
            0 => amount + self.dice.below(50),
            _ => self.dice.below(amount + 1),
        };
        let forwarded = Forwarded { claims: claims.clone(), cost };
        if self.mutation == Mutation::ForwardFirst {
            self.forwarded.insert(opening.id, forwarded.clone());
            if self.dice.one_in(200) {
                return self.restart(false);
            }
        }
        let content = Reserved { opening: Cow::Borrowed(&opening), claims: Cow::Borrowed(&claims) };
        self.node.disk.append(Draft::new(Kind::Reserve, &content).unwrap());
        if self.dice.one_in(200) {
            return self.restart(false);
        }
        self.forwarded.insert(opening.id, forwarded);
        self.node.open.push(Open { opening, hold, claims });
    }

    fn top_up(&mut self, at: usize, amount: u64) {
        if self.node.open.is_empty() {
            return;
        }
        let at = at % self.node.open.len();
        let (hold, id) = (self.node.open[at].hold, self.node.open[at].opening.id);
        let demands = self.demands(0b011, amount);
        let topped = self.admit(|book, demands, asked, now| book.top_up(hold, demands, asked, now), &demands);
        let Ok(hold) = topped else { return };
        let added: Vec<Claim> = crate::budget::book::Hold::of(&demands).claims;
        let content = ToppedUp { id, claims: Cow::Borrowed(&added) };
        self.node.disk.append(Draft::new(Kind::TopUp, &content).unwrap());
        let claims = self.node.book.held(hold).map(|hold| hold.claims.clone()).unwrap_or_default();
        self.node.open[at].hold = hold;
        self.node.open[at].claims.clone_from(&claims);
        // What flows now costs more: at most what is held of every budget.
        let most = claims.iter().map(|claim| claim.amount).min().unwrap_or(0);
        if let Some(call) = self.forwarded.get_mut(&id) {
            call.claims = claims;
            call.cost = call.cost.max(self.dice.below(most + 1));
        }
    }

    fn settle(&mut self, at: usize, percent: u64) {
        if self.node.open.is_empty() {
            return;
        }
        let at = at % self.node.open.len();
        let Open { opening, hold, claims } = self.node.open.swap_remove(at);
        let released = percent == 0;
        let call = self.forwarded.get_mut(&opening.id).unwrap();
        if released {
            call.cost = 0;
        }
        let cost = call.cost;
        let actual = Actual { pico_usd: Some(cost), tokens: Some(0), requests: 1, at_least_held: false };
        for overrun in self.node.book.settle(hold, &actual).unwrap() {
            *self.overruns.entry(overrun.budget).or_default() += u128::from(overrun.above);
        }
        let closing = closing_of(i64::try_from(cost).unwrap());
        let charges = charges(&claims, &actual);
        let event = Event { kind: EventKind::Attempt, opening, closing, charges };
        let end = self.node.disk.append(Draft::new(Kind::Settle, &Settled { event: Cow::Borrowed(&event) }).unwrap());
        self.node.settled.push_back((event, end));
    }

    fn fold(&mut self) {
        let upto = match self.mutation {
            Mutation::FoldAhead => self.node.disk.written(),
            _ => self.node.disk.durable as u64,
        };
        let ready = self.node.settled.iter().take_while(|(_, end)| *end <= upto).count();
        let batch: Vec<(Event, u64)> = self.node.settled.drain(..ready).collect();
        let Some((_, end)) = batch.last() else { return };
        let position = JournalPosition { segment: 1, offset: *end };
        let events: Vec<Event> = batch.iter().map(|(event, _)| event.clone()).collect();
        let epoch = self.node.epoch;
        if self.mutation == Mutation::PositionFirst {
            self.store.positions.insert(epoch, position);
            if self.dice.one_in(20) {
                return self.restart(false);
            }
            self.store.put(epoch, &events);
        } else {
            self.store.fold(epoch, &events, position);
        }
        events.iter().for_each(|event| self.node.book.folded(&event.charges));
    }

    fn sweep(&mut self) {
        let idle = Timestamp(self.now.0 - 600_000_000);
        let returned = self.node.book.sweep(100, self.now, idle);
        self.exchange(returned, Vec::new());
        if self.mutation == Mutation::SliceReturnedByTimeOut && self.dice.one_in(3) {
            // Its heartbeat was late: someone thinks that the process is dead.
            self.store.leases.retain(|(_, epoch), _| *epoch != self.node.epoch);
        }
    }

    fn reload(&mut self, place: usize, percent: u64) {
        let place = place % self.budgets.len();
        let limit = (self.budgets[place].limit * u128::from(percent) / 100).clamp(500, 40_000);
        self.budgets[place] = Arc::new(Budget { limit, ..(*self.budgets[place]).clone() });
        self.limits_max[place] = self.limits_max[place].max(limit);
        self.node.book.set_terms(&self.budgets);
    }

    /// Asks as admission does: what is wanted is fetched from the store, then it is asked again.
    fn admit(
        &mut self,
        ask: impl Fn(&mut Book, &[Demand], bool, Timestamp) -> Result<HoldId, Denied>,
        demands: &[Demand],
    ) -> Result<HoldId, ()> {
        for tried in 0..4 {
            match ask(&mut self.node.book, demands, tried > 0, self.now) {
                Ok(hold) => {
                    if self.dice.one_in(2) {
                        let low = self.node.book.take_low();
                        self.exchange(Vec::new(), low);
                    }
                    return Ok(hold);
                }
                Err(Denied::Wanting(wants)) => self.exchange(Vec::new(), wants),
                Err(Denied::Over { .. }) => return Err(()),
            }
        }
        self.fault("asked four times and still wanting".to_owned());
        Err(())
    }

    fn exchange(&mut self, mut returned: Vec<crate::budget::book::Returned>, wants: Vec<Want>) {
        returned.extend(self.node.book.take_slack(&wants));
        let wants: Vec<_> = wants
            .into_iter()
            .map(|want| {
                let terms = self.node.book.in_force(&want.instance.budget);
                (want, terms)
            })
            .collect();
        let (granted, disagree) = self.store.exchange(self.node.epoch, &returned, &wants);
        if !disagree.is_empty() && self.mutation != Mutation::SliceReturnedByTimeOut {
            self.fault(format!("book and store disagree about {disagree:?}"));
        }
        granted.iter().for_each(|grant| self.node.book.granted(grant, self.now));
        wants.iter().for_each(|(want, _)| self.node.book.answered(want.instance.account));
    }

    /// The process dies, of itself or with the power, and another one recovers what it left.
    fn restart(&mut self, power_cut: bool) {
        let epoch = self.node.epoch;
        let mut dead = std::mem::replace(&mut self.node, Node::new(epoch + 1));
        if self.store.position(epoch) > (JournalPosition { segment: 1, offset: dead.disk.durable as u64 }) && power_cut
        {
            self.fault("the store has what the disk may forget".to_owned());
        }
        if power_cut {
            dead.disk.cut(&mut self.dice);
            self.excused.extend(dead.open.iter().map(|open| open.opening.id));
            self.excused.extend(dead.settled.iter().map(|(event, _)| event.opening.id));
        }
        let before = self.store.standing_of(epoch);
        let mut replay = Replay::new(epoch, self.store.position(epoch));
        dead.disk.read(|raw| replay.record(1, raw).unwrap());
        let batch = std::mem::take(&mut replay.batch);
        let position = replay.position;
        self.store.fold(epoch, &batch, position);
        let behind = JournalPosition { segment: 2, offset: 1 };
        let trusted = !power_cut || self.mutation == Mutation::TrustAfterPowerLoss;
        let of_epoch = self.store.leases.iter().filter(|((_, of), _)| *of == epoch);
        let mut leases = of_epoch.map(|((id, _), lease)| (*id, lease.remaining)).collect();
        let deaths = replay.deaths((!trusted && self.mutation != Mutation::HoldsChargedTwice).then_some(&mut leases));
        self.store.fold(epoch, &deaths, behind);
        self.store.end_leases(epoch, if trusted { End::Proven } else { End::Unproven });
        self.look_at_death(&before, power_cut);
        self.node.book.set_terms(&self.budgets);
    }

    /// A death charges no more than was leased, whatever its journal tells; a power cut, of which the journal proves
    /// nothing, charges all of it.
    fn look_at_death(&mut self, before: &BTreeMap<BudgetId, (i128, i128)>, power_cut: bool) {
        for (id, (settled, remaining)) in before {
            let charged = self.store.rows.get(id).map_or(0, |row| row.settled) - settled;
            let over = self.overruns.get(id).copied().unwrap_or(0) as i128;
            let leased = (*remaining).max(0);
            if charged > leased + over {
                self.fault(format!("{id:?}: {charged} charged at its end, {leased} were leased"));
            }
            if power_cut && charged < leased {
                self.fault(format!("{id:?}: only {charged} charged after a power cut, {leased} were leased"));
            }
        }
    }

    fn close(&mut self) {
        while !self.node.open.is_empty() {
            self.settle(0, 50);
        }
        self.node.disk.sync();
        self.fold();
        let epoch = self.node.epoch;
        self.store.end_leases(epoch, End::Proven);
        self.node = Node::new(epoch + 1);
        self.node.book.set_terms(&self.budgets);
    }

    /// The oracles.
    fn look(&mut self) {
        let store = &self.store;
        let mut expected: BTreeMap<BudgetId, i128> = BTreeMap::new();
        for charge in store.events.values().flatten() {
            *expected.entry(charge.account).or_default() += i128::from(charge.amount);
        }
        for ((id, _), amount) in &store.losses {
            *expected.entry(*id).or_default() += *amount as i128;
        }
        let mut faults = Vec::new();
        for (id, row) in &store.rows {
            if row.settled != expected.get(id).copied().unwrap_or(0) {
                faults.push(format!("{id:?}: {} settled, events and losses say {:?}", row.settled, expected.get(id)));
            }
        }
        // Nothing that was forwarded is missing, and nothing that was billed is uncharged.
        let mut billed: BTreeMap<BudgetId, i128> = BTreeMap::new();
        for (event, call) in &self.forwarded {
            let here = self.node.open.iter().any(|open| open.opening.id == *event)
                || self.node.settled.iter().any(|(waiting, _)| waiting.opening.id == *event);
            if !here && !store.events.contains_key(event) && !self.excused.contains(event) {
                faults.push(format!("{event} was forwarded and is lost"));
            }
            for claim in call.claims.iter().filter(|_| !here) {
                *billed.entry(claim.budget).or_default() += i128::from(call.cost.min(claim.amount));
            }
        }
        for (id, billed) in billed {
            let settled = store.rows.get(&id).map_or(0, |row| row.settled);
            if settled < billed {
                faults.push(format!("{id:?}: {settled} settled, {billed} billed"));
            }
        }
        faults.extend(self.look_at_limits());
        faults.extend(self.look_at_book());
        if let Some(first) = faults.into_iter().next() {
            self.fault(first);
        }
    }

    /// Settled, leased and held never pass the greatest limit, but for declared overruns.
    fn look_at_limits(&self) -> Option<String> {
        for (place, budget) in self.budgets.iter().enumerate() {
            let of = Instance::new(budget.clone(), Arc::from("team=a"), budget.window.at(self.now)).series;
            let rows: Vec<_> = self.store.rows.iter().filter(|(_, row)| row.series == of).collect();
            for (id, anchor) in &rows {
                let counted = |other: &BudgetId, row: &super::shelf::Row| {
                    if anchor.counts_from < anchor.start {
                        row.start >= anchor.counts_from && row.start <= anchor.start
                    } else {
                        *other == **id && row.start == anchor.start
                    }
                };
                let (mut taken, mut over) = (0i128, 0u128);
                for (other, row) in rows.iter().filter(|(other, row)| counted(other, row)) {
                    let leased = self.store.leases.iter().filter(|((account, _), _)| account == *other);
                    taken += row.settled + leased.map(|(_, lease)| lease.remaining.max(0)).sum::<i128>();
                    over += self.overruns.get(other).copied().unwrap_or(0);
                }
                if taken > (self.limits_max[place] + over) as i128 {
                    return Some(format!("{} ({id:?}): {taken} taken of {}", budget.name, self.limits_max[place]));
                }
            }
        }
        None
    }

    /// The store's lease is what the book has left, holds, and has not folded.
    fn look_at_book(&self) -> Option<String> {
        if self.mutation == Mutation::SliceReturnedByTimeOut {
            return None;
        }
        for account in self.node.book.accounts() {
            let id = account.instance.account;
            let lease = self.store.leases.get(&(id, self.node.epoch)).copied().unwrap_or_default();
            let book = account.left() + account.held as i128 + account.used - account.folded;
            if lease.remaining != book {
                return Some(format!("{id:?}: {} leased, the book knows of {book}", lease.remaining));
            }
            let held: u128 = self
                .node
                .open
                .iter()
                .flat_map(|open| &open.claims)
                .filter(|claim| claim.budget == id)
                .map(|claim| u128::from(claim.amount))
                .sum();
            if held != account.held {
                return Some(format!("{id:?}: {} held in the book, {held} by open calls", account.held));
            }
        }
        None
    }

    fn fault(&mut self, what: String) {
        self.fault.get_or_insert(what);
    }
}

impl Node {
    fn new(epoch: u64) -> Node {
        Node { epoch, book: Book::default(), disk: Disk::new(epoch), open: Vec::new(), settled: VecDeque::new() }
    }
}
