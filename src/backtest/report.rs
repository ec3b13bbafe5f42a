//! What a replay has to say: counts, money, by rule and by team, the dearest changes, the budgets' curves. Money is
//! integer pico-dollars inside, exact decimal dollars as JSON.

use super::book::{Curve, Point};
use crate::money::Usd;
use crate::queries::budgets::{amount, unit_name};
use crate::queries::view::Pico;
use crate::store::EventRow;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Changed calls that are told one by one.
const COSTLIEST: usize = 10;
/// Teams told apart; the rest are one line.
const TEAMS_MAX: usize = 10_000;
const OTHER_TEAMS: &str = "(others)";

/// One thing that a rule did to a call. `saved`: pico-dollars, negative where it costs more; `None`: a price is not
/// known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What a rule of then had done is not done.
    Undone {
        rule: Arc<str>,
        saved: Option<i128>,
    },
    Swapped {
        rule: Arc<str>,
        saved: Option<i128>,
    },
    Clamped {
        rule: Arc<str>,
        saved: Option<i128>,
    },
    Rerouted {
        rule: Arc<str>,
        saved: Option<i128>,
    },
}

/// How a call that goes differs from what it was; no steps: not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub steps: Vec<Step>,
    /// `None`: not known.
    pub cost: Option<Usd>,
    pub to: Option<Arc<str>>,
}

/// The answer of a backtest.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Attempts that were replayed; adjustments are not calls.
    pub calls: u64,
    pub adjustments: u64,
    pub totals: Totals,
    /// By what was saved, most first.
    pub by_rule: Vec<RuleLine>,
    pub by_team: Vec<TeamLine>,
    /// The dearest calls that would have gone otherwise, dearest first.
    pub costliest_changes: Vec<ChangedCall>,
    pub budgets: Vec<BudgetCurve>,
    /// What a replay cannot know, in words.
    pub notes: Vec<String>,
}

