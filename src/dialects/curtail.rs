//! A stream that we may have to end before its provider does: when the budget that it is held against in slices has no
//! room for another. The client gets what it would get from a provider at its output limit, so that no SDK sees an error:
//!
//! | dialect | ending |
//! |---|---|
//! | OpenAI chat, completions | `finish_reason: "length"` for every choice that is open, usage if asked for, `[DONE]` |
//! | OpenAI Responses | the open item done as `incomplete`, `response.incomplete` with `max_output_tokens` |
//! | Anthropic | the open block stopped, `message_delta` with `stop_reason: "max_tokens"`, `message_stop` |
//! | Gemini | a chunk with `finishReason: "MAX_TOKENS"` |
//!
//! Before it stands a comment line that says why; SDKs pass over it.

use super::sse::{Boundaries, EVENT_BYTES_MAX, Event, Splitter};
use super::{Dialect, Operation};
use crate::tokens::usage::TokenUsage;
use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Passes a stream on in whole events, and remembers what its ending would need.
pub struct Curtail {
    boundaries: Boundaries,
    kept: BytesMut,
    splitter: Splitter,
    seen: Seen,
}

enum Seen {
    Chunks(Chunks),
    Response(Response),
    Message { open_block: Option<u64> },
    Candidates { last: Value },
}

/// Chat and completions.
#[derive(Default)]
struct Chunks {
    is_chat: bool,
    first: Value,
    /// Whether it is open, by index.
    choices: BTreeMap<u64, bool>,
}

/// Responses.
#[derive(Default)]
struct Response {
    created: Value,
    sequence: u64,
    /// By `output_index`.
    items: BTreeMap<u64, Value>,
    open: Option<u64>,
    /// Of the open item.
    text: String,
    content_index: Option<u64>,
}

impl Curtail {
    pub fn new(dialect: Dialect, operation: Operation) -> Curtail {
        let seen = match (dialect, operation) {
            (Dialect::OpenAi, Operation::Responses) => Seen::Response(Response::default()),
            (Dialect::OpenAi, _) => {
                Seen::Chunks(Chunks { is_chat: operation != Operation::Completion, ..Chunks::default() })
            }
            (Dialect::Anthropic, _) => Seen::Message { open_block: None },
            (Dialect::Gemini, _) => Seen::Candidates { last: Value::Null },
        };
        Curtail { boundaries: Boundaries::default(), kept: BytesMut::new(), splitter: Splitter::default(), seen }
    }

    /// The whole events that end in `chunk`. An event past [`EVENT_BYTES_MAX`] passes in pieces.
    pub fn push(&mut self, chunk: &Bytes) -> Bytes {
        let mut end = 0;
        loop {
            end += usize::from(self.boundaries.takes_newline(chunk.get(end)));
            match self.boundaries.next_end(chunk, end) {
                Some(next) => end = next,
                None => break,
            }
        }
        let rest = &chunk[end..];
        let passed = if self.kept.is_empty() {
            chunk.slice(..end)
        } else if end == 0 {
            Bytes::new()
        } else {
            self.kept.extend_from_slice(&chunk[..end]);
            std::mem::take(&mut self.kept).freeze()
        };
        self.kept.extend_from_slice(rest);
        let passed = if self.kept.len() > EVENT_BYTES_MAX {
            let mut all = BytesMut::from(&passed[..]);
            all.extend_from_slice(&std::mem::take(&mut self.kept));
            all.freeze()
        } else {
            passed
        };
        let seen = &mut self.seen;
        self.splitter.push(&passed, |event| seen.read(event));
        passed
    }

    /// The stream ended by itself: what waited for its end.
    pub fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.kept).freeze()
    }

    /// The ending, with what was used so far; `notice` is one line. The unfinished event that waits is dropped.
    pub fn ending(self, used: &TokenUsage, wants_usage: bool, notice: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let notice: String = notice.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        out.extend_from_slice(format!(": farebox {notice}\n\n").as_bytes());
        match self.seen {
            Seen::Chunks(chunks) => chunks.end(used, wants_usage, &mut out),
            Seen::Response(response) => response.end(used, &mut out),
            Seen::Message { open_block } => end_message(open_block, used, &mut out),
            Seen::Candidates { last } => end_candidates(last, used, &mut out),
        }
        out
    }
}

impl Seen {
    fn read(&mut self, event: Event<'_>) {
        let Ok(data) = serde_json::from_slice::<Value>(event.data) else { return };
        match self {
            Seen::Chunks(chunks) => chunks.read(data),
            Seen::Response(response) => response.read(data),
            Seen::Message { open_block } => match data["type"].as_str() {
                Some("content_block_start") => *open_block = data["index"].as_u64(),
                Some("content_block_stop") => *open_block = None,
                _ => {}
            },
            Seen::Candidates { last } => *last = data,
        }
    }
}

