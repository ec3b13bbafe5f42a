//! Sections → rules.

use super::Written;
use super::keys;
use super::section::{Notes, Placed, Section, kind};
use super::values::{self, Read};
use crate::budget::book::Unit;
use crate::budget::window::{Every, WindowRule};
use crate::budget::{BasisPoints, Budget, Hardness};
use crate::clock::Timestamp;
use crate::rules::Otherwise;
use crate::rules::condition::{BudgetState, Condition, Need, When};
use crate::rules::field::{Field, Pattern};
use crate::rules::set::{BlockRule, BudgetRule, ClampRule, Head, LimitRule, RouteRule, SwapRule};
use crate::yaml::{Node, Value};
use jiff::tz::TimeZone;
use std::sync::Arc;

const THRESHOLDS: [BasisPoints; 2] = [BasisPoints(8_000), BasisPoints(10_000)];
const RATE_MAX: u64 = u32::MAX as u64;

/// Who is told of which budgets' thresholds.
#[derive(Debug)]
pub(in crate::rules) struct Alert {
    pub budgets: Vec<Placed<Pattern>>,
    pub thresholds: Vec<BasisPoints>,
    pub receivers: Vec<Placed<Arc<str>>>,
}

/// One file under way.
pub(super) struct Reader<'w> {
    pub name: Arc<str>,
    pub zone: TimeZone,
    pub written: &'w mut Written,
}

pub fn files(roots: &[(Arc<str>, Node)], notes: &Notes) -> Written {
    let mut written = Written::default();
    for (name, root) in roots {
        let Some(file) = Section::new(root, &keys::FILE, notes) else { continue };
        file.value("version", version);
        let zone = file.or("zone", TimeZone::UTC, values::zone);
        let mut reader = Reader { name: Arc::clone(name), zone, written: &mut written };
        reader.file(&file);
    }
    written
}

fn version(text: &str) -> Read<()> {
    match text {
        "1" => Ok(()),
        _ => Err(values::Wrong {
            what: "this Farebox does not read".to_owned(),
            remedy: "write `version: 1`".to_owned(),
        }),
    }
}

pub(super) fn hardness(text: &str) -> Read<Hardness> {
    values::one_of(&[("hard", Hardness::Hard), ("soft", Hardness::Soft), ("shadow", Hardness::Shadow)])(text)
}

fn admits(text: &str) -> Read<bool> {
    values::one_of(&[("admit", true), ("refuse", false)])(text)
}

pub(super) fn need(text: &str) -> Read<Need> {
    values::one_of(&Need::NAMES)(text)
}

fn field(text: &str) -> Read<Field> {
    match Field::named(text) {
        Some(field) => Ok(field),
        None => {
            let known = super::scalar::field_names();
            let remedy = match crate::yaml::nearest(text, known.iter().copied()) {
                Some(near) => format!("write `{near}`"),
                None => format!("known here: {}, tag.<name>", known.join(", ")),
            };
            Err(values::Wrong { what: "is no field of a call".to_owned(), remedy })
        }
    }
}

fn arc(text: &str) -> Read<Arc<str>> {
    values::text(text).map(Arc::from)
}

fn of<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}

