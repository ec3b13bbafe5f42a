//! A Messages response, whole or event by event.

use super::super::json::{Broken, Reader, Shape};
use super::*;
use crate::tokens::usage::Kind;

/// One event of a stream, or one line of a batch's results. What cannot be read is passed over: nothing is guessed.
pub fn observe_event(endpoint: &Endpoint, _flavor: Flavor, event: sse::Event<'_>, seen: &mut Observation) {
    if endpoint.operation == Operation::Batches {
        let _ = batch_line(&mut Reader::new(event.data), seen);
        return;
    }
    let mut kind = event.name.map(str::to_owned);
    let mut parts = EventParts::default();
    let _ = Reader::new(event.data).object(|name, reader| {
        match name {
            "type" => kind = reader.text()?.map(|kind| kind.decode().into_owned()),
            "message" => parts.message = Some(reader.clone()),
            "content_block" => parts.block = Some(reader.clone()),
            "delta" => parts.delta = Some(reader.clone()),
            "usage" => parts.usage = Some(reader.clone()),
            "error" => parts.error = Some(reader.clone()),
            _ => {}
        }
        Ok(())
    });
    let _ = match kind.as_deref() {
        Some("message_start") => parts.message.map_or(Ok(()), |mut message| read_message(&mut message, seen, false)),
        Some("content_block_start") => parts.block.map_or(Ok(()), |mut block| read_block(&mut block, seen)),
        Some("content_block_delta") => parts.delta.map_or(Ok(()), |mut delta| read_block(&mut delta, seen)),
        Some("message_delta") => read_message_delta(parts, seen),
        Some("message_stop") => {
            seen.finished = true;
            Ok(())
        }
        Some("error") => parts.error.map_or(Ok(()), |mut error| read_error(&mut error, seen)),
        _ => Ok(()),
    };
}

/// A message, an error, or the lines of a batch's results, whose usage adds up.
pub fn observe_whole(endpoint: &Endpoint, _flavor: Flavor, body: &[u8], seen: &mut Observation) {
    if endpoint.operation == Operation::Batches {
        return observe_batch(body, seen);
    }
    let (mut kind, mut error) = (None, None);
    let mut reader = Reader::new(body);
    let read = reader.object(|name, reader| {
        match name {
            "type" => kind = reader.text()?.map(|kind| kind.decode().into_owned()),
            "error" => error = Some(reader.clone()),
            _ => {}
        }
        Ok(())
    });
    if read != Ok(true) {
        return;
    }
    match (kind.as_deref(), error) {
        (Some("error"), Some(mut error)) => {
            let _ = read_error(&mut error, seen);
        }
        // Of a very large body the meter has only the members that matter, without its type.
        _ => {
            let _ = read_message(&mut Reader::new(body), seen, true);
        }
    }
    seen.finished = true;
}

#[derive(Default)]
struct EventParts<'a> {
    message: Option<Reader<'a>>,
    block: Option<Reader<'a>>,
    delta: Option<Reader<'a>>,
    usage: Option<Reader<'a>>,
    error: Option<Reader<'a>>,
}

/// A whole message, or the beginning of one in `message_start`.
fn read_message(reader: &mut Reader<'_>, seen: &mut Observation, whole: bool) -> Result<(), Broken> {
    let (mut usage, mut content) = (None, None);
    reader.object(|name, reader| {
        match name {
            "id" => seen.response_id = reader.shared()?.or(seen.response_id.take()),
            "model" => seen.response_model = reader.shared()?.or(seen.response_model.take()),
            "stop_reason" => seen.finish_reason = reader.shared()?.or(seen.finish_reason.take()),
            "usage" => usage = Some(reader.clone()),
            "content" => content = Some(reader.clone()),
            _ => {}
        }
        Ok(())
    })?;
    if let Some(mut content) = content {
        content.array(|block| read_block(block, seen))?;
    }
    usage.map_or(Ok(()), |mut usage| read_usage(&mut usage, seen, whole))
}

