//! The book: the serial core of all budgets. A request claims every budget whose scope it meets; the book holds all
//! of the claims or none, and a hold is settled to what was used, or released, exactly once.
//!
//! It is sans-IO and knows no lock: the ledger's one mutex stands around it, because one serial core was measured
//! faster than per-account locks and than compare-and-swap with rollback (which also refuses falsely at the edge).
//!
//! Of a hard budget it spends only slices that the store granted ([`super::lease`]). A demand that fits the limit and
//! not the slice is neither admitted nor refused: it names what it wants from the store. What fits neither is blocked.
//!
//! *Invariant:* what bound calls spent and hold is never above the limit, but for booked overruns and lowered limits.

use super::account::{Account, SeriesId, bounded};
use super::by_id::ById;
use super::lease;
use super::window::Window;
use super::{Balance, Budget, Demand, Instance};
use crate::clock::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

mod wanted;

pub use super::account::{Actual, BudgetId, Charge, Claim, Unit};
pub use wanted::{Denied, Granted, Returned, Sibling, Want};

/// One budget that stood in the way of a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub instance: Arc<Instance>,
    pub requested: u64,
    pub spent: u128,
    pub held: u128,
    pub limit: u128,
    /// When enough will be free, if nothing more is spent; `None`: never in this window's time.
    pub frees_at: Option<Timestamp>,
}

/// Names a hold; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldId(u64);

impl HoldId {
    /// Of a call that nothing claims.
    pub const NOTHING: HoldId = HoldId(0);
}

/// What is held for one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// For the journal and the event.
    pub claims: Vec<Claim>,
    /// Of limits per minute, which live here alone.
    pub limits: Vec<Claim>,
}

impl Hold {
    /// What these demands will hold.
    pub fn of(demands: &[Demand]) -> Hold {
        let mut hold = Hold::default();
        hold.extend(demands);
        hold
    }

    /// Once more for these demands.
    pub fn extend(&mut self, demands: &[Demand]) {
        self.claims.reserve(demands.len());
        demands.iter().for_each(|demand| self.add(demand));
    }

    fn add(&mut self, Demand { instance, amount, .. }: &Demand) {
        let claims = if instance.budget.is_rate_limit { &mut self.limits } else { &mut self.claims };
        match claims.iter_mut().find(|claim| claim.budget == instance.account) {
            Some(claim) => claim.amount = claim.amount.saturating_add(*amount),
            None => claims.push(Claim { budget: instance.account, unit: instance.budget.unit, amount: *amount }),
        }
    }
}

/// The hold was settled or released before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this hold is already settled")]
pub struct AlreadySettled;

/// A settlement above its hold: booked, and to be alarmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    pub budget: BudgetId,
    pub above: u64,
}

/// All accounts and all open holds.
#[derive(Debug, Default)]
pub struct Book {
    accounts: ById<BudgetId, Account>,
    /// Buckets of rolling windows.
    series: ById<SeriesId, Series>,
    terms: Vec<Terms>,
    terms_of: HashMap<(Arc<str>, Unit), usize>,
    terms_changes: u32,
    holds: ById<HoldId, Hold>,
    holds_made: u64,
    /// Slices that are half used, each once.
    low: Vec<BudgetId>,
    /// Every account, in the order in which it is looked at by [`Book::sweep`].
    round: VecDeque<BudgetId>,
}

/// The terms in force of one budget.
#[derive(Debug)]
struct Terms {
    budget: Arc<Budget>,
    /// By [`Book::set_terms`], and not only seen in a demand.
    told: bool,
    /// Settlements above their hold.
    overruns: u64,
}

#[derive(Debug, Default)]
struct Series {
    /// All buckets from here on are in the book.
    from: Timestamp,
    /// In order.
    buckets: Vec<(Timestamp, BudgetId)>,
}

/// Sums over a window.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    spent: i128,
    held: u128,
    elsewhere: u128,
}

impl Standing {
    fn add(&mut self, account: &Account) {
        self.spent = self.spent.saturating_add(account.spent());
        self.held = self.held.saturating_add(account.held);
        self.elsewhere = self.elsewhere.saturating_add(account.elsewhere);
    }

    fn spent(&self) -> u128 {
        u128::try_from(self.spent).unwrap_or(0)
    }
}