impl Chunks {
    fn read(&mut self, data: Value) {
        for choice in data["choices"].as_array().into_iter().flatten() {
            let open = choice["finish_reason"].is_null();
            let index = choice["index"].as_u64().unwrap_or(0);
            *self.choices.entry(index).or_insert(true) &= open;
        }
        if self.first.is_null() {
            self.first = data;
        }
    }

    fn end(mut self, used: &TokenUsage, wants_usage: bool, out: &mut Vec<u8>) {
        if self.choices.is_empty() {
            self.choices.insert(0, true);
        }
        let mut chunk = json!({
            "id": self.first["id"].as_str().unwrap_or("farebox"),
            "object": if self.is_chat { "chat.completion.chunk" } else { "text_completion" },
            "created": self.first["created"].as_u64().unwrap_or(0),
            "model": self.first["model"].as_str().unwrap_or_default(),
        });
        for (index, _) in self.choices.iter().filter(|(_, open)| **open) {
            let choice = if self.is_chat {
                json!({ "index": index, "delta": {}, "logprobs": null, "finish_reason": "length" })
            } else {
                json!({ "index": index, "text": "", "logprobs": null, "finish_reason": "length" })
            };
            chunk["choices"] = json!([choice]);
            write(out, None, &chunk);
        }
        if wants_usage {
            let (input, output) = (used.input_tokens(), used.output_tokens());
            chunk["choices"] = json!([]);
            chunk["usage"] =
                json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output });
            write(out, None, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl Response {
    fn read(&mut self, mut data: Value) {
        if let Some(sequence) = data["sequence_number"].as_u64() {
            self.sequence = sequence;
        }
        let index = data["output_index"].as_u64();
        match (data["type"].as_str(), index) {
            (Some("response.created"), _) => self.created = data["response"].take(),
            (Some("response.output_item.added"), Some(index)) => {
                self.items.insert(index, data["item"].take());
                (self.open, self.content_index) = (Some(index), None);
                self.text.clear();
            }
            (Some("response.output_item.done"), Some(index)) => {
                self.items.insert(index, data["item"].take());
                self.open = None;
            }
            (Some("response.content_part.added"), _) => self.content_index = data["content_index"].as_u64(),
            (Some("response.output_text.delta" | "response.function_call_arguments.delta"), _) => {
                self.text.push_str(data["delta"].as_str().unwrap_or_default());
            }
            _ => {}
        }
    }

    fn event(&mut self, out: &mut Vec<u8>, kind: &str, mut data: Value) {
        self.sequence += 1;
        data["type"] = kind.into();
        data["sequence_number"] = self.sequence.into();
        write(out, Some(kind), &data);
    }

    fn end(mut self, used: &TokenUsage, out: &mut Vec<u8>) {
        if let Some(index) = self.open.take()
            && let Some(mut item) = self.items.remove(&index)
        {
            self.end_item(index, &mut item, out);
            self.items.insert(index, item);
        }
        let (input, output) = (used.input_tokens(), used.output_tokens());
        let mut response = if self.created.is_object() { self.created.take() } else { json!({ "object": "response" }) };
        response["status"] = "incomplete".into();
        response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        response["output"] = self.items.values().cloned().collect();
        response["usage"] = json!({
            "input_tokens": input,
            "input_tokens_details": { "cached_tokens": 0 },
            "output_tokens": output,
            "output_tokens_details": { "reasoning_tokens": used.reasoning_output_tokens() },
            "total_tokens": input + output,
        });
        self.event(out, "response.incomplete", json!({ "response": response }));
    }

    fn end_item(&mut self, index: u64, item: &mut Value, out: &mut Vec<u8>) {
        let text = std::mem::take(&mut self.text);
        let id = item["id"].clone();
        if item["type"] == "function_call" {
            item["arguments"] = text.into();
        } else if let Some(content) = self.content_index {
            let part = json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] });
            let place = json!({ "item_id": id, "output_index": index, "content_index": content });
            let with = |mut more: Value| {
                if let (Some(all), Some(place)) = (more.as_object_mut(), place.as_object()) {
                    all.extend(place.clone());
                }
                more
            };
            self.event(out, "response.output_text.done", with(json!({ "text": part["text"], "logprobs": [] })));
            self.event(out, "response.content_part.done", with(json!({ "part": part })));
            item["content"] = json!([part]);
        }
        item["status"] = "incomplete".into();
        self.event(out, "response.output_item.done", json!({ "output_index": index, "item": item }));
    }
}

fn end_message(open_block: Option<u64>, used: &TokenUsage, out: &mut Vec<u8>) {
    if let Some(index) = open_block {
        write(out, Some("content_block_stop"), &json!({ "type": "content_block_stop", "index": index }));
    }
    let delta = json!({
        "type": "message_delta",
        "delta": { "stop_reason": "max_tokens", "stop_sequence": null },
        "usage": { "output_tokens": used.output_tokens() },
    });
    write(out, Some("message_delta"), &delta);
    write(out, Some("message_stop"), &json!({ "type": "message_stop" }));
}

