//! Leases: the store as the authority over every limit. A process asks for slices here, on a connection of its own, and
//! returns what it does not need; each exchange is one transaction, on disk when it returns.

use super::budgets::{self, Account, Alert, amount, id_of, key, signed};
use super::{FILE_NAME, StoreError, saturate, schema};
use crate::budget::account::BudgetId;
use crate::budget::book::{Granted, Returned, Sibling, Want};
use crate::budget::lease::{Shelf, grant};
use crate::budget::{Budget, Instance};
use crate::clock::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use std::path::Path;
use std::sync::Arc;

/// The end of the store at which slices are had.
#[derive(Debug)]
pub struct Leases {
    connection: Connection,
}

/// What an exchange came to.
#[derive(Clone, Debug, Default)]
pub struct Exchanged {
    pub granted: Vec<Granted>,
    /// Thresholds that lowered limits passed.
    pub alerts: Vec<Alert>,
    /// Accounts that were forgotten with something of their lease left: book and store disagree. The lease stays.
    pub disagree: Vec<BudgetId>,
    /// Accounts whose id has another meaning in the store: nothing is granted.
    pub mistaken: Vec<Arc<Instance>>,
}

impl Leases {
    /// Opens a ledger that [`super::Store::open`] has opened before.
    pub fn open(data_dir: &Path, now: Timestamp) -> Result<Leases, StoreError> {
        Ok(Leases { connection: schema::open_for_writing(&data_dir.join(FILE_NAME), now)? })
    }

    /// Takes back, puts limits in force, and grants what is wanted, under the terms given beside each want.
    pub fn exchange(
        &mut self,
        epoch: u64,
        returned: &[Returned],
        terms: &[Arc<Budget>],
        wants: &[(Want, Arc<Budget>)],
        now: Timestamp,
    ) -> Result<Exchanged, StoreError> {
        exchange(&mut self.connection, epoch, returned, terms, wants, now)
            .map_err(StoreError::sqlite("exchange budget leases"))
    }
}

fn exchange(
    connection: &mut Connection,
    epoch: u64,
    returned: &[Returned],
    terms: &[Arc<Budget>],
    wants: &[(Want, Arc<Budget>)],
    now: Timestamp,
) -> rusqlite::Result<Exchanged> {
    let transaction = super::write_transaction(connection)?;
    let mut exchanged = Exchanged::default();
    for given in returned {
        if !take_back(&transaction, epoch, given)? {
            exchanged.disagree.push(given.account);
        }
    }
    for budget in terms {
        exchanged.alerts.extend(set_terms(&transaction, budget, now)?);
    }
    for (want, terms) in wants {
        match lease(&transaction, epoch, want, terms)? {
            Some(granted) => exchanged.granted.push(granted),
            None => exchanged.mistaken.push(want.instance.clone()),
        }
    }
    transaction.commit()?;
    Ok(exchanged)
}