impl Book {
    /// Puts these budgets' limits in force: a raised one frees at once, a lowered one holds at once. Gives those that
    /// differ from before.
    pub fn set_terms(&mut self, budgets: &[Arc<Budget>]) -> Vec<Arc<Budget>> {
        let mut changed = Vec::new();
        for budget in budgets {
            let place = self.terms_place(budget);
            let terms = &mut self.terms[place];
            if !terms.told || terms.budget != *budget {
                (terms.budget, terms.told) = (budget.clone(), true);
                self.terms_changes += 1;
                changed.push(budget.clone());
            }
        }
        changed
    }

    /// How an instance stands; `None` when its account is not open.
    pub fn balance(&mut self, instance: &Arc<Instance>) -> Option<Balance> {
        let Some(account) = self.accounts.get(&instance.account) else {
            let limit = self.adopt(None, &instance.budget);
            return instance.budget.is_rate_limit.then(|| Balance { limit, ..Balance::default() });
        };
        let (terms, standing) = (account.terms, self.standing(account, instance));
        let limit = self.adopt(Some(terms), &instance.budget);
        let standing = standing?;
        Some(Balance { spent: standing.spent(), held: standing.held, limit })
    }

    /// Holds every demand or none. An empty list holds nothing and is always admitted. `asked`: the store was asked
    /// since the last denial, so what others lease counts as held.
    ///
    /// # Errors
    /// [`Denied`]: every budget that blocked, not only the first, or else everything that is wanted from the store.
    pub fn reserve(&mut self, demands: &[Demand], asked: bool, now: Timestamp) -> Result<HoldId, Denied> {
        if demands.is_empty() {
            return Ok(HoldId::NOTHING);
        }
        self.fits(demands, asked)?;
        let mut hold = Hold::default();
        self.hold(&mut hold, demands, now);
        self.holds_made += 1;
        let id = HoldId(self.holds_made);
        self.holds.insert(id, hold);
        Ok(id)
    }

    /// Holds more for a call that is under way: all or nothing. Gives the hold's name from now on: one that held
    /// nothing had none of its own.
    ///
    /// # Errors
    /// As [`Book::reserve`]. A hold that is settled already holds nothing more, and no budget is named for it.
    pub fn top_up(&mut self, id: HoldId, demands: &[Demand], asked: bool, now: Timestamp) -> Result<HoldId, Denied> {
        if id == HoldId::NOTHING {
            return self.reserve(demands, asked, now);
        }
        self.fits(demands, asked)?;
        let Some(mut hold) = self.holds.remove(&id) else {
            return Err(Denied::Over { blocked: Vec::new(), by_holds: false });
        };
        self.hold(&mut hold, demands, now);
        self.holds.insert(id, hold);
        Ok(id)
    }

    /// Undoes a top-up that could not be journalled.
    pub fn take_back(&mut self, id: HoldId, added: &Hold) {
        let Some(hold) = self.holds.get_mut(&id) else { return };
        for (claims, added) in [(&mut hold.claims, &added.claims), (&mut hold.limits, &added.limits)] {
            for claim in added {
                if let Some(held) = claims.iter_mut().find(|held| held.budget == claim.budget) {
                    held.amount = held.amount.saturating_sub(claim.amount);
                }
                if let Some(account) = self.accounts.get_mut(&claim.budget) {
                    account.held = account.held.saturating_sub(u128::from(claim.amount));
                }
            }
        }
    }

    pub fn held(&self, id: HoldId) -> Option<&Hold> {
        self.holds.get(&id)
    }

    /// Spends what was used, frees the rest of the hold. Settling above the hold is booked and told.
    ///
    /// # Errors
    /// [`AlreadySettled`]: harmless, nothing changed.
    pub fn settle(&mut self, id: HoldId, actual: &Actual) -> Result<Vec<Overrun>, AlreadySettled> {
        self.end(id, |claim| actual.of(claim))
    }

    /// Frees the whole hold: the provider never saw the request.
    ///
    /// # Errors
    /// [`AlreadySettled`]: harmless, nothing changed.
    pub fn release(&mut self, id: HoldId) -> Result<(), AlreadySettled> {
        self.end(id, |_| 0).map(drop)
    }

