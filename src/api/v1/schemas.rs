//! What goes in and out of `/api/v1`, as JSON schemas. Those of bodies also say which members are heard.

mod alerts;
mod budgets;
mod logins;
mod usage;

use crate::dialects::Operation;
use crate::store::KEEP_DAYS_MAX;
use crate::tenants::Role;
use serde_json::{Map, Value, json};

pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    for part in [
        problem(),
        tenants(),
        keys(),
        access(),
        logins::logins(),
        of_audit(),
        usage::usage(),
        budgets::budgets(),
        alerts::alerts(),
        alerts::rules(),
    ] {
        if let Value::Object(schemas) = part {
            all.extend(schemas);
        }
    }
    Value::Object(all)
}

fn name() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9._@+-]{0,63}$", "maxLength": 64 })
}

fn text() -> Value {
    json!({ "type": "string", "maxLength": 512 })
}

fn maybe(mut schema: Value) -> Value {
    let kind = schema["type"].take();
    schema["type"] = json!([kind, "null"]);
    schema
}

fn moment() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// Nothing beside these members; those in `required` are always there.
fn object(required: &[&str], members: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": members, "additionalProperties": false })
}

fn list_of(schema: &str) -> Value {
    object(
        &["object", "items", "next_cursor"],
        json!({
            "object": { "const": "list" },
            "items": { "type": "array", "items": { "$ref": format!("#/components/schemas/{schema}") } },
            "next_cursor": maybe(json!({ "type": "string" })),
        }),
    )
}

fn problem() -> Value {
    json!({
        "Problem": object(&["title", "status", "detail"], json!({
            "title": { "type": "string" },
            "status": { "type": "integer" },
            "detail": { "type": "string" },
            "field": { "type": "string", "description": "The member or parameter at fault" },
            "remedy": { "type": "string" },
        })),
        "Description": { "type": "object" },
    })
}

fn tenants() -> Value {
    let states = json!({ "enum": ["active", "disabled", "expired", "deleted"] });
    json!({
        "NewOrganisation": object(&["name"], json!({ "name": name() })),
        "NewTeam": object(&["name"], json!({ "name": name(), "organisation": maybe(name()) })),
        "NewProject": object(&["name", "team"], json!({ "name": name(), "team": name() })),
        "NewUser": object(&["name"], json!({ "name": name(), "organisation": maybe(name()) })),
        "ChangeTenant": change_tenant(),
        "ChangeUser": object(&["disabled"], json!({ "disabled": { "type": "boolean" } })),
        "Tenant": object(&["object", "name", "state", "created_at"], json!({
            "object": { "enum": ["organisation", "team", "project", "user", "service_account"] },
            "name": { "type": "string" },
            "parent": { "type": "string", "description": "A team's or user's organisation, a project's team" },
            "state": states,
            "created_at": moment(),
            "disabled_at": maybe(moment()),
            "deleted_at": maybe(moment()),
            "keep_days": {
                "type": ["integer", "null"], "description": "Not of users; null: as long as the events of all",
            },
        })),
        "TenantList": list_of("Tenant"),
    })
}

fn change_tenant() -> Value {
    let mut change = object(
        &[],
        json!({
            "disabled": { "type": "boolean" },
            "keep_days": {
                "type": ["integer", "null"], "minimum": 1, "maximum": KEEP_DAYS_MAX,
                "description": "Days after which its events are dropped; their sums stay. Needs an admin",
            },
        }),
    );
    change["minProperties"] = 1.into();
    change
}

fn permissions() -> Value {
    let operations: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    let globs = json!({
        "type": "array", "maxItems": 100,
        "items": { "type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-+\\--~]+$" },
    });
    let networks =
        json!({ "type": "array", "maxItems": 100, "items": { "type": "string", "examples": ["10.0.0.0/8"] } });
    json!({
        "type": "object",
        "description": "Each list empty or left out: no bound",
        "additionalProperties": false,
        "properties": {
            "models": globs,
            "operations": { "type": "array", "maxItems": 100, "items": { "enum": operations } },
            "providers": globs,
            "networks": networks,
        },
    })
}

fn limits() -> Value {
    let count = |max: u64| json!({ "type": ["integer", "null"], "minimum": 1, "maximum": max });
    json!({
        "type": "object",
        "description": "Its own, beside those of the rules; each left out: no bound",
        "additionalProperties": false,
        "properties": {
            "requests_per_minute": count(u64::from(u32::MAX)),
            "tokens_per_minute": count(u64::MAX >> 1),
            "concurrent": count(u64::from(u32::MAX)),
            "budget": { "type": ["string", "null"], "description": "`50 USD/month`, `2M tokens/day`, `20 USD/lifetime`" },
        },
    })
}

