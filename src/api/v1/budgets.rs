//! Budgets: those of the rules files and of keys are shown, those of the database are made, changed and taken away. They
//! are read by the rules' own reader, whole and together with the files, before anything is written.

use super::super::problem::Problem;
use super::fields::{Asked, fault};
use super::{Answer, Seat, etag};
use crate::budget::{Balance, Instance};
use crate::queries::budgets::{BUDGETS_MAX, BudgetView, amount, budgets as standing, unit_name};
use crate::rules::RuledBudget;
use crate::rules::syntax::{self, Known, made};
use crate::store::{Changes, OwnBudget};
use crate::tenants::{Scope, TenantKind};
use crate::yaml::Fault;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// More budgets are not made by people; files may hold more.
const OWN_BUDGETS_MAX: usize = 10_000;
/// Instances of a budget in one answer, the nearest to its limit first.
const INSTANCES_MAX: usize = 100;

impl Seat<'_> {
    /// The place that a scope lies in: what names it must be one literal value. Everything else is the installation's.
    fn place_of(&self, named: &dyn Fn(&str) -> Option<Arc<str>>) -> Result<Scope, Problem> {
        if let Some(key) = named("key").map(|name| self.register.key(&name)).transpose()?.flatten() {
            return Ok(super::keys::place(&key));
        }
        for kind in [TenantKind::Project, TenantKind::Team, TenantKind::Organisation] {
            let Some(name) = named(kind.name()) else { continue };
            let found = self.register.tenant(kind, &name)?;
            return Ok(found.map(|(_, scope)| scope).unwrap_or_default());
        }
        Ok(Scope::installation())
    }

    fn place_of_body(&self, body: &Map<String, Value>) -> Result<Scope, Problem> {
        let scope = body.get("scope").and_then(Value::as_object);
        self.place_of(&|name| scope?.get(name)?.as_str().filter(|text| !text.contains('*')).map(Arc::from))
    }

    fn place_of_rule(&self, rule: &RuledBudget) -> Result<Scope, Problem> {
        self.place_of(&|name| rule.scope.iter().find(|(field, _)| field == name)?.1.clone())
    }

    /// The place of a budget by its name; of one that is no more, the installation.
    pub(super) fn place_of_budget(&self, name: &str) -> Result<Scope, Problem> {
        if let Some(own) = self.register.own_budget(name)? {
            return self.place_of_body(&own.body);
        }
        let ruled = self.shared.state.node.rules.load().ruled_budgets(self.now);
        match ruled.iter().find(|rule| *rule.name == *name) {
            Some(rule) => self.place_of_rule(rule),
            None => Ok(Scope::installation()),
        }
    }

    pub(super) fn sees_budget(&self, name: &str) -> Result<bool, Problem> {
        Ok(self.sees(&self.place_of_budget(name)?))
    }

    /// One that may be seen: as it is in force, and as the database has it.
    fn budget(&self, name: &str) -> Result<(Option<RuledBudget>, Option<OwnBudget>), Problem> {
        let own = self.register.own_budget(name)?;
        let ruled =
            self.shared.state.node.rules.load().ruled_budgets(self.now).into_iter().find(|rule| *rule.name == *name);
        let place = match (&own, &ruled) {
            (Some(own), _) => self.place_of_body(&own.body)?,
            (None, Some(rule)) => self.place_of_rule(rule)?,
            (None, None) => return Err(Problem::unknown("budget")),
        };
        if self.sees(&place) { Ok((ruled, own)) } else { Err(Problem::unknown("budget")) }
    }

    /// One of the database that may be changed, and is as its editor saw it.
    fn budget_to_change(&self, asked: &Asked, name: &str) -> Result<OwnBudget, Problem> {
        let (ruled, own) = self.budget(name)?;
        let Some(own) = own else {
            let place = ruled.map(|rule| rule.place).unwrap_or_default();
            return Err(Problem::conflict(format!("this budget is written elsewhere: {place}"))
                .at("name", "change it there; only those that were made over the API are changed over it"));
        };
        self.allow(&self.place_of_body(&own.body)?, "budget")?;
        asked.expect(&etag(&Value::Object(own.body.clone())))?;
        Ok(own)
    }

    /// Checks the database's budgets with this one among them, together with the files; then writes it.
    fn set(&self, body: &Map<String, Value>, changes: &Changes<'_>) -> Result<String, Problem> {
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let place = self.place_of_body(body)?;
        self.allow(&place, "place")?;
        let mut own = self.register.own_budgets()?;
        own.retain(|budget| *budget.name != *name);
        if own.len() >= OWN_BUDGETS_MAX {
            return Err(Problem::conflict(format!("there are {OWN_BUDGETS_MAX} budgets already")));
        }
        self.check(own.iter().map(|budget| &budget.body).chain([body]), body)?;
        changes.set_own_budget(&name, body)?;
        Ok(name)
    }

    /// Whether these budgets of the database, together with the files, are rules. A fault of the last one is told by its
    /// member.
    fn check<'b>(
        &self,
        budgets: impl Iterator<Item = &'b Map<String, Value>>,
        last: &Map<String, Value>,
    ) -> Result<(), Problem> {
        let node = &self.shared.state.node;
        let text = made::text_of(budgets);
        let files = (node.rules_files)();
        let mut all: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        all.push((made::DATABASE, &text));
        let catalog = node.catalog.load();
        let known = Known { catalog: Some(&catalog), providers: &node.providers, receivers: None };
        syntax::load(&all, &known).map(drop).map_err(|faults| refused(&faults, last, &text))
    }

    fn budget_view(&self, name: &str) -> Result<Answer, Problem> {
        let (ruled, own) = self.budget(name)?;
        let instances = instances(self, name)?;
        let tag = own.as_ref().map(|own| etag(&Value::Object(own.body.clone())));
        let answer = Answer::of(200, &view(ruled.as_ref(), own.as_ref(), instances));
        Ok(match tag {
            Some(tag) => answer.tagged(tag),
            None => answer,
        })
    }
}