/// `false`: the account is forgotten, and something of its lease would be left.
fn take_back(connection: &Connection, epoch: u64, given: &Returned) -> rusqlite::Result<bool> {
    let lease: Option<(String, String)> = connection
        .prepare_cached("SELECT remaining, charged FROM budget_leases WHERE account = ?1 AND epoch = ?2")?
        .query_row(params![key(given.account), saturate(epoch)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((remaining, charged)) = lease else { return Ok(given.amount == 0) };
    let left = signed(&remaining).saturating_sub_unsigned(given.amount);
    if given.forgotten && left <= 0 {
        budgets::spent_beyond(connection, given.account, left.saturating_neg())?;
        connection
            .prepare_cached("DELETE FROM budget_leases WHERE account = ?1 AND epoch = ?2")?
            .execute(params![key(given.account), saturate(epoch)])?;
        return Ok(true);
    }
    budgets::put_lease(connection, given.account, epoch, left, signed(&charged))?;
    Ok(!given.forgotten)
}

fn set_terms(connection: &Connection, budget: &Budget, now: Timestamp) -> rusqlite::Result<Vec<Alert>> {
    connection
        .prepare_cached(
            "UPDATE budget_accounts SET limit_units = ?3, hardness = ?4, thresholds = ?5
             WHERE budget = ?1 AND unit = ?2 AND window_end > ?6",
        )?
        .execute(params![
            &*budget.name,
            budget.unit.name(),
            budget.limit.to_string(),
            budgets::hardness_name(budget.hardness),
            budgets::thresholds_text(&budget.thresholds),
            now.0
        ])?;
    let sql = format!(
        "SELECT {} FROM budget_accounts AS a WHERE budget = ?1 AND unit = ?2 AND window_end > ?3 AND settled <> '0'",
        budgets::COLUMNS
    );
    let accounts: Vec<Account> = connection
        .prepare_cached(&sql)?
        .query_map(params![&*budget.name, budget.unit.name(), now.0], Account::read)?
        .collect::<rusqlite::Result<_>>()?;
    let mut alerts = Vec::new();
    for account in &accounts {
        alerts.extend(budgets::tell(connection, account, now)?);
    }
    Ok(alerts)
}

/// `None`: the account's id has another meaning.
fn lease(connection: &Connection, epoch: u64, want: &Want, terms: &Budget) -> rusqlite::Result<Option<Granted>> {
    let instance = &want.instance;
    let Some((account, is_known)) = budgets::open(connection, instance, terms)? else { return Ok(None) };
    // Of an account that nobody had there is no lease to read: a crowd of new users opens many at once.
    let shelf = match is_known {
        true => shelf(connection, epoch, account.id, account.settled)?,
        false => OwnShelf { shelf: Shelf::default(), charged: 0 },
    };
    let (mut siblings, mut others) = (Vec::new(), 0i128);
    if instance.window.is_rolling() {
        let found: Vec<(BudgetId, Timestamp, i128)> = connection
            .prepare_cached(
                "SELECT id, window_start, settled FROM budget_accounts WHERE series = ?1 AND window_start >= ?2",
            )?
            .query_map(params![account.series, instance.window.counts_from.0], |row| {
                Ok((id_of(row.get(0)?), Timestamp(row.get(1)?), signed(&row.get::<_, String>(2)?)))
            })?
            .collect::<rusqlite::Result<_>>()?;
        for (id, start, settled) in found.into_iter().filter(|(id, ..)| *id != account.id) {
            let other = self::shelf(connection, epoch, id, settled)?;
            others = others.saturating_add(other.shelf.taken());
            let base = settled.saturating_sub(other.charged);
            siblings.push(Sibling { start, base, elsewhere: other.shelf.elsewhere });
        }
    }
    let OwnShelf { shelf, charged } = shelf;
    let amount = if terms.is_leased() { grant(terms.limit, &shelf, others, want.amount) } else { 0 };
    budgets::put_lease(connection, account.id, epoch, shelf.own.saturating_add_unsigned(amount), charged)?;
    let base = shelf.settled.saturating_sub(charged);
    Ok(Some(Granted { instance: instance.clone(), amount, base, elsewhere: shelf.elsewhere, siblings }))
}

struct OwnShelf {
    shelf: Shelf,
    /// What of the settled is this process's, since it opened the account.
    charged: i128,
}

fn shelf(connection: &Connection, epoch: u64, account: BudgetId, settled: i128) -> rusqlite::Result<OwnShelf> {
    let mut read =
        connection.prepare_cached("SELECT epoch, remaining, charged FROM budget_leases WHERE account = ?1")?;
    let mut rows = read.query([key(account)])?;
    let (mut shelf, mut charged) = (Shelf { settled, ..Shelf::default() }, 0);
    while let Some(row) = rows.next()? {
        let remaining = row.get::<_, String>(1)?;
        if row.get::<_, i64>(0)? == saturate(epoch) {
            (shelf.own, charged) = (signed(&remaining), signed(&row.get::<_, String>(2)?));
        } else {
            shelf.elsewhere = shelf.elsewhere.saturating_add(amount(&remaining));
        }
    }
    Ok(OwnShelf { shelf, charged })
}