impl Reader<'_> {
    fn file(&mut self, file: &Section<'_>) {
        for section in file.list("budgets", &keys::BUDGET) {
            self.budget(&section);
        }
        for section in file.list("limits", &keys::LIMIT) {
            self.limit(&section);
        }
        for section in file.list("swaps", &keys::SWAP) {
            self.swap(&section);
        }
        for section in file.list("blocks", &keys::BLOCK) {
            let head = Head { message: self.message(&section), ..self.head(&section) };
            self.written.rules.blocks.push(BlockRule { head });
            self.written.places.blocks.push(section.place());
        }
        for section in file.list("clamps", &keys::CLAMP) {
            let output_tokens = section.or("output_tokens", 1, values::whole(1, 10_000_000));
            let rule = ClampRule { head: self.head(&section), output_tokens };
            self.written.rules.clamps.push(rule);
            self.written.places.clamps.push(section.place());
        }
        for section in file.list("routes", &keys::ROUTE) {
            let to = self.provider(&section, "to").unwrap_or_default();
            let rule = RouteRule { head: self.head(&section), to };
            self.written.rules.routes.push(rule);
            self.written.places.routes.push(section.place());
        }
        for section in file.list("alerts", &keys::ALERT) {
            self.name(&section);
            let pattern = |text: &str| Ok(Pattern::new(text));
            let alert = Alert {
                budgets: section.some("budget", pattern).unwrap_or_default(),
                thresholds: section.some("thresholds", values::percent).map(of).unwrap_or_default(),
                receivers: section.some("receivers", arc).unwrap_or_default(),
            };
            self.written.alerts.push(alert);
        }
        for section in file.list("tests", &keys::TEST) {
            self.test(&section);
        }
    }

    fn budget(&mut self, section: &Section<'_>) {
        let name = self.name(section);
        let scope = section.section("scope", &keys::SCOPE).map(|scope| self.scope(&scope)).unwrap_or_default();
        let for_each = self.for_each(section);
        let window = self.window(section);
        let (unit, limit) = section.or("limit", (Unit::PicoUsd, 0), values::amount);
        let mut thresholds = match section.some("thresholds", values::percent) {
            Some(thresholds) => of(thresholds),
            None => THRESHOLDS.to_vec(),
        };
        thresholds.sort_unstable();
        thresholds.dedup();
        let own = |field: &Field| matches!(field, Field::Key | Field::User);
        let is_own = for_each.iter().any(own) || scope.iter().any(|(field, any)| own(field) && any.len() == 1);
        let budget = Budget {
            name: Arc::clone(&name),
            unit,
            limit,
            hardness: section.or("hardness", Hardness::Hard, hardness),
            window,
            thresholds,
            is_rate_limit: false,
            clamp: section.or("clamp", true, values::yes),
            show_amounts: section.or("show_amounts", is_own, values::yes),
            message: self.message(section),
        };
        let except = section.sections("except", &keys::SCOPE);
        let except = When { any: except.iter().map(|section| fields_of(&self.scope(section))).collect() };
        let rule = BudgetRule {
            head: Head { name, place: self.place(section), except, message: self.message(section), ..Head::default() },
            scope,
            for_each,
            versions: self.versions(section, budget),
            strict: section.or("strict", false, values::yes),
            admit_unmetered: section.or("unmetered", false, admits),
            admit_unpriced: section.or("unpriced", false, admits),
            receivers: Vec::new(),
            of_a_key: false,
            kept: Arc::default(),
        };
        self.written.rules.budgets.push(rule);
        self.written.places.budgets.push(section.place());
    }

    /// The limit from the beginning, and from each top-up on.
    fn versions(&self, section: &Section<'_>, budget: Budget) -> Vec<(Timestamp, Arc<Budget>)> {
        let notes = section.notes();
        let top_ups = section.list("top_ups", &keys::TOP_UP);
        if let Some(first) = top_ups.first()
            && budget.window != WindowRule::Lifetime
        {
            notes.fault(
                first.place(),
                "top-ups are for prepaid credit, and this budget begins anew with each window",
                "write `window: lifetime`, or raise `limit`",
            );
        }
        let mut added: Vec<(Timestamp, u128)> = Vec::new();
        for top_up in &top_ups {
            top_up.value("note", values::text);
            let Some(amount) = top_up.value("amount", values::amount) else { continue };
            if amount.value.0 != budget.unit {
                notes.fault(
                    amount.place,
                    "this top-up counts something else than the limit",
                    "write it in the limit's unit",
                );
            }
            if let Some(on) = top_up.value("on", values::day_of(&self.zone)) {
                added.push((on.value, amount.value.1));
            }
        }
        added.sort_unstable();
        let mut versions = vec![(Timestamp(i64::MIN), Arc::new(budget.clone()))];
        let mut limit = budget.limit;
        for (on, amount) in added {
            limit = limit.saturating_add(amount);
            versions.push((on, Arc::new(Budget { limit, ..budget.clone() })));
        }
        versions
    }

    fn window(&self, section: &Section<'_>) -> WindowRule {
        let Some(node) = section.find("window") else { return WindowRule::Lifetime };
        if !matches!(node.value, Value::Map(_)) {
            let window = section.scalar("window", node, &values::window(&self.zone));
            return window.map_or(WindowRule::Lifetime, |placed| placed.value);
        }
        let Some(window) = Section::new(node, &keys::WINDOW, section.notes()) else { return WindowRule::Lifetime };
        let every = window.or("every", Every::Month, values::every);
        WindowRule::Calendar {
            every,
            zone: window.or("zone", self.zone.clone(), values::zone),
            from: window.or("from", values::first(every), values::from(every)),
        }
    }

    fn limit(&mut self, section: &Section<'_>) {
        let head = Head { message: self.message(section), ..self.head(section) };
        let whole = |key| section.value(key, values::whole(1, u64::MAX >> 1)).map(|placed| placed.value);
        let rate =
            |key| section.value(key, values::whole(1, RATE_MAX)).and_then(|placed| u32::try_from(placed.value).ok());
        let hardness = section.or("hardness", Hardness::Hard, hardness);
        let tokens = whole("tokens_per_minute").map(|limit| {
            Arc::new(Budget {
                name: Arc::clone(&head.name),
                unit: Unit::Tokens,
                limit: u128::from(limit),
                hardness,
                window: WindowRule::Calendar { every: Every::Minute, zone: TimeZone::UTC, from: 0 },
                thresholds: Vec::new(),
                is_rate_limit: true,
                clamp: true,
                show_amounts: true,
                message: head.message.clone(),
            })
        });
        let rule = LimitRule {
            for_each: self.for_each(section),
            hardness,
            requests_per_minute: rate("requests_per_minute"),
            concurrent: rate("concurrent"),
            tokens_per_minute: tokens,
            input_tokens_per_call: whole("input_tokens_per_call"),
            output_tokens_per_call: whole("output_tokens_per_call"),
            cost_per_call: section.value("cost_per_call", values::dollars).map(|placed| placed.value),
            clamp: section.or("clamp", true, values::yes),
            head,
        };
        if crate::rules::standing::words(&rule).is_empty() {
            section.notes().fault(
                section.place(),
                format!("the limit `{}` limits nothing", rule.head.name),
                "add `requests_per_minute`, `tokens_per_minute`, `concurrent`, `input_tokens_per_call`, `output_tokens_per_call` or `cost_per_call`",
            );
        }
        self.written.rules.limits.push(rule);
        self.written.places.limits.push(section.place());
    }

    fn swap(&mut self, section: &Section<'_>) {
        let to = section.some("to", arc).unwrap_or_default();
        self.written.places.models.extend(to.iter().map(|to| (Arc::clone(&to.value), to.place)));
        let from = section.some("from", |text| Ok(Pattern::new(text))).map(of);
        let otherwise = if section.or("otherwise", true, admits) { Otherwise::Admit } else { Otherwise::Refuse };
        let rule = SwapRule {
            head: self.head(section),
            from: from.unwrap_or_else(|| vec![Pattern::new("*")]),
            to: of(to).into(),
            caller_may_refuse: section.or("caller_may_refuse", true, values::yes),
            otherwise,
        };
        self.written.rules.swaps.push(rule);
        self.written.places.swaps.push(section.place());
    }

    fn head(&mut self, section: &Section<'_>) -> Head {
        Head {
            name: self.name(section),
            place: self.place(section),
            when: self.when(section, "when"),
            except: self.when(section, "except"),
            shadow: section.knows("shadow") && section.or("shadow", false, values::yes),
            message: None,
        }
    }

    fn message(&self, section: &Section<'_>) -> Option<Arc<str>> {
        section.value("message", arc).map(|placed| placed.value)
    }

    fn name(&mut self, section: &Section<'_>) -> Arc<str> {
        let Some(name) = section.value("name", values::name) else { return Arc::default() };
        let text: Arc<str> = name.value.into();
        self.written.places.names.push((Arc::clone(&text), name.place));
        text
    }

    fn place(&self, section: &Section<'_>) -> Arc<str> {
        format!("{}:{}", self.name, section.place().line).into()
    }

    fn for_each(&self, section: &Section<'_>) -> Vec<Field> {
        let fields = section.some("for_each", field).unwrap_or_default();
        let mut known: Vec<Field> = Vec::new();
        for Placed { value, place } in fields {
            if known.contains(&value) {
                section.notes().fault(place, format!("`{}` stands here twice", value.name()), "remove one of the two");
            } else {
                known.push(value);
            }
        }
        known
    }

    pub(super) fn provider(&mut self, section: &Section<'_>, key: &'static str) -> Option<Arc<str>> {
        let provider = section.value(key, arc)?;
        self.written.places.providers.push((Arc::clone(&provider.value), provider.place));
        Some(provider.value)
    }

    fn when(&mut self, section: &Section<'_>, key: &'static str) -> When {
        let alternatives = section.sections(key, &keys::CONDITIONS);
        When { any: alternatives.iter().map(|alternative| self.conditions(alternative)).collect() }
    }

    fn conditions(&mut self, section: &Section<'_>) -> Vec<Condition> {
        let mut all = fields_of(&self.scope(section));
        all.extend(section.value("stream", values::yes).map(|placed| Condition::Stream(placed.value)));
        all.extend(section.some("needs", need).map(|needs| Condition::Needs(of(needs))));
        all.extend(section.some("time", values::time_of_week(&self.zone)).map(|times| Condition::Time(of(times))));
        let money = values::compared_dollars;
        all.extend(section.value("estimated_cost", money).map(|placed| Condition::Estimate(placed.value)));
        all.extend(section.value("greatest_cost", money).map(|placed| Condition::Ceiling(placed.value)));
        let tokens = values::compared_tokens;
        all.extend(section.value("input_tokens", tokens).map(|placed| Condition::InputTokens(placed.value)));
        all.extend(section.value("output_tokens", tokens).map(|placed| Condition::OutputTokens(placed.value)));
        let states: Vec<BudgetState> =
            section.sections("budget", &keys::BUDGET_STATE).iter().map(|state| self.budget_state(state)).collect();
        if !states.is_empty() {
            all.push(Condition::Budget(states));
        }
        all
    }

    fn budget_state(&mut self, section: &Section<'_>) -> BudgetState {
        let value = |key| section.value(key, values::share).map(|placed| placed.value);
        let yes = |key| section.value(key, values::yes).map(|placed| placed.value);
        let name = section.value("name", values::name);
        let place = name.as_ref().map_or(section.place(), |name| name.place);
        let state = BudgetState {
            budget: name.map(|name| name.value.into()),
            used: value("used"),
            committed: value("committed"),
            remaining: section.value("remaining", values::compared_amount).map(|placed| placed.value),
            runs_out: yes("projected_to_run_out"),
            fits: yes("fits"),
        };
        let measures = ["used", "committed", "remaining", "projected_to_run_out", "fits"];
        let says = measures.into_iter().any(|measure| section.find(measure).is_some());
        if !says {
            section.notes().fault(
                section.place(),
                "this says nothing of how the budget stands",
                "add `used: 80%`, `remaining: \"< 10 USD\"`, `projected_to_run_out: true` or `fits: false`",
            );
        }
        self.written.places.asked_budgets.push((state.clone(), place));
        state
    }

    /// Fields and what each must look like.
    pub(super) fn scope(&self, section: &Section<'_>) -> Vec<(Field, Vec<Pattern>)> {
        let notes = section.notes();
        let mut scope = Vec::new();
        for (field, entry) in section.fields() {
            let any: Vec<Pattern> = match &entry.node.value {
                Value::List(items) if items.is_empty() => {
                    notes.fault(
                        entry.node.place,
                        format!("`{}` is an empty list", entry.key),
                        "name at least one value",
                    );
                    continue;
                }
                Value::List(items) => items.iter().filter_map(|item| pattern(&field, item, notes)).collect(),
                _ => pattern(&field, &entry.node, notes).into_iter().collect(),
            };
            scope.push((field, any));
        }
        scope
    }
}

