//! The book: the serial core of all budgets. A request claims every budget whose scope it meets; the book holds all
//! of the claims or none, and a hold is settled to what was used, or released, exactly once.
//!
//! It is sans-IO and knows no lock: the ledger's one mutex stands around it, because one serial core was measured
//! faster than per-account locks and than compare-and-swap with rollback (which also refuses falsely at the edge).
//!
//! *Invariant:* `spent + held ≤ limit + overrun` for every account whose limit was not lowered; `overrun` is what
//! settlements declared above their hold, always booked.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// One instance of a budget in one window: an account of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BudgetId(pub u64);

/// A request's claim on one budget, in the budget's own unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub budget: BudgetId,
    pub amount: u64,
}

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    PicoUsd,
    Tokens,
    Requests,
}

/// What an exchange used, in every unit that a budget may count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Actual {
    /// `None`: not known; then the whole hold is spent. Unknown is never zero.
    pub pico_usd: Option<u64>,
    pub tokens: Option<u64>,
    pub requests: u64,
}

/// An account as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub unit: Unit,
    pub limit: u128,
    pub spent: u128,
    pub held: u128,
    /// Part of `spent`: what settlements took above their holds.
    pub overrun: u128,
}

impl Account {
    /// What may still be held. 0 when more is spent or held than a lowered limit allows.
    pub fn available(&self) -> u128 {
        self.limit.saturating_sub(self.spent.saturating_add(self.held))
    }
}

/// One budget that stood in the way of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub budget: BudgetId,
    pub requested: u64,
    pub spent: u128,
    pub held: u128,
    pub limit: u128,
}

/// Names a hold; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HoldId(u64);

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
    accounts: HashMap<BudgetId, Account>,
    holds: HashMap<HoldId, Vec<Claim>>,
    holds_made: u64,
}

impl Book {
    /// Opens an account, or changes the limit of one that is open. Lowering a limit below what is spent and held is
    /// allowed: nothing more is admitted until it fits again.
    pub fn set_limit(&mut self, budget: BudgetId, unit: Unit, limit: u128) {
        let fresh = Account { unit, limit, spent: 0, held: 0, overrun: 0 };
        self.accounts.entry(budget).or_insert(fresh).limit = limit;
    }

    pub fn account(&self, budget: BudgetId) -> Option<&Account> {
        self.accounts.get(&budget)
    }

    /// Holds every claim or none. An empty list holds nothing and is always admitted.
    ///
    /// # Errors
    /// Every budget that blocked, not only the first. A claim on an account that is not open is blocked by a limit of 0.
    pub fn reserve(&mut self, claims: &[Claim]) -> Result<HoldId, Vec<Blocked>> {
        let mut blocked: Vec<Blocked> = claims.iter().filter_map(|claim| self.blocked(claims, claim)).collect();
        blocked.dedup();
        if !blocked.is_empty() {
            return Err(blocked);
        }
        for claim in claims {
            if let Some(account) = self.accounts.get_mut(&claim.budget) {
                account.held += u128::from(claim.amount);
            }
        }
        self.holds_made += 1;
        let hold = HoldId(self.holds_made);
        self.holds.insert(hold, claims.to_vec());
        Ok(hold)
    }

    /// Spends what was used, frees the rest of the hold. Settling above the hold is booked and told.
    ///
    /// # Errors
    /// [`AlreadySettled`]: harmless, nothing changed.
    pub fn settle(&mut self, hold: HoldId, actual: Actual) -> Result<Vec<Overrun>, AlreadySettled> {
        self.end(hold, |unit, held| match unit {
            Unit::PicoUsd => actual.pico_usd.unwrap_or(held),
            Unit::Tokens => actual.tokens.unwrap_or(held),
            Unit::Requests => actual.requests,
        })
    }

    /// Frees the whole hold: the provider never saw the request.
    ///
    /// # Errors
    /// [`AlreadySettled`]: harmless, nothing changed.
    pub fn release(&mut self, hold: HoldId) -> Result<(), AlreadySettled> {
        self.end(hold, |_, _| 0).map(|_| ())
    }

    fn end(&mut self, hold: HoldId, spent: impl Fn(Unit, u64) -> u64) -> Result<Vec<Overrun>, AlreadySettled> {
        let claims = self.holds.remove(&hold).ok_or(AlreadySettled)?;
        let mut overruns = Vec::new();
        for Claim { budget, amount } in claims {
            let Some(account) = self.accounts.get_mut(&budget) else { continue };
            let used = spent(account.unit, amount);
            account.held = account.held.saturating_sub(u128::from(amount));
            account.spent = account.spent.saturating_add(u128::from(used));
            if used > amount {
                account.overrun = account.overrun.saturating_add(u128::from(used - amount));
                overruns.push(Overrun { budget, above: used - amount });
            }
        }
        Ok(overruns)
    }

