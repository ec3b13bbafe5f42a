//! A Gemini request: one walk over its members, for sizes ([`read_request`]) and for texts ([`prompt_texts`]). Every
//! member is read in both spellings that protobuf's JSON allows, `maxOutputTokens` and `max_output_tokens`.

use super::super::json::{Broken, Reader, Shape, Text};
use super::*;
use crate::dialects::inline;
use crate::tokens::facts::{ImageDetail, ImagePart};
use std::borrow::Cow;
use std::ops::Range;

/// Reads the facts of a generation, an embedding, a count, or an order for images. The model is the path's.
pub fn read_request(endpoint: &Endpoint, body: &[u8]) -> Result<RequestFacts, Malformed> {
    let mut facts = RequestFacts {
        requested_model: endpoint.model_in_path.clone(),
        stream: endpoint.stream_in_path,
        choices: 1,
        ..RequestFacts::default()
    };
    let mut resolution = ImageDetail::Auto;
    let walked = walk(body, &mut |part| match part {
        Part::Resolution(detail) => resolution = detail,
        part => take(&mut facts, part),
    });
    walked.map_err(|broken| Malformed::at(body, &broken))?;
    for image in facts.input.images.iter_mut().filter(|image| image.detail == ImageDetail::Auto) {
        image.detail = resolution;
    }
    Ok(facts)
}

