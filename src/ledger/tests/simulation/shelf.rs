//! The store as it should be, in memory: the executable spec of `store::{budgets, leases}`. Every method is one
//! transaction.

use crate::budget::Budget;
use crate::budget::account::{BudgetId, Charge, SeriesId};
use crate::budget::book::{Granted, Returned, Sibling, Want};
use crate::budget::lease::{End, Shelf, grant, lost};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::EventId;
use crate::store::JournalPosition;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Row {
    pub series: SeriesId,
    pub start: Timestamp,
    pub counts_from: Timestamp,
    pub settled: i128,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Lease {
    pub remaining: i128,
    pub charged: i128,
}

#[derive(Debug, Default)]
pub struct Store {
    pub rows: BTreeMap<BudgetId, Row>,
    pub leases: BTreeMap<(BudgetId, u64), Lease>,
    pub losses: BTreeMap<(BudgetId, u64), u128>,
    pub events: BTreeMap<EventId, Vec<Charge>>,
    pub positions: BTreeMap<u64, JournalPosition>,
}

impl Store {
    pub fn position(&self, epoch: u64) -> JournalPosition {
        self.positions.get(&epoch).copied().unwrap_or_default()
    }

    /// Of every account that an epoch leases: what is settled, and what is left of the lease.
    pub fn standing_of(&self, epoch: u64) -> BTreeMap<BudgetId, (i128, i128)> {
        let leased = self.leases.iter().filter(|((_, of), _)| *of == epoch);
        leased.map(|((id, _), lease)| (*id, (self.rows[id].settled, lease.remaining))).collect()
    }

    pub fn fold(&mut self, epoch: u64, events: &[Event], upto: JournalPosition) {
        if upto <= self.position(epoch) {
            return;
        }
        self.positions.insert(epoch, upto);
        self.put(epoch, events);
    }

    /// The events of a fold without its position.
    pub fn put(&mut self, epoch: u64, events: &[Event]) {
        for event in events {
            if self.events.contains_key(&event.opening.id) {
                continue;
            }
            self.events.insert(event.opening.id, event.charges.clone());
            for Charge { account, amount } in &event.charges {
                let amount = i128::from(*amount);
                self.rows.get_mut(account).unwrap().settled += amount;
                if let Some(lease) = self.leases.get_mut(&(*account, epoch)) {
                    lease.remaining -= amount;
                    lease.charged += amount;
                }
            }
        }
    }

    /// Gives the grants, and the accounts on which book and store disagree.
    pub fn exchange(
        &mut self,
        epoch: u64,
        returned: &[Returned],
        wants: &[(Want, Arc<Budget>)],
    ) -> (Vec<Granted>, Vec<BudgetId>) {
        let mut disagree = Vec::new();
        for given in returned {
            let Some(lease) = self.leases.get_mut(&(given.account, epoch)) else {
                disagree.extend((given.amount > 0).then_some(given.account));
                continue;
            };
            lease.remaining -= given.amount as i128;
            if given.forgotten {
                disagree.extend((lease.remaining > 0).then_some(given.account));
                self.leases.remove(&(given.account, epoch));
            }
        }
        (wants.iter().map(|(want, terms)| self.lease(epoch, want, terms)).collect(), disagree)
    }

    fn lease(&mut self, epoch: u64, want: &Want, terms: &Budget) -> Granted {
        let (id, window) = (want.instance.account, want.instance.window);
        let fresh =
            Row { series: want.instance.series, start: window.start, counts_from: window.counts_from, settled: 0 };
        self.rows.entry(id).or_insert(fresh);
        let (mut siblings, mut others) = (Vec::new(), 0);
        if window.is_rolling() {
            let same = |(other, row): &(&BudgetId, &Row)| {
                **other != id && row.series == want.instance.series && row.start >= window.counts_from
            };
            for (other, row) in self.rows.iter().filter(same) {
                let (shelf, charged) = self.shelf(epoch, *other);
                others += shelf.taken();
                siblings.push(Sibling { start: row.start, base: row.settled - charged, elsewhere: shelf.elsewhere });
            }
        }
        let (shelf, charged) = self.shelf(epoch, id);
        let amount = grant(terms.limit, &shelf, others, want.amount);
        self.leases.entry((id, epoch)).or_default().remaining += amount as i128;
        let base = shelf.settled - charged;
        Granted { instance: want.instance.clone(), amount, base, elsewhere: shelf.elsewhere, siblings }
    }

    fn shelf(&self, epoch: u64, id: BudgetId) -> (Shelf, i128) {
        let own = self.leases.get(&(id, epoch)).copied().unwrap_or_default();
        let of_others = self.leases.iter().filter(|((account, other), _)| *account == id && *other != epoch);
        let elsewhere = of_others.map(|(_, lease)| lease.remaining.max(0) as u128).sum();
        (Shelf { settled: self.rows[&id].settled, own: own.remaining, elsewhere }, own.charged)
    }

    pub fn end_leases(&mut self, epoch: u64, end: End) {
        let ended: Vec<(BudgetId, Lease)> =
            self.leases.iter().filter(|((_, of), _)| *of == epoch).map(|((id, _), lease)| (*id, *lease)).collect();
        for (id, lease) in ended {
            self.leases.remove(&(id, epoch));
            let amount = lost(end, lease.remaining);
            if amount > 0 {
                self.rows.get_mut(&id).unwrap().settled += amount as i128;
                *self.losses.entry((id, epoch)).or_default() += amount;
            }
        }
    }
}
