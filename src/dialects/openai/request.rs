//! What a request asks, read in one pass.

use super::super::inline;
use super::super::json::{Broken, Reader, Shape, Text};
use super::super::{Endpoint, Malformed, Operation};
use super::prompt::{self, Piece};
use crate::tokens::facts::{ImageOrder, ImagePart, RequestFacts, TAGS_IN_METADATA};
use std::ops::Range;
use std::sync::Arc;

/// OpenAI: `metadata` has at most 16 members, names of at most 64 and values of at most 512 characters.
const METADATA_MEMBERS_MAX: usize = 16;
const METADATA_NAME_BYTES_MAX: usize = 256;
const METADATA_VALUE_BYTES_MAX: usize = 2_048;

/// Reads the facts of a body.
///
/// Only two things are faults of ours to name: a body that is no JSON object, and a `model` that is no string. What
/// else a provider may dislike it says itself.
pub fn read_request(endpoint: &Endpoint, body: &[u8]) -> Result<RequestFacts, Malformed> {
    let mut reader = Reader::new(body);
    if reader.shape() != Shape::Object {
        return Err(Malformed::at(body, &reader.broken("`{`")));
    }
    let members = reader.place() + 1;
    let mut reading = Reading::of(endpoint.operation);
    reader.object(|name, value| reading.member(name, value)).map_err(|broken| Malformed::at(body, &broken))?;
    reader.end().map_err(|broken| Malformed::at(body, &broken))?;
    if let Some(at) = reading.odd_model_at {
        let (line, column) = Broken { at, expected: "" }.line_and_column(body);
        return Err(Malformed {
            message: format!(
                "`model` at line {line}, column {column} is not a string. Name one model, as in \"model\": \"gpt-4o\"."
            ),
            member: Some("model"),
        });
    }
    let mut facts = reading.finish();
    facts.splice.members = Some(members);
    Ok(facts)
}

struct Reading {
    operation: Operation,
    facts: RequestFacts,
    odd_model_at: Option<usize>,
    /// An output limit that is no number of tokens, such as llama.cpp's −1: there is none.
    unlimited: bool,
    answers: u64,
    safety_identifier: Option<Arc<str>>,
    in_system_message: bool,
    query_bytes: u64,
}

impl Reading {
    fn of(operation: Operation) -> Self {
        Reading {
            operation,
            facts: RequestFacts::default(),
            odd_model_at: None,
            unlimited: false,
            answers: 1,
            safety_identifier: None,
            in_system_message: false,
            query_bytes: 0,
        }
    }

    fn member(&mut self, name: &str, value: &mut Reader<'_>) -> Result<(), Broken> {
        let facts = &mut self.facts;
        match name {
            "model" => self.model(value)?,
            "stream" => facts.stream = value.boolean()? == Some(true),
            "stream_format" => facts.stream = value.text()?.is_some_and(|format| format.raw() == b"sse"),
            "stream_options" => self.stream_options(value)?,
            "max_completion_tokens" | "max_tokens" | "max_output_tokens" | "n_predict" => self.output_limit(value)?,
            "options" if matches!(self.operation, Operation::Chat | Operation::Completion) => {
                value.object(|name, value| match name {
                    "num_predict" => self.output_limit(value),
                    _ => Ok(()),
                })?;
            }
            "n" | "best_of" => self.answers = self.answers.max(value.units()?.unwrap_or(1)),
            "service_tier" => facts.service_tier = owned(value.text()?),
            "user" => facts.user = owned(value.text()?),
            "safety_identifier" => self.safety_identifier = owned(value.text()?),
            "metadata" => metadata(value, &mut facts.metadata)?,
            "background" => facts.background = value.boolean()? == Some(true),
            "previous_response_id" | "conversation" | "input_file_id" => {
                facts.server_state |= value.shape() != Shape::Null;
            }
            "web_search_options" | "search_parameters" => facts.server_tools |= value.shape() == Shape::Object,
            "plugins" => {
                value.array(|_| {
                    facts.server_tools = true;
                    Ok(())
                })?;
            }
            "reasoning_effort" => facts.needs.reasoning |= asks_for_effort(value.text()?),
            "reasoning" => {
                value.object(|name, value| {
                    if name == "effort" {
                        facts.needs.reasoning |= asks_for_effort(value.text()?);
                    }
                    Ok(())
                })?;
            }
            "size" | "quality" if self.operation == Operation::Images => {
                let text = owned(value.text()?);
                let order = facts.image.get_or_insert_default();
                *(if name == "size" { &mut order.size } else { &mut order.quality }) = text;
            }
            "prompt" if matches!(self.operation, Operation::Responses | Operation::CountTokens) => {
                self.stored_prompt(value)?;
            }
            _ => {
                let is_query = self.operation == Operation::Rerank && name == "query";
                let before = self.facts.input.text_bytes;
                prompt::member(self.operation, name, value, &mut |piece| self.piece(piece))?;
                if is_query {
                    self.query_bytes = self.facts.input.text_bytes - before;
                }
            }
        }
        Ok(())
    }

