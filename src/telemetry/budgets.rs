//! Budgets and rules as series. Budgets are shown as they stand when they are scraped, replaced whole, so that one that
//! is gone from the rules is gone from the exposition.

use super::names::{self, Family, Kind};
use super::series::Tally;
use crate::budget::account::{SeriesId, Unit};
use crate::budget::window::{Every, WindowRule};
use crate::budget::{Balance, Instance};
use crate::clock::Timestamp;
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Instances shown; of more (a budget `for_each` user), those that are used most.
const INSTANCES_MAX: usize = 300;
/// Swaps from one model to another by one rule for one team; beyond it they are counted as from and to `other`.
const SWAPS_MAX: usize = 2_000;
const OTHER: &str = "other";
const PICO_PER_USD: f64 = 1e12;

const FAMILIES: [Family; 7] = [
    names::BUDGET_LIMIT,
    names::BUDGET_SPENT,
    names::BUDGET_HELD,
    names::BUDGET_WINDOW_START,
    names::BUDGET_WINDOW_END,
    names::BUDGET_CHARGED,
    names::BUDGET_THRESHOLD,
];

/// What a rule did to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let through with a warning.
    Warn,
    Swap,
    /// Lowered the output limit.
    Clamp,
    /// Sent to another provider.
    Reroute,
    /// Refused for its rate; it may come again.
    Limit,
    Block,
}

impl Action {
    pub const ALL: [Action; 6] =
        [Action::Warn, Action::Swap, Action::Clamp, Action::Reroute, Action::Limit, Action::Block];

    fn name(self) -> &'static str {
        match self {
            Action::Warn => "warn",
            Action::Swap => "swap",
            Action::Clamp => "clamp",
            Action::Reroute => "reroute",
            Action::Limit => "limit",
            Action::Block => "block",
        }
    }
}

/// What rules did. Rules' names are the configuration's.
pub struct RuleCounts {
    decisions: Tally,
    swaps: Tally,
}

impl RuleCounts {
    pub(super) fn new(decisions: Tally, swaps: Tally) -> RuleCounts {
        RuleCounts { decisions, swaps }
    }

    /// A rule changed or refused a request.
    pub fn decided(&self, rule: &str, action: Action) {
        self.decisions.add(&[rule, action.name()], 1);
    }

    /// A rule rewrote the model's name. Models are the catalog's ids; `team` is the label as configured.
    pub fn swapped(&self, rule: &str, team: &str, from: &str, to: &str) {
        let (from, to) = if self.swaps.series() < SWAPS_MAX { (from, to) } else { (OTHER, OTHER) };
        self.swaps.add(&[rule, team, from, to], 1);
    }
}

/// Budgets in dollars, as they stood when they were last looked at.
#[derive(Clone)]
pub struct Budgets {
    descs: Arc<Vec<Desc>>,
    standing: Arc<Mutex<Standing>>,
}

#[derive(Default)]
struct Standing {
    shown: Vec<(Arc<Instance>, Balance)>,
    charged: HashMap<SeriesId, Charged>,
}

/// A counter made of what a budget had spent at one look and the next.
#[derive(Clone, Copy)]
struct Charged {
    window_start: Timestamp,
    spent: u128,
    total: u128,
}

impl Charged {
    /// A new window begins at nothing; what was taken back is no charge.
    fn then(self, instance: &Instance, balance: &Balance) -> Charged {
        let start = instance.window.counts_from;
        let rolled = start != self.window_start && !matches!(instance.budget.window, WindowRule::Rolling { .. });
        let before = if rolled { 0 } else { self.spent };
        let total = self.total + balance.spent.saturating_sub(before);
        Charged { window_start: start, spent: balance.spent, total }
    }
}

impl Budgets {
    pub(super) fn new() -> Result<Budgets, prometheus::Error> {
        let desc = |family: &Family| {
            let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
            Desc::new(family.name.into(), family.help.into(), labels, HashMap::new())
        };
        let descs = FAMILIES.iter().map(desc).collect::<Result<_, _>>()?;
        Ok(Budgets { descs: Arc::new(descs), standing: Arc::default() })
    }

