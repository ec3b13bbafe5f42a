//! The desk between book and store: what slices are wanted, what goes back, which limits changed. Calls leave their
//! wants here and wait; the lease thread takes all of them at once, so that a thousand calls cost one transaction.

use super::waits::Asked;
use crate::budget::account::BudgetId;
use crate::budget::book::{Book, Granted, Want};
use crate::budget::lease::{Shelf, grant};
use crate::budget::{Budget, Demand, Instance};
use crate::clock::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Desk {
    wants: HashMap<BudgetId, Want>,
    /// With the lease thread: asked for already.
    under_way: HashSet<BudgetId>,
    terms: Vec<Arc<Budget>>,
    /// A lease thread takes what lies here. Without one, the book is its own authority.
    pub attended: bool,
    /// The lease thread ends.
    pub closed: bool,
    /// Exchanges that the store took.
    pub answers: u64,
    /// Why the store does not answer; tried again all the time.
    pub error: Option<Arc<str>>,
}

impl Desk {
    /// Slices for calls that wait for them.
    pub fn want(&mut self, wants: Vec<Want>) {
        for want in wants.into_iter().filter(|want| !self.under_way.contains(&want.instance.account)) {
            let known = self.wants.entry(want.instance.account).or_insert_with(|| Want { amount: 0, ..want.clone() });
            known.amount = known.amount.saturating_add(want.amount);
        }
    }

    /// Accounts that someone wants to look at.
    pub fn open<'a>(&mut self, instances: impl Iterator<Item = &'a Arc<Instance>>) {
        self.want(instances.map(|instance| Want { instance: instance.clone(), amount: 0 }).collect());
    }

    /// Limits that changed.
    pub fn tell(&mut self, budgets: Vec<Arc<Budget>>) {
        self.terms.extend(budgets);
    }

    /// How a question that is laid here now stands.
    pub fn asked(&self) -> Asked {
        let why = self.error.clone().unwrap_or_else(|| "it did not answer in time".into());
        Asked { answers: self.answers, failing: self.error.is_some(), why }
    }

    pub fn has_work(&self) -> bool {
        !self.wants.is_empty() || !self.terms.is_empty()
    }

    /// Takes at most so many wants; they are under way until [`Desk::done`].
    pub fn take(&mut self, wants_max: usize) -> Vec<Want> {
        if self.wants.len() <= wants_max {
            let wants: Vec<Want> = std::mem::take(&mut self.wants).into_values().collect();
            self.under_way.extend(wants.iter().map(|want| want.instance.account));
            return wants;
        }
        let some: Vec<BudgetId> = self.wants.keys().take(wants_max).copied().collect();
        self.under_way.extend(&some);
        some.iter().filter_map(|account| self.wants.remove(account)).collect()
    }

    /// An answer about one of these accounts is still to come: none that came meanwhile was about it.
    pub fn owes(&self, demands: &[Demand]) -> bool {
        demands
            .iter()
            .map(|demand| demand.instance.account)
            .any(|account| self.wants.contains_key(&account) || self.under_way.contains(&account))
    }

    /// `false`: it is under way already.
    pub fn begin(&mut self, account: BudgetId) -> bool {
        self.under_way.insert(account)
    }

    pub fn done(&mut self, account: BudgetId) {
        self.under_way.remove(&account);
    }

    pub fn take_terms(&mut self) -> Vec<Arc<Budget>> {
        std::mem::take(&mut self.terms)
    }
}

/// What a store would give that knows of no other process.
pub(super) fn grant_from_memory(book: &mut Book, wants: &[Want], now: Timestamp) {
    for Want { instance, amount } in wants {
        book.take_slack(std::slice::from_ref(&Want { instance: instance.clone(), amount: *amount }));
        let balance = book.balance(instance).unwrap_or_default();
        let own = book.account(instance.account).map_or(0, |account| account.left());
        let settled = i128::try_from(balance.spent.saturating_add(balance.held)).unwrap_or(i128::MAX);
        let budget = book.in_force(&instance.budget);
        let shelf = Shelf { settled, own, elsewhere: 0 };
        let amount = if budget.is_leased() { grant(budget.limit, &shelf, 0, *amount) } else { 0 };
        let grant = Granted { instance: instance.clone(), amount, base: 0, elsewhere: 0, siblings: Vec::new() };
        book.granted(&grant, now);
    }
}
