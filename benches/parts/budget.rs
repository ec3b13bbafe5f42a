//! What budgets cost a call: asking the rules which of 10,000 budgets count it, their balances, the decision, and the
//! reservation in book and journal. Hot instances hold a lease; a cold one needs a commit of the store first.
//!
//! `benches/run budget [INSTANCES HOT]`: by default 1,000,000 instances of 10,000 budgets, 10,000 of them hot.
//! Goals: hot ≤ 10 µs at p50 and ≤ 50 µs at p99; cold ≤ 10 ms at p50, calls of one instance wait for one grant, and
//! grants of many come together.

use super::machine::{memory_kib, percentiles};
use farebox::budget::Instance;
use farebox::catalog::{Cost, Pricing, Terms};
use farebox::clock::{Clock, SystemClock};
use farebox::dialects::{Dialect, Operation};
use farebox::event::{Closing, Opening, Outcome};
use farebox::ledger::{Ledger, Settings};
use farebox::money::Usd;
use farebox::rules::{Question, RuleSet, Verdict, syntax};
use farebox::tenants::{Attribution, Caller};
use farebox::tokens::facts::RequestFacts;
use farebox::tokens::usage::{Kind, TokenUsage, UsageSource};
use futures_util::future::join_all;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUDGETS: usize = 10_000;
const OPENED_AT_ONCE: usize = 2_000;
const COLD_ONE_BY_ONE: usize = 200;
const COLD_AT_ONCE: usize = 500;
const CEILING_PICO: i64 = 2_000;

pub fn run(words: &[String]) {
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let instances = numbers.first().copied().unwrap_or(1_000_000);
    let hot = numbers.get(1).copied().unwrap_or(10_000).min(instances);
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::open(Settings::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let reading = Instant::now();
    let (one, six) = (rules(&[]), rules(&["", "team", "key", "user", "project"]));
    println!("read 2 × {BUDGETS} budgets: {:.1?}", reading.elapsed());
    let bench = Bench { ledger: &ledger, runtime: &runtime };
    ledger.admission().rules_changed(&one.budgets(SystemClock.now()));

    // Behind those that are opened below.
    let mut cold: Vec<Duration> = (0..COLD_ONE_BY_ONE).map(|n| bench.call(&one, &Who::new(instances + n)).1).collect();
    println!("cold, one by one: {} (goal: p50 10,000 µs)", percentiles(&mut cold));
    let same = vec![Who::new(instances + COLD_ONE_BY_ONE); COLD_AT_ONCE];
    bench.at_once(&one, "one instance", &same);
    let other: Vec<Who> = (0..COLD_AT_ONCE).map(|n| Who::new(instances + COLD_ONE_BY_ONE + 1 + n)).collect();
    bench.at_once(&one, "as many instances", &other);

    let before = memory_kib();
    let opening = Instant::now();
    for from in (0..instances).step_by(OPENED_AT_ONCE) {
        let until = instances.min(from + OPENED_AT_ONCE);
        let some: Vec<Arc<Instance>> = (from..until).flat_map(|n| one.instances(&Who::new(n).question())).collect();
        runtime.block_on(ledger.admission().balances(&some));
    }
    let kib = memory_kib().saturating_sub(before);
    println!(
        "{instances} instances of {BUDGETS} budgets opened in {:.1?}; {} MiB more in memory, {} bytes each",
        opening.elapsed(),
        kib >> 10,
        (kib << 10) / instances.max(1) as u64
    );
    bench.hot(&one, hot, 1);
    ledger.admission().rules_changed(&six.budgets(SystemClock.now()));
    bench.hot(&six, hot, 6);
    println!("{:?}", ledger.status().counts);
}

struct Bench<'l> {
    ledger: &'l Ledger,
    runtime: &'l tokio::runtime::Runtime,
}

impl Bench<'_> {
    /// Calls of instances that hold a lease, in no order that a cache could guess.
    fn hot(&self, rules: &RuleSet, hot: usize, budgets: usize) {
        for n in 0..hot {
            self.call(rules, &Who::new(n));
        }
        let (mut decide, mut whole) = (Vec::new(), Vec::new());
        for n in 0..20 * hot {
            let who = Who::new(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % hot);
            let (decided, took) = self.call(rules, &who);
            decide.push(decided);
            whole.push(took);
        }
        println!("hot, {budgets} budget(s) a call: decide {}", percentiles(&mut decide));
        println!("  decide and reserve {} (goal: p50 10 µs, p99 50)", percentiles(&mut whole));
    }

    /// Many calls at the same moment.
    fn at_once(&self, rules: &RuleSet, what: &str, who: &[Who]) {
        let began = Instant::now();
        let call = async |who: &Who| {
            self.admitted(rules, who).await;
            began.elapsed()
        };
        let mut took = self.runtime.block_on(join_all(who.iter().map(call)));
        println!("cold, {} calls at once of {what}: {}", who.len(), percentiles(&mut took));
    }

    /// The time until it was decided, and until it was admitted.
    fn call(&self, rules: &RuleSet, who: &Who) -> (Duration, Duration) {
        self.runtime.block_on(self.admitted(rules, who))
    }

    async fn admitted(&self, rules: &RuleSet, who: &Who) -> (Duration, Duration) {
        let admission = self.ledger.admission();
        let opening = opening(self.ledger);
        let began = Instant::now();
        let question = who.question();
        let instances = rules.instances(&question);
        let balances = admission.balances(&instances).await;
        let decision = rules.decide(&question, &balances);
        let decided = began.elapsed();
        assert!(matches!(decision.verdict, Verdict::Admit), "{:?}", decision.why);
        let reservation = admission.reserve(opening, decision.demands, Duration::from_secs(2)).await.unwrap();
        let took = began.elapsed();
        reservation.settle(closing());
        (decided, took)
    }
}

