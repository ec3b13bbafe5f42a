//! A node at work under the shim: killed once in the middle, started again, and stopped in order.

use super::super::shim::compiled;
use super::super::{CALLERS, Dice, requests, rules, stopped};
use super::promises::{Known, Records, records};
use super::trace::{self, Entry};
use crate::support::shop::{Shop, rows_in};
use crate::support::{Asking, shop};
use farebox::store::EventRow;
use futures_util::StreamExt;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tempfile::TempDir;

/// `DIE` of shim.c, from the C library's SIGRTMIN.
const DIE_AFTER_FIRST: i32 = 5;
/// For an answer, and for the rest of it.
const PATIENCE: Duration = Duration::from_millis(100);
const SHIM: &str = include_str!("shim.c");
/// Another start of the machine than this one: for whoever reads the journals later, the power was away between.
const BOOT: &str = "00000000-0000-4000-8000-00000000f00d\n";

/// What was done to a data directory, and what came of the calls when nothing was cut.
pub struct Recorded {
    pub shop: Shop,
    pub trace: Vec<Entry>,
    records: BTreeMap<String, Records>,
    /// The data directory while it was recorded.
    pub root: PathBuf,
    /// By the id that the caller gave.
    rows: HashMap<String, EventRow>,
    _tools: TempDir,
}

impl Recorded {
    pub fn known(&self) -> Known<'_> {
        Known { trace: &self.trace, records: &self.records, rows: &self.rows }
    }
}

/// `attempts`: in each of the two lives. `swallow`: syncs that are not done (see shim.c).
pub async fn record(attempts: u64, swallow: Option<&str>, dice: &mut Dice) -> Recorded {
    let tools = tempfile::tempdir().unwrap();
    let (log, boot) = (tools.path().join("log"), tools.path().join("boot"));
    std::fs::write(&boot, BOOT).unwrap();
    let furnishing = shop()
        .with_setting("progress_interval: 20ms")
        .with_setting("drain_max: 150ms")
        .with_setting("ledger: {segment_bytes: 1MiB, backlog_bytes_max: 64MiB}")
        .with_rules(&rules())
        .with_variable("LD_PRELOAD", compiled(SHIM, &tools).to_str().unwrap())
        .with_variable("POWER_LOG", log.to_str().unwrap())
        .with_variable("POWER_BOOT", boot.to_str().unwrap());
    let furnishing = match swallow {
        Some(which) => furnishing.with_variable("POWER_SWALLOW", which),
        None => furnishing,
    };
    let mut shop = furnishing.open().await;
    let ids = Arc::new(AtomicU64::new(0));
    for life in 0..2 {
        if life > 0 {
            shop.start();
        }
        let before = shop.simulator.log.totals().attempts;
        let enough = {
            let log = shop.simulator.log.clone();
            async move { log.until(|log| log.totals().attempts >= before + attempts).await }
        };
        tokio::select! {
            () = enough => {}
            () = call_on(&shop, &ids, life, dice) => {}
        }
        if life == 0 {
            die(&shop);
            shop.ended().await;
        } else {
            stopped(&mut shop).await;
        }
    }
    let rows = rows_in(&shop.data_dir());
    let rows = once(rows);
    for variable in ["LD_PRELOAD", "POWER_BOOT", "POWER_SWALLOW"] {
        shop.forget_variable(variable);
    }
    let trace = trace::read(&log);
    let mut records = records(&trace);
    records.retain(|id, _| rows.contains_key(id));
    Recorded { records, trace, root: shop.data_dir(), rows, shop, _tools: tools }
}

/// Rows by the id that the caller gave. A call that was made again after a reset has two, and is left to the kill loop.
fn once(rows: Vec<EventRow>) -> HashMap<String, EventRow> {
    let id = |row: &EventRow| row.client_request_id.as_deref().unwrap().to_owned();
    let mut counts: HashMap<String, u64> = HashMap::new();
    rows.iter().for_each(|row| *counts.entry(id(row)).or_default() += 1);
    rows.into_iter().map(|row| (id(&row), row)).filter(|(id, _)| counts[id] == 1).collect()
}

/// Batch after batch, each with a user, and so a budget, of its own.
async fn call_on(shop: &Shop, ids: &Arc<AtomicU64>, life: u64, dice: &mut Dice) {
    let ask = |asking: Asking| async {
        // What stalls is left alone.
        if let Ok(Ok(streaming)) = tokio::time::timeout(PATIENCE, asking.attempted()).await {
            drop(tokio::time::timeout(PATIENCE, streaming.finished()).await);
        }
    };
    for batch in 0.. {
        let asked = requests(shop, ids, life * 1_000_000 + batch, dice);
        futures_util::stream::iter(asked).for_each_concurrent(usize::try_from(CALLERS).unwrap(), ask).await;
    }
}

fn die(shop: &Shop) {
    let id = i32::try_from(shop.pid()).unwrap();
    // SAFETY: a signal to a child of our own that was not waited for yet.
    #[expect(unsafe_code, reason = "the library has no other way to signal a child")]
    let asked = unsafe { libc::kill(id, libc::SIGRTMIN() + DIE_AFTER_FIRST) };
    assert_eq!(asked, 0);
}