    /// What the store gave. Opens the account if it was not.
    pub fn granted(&mut self, grant: &Granted, now: Timestamp) {
        let terms = self.terms_place(&grant.instance.budget);
        let window = &grant.instance.window;
        for sibling in &grant.siblings {
            let instance = Arc::new(grant.instance.sibling(sibling.start));
            let account = self.open(&instance, terms);
            (account.base, account.elsewhere) = (sibling.base, sibling.elsewhere);
        }
        let terms_changes = self.terms_changes;
        let account = self.open(&grant.instance, terms);
        (account.base, account.elsewhere, account.asked) = (grant.base, grant.elsewhere, false);
        account.granted = account.granted.saturating_add_unsigned(grant.amount);
        account.touched = account.touched.max(now);
        account.dry = (grant.amount == 0).then_some(terms_changes);
        if window.is_rolling() {
            let series = self.series.entry(grant.instance.series).or_default();
            series.from = series.from.min(window.counts_from);
        }
    }

    /// The store has answered, whatever it gave: slices may be asked for again.
    pub fn answered(&mut self, account: BudgetId) {
        if let Some(account) = self.accounts.get_mut(&account) {
            account.asked = false;
        }
    }

    /// Takes the unused slices of the other buckets of these windows, so that nothing is stranded in the past.
    pub fn take_slack(&mut self, wants: &[Want]) -> Vec<Returned> {
        let mut returned = Vec::new();
        for want in wants.iter().filter(|want| want.instance.window.is_rolling()) {
            let Some(series) = self.series.get(&want.instance.series) else { continue };
            for (_, id) in series.buckets.iter().filter(|(_, id)| *id != want.instance.account) {
                let amount = self.accounts.get_mut(id).map_or(0, take_left);
                if amount > 0 {
                    returned.push(Returned { account: *id, amount, forgotten: false });
                }
            }
        }
        returned
    }

    /// The store has these charges of ours.
    pub fn folded(&mut self, charges: &[Charge]) {
        for charge in charges {
            if let Some(account) = self.accounts.get_mut(&charge.account) {
                account.folded = account.folded.saturating_add(i128::from(charge.amount));
            }
        }
    }

    /// The store has corrected what was settled.
    pub fn corrected(&mut self, charges: &[Charge]) {
        for charge in charges {
            if let Some(account) = self.accounts.get_mut(&charge.account) {
                account.base = account.base.saturating_add(i128::from(charge.amount));
            }
        }
    }

    /// Slices that are half used: to be filled up before they are needed.
    pub fn take_low(&mut self) -> Vec<Want> {
        let low = std::mem::take(&mut self.low);
        let want = |id| Some(Want { instance: self.accounts.get(id)?.instance.clone(), amount: 0 });
        low.iter().filter_map(want).collect()
    }

    pub fn has_low(&self) -> bool {
        !self.low.is_empty()
    }

    /// Looks at the next `accounts_max` accounts: those whose window is over, or that nobody touched since
    /// `idle_since`, give back their slice, and are forgotten when the store has everything of them.
    pub fn sweep(&mut self, accounts_max: usize, now: Timestamp, idle_since: Timestamp) -> Vec<Returned> {
        let mut returned = Vec::new();
        for _ in 0..accounts_max.min(self.round.len()) {
            let Some(id) = self.round.pop_front() else { break };
            let Some(account) = self.accounts.get_mut(&id) else { continue };
            let window = account.instance.window;
            let over = !window.contains(now) && now >= window.end;
            let counts = window.is_rolling() && now < window.leaves_at(window.start);
            if !(over || account.touched < idle_since) || account.asked {
                self.round.push_back(id);
                continue;
            }
            let forgotten = account.is_quiet() && !counts;
            let amount = take_left(account);
            let leased = !account.instance.budget.is_rate_limit;
            if forgotten {
                self.forget(id);
            } else {
                self.round.push_back(id);
            }
            if leased && (amount > 0 || forgotten) {
                returned.push(Returned { account: id, amount, forgotten });
            }
        }
        returned
    }

    /// Every budget with its settlements above their hold since the start.
    pub fn overruns(&self) -> impl Iterator<Item = (&Arc<Budget>, u64)> {
        self.terms.iter().map(|terms| (&terms.budget, terms.overruns))
    }

