//! Batches: the operation that stands for one, which carries the responses that were asked for inline, and the lines of
//! the file that has them otherwise.
//!
//! `{"name":"batches/…","done":…,"metadata":{"model":…,"state":"BATCH_STATE_…","output":{…}},"response":{…}}`; `output`
//! and `response` hold the same `inlinedResponses.inlinedResponses[].response`. A file's line is `{"key":…,"response":…}`
//! or the response itself. Source: google-genai SDK 3.4.0 for Python, and Google's "Batch API" page, read 2026-11-28.

use super::super::json::{Broken, Reader, Shape};
use super::response::{read_chunk, read_error};
use super::*;
use crate::tokens::usage::Kind;

/// An operation, or the lines of a file of results.
pub fn observe_batch(body: &[u8], seen: &mut Observation) {
    let mut reader = Reader::new(body);
    while reader.shape() == Shape::Object {
        if observe_one(&mut reader, seen).is_err() {
            break;
        }
    }
    seen.finished = true;
}

/// An operation, or one line.
pub fn observe_one(reader: &mut Reader<'_>, seen: &mut Observation) -> Result<(), Broken> {
    let mut whole = reader.clone();
    let (mut name_of, mut done, mut is_response, mut has_key) = (None, None, false, false);
    let (mut metadata, mut response, mut error) = (None, None, None);
    reader.object(|name, reader| {
        match name {
            "name" => name_of = reader.shared()?,
            "done" => done = reader.boolean()?,
            "metadata" => metadata = Some(reader.clone()),
            "response" => response = Some(reader.clone()),
            "usageMetadata" => is_response = true,
            "key" => has_key = true,
            "error" => error = Some(reader.clone()),
            _ => {}
        }
        Ok(())
    })?;
    // What failed of one line's request is not the file's failure.
    if let Some(mut error) = error.filter(|_| !has_key) {
        read_error(&mut error, seen)?;
    }
    if is_response {
        return book(&mut whole, None, seen);
    }
    if name_of.is_none() {
        return response.map_or(Ok(()), |mut response| book(&mut response, None, seen));
    }
    let mut about = Metadata::default();
    if let Some(mut metadata) = metadata {
        about.read(&mut metadata)?;
    }
    seen.response_id = name_of;
    seen.pending = about.is_under_way.unwrap_or(done != Some(true));
    let before = seen.usage;
    if let Some(mut response) = response {
        inlined(&mut response, about.model.as_ref(), seen)?;
    }
    match about.output {
        Some(mut output) if seen.usage == before => inlined(&mut output, about.model.as_ref(), seen),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Metadata<'a> {
    /// Without `models/`.
    model: Option<Arc<str>>,
    is_under_way: Option<bool>,
    output: Option<Reader<'a>>,
}

impl<'a> Metadata<'a> {
    fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.object(|name, reader| {
            match name {
                "model" => {
                    let model = reader.text()?.map(|model| model.decode());
                    self.model = model.map(|model| Arc::from(model.trim_start_matches("models/")));
                }
                "state" => {
                    let state = reader.text()?.map(|state| state.raw());
                    self.is_under_way = state.map(|state| state.ends_with(b"_PENDING") || state.ends_with(b"_RUNNING"));
                }
                "output" => self.output = Some(reader.clone()),
                _ => {}
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The responses that stand in the operation.
fn inlined(output: &mut Reader<'_>, model: Option<&Arc<str>>, seen: &mut Observation) -> Result<(), Broken> {
    output.object(|name, reader| {
        if !matches!(name, "inlinedResponses" | "inlinedEmbedContentResponses") {
            return Ok(());
        }
        reader.object(|name, reader| match name {
            "inlinedResponses" => reader.array(|reader| one_of(reader, model, seen)).map(drop),
            _ => Ok(()),
        })?;
        Ok(())
    })?;
    Ok(())
}

fn one_of(reader: &mut Reader<'_>, model: Option<&Arc<str>>, seen: &mut Observation) -> Result<(), Broken> {
    reader.object(|name, reader| match name {
        "response" => book(reader, model, seen),
        _ => Ok(()),
    })?;
    Ok(())
}

/// Adds what one response used; an embedding says it as `tokenCount`.
fn book(reader: &mut Reader<'_>, model: Option<&Arc<str>>, seen: &mut Observation) -> Result<(), Broken> {
    let mut embedded = None;
    reader.clone().object(|name, reader| {
        if name == "tokenCount" {
            embedded = reader.units()?;
        }
        Ok(())
    })?;
    let mut one = Observation::default();
    read_chunk(reader, &mut one)?;
    let Some(mut usage) = one.usage.or(embedded.map(|tokens| TokenUsage::ZERO.with(Kind::Input, tokens))) else {
        return Ok(());
    };
    for (kind, units) in one.tool_calls.used() {
        usage[kind] = usage[kind].max(units);
    }
    seen.service_tier = one.service_tier.or(seen.service_tier.take());
    seen.add_use(one.response_model.or_else(|| model.cloned()), &usage);
    Ok(())
}