/// Sums over calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub unchanged: u64,
    pub blocked: u64,
    pub swapped: u64,
    pub clamped: u64,
    pub rerouted: u64,
    /// Swaps of the rules of then that are not made.
    pub undone: u64,
    /// Changed calls whose new cost is not known: taken at their old one.
    pub of_unknown_cost: u64,
    #[serde(rename = "cost_usd", serialize_with = "dollars")]
    pub cost_pico: i128,
    #[serde(rename = "cost_under_new_rules_usd", serialize_with = "dollars")]
    pub cost_after_pico: i128,
    /// Negative where the new rules cost more.
    #[serde(rename = "saved_usd", serialize_with = "dollars")]
    pub saved_pico: i128,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleLine {
    pub rule: Arc<str>,
    /// `blocks`, `swaps`, `clamps`, `reroutes`, `warns`, or `undone`.
    pub action: &'static str,
    pub calls: u64,
    #[serde(rename = "saved_usd", serialize_with = "dollars")]
    pub saved_pico: i128,
    /// For a call that it refused, in its own words.
    pub example: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TeamLine {
    /// `None`: calls of no team.
    pub team: Option<Arc<str>>,
    pub calls: u64,
    #[serde(flatten)]
    pub totals: Totals,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedCall {
    pub exchange_id: String,
    pub started_at: String,
    pub team: Option<Arc<str>>,
    pub key: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    /// `blocked`, `swapped`, …: what was done last.
    pub change: &'static str,
    pub rule: Arc<str>,
    /// The model that it goes to.
    pub to_model: Option<Arc<str>>,
    #[serde(rename = "cost_usd", serialize_with = "dollars")]
    pub cost_pico: i128,
    #[serde(rename = "cost_under_new_rules_usd", serialize_with = "dollars")]
    pub cost_after_pico: i128,
}

/// A budget as it would have stood at the end of each day (UTC) on which one of its windows was under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetCurve {
    pub budget: Arc<str>,
    /// `usd`, `tokens` or `requests`.
    pub unit: &'static str,
    /// Of one instance; dollars are decimal.
    pub limit: String,
    /// Calls that it refused or clamped for want of room.
    pub fell_short: u64,
    pub days: Vec<DayPoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayPoint {
    pub day: String,
    /// In the windows under way, all instances together.
    pub spent: String,
    pub instances: u64,
    /// Of the instance nearest to its limit, percent.
    pub used_percent_max: String,
}

/// The running sums.
#[derive(Debug, Default)]
pub struct Tally {
    calls: u64,
    adjustments: u64,
    unmetered: u64,
    totals: Totals,
    by_rule: BTreeMap<(Arc<str>, &'static str), RuleSums>,
    by_team: BTreeMap<Option<Arc<str>>, (u64, Totals)>,
    /// Dearest first.
    costliest: Vec<ChangedCall>,
}

#[derive(Debug, Default)]
struct RuleSums {
    calls: u64,
    saved: i128,
    example: Option<Arc<str>>,
}

impl Step {
    fn parts(&self) -> (&Arc<str>, Option<i128>, &'static str, &'static str) {
        match self {
            Step::Undone { rule, saved } => (rule, *saved, "undone", "not swapped"),
            Step::Swapped { rule, saved } => (rule, *saved, "swaps", "swapped"),
            Step::Clamped { rule, saved } => (rule, *saved, "clamps", "clamped"),
            Step::Rerouted { rule, saved } => (rule, *saved, "reroutes", "rerouted"),
        }
    }
}

impl Tally {
    /// A later correction of a cost: in the sums before and after, decided about by nobody.
    pub fn adjusted(&mut self, row: &EventRow) {
        self.adjustments += 1;
        let cost = row.cost.map_or(0, Usd::widen);
        self.add(row, |totals| {
            totals.cost_pico += cost;
            totals.cost_after_pico += cost;
        });
    }

    pub fn warned(&mut self, rule: &Arc<str>) {
        self.rule(rule, "warns").calls += 1;
    }

    pub fn went(&mut self, row: &EventRow, change: &Change) {
        let before = row.cost.map_or(0, Usd::widen);
        let is_unknown = !change.steps.is_empty() && change.cost.is_none() && row.cost.is_some();
        let after = change.cost.map_or(before, Usd::widen);
        self.count(row, |totals| {
            totals.unchanged += u64::from(change.steps.is_empty());
            totals.of_unknown_cost += u64::from(is_unknown);
            let did = |action| u64::from(change.steps.iter().any(|step| step.parts().2 == action));
            totals.swapped += did("swaps");
            totals.clamped += did("clamps");
            totals.rerouted += did("reroutes");
            totals.undone += did("undone");
            totals.cost_pico += before;
            totals.cost_after_pico += after;
            totals.saved_pico += before - after;
        });
        for (rule, saved, action, _) in change.steps.iter().map(Step::parts) {
            let sums = self.rule(rule, action);
            sums.calls += 1;
            sums.saved += saved.filter(|_| !is_unknown).unwrap_or(0);
        }
        if let Some((rule, _, _, word)) = change.steps.last().map(Step::parts) {
            self.remember(row, word, rule, change.to.clone(), after);
        }
    }

    pub fn refused(&mut self, row: &EventRow, rule: &Arc<str>, why: &Arc<str>) {
        let before = row.cost.map_or(0, Usd::widen);
        self.count(row, |totals| {
            totals.blocked += 1;
            totals.cost_pico += before;
            totals.saved_pico += before;
        });
        let sums = self.rule(rule, "blocks");
        sums.calls += 1;
        sums.saved += before;
        sums.example.get_or_insert_with(|| Arc::clone(why));
        self.remember(row, "blocked", rule, None, 0);
    }

    pub fn report(self, curves: Vec<Curve>) -> Report {
        let fell_short = |name: &Arc<str>| {
            let of = |action| self.by_rule.get(&(Arc::clone(name), action)).map_or(0, |sums| sums.calls);
            of("blocks") + of("clamps")
        };
        let budgets = curves.iter().map(|curve| BudgetCurve::new(curve, fell_short(&curve.budget.name))).collect();
        let notes = notes(&self);
        let mut by_rule: Vec<RuleLine> = self
            .by_rule
            .into_iter()
            .map(|((rule, action), RuleSums { calls, saved, example })| RuleLine {
                rule,
                action,
                calls,
                saved_pico: saved,
                example,
            })
            .collect();
        by_rule.sort_by(|a, b| b.saved_pico.cmp(&a.saved_pico).then_with(|| b.calls.cmp(&a.calls)));
        let mut by_team: Vec<TeamLine> =
            self.by_team.into_iter().map(|(team, (calls, totals))| TeamLine { team, calls, totals }).collect();
        by_team.sort_by(|a, b| b.totals.saved_pico.cmp(&a.totals.saved_pico).then_with(|| b.calls.cmp(&a.calls)));
        Report {
            calls: self.calls,
            adjustments: self.adjustments,
            totals: self.totals,
            by_rule,
            by_team,
            costliest_changes: self.costliest,
            budgets,
            notes,
        }
    }

    fn count(&mut self, row: &EventRow, add: impl Fn(&mut Totals)) {
        self.calls += 1;
        self.unmetered += u64::from(row.pricing.as_deref() == Some("unmetered"));
        if let Some((calls, _)) = self.add(row, add) {
            *calls += 1;
        }
    }

    /// Adds to the totals and to the team's.
    fn add(&mut self, row: &EventRow, add: impl Fn(&mut Totals)) -> Option<&mut (u64, Totals)> {
        add(&mut self.totals);
        if self.by_team.len() >= TEAMS_MAX && !self.by_team.contains_key(&row.team) {
            let others = self.by_team.entry(Some(OTHER_TEAMS.into())).or_default();
            add(&mut others.1);
            return Some(others);
        }
        let team = self.by_team.entry(row.team.clone()).or_default();
        add(&mut team.1);
        Some(team)
    }

    fn rule(&mut self, rule: &Arc<str>, action: &'static str) -> &mut RuleSums {
        self.by_rule.entry((Arc::clone(rule), action)).or_default()
    }

    fn remember(
        &mut self,
        row: &EventRow,
        change: &'static str,
        rule: &Arc<str>,
        to: Option<Arc<str>>,
        cost_after_pico: i128,
    ) {
        let cost_pico = row.cost.map_or(0, Usd::widen);
        let place = self.costliest.partition_point(|call| call.cost_pico >= cost_pico);
        if place >= COSTLIEST {
            return;
        }
        let call = ChangedCall {
            exchange_id: row.exchange.to_string(),
            started_at: row.started_at.to_rfc3339(),
            team: row.team.clone(),
            key: row.key.clone(),
            model: row.upstream_model.clone().or_else(|| row.requested_model.clone()),
            change,
            rule: Arc::clone(rule),
            to_model: to,
            cost_pico,
            cost_after_pico,
        };
        self.costliest.insert(place, call);
        self.costliest.truncate(COSTLIEST);
    }
}

impl BudgetCurve {
    fn new(curve: &Curve, fell_short: u64) -> BudgetCurve {
        let unit = curve.budget.unit;
        let day = |point: &Point| DayPoint {
            day: point.day.to_rfc3339().chars().take("2026-11-21".len()).collect(),
            spent: amount(unit, point.spent),
            instances: point.instances,
            used_percent_max: format!("{}.{:02}", point.used_max.0 / 100, point.used_max.0 % 100),
        };
        BudgetCurve {
            budget: Arc::clone(&curve.budget.name),
            unit: unit_name(unit),
            limit: amount(unit, curve.budget.limit),
            fell_short,
            days: curve.points.iter().map(day).collect(),
        }
    }
}

fn notes(tally: &Tally) -> Vec<String> {
    let mut notes = vec![
        "The ledger keeps no text. Input sizes are the billed ones, what a model had to be able to do is guessed from what was used, and output limits are worked back from the ceilings.".to_owned(),
        "Calls that Farebox refused are not in the ledger: what a looser file would have let through does not show.".to_owned(),
        "People are taken to behave as they did: a refused call is not sent again, and a swapped one uses as many tokens as before.".to_owned(),
    ];
    if tally.totals.of_unknown_cost > 0 {
        let count = tally.totals.of_unknown_cost;
        notes.push(format!("{count} changed calls go where no price is known; they are taken at their old cost."));
    }
    if tally.unmetered > 0 {
        let count = tally.unmetered;
        notes.push(format!("{count} unmetered calls are let through: whether they only read is not kept."));
    }
    if tally.adjustments > 0 {
        let count = tally.adjustments;
        notes.push(format!("{count} adjustments are in the sums and in no budget."));
    }
    notes
}

fn dollars<S: serde::Serializer>(pico: &i128, serializer: S) -> Result<S::Ok, S::Error> {
    Pico(*pico).serialize(serializer)
}