    fn model(&mut self, value: &mut Reader<'_>) -> Result<(), Broken> {
        let shape = value.shape();
        let start = value.place();
        let text = value.text()?;
        if !matches!(shape, Shape::Text | Shape::Null) {
            self.odd_model_at = Some(start);
        }
        self.facts.requested_model = owned(text);
        let earlier = self.facts.splice.model.replace(start..value.place());
        self.facts.splice.model_again.extend(earlier);
        Ok(())
    }

    fn stream_options(&mut self, value: &mut Reader<'_>) -> Result<(), Broken> {
        value.shape();
        let start = value.place();
        let mut asked = false;
        value.object(|name, value| {
            if name == "include_usage" {
                asked = value.boolean()? == Some(true);
            }
            Ok(())
        })?;
        self.facts.asked_for_usage = asked;
        self.facts.splice.stream_options = Some(start..value.place());
        Ok(())
    }

    /// Where several limits stand, the largest bounds what can come; a clamp writes them all.
    fn output_limit(&mut self, value: &mut Reader<'_>) -> Result<(), Broken> {
        let shape = value.shape();
        let start = value.place();
        let limit = value.units()?;
        self.unlimited |= limit.is_none() && shape != Shape::Null;
        self.facts.output_limit = self.facts.output_limit.max(limit);
        let place: Range<usize> = start..value.place();
        match &self.facts.splice.output_limit {
            None => self.facts.splice.output_limit = Some(place),
            Some(_) => self.facts.splice.output_limit_again.push(place),
        }
        Ok(())
    }

