//! The Responses API: a whole response, a stored one, and the events of a stream.

use super::super::super::json::{Broken, Reader, Shape, Text};
use super::super::super::{Flavor, Observation, Operation, sse};
use super::super::usage;
use super::{error, hidden, keep_first, keep_last, take_usage, visible};
use crate::tokens::usage::{Kind, TokenUsage};

/// A whole response object.
pub(super) fn whole(flavor: Flavor, bytes: &[u8], seen: &mut Observation) {
    let mut reader = Reader::new(bytes);
    let mut scratch = seen.clone();
    let read = response(&mut reader, flavor, Texts::Take, &mut scratch);
    if read.is_ok() && reader.end().is_ok() {
        *seen = scratch;
    }
}

/// One event of a stream: `{"type": "response.…", …}`.
pub(super) fn event(flavor: Flavor, event: sse::Event<'_>, seen: &mut Observation) {
    let mut parts = Event::default();
    let mut reader = Reader::new(event.data);
    let read = reader.object(|name, value| {
        match (name, value.shape()) {
            ("type", _) => parts.kind = value.text()?,
            ("delta", Shape::Text) => parts.delta = value.text()?,
            ("response", Shape::Object) => parts.response = Some(value.clone()),
            ("item", Shape::Object) => parts.item = Some(value.clone()),
            ("error", _) => error(value, seen)?,
            ("code", Shape::Text) => parts.code = value.text()?,
            _ => {}
        }
        Ok(())
    });
    if read.is_err() || reader.end().is_err() {
        return;
    }
    let kind = parts.kind.map(|kind| kind.raw()).or(event.name.map(str::as_bytes)).unwrap_or_default();
    // The pieces were read whole once already: they cannot be broken.
    let _ = act(kind, parts, flavor, seen);
}

#[derive(Default)]
struct Event<'a> {
    kind: Option<Text<'a>>,
    delta: Option<Text<'a>>,
    response: Option<Reader<'a>>,
    item: Option<Reader<'a>>,
    code: Option<Text<'a>>,
}

fn act(kind: &[u8], parts: Event<'_>, flavor: Flavor, seen: &mut Observation) -> Result<(), Broken> {
    match kind {
        b"response.reasoning_text.delta" | b"response.reasoning_summary_text.delta" => hidden(parts.delta, seen),
        b"response.audio.delta" | b"response.output_audio.delta" => seen.has_content = true,
        // Code that the provider runs itself is output too.
        _ if kind.ends_with(b".delta") => visible(parts.delta, seen),
        b"response.image_generation_call.partial_image" => seen.has_content = true,
        b"response.output_item.added" => {
            if let Some(mut item) = parts.item {
                added(&mut item, seen)?;
            }
        }
        b"response.output_item.done" => {
            if let Some(mut item) = parts.item {
                let mut tools = seen.tool_calls;
                count_tool(&mut item, &mut tools)?;
                seen.tool_calls = tools;
            }
        }
        b"error" => keep_last(&mut seen.error_code, parts.code),
        _ => {
            if let Some(mut object) = parts.response {
                // The text flowed in deltas already.
                let text = if seen.output.is_empty() { Texts::Take } else { Texts::Leave };
                response(&mut object, flavor, text, seen)?;
            }
        }
    }
    Ok(())
}

/// A function call begins: its name is output, and its arguments come as deltas.
fn added(item: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let (mut kind, mut name_of) = (None, None);
    item.object(|name, value| {
        match name {
            "type" => kind = value.text()?,
            "name" => name_of = value.text()?,
            _ => {}
        }
        Ok(())
    })?;
    if matches!(kind.map(|kind| kind.raw()), Some(b"function_call" | b"custom_tool_call" | b"mcp_call")) {
        seen.output.tool_calls += 1;
        visible(name_of, seen);
    }
    Ok(())
}

/// Whether a response's texts are taken as output.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Texts {
    Take,
    Leave,
}

fn response(value: &mut Reader<'_>, flavor: Flavor, text: Texts, seen: &mut Observation) -> Result<(), Broken> {
    let mut reported = None;
    let mut status: Option<Text<'_>> = None;
    value.object(|name, value| {
        match (name, value.shape()) {
            ("id", _) => keep_first(&mut seen.response_id, value.text()?),
            ("model", _) => keep_first(&mut seen.response_model, value.text()?),
            ("service_tier", _) => keep_last(&mut seen.service_tier, value.text()?),
            ("status", _) => status = value.text()?,
            ("error", _) => error(value, seen)?,
            ("usage", _) => reported = usage::read(value)?,
            ("output", Shape::Array) => {
                let mut tools = TokenUsage::ZERO;
                value.array(|item| {
                    count_tool(&mut item.clone(), &mut tools)?;
                    if text == Texts::Take { output_item(item, seen) } else { Ok(()) }
                })?;
                if !tools.is_zero() {
                    seen.tool_calls = tools;
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    let status_word = status.map(|status| status.raw()).unwrap_or_default();
    seen.pending = matches!(status_word, b"queued" | b"in_progress");
    // An object without a status is one of the lists and deletions beside it.
    seen.finished |= matches!(status_word, b"completed" | b"incomplete" | b"failed" | b"cancelled");
    if seen.finished {
        keep_last(&mut seen.finish_reason, status);
    }
    if let Some(reported) = reported {
        let is_final = seen.finished;
        take_usage(reported, is_final, Operation::Responses, flavor, seen);
    }
    Ok(())
}

/// Tools that the provider ran and bills by the call.
fn count_tool(item: &mut Reader<'_>, tools: &mut TokenUsage) -> Result<(), Broken> {
    let mut kind = None;
    let mut action = None;
    item.object(|name, value| {
        match (name, value.shape()) {
            ("type", _) => kind = value.text()?,
            ("action", Shape::Object) => {
                value.object(|name, value| {
                    if name == "type" {
                        action = value.text()?;
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    let counted = match kind.map(|kind| kind.raw()) {
        // OpenAI: opening a page and finding in it belong to the search and are not billed.
        Some(b"web_search_call") if action.is_none_or(|action| action.raw() == b"search") => Kind::WebSearch,
        Some(b"file_search_call") => Kind::FileSearch,
        Some(b"code_interpreter_call") => Kind::CodeInterpreter,
        _ => return Ok(()),
    };
    tools[counted] += 1;
    Ok(())
}

fn output_item(value: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let mut is_call = false;
    value.object(|name, value| {
        match (name, value.shape()) {
            ("type", _) => {
                let kind = value.text()?;
                is_call = matches!(kind.map(|k| k.raw()), Some(b"function_call" | b"custom_tool_call" | b"mcp_call"));
            }
            ("name" | "arguments" | "input", Shape::Text) => visible(value.text()?, seen),
            ("content", Shape::Array) => _ = value.array(|part| texts(part, seen, visible))?,
            ("summary", Shape::Array) => _ = value.array(|part| texts(part, seen, hidden))?,
            ("result", Shape::Text) => seen.has_content = true,
            _ => {}
        }
        Ok(())
    })?;
    seen.output.tool_calls += u32::from(is_call);
    Ok(())
}

fn texts(
    part: &mut Reader<'_>,
    seen: &mut Observation,
    take: fn(Option<Text<'_>>, &mut Observation),
) -> Result<(), Broken> {
    part.object(|name, value| {
        if matches!(name, "text" | "refusal") {
            take(value.text()?, seen);
        }
        Ok(())
    })?;
    Ok(())
}