/// The first fault, by the member that it is about.
fn refused(faults: &[Fault], body: &Map<String, Value>, text: &str) -> Problem {
    let ours = |fault: &&Fault| *fault.file == *made::DATABASE;
    let member = |fault: &Fault| made::member_of(body, text, fault.line).map(str::to_owned);
    let Some(first) = faults.iter().filter(ours).find(|fault| member(fault).is_some()).or_else(|| faults.first())
    else {
        return fault("body", "this is no budget", "see `docs/rules.md`");
    };
    fault(&member(first).unwrap_or_else(|| "body".to_owned()), first.message.clone(), first.remedy.clone())
}

/// How the budget's instances stand: as the store has them, and where the node has an account open, as the book does.
fn instances(seat: &Seat<'_>, name: &str) -> Result<Vec<Value>, Problem> {
    let state = &seat.shared.state;
    let stored = standing(&state.reader, seat.now, Some(name), BUDGETS_MAX)?.budgets;
    let open: Vec<(Arc<Instance>, Balance)> = (state.node.standing)()
        .into_iter()
        .filter(|(instance, _)| *instance.budget.name == *name && instance.window.contains(seat.now))
        .collect();
    let mut views: Vec<Value> = stored
        .iter()
        .map(|stored| {
            let open = open.iter().find(|(instance, _)| instance.scope == stored.scope);
            of_store(stored, open.map(|(_, balance)| balance))
        })
        .collect();
    let fresh = open.iter().filter(|(instance, _)| stored.iter().all(|stored| stored.scope != instance.scope));
    views.extend(fresh.map(|(instance, balance)| of_book(instance, balance)));
    views.truncate(INSTANCES_MAX);
    Ok(views)
}

fn of_store(stored: &BudgetView, open: Option<&Balance>) -> Value {
    let mut view = json!({
        "scope": stored.scope, "window_start": stored.window_start, "resets_at": stored.resets_at,
        "limit": stored.limit, "spent": stored.spent, "held": null, "leased": stored.leased,
        "used_percent": stored.used_percent,
    });
    if let Some(balance) = open {
        let unit = unit_of(stored.unit);
        view["limit"] = amount(unit, balance.limit).into();
        view["spent"] = amount(unit, balance.spent).into();
        view["held"] = amount(unit, balance.held).into();
        view["used_percent"] = percent(balance);
    }
    view
}

fn of_book(instance: &Instance, balance: &Balance) -> Value {
    let unit = instance.budget.unit;
    json!({
        "scope": instance.scope, "window_start": instance.window.start.to_rfc3339(),
        "resets_at": instance.window.resets_at().map(crate::clock::Timestamp::to_rfc3339),
        "limit": amount(unit, balance.limit), "spent": amount(unit, balance.spent),
        "held": amount(unit, balance.held), "leased": null, "used_percent": percent(balance),
    })
}

fn percent(balance: &Balance) -> Value {
    json!(f64::from(balance.used().0) / 100.0)
}

fn unit_of(name: &str) -> crate::budget::account::Unit {
    use crate::budget::account::Unit;
    Unit::ALL.into_iter().find(|unit| unit_name(*unit) == name).unwrap_or(Unit::PicoUsd)
}

