//! What a scrape shows of what happened.

use super::*;
use crate::clock::Timestamp;
use crate::money::Usd;
use crate::store::fixtures::call;
use crate::tenants::{Caller, KeyHealth};
use crate::tokens::usage;

const AT: Timestamp = Timestamp(1_795_302_453_000_000);

fn metrics(settings: &MetricsSettings) -> Metrics {
    Metrics::new(settings, &["openai"], "0.0.0").unwrap()
}

fn teams(names: &[&str]) -> MetricsSettings {
    MetricsSettings { teams: names.iter().copied().map(Arc::from).collect(), ..MetricsSettings::default() }
}

fn of_team(team: &str) -> Event {
    let mut event = call(AT, 1);
    event.opening.caller = Arc::new(Caller { team: Some(team.into()), ..Caller::default() });
    event.opening.provider = "openai".into();
    event
}

fn beside(model: &str) -> Beside {
    Beside { model_label: Some(model.into()), ..Beside::default() }
}

/// The second scrape: a series is shown at zero first.
fn scraped(metrics: &Metrics) -> String {
    metrics.text();
    metrics.text()
}

#[track_caller]
fn assert_shows(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == line), "no line `{line}` in\n{text}");
}

#[test]
fn every_metric_of_the_table_is_shown_and_no_other() {
    let metrics = metrics(&MetricsSettings::default());
    let mut event = of_team("search").costing(5_000_000);
    event.opening.stream = true;
    event.opening.estimate = Some(Usd::from_pico(4_000_000));
    event.closing.first_token_micros = Some(1_000);
    event.closing.overhead_micros = Some(300);
    event.closing.complete = true;
    event.closing.usage_source = UsageSource::Reported;
    event.closing.usage = TokenUsage::ZERO.with(usage::Kind::Input, 10).with(usage::Kind::Output, 10);
    metrics.settled(&event, &beside("gpt-4o"));
    metrics.in_force(Reloaded::Catalog, true, AT);
    metrics.budgets.show(vec![(super::super::budgets::tests::instance("search", "", 0), Default::default())]);
    metrics.alerts.begin_at_zero(["finops"].into_iter());
    metrics.rules.decided("no-opus", super::super::budgets::Action::Swap);
    metrics.rules.swapped("no-opus", "search", "claude-opus-4-8", "claude-haiku-5-5");
    metrics.provider_keys([("openai".into(), "first".into(), KeyHealth::Valid)].into_iter());
    let text = metrics.text();
    for family in names::ALL {
        assert!(
            text.contains(&format!("# TYPE {} {}\n", family.name, family.kind.name())),
            "{} in\n{text}",
            family.name
        );
    }
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next()) {
        assert!(names::ALL.iter().any(|family| family.name == name), "{name} is not in the table");
    }
}

#[test]
fn the_cost_is_the_ledgers_integer() {
    let metrics = metrics(&teams(&["search"]));
    for _ in 0..3 {
        metrics.settled(&of_team("search").costing(333_333_333_333), &beside("gpt-4o"));
    }
    assert_shows(
        &scraped(&metrics),
        "farebox_cost_usd_total{team=\"search\",project=\"none\",provider=\"openai\",model=\"gpt-4o\"} 0.999999999999",
    );
}

#[test]
fn a_team_that_is_not_configured_is_other_and_counted_as_such() {
    let metrics = metrics(&teams(&["search"]));
    metrics.settled(&of_team("invented").costing(1), &beside("gpt-4o"));
    let text = scraped(&metrics);
    assert!(!text.contains("invented"));
    assert!(text.contains("team=\"other\""), "{text}");
    assert_shows(&text, "farebox_metric_label_overflow_total{label=\"team\"} 1");
}