    /// Two claims of one request on the same budget must fit together.
    fn blocked(&self, claims: &[Claim], claim: &Claim) -> Option<Blocked> {
        let together = claims.iter().filter(|other| other.budget == claim.budget);
        let requested = together.fold(0u64, |sum, other| sum.saturating_add(other.amount));
        let Some(account) = self.accounts.get(&claim.budget) else {
            return Some(Blocked { budget: claim.budget, requested, spent: 0, held: 0, limit: 0 });
        };
        let Account { limit, spent, held, .. } = *account;
        (u128::from(requested) > account.available()).then_some(Blocked {
            budget: claim.budget,
            requested,
            spent,
            held,
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEAM: BudgetId = BudgetId(1);
    const KEY: BudgetId = BudgetId(2);

    fn book(team: u128, key: u128) -> Book {
        let mut book = Book::default();
        book.set_limit(TEAM, Unit::PicoUsd, team);
        book.set_limit(KEY, Unit::Tokens, key);
        book
    }

    fn claims(team: u64, key: u64) -> [Claim; 2] {
        [Claim { budget: TEAM, amount: team }, Claim { budget: KEY, amount: key }]
    }

    fn used(pico_usd: u64, tokens: u64) -> Actual {
        Actual { pico_usd: Some(pico_usd), tokens: Some(tokens), requests: 1 }
    }

    #[test]
    fn a_refusal_names_every_budget_that_blocked_and_holds_nothing() {
        let mut book = book(100, 10);
        let blocked = book.reserve(&claims(101, 11)).unwrap_err();
        assert_eq!(
            blocked.iter().map(|b| (b.budget, b.requested, b.limit)).collect::<Vec<_>>(),
            [(TEAM, 101, 100), (KEY, 11, 10)]
        );
        assert_eq!(book.reserve(&claims(100, 11)).unwrap_err().len(), 1);
        assert!(book.reserve(&claims(100, 10)).is_ok(), "nothing was held by the refused ones");
    }

    #[test]
    fn with_no_claims_everything_is_admitted() {
        let mut book = Book::default();
        let hold = book.reserve(&[]).unwrap();
        assert_eq!(book.settle(hold, used(5, 5)), Ok(vec![]));
    }

    #[test]
    fn a_second_settlement_has_a_name_and_changes_nothing() {
        let mut book = book(100, 10);
        let hold = book.reserve(&claims(60, 5)).unwrap();
        assert_eq!(book.settle(hold, used(20, 3)), Ok(vec![]));
        assert_eq!(book.settle(hold, used(20, 3)), Err(AlreadySettled));
        assert_eq!(book.release(hold), Err(AlreadySettled));
        assert_eq!(book.account(TEAM).map(|a| (a.spent, a.held)), Some((20, 0)));
    }

    #[test]
    fn what_is_not_known_spends_the_whole_hold() {
        let mut book = book(100, 10);
        let hold = book.reserve(&claims(60, 5)).unwrap();
        let unknown = Actual { pico_usd: None, tokens: None, requests: 1 };
        assert_eq!(book.settle(hold, unknown), Ok(vec![]));
        assert_eq!(book.account(TEAM).map(|a| (a.spent, a.available())), Some((60, 40)));
    }

    #[test]
    fn an_overrun_is_booked_and_told() {
        let mut book = book(100, 10);
        let hold = book.reserve(&claims(60, 5)).unwrap();
        assert_eq!(book.settle(hold, used(130, 5)), Ok(vec![Overrun { budget: TEAM, above: 70 }]));
        assert_eq!(book.account(TEAM).map(|a| (a.spent, a.overrun, a.available())), Some((130, 70, 0)));
    }

    #[test]
    fn two_claims_on_one_budget_must_fit_together() {
        let mut book = book(100, 10);
        let twice = [Claim { budget: TEAM, amount: 60 }, Claim { budget: TEAM, amount: 60 }];
        let blocked = book.reserve(&twice).unwrap_err();
        assert_eq!((blocked.len(), blocked[0].requested), (1, 120));
    }

    #[test]
    fn an_account_that_is_not_open_blocks() {
        let blocked = Book::default().reserve(&[Claim { budget: TEAM, amount: 1 }]).unwrap_err();
        assert_eq!(blocked[0].limit, 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Reserve(u64, u64),
        Settle(usize, u64, u64),
        Release(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..60, 0u64..60).prop_map(|(a, b)| Step::Reserve(a, b)),
            (any::<usize>(), 0u64..80, 0u64..80).prop_map(|(at, a, b)| Step::Settle(at, a, b)),
            any::<usize>().prop_map(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn spent_and_held_never_pass_the_limit_and_nothing_is_made_or_lost(
            steps in prop::collection::vec(step(), 1..200)
        ) {
            let mut book = book(500, 300);
            let mut open: Vec<(HoldId, u64, u64)> = Vec::new();
            let mut spent = (0u128, 0u128);
            for step in steps {
                match step {
                    Step::Reserve(a, b) => {
                        if let Ok(hold) = book.reserve(&claims(a, b)) {
                            open.push((hold, a, b));
                        }
                    }
                    Step::Settle(at, a, b) if !open.is_empty() => {
                        let (hold, ..) = open.swap_remove(at % open.len());
                        prop_assert!(book.settle(hold, used(a, b)).is_ok());
                        spent = (spent.0 + u128::from(a), spent.1 + u128::from(b));
                    }
                    Step::Release(at) if !open.is_empty() => {
                        let (hold, ..) = open.swap_remove(at % open.len());
                        prop_assert!(book.release(hold).is_ok());
                    }
                    Step::Settle(..) | Step::Release(_) => {}
                }
                for (budget, spent, held) in [
                    (TEAM, spent.0, open.iter().map(|o| u128::from(o.1)).sum::<u128>()),
                    (KEY, spent.1, open.iter().map(|o| u128::from(o.2)).sum()),
                ] {
                    let account = book.account(budget).unwrap();
                    prop_assert_eq!((account.spent, account.held), (spent, held));
                    prop_assert!(account.spent + account.held <= account.limit + account.overrun);
                }
            }
        }
    }
}