    /// Replaces what is shown: every open account of a current window. Those that are no dollars, or are limits per
    /// minute, are left out.
    pub fn show(&self, accounts: Vec<(Arc<Instance>, Balance)>) {
        let mut shown = accounts;
        shown.retain(|(instance, _)| instance.budget.unit == Unit::PicoUsd && !instance.budget.is_rate_limit);
        shown.sort_by_key(|(instance, balance)| (std::cmp::Reverse(balance.used()), instance.account));
        // One account a series: of a rolling window and at a turn of windows, the newest.
        let mut seen = HashSet::new();
        shown.sort_by_key(|(instance, _)| std::cmp::Reverse(instance.window.start));
        shown.retain(|(instance, _)| seen.insert(instance.series));
        shown.sort_by_key(|(_, balance)| std::cmp::Reverse(balance.used()));
        shown.truncate(INSTANCES_MAX);
        let mut standing = self.standing.lock();
        let charged = shown.iter().map(|(instance, balance)| {
            let first = Charged { window_start: instance.window.counts_from, spent: balance.spent, total: 0 };
            let before = standing.charged.get(&instance.series).copied();
            (instance.series, before.map_or(first, |before| before.then(instance, balance)))
        });
        standing.charged = charged.collect();
        standing.shown = shown;
    }
}

impl Collector for Budgets {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let standing = self.standing.lock();
        FAMILIES.iter().map(|family| standing.family(family)).filter(|family| !family.get_metric().is_empty()).collect()
    }
}

impl Standing {
    fn family(&self, family: &Family) -> MetricFamily {
        let mut metrics = Vec::new();
        for (instance, balance) in &self.shown {
            let window = &instance.window;
            if *family == names::BUDGET_THRESHOLD {
                for threshold in &instance.budget.thresholds {
                    let percent = f64::from(threshold.0) / 100.0;
                    metrics.push(metric(family, instance, Some(&percent.to_string()), percent / 100.0));
                }
                continue;
            }
            let value = match family {
                f if *f == names::BUDGET_LIMIT => Some(dollars(balance.limit)),
                f if *f == names::BUDGET_SPENT => Some(dollars(balance.spent)),
                f if *f == names::BUDGET_HELD => Some(dollars(balance.held)),
                f if *f == names::BUDGET_WINDOW_START => moment(window.counts_from),
                f if *f == names::BUDGET_WINDOW_END => moment(window.end),
                _ => self.charged.get(&instance.series).map(|charged| dollars(charged.total)),
            };
            metrics.extend(value.map(|value| metric(family, instance, None, value)));
        }
        let mut shown = MetricFamily::default();
        shown.set_name(family.name.to_owned());
        shown.set_help(family.help.to_owned());
        shown.set_field_type(if family.kind == Kind::Money { MetricType::COUNTER } else { MetricType::GAUGE });
        shown.set_metric(metrics);
        shown
    }
}

