//! What holds for requests of every dialect.

use super::*;
use crate::tokens::bound::{BoundRule, input_bound};
use crate::tokens::count::{always, tests::counter};
use crate::tokens::prompt::PromptTally;
use crate::tokens::tokenizer::Tokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
enum Turn {
    Said(String),
    Called { name: String, arguments: Value },
    Answered(String),
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~\n]{0,50}", "\\PC{0,20}", "[🙂-🙏]{0,9}", "[A-Z]{0,50}"]
}

fn turn() -> impl Strategy<Value = Turn> {
    let arguments = prop_oneof![
        proptest::collection::vec(0u32..10, 0..20).prop_map(|numbers| json!({"a": numbers})),
        text().prop_map(|text| json!({"b": text, "c": {}})),
        Just(json!({})),
    ];
    prop_oneof![
        text().prop_map(Turn::Said),
        ("[a-z_]{1,20}", arguments).prop_map(|(name, arguments)| Turn::Called { name, arguments }),
        text().prop_map(Turn::Answered),
    ]
}

fn schema() -> impl Strategy<Value = Value> {
    (text(), proptest::collection::vec(0u32..10, 0..40)).prop_map(|(description, numbers)| {
        let property = json!({"type": "integer", "enum": numbers, "description": description});
        json!({"type": "object", "properties": {"p": property}, "required": ["p"]})
    })
}

fn openai(turns: &[Turn], tools: &[Value]) -> Value {
    let message = |turn: &Turn| match turn {
        Turn::Said(text) => json!({"role": "user", "content": text, "name": "bob"}),
        Turn::Called { name, arguments } => json!({"role": "assistant", "content": null, "tool_calls":
            [{"id": "c", "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}]}),
        Turn::Answered(text) => {
            json!({"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": text}]})
        }
    };
    let tool = |schema: &Value| json!({"type": "function", "function": {"name": "f", "parameters": schema}});
    json!({"model": "m", "messages": turns.iter().map(message).collect::<Vec<_>>(),
        "tools": tools.iter().map(tool).collect::<Vec<_>>()})
}

fn anthropic(turns: &[Turn], tools: &[Value]) -> Value {
    let message = |turn: &Turn| match turn {
        Turn::Said(text) => json!({"role": "user", "content": text}),
        Turn::Called { name, arguments } => {
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": name, "input": arguments}]})
        }
        Turn::Answered(text) => {
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": text}]})
        }
    };
    let tool = |schema: &Value| json!({"name": "f", "input_schema": schema});
    json!({"model": "m", "system": "Be.", "messages": turns.iter().map(message).collect::<Vec<_>>(),
        "tools": tools.iter().map(tool).collect::<Vec<_>>()})
}

fn gemini(turns: &[Turn], tools: &[Value]) -> Value {
    let content = |turn: &Turn| match turn {
        Turn::Said(text) => json!({"role": "user", "parts": [{"text": text}]}),
        Turn::Called { name, arguments } => {
            json!({"role": "model", "parts": [{"functionCall": {"name": name, "args": arguments}}]})
        }
        Turn::Answered(text) => {
            json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": text}}}]})
        }
    };
    let declaration = |schema: &Value| json!({"name": "f", "parameters": schema});
    let declarations: Vec<_> = tools.iter().map(declaration).collect();
    json!({"contents": turns.iter().map(content).collect::<Vec<_>>(), "tools": [{"functionDeclarations": declarations}]})
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn what_is_held_for_a_request_is_never_below_its_count(
        turns in proptest::collection::vec(turn(), 1..8),
        tools in proptest::collection::vec(schema(), 0..3),
    ) {
        let bodies = [
            (Dialect::OpenAi, "/v1/chat/completions", openai(&turns, &tools)),
            (Dialect::Anthropic, "/v1/messages", anthropic(&turns, &tools)),
            (Dialect::Gemini, "/v1beta/models/m:generateContent", gemini(&turns, &tools)),
        ];
        for (dialect, path, body) in bodies {
            let (endpoint, body) = (dialect.recognise("POST", path), body.to_string());
            let facts = dialect.read_request(&endpoint, body.as_bytes()).expect("a readable body");
            for model in ["gpt-4o", "gpt-4", "gpt-5.1", "claude-opus-4-8", "gemini-2.5-pro", "grok-4", "unheard-of"] {
                let tokenizer = Tokenizer::customary(model);
                let mut go_on = always;
                let mut tally = PromptTally::new(counter(), &tokenizer, &mut go_on);
                dialect.prompt_texts(&endpoint, body.as_bytes(), &mut |text| tally.push(text));
                let count = tally.finish().expect("nobody calls it off").tokens;
                let bound = input_bound(&facts, &BoundRule { tokenizer, ..BoundRule::default() }).input_tokens();
                prop_assert!(bound >= count, "{} < {} for {} as {:?}: {}", bound, count, model, dialect, body);
            }
        }
    }
}
