//! What is told from outside, with a real ledger.

use super::*;
use crate::budget::account::Unit;
use crate::rules::syntax::{Known as Names, load};
use crate::store::fixtures::NOON;
use crate::store::{AccountQuery, EventQuery};
use crate::telemetry::{Log, Metrics, MetricsSettings, Otel};
use crate::tokens::usage::Kind;
use std::path::Path;

#[derive(Debug)]
struct AtNoon;

impl Clock for AtNoon {
    fn now(&self) -> Timestamp {
        NOON
    }
}

const RULES: &str = "version: 1
budgets:
  - {name: research-month, scope: {team: research}, window: month, limit: 0.001 USD}
  - {name: calls, window: month, limit: 100 requests}
";

fn tracker(dir: &Path) -> Tracker {
    let clock: Arc<dyn Clock> = Arc::new(AtNoon);
    let ledger = Arc::new(Ledger::open(crate::ledger::Settings::new(dir), Arc::clone(&clock)).unwrap());
    let catalog = crate::catalog::load(crate::catalog::file::SHIPPED, &[]).unwrap();
    let rules = load(&[("rules/house.yaml", RULES)], &Names::default()).unwrap().rules;
    let metrics = Metrics::new(&MetricsSettings::default(), &["openai"], "0.0.0").unwrap();
    Tracker::new(Parts {
        ledger,
        rules: Arc::new(ArcSwap::from_pointee(rules)),
        catalog: Arc::new(ArcSwap::from_pointee(catalog)),
        telemetry: Arc::new(Telemetry::new(metrics, Otel::off(), Log::silent())),
        clock,
        reader: Reader::open(dir).unwrap(),
        dialects: HashMap::new(),
    })
}

fn told(id: &str) -> Told {
    Told {
        id: id.into(),
        caller: Arc::new(Caller { team: Some("research".into()), ..Caller::default() }),
        attribution: Arc::default(),
        provider: "openai".into(),
        model: "gpt-4o".into(),
        operation: Operation::Chat,
        usage: TokenUsage::ZERO.with(Kind::Input, 1_000).with(Kind::Output, 100),
        usage_source: UsageSource::Reported,
        stream: false,
        terms: Terms::default(),
        occurred_at: None,
        exchange: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_twice_is_booked_once_also_after_a_restart_and_above_a_limit() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let tracker = tracker(dir.path());
        let first = tracker.track(&told("job-1")).await.unwrap();
        // 1,000 × $2.50 + 100 × $10 a million: above the budget's 0.001, and booked all the same.
        assert_eq!((first.cost.unwrap().to_string().as_str(), first.known), ("0.0035", None));
        let again = tracker.track(&told("job-1")).await.unwrap();
        assert_eq!((again.event, again.known), (first.event, Some(Known::Told)));
        let other = Told { usage: TokenUsage::ZERO.with(Kind::Input, 7), ..told("job-1") };
        assert!(matches!(tracker.track(&other).await, Err(NotTracked::Differs)));
        assert!(tracker.parts.ledger.close().folded);
        first
    };
    let tracker = tracker(dir.path());
    let again = tracker.track(&told("job-1")).await.unwrap();
    assert_eq!((again.event, again.cost, again.known), (first.event, first.cost, Some(Known::Told)));
    assert_eq!(tracker.track(&told("job-2")).await.unwrap().known, None);
    assert!(tracker.parts.ledger.close().folded);
    let rows = tracker.parts.reader.events(&EventQuery { limit: 9, ..EventQuery::default() }).unwrap();
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.decision.as_deref() == Some(TRACKED) && row.outcome.as_deref() == Some("ok")));
    let accounts = tracker.parts.reader.budget_accounts(&AccountQuery { limit: 9, ..AccountQuery::default() }).unwrap();
    let settled = |unit| accounts.iter().find(|account| account.unit == unit).unwrap().settled;
    assert_eq!((settled(Unit::PicoUsd), settled(Unit::Requests)), (7_000_000_000, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_tellings_of_one_call_at_once_one_is_booked() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = Arc::new(tracker(dir.path()));
    let telling: Vec<_> = (0..20)
        .map(|_| {
            let tracker = Arc::clone(&tracker);
            tokio::spawn(async move { tracker.track(&told("job")).await.is_ok_and(|tracked| tracked.known.is_none()) })
        })
        .collect();
    let mut booked = 0;
    for one in telling {
        booked += u32::from(one.await.unwrap());
    }
    assert_eq!(booked, 1);
    assert!(tracker.parts.ledger.close().folded);
    assert_eq!(tracker.parts.reader.count_events().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_price_is_booked_as_unpriced_and_what_the_proxy_metered_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let tracker = tracker(dir.path());
    let unknown = tracker.track(&Told { model: "no-such-model".into(), ..told("a") }).await.unwrap();
    assert_eq!((unknown.cost, &*unknown.pricing), (None, "unknown_model"));
    assert!(tracker.parts.ledger.close().folded);
    let same = Told { exchange: Some(unknown.exchange), ..told("b") };
    let metered = tracker.track(&same).await.unwrap();
    assert_eq!((metered.event, metered.known), (unknown.event, Some(Known::Metered)));
}