/// 10,000 budgets in all: one for each member of each team, and one for each value of `others`; no value: for everybody.
fn rules(others: &[&str]) -> RuleSet {
    let mut text = String::from("version: 1\nbudgets:\n");
    for other in others {
        let for_each = if other.is_empty() { String::new() } else { format!("for_each: {other}, ") };
        writeln!(text, "  - {{name: each-{other}x, {for_each}window: lifetime, limit: 5000000 USD}}").unwrap();
    }
    for n in 0..BUDGETS - others.len() {
        writeln!(
            text,
            "  - {{name: team-{n}, scope: {{team: t{n}}}, for_each: user, window: lifetime, limit: 500 USD, thresholds: [80%, 100%]}}"
        )
        .unwrap();
    }
    let known = syntax::Known { catalog: None, providers: &[], receivers: None };
    match syntax::load(&[("rules/bench.yaml", text.as_str())], &known) {
        Ok(loaded) => loaded.rules,
        Err(faults) => {
            eprintln!("{} faults, the first: {:?}", faults.len(), faults.first());
            std::process::exit(1);
        }
    }
}

/// One user of one team.
#[derive(Clone)]
struct Who {
    caller: Caller,
    attribution: Attribution,
    facts: RequestFacts,
    terms: Terms,
}

impl Who {
    fn new(n: usize) -> Who {
        // The last teams have no budget of their own among the six.
        let team = n % (BUDGETS - 5);
        let caller = Caller {
            organisation: Some("acme".into()),
            team: Some(format!("t{team}").into()),
            project: Some(format!("p{}", n % 500).into()),
            key: Some(format!("k{}", n % 2_000).into()),
            user: Some(format!("u{n}").into()),
        };
        let facts = RequestFacts { requested_model: Some("gpt-5-mini".into()), ..RequestFacts::default() };
        Who { caller, attribution: Attribution::default(), facts, terms: Terms::default() }
    }

    fn question(&self) -> Question<'_> {
        Question {
            caller: &self.caller,
            attribution: &self.attribution,
            facts: &self.facts,
            operation: Operation::Chat,
            dialect: Dialect::OpenAi,
            metered: true,
            reads_only: false,
            provider: "openai",
            upstream_model: Some("gpt-5-mini"),
            model: None,
            bound: TokenUsage::ZERO.with(Kind::Input, 512).with(Kind::Output, 128),
            input_is_counted: false,
            terms: &self.terms,
            ceiling: Some(Usd::from_pico(CEILING_PICO)),
            estimate: Some(Usd::from_pico(CEILING_PICO)),
            bounded_by_context: false,
            refuses_swaps: false,
            does_not_fit: false,
            applied: &[],
            now: SystemClock.now(),
        }
    }
}

fn opening(ledger: &Ledger) -> Opening {
    let now = SystemClock.now();
    Opening {
        id: ledger.next_event_id(now),
        exchange: ledger.next_exchange_id(now),
        attempt: 1,
        started_at: now,
        caller: Arc::default(),
        attribution: Arc::default(),
        provider: Arc::from("openai"),
        dialect: Dialect::OpenAi,
        operation: Operation::Chat,
        requested_model: Some(Arc::from("gpt-5-mini")),
        upstream_model: Some(Arc::from("gpt-5-mini")),
        stream: true,
        client_request_id: None,
        decision: Arc::from("admit"),
        rule: None,
        ceiling: Some(Usd::from_pico(CEILING_PICO)),
        estimate: Some(Usd::from_pico(700)),
        estimated_usage: TokenUsage::ZERO.with(Kind::Input, 512),
        estimated_input_cost: Some(Usd::from_pico(128)),
        cost_per_1k_output: Some(Usd::from_pico(2_000)),
    }
}

fn closing() -> Closing {
    let cost = Usd::from_pico(700);
    let priced = Cost {
        total: cost,
        by_kind: vec![(Kind::Output, cost)],
        rates: Vec::new(),
        catalog: Arc::from("2026-11-22"),
        terms: Vec::new(),
    };
    Closing {
        ended_at: SystemClock.now(),
        response_model: None,
        status: Some(200),
        outcome: Outcome::Ok,
        complete: true,
        usage: TokenUsage::ZERO.with(Kind::Input, 512).with(Kind::Output, 128),
        usage_source: UsageSource::Reported,
        pricing: Pricing::Priced(Box::new(priced)),
        service_tier: None,
        provider_cost: None,
        provider_request_id: None,
        finish_reason: None,
        overhead_micros: None,
        first_token_micros: None,
        upstream_micros: None,
        request_bytes: 2_048,
        response_bytes: 9_000,
        withheld: Usd::ZERO,
        deferred: None,
    }
}
