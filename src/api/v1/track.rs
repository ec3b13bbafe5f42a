//! `POST /api/usage/track`: usage that did not pass through the proxy.

use super::super::problem::Problem;
use super::fields::{Asked, Fields, fault};
use super::{Answer, Seat};
use crate::catalog::{Catalog, Terms};
use crate::clock::Timestamp;
use crate::dialects::Operation;
use crate::ids::ExchangeId;
use crate::tenants::{Attribution, Caller, Scope, TenantKind, VirtualKey};
use crate::tokens::usage::{Kind, TokenUsage, UsageSource};
use crate::tracking::{Known, NotTracked, Told, Tracked};
use serde_json::{Value, json};
use std::sync::Arc;

/// What happened longer ago is not taken: prices and people have changed.
const AGE_DAYS_MAX: i64 = 92;
/// Clocks of two machines differ.
const AHEAD_MICROS_MAX: i64 = 5 * 60 * 1_000_000;
/// Units of one kind: no call uses more.
const UNITS_MAX: u64 = 1_000_000_000_000;
const RETRY_SECONDS: u32 = 1;

/// Names of sums and parts in `usage` that SDKs use, with the kind that each is counted as.
const PARTS: [(&str, Kind); 3] = [
    ("cache_read_input_tokens", Kind::CacheRead),
    ("cache_write_input_tokens", Kind::CacheWrite5m),
    ("reasoning_output_tokens", Kind::Reasoning),
];

pub(super) fn track(seat: &Seat<'_>, asked: &mut Asked) -> Result<Answer, Problem> {
    let fields = &mut asked.fields;
    let caller = caller(seat, fields)?;
    let told = Told {
        id: fields.needed("id")?.into(),
        attribution: Arc::new(attribution(fields)?),
        provider: provider(seat, fields)?,
        model: fields.needed("model")?.into(),
        operation: operation(fields)?,
        usage: usage(fields.take("usage"))?,
        usage_source: source(fields)?,
        stream: fields.flag("stream")?.unwrap_or(false),
        terms: Terms {
            service_tier: fields.text("service_tier")?.map(Arc::from),
            batch: fields.flag("batch")?.unwrap_or(false),
            ..Terms::default()
        },
        occurred_at: occurred(fields, seat.now)?,
        exchange: exchange(fields)?,
        caller: Arc::new(caller),
    };
    if told.id.is_empty() {
        return Err(fault("id", "it is empty", "give each call a name of its own"));
    }
    // Everything is read: what nobody took is refused before anything is booked.
    asked.fields.only(&[])?;
    let tracked = (seat.shared.state.node.track)(&told)?;
    Ok(view(&told, &tracked))
}

fn view(told: &Told, tracked: &Tracked) -> Answer {
    let status = if tracked.known.is_some() { 200 } else { 201 };
    let body = json!({
        "object": "tracked_usage",
        "id": told.id,
        "event_id": tracked.event.to_string(),
        "exchange_id": tracked.exchange.to_string(),
        "cost_usd": tracked.cost.map(|cost| cost.to_string()),
        "pricing": tracked.pricing,
        "booked": tracked.known.is_none(),
        "known": match tracked.known {
            None => Value::Null,
            Some(Known::Told) => "told_before".into(),
            Some(Known::Metered) => "metered_by_the_proxy".into(),
        },
    });
    Answer::of(status, &body)
}

/// Whose it was. A key says the rest; without one, the innermost place that is named says what is around it. Names that
/// the register does not have are taken from who may tell of the whole installation, as headers are in open mode.
fn caller(seat: &Seat<'_>, fields: &mut Fields) -> Result<Caller, Problem> {
    let mut said =
        |name: &str| fields.text(name).map(|text| text.filter(|text| !text.is_empty()).map(Arc::<str>::from));
    let [organisation, team, project, key, user] =
        [said("organisation")?, said("team")?, said("project")?, said("key")?, said("user")?];
    let told = Caller { organisation, team, project, key, user };
    let (scope, of_key) = match found(seat, &told)? {
        Some((scope, key)) => (scope, key),
        None => (Scope::installation(), None),
    };
    if !seat.is_loopback {
        seat.allow(&scope, "place")?;
    }
    if scope == Scope::installation() {
        return Ok(told);
    }
    for (name, said, its) in [
        ("organisation", &told.organisation, &scope.organisation),
        ("team", &told.team, &scope.team),
        ("project", &told.project, &scope.project),
    ] {
        if said.is_some() && said != its {
            return Err(fault(name, "this is not where the rest belongs", "leave it out: it follows from the rest"));
        }
    }
    let user = told.user.or_else(|| of_key.and_then(|key| key.user));
    Ok(Caller { organisation: scope.organisation, team: scope.team, project: scope.project, key: told.key, user })
}