fn keys() -> Value {
    let tags = json!({ "type": "object", "maxProperties": 100, "additionalProperties": text(),
        "propertyNames": { "minLength": 1, "maxLength": 512 } });
    let key = json!({
        "object": { "const": "key" },
        "name": { "type": "string" },
        "organisation": { "type": "string" },
        "team": maybe(json!({ "type": "string" })),
        "project": maybe(json!({ "type": "string" })),
        "user": maybe(json!({ "type": "string" })),
        "state": { "enum": ["active", "disabled", "expired", "deleted"] },
        "closed_by": { "type": "string" },
        "permissions": permissions(),
        "limits": limits(),
        "tags": { "type": "object", "additionalProperties": { "type": "string" } },
        "created_at": moment(),
        "expires_at": maybe(moment()),
        "secrets": { "type": "array", "items": object(&["prefix", "created_at", "expires_at"], json!({
            "prefix": { "type": "string" }, "created_at": moment(), "expires_at": maybe(moment()),
        })) },
        "last_used_at": moment(),
    });
    let mut made = key.clone();
    made["key"] =
        json!({ "type": ["string", "null"], "description": "Shown this once; null when the request is repeated" });
    let always = [
        "object",
        "name",
        "organisation",
        "team",
        "project",
        "user",
        "state",
        "permissions",
        "limits",
        "tags",
        "created_at",
        "expires_at",
        "secrets",
    ];
    json!({
        "NewKey": object(&["name"], json!({
            "name": name(),
            "organisation": maybe(name()), "team": maybe(name()), "project": maybe(name()),
            "user": maybe(name()),
            "permissions": maybe(permissions()),
            "limits": maybe(limits()),
            "tags": maybe(tags.clone()),
            "expires_at": maybe(moment()),
        })),
        "ChangeKey": object(&[], json!({
            "permissions": maybe(permissions()), "limits": maybe(limits()), "tags": maybe(tags), "expires_at": maybe(moment()),
            "disabled": { "type": ["boolean", "null"] },
        })),
        "RotateKey": object(&[], json!({
            "overlap_seconds": { "type": ["integer", "null"], "minimum": 0, "maximum": 7_776_000, "default": 86_400 },
        })),
        "Key": object(&always, key),
        "NewlyMadeKey": object(&always, made),
        "KeyList": list_of("Key"),
    })
}

fn access() -> Value {
    let role = json!({ "enum": Role::ALL.map(Role::name) });
    let scope = object(
        &["organisation", "team", "project"],
        json!({
            "organisation": maybe(json!({ "type": "string" })),
            "team": maybe(json!({ "type": "string" })),
            "project": maybe(json!({ "type": "string" })),
        }),
    );
    let token = json!({
        "object": { "const": "token" },
        "id": { "type": "integer" },
        "user": { "type": "string" },
        "label": { "type": "string" },
        "prefix": { "type": "string" },
        "created_at": moment(),
        "expires_at": maybe(moment()),
        "revoked_at": maybe(moment()),
    });
    let mut made = token.clone();
    made["token"] =
        json!({ "type": ["string", "null"], "description": "Shown this once; null when the request is repeated" });
    json!({
        "NewRole": object(&["role"], json!({ "role": role.clone() })),
        "Member": object(&["object", "user", "role", "scope", "granted_at"], json!({
            "object": { "const": "member" }, "user": { "type": "string" }, "role": role.clone(), "scope": scope.clone(),
            "granted_at": moment(),
        })),
        "MemberList": list_of("Member"),
        "Me": object(&["object", "user", "roles"], json!({
            "object": { "const": "me" },
            "user": maybe(json!({ "type": "string" })),
            "csrf_token": { "type": "string", "description": "In a session: to be sent as `x-csrf-token` with each write" },
            "roles": { "type": "array", "items": object(&["role", "scope"], json!({ "role": role, "scope": scope })) },
        })),
        "NewToken": object(&["label"], json!({ "label": text(), "expires_at": maybe(moment()) })),
        "Token": object(&["object", "id", "user", "label", "prefix", "created_at"], token),
        "NewlyMadeToken": object(&["object", "id", "user", "label", "prefix", "created_at", "token"], made),
        "TokenList": list_of("Token"),
    })
}

fn of_audit() -> Value {
    json!({
        "AuditLine": object(&["object", "number", "at", "actor", "action", "kind", "subject", "detail", "hash"], json!({
            "object": { "const": "audit_line" },
            "number": { "type": "integer" },
            "at": moment(),
            "actor": { "type": "string" },
            "action": { "type": "string" },
            "kind": { "type": "string" },
            "subject": { "type": "string" },
            "detail": { "type": ["object", "null"] },
            "hash": { "type": "string" },
        })),
        "AuditList": list_of("AuditLine"),
        "AuditReport": object(&["ok", "lines", "broken_at", "last_hash"], json!({
            "ok": { "type": "boolean" }, "lines": { "type": "integer" },
            "broken_at": { "type": ["integer", "null"] }, "last_hash": { "type": "string" },
        })),
    })
}
