//! `x-farebox-preview: only`, and `POST /farebox/preview`: what a call would cost and what would be decided, with nothing
//! forwarded and nothing charged. The next real call with unchanged state gets the same, because it goes the same way
//! ([`super::decide`]).

use super::attempt::Run;
use super::client::Session;
use super::decide::{Admitted, Course, Errand, Explained, Refused, Ruled, Step};
use super::downstream::{self, WholeBody};
use super::exchange::{self, Arrived, Asked, refuse};
use super::foresee::terms;
use super::offer::{Target, targets};
use super::{Proxy, marks, refusal, standing, surface, swap};
use crate::budget::{Balance, Instance};
use crate::catalog::{Offer, Pricing};
use crate::dialects::splice::{Edits, splice};
use crate::dialects::{Dialect, Refusal, RefusalKind};
use crate::rules;
use crate::tokens::facts::SplicePoints;
use crate::tokens::usage::{Kind, TokenUsage};
use bytes::Bytes;
use http::HeaderName;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers 200 with the preview.
pub async fn answer(proxy: &Arc<Proxy>, session: &mut Session, arrived: &Arrived, asked: &Asked, target: &Target) {
    let run = Run {
        proxy,
        arrived,
        asked,
        target,
        number: 1,
        can_retry: false,
        more_targets: false,
        keys_tried: &[],
        fresh: false,
    };
    let body = preview(&run).await.to_string().into_bytes();
    let headers = [("x-farebox-exchange-id", arrived.id.to_string())];
    downstream::respond_json(session, 200, &headers, body).await;
}

/// `POST /farebox/preview`: the request to be previewed is in the body.
pub async fn of_body(proxy: &Arc<Proxy>, session: &mut Session) {
    match told(proxy, session).await {
        Ok((arrived, asked)) => {
            let catalog = proxy.catalog.load_full();
            match targets(proxy, &catalog, &arrived, asked.facts.requested_model.as_deref()) {
                Ok(targets) => answer(proxy, session, &arrived, &asked, &targets[0]).await,
                Err(refused) => refuse(proxy, session, &arrived, refused).await,
            }
        }
        Err(Some(refused)) => {
            let body = Dialect::OpenAi.refusal(&refused);
            downstream::respond_json(session, body.status, &body.headers, body.body).await;
        }
        Err(None) => {}
    }
}

/// What `POST /farebox/preview` reads: `path` and `body`, or a plain request with `dialect`.
#[derive(Deserialize)]
struct Told<'a> {
    path: Option<String>,
    dialect: Option<String>,
    model: Option<String>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    messages: Option<&'a RawValue>,
    input: Option<&'a RawValue>,
}

async fn told(proxy: &Arc<Proxy>, session: &mut Session) -> Result<(Arrived, Asked), Option<Refusal>> {
    let bounds = proxy.body_bounds();
    let body = downstream::read_whole(session, &bounds)
        .await
        .map_err(|fault| refusal::unread_body(&fault, bounds.bytes_max))?;
    let unclear = |why: String| {
        let how = "Send {\"path\": \"/v1/chat/completions\", \"body\": {…}}, or the plain request with a `dialect`.";
        Some(refusal::because(RefusalKind::InvalidRequest, format!("{why}. {how}")))
    };
    let told: Told<'_> =
        serde_json::from_slice(&body.bytes).map_err(|why| unclear(format!("The body is unclear: {why}")))?;
    let path = match &told.path {
        Some(path) => path.clone(),
        None => customary_path(proxy, &told).ok_or_else(|| unclear("No path can be told from it".to_owned()))?,
    };
    let inner = match told.body {
        Some(inner) => body.bytes.slice_ref(inner.get().as_bytes()),
        None => without_dialect(&body.bytes),
    };
    let head = Arc::new(session.head().without(&[HeaderName::from_static("x-farebox-preview")]));
    let arrived = exchange::arrive_at(proxy, session, &head, &path).map_err(|way| {
        let rest = match way {
            surface::Asked::Refused { refusal, .. } => return Some(refusal),
            surface::Asked::Own(rest) | surface::Asked::Nowhere(rest) => rest,
        };
        unclear(format!("Nothing is forwarded from `{}`", rest.chars().take(200).collect::<String>()))
    })?;
    let asked = exchange::asked(proxy, &arrived, WholeBody::of(inner)).map_err(Some)?;
    Ok((arrived, asked))
}