    /// OpenAI: `prompt: {id, version, variables}`, a template that is stored with the provider.
    fn stored_prompt(&mut self, value: &mut Reader<'_>) -> Result<(), Broken> {
        let facts = &mut self.facts;
        facts.server_state |= value.shape() == Shape::Object;
        value.object(|name, value| {
            match name {
                "id" => facts.prompt_name = owned(value.text()?),
                "variables" => facts.input.text_bytes += value.raw()?.len() as u64,
                _ => {}
            }
            Ok(())
        })?;
        Ok(())
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let RequestFacts { input, needs, .. } = &mut self.facts;
        match piece {
            Piece::Message { role } => {
                input.messages = input.messages.saturating_add(1);
                self.in_system_message = role.is_some_and(|role| matches!(role.raw(), b"system" | b"developer"));
            }
            Piece::Name(name) => input.text_bytes += name.size() as u64,
            Piece::Text(text) => {
                input.text_bytes += text.size() as u64;
                if self.in_system_message && self.facts.system_text.is_none() {
                    let place = text.place();
                    self.facts.system_text = Some(place.start + 1..place.end - 1);
                }
                if self.operation == Operation::Speech {
                    self.facts.characters += text.decode().chars().count() as u64;
                }
            }
            Piece::Call { name, arguments } => {
                let sizes = [name, arguments].into_iter().flatten().map(|text| text.size() as u64);
                let bytes = sizes.sum::<u64>();
                input.tool_calls = input.tool_calls.saturating_add(1);
                input.text_bytes += bytes;
                input.rendered_bytes += bytes;
            }
            Piece::Tool { raw, by_provider } => {
                input.text_bytes += raw.len() as u64;
                input.rendered_bytes += raw.len() as u64;
                input.tools = input.tools.saturating_add(1);
                needs.tools = true;
                self.facts.server_tools |= by_provider;
            }
            Piece::Schema { raw, is_json_schema } => {
                input.text_bytes += raw.len() as u64;
                input.rendered_bytes += raw.len() as u64;
                needs.json_schema |= is_json_schema;
            }
            Piece::Unknown(raw) => input.text_bytes += raw.len() as u64,
            Piece::Image { picture, detail } => {
                needs.vision |= self.operation != Operation::Images;
                input.push_image(ImagePart { detail, size: picture.and_then(|p| inline::image_size(&p)) });
            }
            Piece::Audio(sound) => {
                needs.audio_input = true;
                input.audio_parts = input.audio_parts.saturating_add(1);
                input.audio_bytes += sound.map_or(0, |sound| inline::decoded_bytes(&sound));
            }
            Piece::File(file) => {
                needs.file_input = true;
                input.file_parts = input.file_parts.saturating_add(1);
                input.file_bytes += file.map_or(0, |file| inline::decoded_bytes(&file));
            }
            Piece::TokenIds(ids) => input.token_ids += ids,
            Piece::Elsewhere => self.facts.server_state = true,
        }
    }

    fn finish(self) -> RequestFacts {
        let mut facts = self.facts;
        if self.unlimited {
            facts.output_limit = None;
        }
        facts.choices = self.answers;
        let inputs = u64::from(facts.input.messages);
        match self.operation {
            // Each prompt of a list is answered.
            Operation::Completion => facts.choices = facts.choices.saturating_mul(inputs.max(1)),
            // The query is read again with each document.
            Operation::Rerank => {
                let again = self.query_bytes.saturating_mul(inputs.saturating_sub(1));
                facts.input.text_bytes = facts.input.text_bytes.saturating_add(again);
            }
            Operation::Images => _ = facts.image.get_or_insert_with(ImageOrder::default),
            _ => {}
        }
        facts.user = facts.user.or(self.safety_identifier);
        facts
    }
}

fn asks_for_effort(effort: Option<Text<'_>>) -> bool {
    effort.is_some_and(|effort| effort.raw() != b"none")
}

fn metadata(value: &mut Reader<'_>, found: &mut Vec<(Arc<str>, Arc<str>)>) -> Result<(), Broken> {
    found.clear();
    value.object(|name, value| {
        let room = found.len() < METADATA_MEMBERS_MAX && name.len() <= METADATA_NAME_BYTES_MAX;
        if name == TAGS_IN_METADATA && value.shape() == Shape::Array {
            let tags = list_of_texts(value)?;
            if room && !tags.is_empty() {
                found.push((Arc::from(name), Arc::from(tags)));
            }
        } else if let Some(text) = value.text()?.filter(|text| room && text.size() <= METADATA_VALUE_BYTES_MAX) {
            found.push((Arc::from(name), Arc::from(text.decode())));
        }
        Ok(())
    })?;
    Ok(())
}

/// `["a", "b"]` as `a,b`, as much of it as a member of metadata may hold.
fn list_of_texts(list: &mut Reader<'_>) -> Result<String, Broken> {
    let mut joined = String::new();
    list.array(|tag| {
        if let Some(text) = tag.text()?.filter(|text| joined.len() + text.size() < METADATA_VALUE_BYTES_MAX) {
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(&text.decode());
        }
        Ok(())
    })?;
    Ok(joined)
}

fn owned(text: Option<Text<'_>>) -> Option<Arc<str>> {
    text.map(|text| Arc::from(text.decode()))
}

#[cfg(test)]
mod tests;
