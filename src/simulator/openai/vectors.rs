//! `/v1/embeddings`: numbers that depend on the text alone.

use crate::simulator::json::{array, object, text};
use crate::simulator::reply::{Call, Reply};
use crate::simulator::seen::Usage;
use crate::simulator::wishes::seed_of;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// OpenAI's `text-embedding-3-small` has as many.
const DIMENSIONS_DEFAULT: u64 = 1536;

pub fn embeddings(call: &Call<'_>, deployment: Option<&str>) -> Reply {
    let Some(model) = call.text("model").or(deployment) else {
        return super::error(400, "you must provide a model parameter", Some("model"));
    };
    let Some(input) = call.json.get("input") else {
        return super::error(400, "'$.input' is missing.", Some("input"));
    };
    let dimensions = call.number("dimensions").unwrap_or(DIMENSIONS_DEFAULT).clamp(1, 8192);
    let inputs: Vec<&Value> = match input {
        Value::Array(all) if !all.iter().all(Value::is_number) => all.iter().collect(),
        one => vec![one],
    };
    let packed = call.text("encoding_format") == Some("base64");
    let items = inputs.iter().enumerate().map(|(index, input)| {
        let vector = vector(&input.to_string(), dimensions);
        let embedding = if packed { text(&packed_vector(&vector)) } else { array(vector.iter().map(f32::to_string)) };
        object([("object", text("embedding")), ("index", index.to_string()), ("embedding", embedding)])
    });
    let input_tokens = super::tokens_of_input(input);
    let mut body = object([("object", text("list")), ("data", array(items)), ("model", text(model))]);
    if !call.wishes.hide_usage {
        let used = object([("prompt_tokens", input_tokens.to_string()), ("total_tokens", input_tokens.to_string())]);
        body = crate::simulator::json::with_member(body, "usage", &used);
    }
    Reply::json("embeddings", body).of_model(model).using(Usage { input_tokens, ..Usage::default() })
}

/// Eighths of −16 to 16: short in JSON, exact in binary.
pub fn vector(text: &str, dimensions: u64) -> Vec<f32> {
    let mut state = seed_of(text.as_bytes()) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from((state % 256) as u8) / 8.0 - 16.0
    };
    (0..dimensions).map(|_| next()).collect()
}

fn packed_vector(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())
}
