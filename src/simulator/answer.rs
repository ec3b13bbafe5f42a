//! What the simulated model says to a request, before it has a wire format.

use super::SimulatorSettings;
use super::seen::Usage;
use super::wishes::Wishes;
use super::words::{self, Piece};
use serde_json::Value;

/// What a request asks, in every dialect.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub model: String,
    pub stream: bool,
    pub output_limit: Option<u64>,
    /// Answers wanted; at least 1.
    pub choices: u64,
    /// Counted by the dialect's simple rule.
    pub input_tokens: u64,
    /// The tool that must be called, and the JSON schema of its arguments.
    pub tool: Option<(String, Value)>,
    /// The JSON schema that the answer must satisfy.
    pub schema: Option<Value>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    /// 16 hex digits, for ids.
    pub id: String,
    /// Seconds since 1970.
    pub created: u64,
    pub model: String,
    pub content: Content,
    pub reasoning: Vec<Piece>,
    /// The output limit cut it off.
    pub cut_off: bool,
    pub usage: Usage,
    /// `None`: not to be reported.
    pub reports_usage: bool,
    pub service_tier: Option<String>,
    pub choices: u64,
}

#[derive(Clone, Debug)]
pub enum Content {
    Text(Vec<Piece>),
    Call { tool: String, arguments: Vec<Piece> },
}

impl Content {
    pub fn pieces(&self) -> &[Piece] {
        match self {
            Content::Text(pieces) => pieces,
            Content::Call { arguments, .. } => arguments,
        }
    }
}

/// Who asks: what ids and times are made of.
#[derive(Clone, Debug)]
pub struct Occasion {
    pub attempt: u64,
    pub seed: u64,
    pub now_seconds: u64,
}

pub fn answer(ask: &Ask, wishes: &Wishes, occasion: &Occasion, settings: &SimulatorSettings) -> Answer {
    let seed = wishes.seed.unwrap_or(occasion.seed);
    let limit = ask.output_limit.unwrap_or(u64::MAX);
    let mut reasoning = words::words(seed ^ 1, wishes.reasoning_tokens);
    let reasoning_cut = words::cut_to(&mut reasoning, limit);
    let room = limit - words::tokens_of(&reasoning).min(limit);

    let (mut pieces, called_tokens) = match (&ask.tool, &ask.schema) {
        (Some((tool, schema)), _) => {
            (words::pieces_of(&instance_of(schema, schema, seed, 0).to_string()), words::count(tool))
        }
        (None, Some(schema)) => (words::pieces_of(&instance_of(schema, schema, seed, 0).to_string()), 0),
        (None, None) => (words::words(seed, wanted_tokens(wishes, settings, seed).min(room)), 0),
    };
    let natural_end = ask.tool.is_some() || ask.schema.is_some() || wanted_tokens(wishes, settings, seed) <= room;
    let cut_off = words::cut_to(&mut pieces, room) || reasoning_cut || !natural_end;
    let visible = words::tokens_of(&pieces) + called_tokens;
    let pieces = words::into_chunks(pieces, wishes.chunks);

    let choices = ask.choices.max(1);
    let cache_read_tokens = wishes.cached_tokens.min(ask.input_tokens);
    let usage = Usage {
        input_tokens: ask.input_tokens,
        cache_read_tokens,
        cache_write_tokens: wishes.cache_write_tokens.min(ask.input_tokens - cache_read_tokens),
        output_tokens: (visible + words::tokens_of(&reasoning)) * choices,
        reasoning_tokens: words::tokens_of(&reasoning) * choices,
    };
    let content = match &ask.tool {
        Some((tool, _)) => Content::Call { tool: tool.clone(), arguments: pieces },
        None => Content::Text(pieces),
    };
    Answer {
        id: id_of(wishes, occasion),
        created: created_at(wishes, occasion),
        model: wishes.response_model.clone().unwrap_or_else(|| ask.model.clone()),
        content,
        reasoning,
        cut_off,
        usage,
        reports_usage: !wishes.hide_usage,
        service_tier: wishes.service_tier.clone(),
        choices,
    }
}

/// Seeded requests get the same id each time; others one of their own.
pub fn id_of(wishes: &Wishes, occasion: &Occasion) -> String {
    format!("{:016x}", wishes.seed.unwrap_or(occasion.attempt))
}

pub fn created_at(wishes: &Wishes, occasion: &Occasion) -> u64 {
    wishes.seed.map_or(occasion.now_seconds, |seed| 1_790_000_000 + seed % 1_000_000)
}

/// The last text a user wrote asks for a tool by these words, where nothing else decides.
pub fn calls_for_a_tool(text: &str) -> bool {
    text.to_lowercase().contains("call the tool")
}

fn wanted_tokens(wishes: &Wishes, settings: &SimulatorSettings, seed: u64) -> u64 {
    let (least, most) = (*settings.output_tokens.start(), *settings.output_tokens.end());
    wishes.output_tokens.unwrap_or(least + seed % (most.saturating_sub(least) + 1))
}