fn read_message_delta(parts: EventParts<'_>, seen: &mut Observation) -> Result<(), Broken> {
    if let Some(mut delta) = parts.delta {
        delta.object(|name, reader| {
            if name == "stop_reason" {
                seen.finish_reason = reader.shared()?.or(seen.finish_reason.take());
            }
            Ok(())
        })?;
    }
    parts.usage.map_or(Ok(()), |mut usage| read_usage(&mut usage, seen, true))
}

/// A content block, its beginning, or its growth: their members have different names, and all of them are output.
fn read_block(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let (mut kind, mut name_of_tool, mut input) = (None, None, None);
    reader.object(|name, reader| {
        match name {
            "type" => kind = reader.text()?.map(|kind| kind.decode().into_owned()),
            "name" => name_of_tool = reader.text()?.map(|name| name.decode().into_owned()),
            "input" => input = Some((reader.clone(), reader.shape())),
            "text" | "partial_json" | "content" if reader.shape() == Shape::Text => {
                let text = reader.text()?.map(|text| text.decode()).unwrap_or_default();
                seen.has_content |= !text.is_empty();
                seen.output.push_text(&text);
            }
            "thinking" => {
                let text = reader.text()?.map(|text| text.decode()).unwrap_or_default();
                seen.has_content |= !text.is_empty();
                seen.output.push_reasoning(&text);
            }
            _ => {}
        }
        Ok(())
    })?;
    if !matches!(kind.as_deref(), Some("tool_use" | "server_tool_use" | "mcp_tool_use")) {
        return Ok(());
    }
    seen.has_content = true;
    seen.output.tool_calls = seen.output.tool_calls.saturating_add(1);
    seen.output.push_text(name_of_tool.as_deref().unwrap_or_default());
    if kind.as_deref() == Some("server_tool_use") && name_of_tool.as_deref() == Some("web_search") {
        seen.tool_calls[Kind::WebSearch] = seen.tool_calls[Kind::WebSearch].saturating_add(1);
    }
    // In a stream the beginning has an empty object here and the arguments follow as `partial_json`.
    if let Some((mut input, Shape::Object)) = input {
        let raw = input.raw()?;
        if raw != b"{}" {
            seen.output.push_text(&String::from_utf8_lossy(raw));
        }
    }
    Ok(())
}

fn read_error(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    reader.object(|name, reader| {
        if name == "type" {
            seen.error_code = reader.shared()?;
        }
        Ok(())
    })?;
    Ok(())
}

/// A report of usage: its members replace what was reported before, and what it leaves out stays.
fn read_usage(reader: &mut Reader<'_>, seen: &mut Observation, is_final: bool) -> Result<(), Broken> {
    let mut usage = seen.usage.unwrap_or_default();
    let mut tokens = Tokens::default();
    let mut iterations: Option<TokenUsage> = None;
    let mut has_search = false;
    reader.object(|name, reader| {
        match name {
            "service_tier" => seen.service_tier = reader.shared()?.or(seen.service_tier.take()),
            "speed" => seen.speed = reader.shared()?.or(seen.speed.take()),
            "inference_geo" => seen.region = reader.shared()?.or(seen.region.take()),
            "server_tool_use" => {
                reader.object(|name, reader| {
                    if name == "web_search_requests"
                        && let Some(calls) = reader.units()?
                    {
                        usage[Kind::WebSearch] = calls;
                        has_search = true;
                    }
                    Ok(())
                })?;
            }
            "iterations" => iterations = read_iterations(reader)?,
            _ => tokens.read(name, reader)?,
        }
        Ok(())
    })?;
    tokens.replace_in(&mut usage);
    if let Some(mut sum) = iterations {
        sum[Kind::WebSearch] = usage[Kind::WebSearch];
        usage = sum;
    }
    if has_search {
        // What was counted from blocks meanwhile is in the report.
        seen.tool_calls[Kind::WebSearch] = 0;
    }
    seen.usage = Some(usage);
    seen.usage_is_final |= is_final;
    Ok(())
}

