use super::recall::price;
use super::*;
use crate::catalog::{Catalog, Pricing, Terms, file};
use crate::dialects::Dialect;
use crate::event::Event;
use crate::money::Usd;
use crate::rules::syntax;
use crate::store::fixtures::{NOON, call, later};
use crate::store::{JournalPosition, Store};
use crate::tokens::usage::{Kind, TokenUsage};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

fn catalog() -> Arc<Catalog> {
    static SHIPPED: LazyLock<Arc<Catalog>> = LazyLock::new(|| Arc::new(file::load(file::SHIPPED, &[]).unwrap()));
    Arc::clone(&SHIPPED)
}

fn premises(rules: &str) -> Premises {
    let catalog = catalog();
    let known = syntax::Known { catalog: Some(&catalog), providers: &[], receivers: None };
    let text = format!("version: 1\nzone: UTC\n{rules}");
    let loaded = syntax::load(&[("rules/test.yaml", &text)], &known);
    let loaded = loaded.unwrap_or_else(|faults| panic!("{faults:?}"));
    let providers = [("openai", Dialect::OpenAi), ("anthropic", Dialect::Anthropic)];
    Premises {
        rules: Arc::new(loaded.rules),
        providers: providers.into_iter().map(|(name, dialect)| (name.into(), dialect)).collect(),
        catalog,
    }
}

/// What rules would have made of these events.
fn backtest(rules: &str, events: &[Event]) -> Report {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path(), NOON).unwrap();
    for (batch, events) in events.chunks(10_000).enumerate() {
        store.fold(1, events, JournalPosition { segment: 0, offset: 1 + batch as u64 }).unwrap();
    }
    let mut backtest = Backtest::new(premises(rules));
    let mut seen = 0;
    replay(&Reader::open(dir.path()).unwrap(), TimeRange::default(), &mut backtest, &mut |rows| seen = rows).unwrap();
    assert_eq!(seen, events.len() as u64);
    backtest.finish()
}

/// A call of the research team that began so many seconds after noon, took a second and cost what the catalog says.
fn research(second: i64, model: &str, input: u64, output: u64) -> Event {
    let mut event = call(later(second), 0).of_model("openai", model);
    Arc::make_mut(&mut event.opening.caller).team = Some("research".into());
    event.opening.stream = false;
    event.opening.started_at = later(second);
    event.closing.ended_at = later(second + 1);
    event.closing.service_tier = None;
    event.closing.request_bytes = input * 4;
    event.closing.usage = TokenUsage::ZERO.with(Kind::Input, input).with(Kind::Output, output);
    let model = catalog().resolve("openai", model).unwrap().model;
    event.closing.pricing = model.price(&event.closing.usage, &Terms::default(), event.opening.started_at);
    let bound = TokenUsage::ZERO.with(Kind::Input, input * 4).with(Kind::Output, output * 2);
    event.opening.ceiling = model.ceiling(&bound, &Terms::default(), event.opening.started_at);
    event
}

fn cost(event: &Event) -> i128 {
    match &event.closing.pricing {
        Pricing::Priced(cost) => cost.total.widen(),
        other => panic!("{other:?}"),
    }
}

/// Of the catalog, for the same tokens.
fn cost_with(event: &Event, model: &str) -> i128 {
    let model = catalog().resolve("openai", model).unwrap().model;
    price(&model, &event.closing.usage, &Terms::default(), event.opening.started_at).unwrap().widen()
}

fn does(report: &Report, rule: &str, action: &str) -> Option<(u64, i128)> {
    let line = report.by_rule.iter().find(|line| &*line.rule == rule && line.action == action)?;
    Some((line.calls, line.saved_pico))
}

/// 1,000 tokens in and 1,000 out of gpt-5, one a minute.
fn calls(count: i64) -> Vec<Event> {
    (0..count).map(|minute| research(60 * minute, "gpt-5", 1_000, 1_000)).collect()
}

#[test]
fn rules_that_say_nothing_change_nothing() {
    let events = calls(5);
    let report = backtest("", &events);
    let all: i128 = events.iter().map(cost).sum();
    assert_eq!((report.calls, report.totals.unchanged), (5, 5));
    assert_eq!((report.totals.cost_pico, report.totals.cost_after_pico, report.totals.saved_pico), (all, all, 0));
    assert!(report.by_rule.is_empty() && report.costliest_changes.is_empty());
    assert!(report.notes.iter().any(|note| note.contains("refused are not in the ledger")), "{:?}", report.notes);
}