/// Every text that reaches the model. What a broken body holds behind its fault is left out.
pub fn prompt_texts(_endpoint: &Endpoint, body: &[u8], sink: &mut dyn FnMut(PromptText<'_>)) {
    let _ = walk(body, &mut |part| match part {
        Part::Message(role) => sink(PromptText::Message(&role)),
        Part::System(text) | Part::Text(text) => text.prompt(sink),
        Part::Json(json) => sink(PromptText::Text(&String::from_utf8_lossy(json))),
        Part::Tool { json, .. } | Part::Schema(json) => sink(PromptText::Definition(&String::from_utf8_lossy(json))),
        Part::Call { name, arguments } => {
            let name = name.map(|name| name.decode()).unwrap_or_default();
            sink(PromptText::ToolCall { name: &name, arguments: &String::from_utf8_lossy(arguments) });
        }
        _ => {}
    });
}

/// `labels` are kept up to so many members of so many bytes.
const LABELS_MAX: usize = 16;
const LABEL_BYTES_MAX: usize = 512;

enum Part<'a> {
    Members(usize),
    OutputLimit(u64, Range<usize>),
    Choices(u64),
    ServiceTier(Text<'a>),
    Label(String, Text<'a>),
    Thinking,
    Resolution(ImageDetail),
    Message(Cow<'a, str>),
    System(Text<'a>),
    Text(Text<'a>),
    /// JSON that reaches the model as it is, or whose meaning we do not know.
    Json(&'a [u8]),
    Schema(&'a [u8]),
    Tool {
        json: &'a [u8],
        functions: u32,
    },
    ServerTools,
    Call {
        name: Option<Text<'a>>,
        arguments: &'a [u8],
    },
    /// Base64, if it is inline.
    Media {
        kind: Media,
        data: Option<Text<'a>>,
        detail: ImageDetail,
    },
    /// A cached prompt, a stored file: input that the body does not show.
    ServerState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Media {
    Image,
    Audio,
    /// Video too: nothing cheap tells its length.
    File,
}

impl Media {
    fn of(media_type: &str) -> Media {
        match media_type.split('/').next() {
            Some("image") => Media::Image,
            Some("audio") => Media::Audio,
            _ => Media::File,
        }
    }
}

fn take(facts: &mut RequestFacts, part: Part<'_>) {
    let input = &mut facts.input;
    match part {
        Part::Members(place) => facts.splice.members = Some(place),
        Part::OutputLimit(limit, place) => {
            facts.output_limit = facts.output_limit.max(Some(limit));
            let earlier = facts.splice.output_limit.replace(place);
            facts.splice.output_limit_again.extend(earlier);
        }
        Part::Choices(choices) => facts.choices = choices.max(1),
        Part::ServiceTier(tier) => facts.service_tier = Some(Arc::from(tier.decode().to_ascii_lowercase())),
        Part::Label(name, text) => {
            let value = text.decode();
            if facts.metadata.len() < LABELS_MAX && name.len() + value.len() <= LABEL_BYTES_MAX {
                facts.metadata.push((Arc::from(name), Arc::from(value.as_ref())));
            }
        }
        Part::Thinking => facts.needs.reasoning = true,
        Part::Resolution(_) => {}
        Part::Message(_) => input.messages = input.messages.saturating_add(1),
        Part::System(text) => {
            let place = text.place();
            facts.system_text.get_or_insert(place.start + 1..place.end - 1);
            input.text_bytes += text.size() as u64;
        }
        Part::Text(text) => input.text_bytes += text.size() as u64,
        Part::Json(json) => input.text_bytes += json.len() as u64,
        Part::Schema(json) => {
            facts.needs.json_schema = true;
            input.text_bytes += json.len() as u64;
            input.rendered_bytes += json.len() as u64;
        }
        Part::Tool { json, functions } => {
            facts.needs.tools |= functions > 0;
            input.tools = input.tools.saturating_add(functions);
            input.text_bytes += json.len() as u64;
            input.rendered_bytes += json.len() as u64;
        }
        Part::ServerTools => facts.server_tools = true,
        Part::Call { name, arguments } => {
            let bytes = (name.map_or(0, |name| name.size()) + arguments.len()) as u64;
            input.tool_calls = input.tool_calls.saturating_add(1);
            input.text_bytes += bytes;
            input.rendered_bytes += bytes;
        }
        Part::Media { kind, data, detail } => take_media(facts, kind, data, detail),
        Part::ServerState => facts.server_state = true,
    }
}

fn take_media(facts: &mut RequestFacts, kind: Media, data: Option<Text<'_>>, detail: ImageDetail) {
    let input = &mut facts.input;
    let bytes = data.map_or(0, |data| inline::decoded_bytes(&data));
    match kind {
        Media::Image => {
            facts.needs.vision = true;
            let size = data.and_then(|data| inline::image_size(&data));
            input.push_image(ImagePart { detail, size });
        }
        Media::Audio => {
            facts.needs.audio_input = true;
            facts.server_state |= data.is_none();
            input.audio_parts = input.audio_parts.saturating_add(1);
            input.audio_bytes += bytes;
        }
        Media::File => {
            facts.needs.file_input = true;
            facts.server_state |= data.is_none();
            input.file_parts = input.file_parts.saturating_add(1);
            input.file_bytes += bytes;
        }
    }
}

/// Hands the parts of a request to `sink` in the order of the body.
fn walk<'a>(body: &'a [u8], sink: &mut dyn FnMut(Part<'a>)) -> Result<(), Broken> {
    let mut reader = Reader::new(body);
    if reader.shape() != Shape::Object {
        return Err(reader.broken("`{`"));
    }
    sink(Part::Members(reader.place() + 1));
    let mut walk = Walk { body, sink };
    reader.object(|name, reader| walk.member(name, reader))?;
    reader.end()
}

struct Walk<'a, 's> {
    body: &'a [u8],
    sink: &'s mut dyn FnMut(Part<'a>),
}

impl<'a> Walk<'a, '_> {
    fn member(&mut self, name: &str, reader: &mut Reader<'a>) -> Result<(), Broken> {
        match name {
            // `countTokens` has it one level lower, `batchEmbedContents` and `predict` in arrays.
            "generateContentRequest" | "generate_content_request" => {
                reader.object(|name, reader| self.content_member(name, reader)).map(drop)
            }
            "requests" => {
                let one =
                    |reader: &mut Reader<'a>| reader.object(|name, reader| self.content_member(name, reader)).map(drop);
                reader.array(one).map(drop)
            }
            "instances" => reader.array(|reader| self.instance(reader)).map(drop),
            "parameters" => self.parameters(reader),
            name => self.content_member(name, reader),
        }
    }

    fn content_member(&mut self, name: &str, reader: &mut Reader<'a>) -> Result<(), Broken> {
        match name {
            "contents" | "content" => self.contents(reader),
            "systemInstruction" | "system_instruction" => self.system(reader),
            "tools" => reader.array(|reader| self.tool(reader)).map(drop),
            "generationConfig" | "generation_config" => self.generation_config(reader),
            "cachedContent" | "cached_content" => {
                if reader.text()?.is_some_and(|name| !name.is_empty()) {
                    (self.sink)(Part::ServerState);
                }
                Ok(())
            }
            "serviceTier" | "service_tier" => self.text(reader, Part::ServiceTier),
            "title" => self.text(reader, Part::Text),
            "labels" => {
                reader.object(|name, reader| {
                    if let Some(text) = reader.text()? {
                        (self.sink)(Part::Label(name.to_owned(), text));
                    }
                    Ok(())
                })?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn text(&mut self, reader: &mut Reader<'a>, part: fn(Text<'a>) -> Part<'a>) -> Result<(), Broken> {
        if let Some(text) = reader.text()? {
            (self.sink)(part(text));
        }
        Ok(())
    }

    /// An array of contents, or one alone, which the SDKs allow.
    fn contents(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        match reader.shape() {
            Shape::Array => reader.array(|reader| self.content(reader)).map(drop),
            _ => self.content(reader),
        }
    }

    fn content(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        if reader.shape() == Shape::Text {
            (self.sink)(Part::Message(Cow::Borrowed("user")));
            return self.text(reader, Part::Text);
        }
        let (mut role, mut parts) = (None, None);
        reader.object(|name, reader| {
            match name {
                "role" => role = reader.text()?,
                "parts" => parts = Some(reader.clone()),
                _ => {}
            }
            Ok(())
        })?;
        (self.sink)(Part::Message(role.map_or(Cow::Borrowed("user"), |role| role.decode())));
        parts.map_or(Ok(()), |mut parts| self.parts(&mut parts, Part::Text))
    }

    fn system(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        (self.sink)(Part::Message(Cow::Borrowed("system")));
        if reader.shape() == Shape::Text {
            return self.text(reader, Part::System);
        }
        reader.object(|name, reader| if name == "parts" { self.parts(reader, Part::System) } else { Ok(()) }).map(drop)
    }

    fn parts(&mut self, reader: &mut Reader<'a>, text: fn(Text<'a>) -> Part<'a>) -> Result<(), Broken> {
        match reader.shape() {
            Shape::Array => reader.array(|reader| self.part(reader, text)).map(drop),
            _ => self.part(reader, text),
        }
    }

    fn part(&mut self, reader: &mut Reader<'a>, text: fn(Text<'a>) -> Part<'a>) -> Result<(), Broken> {
        if reader.shape() == Shape::Text {
            return self.text(reader, text);
        }
        let (mut media, mut detail) = (None, ImageDetail::Auto);
        reader.object(|name, reader| {
            match name {
                "text" => self.text(reader, text)?,
                "inlineData" | "inline_data" | "fileData" | "file_data" => media = Some(read_media(reader)?),
                "mediaResolution" | "media_resolution" => detail = read_resolution(reader)?,
                "functionCall" | "function_call" => self.call(reader)?,
                "functionResponse" | "function_response" => {
                    (self.sink)(Part::Message(Cow::Borrowed("tool")));
                    (self.sink)(Part::Json(reader.raw()?));
                }
                "executableCode" | "executable_code" | "codeExecutionResult" | "code_execution_result" => {
                    (self.sink)(Part::Json(reader.raw()?));
                }
                _ => {}
            }
            Ok(())
        })?;
        if let Some((media_type, data)) = media {
            (self.sink)(Part::Media { kind: Media::of(&media_type), data, detail });
        }
        Ok(())
    }

    fn call(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        let (mut called, mut arguments): (_, &[u8]) = (None, b"{}");
        reader.object(|name, reader| {
            match name {
                "name" => called = reader.text()?,
                "args" => arguments = reader.raw()?,
                _ => {}
            }
            Ok(())
        })?;
        (self.sink)(Part::Call { name: called, arguments });
        Ok(())
    }

    /// Functions of the caller's, and tools that run at Google: search, code, URLs, maps, files.
    fn tool(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.shape();
        let start = reader.place();
        let (mut functions, mut at_google) = (0u32, false);
        reader.object(|name, reader| match name {
            "functionDeclarations" | "function_declarations" => reader
                .array(|_| {
                    functions = functions.saturating_add(1);
                    Ok(())
                })
                .map(drop),
            "computerUse" | "computer_use" => Ok(()),
            _ => {
                at_google = true;
                Ok(())
            }
        })?;
        let json = self.body.get(start..reader.place()).unwrap_or_default();
        (self.sink)(Part::Tool { json, functions });
        if at_google {
            (self.sink)(Part::ServerTools);
        }
        Ok(())
    }

    fn generation_config(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.object(|name, reader| {
            match name {
                "maxOutputTokens" | "max_output_tokens" => {
                    reader.shape();
                    let start = reader.place();
                    if let Some(limit) = reader.units()? {
                        (self.sink)(Part::OutputLimit(limit, start..reader.place()));
                    }
                }
                "candidateCount" | "candidate_count" => {
                    reader.units()?.into_iter().for_each(|choices| (self.sink)(Part::Choices(choices)));
                }
                "responseSchema" | "response_schema" | "responseJsonSchema" | "response_json_schema"
                    if reader.shape() == Shape::Object =>
                {
                    (self.sink)(Part::Schema(reader.raw()?));
                }
                "thinkingConfig" | "thinking_config" => self.thinking(reader)?,
                "mediaResolution" | "media_resolution" => {
                    let detail = read_resolution(reader)?;
                    (self.sink)(Part::Resolution(detail));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Asked for, unless its budget is nothing.
    fn thinking(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        let mut on = false;
        reader.object(|name, reader| {
            match name {
                "thinkingBudget" | "thinking_budget" => on |= reader.number()?.is_some_and(|budget| budget != "0"),
                "thinkingLevel" | "thinking_level" => on |= reader.text()?.is_some(),
                _ => {}
            }
            Ok(())
        })?;
        if on {
            (self.sink)(Part::Thinking);
        }
        Ok(())
    }

    /// Imagen: `{"prompt": …}`.
    fn instance(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.object(|name, reader| if name == "prompt" { self.text(reader, Part::Text) } else { Ok(()) }).map(drop)
    }

    /// Imagen: how many pictures.
    fn parameters(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.object(|name, reader| {
            if name == "sampleCount" {
                reader.units()?.into_iter().for_each(|choices| (self.sink)(Part::Choices(choices)));
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// `inlineData` or `fileData`: the media type, and the base64 where it is inline.
fn read_media<'a>(reader: &mut Reader<'a>) -> Result<(Cow<'a, str>, Option<Text<'a>>), Broken> {
    let (mut media_type, mut data) = (Cow::Borrowed(""), None);
    reader.object(|name, reader| {
        match name {
            "mimeType" | "mime_type" => media_type = reader.text()?.map(|kind| kind.decode()).unwrap_or_default(),
            "data" => data = reader.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((media_type, data))
}

/// `"MEDIA_RESOLUTION_LOW"`, or (for one part) `{"level": "MEDIA_RESOLUTION_LOW"}`. Medium is priced like high.
fn read_resolution(reader: &mut Reader<'_>) -> Result<ImageDetail, Broken> {
    let mut level = None;
    if reader.shape() == Shape::Text {
        level = reader.text()?;
    } else {
        reader.object(|name, reader| {
            if name == "level" {
                level = reader.text()?;
            }
            Ok(())
        })?;
    }
    Ok(match level.map(|level| level.raw().to_ascii_uppercase()).as_deref() {
        Some(b"MEDIA_RESOLUTION_LOW") => ImageDetail::Low,
        Some(b"MEDIA_RESOLUTION_ULTRA_HIGH") => ImageDetail::Original,
        Some(b"MEDIA_RESOLUTION_MEDIUM" | b"MEDIA_RESOLUTION_HIGH") => ImageDetail::High,
        _ => ImageDetail::Auto,
    })
}
