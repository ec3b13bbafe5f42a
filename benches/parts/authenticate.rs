//! What knowing 100,000 callers costs: reading the keyring at the start, and finding one caller in it.
//!
//! `benches/run authenticate`; a number behind `--` is another count of keys. Goals: start < 1 s, one call's
//! share ≤ 2 µs at the median.

use farebox::clock::Timestamp;
use farebox::dialects::Operation;
use farebox::store::{NewKey, Reader, Store, pepper};
use farebox::tenants::{KeyLimits, KeyText, Permissions, TenantKind};
use std::hint::black_box;
use std::time::{Duration, Instant};

const KEYS: usize = 100_000;
const TEAMS: usize = 100;
const CALLS: usize = 200_000;
/// One look at the clock is shared by so many calls.
const CALLS_AT_ONCE: usize = 10;
const NOW: Timestamp = Timestamp(1_795_262_400_000_000);

pub fn run(words: &[String]) {
    let keys = words.iter().find_map(|word| word.parse().ok()).unwrap_or(KEYS);
    let place = tempfile::tempdir().unwrap();
    let mut store = Store::open(place.path(), NOW).unwrap();
    let pepper = pepper(place.path()).unwrap();
    let texts: Vec<KeyText> = (0..keys).map(text).collect();
    let permissions = Permissions { models: vec!["gpt-4o*".into(), "gpt-5*".into()], ..Permissions::default() };
    let making = Instant::now();
    let made = store.change(NOW, "bench", |changes| {
        for team in 0..TEAMS {
            changes.create_tenant(TenantKind::Team, &format!("team-{team}"), None)?;
        }
        for (number, text) in texts.iter().enumerate() {
            changes.create_key(&NewKey {
                name: &format!("key-{number}"),
                holder: Some((TenantKind::Team, &format!("team-{}", number % TEAMS))),
                user: None,
                permissions: &permissions,
                limits: &KeyLimits::default(),
                tags: &Vec::new(),
                not_after: None,
                digest: pepper.digest(text.expose()),
                prefix: text.prefix(),
            })?;
        }
        Ok(())
    });
    made.unwrap();
    println!("make {keys} keys                  {:>9.1} ms", millis(making.elapsed()));

    let reader = Reader::open(place.path()).unwrap();
    let reading = Instant::now();
    let keyring = reader.keyring(pepper).unwrap();
    println!("read the keyring at the start     {:>9.1} ms (goal: 1,000)", millis(reading.elapsed()));
    assert_eq!(keyring.len(), keys);
    let asking = Instant::now();
    assert_eq!(reader.tenants_generation().unwrap(), keyring.generation);
    println!("ask whether anything changed      {:>9.3} ms", millis(asking.elapsed()));

    let mut shares: Vec<Duration> = Vec::with_capacity(CALLS / CALLS_AT_ONCE);
    let mut place = 1usize;
    for _ in 0..CALLS / CALLS_AT_ONCE {
        let begun = Instant::now();
        for _ in 0..CALLS_AT_ONCE {
            // Far from the one before: no cache knows it.
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let text = &texts[(place >> 33) % keys];
            let credential = keyring.authenticate(black_box(text.expose()), NOW).unwrap();
            let allowed = credential.permissions.may_call(Operation::Chat, None).is_ok()
                && credential.permissions.may_use(Operation::Chat, "openai", Some("gpt-5-mini"), None).is_ok();
            assert!(black_box(allowed));
        }
        shares.push(begun.elapsed() / CALLS_AT_ONCE as u32);
    }
    shares.sort_unstable();
    for (name, of_hundred) in [("p50", 50), ("p99", 99)] {
        let share = shares[shares.len() * of_hundred / 100];
        println!("authenticate and permit, {name}      {:>9.3} µs (goal: p50 2)", share.as_secs_f64() * 1e6);
    }
}

/// The same on every run.
fn text(number: usize) -> KeyText {
    KeyText::from_random(blake3::hash(&number.to_le_bytes()).as_bytes())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