#[test]
fn a_budget_blocks_what_does_not_fit_and_its_curve_shows_how_it_stood_each_day() {
    let mut events = calls(10);
    events.push(research(86_400, "gpt-5", 1_000, 1_000));
    let each = cost(&events[0]);
    assert_eq!(each, 11_250_000_000, "gpt-5 is 1.25 and 10 USD a million");
    let rules =
        "budgets: [{name: research-day, scope: {team: research}, window: day, limit: 0.0500 USD, clamp: false}]";
    let report = backtest(rules, &events);
    assert_eq!((report.totals.blocked, report.totals.unchanged), (6, 5), "four fit into the first day");
    assert_eq!(does(&report, "research-day", "blocks"), Some((6, 6 * each)));
    assert_eq!(report.totals.cost_after_pico, 5 * each);
    let curve = &report.budgets[0];
    assert_eq!((&*curve.budget, curve.unit, &*curve.limit, curve.fell_short), ("research-day", "usd", "0.05", 6));
    let days: Vec<_> =
        curve.days.iter().map(|day| (day.day.as_str(), day.spent.as_str(), day.used_percent_max.as_str())).collect();
    assert_eq!(days, [("2026-11-21", "0.045", "90.00"), ("2026-11-22", "0.01125", "22.50")]);
    let (team, totals) = (&report.by_team[0].team, report.by_team[0].totals);
    assert_eq!((team.as_deref(), totals.blocked, totals.saved_pico), (Some("research"), 6, 6 * each));
}

#[test]
fn a_call_that_fits_only_in_part_is_cut_where_the_budget_allows() {
    let rules = |clamp| {
        format!("budgets: [{{name: day, scope: {{team: research}}, window: day, limit: 0.0170 USD, clamp: {clamp}}}]")
    };
    let report = backtest(&rules(true), &calls(2));
    assert_eq!((report.totals.clamped, report.totals.blocked), (1, 0));
    let (calls_cut, saved) = does(&report, "day", "clamps").unwrap();
    // 0.00575 USD are left: 0.00125 of input and 450 tokens.
    assert_eq!((calls_cut, saved), (1, 5_500_000_000));
    assert_eq!(backtest(&rules(false), &calls(2)).totals.blocked, 1);
}

#[test]
fn a_swap_is_priced_with_the_tokens_that_were_used() {
    let events = calls(10);
    let rules = "
budgets: [{name: month, scope: {team: research}, window: month, limit: 0.1 USD}]
swaps:
  - {name: saves, when: {team: research, budget: {name: month, used: '>= 40%'}}, from: [gpt-5], to: [gpt-5-mini]}
";
    let report = backtest(rules, &events);
    let (dear, cheap) = (cost(&events[0]), cost_with(&events[0], "gpt-5-mini"));
    assert_eq!((report.totals.unchanged, report.totals.swapped, report.totals.blocked), (4, 6, 0));
    assert_eq!(does(&report, "saves", "swaps"), Some((6, 6 * (dear - cheap))));
    let first = &report.costliest_changes[0];
    assert_eq!((first.change, first.to_model.as_deref()), ("swapped", Some("gpt-5-mini")));
    assert_eq!((first.cost_pico, first.cost_after_pico), (dear, cheap));
    assert_eq!(report.budgets[0].days[0].spent, crate::money::pico_to_decimal(4 * dear + 6 * cheap));
}

#[test]
fn a_swap_for_calls_that_do_not_fit_is_tried_before_they_are_refused() {
    let rules = "
budgets: [{name: day, scope: {team: research}, window: day, limit: 0.012 USD, clamp: false}]
swaps: [{name: rather-mini, when: {budget: {name: day, fits: false}}, from: [gpt-5], to: [gpt-5-nano]}]
";
    let report = backtest(rules, &calls(3));
    assert_eq!((report.totals.unchanged, report.totals.swapped, report.totals.blocked), (1, 1, 1));
}

#[test]
fn a_target_that_cannot_serve_the_call_is_passed_over() {
    let mut with_picture = research(0, "gpt-5", 1_000, 100);
    with_picture.closing.usage[Kind::InputImage] = 800;
    let long = research(60, "gpt-5", 300_000, 100);
    let rules = "swaps: [{name: old, from: [gpt-5], to: [gpt-3.5-turbo, gpt-5-mini]}]";
    let report = backtest(rules, &[with_picture, long]);
    let to: Vec<_> = report.costliest_changes.iter().map(|call| call.to_model.as_deref().unwrap()).collect();
    assert_eq!(to, ["gpt-5-mini", "gpt-5-mini"]);
}