/// The path that SDKs of the dialect would call.
fn customary_path(proxy: &Proxy, told: &Told<'_>) -> Option<String> {
    let dialect = match told.dialect.as_deref() {
        None => Dialect::OpenAi,
        Some(name) => Dialect::ALL.into_iter().find(|dialect| dialect.name() == name)?,
    };
    let prefix = &proxy.settings.path_prefix;
    let provider = || {
        let named = proxy.settings.providers.iter().find(|provider| provider.dialect == dialect);
        named.map(|provider| Arc::clone(&provider.name))
    };
    Some(match dialect {
        Dialect::OpenAi if told.messages.is_some() => format!("{prefix}/v1/chat/completions"),
        Dialect::OpenAi if told.input.is_some() => format!("{prefix}/v1/responses"),
        Dialect::OpenAi => format!("{prefix}/v1/completions"),
        Dialect::Anthropic => format!("{prefix}/{}/v1/messages", provider()?),
        Dialect::Gemini => {
            let model = told.model.as_deref()?;
            format!("{prefix}/{}/v1beta/models/{model}:generateContent", provider()?)
        }
    })
}

fn without_dialect(body: &Bytes) -> Bytes {
    let edits = Edits { remove: &["dialect".into()], ..Edits::default() };
    splice(body, &SplicePoints::default(), &edits)
}

async fn preview(run: &Run<'_>) -> Value {
    let (course, refusal) = match run.decide(Errand::Preview).await {
        Ok(Admitted { course, .. }) => (Some(course), None),
        Err(refused) => {
            let Refused { refusal, course } = *refused;
            (course, Some(refusal))
        }
    };
    let target = course.as_ref().map_or(run.target, |course| &*course.target);
    let mut told = json!({
        "object": "farebox.preview",
        "exchange_id": run.arrived.id.to_string(),
        "provider": target.provider.settings.name,
        "operation": run.arrived.endpoint.operation.name(),
        "metered": run.arrived.endpoint.metered,
        "requested_model": run.asked.facts.requested_model,
        "upstream_model": target.model,
        "catalog_model": target.offer.as_ref().map(|offer| &offer.model.id),
        "catalog_version": run.proxy.catalog.load().version(),
        "stream": run.asked.facts.stream,
    });
    if let Some(course) = &course {
        put(&mut told, costs(run, course));
        put(&mut told, json!({ "decision": decision(run, course, refusal.as_ref()) }));
        if let Some(ruled) = course.ruled.as_deref() {
            put(&mut told, ruled_of(run, ruled));
            put(&mut told, json!({ "possible_swaps": possible_swaps(run, course).await }));
        }
    }
    told
}

fn put(told: &mut Value, more: Value) {
    if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
        told.extend(more);
    }
}

/// Estimate, ceiling, and the range between nothing said and everything said.
fn costs(run: &Run<'_>, course: &Course<'_>) -> Value {
    let foreseen = &course.foreseen;
    let mut least = foreseen.estimate;
    least[Kind::Output] = 0;
    let cost = |usage: &TokenUsage| priced(run, course.target.offer.as_ref(), usage);
    json!({
        "input_estimate": { "tokens": by_kind(&foreseen.estimate), "priced": cost(&foreseen.estimate) },
        "input_is_counted": course.ruled.as_deref().is_some_and(|ruled| ruled.known.input.is_some_and(|(_, exact)| exact)),
        "estimated_cost_usd": foreseen.estimated_cost.map(|usd| usd.to_string()),
        "ceiling": { "tokens": by_kind(&foreseen.bound), "cost_usd": foreseen.ceiling.map(|usd| usd.to_string()) },
        "range": { "least": cost(&least), "most": { "cost_usd": foreseen.ceiling.map(|usd| usd.to_string()) } },
    })
}

fn decision(run: &Run<'_>, course: &Course<'_>, refusal: Option<&Refusal>) -> Value {
    let ruled = course.ruled.as_deref();
    let last = ruled.and_then(|ruled| ruled.steps.last());
    match refusal {
        Some(refusal) => {
            let body = run.arrived.dialect.refusal(refusal);
            json!({
                "action": "refuse",
                "rule": last.and_then(|step| step.rule.clone()),
                "why": refusal.message,
                "kind": refusal.kind.name(),
                "status": body.status,
                "retry_after_seconds": refusal.retry_after_seconds,
            })
        }
        None => json!({
            "action": ruled.and_then(|ruled| ruled.action).unwrap_or("admit"),
            "rule": ruled.and_then(|ruled| ruled.rule.clone()),
            "why": ruled.map(why),
            "output_limit": ruled.and_then(|ruled| ruled.known.output_max),
            "held_in_slices": ruled.is_some_and(|ruled| ruled.slice.is_some()),
            "swapped_from": ruled.and_then(|ruled| ruled.swapped_from.clone()),
            "swap_changes": ruled.map(|ruled| ruled.adapted.told.clone()).unwrap_or_default(),
        }),
    }
}

