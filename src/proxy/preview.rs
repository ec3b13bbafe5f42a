//! `x-farebox-preview: only`: what a call would cost and what would be decided, with nothing forwarded and nothing
//! charged. The next real call with unchanged state decides the same, because it asks the same functions.

use super::Proxy;
use super::downstream;
use super::exchange::{Arrived, Asked};
use super::foresee::{foresee, question, terms};
use super::offer::Target;
use crate::catalog::{Catalog, Pricing};
use crate::tokens::usage::TokenUsage;
use pingora_core::protocols::http::ServerSession;
use serde_json::{Value, json};

/// Answers 200 with the preview.
pub async fn answer(
    proxy: &Proxy,
    session: &mut ServerSession,
    arrived: &Arrived,
    asked: &Asked,
    target: &Target,
    catalog: &Catalog,
) {
    let body = preview(proxy, arrived, asked, target, catalog).to_string().into_bytes();
    let headers = [("x-farebox-exchange-id", arrived.id.to_string())];
    downstream::respond_json(session, 200, &headers, body).await;
}

fn preview(proxy: &Proxy, arrived: &Arrived, asked: &Asked, target: &Target, catalog: &Catalog) -> Value {
    let foreseen = foresee(proxy, arrived, asked, target);
    let decision = proxy.rules.load().decide(&question(proxy, arrived, asked, target, &foreseen), &[]);
    let priced = |usage: &TokenUsage| {
        let pricing = target.offer.as_ref().map(|offer| offer.model.price(usage, &terms(arrived, asked), arrived.at));
        match pricing {
            Some(Pricing::Priced(cost)) => json!({
                "cost_usd": cost.total.to_string(),
                "by_kind": cost.by_kind.iter().map(|(kind, usd)| (kind.name().to_owned(), usd.to_string().into())).collect::<serde_json::Map<_, _>>(),
            }),
            _ => json!({ "cost_usd": null, "unpriced": "no catalog entry for this model at this provider" }),
        }
    };
    json!({
        "object": "farebox.preview",
        "exchange_id": arrived.id.to_string(),
        "provider": target.provider.settings.name,
        "operation": arrived.endpoint.operation.name(),
        "metered": arrived.endpoint.metered,
        "requested_model": asked.facts.requested_model,
        "upstream_model": target.model,
        "catalog_model": target.offer.as_ref().map(|offer| &offer.model.id),
        "catalog_version": catalog.version(),
        "stream": asked.facts.stream,
        "input_estimate": { "tokens": by_kind(&foreseen.estimate), "priced": priced(&foreseen.estimate) },
        "estimated_cost_usd": foreseen.estimated_cost.map(|usd| usd.to_string()),
        "ceiling": { "tokens": by_kind(&foreseen.bound), "cost_usd": foreseen.ceiling.map(|usd| usd.to_string()) },
        "decision": { "action": decision.name(), "rule": decision.rule, "why": decision.why },
    })
}

fn by_kind(usage: &TokenUsage) -> Value {
    Value::Object(usage.used().map(|(kind, units)| (kind.name().to_owned(), units.into())).collect())
}