/// The place in the register, and the key if one is named and there.
fn found(seat: &Seat<'_>, told: &Caller) -> Result<Option<(Scope, Option<VirtualKey>)>, Problem> {
    if let Some(key) = told.key.as_deref().map(|name| seat.register.key(name)).transpose()?.flatten() {
        let scope = super::keys::place(&key);
        return Ok(Some((scope, Some(key))));
    }
    let places = [
        (TenantKind::Project, &told.project),
        (TenantKind::Team, &told.team),
        (TenantKind::Organisation, &told.organisation),
    ];
    let Some((kind, name)) = places.into_iter().find_map(|(kind, name)| Some((kind, name.as_deref()?))) else {
        return Ok(None);
    };
    Ok(seat.register.tenant(kind, name)?.map(|(_, scope)| (scope, None)))
}

fn attribution(fields: &mut Fields) -> Result<Attribution, Problem> {
    let mut said =
        |name: &str| fields.text(name).map(|text| text.filter(|text| !text.is_empty()).map(Arc::<str>::from));
    Ok(Attribution {
        end_user: said("end_user")?,
        session: said("session")?,
        run: said("run")?,
        environment: said("environment")?,
        prompt_name: said("prompt_name")?,
        prompt_hash: None,
        tags: fields.pairs("tags")?.unwrap_or_default(),
    })
}

/// One that is configured or in the catalog: a misspelt one would be without a price for ever.
fn provider(seat: &Seat<'_>, fields: &mut Fields) -> Result<Arc<str>, Problem> {
    let name = fields.needed("provider")?;
    let node = &seat.shared.state.node;
    let catalog = node.catalog.load();
    let listed = catalog.providers().iter().map(|provider| &provider.name);
    if let Some(known) = node.providers.iter().chain(listed).find(|known| ***known == *name) {
        return Ok(Arc::clone(known));
    }
    let known = names_of(&catalog, &node.providers);
    Err(fault("provider", "no such provider is configured or in the catalog", format!("one of: {known}")))
}

