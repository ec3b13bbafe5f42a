//! What background work used, booked once: as an adjustment of the event that began it.
//!
//! *Invariant:* the note that the work ended is in the same transaction as its adjustment, so that no number of polls
//! and no crash between them books it twice.

use super::fold::{Folded, UNITS_MAX};
use super::names::{Interner, NameKind, OK, REPORTED};
use super::row::{self, COLUMNS};
use super::{budgets, saturate};
use crate::budget::account::{BudgetId, Charge, Unit};
use crate::catalog::Pricing;
use crate::event::{Deferred, Event, LateUse};
use crate::ids::EventId;
use crate::tokens::usage::Kind;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Columns that an adjustment has of its own; the others are its event's.
const OWN: [&str; 27] = [
    "id",
    "adjusts",
    "started_us",
    "ended_us",
    "response_model_id",
    "outcome_id",
    "complete",
    "usage_source_id",
    "pricing_id",
    "cost_pico",
    "rate_set",
    "service_tier_id",
    "decision_id",
    "provider_request_id",
    "charges",
    "withheld_pico",
    // From here on: nothing.
    "provider_cost_pico",
    "ceiling_pico",
    "estimate_pico",
    "rule_id",
    "client_request_id",
    "overhead_us",
    "first_token_us",
    "upstream_us",
    "request_bytes",
    "response_bytes",
    "finish_reason_id",
];
/// Of [`OWN`], those that are bound.
const BOUND: usize = 16;
const ZEROS: [&str; 4] = ["rule_id", "request_bytes", "response_bytes", "finish_reason_id"];

static INSERT: LazyLock<String> = LazyLock::new(|| {
    let of = |column: &String| match OWN.iter().position(|own| own == column) {
        Some(place) if place < BOUND => format!("?{}", place + 1),
        Some(_) if ZEROS.contains(&column.as_str()) => "0".to_owned(),
        Some(_) => "NULL".to_owned(),
        None => match KINDS.iter().position(|kind| kind == column) {
            Some(place) => format!("?{}", BOUND + 1 + place),
            None => column.clone(),
        },
    };
    let values: Vec<String> = COLUMNS.iter().map(of).collect();
    let adjusted = OWN.iter().position(|own| *own == "adjusts").unwrap_or_default() + 1;
    format!(
        "INSERT OR IGNORE INTO events ({}) SELECT {} FROM events WHERE id = ?{adjusted}",
        COLUMNS.join(", "),
        values.join(", ")
    )
});

/// The units and the costs by kind, in this order.
static KINDS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let of = |what: &'static str| Kind::ALL.into_iter().map(move |kind| format!("{what}_{}", kind.name()));
    of("units").chain(of("cost")).collect()
});