fn end_candidates(last: Value, used: &TokenUsage, out: &mut Vec<u8>) {
    let (input, output) = (used.input_tokens(), used.output_tokens());
    let mut chunk = json!({
        "candidates": [{
            "content": { "parts": [{ "text": "" }], "role": "model" }, "finishReason": "MAX_TOKENS", "index": 0,
        }],
        "usageMetadata": {
            "promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output,
        },
    });
    for member in ["modelVersion", "responseId"] {
        if !last[member].is_null() {
            chunk[member] = last[member].clone();
        }
    }
    write(out, None, &chunk);
}

fn write(out: &mut Vec<u8>, name: Option<&str>, data: &Value) {
    if let Some(name) = name {
        out.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::usage::Kind;

    fn curtailed(dialect: Dialect, operation: Operation, stream: &str) -> Vec<Value> {
        let mut curtail = Curtail::new(dialect, operation);
        for piece in stream.as_bytes().chunks(7) {
            curtail.push(&Bytes::copy_from_slice(piece));
        }
        let used = TokenUsage::ZERO.with(Kind::Input, 10).with(Kind::Output, 3);
        let ending = String::from_utf8(curtail.ending(&used, true, "no room\nleft")).unwrap();
        assert!(ending.starts_with(": farebox no room left\n\n"));
        let data = ending.lines().filter_map(|line| line.strip_prefix("data: ")).filter(|data| *data != "[DONE]");
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    #[test]
    fn only_whole_events_pass_and_what_waits_is_dropped_by_an_ending() {
        let mut curtail = Curtail::new(Dialect::OpenAi, Operation::Chat);
        assert_eq!(curtail.push(&Bytes::from_static(b"data: {\"a\":1}\r\n\r\ndata: {\"b")), "data: {\"a\":1}\r\n\r\n");
        assert_eq!(curtail.push(&Bytes::from_static(b"\":2}\n\ndata")), "data: {\"b\":2}\n\n");
        assert_eq!(curtail.finish(), "data");
    }

    #[test]
    fn a_chat_ends_every_open_choice_by_its_length_with_usage_where_it_was_asked_for() {
        let chunk = |index: u64, reason: &str| {
            format!(
                "data: {{\"id\":\"c\",\"created\":7,\"model\":\"m\",\"choices\":[{{\"index\":{index},\"delta\":{{}},\"finish_reason\":{reason}}}]}}\n\n"
            )
        };
        let stream = [chunk(0, "null"), chunk(1, "null"), chunk(0, "\"stop\"")].concat();
        let ending = curtailed(Dialect::OpenAi, Operation::Chat, &stream);
        assert_eq!(ending.len(), 2);
        assert_eq!(
            (&ending[0]["id"], &ending[0]["created"], &ending[0]["model"]),
            (&"c".into(), &7.into(), &"m".into())
        );
        assert_eq!(
            ending[0]["choices"][0],
            json!({"index": 1, "delta": {}, "logprobs": null, "finish_reason": "length"})
        );
        assert_eq!(ending[1]["usage"]["total_tokens"], 13);
    }

    #[test]
    fn a_message_stops_its_open_block_first() {
        let stream = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2}\n\n";
        let ending = curtailed(Dialect::Anthropic, Operation::Chat, stream);
        let kinds: Vec<_> = ending.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["content_block_stop", "message_delta", "message_stop"]);
        assert_eq!((&ending[0]["index"], &ending[1]["delta"]["stop_reason"]), (&2.into(), &"max_tokens".into()));
    }

    #[test]
    fn a_response_is_incomplete_with_the_text_so_far() {
        let events = [
            json!({"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress", "output": []}}),
            json!({"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": {"id": "i", "type": "message", "content": []}}),
            json!({"type": "response.content_part.added", "sequence_number": 2, "output_index": 0, "content_index": 0}),
            json!({"type": "response.output_text.delta", "sequence_number": 3, "output_index": 0, "delta": "Hel"}),
            json!({"type": "response.output_text.delta", "sequence_number": 4, "output_index": 0, "delta": "lo"}),
        ];
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        let ending = curtailed(Dialect::OpenAi, Operation::Responses, &stream);
        let last = ending.last().unwrap();
        assert_eq!((&last["type"], &last["sequence_number"]), (&"response.incomplete".into(), &8.into()));
        let response = &last["response"];
        assert_eq!((&response["id"], &response["status"]), (&"r".into(), &"incomplete".into()));
        assert_eq!(response["incomplete_details"]["reason"], "max_output_tokens");
        assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
        assert_eq!(response["usage"]["total_tokens"], 13);
    }

    #[test]
    fn gemini_is_at_its_most_tokens() {
        let stream = "data: {\"candidates\":[{\"content\":{}}],\"modelVersion\":\"g\"}\n\n";
        let ending = curtailed(Dialect::Gemini, Operation::Chat, stream);
        assert_eq!(
            (&ending[0]["candidates"][0]["finishReason"], &ending[0]["modelVersion"]),
            (&"MAX_TOKENS".into(), &"g".into())
        );
    }
}