fn names_of(catalog: &Catalog, configured: &[Arc<str>]) -> String {
    let listed = catalog.providers().iter().map(|provider| &*provider.name);
    let mut names: Vec<&str> = configured.iter().map(|name| &**name).chain(listed).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

fn operation(fields: &mut Fields) -> Result<Operation, Problem> {
    let Some(name) = fields.text("operation")? else { return Ok(Operation::Chat) };
    let found = Operation::ALL.into_iter().find(|operation| operation.name() == name);
    found.ok_or_else(|| {
        let known = Operation::ALL.map(Operation::name).join(", ");
        fault("operation", "there is no such operation", format!("one of: {known}"))
    })
}

fn source(fields: &mut Fields) -> Result<UsageSource, Problem> {
    match fields.text("usage_source")?.as_deref() {
        None | Some("reported") => Ok(UsageSource::Reported),
        Some("counted") => Ok(UsageSource::Counted),
        Some("estimated") => Ok(UsageSource::Estimated),
        Some(_) => Err(fault("usage_source", "there is no such source", "`reported`, `counted` or `estimated`")),
    }
}

fn occurred(fields: &mut Fields, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    const NAME: &str = "occurred_at";
    let Some(text) = fields.text(NAME)? else { return Ok(None) };
    let read = text.parse::<jiff::Timestamp>().map(|moment| moment.as_microsecond());
    let micros =
        read.map_err(|_| fault(NAME, "this is no moment", "write it as RFC 3339 has it: 2026-11-28T18:00:00Z"))?;
    if micros > now.as_micros().saturating_add(AHEAD_MICROS_MAX) {
        return Err(fault(NAME, "this moment is still to come", "give one that is past, or leave it out"));
    }
    if micros < now.as_micros().saturating_sub(AGE_DAYS_MAX * 86_400_000_000) {
        return Err(fault(NAME, "this is too long ago", format!("at most {AGE_DAYS_MAX} days")));
    }
    Ok(Some(Timestamp(micros.min(now.as_micros()))))
}

fn exchange(fields: &mut Fields) -> Result<Option<ExchangeId>, Problem> {
    let Some(text) = fields.text("exchange_id")? else { return Ok(None) };
    let read = text.parse::<ExchangeId>().map(Some);
    read.map_err(|error| fault("exchange_id", error.to_string(), "take it from the header `x-farebox-exchange-id`"))
}

/// `input_tokens` and `output_tokens` are sums, as everywhere; what is named beside them is a part of them, or a unit that
/// is no token.
fn usage(value: Option<Value>) -> Result<TokenUsage, Problem> {
    let Some(value) = value else {
        return Err(fault("usage", "it is missing", "give {\"input_tokens\": …, \"output_tokens\": …}"));
    };
    let Value::Object(members) = value else {
        return Err(fault("usage", "this is no object", "write {\"name\": count}"));
    };
    let (mut usage, mut sums) = (TokenUsage::ZERO, [None, None]);
    for (name, value) in members.into_iter().filter(|(_, value)| !value.is_null()) {
        let place = || format!("usage.{}", name.chars().take(60).collect::<String>());
        let units = value.as_u64().filter(|units| *units <= UNITS_MAX);
        let units = units.ok_or_else(|| {
            fault(&place(), "this is no such number", format!("write a whole number up to {UNITS_MAX}"))
        })?;
        match (name.as_str(), kind(&name)) {
            ("input_tokens", _) => sums[0] = Some(units),
            ("output_tokens", _) => sums[1] = Some(units),
            (_, Some(kind)) => usage[kind] = usage[kind].saturating_add(units),
            (_, None) => {
                let kinds: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                let remedy = format!("`input_tokens`, `output_tokens`, or one of: {}", kinds.join(", "));
                return Err(fault(&place(), "nothing is counted under this name", remedy));
            }
        }
    }
    for (name, sum, kind, parts) in [
        ("usage.input_tokens", sums[0], Kind::Input, TokenUsage::input_tokens as fn(&TokenUsage) -> u64),
        ("usage.output_tokens", sums[1], Kind::Output, TokenUsage::output_tokens),
    ] {
        let Some(sum) = sum else { continue };
        let rest = sum.checked_sub(parts(&usage));
        let rest = rest.ok_or_else(|| {
            fault(name, "its parts are more than the sum", "cached and reasoning tokens are in the sum")
        })?;
        usage[kind] = usage[kind].saturating_add(rest);
    }
    if usage.is_zero() {
        return Err(fault("usage", "nothing was used", "a call that used nothing need not be told"));
    }
    Ok(usage)
}

fn kind(name: &str) -> Option<Kind> {
    PARTS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).or_else(|| Kind::named(name))
}

impl From<NotTracked> for Problem {
    fn from(error: NotTracked) -> Self {
        match error {
            NotTracked::Differs => Problem::conflict("another usage was told under this id before")
                .at("id", "give each call an id of its own"),
            NotTracked::UnderWay => Problem::busy("this id is being told just now", RETRY_SECONDS),
            NotTracked::TooMany => Problem::busy(error.to_string(), RETRY_SECONDS),
            NotTracked::LedgerAway(_) => Problem::unavailable(error.to_string(), RETRY_SECONDS),
            NotTracked::Store(error) => Problem::from(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_and_reasoning_tokens_are_parts_of_the_sums() {
        let read = usage(Some(json!({ "input_tokens": 100, "cache_read_input_tokens": 30, "output_tokens": 20,
            "reasoning": 5, "web_search": 2, "output_audio": null })));
        let wanted = TokenUsage::ZERO
            .with(Kind::Input, 70)
            .with(Kind::CacheRead, 30)
            .with(Kind::Output, 15)
            .with(Kind::Reasoning, 5)
            .with(Kind::WebSearch, 2);
        assert_eq!(read.ok(), Some(wanted));
    }

    #[test]
    fn what_cannot_be_meant_is_told_with_its_member() {
        for (said, field) in [
            (json!(null), "usage"),
            (json!({ "input_tokens": 5, "cache_read": 6 }), "usage.input_tokens"),
            (json!({ "tokens": 5 }), "usage.tokens"),
            (json!({ "output_tokens": -1 }), "usage.output_tokens"),
            (json!({ "output_tokens": 1.5 }), "usage.output_tokens"),
            (json!({ "input_tokens": 0 }), "usage"),
        ] {
            let told = serde_json::to_value(usage(Some(said.clone())).unwrap_err()).unwrap();
            assert_eq!(told["field"], field, "{said}: {told}");
        }
    }
}
