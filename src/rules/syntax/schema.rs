//! The JSON Schema of a rules file, written from the same table that the reader obeys: editors complete and check by it.

use super::keys::{FILE, Key, Shape, TABLES, Table};
use super::scalar::{Scalar, field_names};
use serde_json::{Map, Value, json};

/// In JSON Schema, draft 2020-12.
pub fn schema() -> Value {
    let definitions: Map<String, Value> = TABLES.iter().map(|table| (name(table), section(table))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Farebox rules",
        "description": "Budgets, limits and swaps, as `rules/*.yaml` says them. Written by `farebox rules schema`.",
        "$ref": format!("#/$defs/{}", name(&FILE)),
        "$defs": definitions,
    })
}

/// `a budget's state` → `budget-state`
fn name(table: &Table) -> String {
    let words = table.called.split(' ').filter(|word| !matches!(*word, "a" | "an"));
    words.map(|word| word.trim_end_matches("'s")).collect::<Vec<_>>().join("-")
}

fn section(table: &Table) -> Value {
    let mut properties: Map<String, Value> =
        table.keys.iter().map(|key| (key.name.to_owned(), described(shape(&key.shape), key))).collect();
    let needed: Vec<&str> = table.keys.iter().filter(|key| key.needed).map(|key| key.name).collect();
    let mut section = json!({ "type": "object", "additionalProperties": false });
    if table.fields {
        for field in field_names() {
            properties.entry(field).or_insert_with(|| some(Scalar::Pattern.schema()));
        }
        section["patternProperties"] = json!({ "^(tag|metadata)\\..+$": some(Scalar::Pattern.schema()) });
    }
    section["properties"] = Value::Object(properties);
    if !needed.is_empty() {
        section["required"] = json!(needed);
    }
    section
}

fn described(mut value: Value, key: &Key) -> Value {
    value["description"] = json!(key.says);
    value
}

fn shape(shape: &Shape) -> Value {
    let reference = |table: &Table| json!({ "$ref": format!("#/$defs/{}", name(table)) });
    match shape {
        Shape::One(scalar) => scalar.schema(),
        Shape::Some(scalar) => some(scalar.schema()),
        Shape::Section(table) => reference(table),
        Shape::Sections(table) => some(reference(table)),
        Shape::List(table) => json!({ "type": "array", "items": reference(table) }),
        Shape::Either(scalar, table) => json!({ "anyOf": [scalar.schema(), reference(table)] }),
        Shape::Free(scalar) => json!({ "type": "object", "additionalProperties": scalar.schema() }),
    }
}

/// One, or a list.
fn some(one: Value) -> Value {
    json!({ "anyOf": [one.clone(), { "type": "array", "items": one, "minItems": 1 }] })
}