fn pattern(field: &Field, node: &Node, notes: &Notes) -> Option<Pattern> {
    let Value::Text { text, .. } = &node.value else {
        notes.fault(
            node.place,
            format!("`{}` is {}", field.name(), kind(node)),
            "write a value, or a list of values; `*` stands for any letters",
        );
        return None;
    };
    if node.is_null() {
        return Some(Pattern::Unsaid);
    }
    if let Some(known) = known_values(field)
        && !text.contains('*')
        && !known.contains(&&**text)
    {
        let remedy = match crate::yaml::nearest(text, known.iter().copied()) {
            Some(near) => format!("write `{near}`"),
            None => format!("write one of {}", known.join(", ")),
        };
        notes.fault(node.place, format!("`{}` is never `{}`", field.name(), super::section::shortened(text)), remedy);
        return None;
    }
    Some(Pattern::new(text))
}

/// Fields whose values are Farebox's own words.
fn known_values(field: &Field) -> Option<Vec<&'static str>> {
    match field {
        Field::Operation => Some(crate::dialects::Operation::ALL.map(crate::dialects::Operation::name).to_vec()),
        Field::Dialect => Some(crate::dialects::Dialect::ALL.map(crate::dialects::Dialect::name).to_vec()),
        _ => None,
    }
}

fn fields_of(scope: &[(Field, Vec<Pattern>)]) -> Vec<Condition> {
    scope.iter().map(|(field, any)| Condition::Field { field: field.clone(), any: any.clone() }).collect()
}
