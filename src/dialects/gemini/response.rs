//! A Gemini response: one object, a stream of them as events, or a stream as one array.

use super::super::json::{Broken, Reader, Shape};
use super::*;
use crate::tokens::usage::Kind;

/// One chunk of a stream with `alt=sse`, or one line of a file of results. What cannot be read is passed over: nothing is guessed.
pub fn observe_event(endpoint: &Endpoint, _flavor: Flavor, event: sse::Event<'_>, seen: &mut Observation) {
    let mut reader = Reader::new(event.data);
    let _ = match endpoint.operation {
        Operation::Batches | Operation::Files => batch::observe_one(&mut reader, seen),
        _ => read_chunk(&mut reader, seen),
    };
}

/// A whole response, an error, a batch, or the array that a stream without `alt=sse` is.
pub fn observe_whole(endpoint: &Endpoint, _flavor: Flavor, body: &[u8], seen: &mut Observation) {
    if matches!(endpoint.operation, Operation::Batches | Operation::Files) {
        return batch::observe_batch(body, seen);
    }
    let mut reader = Reader::new(body);
    let is_stream = reader.shape() == Shape::Array;
    let read = match is_stream {
        true => reader.array(|reader| read_chunk(reader, seen)).map(drop),
        false => read_chunk(&mut reader, seen),
    };
    if read.is_err() {
        return;
    }
    seen.finished |= !is_stream || !endpoint.stream_in_path;
    seen.usage_is_final = seen.usage.is_some() && seen.finished;
}

