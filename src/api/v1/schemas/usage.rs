//! Usage from outside.

use super::{maybe, moment, object, text};
use crate::dialects::Operation;
use crate::tokens::usage::Kind;
use serde_json::{Map, Value, json};

pub(super) fn usage() -> Value {
    let operations: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    let count = json!({ "type": ["integer", "null"], "minimum": 0, "maximum": 1_000_000_000_000_u64 });
    let sums = ["input_tokens", "output_tokens"].into_iter();
    let parts = ["cache_read_input_tokens", "cache_write_input_tokens", "reasoning_output_tokens"].into_iter();
    let kinds = Kind::ALL.iter().map(|kind| kind.name());
    let counts: Map<String, Value> =
        sums.chain(parts).chain(kinds).map(|name| (name.to_owned(), count.clone())).collect();
    let said = || maybe(text());
    let mut members = json!({
        "id": { "type": "string", "minLength": 1, "maxLength": 512, "description": "Yours: told again, it is not booked again" },
        "provider": text(),
        "model": text(),
        "operation": { "enum": operations.iter().map(|name| json!(name)).chain([Value::Null]).collect::<Vec<_>>() },
        "usage": { "type": "object", "properties": counts, "additionalProperties": false,
            "description": "The two sums, and what is a part of them or no token" },
        "usage_source": { "enum": ["reported", "counted", "estimated", null] },
        "occurred_at": maybe(moment()),
        "stream": { "type": ["boolean", "null"] },
        "batch": { "type": ["boolean", "null"], "description": "At the prices of a batch" },
        "service_tier": said(),
        "exchange_id": { "type": ["string", "null"],
            "description": "`x-farebox-exchange-id`, where the call passed through Farebox: then nothing is booked" },
        "tags": { "type": ["object", "null"], "maxProperties": 100, "additionalProperties": text(),
            "propertyNames": { "minLength": 1, "maxLength": 512 } },
    });
    for name in
        ["organisation", "team", "project", "key", "user", "end_user", "session", "run", "environment", "prompt_name"]
    {
        members[name] = said();
    }
    json!({
        "NewUsage": object(&["id", "provider", "model", "usage"], members),
        "TrackedUsage": object(
            &["object", "id", "event_id", "exchange_id", "cost_usd", "pricing", "booked", "known"],
            json!({
                "object": { "const": "tracked_usage" },
                "id": { "type": "string" },
                "event_id": { "type": "string" },
                "exchange_id": { "type": "string" },
                "cost_usd": { "type": ["string", "null"], "description": "Exact; null where there is no price" },
                "pricing": { "type": "string" },
                "booked": { "type": "boolean" },
                "known": { "enum": [null, "told_before", "metered_by_the_proxy"] },
            }),
        ),
    })
}