fn why(ruled: &Ruled) -> String {
    let why = ruled.why.as_deref().unwrap_or("no rule objects");
    standing::without_amounts(why, &ruled.balances)
}

/// What the rules tried, without what others spent.
fn explained(asked: &Explained, balances: &[(Arc<Instance>, Balance)]) -> Explained {
    let mut told = asked.clone();
    for tried in &mut told.rules {
        if tried.kind == rules::Kind::Budget && !standing::is_shown(&tried.rule, balances) {
            tried.conditions.clear();
        }
        for condition in &mut tried.conditions {
            condition.text = standing::without_amounts(&condition.text, balances);
        }
        tried.outcome = standing::without_amounts(&tried.outcome, balances);
    }
    told
}

fn ruled_of(run: &Run<'_>, ruled: &Ruled) -> Value {
    let hide = |text: &str| standing::without_amounts(text, &ruled.balances);
    let limits: Vec<Value> = ruled
        .call_limits
        .iter()
        .map(|limit| standing::limit(limit, run.proxy.limits.would_pass(limit).is_ok()))
        .collect();
    let budgets: Vec<Value> = ruled
        .balances
        .iter()
        .map(|(instance, balance)| {
            let mut told = standing::budget(instance, balance);
            let demand = ruled.demands.iter().find(|demand| demand.instance.account == instance.account);
            if let Some(demand) = demand {
                put(
                    &mut told,
                    json!({ "holds": standing::number(instance, demand.amount.into()), "binds": demand.binds }),
                );
            }
            told
        })
        .collect();
    json!({
        "steps": ruled.steps.iter().map(|step| Step { why: hide(&step.why), ..step.clone() }).collect::<Vec<_>>(),
        "rules": ruled.explained.iter().map(|asked| explained(asked, &ruled.balances)).collect::<Vec<_>>(),
        "warnings": ruled.warnings.iter().map(|warning| json!({ "rule": warning.rule, "message": marks::told(warning, ruled) })).collect::<Vec<_>>(),
        "budgets": budgets,
        "limits": limits,
    })
}

/// What each target of the swap rules that could meet this call would cost, and whether it could serve it.
async fn possible_swaps(run: &Run<'_>, course: &Course<'_>) -> Vec<Value> {
    let mut listed = Vec::new();
    let base = Course {
        target: std::borrow::Cow::Borrowed(run.target),
        foreseen: course.foreseen.clone(),
        ruled: Some(Box::default()),
    };
    let rules = run.proxy.rules.load_full();
    let possible = rules.possible_swaps(&run.question(&base));
    for (rule, targets) in possible {
        for name in targets.iter() {
            let told = match swap::course(run, &base, name, Some(&rule), ("preview", &[])).await {
                Ok(course) => json!({
                    "rule": rule,
                    "model": name,
                    "provider": course.target.provider.settings.name,
                    "estimated_cost_usd": course.foreseen.estimated_cost.map(|usd| usd.to_string()),
                    "ceiling_cost_usd": course.foreseen.ceiling.map(|usd| usd.to_string()),
                    "changes": course.ruled.map(|ruled| ruled.adapted.told),
                }),
                Err(why) => json!({ "rule": rule, "model": name, "passed_over": why }),
            };
            listed.push(told);
        }
    }
    listed
}

fn priced(run: &Run<'_>, offer: Option<&Offer>, usage: &TokenUsage) -> Value {
    let pricing = offer.map(|offer| offer.model.price(usage, &terms(run.arrived, run.asked), run.arrived.at));
    match pricing {
        Some(Pricing::Priced(cost)) => json!({
            "cost_usd": cost.total.to_string(),
            "by_kind": cost.by_kind.iter().map(|(kind, usd)| (kind.name().to_owned(), usd.to_string().into())).collect::<serde_json::Map<_, _>>(),
        }),
        _ => json!({ "cost_usd": null, "unpriced": "no catalog entry for this model at this provider" }),
    }
}

fn by_kind(usage: &TokenUsage) -> Value {
    Value::Object(usage.used().map(|(kind, units)| (kind.name().to_owned(), units.into())).collect())
}