pub(super) fn read_chunk(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let mut searches = 0u64;
    let mut has_usage = false;
    reader.object(|name, reader| {
        match name {
            "candidates" => {
                reader.array(|reader| read_candidate(reader, &mut searches, seen))?;
            }
            "usageMetadata" => {
                has_usage = true;
                read_usage(reader, seen)?;
            }
            "modelVersion" => seen.response_model = reader.shared()?.or(seen.response_model.take()),
            "responseId" => seen.response_id = reader.shared()?.or(seen.response_id.take()),
            "promptFeedback" => read_feedback(reader, seen)?,
            "error" => read_error(reader, seen)?,
            "predictions" => {
                reader.array(|_| {
                    seen.images_made = seen.images_made.saturating_add(1);
                    Ok(())
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    // The grounding of a candidate is repeated as it grows.
    seen.tool_calls[Kind::WebSearch] = seen.tool_calls[Kind::WebSearch].max(searches);
    seen.usage_is_final |= has_usage && seen.finished;
    if has_usage {
        seen.reported_upto = Some(seen.output.mark());
    }
    Ok(())
}

fn read_candidate(reader: &mut Reader<'_>, searches: &mut u64, seen: &mut Observation) -> Result<(), Broken> {
    reader.object(|name, reader| {
        match name {
            "content" => {
                reader.object(|name, reader| match name {
                    "parts" => reader.array(|reader| read_part(reader, seen)).map(drop),
                    _ => Ok(()),
                })?;
            }
            "finishReason" => {
                if let Some(reason) = reader.shared()? {
                    seen.finished = true;
                    seen.finish_reason = Some(reason);
                }
            }
            "groundingMetadata" => {
                reader.object(|name, reader| match name {
                    "webSearchQueries" => reader
                        .array(|_| {
                            *searches = searches.saturating_add(1);
                            Ok(())
                        })
                        .map(drop),
                    _ => Ok(()),
                })?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// Text or thought (a flag that may stand behind the text), a function call, code, or media.
fn read_part(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let (mut text, mut is_thought) = (None, false);
    reader.object(|name, reader| {
        match name {
            "text" => text = reader.text()?,
            "thought" => is_thought = reader.boolean()? == Some(true),
            "functionCall" | "executableCode" | "codeExecutionResult" => {
                read_call(reader, seen)?;
                seen.has_content = true;
                seen.output.tool_calls = seen.output.tool_calls.saturating_add(u32::from(name == "functionCall"));
            }
            "inlineData" => seen.has_content = true,
            _ => {}
        }
        Ok(())
    })?;
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        seen.has_content = true;
        match is_thought {
            true => seen.output.push_reasoning(&text.decode()),
            false => seen.output.push_text(&text.decode()),
        }
    }
    Ok(())
}

fn read_call(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    reader.object(|name, reader| {
        match name {
            "name" | "code" | "output" => {
                let text = reader.text()?.map(|text| text.decode()).unwrap_or_default();
                seen.output.push_text(&text);
            }
            "args" => seen.output.push_text(&String::from_utf8_lossy(reader.raw()?)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(())
}

/// A prompt that was blocked has no candidates: this is its ending.
fn read_feedback(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    reader.object(|name, reader| {
        if name == "blockReason"
            && let Some(reason) = reader.shared()?
        {
            seen.finished = true;
            seen.finish_reason = Some(reason);
        }
        Ok(())
    })?;
    Ok(())
}

pub(super) fn read_error(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    reader.object(|name, reader| {
        if name == "status" {
            seen.error_code = reader.shared()?;
        }
        Ok(())
    })?;
    Ok(())
}

/// A report is of everything so far, so it replaces the one before.
fn read_usage(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let mut counts = Counts::default();
    let mut traffic = None;
    reader.object(|name, reader| {
        match name {
            "promptTokenCount" => counts.prompt = reader.units()?.unwrap_or(0),
            "cachedContentTokenCount" => counts.cached = reader.units()?.unwrap_or(0),
            "toolUsePromptTokenCount" => counts.tool_use = reader.units()?.unwrap_or(0),
            // The second name is the Live API's.
            "candidatesTokenCount" | "responseTokenCount" => counts.candidates = reader.units()?,
            "thoughtsTokenCount" => counts.thoughts = reader.units()?.unwrap_or(0),
            "totalTokenCount" => counts.total = reader.units()?.unwrap_or(0),
            "promptTokensDetails" => counts.prompt_by = read_details(reader)?,
            "cacheTokensDetails" => counts.cached_by = read_details(reader)?,
            "toolUsePromptTokensDetails" => counts.tool_use_by = read_details(reader)?,
            "candidatesTokensDetails" | "responseTokensDetails" => counts.candidates_by = read_details(reader)?,
            "serviceTier" => seen.service_tier = tier(reader)?.or(seen.service_tier.take()),
            "trafficType" => traffic = tier(reader)?,
            _ => {}
        }
        Ok(())
    })?;
    seen.service_tier = seen.service_tier.take().or(traffic);
    seen.usage = Some(counts.usage());
    Ok(())
}

/// Tokens by modality; text and documents are what is left.
#[derive(Clone, Copy, Default)]
struct Details {
    audio: u64,
    image: u64,
    video: u64,
}

fn read_details(reader: &mut Reader<'_>) -> Result<Details, Broken> {
    let mut details = Details::default();
    reader.array(|reader| {
        let (mut modality, mut tokens) = (None, 0);
        reader.object(|name, reader| {
            match name {
                "modality" => modality = reader.text()?,
                "tokenCount" => tokens = reader.units()?.unwrap_or(0),
                _ => {}
            }
            Ok(())
        })?;
        let sum = match modality.map(|modality| modality.raw()) {
            Some(b"AUDIO") => &mut details.audio,
            Some(b"IMAGE") => &mut details.image,
            Some(b"VIDEO") => &mut details.video,
            _ => return Ok(()),
        };
        *sum = sum.saturating_add(tokens);
        Ok(())
    })?;
    Ok(details)
}

#[derive(Default)]
struct Counts {
    prompt: u64,
    cached: u64,
    tool_use: u64,
    candidates: Option<u64>,
    thoughts: u64,
    total: u64,
    prompt_by: Details,
    cached_by: Details,
    tool_use_by: Details,
    candidates_by: Details,
}

impl Counts {
    /// Disjoint kinds that add up to the counts, whatever the details say.
    fn usage(&self) -> TokenUsage {
        let mut usage = TokenUsage::ZERO;
        let cached = self.cached.min(self.prompt);
        let mut rest = cached;
        usage[Kind::CacheReadAudio] = part_of(&mut rest, self.cached_by.audio);
        usage[Kind::CacheReadImage] = part_of(&mut rest, self.cached_by.image);
        usage[Kind::CacheRead] = rest;

        let mut rest = self.prompt - cached;
        let fresh = |all: u64, cached: u64| all.saturating_sub(cached);
        usage[Kind::InputAudio] = part_of(&mut rest, fresh(self.prompt_by.audio, self.cached_by.audio));
        usage[Kind::InputImage] = part_of(&mut rest, fresh(self.prompt_by.image, self.cached_by.image));
        usage[Kind::InputVideo] = part_of(&mut rest, fresh(self.prompt_by.video, self.cached_by.video));
        usage[Kind::Input] = rest;

        let mut rest = self.tool_use;
        let mut tools = TokenUsage::ZERO.with(Kind::InputAudio, part_of(&mut rest, self.tool_use_by.audio));
        tools[Kind::InputImage] = part_of(&mut rest, self.tool_use_by.image);
        tools[Kind::InputVideo] = part_of(&mut rest, self.tool_use_by.video);
        usage.add(&tools.with(Kind::Input, rest));

        // A report may leave the candidates out although the total has them.
        let known = self.prompt.saturating_add(self.tool_use).saturating_add(self.thoughts);
        let mut rest = self.candidates.unwrap_or(self.total.saturating_sub(known));
        usage[Kind::OutputAudio] = part_of(&mut rest, self.candidates_by.audio);
        usage[Kind::OutputImage] = part_of(&mut rest, self.candidates_by.image);
        usage[Kind::Output] = rest;
        usage[Kind::Reasoning] = self.thoughts;
        usage
    }
}

/// Takes up to `wanted` away from `rest`.
fn part_of(rest: &mut u64, wanted: u64) -> u64 {
    let part = wanted.min(*rest);
    *rest -= part;
    part
}

/// `FLEX`, `standard`; Vertex's `ON_DEMAND`, `ON_DEMAND_PRIORITY`, `PROVISIONED_THROUGHPUT`.
fn tier(reader: &mut Reader<'_>) -> Result<Option<Arc<str>>, Broken> {
    Ok(reader.text()?.map(|text| {
        let name = text.decode().to_ascii_lowercase();
        match name.strip_prefix("on_demand") {
            Some("") => Arc::from("standard"),
            Some(rest) => Arc::from(rest.trim_start_matches('_')),
            None => Arc::from(name),
        }
    }))
}
