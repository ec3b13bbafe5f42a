//! What a response of the OpenAI dialect says. Order of members does not matter; what is of an unexpected type is
//! passed over; a text that is broken anywhere gives no usage.

mod responses;

use super::super::json::{Broken, Reader, Shape, Text};
use super::super::{Endpoint, Flavor, Observation, Operation, sse};
use super::usage::{self, Reported};
use crate::tokens::usage::Kind;
use std::sync::Arc;

/// One event of a stream, or one line of an NDJSON stream.
pub fn observe_event(endpoint: &Endpoint, flavor: Flavor, event: sse::Event<'_>, seen: &mut Observation) {
    if event.data == b"[DONE]" {
        seen.finished = true;
        return;
    }
    match endpoint.operation {
        Operation::Responses | Operation::StoredResponse => responses::event(flavor, event, seen),
        operation => body(operation, flavor, event.data, Whole::No, seen),
    }
}

/// A whole body.
pub fn observe_whole(endpoint: &Endpoint, flavor: Flavor, bytes: &[u8], seen: &mut Observation) {
    match endpoint.operation {
        Operation::Responses | Operation::StoredResponse => responses::whole(flavor, bytes, seen),
        operation => body(operation, flavor, bytes, Whole::Yes, seen),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

/// What a chunk or a body says about itself besides its output.
#[derive(Default)]
struct Said {
    usage: Option<Reported>,
    cached_beside: Option<u64>,
    has_choices: bool,
    ended: bool,
    duration_millis: Option<u64>,
    images: u64,
}

/// What every chunk of a stream says again, and what changes nothing when it is read once more.
const REPEATS: [&str; 7] = ["id", "object", "created", "model", "service_tier", "system_fingerprint", "provider"];

/// Chat, completions, and every endpoint whose usage stands at the top.
fn body(operation: Operation, flavor: Flavor, bytes: &[u8], whole: Whole, seen: &mut Observation) {
    let mut said = Said::default();
    let mut reader = Reader::new(bytes);
    let mut start = std::mem::take(&mut seen.start);
    let read = start.object(&mut reader, &REPEATS, |name, value| member(operation, name, value, &mut said, seen));
    seen.start = start;
    let is_object = matches!((read, reader.end()), (Ok(true), Ok(())));
    if !is_object {
        return;
    }
    let is_whole = whole == Whole::Yes && seen.error_code.is_none();
    seen.finished |= said.ended || is_whole;
    if let Some(mut reported) = said.usage {
        reported.cached_beside(said.cached_beside);
        let told = seen.finished || seen.finish_reason.is_some() || !said.has_choices;
        let is_final = told && !seen.pending;
        if !is_final {
            seen.reported_upto = Some(seen.output.mark());
        }
        take_usage(reported, is_final, operation, flavor, seen);
    } else if let Some(millis) = said.duration_millis.filter(|_| operation == Operation::Transcription) {
        seen.usage = Some(crate::tokens::usage::TokenUsage::ZERO.with(Kind::AudioMillis, millis));
        seen.usage_is_final = true;
    }
    if operation == Operation::Images {
        seen.images_made = seen.images_made.max(said.images);
    }
}

fn take_usage(reported: Reported, is_final: bool, operation: Operation, flavor: Flavor, seen: &mut Observation) {
    seen.usage = Some(reported.usage(operation, flavor));
    seen.usage_is_final = is_final && !reported.lacks_input();
    seen.provider_cost = reported.cost.or(seen.provider_cost);
    if reported.service_tier.is_some() {
        seen.service_tier = reported.service_tier;
        // A chunk that repeats its own word for it says something new.
        seen.start.forget();
    }
}

fn member(
    operation: Operation,
    name: &str,
    value: &mut Reader<'_>,
    said: &mut Said,
    seen: &mut Observation,
) -> Result<(), Broken> {
    match (name, value.shape()) {
        ("usage" | "usage_info", _) => said.usage = usage::read(value)?.or(said.usage.take()),
        // Cohere's rerank.
        ("meta", Shape::Object) => said.usage = usage::read(value)?.or(said.usage.take()),
        ("x_groq", _) => groq(value, said, seen)?,
        ("choices", Shape::Array) => {
            value.array(|choice| {
                said.has_choices = true;
                read_choice(choice, seen)
            })?;
        }
        ("id", _) => keep_first(&mut seen.response_id, value.text()?),
        ("model", _) => keep_first(&mut seen.response_model, value.text()?),
        ("service_tier", _) => keep_last(&mut seen.service_tier, value.text()?),
        ("error", _) => error(value, seen)?,
        ("timings", _) => timings(value, said)?,
        ("type", _) => said.ended |= value.text()?.is_some_and(|kind| is_last_event(kind.raw())),
        ("duration", Shape::Number) => {
            let millis = value.number()?.and_then(|raw| usage::decimal(raw, 3));
            said.duration_millis = millis.and_then(|millis| u64::try_from(millis).ok());
        }
        ("data", Shape::Array) if operation == Operation::Images => {
            value.array(|_| {
                said.images += 1;
                Ok(())
            })?;
            seen.has_content |= said.images > 0;
        }
        ("b64_json", Shape::Text) if operation == Operation::Images => said.images += 1,
        ("data" | "embedding" | "embeddings" | "results" | "audio", Shape::Array | Shape::Text) => {
            seen.has_content = true
        }
        ("status", Shape::Text) if operation == Operation::Batches => batch_status(value, seen)?,
        _ => own_paths(operation, name, value, said, seen)?,
    }
    Ok(())
}

/// The native endpoints of Ollama and llama.cpp, and the text of a transcription.
fn own_paths(
    operation: Operation,
    name: &str,
    value: &mut Reader<'_>,
    said: &mut Said,
    seen: &mut Observation,
) -> Result<(), Broken> {
    match (operation, name, value.shape()) {
        // The last event of a stream repeats what its deltas said.
        (Operation::Transcription, "text", Shape::Text) if !seen.output.is_empty() => {}
        (Operation::Transcription, "text" | "delta", Shape::Text)
        | (Operation::Completion, "response" | "content", Shape::Text) => visible(value.text()?, seen),
        (Operation::Completion, "thinking", Shape::Text) => hidden(value.text()?, seen),
        (Operation::Chat, "message", Shape::Object) => read_output(value, seen)?,
        (_, "prompt_eval_count" | "tokens_evaluated", Shape::Number) => {
            said.usage.get_or_insert_default().native(true, value.units()?);
        }
        (_, "eval_count" | "tokens_predicted", Shape::Number) => {
            said.usage.get_or_insert_default().native(false, value.units()?);
        }
        (_, "done" | "stop", Shape::True) => said.ended = true,
        (_, "done_reason" | "stop_type", _) => keep_last(&mut seen.finish_reason, value.text()?),
        _ => {}
    }
    Ok(())
}

/// Types of the last event of the streams that have one: images, speech, transcription.
fn is_last_event(kind: &[u8]) -> bool {
    matches!(
        kind,
        b"image_generation.completed" | b"image_edit.completed" | b"speech.audio.done" | b"transcript.text.done"
    )
}

/// Groq: the usage of a stream stands in its last chunk's `x_groq`.
fn groq(value: &mut Reader<'_>, said: &mut Said, seen: &mut Observation) -> Result<(), Broken> {
    value.object(|name, value| {
        match name {
            "usage" if said.usage.is_none() => said.usage = usage::read(value)?.filter(Reported::counts_tokens),
            "error" => seen.error_code = value.text()?.map(|_| Arc::from("x_groq")).or(seen.error_code.take()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// llama.cpp: how much of the prompt came from its cache.
fn timings(value: &mut Reader<'_>, said: &mut Said) -> Result<(), Broken> {
    value.object(|name, value| {
        if name == "cache_n" {
            said.cached_beside = value.units()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn batch_status(value: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let status = value.text()?;
    seen.pending =
        status.is_some_and(|status| !matches!(status.raw(), b"completed" | b"failed" | b"expired" | b"cancelled"));
    keep_last(&mut seen.finish_reason, status);
    // The line items say `default`; that it was a batch is known from the route alone.
    seen.service_tier = Some(Arc::from("batch"));
    Ok(())
}

fn read_choice(value: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    value.object(|name, value| {
        match name {
            "delta" | "message" => read_output(value, seen)?,
            "text" => visible(value.text()?, seen),
            "finish_reason" => keep_last(&mut seen.finish_reason, value.text()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// A delta, or a whole message.
fn read_output(value: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    value.object(|name, value| {
        match (name, value.shape()) {
            ("content" | "refusal", Shape::Text) => visible(value.text()?, seen),
            ("content", Shape::Array) => _ = value.array(|part| output_part(part, seen))?,
            ("reasoning_content" | "reasoning" | "thinking", Shape::Text) => hidden(value.text()?, seen),
            ("tool_calls", Shape::Array) => _ = value.array(|call| tool_call(call, seen))?,
            ("function_call", Shape::Object) => tool_call(value, seen)?,
            ("audio", Shape::Object) => {
                seen.has_content = true;
                value.object(|name, value| {
                    if name == "transcript" {
                        visible(value.text()?, seen);
                    }
                    Ok(())
                })?;
            }
            ("images", Shape::Array) => {
                seen.has_content = true;
                value.array(|_| {
                    seen.images_made += 1;
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// Mistral: `{type: "text", text}` and `{type: "thinking", thinking: [{text}]}`.
fn output_part(value: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    value.object(|name, value| {
        match (name, value.shape()) {
            ("text" | "refusal", _) => visible(value.text()?, seen),
            ("thinking", Shape::Array) => {
                value.array(|part| {
                    part.object(|name, value| {
                        if name == "text" {
                            hidden(value.text()?, seen);
                        }
                        Ok(())
                    })?;
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// `{function: {name, arguments}}`, or the inner object alone. A call counts where its name is; its arguments flow in
/// later pieces.
fn tool_call(value: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    value.object(|name, value| {
        match (name, value.shape()) {
            ("function" | "custom", Shape::Object) => tool_call(value, seen)?,
            ("name", Shape::Text) => {
                let text = value.text()?.filter(|text| !text.is_empty());
                seen.output.tool_calls += u32::from(text.is_some());
                visible(text, seen);
            }
            ("arguments" | "input", Shape::Text) => visible(value.text()?, seen),
            ("arguments", Shape::Object) => {
                seen.has_content = true;
                seen.output.push_text(&String::from_utf8_lossy(value.raw()?));
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// `{"error": {"message", "type", "param", "code"}}`; some send a bare string.
fn error(value: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let (mut code, mut kind) = (None, None);
    match value.shape() {
        Shape::Null => return Ok(()),
        Shape::Object => {
            value.object(|name, value| {
                match (name, value.shape()) {
                    ("code", Shape::Text) => code = value.text()?,
                    // OpenRouter: the status as a number.
                    ("code", Shape::Number) => kind = kind.or(value.number()?.map(Text::literal)),
                    ("type", Shape::Text) => kind = value.text()?,
                    _ => {}
                }
                Ok(())
            })?;
        }
        _ => {}
    }
    let word = code.or(kind).map_or("error".into(), |word| word.decode());
    seen.error_code = Some(Arc::from(word));
    Ok(())
}

fn visible(text: Option<Text<'_>>, seen: &mut Observation) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        seen.has_content = true;
        seen.output.push_text(&text.decode());
    }
}

fn hidden(text: Option<Text<'_>>, seen: &mut Observation) {
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        seen.has_content = true;
        seen.output.push_reasoning(&text.decode());
    }
}

fn keep_first(kept: &mut Option<Arc<str>>, text: Option<Text<'_>>) {
    if let (None, Some(text)) = (&kept, text.filter(|text| !text.is_empty())) {
        *kept = Some(Arc::from(text.decode()));
    }
}

fn keep_last(kept: &mut Option<Arc<str>>, text: Option<Text<'_>>) {
    if let Some(text) = text.filter(|text| !text.is_empty() && Some(text.raw()) != kept.as_deref().map(str::as_bytes)) {
        *kept = Some(Arc::from(text.decode()));
    }
}