    pub fn account(&self, account: BudgetId) -> Option<&Account> {
        self.accounts.get(&account)
    }

    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values()
    }

    pub fn open_accounts(&self) -> usize {
        self.accounts.len()
    }

    pub fn open_holds(&self) -> usize {
        self.holds.len()
    }

    /// The budget's terms in force: those told, else those of the instance.
    pub fn in_force(&self, budget: &Arc<Budget>) -> Arc<Budget> {
        let place = self.terms_of.get(&(budget.name.clone(), budget.unit));
        place.map_or_else(|| budget.clone(), |place| self.terms[*place].budget.clone())
    }

    fn fits(&mut self, demands: &[Demand], asked: bool) -> Result<(), Denied> {
        let (mut blocked, mut wants, mut by_holds) = (Vec::new(), Vec::new(), true);
        for (place, demand) in demands.iter().enumerate() {
            let same = |other: &&Demand| other.instance.account == demand.instance.account;
            if demands[..place].iter().any(|other| same(&other)) {
                continue;
            }
            // Two demands of one request on the same account must fit together.
            let together = demands[place..].iter().filter(same);
            let requested = together.fold(0u64, |sum, other| sum.saturating_add(other.amount));
            match self.fits_one(demand, requested, asked) {
                Fit::Yes => {}
                Fit::Wants(amount) => wants.push(Want { instance: demand.instance.clone(), amount }),
                Fit::No { standing, limit } => {
                    by_holds &= standing.spent().saturating_add(u128::from(requested)) <= limit;
                    blocked.push(self.blocked(demand, requested, standing, limit));
                }
            }
        }
        match (blocked.is_empty(), wants.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(Denied::Wanting(wants)),
            (false, _) => Err(Denied::Over { blocked, by_holds }),
        }
    }

    fn fits_one(&mut self, demand: &Demand, requested: u64, asked: bool) -> Fit {
        let instance = &demand.instance;
        if instance.budget.is_rate_limit {
            let terms = self.terms_place(&instance.budget);
            self.open(instance, terms);
        }
        let Some(account) = self.accounts.get(&instance.account) else {
            self.adopt(None, &instance.budget);
            return Fit::Wants(0);
        };
        let (terms, left, standing) = (account.terms, account.left(), self.standing(account, instance));
        let limit = self.adopt(Some(terms), &instance.budget);
        let Some(standing) = standing else { return Fit::Wants(0) };
        if !demand.binds {
            return Fit::Yes;
        }
        let wanted = u128::from(requested);
        let committed = standing.spent().saturating_add(standing.held).saturating_add(wanted);
        let elsewhere = if asked { standing.elsewhere } else { 0 };
        if committed.saturating_add(elsewhere) > limit {
            let standing = Standing { held: standing.held.saturating_add(elsewhere), ..standing };
            return Fit::No { standing, limit };
        }
        let short = i128::from(requested).saturating_sub(left);
        match u128::try_from(short) {
            Ok(short) if short > 0 && self.terms[terms].budget.is_leased() => Fit::Wants(short),
            Ok(_) | Err(_) => Fit::Yes,
        }
    }

    /// Everything fits: takes it.
    fn hold(&mut self, hold: &mut Hold, demands: &[Demand], now: Timestamp) {
        for Demand { instance, amount, .. } in demands {
            let Some(account) = self.accounts.get_mut(&instance.account) else { continue };
            account.held = account.held.saturating_add(u128::from(*amount));
            account.touched = account.touched.max(now);
            let budget = &self.terms[account.terms].budget;
            if budget.is_leased() && !account.asked && account.dry != Some(self.terms_changes) {
                let half = i128::try_from(lease::slice(budget.limit) / 2).unwrap_or(i128::MAX);
                if account.left() < half {
                    account.asked = true;
                    self.low.push(instance.account);
                }
            }
        }
        hold.extend(demands);
    }

    fn end(&mut self, id: HoldId, spent: impl Fn(&Claim) -> u64) -> Result<Vec<Overrun>, AlreadySettled> {
        if id == HoldId::NOTHING {
            return Ok(Vec::new());
        }
        let hold = self.holds.remove(&id).ok_or(AlreadySettled)?;
        let mut overruns = Vec::new();
        for claim in hold.claims.iter().chain(&hold.limits) {
            let Some(account) = self.accounts.get_mut(&claim.budget) else { continue };
            let used = spent(claim);
            account.held = account.held.saturating_sub(u128::from(claim.amount));
            account.used = account.used.saturating_add(i128::from(bounded(used)));
            if used > claim.amount {
                self.terms[account.terms].overruns += 1;
                account.overrun = account.overrun.saturating_add(u128::from(used - claim.amount));
                overruns.push(Overrun { budget: claim.budget, above: used - claim.amount });
            }
        }
        Ok(overruns)
    }

    /// `None`: a bucket that its window counts is not open.
    fn standing(&self, account: &Account, instance: &Instance) -> Option<Standing> {
        let mut standing = Standing::default();
        if !instance.window.is_rolling() {
            standing.add(account);
            return Some(standing);
        }
        let series = self.series.get(&instance.series).filter(|series| series.from <= instance.window.counts_from)?;
        for account in series.counted(&instance.window).filter_map(|(_, id)| self.accounts.get(id)) {
            standing.add(account);
        }
        Some(standing)
    }

    fn blocked(&self, demand: &Demand, requested: u64, standing: Standing, limit: u128) -> Blocked {
        let instance = demand.instance.clone();
        let committed = standing.spent().saturating_add(standing.held).saturating_add(u128::from(requested));
        let frees_at = match instance.window.is_rolling() {
            _ if u128::from(requested) > limit => None,
            false => instance.window.resets_at(),
            true => self.series.get(&instance.series).and_then(|series| {
                let mut over = committed.saturating_sub(limit);
                series.counted(&instance.window).find_map(|(start, id)| {
                    let account = self.accounts.get(id)?;
                    let leaves = u128::try_from(account.spent()).unwrap_or(0).saturating_add(account.held);
                    over = over.saturating_sub(leaves);
                    (over == 0).then(|| instance.window.leaves_at(*start))
                })
            }),
        };
        Blocked { instance, requested, spent: standing.spent(), held: standing.held, limit, frees_at }
    }

    fn open(&mut self, instance: &Arc<Instance>, terms: usize) -> &mut Account {
        let id = instance.account;
        self.accounts.entry(id).or_insert_with(|| {
            self.round.push_back(id);
            if instance.window.is_rolling() {
                let fresh = Series { from: instance.window.counts_from, buckets: Vec::new() };
                let buckets = &mut self.series.entry(instance.series).or_insert(fresh).buckets;
                let place = buckets.partition_point(|(start, _)| *start < instance.window.start);
                buckets.insert(place, (instance.window.start, id));
            }
            Account::new(instance.clone(), terms)
        })
    }

    fn forget(&mut self, id: BudgetId) {
        let Some(account) = self.accounts.remove(&id) else { return };
        let Instance { series: of, window, .. } = &*account.instance;
        if let Some(series) = self.series.get_mut(of) {
            series.buckets.retain(|(_, other)| *other != id);
            series.from = series.from.max(Timestamp(window.start.0.saturating_add(1)));
            if series.buckets.is_empty() {
                self.series.remove(of);
            }
        }
    }

    fn terms_place(&mut self, budget: &Arc<Budget>) -> usize {
        let terms = &mut self.terms;
        *self.terms_of.entry((budget.name.clone(), budget.unit)).or_insert_with(|| {
            terms.push(Terms { budget: budget.clone(), told: false, overruns: 0 });
            terms.len() - 1
        })
    }

    /// The limit in force; `open`: the place of its terms, where its account is open. A budget that nobody told of has the
    /// terms that were seen last.
    fn adopt(&mut self, open: Option<usize>, budget: &Arc<Budget>) -> u128 {
        let place = open.unwrap_or_else(|| self.terms_place(budget));
        let terms = &mut self.terms[place];
        if !terms.told && !Arc::ptr_eq(&terms.budget, budget) {
            self.terms_changes += u32::from(terms.budget.limit != budget.limit);
            terms.budget = budget.clone();
        }
        terms.budget.limit
    }
}

impl Series {
    fn counted(&self, window: &Window) -> impl Iterator<Item = &(Timestamp, BudgetId)> {
        let from = self.buckets.partition_point(|(start, _)| *start < window.counts_from);
        self.buckets[from..].iter()
    }
}

enum Fit {
    Yes,
    Wants(u128),
    No { standing: Standing, limit: u128 },
}

/// Takes what is left of the slice out of the account.
fn take_left(account: &mut Account) -> u128 {
    let left = u128::try_from(account.left()).unwrap_or(0);
    account.granted = account.granted.saturating_sub_unsigned(left);
    left
}

#[cfg(test)]
mod tests;
