//! A node at work while everything around it changes: rules are written anew as soon as those before are in force, providers fail at random, keys
//! are revoked and made. At the end it has grown in nothing, and the ledger's rows cost what the headers of the answers
//! said. `make soak` does it for 30 minutes (`FAREBOX_SOAK_SECONDS`), `make test` for a few seconds.

use super::{Dice, verified};
use crate::support::shop::Shop;
use crate::support::{Asking, asking, chat, shop, with};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECONDS: u64 = 12;
const CALLERS: u64 = 6;
/// Ledger, tokenizers and connections have their size after this share of the time.
const WARM_SHARE: u32 = 3;
/// Beyond what an allocator keeps for itself.
const GROWTH_BYTES_MAX: u64 = 48 << 20;
/// Between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Connections come and go; what leaks goes on.
const GROWTH_FILES_MAX: usize = 40;

fn rules(round: u64) -> String {
    let swap = if round.is_multiple_of(2) { "[gpt-4o]" } else { "[gpt-4.1]" };
    format!(
        "version: 1\nbudgets:\n  - {{name: house, window: month, limit: 9000 USD}}\n  - {{name: each-{round}, for_each: key, window: \
         day, limit: 900 USD}}\nlimits:\n  - {{name: pace, for_each: key, requests_per_minute: 900000}}\nswaps:\n  - {{name: \
         turn, from: {swap}, to: [gpt-4o-mini]}}\n"
    )
}

/// What answers said: pico-dollars by exchange.
type Told = Arc<parking_lot::Mutex<HashMap<String, i64>>>;

/// One after the other until it is over. `key` is read anew for each call, since keys end.
async fn caller(url: String, key: Arc<arc_swap::ArcSwap<String>>, seed: u64, over: Arc<AtomicBool>, told: Told) -> u64 {
    let (mut dice, mut refused) = (Dice(seed), 0);
    while !over.load(Ordering::Relaxed) {
        let stream = dice.below(3) == 0;
        let mut body = with(chat("Say something."), json!({"stream": stream, "max_tokens": 60}));
        body["model"] = json!(["gpt-4o", "gpt-4.1"][dice.below(2) as usize]);
        let ask: Asking = asking("POST", &url).json(&body).with("authorization", &format!("Bearer {}", key.load()));
        let ask = match dice.below(10) {
            0 => ask.wishing("status", 503),
            1 => ask.wishing("reset", "yes"),
            2 => ask.wishing("cut-after", dice.below(4)),
            _ => ask.wishing("output-tokens", dice.below(50)),
        };
        let Ok(streaming) = ask.attempted().await else { continue };
        let answered = streaming.finished().await;
        refused += u64::from(answered.status == 401);
        if let (Some(exchange), Some(cost)) =
            (answered.header("x-farebox-exchange-id"), answered.header("x-farebox-cost"))
        {
            told.lock().insert(exchange.to_owned(), pico(cost));
        }
    }
    refused
}

fn pico(usd: &str) -> i64 {
    let (whole, part) = usd.split_once('.').unwrap_or((usd, ""));
    whole.parse::<i64>().unwrap() * 1_000_000_000_000 + format!("{part:0<12}").parse::<i64>().unwrap()
}

fn command(shop: &Shop, words: &[&str]) -> String {
    let output = shop.command(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A new key, and the end of the one before.
fn next_key(shop: &Shop, nth: u64) -> String {
    let key = command(shop, &["key", "create", &format!("soak-{nth}")]).trim().to_owned();
    if nth > 0 {
        command(shop, &["key", "delete", &format!("soak-{}", nth - 1)]);
    }
    key
}

async fn until_it_opens(shop: &Shop, key: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while shop.ask("GET", "/farebox/me").with("authorization", &format!("Bearer {key}")).answered().await.status != 200
    {
        assert!(Instant::now() < until, "the new key opens in time");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn in_force(shop: &Shop) -> String {
    let detail = shop.admin("/readyz").answered().await.json();
    detail["rules"]["version"].as_str().unwrap_or_default().to_owned()
}

async fn until_others_are_in_force(shop: &Shop, before: &str) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let version = in_force(shop).await;
        if version != before {
            return version;
        }
        assert!(Instant::now() < until, "new rules are in force in time");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_at_work_among_changes_grows_in_nothing_and_adds_up() {
    let seconds = std::env::var("FAREBOX_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let shop = shop().with_setting("access: keys").with_rules(&rules(0)).open().await;
    let first = next_key(&shop, 0);
    until_it_opens(&shop, &first).await;
    let key = Arc::new(arc_swap::ArcSwap::from_pointee(first));
    let (over, told) = (Arc::new(AtomicBool::new(false)), Told::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|nth| {
            let url = shop.url("/v1/chat/completions");
            tokio::spawn(caller(url, Arc::clone(&key), nth + 1, Arc::clone(&over), Arc::clone(&told)))
        })
        .collect();
    let (began, length) = (Instant::now(), Duration::from_secs(seconds));
    let rounds = AtomicU64::new(0);
    let mut warm: Option<(u64, usize)> = None;
    let (mut memory, mut files) = (0, 0);
    let mut version = in_force(&shop).await;
    while began.elapsed() < length {
        let round = rounds.fetch_add(1, Ordering::Relaxed) + 1;
        shop.rewrite_rules(&rules(round % 50));
        version = until_others_are_in_force(&shop, &version).await;
        if round.is_multiple_of(4) {
            let new = next_key(&shop, round / 4);
            until_it_opens(&shop, &new).await;
            key.store(Arc::new(new));
        }
        (memory, files) = (shop.memory(), shop.files_open());
        if warm.is_none() && began.elapsed() > length / WARM_SHARE {
            warm = Some((memory, files));
        }
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let (warm_memory, warm_files) = warm.expect("it was warm");
    assert!(memory < warm_memory + GROWTH_BYTES_MAX, "{warm_memory} bytes grew to {memory}");
    assert!(files < warm_files + GROWTH_FILES_MAX, "{warm_files} open files grew to {files}");
    let told = told.lock().clone();
    assert!(told.len() as u64 > seconds * 5, "{} answers with a cost", told.len());
    agrees(&shop, &told).await;
    eprintln!(
        "{seconds} s: {} costs told, memory {} to {} MiB, files {warm_files} to {files}",
        told.len(),
        warm_memory >> 20,
        memory >> 20
    );
}

/// Each answer's header is its row's cost, and the sums of the ledger are those of its rows.
async fn agrees(shop: &Shop, told: &HashMap<String, i64>) {
    let attempts = usize::try_from(shop.simulator.log.totals().attempts).unwrap();
    let rows = shop.rows(attempts).await;
    let mut booked: HashMap<String, i64> = HashMap::new();
    for row in &rows {
        *booked.entry(row.exchange.to_string()).or_default() += row.cost.map_or(0, |cost| cost.as_pico());
    }
    let differ: Vec<_> = told.iter().filter(|(exchange, cost)| booked.get(*exchange) != Some(cost)).collect();
    assert!(differ.is_empty(), "{} of {}: {:?}", differ.len(), told.len(), &differ[..differ.len().min(5)]);
    verified(shop);
}