/// Follows what an event says about background work. How many adjustments were booked; what they came to is added to
/// `folded`.
pub(super) fn follow(
    connection: &Connection,
    names: &mut Interner,
    event: &Event,
    folded: &mut Folded,
) -> rusqlite::Result<u64> {
    let Some(deferred) = event.closing.deferred.as_deref() else { return Ok(0) };
    let provider = names.id(connection, NameKind::Provider, Some(&event.opening.provider))?;
    match deferred {
        Deferred::Begun { reference } => {
            begin(connection, provider, reference, event.opening.id)?;
            Ok(0)
        }
        Deferred::Ended { reference, uses, adopt } => {
            let found: Option<(i64, Option<i64>)> = connection
                .prepare_cached("SELECT event, ended_by FROM deferred WHERE provider_id = ?1 AND reference = ?2")?
                .query_row(params![provider, &**reference], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let of = match found {
                Some((of, None)) => of,
                None if *adopt => {
                    begin(connection, provider, reference, event.opening.id)?;
                    saturate(event.opening.id.0)
                }
                Some((_, Some(_))) | None => return Ok(0),
            };
            let ended_by = uses.first().map(|late| saturate(late.id.0));
            for (place, late) in uses.iter().enumerate() {
                let booked = if place == 0 { booked(connection, of)? } else { Booked::NOTHING };
                let charges = recharge(connection, of, late, place == 0)?;
                folded.corrected.extend(&charges);
                adjust(connection, names, event, of, reference, late, (&booked, &charges))?;
                folded.late.extend(row::event(connection, late.id)?);
            }
            connection
                .prepare_cached("UPDATE deferred SET ended_by = ?3 WHERE provider_id = ?1 AND reference = ?2")?
                .execute(params![provider, &**reference, ended_by])?;
            Ok(uses.len() as u64)
        }
    }
}

fn begin(connection: &Connection, provider: i64, reference: &str, event: EventId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO deferred (provider_id, reference, event) VALUES (?1, ?2, ?3)")?
        .execute(params![provider, reference, saturate(event.0)])
        .map(drop)
}

/// What stands on an event so far, earlier adjustments included.
struct Booked {
    /// Units and costs in the order of [`KINDS`].
    kinds: [i64; 2 * Kind::COUNT],
    /// Charged to budgets beside the cost, pico-dollars.
    withheld: i64,
}

impl Booked {
    const NOTHING: Booked = Booked { kinds: [0; 2 * Kind::COUNT], withheld: 0 };
}

fn booked(connection: &Connection, of: i64) -> rusqlite::Result<Booked> {
    let sums: Vec<String> = KINDS.iter().map(|kind| format!("ifnull(sum({kind}), 0)")).collect();
    let sql = format!(
        "SELECT {}, ifnull(sum(withheld_pico), 0) FROM events WHERE exchange = (SELECT exchange FROM events WHERE id = ?1) AND (id = ?1 OR adjusts = ?1)",
        sums.join(", ")
    );
    let mut booked = Booked::NOTHING;
    connection.prepare_cached(&sql)?.query_row([of], |row| {
        for (place, sum) in booked.kinds.iter_mut().enumerate() {
            *sum = row.get(place)?;
        }
        booked.withheld = row.get(booked.kinds.len())?;
        Ok(())
    })?;
    Ok(booked)
}

/// What the accounts of the event are still to be charged (less than zero: given back), now that it is known what was
/// used. The first use of a work replaces what was charged until then; further ones, of other models, come on top.
fn recharge(connection: &Connection, of: i64, late: &LateUse, is_first: bool) -> rusqlite::Result<Vec<Charge>> {
    let mut charged: BTreeMap<BudgetId, i64> = BTreeMap::new();
    let mut read = connection.prepare_cached(
        "SELECT charges FROM events WHERE charges IS NOT NULL
             AND exchange = (SELECT exchange FROM events WHERE id = ?1) AND (id = ?1 OR adjusts = ?1)",
    )?;
    let mut rows = read.query([of])?;
    while let Some(row) = rows.next()? {
        for charge in budgets::from_blob(&row.get::<_, Vec<u8>>(0)?) {
            let sum = charged.entry(charge.account).or_default();
            *sum = sum.saturating_add(charge.amount);
        }
    }
    let cost = match &late.pricing {
        Pricing::Priced(cost) => Some(cost.total.as_pico()),
        Pricing::Unmetered => Some(0),
        Pricing::Unpriced(_) => None,
    };
    let tokens = saturate(late.usage.input_tokens().saturating_add(late.usage.output_tokens()));
    let mut charges = Vec::new();
    for (account, before) in charged {
        let used = match budgets::account(connection, account)?.map(|account| account.unit) {
            Some(Unit::PicoUsd) => cost,
            Some(Unit::Tokens) => Some(tokens),
            Some(Unit::Requests) | None => None,
        };
        let before = if is_first { before } else { 0 };
        let amount = used.map_or(0, |used| used.saturating_sub(before));
        charges.extend((amount != 0).then_some(Charge { account, amount }));
    }
    Ok(charges)
}

/// One adjustment: what was used less what is booked.
fn adjust(
    connection: &Connection,
    names: &mut Interner,
    event: &Event,
    of: i64,
    reference: &str,
    late: &LateUse,
    (booked, charges): (&Booked, &[Charge]),
) -> rusqlite::Result<()> {
    let mut differences = [0i64; 2 * Kind::COUNT];
    for (place, kind) in Kind::ALL.into_iter().enumerate() {
        differences[place] = saturate(late.usage[kind].min(UNITS_MAX)).saturating_sub(booked.kinds[place]);
    }
    let mut rate_set = None;
    let mut total = 0i64;
    if let Pricing::Priced(cost) = &late.pricing {
        rate_set = Some(names.rate_set(connection, cost)?);
        for (kind, part) in &cost.by_kind {
            differences[Kind::COUNT + *kind as usize] = part.as_pico();
        }
        for (difference, booked) in differences.iter_mut().zip(booked.kinds).skip(Kind::COUNT) {
            *difference = difference.saturating_sub(booked);
            total = total.saturating_add(*difference);
        }
    }
    // As long as no price is known, budgets stay charged what was held.
    let withheld = if matches!(late.pricing, Pricing::Unpriced(_)) { 0 } else { booked.withheld.saturating_neg() };
    let ended = event.closing.ended_at.as_micros();
    let word = |names: &mut Interner, text: Option<&str>| names.id(connection, NameKind::Word, text);
    let own: [Value; BOUND] = [
        saturate(late.id.0).into(),
        of.into(),
        ended.into(),
        ended.into(),
        names.id(connection, NameKind::Model, late.model.as_deref())?.into(),
        OK.into(),
        1.into(),
        REPORTED.into(),
        word(names, Some(late.pricing.word()))?.into(),
        total.into(),
        rate_set.into(),
        word(names, late.service_tier.as_deref())?.into(),
        word(names, Some("deferred"))?.into(),
        reference.to_owned().into(),
        budgets::to_blob(charges).into(),
        withheld.into(),
    ];
    let all = own.into_iter().chain(differences.map(Value::from));
    let inserted = connection.prepare_cached(&INSERT)?.execute(params_from_iter(all))?;
    if inserted == 1 {
        connection.prepare_cached("INSERT OR IGNORE INTO unrolled (id) VALUES (?1)")?.execute([saturate(late.id.0)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EventId, id_at};
    use crate::store::fixtures::{NOON, call, later, priced};
    use crate::store::{EventQuery, JournalPosition, Order, Reader, Store};
    use crate::tokens::usage::TokenUsage;

    fn told(mut event: Event, deferred: Deferred) -> Event {
        event.closing.deferred = Some(Box::new(deferred));
        event
    }

    /// A poll that found 400 tokens in (600 fewer than booked) and 300 out.
    fn poll(second: i64, adopt: bool) -> Event {
        let at = later(second);
        let late = LateUse {
            id: EventId(id_at(at) + 501),
            model: Some("gpt-4o".into()),
            service_tier: None,
            usage: TokenUsage::ZERO.with(Kind::Input, 400).with(Kind::Output, 300),
            pricing: priced(1_000_000_000, 3_000_000_000),
        };
        told(call(at, 0).unpriced(), Deferred::Ended { reference: "resp_1".into(), uses: vec![late], adopt })
    }

    fn begun() -> Event {
        told(call(NOON, 0), Deferred::Begun { reference: "resp_1".into() })
    }

    fn adjustments(events: &[&[Event]]) -> Vec<crate::store::EventRow> {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        for (offset, batch) in (1..).zip(events) {
            store.fold(1, batch, JournalPosition { segment: 1, offset }).unwrap();
        }
        store.flush_rollups().unwrap();
        assert!(store.verify(&mut |_| {}).unwrap().is_clean());
        let query = EventQuery { order: Order::OldestFirst, limit: 100, ..EventQuery::default() };
        let rows = Reader::open(dir.path()).unwrap().events(&query).unwrap();
        rows.into_iter().filter(|row| row.adjusts.is_some()).collect()
    }

    #[test]
    fn the_difference_is_booked_once_however_often_it_is_told() {
        for batches in [
            vec![vec![begun()], vec![poll(60, false)], vec![poll(61, false)]],
            vec![vec![begun(), poll(60, false), poll(61, false)]],
            vec![vec![begun(), poll(60, false)], vec![begun(), poll(60, false), poll(61, false)]],
        ] {
            let batches: Vec<&[Event]> = batches.iter().map(Vec::as_slice).collect();
            let booked = adjustments(&batches);
            assert_eq!(booked.len(), 1);
            let one = &booked[0];
            assert_eq!((one.adjusts, one.net(TokenUsage::input_tokens)), (Some(begun().opening.id), -600));
            assert_eq!((one.net(TokenUsage::output_tokens), one.user.as_deref()), (200, Some("alice")));
            assert_eq!(one.cost.map(|cost| cost.as_pico()), Some(4_000_000_000 - 3_500_000_000));
        }
    }

    #[test]
    fn what_nobody_began_is_booked_only_where_it_is_adopted() {
        assert!(adjustments(&[&[poll(60, false)]]).is_empty());
        let adopted = adjustments(&[&[poll(60, true)], &[poll(61, true)]]);
        assert_eq!((adopted.len(), adopted[0].adjusts), (1, Some(poll(60, true).opening.id)));
    }
}