#[test]
fn a_million_users_teams_and_models_make_fewer_than_20_000_series() {
    let metrics = metrics(&teams(&["a", "b", "c", "d"]));
    let mut event = of_team("a").costing(1_000);
    event.opening.stream = true;
    event.closing.first_token_micros = Some(1_000);
    let mut other = beside("gpt-4o");
    for number in 0..1_000_000u64 {
        let user = Some(Arc::from(format!("user-{number}")));
        // Every thousandth brings a team, a project and a model that nobody has heard of; more models than any catalog has.
        if number % 1_000 == 0 {
            let named = |what: &str| Some(Arc::from(format!("{what}-{number}")));
            let team = if number % 2_000 == 0 { named("team") } else { Some(Arc::from("b")) };
            event.opening.caller = Arc::new(Caller { team, project: named("project"), ..Caller::default() });
        }
        if number % 100 == 0 {
            event.closing.outcome = Outcome::ALL[(number / 100) as usize % Outcome::ALL.len()];
            other = beside(&format!("model-{}", number / 100));
        }
        event.opening.caller = Arc::new(Caller { user, ..(*event.opening.caller).clone() });
        metrics.settled(&event, &other);
    }
    let text = scraped(&metrics);
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(lines < 20_000, "{lines} series");
    assert!(text.contains("model=\"other\""));
    // Nothing was dropped: what was folded is counted all the same.
    let counted: f64 = text
        .lines()
        .filter(|line| line.starts_with("farebox_requests_total{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    assert_eq!(counted, 1_000_000.0);
}

#[test]
fn the_types_of_tokens_are_disjoint_and_add_up() {
    let metrics = metrics(&MetricsSettings::default());
    let mut event = of_team("x");
    event.closing.usage = TokenUsage::ZERO
        .with(usage::Kind::Input, 100)
        .with(usage::Kind::InputAudio, 7)
        .with(usage::Kind::CacheRead, 40)
        .with(usage::Kind::CacheWrite1h, 5)
        .with(usage::Kind::Output, 20)
        .with(usage::Kind::Reasoning, 30);
    metrics.settled(&event, &beside("gpt-4o"));
    let text = scraped(&metrics);
    for (kind, units) in [("input", 107), ("cache_read", 40), ("cache_write", 5), ("output", 20), ("reasoning", 30)] {
        let found = text
            .lines()
            .find(|line| line.starts_with("farebox_tokens_total{") && line.contains(&format!("type=\"{kind}\"")));
        assert!(found.is_some_and(|line| line.ends_with(&format!(" {units}"))), "{kind}: {found:?}");
    }
}

#[test]
fn what_a_cache_saved_is_the_difference_to_the_rate_of_input() {
    let shipped = crate::catalog::file::shipped().unwrap();
    let model = shipped.resolve("openai", "gpt-4o").unwrap().model;
    let price = |used: &TokenUsage| match model.price(used, &crate::catalog::Terms::default(), AT) {
        Pricing::Priced(cost) => cost,
        other => panic!("{other:?}"),
    };
    let cached = TokenUsage::ZERO.with(usage::Kind::Input, 1_000).with(usage::Kind::CacheRead, 9_000);
    let uncached = TokenUsage::ZERO.with(usage::Kind::Input, 10_000);
    let saved = price(&uncached).total.as_pico() - price(&cached).total.as_pico();
    assert!(saved > 0);
    assert_eq!(saved_by_cache(&price(&cached)), u64::try_from(saved).unwrap());
}

#[test]
fn a_failed_reload_is_seen_and_the_time_of_the_good_one_stays() {
    let metrics = metrics(&MetricsSettings::default());
    metrics.in_force(Reloaded::Rules, true, AT);
    metrics.reloaded(Reloaded::Rules, false, Timestamp(AT.0 + 5_000_000));
    let text = scraped(&metrics);
    assert_shows(&text, "farebox_config_last_reload_successful{what=\"rules\"} 0");
    assert_shows(&text, "farebox_config_last_reload_success_timestamp_seconds{what=\"rules\"} 1795302453");
    assert_shows(&text, "farebox_config_reloads_total{what=\"rules\",result=\"error\"} 1");
}

#[test]
fn the_catalogs_date_is_a_moment() {
    let metrics = metrics(&MetricsSettings::default());
    metrics.catalog_in_force(3, "2026-11-21-0123abcd");
    assert_shows(&scraped(&metrics), "farebox_price_catalog_updated_timestamp_seconds 1795219200");
}

#[test]
fn a_provider_that_says_another_cost_is_counted_by_model() {
    let metrics = metrics(&MetricsSettings::default());
    let told = |theirs: i64| {
        let mut event = call(AT, 1).costing(100_000_000_000);
        event.opening.provider = "openai".into();
        event.closing.provider_cost = Some(Usd::from_pico(theirs));
        metrics.settled(&event, &Beside { model_label: Some("gpt-4o".into()), ..Beside::default() });
    };
    [100_000_000_000, 100_900_000_000, 102_000_000_000, 0].into_iter().for_each(told);
    metrics.text();
    let text = metrics.text();
    assert!(
        text.contains("farebox_provider_cost_differs_total{provider=\"openai\",model=\"gpt-4o\"} 2"),
        "two of four are more than 1 % apart: {text}"
    );
}
