//! The node is killed a hundred times, at any moment, with calls under way: afterwards the ledger has exactly one row
//! for each attempt that reached the provider, balances are what the ledger says, and no cap was passed. `make torture`
//! does it a thousand times (`FAREBOX_KILLS`), and asks it to stop, and takes things away from it ([`machine`]).

#[cfg(target_os = "linux")]
mod clock;
mod machine;
mod older;
#[cfg(target_os = "linux")]
mod power;
#[cfg(target_os = "linux")]
mod read_only;
#[cfg(target_os = "linux")]
mod shim;
mod soak;

use crate::support::shop::{Shop, rows_in};
use crate::support::{Asking, chat, shop, with};
use farebox::simulator::Attempt;
use farebox::store::EventRow;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In `make test`; `FAREBOX_KILLS` says how many.
const KILLS: u64 = 100;
/// How often it is asked to stop, for a hundred kills.
const STOPS_PER_HUNDRED: u64 = 4;
const CALLERS: u64 = 12;
/// A run is reproduced, as far as the machine allows, by `FAREBOX_TORTURE_SEED`.
const SEED: u64 = 20_261_121;

/// Each round has a user and so a budget of its own, which its calls use up in part or in whole.
const OUTPUT_LIMIT: u64 = 30;
const LIMIT_PICO: i64 = 9_000_000_000;

fn rules() -> String {
    format!(
        "version: 1\nbudgets:\n  - {{name: each, for_each: user, window: lifetime, limit: 0.{LIMIT_PICO:012} USD}}\n"
    )
}

fn is_long() -> bool {
    std::env::var_os("FAREBOX_KILLS").is_some()
}