/// A value that satisfies a simple JSON schema: first of `enum`, every property, `minItems`, local `$ref`s.
fn instance_of(schema: &Value, root: &Value, seed: u64, depth: u32) -> Value {
    const DEPTH_MAX: u32 = 24;
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let deeper = |schema: &Value| instance_of(schema, root, seed, depth + 1);
    if let Some(referred) = schema.get("$ref").and_then(Value::as_str) {
        return referred.strip_prefix('#').and_then(|path| root.pointer(path)).map_or(Value::Null, deeper);
    }
    if let Some(value) = schema.get("const").or_else(|| schema.get("enum").and_then(|known| known.get(0))) {
        return value.clone();
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        let of_type = |one: &&Value| one.get("type").and_then(Value::as_str) != Some("null");
        if let Some(one) = schema.get(choice).and_then(Value::as_array).and_then(|all| all.iter().find(of_type)) {
            return deeper(one);
        }
    }
    match type_of(schema).as_str() {
        "string" => Value::from(string_of(schema, seed)),
        "integer" => Value::from(schema.get("minimum").and_then(Value::as_i64).unwrap_or(7)),
        "number" => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(1.5)),
        "boolean" => Value::from(true),
        "null" => Value::Null,
        "array" => {
            let count = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(100);
            let item = schema.get("items").map_or(Value::Null, deeper);
            Value::from(vec![item; usize::try_from(count).unwrap_or(1)])
        }
        _ => {
            let properties = schema.get("properties").and_then(Value::as_object);
            properties.into_iter().flatten().map(|(name, schema)| (name.clone(), deeper(schema))).collect()
        }
    }
}

/// JSON Schema's `type`, the first that is not `null`, in lower case (Gemini writes `STRING`).
fn type_of(schema: &Value) -> String {
    let first = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Some(Value::String(name)) => Some(name.as_str()),
        _ if schema.get("items").is_some() => Some("array"),
        _ => None,
    };
    first.unwrap_or("object").to_lowercase()
}

fn string_of(schema: &Value, seed: u64) -> String {
    match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2026-11-21".to_owned(),
        Some("date-time") => "2026-11-21T12:00:00Z".to_owned(),
        Some("email") => "alice@example.com".to_owned(),
        Some("uri") => "https://example.com/".to_owned(),
        Some("uuid") => "00000000-0000-4000-8000-000000000000".to_owned(),
        _ => {
            let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            words::text_of(&words::words(seed, 2 + least.min(1_000)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask() -> Ask {
        Ask { model: "gpt-4o".into(), choices: 1, input_tokens: 100, ..Ask::default() }
    }

    fn answered(ask: &Ask, wishes: &Wishes) -> Answer {
        answer(ask, wishes, &Occasion { attempt: 1, seed: 5, now_seconds: 9 }, &SimulatorSettings::default())
    }

    #[test]
    fn usage_is_what_was_said() {
        let wishes = Wishes { output_tokens: Some(12), reasoning_tokens: 5, cached_tokens: 60, ..Wishes::default() };
        let answer = answered(&Ask { choices: 2, ..ask() }, &wishes);
        let expected = Usage {
            input_tokens: 100,
            cache_read_tokens: 60,
            cache_write_tokens: 0,
            output_tokens: 34,
            reasoning_tokens: 10,
        };
        assert_eq!((answer.usage, answer.cut_off), (expected, false));
        assert_eq!(words::count(&words::text_of(answer.content.pieces())), 12);
    }

    #[test]
    fn the_output_limit_ends_it_reasoning_first() {
        let wishes = Wishes { output_tokens: Some(12), reasoning_tokens: 5, ..Wishes::default() };
        let answer = answered(&Ask { output_limit: Some(8), ..ask() }, &wishes);
        assert_eq!((answer.usage.output_tokens, answer.usage.reasoning_tokens, answer.cut_off), (8, 5, true));
    }

    #[test]
    fn an_answer_satisfies_its_schema() {
        let schema = json!({"type": "object", "$defs": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
            "properties": {"city": {"$ref": "#/$defs/city"}, "days": {"type": "ARRAY", "minItems": 2, "items": {"type": "INTEGER"}},
            "maybe": {"anyOf": [{"type": "null"}, {"type": ["null", "boolean"]}]}}});
        let answer = answered(&Ask { schema: Some(schema), ..ask() }, &Wishes::default());
        let said: Value = serde_json::from_str(&words::text_of(answer.content.pieces())).unwrap();
        assert_eq!(said, json!({"city": "Oslo", "days": [7, 7], "maybe": true}));
    }

    #[test]
    fn a_seed_makes_ids_and_times_the_same() {
        let wishes = Wishes { seed: Some(77), ..Wishes::default() };
        let at = |attempt, now_seconds| {
            let answer = answer(
                &ask(),
                &wishes,
                &Occasion { attempt, seed: attempt, now_seconds },
                &SimulatorSettings::default(),
            );
            (answer.id, answer.created, words::text_of(answer.content.pieces()))
        };
        assert_eq!(at(1, 10), at(2, 20));
    }
}