/// Beta `usage.iterations`: each turn of the model within one call. Only here are the tokens of compaction.
fn read_iterations(reader: &mut Reader<'_>) -> Result<Option<TokenUsage>, Broken> {
    let mut sum = None;
    reader.array(|reader| {
        let mut tokens = Tokens::default();
        reader.object(|name, reader| tokens.read(name, reader))?;
        let mut usage = TokenUsage::ZERO;
        tokens.replace_in(&mut usage);
        sum.get_or_insert(TokenUsage::ZERO).add(&usage);
        Ok(())
    })?;
    Ok(sum)
}

/// The token members of a usage object that were there.
#[derive(Default)]
struct Tokens {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Tokens {
    fn read(&mut self, name: &str, reader: &mut Reader<'_>) -> Result<(), Broken> {
        match name {
            "input_tokens" => self.input = reader.units()?,
            "cache_read_input_tokens" => self.cache_read = reader.units()?,
            "cache_creation_input_tokens" => self.cache_creation = reader.units()?,
            "output_tokens" => self.output = reader.units()?,
            "cache_creation" => {
                reader.object(|name, reader| {
                    match name {
                        "ephemeral_5m_input_tokens" => self.written_5m = reader.units()?,
                        "ephemeral_1h_input_tokens" => self.written_1h = reader.units()?,
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            "output_tokens_details" => {
                reader.object(|name, reader| {
                    if name == "thinking_tokens" {
                        self.thinking = reader.units()?;
                    }
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    }

    fn replace_in(&self, usage: &mut TokenUsage) {
        usage[Kind::Input] = self.input.unwrap_or(usage[Kind::Input]);
        usage[Kind::CacheRead] = self.cache_read.unwrap_or(usage[Kind::CacheRead]);
        let known_1h = self.written_1h.unwrap_or(usage[Kind::CacheWrite1h]);
        let known_5m = self.written_5m.unwrap_or(usage[Kind::CacheWrite5m]);
        // A total above the split that is known is of 5 minutes, the default; one below it is newer than the split.
        let total =
            self.cache_creation.unwrap_or(0).max(match (self.written_5m, self.written_1h, self.cache_creation) {
                (None, None, Some(total)) => total,
                _ => known_5m.saturating_add(known_1h),
            });
        usage[Kind::CacheWrite1h] = known_1h.min(total);
        usage[Kind::CacheWrite5m] = total - usage[Kind::CacheWrite1h];
        if let Some(output) = self.output {
            usage[Kind::Reasoning] = self.thinking.unwrap_or(usage[Kind::Reasoning]).min(output);
            usage[Kind::Output] = output - usage[Kind::Reasoning];
        }
    }
}

/// `GET /v1/messages/batches/{id}/results`: an object for each request, one a line; `GET …/{id}`: the batch's state.
fn observe_batch(body: &[u8], seen: &mut Observation) {
    let mut reader = Reader::new(body);
    while reader.shape() == Shape::Object {
        if batch_line(&mut reader, seen).is_err() {
            break;
        }
    }
    seen.finished = true;
}

/// One line of the results, or the batch itself.
fn batch_line(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let mut one = Observation::default();
    let read = reader.object(|name, reader| {
        match name {
            "id" => seen.response_id = reader.shared()?,
            "processing_status" => seen.pending = reader.text()?.is_some_and(|status| status.raw() != b"ended"),
            "result" => {
                reader.object(|name, reader| match name {
                    "message" => read_message(reader, &mut one, true),
                    _ => Ok(()),
                })?;
            }
            _ => {}
        }
        Ok(())
    });
    if let Some(usage) = &one.usage {
        seen.service_tier = one.service_tier.or(seen.service_tier.take());
        seen.add_use(one.response_model, usage);
    }
    read.map(drop)
}