#[test]
fn a_swap_of_then_that_is_no_longer_made_costs_more() {
    let mut event = research(0, "gpt-5-mini", 1_000, 1_000);
    event.opening.requested_model = Some("gpt-5".into());
    (event.opening.decision, event.opening.rule) = ("swap".into(), Some("old-swap".into()));
    let more = cost_with(&event, "gpt-5") - cost(&event);
    let report = backtest("", std::slice::from_ref(&event));
    assert_eq!((report.totals.undone, report.totals.saved_pico), (1, -more));
    assert_eq!(does(&report, "old-swap", "undone"), Some((1, -more)));
    let same = backtest("swaps: [{name: new-swap, from: [gpt-5], to: [gpt-5-mini]}]", std::slice::from_ref(&event));
    assert_eq!(
        (same.totals.unchanged, same.totals.saved_pico),
        (1, 0),
        "the same swap under another name is no change"
    );
}

#[test]
fn limits_on_calls_go_by_the_events_own_times() {
    let mut events: Vec<Event> = (0..5).map(|second| research(second, "gpt-5", 10, 10)).collect();
    events.push(research(60, "gpt-5", 10, 10));
    let report = backtest("limits: [{name: calm, for_each: key, requests_per_minute: 3}]", &events);
    assert_eq!((does(&report, "calm", "blocks").unwrap().0, report.totals.unchanged), (2, 4));
    let dear = backtest("limits: [{name: no-dear-call, cost_per_call: 0.001 USD, clamp: false}]", &calls(1));
    assert_eq!(dear.totals.blocked, 1);
    let line = &dear.by_rule[0];
    assert!(line.example.as_deref().unwrap().contains("0.001 USD"), "{line:?}");
}

#[test]
fn who_is_excepted_is_let_through_and_counted() {
    let rules = "budgets: [{name: day, scope: {team: research}, window: day, limit: 0.02 USD, except: {key: on-call}, clamp: false}]";
    let mut events = calls(3);
    Arc::make_mut(&mut events[2].opening.caller).key = Some("on-call".into());
    let each = cost(&events[0]);
    let report = backtest(rules, &events);
    assert_eq!((report.totals.blocked, report.totals.unchanged), (1, 2));
    assert_eq!(report.budgets[0].days[0].spent, crate::money::pico_to_decimal(2 * each));
}

#[test]
fn unknown_prices_are_told_and_never_taken_as_nothing() {
    let unknown = research(5, "gpt-5", 10, 10).of_model("openai", "secret-model").unpriced();
    let hard = "budgets: [{name: day, window: day, limit: 1 USD}]";
    assert_eq!(backtest(hard, std::slice::from_ref(&unknown)).totals.blocked, 1);
    let swapped = research(0, "gpt-5", 10, 10);
    let rules = "swaps: [{name: away, from: [gpt-5], to: [gpt-5-mini]}]";
    let report = backtest(rules, &[swapped.clone(), unknown]);
    assert_eq!((report.totals.unchanged, report.totals.swapped), (1, 1));
    assert_eq!(report.totals.cost_pico, cost(&swapped));
}

#[test]
fn adjustments_are_in_the_sums_and_are_no_calls() {
    let event = research(0, "gpt-5", 10, 10);
    let adjustment = event.adjusted(later(100), -5);
    let report = backtest("", &[event.clone(), adjustment]);
    assert_eq!((report.calls, report.adjustments), (1, 1));
    assert_eq!(report.totals.cost_pico, cost(&event) - 5);
}

#[test]
fn a_budget_whose_window_had_begun_is_named() {
    let rules =
        premises("budgets: [{name: month, window: month, limit: 1 USD}, {name: hour, window: hour, limit: 1 USD}]");
    let (oldest, named) = windows_begin(&rules.rules, NOON).unwrap();
    assert_eq!(named.iter().map(|name| &**name).collect::<Vec<_>>(), ["month"]);
    assert_eq!(oldest.to_rfc3339_seconds(), "2026-11-01T00:00:00Z");
}

#[test]
fn budgets_begin_with_what_the_ledger_says_was_spent_before() {
    let mut events = calls(10);
    events.insert(0, research(-86_400, "gpt-5", 1_000, 1_000));
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path(), NOON).unwrap();
    store.fold(1, &events, JournalPosition { segment: 0, offset: 1 }).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    let rules = "budgets: [{name: day, scope: {team: research}, window: day, limit: 0.0500 USD, clamp: false}]
swaps: [{name: never, when: {team: other}, from: [gpt-5], to: [gpt-5-mini]}]";
    // Three of today's calls were before; four fit into the day.
    let since = later(60 * 3);
    let premises = premises(rules);
    let (oldest, _) = windows_begin(&premises.rules, since).unwrap();
    let mut backtest = Backtest::new(premises);
    begin_with(&reader, TimeRange { from: Some(oldest), to: Some(since) }, &mut backtest).unwrap();
    replay(&reader, TimeRange { from: Some(since), to: None }, &mut backtest, &mut |_| {}).unwrap();
    let report = backtest.finish();
    assert_eq!((report.calls, report.totals.unchanged, report.totals.blocked), (7, 1, 6));
    let days: Vec<_> = report.budgets[0].days.iter().map(|day| (day.day.as_str(), day.spent.as_str())).collect();
    assert_eq!(days, [("2026-11-21", "0.045")], "the day before is not in it, and today is whole");
}

