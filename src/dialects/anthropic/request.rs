//! A Messages request: one walk over its members, for sizes ([`read_request`]) and for texts ([`prompt_texts`]).

use super::super::json::{Broken, Reader, Shape, Text};
use super::*;
use crate::dialects::inline;
use crate::tokens::facts::{ImageDetail, ImagePart};
use crate::tokens::usage::Kind;
use std::borrow::Cow;
use std::ops::Range;

/// Reads the facts of `/v1/messages` and `/v1/messages/count_tokens`.
pub fn read_request(_endpoint: &Endpoint, body: &[u8]) -> Result<RequestFacts, Malformed> {
    let mut facts = RequestFacts { choices: 1, ..RequestFacts::default() };
    let walked = walk(body, &mut |part| take(&mut facts, part));
    walked.map_err(|broken| Malformed::at(body, &broken))?;
    Ok(facts)
}

/// Every text that reaches the model. What a broken body holds behind its fault is left out.
pub fn prompt_texts(_endpoint: &Endpoint, body: &[u8], sink: &mut dyn FnMut(PromptText<'_>)) {
    let _ = walk(body, &mut |part| match part {
        Part::Message(role) => sink(PromptText::Message(&role)),
        Part::System(text) | Part::Text(text) => text.prompt(sink),
        Part::Json(json) => sink(PromptText::Text(&String::from_utf8_lossy(json))),
        Part::Tool(json) | Part::Schema(json) => sink(PromptText::Definition(&String::from_utf8_lossy(json))),
        Part::Call { name, arguments } => {
            let name = name.map(|name| name.decode()).unwrap_or_default();
            sink(PromptText::ToolCall { name: &name, arguments: &String::from_utf8_lossy(arguments) });
        }
        _ => {}
    });
}

/// Text blocks of a result within a result are read so deep; anything below counts as its JSON.
const NESTING_MAX: u32 = 8;

/// `metadata` is kept up to so many members of so many bytes.
const METADATA_MAX: usize = 16;
const METADATA_BYTES_MAX: usize = 512;

/// Anthropic's own client tools (bash, text editor, computer …) expand to at most this, tokens (documentation: 245 to
/// 735).
const BUILT_IN_TOOL_TOKENS: u64 = 1_000;

enum Part<'a> {
    Model(Text<'a>),
    Members(usize),
    OutputLimit(u64, Range<usize>),
    Stream(bool),
    ServiceTier(Text<'a>),
    Speed(Text<'a>),
    Region(Text<'a>),
    Metadata(String, Text<'a>),
    Thinking,
    Message(Cow<'a, str>),
    System(Text<'a>),
    Text(Text<'a>),
    /// JSON that reaches the model as it is, or whose meaning we do not know.
    Json(&'a [u8]),
    Schema(&'a [u8]),
    Tool(&'a [u8]),
    BuiltInTool,
    ServerTools,
    Call {
        name: Option<Text<'a>>,
        arguments: &'a [u8],
    },
    /// Base64, if it is inline.
    Image(Option<Text<'a>>),
    File(Option<Text<'a>>),
    /// A file id, a container: input that the body does not show.
    ServerState,
    CacheWrite(Kind),
}

fn take(facts: &mut RequestFacts, part: Part<'_>) {
    let input = &mut facts.input;
    match part {
        Part::Model(name) => {
            let earlier = facts.splice.model.replace(name.place());
            facts.splice.model_again.extend(earlier);
            facts.requested_model = Some(Arc::from(name.decode().as_ref()));
        }
        Part::Members(place) => facts.splice.members = Some(place),
        Part::OutputLimit(limit, place) => {
            // Where the name is repeated, the largest bounds what can come; a clamp writes them all.
            facts.output_limit = facts.output_limit.max(Some(limit));
            let earlier = facts.splice.output_limit.replace(place);
            facts.splice.output_limit_again.extend(earlier);
        }
        Part::Stream(stream) => facts.stream = stream,
        Part::ServiceTier(tier) => facts.service_tier = Some(Arc::from(tier.decode().as_ref())),
        Part::Speed(speed) => facts.speed = Some(Arc::from(speed.decode().as_ref())),
        Part::Region(region) => facts.region = Some(Arc::from(region.decode().as_ref())),
        Part::Metadata(name, text) => take_metadata(facts, &name, text),
        Part::Thinking => facts.needs.reasoning = true,
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
        Part::Tool(json) => {
            facts.needs.tools = true;
            input.tools = input.tools.saturating_add(1);
            input.text_bytes += json.len() as u64;
            input.rendered_bytes += json.len() as u64;
        }
        Part::BuiltInTool => input.text_bytes += BUILT_IN_TOOL_TOKENS,
        Part::ServerTools => facts.server_tools = true,
        Part::Call { name, arguments } => {
            let bytes = (name.map_or(0, |name| name.size()) + arguments.len()) as u64;
            input.tool_calls = input.tool_calls.saturating_add(1);
            input.text_bytes += bytes;
            input.rendered_bytes += bytes;
        }
        Part::Image(data) => {
            facts.needs.vision = true;
            let size = data.and_then(|data| inline::image_size(&data));
            input.push_image(ImagePart { detail: ImageDetail::Auto, size });
        }
        Part::File(data) => {
            facts.needs.file_input = true;
            facts.server_state |= data.is_none();
            input.file_parts = input.file_parts.saturating_add(1);
            input.file_bytes += data.map_or(0, |data| inline::decoded_bytes(&data));
        }
        Part::ServerState => facts.server_state = true,
        Part::CacheWrite(kind) => facts.cache_write = facts.cache_write.max(Some(kind)),
    }
}

fn take_metadata(facts: &mut RequestFacts, name: &str, text: Text<'_>) {
    let value = text.decode();
    if name == "user_id" {
        facts.user = Some(Arc::from(value.as_ref()));
    } else if facts.metadata.len() < METADATA_MAX && name.len() + value.len() <= METADATA_BYTES_MAX {
        facts.metadata.push((Arc::from(name), Arc::from(value.as_ref())));
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
            "model" => self.text(reader, Part::Model),
            "stream" => reader.boolean().map(|stream| (self.sink)(Part::Stream(stream == Some(true)))),
            "max_tokens" => {
                reader.shape();
                let start = reader.place();
                let limit = reader.units()?;
                if let Some(limit) = limit {
                    (self.sink)(Part::OutputLimit(limit, start..reader.place()));
                }
                Ok(())
            }
            "system" => self.system(reader),
            "messages" => reader.array(|reader| self.message(reader)).map(drop),
            "tools" => reader.array(|reader| self.tool(reader)).map(drop),
            "service_tier" => self.text(reader, Part::ServiceTier),
            "speed" => self.text(reader, Part::Speed),
            "inference_geo" => self.text(reader, Part::Region),
            "thinking" => self.thinking(reader),
            "metadata" => self.metadata(reader),
            "cache_control" => self.cache_control(reader),
            "output_config" | "output_format" => self.output_format(reader),
            "mcp_servers" => self.if_there(reader, Part::ServerTools),
            "container" => self.if_there(reader, Part::ServerState),
            _ => Ok(()),
        }
    }

    fn text(&mut self, reader: &mut Reader<'a>, part: fn(Text<'a>) -> Part<'a>) -> Result<(), Broken> {
        if let Some(text) = reader.text()? {
            (self.sink)(part(text));
        }
        Ok(())
    }

    fn if_there(&mut self, reader: &mut Reader<'a>, part: Part<'a>) -> Result<(), Broken> {
        if !matches!(reader.raw()?, b"null" | b"[]") {
            (self.sink)(part);
        }
        Ok(())
    }

    fn system(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        (self.sink)(Part::Message(Cow::Borrowed("system")));
        if reader.shape() == Shape::Text {
            return self.text(reader, Part::System);
        }
        reader.array(|reader| self.block(reader, Part::System, NESTING_MAX)).map(drop)
    }

    fn message(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        let (mut role, mut content) = (None, None);
        reader.object(|name, reader| {
            match name {
                "role" => role = reader.text()?,
                "content" => content = Some(reader.clone()),
                _ => {}
            }
            Ok(())
        })?;
        (self.sink)(Part::Message(role.map_or(Cow::Borrowed("user"), |role| role.decode())));
        content.map_or(Ok(()), |mut content| self.content(&mut content, NESTING_MAX))
    }

    /// A string, or blocks.
    fn content(&mut self, reader: &mut Reader<'a>, depth: u32) -> Result<(), Broken> {
        match reader.shape() {
            Shape::Text => self.text(reader, Part::Text),
            Shape::Array if depth > 0 => reader.array(|reader| self.block(reader, Part::Text, depth)).map(drop),
            Shape::Object if depth > 0 => self.block(reader, Part::Text, depth),
            _ => {
                let json = reader.raw()?;
                (self.sink)(Part::Json(json));
                Ok(())
            }
        }
    }

    fn block(
        &mut self,
        reader: &mut Reader<'a>,
        text_part: fn(Text<'a>) -> Part<'a>,
        depth: u32,
    ) -> Result<(), Broken> {
        reader.shape();
        let start = reader.place();
        let mut block = Block::default();
        reader.object(|name, reader| self.block_member(&mut block, name, reader))?;
        let json = self.body.get(start..reader.place()).unwrap_or_default();
        let sink = &mut *self.sink;
        match block.kind.as_deref().unwrap_or("text") {
            "text" => block.text.into_iter().for_each(|text| sink(text_part(text))),
            "thinking" => block.thinking.into_iter().for_each(|text| sink(Part::Text(text))),
            "redacted_thinking" => block.data.into_iter().for_each(|text| sink(Part::Text(text))),
            "tool_use" => sink(Part::Call { name: block.name, arguments: block.input.unwrap_or(b"{}") }),
            "tool_result" => {
                (self.sink)(Part::Message(Cow::Borrowed("tool")));
                return block.content.map_or(Ok(()), |mut content| self.content(&mut content, depth - 1));
            }
            "image" => sink(Part::Image(block.source.data)),
            "document" => return self.document(block, depth - 1),
            "container_upload" => sink(Part::ServerState),
            _ => sink(Part::Json(json)),
        }
        Ok(())
    }

    fn block_member(&mut self, block: &mut Block<'a>, name: &str, reader: &mut Reader<'a>) -> Result<(), Broken> {
        match name {
            "type" => block.kind = reader.text()?.map(|kind| kind.decode()),
            "text" => block.text = reader.text()?,
            "thinking" => block.thinking = reader.text()?,
            "data" => block.data = reader.text()?,
            "name" => block.name = reader.text()?,
            "title" | "context" => block.notes.extend(reader.text()?),
            "input" => block.input = Some(reader.raw()?),
            "content" => block.content = Some(reader.clone()),
            "source" => {
                reader.object(|name, reader| {
                    match name {
                        "type" => block.source.kind = reader.text()?.map(|kind| kind.decode()),
                        "data" => block.source.data = reader.text()?,
                        "content" => block.source.content = Some(reader.clone()),
                        _ => {}
                    }
                    Ok(())
                })?;
            }
            "cache_control" => self.cache_control(reader)?,
            _ => {}
        }
        Ok(())
    }

    fn document(&mut self, block: Block<'a>, depth: u32) -> Result<(), Broken> {
        block.notes.into_iter().for_each(|note| (self.sink)(Part::Text(note)));
        match block.source.kind.as_deref() {
            Some("text") => block.source.data.into_iter().for_each(|text| (self.sink)(Part::Text(text))),
            Some("content") => {
                return block.source.content.map_or(Ok(()), |mut content| self.content(&mut content, depth));
            }
            _ => (self.sink)(Part::File(block.source.data)),
        }
        Ok(())
    }

    /// The caller's own tools have a schema; Anthropic's have a dated `type`, and some of them run at Anthropic.
    fn tool(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        const AT_ANTHROPIC: [&str; 6] =
            ["web_search", "web_fetch", "code_execution", "mcp_toolset", "tool_search", "advisor"];
        reader.shape();
        let start = reader.place();
        let mut kind = None;
        reader.object(|name, reader| {
            match name {
                "type" => kind = reader.text()?.map(|kind| kind.decode()),
                "cache_control" => self.cache_control(reader)?,
                _ => {}
            }
            Ok(())
        })?;
        (self.sink)(Part::Tool(self.body.get(start..reader.place()).unwrap_or_default()));
        match kind.as_deref() {
            None | Some("custom") => {}
            Some(kind) if AT_ANTHROPIC.iter().any(|prefix| kind.starts_with(prefix)) => (self.sink)(Part::ServerTools),
            Some(_) => (self.sink)(Part::BuiltInTool),
        }
        Ok(())
    }

    fn thinking(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        let mut on = false;
        reader.object(|name, reader| {
            if name == "type" {
                on = reader.text()?.is_some_and(|kind| kind.raw() != b"disabled");
            }
            Ok(())
        })?;
        if on {
            (self.sink)(Part::Thinking);
        }
        Ok(())
    }

    fn metadata(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.object(|name, reader| {
            if let Some(text) = reader.text()? {
                (self.sink)(Part::Metadata(name.to_owned(), text));
            }
            Ok(())
        })?;
        Ok(())
    }

    fn cache_control(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        let mut kind = Kind::CacheWrite5m;
        let is_object = reader.object(|name, reader| {
            if name == "ttl" && reader.text()?.is_some_and(|ttl| ttl.raw() == b"1h") {
                kind = Kind::CacheWrite1h;
            }
            Ok(())
        })?;
        if is_object {
            (self.sink)(Part::CacheWrite(kind));
        }
        Ok(())
    }

    /// `output_config: {format: {type: "json_schema", schema}}`, or the format itself.
    fn output_format(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.object(|name, reader| match name {
            "format" => self.output_format_schema(reader),
            "schema" => {
                let json = reader.raw()?;
                (self.sink)(Part::Schema(json));
                Ok(())
            }
            _ => Ok(()),
        })?;
        Ok(())
    }

    fn output_format_schema(&mut self, reader: &mut Reader<'a>) -> Result<(), Broken> {
        reader.object(|name, reader| {
            if name == "schema" {
                let json = reader.raw()?;
                (self.sink)(Part::Schema(json));
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// A content block's members, whose order is free.
#[derive(Default)]
struct Block<'a> {
    kind: Option<Cow<'a, str>>,
    text: Option<Text<'a>>,
    thinking: Option<Text<'a>>,
    data: Option<Text<'a>>,
    name: Option<Text<'a>>,
    notes: Vec<Text<'a>>,
    input: Option<&'a [u8]>,
    content: Option<Reader<'a>>,
    source: Source<'a>,
}

/// Where a picture or a document comes from.
#[derive(Default)]
struct Source<'a> {
    kind: Option<Cow<'a, str>>,
    data: Option<Text<'a>>,
    content: Option<Reader<'a>>,
}
