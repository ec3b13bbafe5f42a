//! Alerts and rules.

use super::{list_of, maybe, moment, object, text};
use crate::api::v1::rules::TEXT_CHARS_MAX;
use serde_json::{Value, json};

pub(super) fn alerts() -> Value {
    let amount = || json!({ "type": "string", "description": "In the unit; dollars are exact" });
    let alert = json!({
        "object": { "const": "alert" },
        "id": { "type": "string" },
        "budget": { "type": "string" },
        "scope": { "type": "string" },
        "unit": { "enum": ["usd", "tokens", "requests"] },
        "hardness": { "enum": ["hard", "soft", "shadow"] },
        "window": { "type": "string" },
        "window_start": moment(),
        "window_end": maybe(moment()),
        "threshold_percent": { "type": "number" },
        "at": moment(),
        "spent": amount(),
        "limit": amount(),
        "acknowledged_at": maybe(moment()),
        "acknowledged_by": maybe(json!({ "type": "string" })),
        "deliveries": { "type": "array", "items": { "type": "object" } },
    });
    let always = [
        "object",
        "id",
        "budget",
        "scope",
        "unit",
        "hardness",
        "window",
        "window_start",
        "window_end",
        "threshold_percent",
        "at",
        "spent",
        "limit",
        "acknowledged_at",
        "acknowledged_by",
    ];
    json!({ "Alert": object(&always, alert), "AlertList": list_of("Alert") })
}

pub(super) fn rules() -> Value {
    let rules = json!({ "type": ["string", "null"], "maxLength": TEXT_CHARS_MAX,
        "description": "What would stand in a rules file; without it, the files in force" });
    let pairs = || {
        json!({ "type": ["object", "null"], "maxProperties": 100, "additionalProperties": text(),
        "propertyNames": { "minLength": 1, "maxLength": 512 } })
    };
    let counts = json!({ "type": "object", "additionalProperties": { "type": "integer" } });
    let faults = json!({ "type": "array", "items": object(
        &["file", "line", "column", "excerpt", "what", "remedy"],
        json!({
            "file": { "type": "string" }, "line": { "type": "integer" }, "column": { "type": "integer" },
            "excerpt": { "type": "string" }, "what": { "type": "string" }, "remedy": { "type": "string" },
        }),
    ) });
    json!({
        "RulesText": object(&[], json!({ "text": rules })),
        "RulesQuestion": object(&[], json!({
            "text": rules, "caller": pairs(), "request": pairs(), "spent": pairs(), "at": maybe(text()),
        })),
        "Rules": object(&["object", "version", "counts", "versions"], json!({
            "object": { "const": "rules" }, "version": { "type": "string" }, "counts": counts,
            "versions": { "type": "array", "items": { "type": "object" } },
        })),
        "RulesCheck": object(&["object", "ok", "faults", "warnings", "counts"], json!({
            "object": { "const": "rules_check" }, "ok": { "type": "boolean" }, "faults": faults, "warnings": faults,
            "counts": counts,
        })),
        "RulesTest": object(&["object", "ok", "tests"], json!({
            "object": { "const": "rules_test" }, "ok": { "type": "boolean" },
            "tests": { "type": "array", "items": { "type": "object" } },
        })),
        "RulesExplanation": { "type": "object", "required": ["object", "decision", "rule", "why", "tried"] },
    })
}
