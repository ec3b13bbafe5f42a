//! `/api/v1/openapi.json`: the table of endpoints as OpenAPI 3.1 has it, with the schemas of what goes in and out.

use super::super::problem::Problem;
use super::fields::Asked;
use super::schemas::schemas;
use super::{Act, Answer, Endpoint, PAGE_DEFAULT, PAGE_MAX, REPLAY_KEY_LETTERS_MAX, Seat, endpoints};
use serde_json::{Map, Value, json};

pub(super) fn show(_: &Seat<'_>, _: &mut Asked) -> Result<Answer, Problem> {
    Ok(Answer::of(200, &description()))
}

/// The members of a body's schema.
pub(super) fn members_of(schema: &str) -> Vec<String> {
    let all = schemas();
    let members = all[schema]["properties"].as_object();
    members.map(|members| members.keys().cloned().collect()).unwrap_or_default()
}

pub(in crate::api) fn description() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for endpoint in endpoints() {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_lowercase()] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Farebox admin API",
            "version": "1",
            "description": "Tenants, virtual keys, members and the audit log. What you may not see is answered as what is not there.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::COOKIE,
                    "description": "Writes also send `x-csrf-token`" },
            },
            "schemas": schemas(),
            "responses": { "Problem": {
                "description": "What is wrong, where, and how to mend it",
                "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
            } },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let named = endpoint.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let mut parameters: Vec<Value> =
        named.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": of_path(name) })).collect();
    parameters.extend(
        endpoint.parameters.iter().map(|name| json!({ "name": name, "in": "query", "schema": of_query(name) })),
    );
    let is_write = matches!(endpoint.act, Act::Write(_));
    if is_write {
        parameters.push(json!({
            "name": "Idempotency-Key", "in": "header",
            "schema": { "type": "string", "minLength": 1, "maxLength": REPLAY_KEY_LETTERS_MAX, "pattern": "^[\\t -~]+$" },
            "description": "The same key with the same request again does it once; kept for a day",
        }));
    }
    if is_write && matches!(endpoint.answer, "Tenant" | "Key" | "Budget") && endpoint.method != "POST" {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "schema": { "type": "string" },
            "description": "The `etag` of what you saw: 412 when it was changed meanwhile",
        }));
    }
    let mut responses = Map::new();
    responses.insert(endpoint.status.to_string(), answered(endpoint));
    for status in statuses(endpoint, is_write) {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
    }
    let security = if endpoint.open { json!([]) } else { json!([{ "token": [] }, { "session": [] }]) };
    let mut operation = json!({
        "operationId": endpoint.name,
        "summary": endpoint.does,
        "description": format!("Needs the role `{}`.", endpoint.action.needs().name()),
        "security": security,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = endpoint.body {
        let schema = json!({ "$ref": format!("#/components/schemas/{body}") });
        // What may all be left out may be left out as a whole.
        let required = schemas()[body]["required"].as_array().is_some_and(|names| !names.is_empty());
        operation["requestBody"] =
            json!({ "required": required, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

fn answered(endpoint: &Endpoint) -> Value {
    if endpoint.answer.is_empty() {
        return json!({ "description": "Done" });
    }
    let schema = json!({ "$ref": format!("#/components/schemas/{}", endpoint.answer) });
    json!({ "description": endpoint.answer, "content": { "application/json": { "schema": schema } } })
}

fn statuses(endpoint: &Endpoint, is_write: bool) -> Vec<u16> {
    let mut statuses = vec![400, 401, 403, 404, 429, 503];
    statuses.push(413);
    if endpoint.method != "GET" {
        statuses.extend([409, 415]);
    }
    if is_write {
        statuses.extend([412, 422]);
    }
    statuses
}

fn of_path(name: &str) -> Value {
    match name {
        "token" => json!({ "type": "integer", "minimum": 1 }),
        _ => json!({ "type": "string", "minLength": 1, "maxLength": 64 }),
    }
}

fn of_query(name: &str) -> Value {
    match name {
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT }),
        "order" => json!({ "enum": ["asc", "desc"], "default": "desc" }),
        "deleted" => json!({ "type": "boolean", "default": false }),
        "cursor" => json!({ "type": "string", "description": "`next_cursor` of the page before" }),
        _ => json!({ "type": "string" }),
    }
}
