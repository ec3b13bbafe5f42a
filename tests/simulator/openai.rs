//! The OpenAI dialect.

use crate::support::{Asking, asking, simulator};
use farebox::simulator::{Ending, Running};
use serde_json::{Value, json};

fn chat(simulator: &Running, more: Value) -> Asking {
    let mut body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Say something."}]});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    asking("POST", &format!("{}/v1/chat/completions", simulator.url())).json(&body)
}

#[tokio::test]
async fn a_whole_chat_says_how_many_tokens_it_is() {
    let simulator = simulator().await;
    let answered = chat(&simulator, json!({})).wishing("output-tokens", 5).wishing("cached-tokens", 4).answered().await;
    let said = answered.json();
    // 3 for the message, 1 for its role, 3 for its text, 3 to begin the answer.
    assert_eq!(said["usage"]["prompt_tokens"], 10);
    assert_eq!(said["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert_eq!(said["usage"]["completion_tokens"], 5);
    assert_eq!(said["choices"][0]["message"]["content"].as_str().unwrap().split(' ').count(), 5);
    let seen = simulator.log.attempt(answered.attempt()).unwrap();
    assert_eq!((seen.ending, seen.sent_output_tokens, seen.usage.unwrap().input_tokens), (Ending::Completed, 5, 10));
}

#[tokio::test]
async fn a_stream_reports_usage_only_when_asked_and_then_writes_null_into_every_other_event() {
    let simulator = simulator().await;
    let silent = chat(&simulator, json!({"stream": true})).wishing("output-tokens", 3).answered().await;
    assert!(!silent.text().contains("usage"));
    assert_eq!(silent.events().len(), 5);
    assert!(silent.text().ends_with("data: [DONE]\n\n"));

    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let telling = chat(&simulator, asked).wishing("output-tokens", 3).answered().await;
    let events = telling.events();
    assert_eq!(events.len(), 6);
    assert!(events[..5].iter().all(|event| event.get("usage") == Some(&Value::Null)));
    assert_eq!((&events[5]["choices"], &events[5]["usage"]["completion_tokens"]), (&json!([]), &json!(3)));
}

#[tokio::test]
async fn a_seed_makes_the_bytes_the_same() {
    let simulator = simulator().await;
    for stream in [false, true] {
        let once = || chat(&simulator, json!({"stream": stream})).wishing("seed", "same").answered();
        assert_eq!(once().await.body, once().await.body);
        let other = chat(&simulator, json!({"stream": stream})).wishing("seed", "other").answered().await;
        assert_ne!(once().await.body, other.body);
    }
}

#[tokio::test]
async fn a_tool_is_called_when_it_must_be_or_when_the_user_says_so() {
    let simulator = simulator().await;
    let tools = json!([{"type": "function", "function": {"name": "weather", "parameters":
        {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo"]}}}}}]);
    let forced = chat(&simulator, json!({"tools": tools, "tool_choice": "required"})).answered().await.json();
    let call = &forced["choices"][0]["message"]["tool_calls"][0]["function"];
    assert_eq!((&call["name"], &call["arguments"]), (&json!("weather"), &json!(r#"{"city":"Oslo"}"#)));
    assert_eq!(forced["choices"][0]["finish_reason"], "tool_calls");

    let messages = json!([{"role": "user", "content": "Please call the tool."}]);
    let streamed = chat(&simulator, json!({"tools": tools, "messages": messages, "stream": true})).answered().await;
    let arguments: String = (streamed.events().iter())
        .filter_map(|event| {
            event["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"].as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(arguments, r#"{"city":"Oslo"}"#);

    let unforced = chat(&simulator, json!({"tools": tools})).answered().await.json();
    assert!(unforced["choices"][0]["message"]["content"].is_string());
}

#[tokio::test]
async fn an_output_limit_ends_the_answer_with_length() {
    let simulator = simulator().await;
    let answered = chat(&simulator, json!({"max_tokens": 2})).wishing("output-tokens", 9).answered().await.json();
    assert_eq!(answered["choices"][0]["finish_reason"], "length");
    assert_eq!(answered["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn several_choices_are_several_answers_and_billed_so() {
    let simulator = simulator().await;
    let whole = chat(&simulator, json!({"n": 3})).wishing("output-tokens", 4).answered().await.json();
    assert_eq!((whole["choices"].as_array().unwrap().len(), &whole["usage"]["completion_tokens"]), (3, &json!(12)));
    let streamed = chat(&simulator, json!({"n": 3, "stream": true})).wishing("output-tokens", 4).answered().await;
    assert_eq!(simulator.log.attempt(streamed.attempt()).unwrap().sent_output_tokens, 12);
}