#[test]
fn what_had_no_model_for_a_call_then_has_none_in_a_replay() {
    let mut seeing = research(0, "gpt-5", 1_000, 100);
    seeing.closing.usage = seeing.closing.usage.with(Kind::InputImage, 50);
    let rules = |target: &str| format!("swaps: [{{name: saves, from: [gpt-5], to: ['{target}']}}]");
    let swapped = |target: &str, event: &Event| backtest(&rules(target), std::slice::from_ref(event)).totals.swapped;
    assert_eq!(swapped("gpt-5-mini", &seeing), 1);
    assert_eq!(swapped("gpt-4", &seeing), 0, "retired, and blind");
    assert_eq!(swapped("text-embedding-3-small", &research(0, "gpt-5", 1_000, 100)), 0, "no model for chats");
    assert_eq!(swapped("gpt-4o-mini", &research(0, "gpt-5", 200_000, 100)), 0, "too small");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is asked of which rules, what was saved is what is missing, by rule and by team as in all.
    #[test]
    fn what_was_saved_is_what_is_missing(
        seen in prop::collection::vec((0i64..5_000, 0usize..3, 1u64..20_000, 0u64..3_000), 1..60),
        limit in 1u64..400,
    ) {
        let mut seconds: Vec<_> = seen;
        seconds.sort();
        let models = ["gpt-5", "gpt-5-mini", "gpt-4o"];
        let events: Vec<Event> = seconds
            .iter()
            .enumerate()
            .map(|(place, (second, model, input, output))| research(second + place as i64, models[*model], *input, *output))
            .collect();
        let rules = format!("
budgets: [{{name: day, scope: {{team: research}}, window: day, limit: 0.{limit:03} USD}},
          {{name: tokens, for_each: key, window: hour, limit: {} tokens}}]
swaps: [{{name: saves, when: {{budget: {{name: day, used: '>= 30%'}}}}, from: [gpt-4o, gpt-5], to: [gpt-5-nano]}}]
clamps: [{{name: short, when: {{model: gpt-5-mini}}, output_tokens: 500}}]
", limit * 500);
        let report = backtest(&rules, &events);
        let totals = &report.totals;
        prop_assert_eq!(totals.cost_pico, events.iter().map(cost).sum::<i128>());
        prop_assert_eq!(totals.cost_pico - totals.saved_pico, totals.cost_after_pico);
        prop_assert_eq!(report.by_rule.iter().map(|line| line.saved_pico).sum::<i128>(), totals.saved_pico);
        prop_assert_eq!(report.by_team.iter().map(|line| line.totals.saved_pico).sum::<i128>(), totals.saved_pico);
        for day in report.budgets.iter().find(|curve| &*curve.budget == "day").iter().flat_map(|curve| &curve.days) {
            let spent: Usd = day.spent.parse().unwrap();
            prop_assert!(spent.as_pico() <= i64::try_from(limit).unwrap() * 1_000_000_000, "the cap holds: {spent}");
        }
    }
}

/// A row's moment is its own, also where the ledger was written later.
#[test]
fn days_follow_the_calls_not_the_clock() {
    let report =
        backtest("budgets: [{name: day, window: day, limit: 1 USD}]", &[research(-86_400 * 20, "gpt-5", 10, 10)]);
    assert_eq!(report.budgets[0].days[0].day, "2026-11-01");
}

/// What was told from outside had happened: it uses budgets up, and nothing blocks or swaps it.
#[test]
fn usage_from_outside_is_spent_and_never_blocked() {
    let rules = "swaps:\n  - {name: down, from: [gpt-4o], to: [gpt-4o-mini]}\nblocks:\n  - {name: none, when: {model: gpt-4.1}}\nbudgets:\n  - {name: all, window: day, limit: 1 USD}\n";
    let told = |second, model| {
        let mut event = research(second, model, 300_000, 60_000);
        event.opening.decision = crate::event::TRACKED.into();
        event
    };
    let asked = research(30, "gpt-4o-mini", 3_000, 1_000);
    let report = backtest(rules, &[told(0, "gpt-4o"), told(10, "gpt-4.1"), asked]);
    assert_eq!((report.totals.blocked, report.totals.swapped), (1, 0), "{report:?}");
    assert_eq!(
        does(&report, "all", "blocks").map(|(calls, _)| calls),
        Some(1),
        "the call that was asked finds it used up"
    );
}