fn metric(family: &Family, instance: &Instance, threshold: Option<&str>, value: f64) -> Metric {
    let values = [&*instance.budget.name, &*instance.scope, window_word(&instance.budget.window)];
    let pair = |(name, value): (&&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value(value.to_owned());
        pair
    };
    let mut metric =
        Metric::from_label(family.labels.iter().zip(values.into_iter().chain(threshold)).map(pair).collect());
    if family.kind == Kind::Money {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn window_word(rule: &WindowRule) -> &'static str {
    match rule {
        WindowRule::Calendar { every, .. } => match every {
            Every::Minute => "minute",
            Every::Hour => "hour",
            Every::Day => "day",
            Every::Week => "week",
            Every::Month => "month",
            Every::Year => "year",
        },
        WindowRule::Rolling { .. } => "rolling",
        WindowRule::Lifetime => "lifetime",
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown only; the integer is kept")]
fn dollars(pico: u128) -> f64 {
    pico as f64 / PICO_PER_USD
}

/// `None`: there is no such moment (a lifetime has no end).
#[expect(clippy::cast_precision_loss, reason = "a moment as Prometheus writes it")]
fn moment(moment: Timestamp) -> Option<f64> {
    (moment.0 != i64::MAX && moment.0 != i64::MIN).then(|| moment.as_micros() as f64 / 1e6)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::budget::window::Window;
    use crate::budget::{BasisPoints, Budget, Hardness};
    use prometheus::{Registry, TextEncoder};

    const USD: u128 = 1_000_000_000_000;

    pub(in super::super) fn instance(name: &str, scope: &str, start: i64) -> Arc<Instance> {
        let budget = Budget {
            name: name.into(),
            unit: Unit::PicoUsd,
            limit: 100 * USD,
            hardness: Hardness::Hard,
            window: WindowRule::Calendar { every: Every::Day, zone: jiff::tz::TimeZone::UTC, from: 0 },
            thresholds: vec![BasisPoints(8_000)],
            is_rate_limit: false,
            clamp: true,
            show_amounts: false,
            message: None,
        };
        let [start, end] = [start, start + 86_400].map(|seconds| Timestamp(seconds * 1_000_000));
        Arc::new(Instance::new(Arc::new(budget), scope.into(), Window { start, end, counts_from: start }))
    }

    fn spent(usd: u128) -> Balance {
        Balance { spent: usd * USD, held: 0, limit: 100 * USD }
    }

    fn text(budgets: &Budgets) -> String {
        let registry = Registry::new();
        registry.register(Box::new(budgets.clone())).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[track_caller]
    fn assert_shows(budgets: &Budgets, line: &str) {
        let text = text(budgets);
        assert!(text.lines().any(|one| one == line), "no line `{line}` in\n{text}");
    }

    const LABELS: &str = "{budget=\"search\",scope=\"team=search\",window=\"day\"}";

    #[test]
    fn what_was_charged_never_goes_down_though_the_window_turns_and_money_comes_back() {
        let budgets = Budgets::new().unwrap();
        for (start, usd) in [(0, 8), (0, 10), (0, 9), (86_400, 1)] {
            budgets.show(vec![(instance("search", "team=search", start), spent(usd))]);
        }
        // 8 → 10 is 2, 10 → 9 was taken back, and the next day began with 1.
        assert_shows(&budgets, &format!("farebox_budget_charged_usd_total{LABELS} 3"));
        assert_shows(&budgets, &format!("farebox_budget_spent_usd{LABELS} 1"));
        assert_shows(&budgets, &format!("farebox_budget_window_start_timestamp_seconds{LABELS} 86400"));
        assert_shows(
            &budgets,
            "farebox_budget_threshold_ratio{budget=\"search\",scope=\"team=search\",window=\"day\",threshold=\"80\"} 0.8",
        );
    }

    #[test]
    fn a_budget_that_is_gone_is_shown_no_more() {
        let budgets = Budgets::new().unwrap();
        budgets.show(vec![(instance("search", "team=search", 0), spent(1))]);
        budgets.show(Vec::new());
        assert_eq!(text(&budgets), "");
    }

    #[test]
    fn a_budget_for_each_of_many_users_shows_those_that_are_used_most() {
        let budgets = Budgets::new().unwrap();
        let many =
            (0..5_000u32).map(|user| (instance("each", &format!("user={user}"), 0), spent(u128::from(user % 97))));
        budgets.show(many.collect());
        let text = text(&budgets);
        let shown = text.lines().filter(|line| line.starts_with("farebox_budget_spent_usd{")).count();
        assert_eq!(shown, INSTANCES_MAX);
        let least = text.lines().filter(|line| line.starts_with("farebox_budget_spent_usd{"));
        assert!(least.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).all(|usd| usd > 90.0 - 1.0));
    }
}
