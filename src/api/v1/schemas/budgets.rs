//! Budgets, as the rules write them and as they stand.

use super::{list_of, maybe, moment, object, text};
use serde_json::{Map, Value, json};

/// The members of a budget: what a rules file may say of one.
fn members() -> Value {
    let any = |says: &str| json!({ "description": says });
    let yes = || json!({ "type": ["boolean", "null"] });
    json!({
        "name": { "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "maxLength": 64 },
        "scope": { "type": ["object", "null"], "maxProperties": 100, "description": "Whose calls it counts: `{\"team\": \"research\"}`",
            "additionalProperties": any("A value, or a list of values; `*` stands for any letters") },
        "for_each": any("A field, or a list of them: a separate count for each value"),
        "window": any("`hour`, `day`, `week`, `month`, `year`, `rolling 5h`, `lifetime`, or {\"every\": …, \"zone\": …, \"from\": …}"),
        "limit": { "type": "string", "description": "`500 USD`, `2M tokens`, `1000 requests`" },
        "hardness": { "enum": ["hard", "soft", "shadow", null] },
        "thresholds": any("`80%`, or a list of percentages"),
        "except": any("Whose calls are counted but never refused"),
        "strict": yes(),
        "unmetered": { "enum": ["refuse", "admit", null] },
        "unpriced": { "enum": ["refuse", "admit", null] },
        "clamp": yes(),
        "top_ups": { "type": ["array", "null"], "items": { "type": "object" } },
        "show_amounts": yes(),
        "message": maybe(text()),
    })
}

pub(super) fn budgets() -> Value {
    let definition = members();
    let mut changed: Map<String, Value> = definition.as_object().cloned().unwrap_or_default();
    changed.remove("name");
    let amount = || maybe(json!({ "type": "string", "description": "In the unit; dollars are exact" }));
    let instance = object(
        &["scope", "window_start", "resets_at", "limit", "spent", "held", "leased", "used_percent"],
        json!({
            "scope": { "type": "string", "description": "The `for_each` values" },
            "window_start": moment(),
            "resets_at": maybe(moment()),
            "limit": amount(), "spent": amount(),
            "held": maybe(json!({ "type": "string", "description": "For calls under way; null where the node has not opened the account" })),
            "leased": amount(),
            "used_percent": { "type": "number" },
        }),
    );
    let shown = object(
        &["object", "name", "origin", "in_force", "written_at", "unit", "limit", "hardness", "definition", "instances"],
        json!({
            "object": { "const": "budget" },
            "name": { "type": "string" },
            "origin": { "enum": ["file", "api", "key"] },
            "in_force": { "type": "boolean" },
            "written_at": maybe(json!({ "type": "string", "description": "`rules/team.yaml:14`; only there it is changed" })),
            "unit": { "enum": ["usd", "tokens", "requests", null] },
            "limit": amount(),
            "hardness": { "enum": ["hard", "soft", "shadow", null] },
            "definition": maybe(json!({ "type": "object" })),
            "instances": { "type": "array", "items": instance },
        }),
    );
    json!({
        "NewBudget": object(&["name", "window", "limit"], definition),
        "ChangeBudget": object(&[], Value::Object(changed)),
        "Budget": shown,
        "BudgetList": list_of("Budget"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::syntax::keys;

    #[test]
    fn a_budget_over_the_api_says_what_one_in_a_file_says() {
        let members = members();
        let mut mine: Vec<&str> = members.as_object().unwrap().keys().map(String::as_str).collect();
        let mut theirs: Vec<&str> = keys::BUDGET.keys.iter().map(|key| key.name).collect();
        mine.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(mine, theirs);
    }
}