fn kills() -> u64 {
    std::env::var("FAREBOX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_kills_lose_no_attempt_and_double_none() {
    let mut dice = Dice(std::env::var("FAREBOX_TORTURE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED));
    let mut shop = shop().with_setting("progress_interval: 20ms").with_rules(&rules()).open().await;
    let ids = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let kills = kills();
    for kill in 0..kills {
        if kill > 0 {
            shop.start();
        }
        let so_far = shop.simulator.log.totals().attempts;
        let callers: Vec<_> =
            (0..CALLERS).map(|_| tokio::spawn(call_on(requests(&shop, &ids, kill, &mut dice)))).collect();
        shop.simulator.log.until(|log| log.totals().attempts > so_far + 2).await;
        tokio::time::sleep(Duration::from_micros(dice.below(60_000))).await;
        shop.kill();
        for caller in callers {
            caller.abort();
        }
    }
    shop.start();
    stopped(&mut shop).await;
    check(&shop.simulator.log.attempts(), &rows_in(&shop.data_dir()));
    check_caps(&rows_in(&shop.data_dir()));
    verified(&shop);
    eprintln!("{kills} kills in {:?}: {} attempts", began.elapsed(), shop.simulator.log.totals().attempts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_in_the_middle_of_calls_leave_every_attempt_in_the_ledger_once() {
    let mut dice = Dice(SEED);
    let mut shop = shop().with_setting("drain_max: 150ms").with_rules(&rules()).open().await;
    let ids = Arc::new(AtomicU64::new(0));
    for stop in 0..(kills() * STOPS_PER_HUNDRED / 100).max(1) {
        if stop > 0 {
            shop.start();
        }
        let so_far = shop.simulator.log.totals().attempts;
        let callers: Vec<_> =
            (0..CALLERS).map(|_| tokio::spawn(call_on(requests(&shop, &ids, stop, &mut dice)))).collect();
        shop.simulator.log.until(|log| log.totals().attempts > so_far + 2).await;
        stopped(&mut shop).await;
        callers.into_iter().for_each(|caller| caller.abort());
    }
    let rows = rows_in(&shop.data_dir());
    check(&shop.simulator.log.attempts(), &rows);
    check_caps(&rows);
    verified(&shop);
}

async fn stopped(shop: &mut Shop) {
    // It says `listening` a moment before it can be asked to stop.
    assert_eq!(shop.admin("/readyz").answered().await.status, 200);
    shop.terminate();
    assert!(shop.ended().await.success());
}

fn verified(shop: &Shop) {
    let verified = shop.command(&["ledger", "verify"]);
    let said = [&verified.stdout[..], &verified.stderr].concat();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// What was spent and what is withheld of a round's budget is at most its limit.
fn check_caps(rows: &[EventRow]) {
    let mut by_round: HashMap<&str, i64> = HashMap::new();
    for row in rows {
        let id = row.client_request_id.as_deref().unwrap();
        let taken = row.cost.map_or(0, |cost| cost.as_pico()) + row.withheld.as_pico();
        *by_round.entry(id.rsplit_once('-').unwrap().0).or_default() += taken;
    }
    let over: Vec<_> = by_round.iter().filter(|(_, taken)| **taken > LIMIT_PICO).collect();
    assert!(over.is_empty(), "above {LIMIT_PICO}: {over:?}");
}

/// What one caller asks for, one after the other, until the node dies.
fn requests(shop: &Shop, ids: &Arc<AtomicU64>, round: u64, dice: &mut Dice) -> Vec<Asking> {
    let one = |dice: &mut Dice| {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let more = json!({"stream": dice.below(2) == 0, "max_tokens": OUTPUT_LIMIT});
        let asking = shop.post("/v1/chat/completions", &with(chat("Say something."), more));
        let asking = asking.with("x-farebox-user", &format!("user-{round}"));
        let asking = asking.with("x-request-id", &format!("torture-{round}-{id}"));
        let asking = asking.wishing("output-tokens", dice.below(OUTPUT_LIMIT));
        match dice.below(8) {
            0 => asking.wishing("first-byte-ms", dice.below(40)),
            1 => asking.wishing("chunk-ms", 2),
            2 => asking.wishing("stall-after", dice.below(5)),
            3 => asking.wishing("cut-after", dice.below(5)),
            4 => asking.wishing("status", 500),
            5 => asking.wishing("reset", "yes"),
            _ => asking,
        }
    };
    (0..40).map(|_| one(dice)).collect()
}

async fn call_on(requests: Vec<Asking>) {
    for asking in requests {
        if let Ok(streaming) = asking.attempted().await {
            drop(streaming.finished().await);
        }
    }
}

/// Each attempt that the provider saw is a row, and no row is there twice. A call that met a reset on a kept connection is
/// made once more under its id (`proxy::attempt::Run::may_repeat`): it has two rows, the later one only because the
/// earlier was none that came to its end.
fn check(attempts: &[Attempt], rows: &[EventRow]) {
    let mut seen: HashMap<&str, Vec<&Attempt>> = HashMap::new();
    for attempt in attempts {
        seen.entry(attempt.client_request_id.as_deref().expect("every call had an id")).or_default().push(attempt);
    }
    let mut by_id: HashMap<&str, Vec<&EventRow>> = HashMap::new();
    for row in rows {
        by_id.entry(row.client_request_id.as_deref().expect("every call had an id")).or_default().push(row);
    }
    let none = Vec::new();
    let missing: Vec<_> =
        seen.iter().filter(|(id, seen)| by_id.get(*id).is_none_or(|rows| rows.len() < seen.len())).collect();
    assert!(missing.is_empty(), "attempts without a row: {missing:#?}");
    for (id, rows) in &mut by_id {
        rows.sort_by_key(|row| row.attempt);
        let numbers: Vec<_> = rows.iter().map(|row| (row.exchange, row.attempt)).collect();
        let exchange = rows[0].exchange;
        let told = format!("{id}: {rows:#?}");
        assert!(
            numbers == [(exchange, 1)] || numbers == [(exchange, 1), (exchange, 2)],
            "rows for one attempt: {told}"
        );
        // A kill between the journal and the socket leaves a row for what never arrived: few, and said to be such.
        let (ok, seen) = (|row: &&&EventRow| row.outcome.as_deref() == Some("ok"), seen.get(id).unwrap_or(&none));
        assert!(rows.iter().filter(ok).count() <= usize::from(!seen.is_empty()), "more came back than arrived: {told}");
        let Some(row) = rows.iter().find(ok) else { continue };
        assert_eq!(row.attempt, rows.last().unwrap().attempt, "made again after a good answer: {told}");
        let billed = seen.last().unwrap().usage.unwrap();
        let counted = (row.usage.input_tokens(), row.usage.output_tokens());
        assert_eq!(counted, (billed.input_tokens, billed.output_tokens), "{told}");
    }
}

#[cfg(not(target_os = "linux"))]
#[test]
#[ignore = "power cuts, a clock that steps and a disk that turns read-only need shims that take Linux's calls"]
fn what_only_linux_can_play() {}

/// xorshift: the same rolls for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}