fn view(ruled: Option<&RuledBudget>, own: Option<&OwnBudget>, instances: Vec<Value>) -> Value {
    let origin = match (own, ruled) {
        (Some(_), _) => "api",
        (None, Some(rule)) if rule.of_a_key => "key",
        (None, _) => "file",
    };
    let name = own.map(|own| Arc::clone(&own.name)).or_else(|| ruled.map(|rule| Arc::clone(&rule.name)));
    json!({
        "object": "budget",
        "name": name,
        "origin": origin,
        // Of a change of a moment ago, which the node is about to read.
        "in_force": ruled.is_some(),
        "written_at": ruled.filter(|_| own.is_none()).map(|rule| &rule.place),
        "unit": ruled.map(|rule| unit_name(rule.budget.unit)),
        "limit": ruled.map(|rule| amount(rule.budget.unit, rule.budget.limit)),
        "hardness": ruled.map(|rule| rule.budget.hardness),
        "definition": own.map(|own| &own.body),
        "instances": instances,
    })
}

pub(super) fn list(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let (limit, after) = seat.page(asked)?;
    let mut ruled = seat.shared.state.node.rules.load().ruled_budgets(seat.now);
    ruled.sort_by(|a, b| a.name.cmp(&b.name));
    let own = seat.register.own_budgets()?;
    let mut names: Vec<Arc<str>> = ruled.iter().map(|rule| Arc::clone(&rule.name)).collect();
    names.extend(own.iter().map(|own| Arc::clone(&own.name)));
    names.sort_unstable();
    names.dedup();
    let mut views = Vec::new();
    for name in names.iter().filter(|name| ***name > *after) {
        let rule = ruled.binary_search_by(|rule| rule.name.cmp(name)).ok().map(|place| &ruled[place]);
        let own = own.iter().find(|own| own.name == *name);
        let place = match (own, rule) {
            (Some(own), _) => seat.place_of_body(&own.body)?,
            (None, Some(rule)) => seat.place_of_rule(rule)?,
            (None, None) => continue,
        };
        if seat.sees(&place) {
            views.push(view(rule, own, instances(seat, name)?));
        }
        if views.len() > limit {
            break;
        }
    }
    Ok(Answer::page(views, limit, |view| view["name"].as_str().unwrap_or_default().to_owned()))
}

pub(super) fn show(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    seat.budget_view(asked.of_path("name"))
}

pub(super) fn create(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let body = asked.fields.take_all();
    let name =
        body.get("name").and_then(Value::as_str).ok_or_else(|| fault("name", "it is missing", "give it a name"))?;
    if seat.register.own_budget(name)?.is_some() {
        return Err(
            Problem::conflict("there is a budget of this name").at("name", "choose another, or change that one")
        );
    }
    let name = seat.set(&body, changes)?;
    Ok(seat.budget_view(&name)?.with_status(201))
}

/// What is named is changed, `null` takes away; the rest stays.
pub(super) fn change(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let name = asked.of_path("name").to_owned();
    let mut body = seat.budget_to_change(asked, &name)?.body;
    for (member, value) in asked.fields.take_all() {
        if value.is_null() { drop(body.remove(&member)) } else { drop(body.insert(member, value)) }
    }
    seat.set(&body, changes)?;
    seat.budget_view(&name)
}

pub(super) fn delete(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let own = seat.budget_to_change(asked, asked.of_path("name"))?;
    let rest: Vec<OwnBudget> =
        seat.register.own_budgets()?.into_iter().filter(|other| other.name != own.name).collect();
    // A rule of the files may ask for it.
    seat.check(rest.iter().map(|budget| &budget.body), &Map::new())
        .map_err(|_| Problem::conflict("rules in the files ask for this budget: change them first"))?;
    changes.delete_own_budget(&own.name)?;
    Ok(Answer::nothing())
}

/// `GET /api/usage/budget?name=…`
pub(super) fn short(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let name = asked.parameters.take("name")?;
    let name = name.ok_or_else(|| fault("name", "it is missing", "name a budget: `?name=research-month`"))?;
    seat.budget_view(&name)
}

/// `PUT /api/usage/budget`: makes the budget that the body names, or writes it anew.
pub(super) fn put(seat: &Seat<'_>, asked: &mut Asked, changes: &Changes<'_>) -> Result<Answer, Problem> {
    let body = asked.fields.take_all();
    let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if seat.register.own_budget(&name)?.is_some() {
        seat.budget_to_change(asked, &name)?;
    }
    seat.set(&body, changes)?;
    seat.budget_view(&name)
}
