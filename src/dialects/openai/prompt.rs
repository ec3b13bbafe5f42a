//! The parts of a request that reach the model, in order. One walk serves both the facts, which want sizes, and the
//! count, which wants texts.

use super::super::json::{Broken, Reader, Shape, Text};
use super::super::{Endpoint, Operation, PromptText};
use crate::tokens::facts::ImageDetail;

/// One part of what a request sends to the model.
pub(super) enum Piece<'a> {
    Message {
        role: Option<Text<'a>>,
    },
    Name(Text<'a>),
    Text(Text<'a>),
    Call {
        name: Option<Text<'a>>,
        arguments: Option<Text<'a>>,
    },
    /// A tool's definition as written; `by_provider`: the provider runs it, and it adds input of its own.
    Tool {
        raw: &'a [u8],
        by_provider: bool,
    },
    /// A JSON schema for the answer.
    Schema {
        raw: &'a [u8],
        is_json_schema: bool,
    },
    /// JSON that we do not know, but the model may see.
    Unknown(&'a [u8]),
    Image {
        picture: Option<Text<'a>>,
        detail: ImageDetail,
    },
    Audio(Option<Text<'a>>),
    File(Option<Text<'a>>),
    TokenIds(u64),
    /// Input that the body does not show: a stored response, a file id, a video.
    Elsewhere,
}

type Sink<'s, 'a> = &'s mut dyn FnMut(Piece<'a>);

/// Hands the texts of a request to `sink`, decoded.
pub fn prompt_texts(endpoint: &Endpoint, body: &[u8], sink: &mut dyn FnMut(PromptText<'_>)) {
    // Elsewhere a text is given to the model bare, without a message around it.
    let has_messages = matches!(endpoint.operation, Operation::Chat | Operation::Responses | Operation::CountTokens);
    let mut each = |piece: Piece<'_>| match piece {
        Piece::Message { .. } if !has_messages => {}
        Piece::Message { role } => sink(PromptText::Message(&role.map_or("user".into(), |role| role.decode()))),
        Piece::Name(name) => sink(PromptText::Name(&name.decode())),
        Piece::Text(text) => text.prompt(sink),
        Piece::Call { name, arguments } => sink(PromptText::ToolCall {
            name: &name.map(|name| name.decode()).unwrap_or_default(),
            arguments: &arguments.map(|arguments| arguments.decode()).unwrap_or_default(),
        }),
        Piece::Tool { raw, .. } | Piece::Schema { raw, .. } => {
            sink(PromptText::Definition(&String::from_utf8_lossy(raw)));
        }
        Piece::Unknown(_)
        | Piece::Image { .. }
        | Piece::Audio(_)
        | Piece::File(_)
        | Piece::TokenIds(_)
        | Piece::Elsewhere => {}
    };
    // What came before a fault was handed out; a request with a fault never gets this far.
    let _ = Reader::new(body).object(|name, value| member(endpoint.operation, name, value, &mut each));
}

/// Reads a top-level member, if it is one that reaches the model; else leaves it.
pub(super) fn member<'a>(
    operation: Operation,
    name: &str,
    value: &mut Reader<'a>,
    sink: Sink<'_, 'a>,
) -> Result<(), Broken> {
    match (operation, name) {
        (Operation::Chat, "messages") | (Operation::Responses | Operation::CountTokens, "input") => {
            messages(value, sink)
        }
        (Operation::Chat | Operation::Responses | Operation::CountTokens, "tools" | "functions") => {
            value.array(|tool| read_tool(tool, sink)).map(drop)
        }
        (Operation::Responses | Operation::CountTokens, "instructions") | (Operation::Completion, "system") => {
            if value.shape() != Shape::Text {
                return messages(value, sink);
            }
            sink(Piece::Message { role: Some(SYSTEM) });
            content(value, sink)
        }
        (Operation::Chat | Operation::Completion, "response_format" | "format") => schema(value, sink),
        (Operation::Responses | Operation::CountTokens, "text") => object(value, |name, value| match name {
            "format" => schema(value, sink),
            _ => Ok(()),
        }),
        (Operation::Chat, "prediction") => object(value, |name, value| match name {
            "content" => content(value, sink),
            _ => Ok(()),
        }),
        (Operation::Completion, "prompt" | "suffix" | "template" | "context" | "input_prefix" | "input_suffix")
        | (Operation::Embeddings | Operation::Moderation, "input" | "prompt" | "texts")
        | (Operation::Images, "prompt")
        | (Operation::Speech, "input" | "instructions")
        | (Operation::Rerank, "query" | "documents" | "texts") => texts(value, sink),
        (Operation::Images | Operation::Completion, "images" | "image" | "mask") => pictures(value, sink),
        _ => Ok(()),
    }
}

/// `system` as a role that no body spells out.
const SYSTEM: Text<'static> = Text::literal("system");
const USER: Text<'static> = Text::literal("user");

/// Messages of a chat, items of a response, or one string.
fn messages<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    if value.shape() != Shape::Array {
        if value.shape() == Shape::Text {
            sink(Piece::Message { role: Some(USER) });
        }
        return content(value, sink);
    }
    value.array(|item| message(item, sink)).map(drop)
}

fn message<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    if value.shape() != Shape::Object {
        return content(value, sink);
    }
    sink(Piece::Message { role: first_text(value.clone(), "role") });
    let (mut kind, mut name_of, mut arguments, mut result) = (None, None, None, None);
    value.object(|name, value| {
        match name {
            "type" => kind = value.text()?,
            "content" | "output" | "summary" | "refusal" | "reasoning_content" | "reasoning" | "thinking"
            | "encrypted_content" | "input" => content(value, sink)?,
            "name" => name_of = value.text()?,
            "arguments" => arguments = value.text()?,
            "result" => result = value.text()?,
            "tool_calls" => _ = value.array(|call| tool_call(call, sink))?,
            "function_call" => tool_call(value, sink)?,
            "images" => pictures(value, sink)?,
            // An earlier spoken answer, by its id.
            "audio" if value.shape() == Shape::Object => sink(Piece::Elsewhere),
            "role" | "id" | "status" | "call_id" | "tool_call_id" | "phase" | "logprobs" | "annotations" => {}
            _ if matches!(value.shape(), Shape::Object | Shape::Array | Shape::Text) => {
                sink(Piece::Unknown(value.raw()?));
            }
            _ => {}
        }
        Ok(())
    })?;
    match (name_of, arguments) {
        (name, Some(arguments)) => sink(Piece::Call { name, arguments: Some(arguments) }),
        (Some(name), None) => sink(Piece::Name(name)),
        (None, None) => {}
    }
    match kind.map(|kind| kind.raw()) {
        Some(b"item_reference" | b"compaction") => sink(Piece::Elsewhere),
        Some(b"image_generation_call") => sink(Piece::Image { picture: result, detail: ImageDetail::Auto }),
        _ => result.into_iter().for_each(|result| sink(Piece::Text(result))),
    }
    Ok(())
}

/// `{id, type, function: {name, arguments}}`, or the inner object alone (`function_call`).
fn tool_call<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    let (mut name_of, mut arguments) = (None, None);
    object(value, |name, value| match name {
        "function" | "custom" => {
            object(value, |name, value| call_member(name, value, &mut name_of, &mut arguments, sink))
        }
        _ => call_member(name, value, &mut name_of, &mut arguments, sink),
    })?;
    sink(Piece::Call { name: name_of, arguments });
    Ok(())
}

fn call_member<'a>(
    name: &str,
    value: &mut Reader<'a>,
    name_of: &mut Option<Text<'a>>,
    arguments: &mut Option<Text<'a>>,
    sink: Sink<'_, 'a>,
) -> Result<(), Broken> {
    match (name, value.shape()) {
        ("name", _) => *name_of = value.text()?,
        ("arguments" | "input", Shape::Text) => *arguments = value.text()?,
        // Ollama writes them as an object.
        ("arguments" | "input", _) => sink(Piece::Unknown(value.raw()?)),
        _ => {}
    }
    Ok(())
}

/// A message's content: a string, parts, or one part.
fn content<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    match value.shape() {
        Shape::Text => value.text().map(|text| text.into_iter().for_each(|text| sink(Piece::Text(text)))),
        Shape::Array => value.array(|part| content(part, sink)).map(drop),
        Shape::Object => part(value, sink),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Part<'a> {
    kind: Option<Text<'a>>,
    detail: ImageDetail,
    picture: Option<Text<'a>>,
    file: Option<Text<'a>>,
    is_file: bool,
    elsewhere: bool,
}

fn part<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    let mut seen = Part::default();
    value.object(|name, value| part_member(name, value, &mut seen, sink))?;
    let kind = seen.kind.map(|kind| kind.raw()).unwrap_or_default();
    if seen.picture.is_some() || memchr::memmem::find(kind, b"image").is_some() {
        sink(Piece::Image { picture: seen.picture, detail: seen.detail });
    } else if seen.is_file {
        sink(Piece::File(seen.file));
    }
    if seen.elsewhere {
        sink(Piece::Elsewhere);
    }
    Ok(())
}

fn part_member<'a>(name: &str, value: &mut Reader<'a>, seen: &mut Part<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    match (name, value.shape()) {
        ("type", _) => seen.kind = value.text()?,
        ("text" | "refusal", Shape::Text) => content(value, sink)?,
        ("thinking" | "content" | "summary", _) => content(value, sink)?,
        ("image_url" | "image", Shape::Text) | ("url", Shape::Text) => seen.picture = value.text()?,
        ("image_url" | "file", Shape::Object) => {
            seen.is_file |= name == "file";
            value.object(|name, value| part_member(name, value, seen, sink))?;
        }
        ("detail", _) => seen.detail = detail(value.text()?),
        ("input_audio" | "audio", Shape::Object) => {
            let mut sound = None;
            object(value, |name, value| {
                if name == "data" {
                    sound = value.text()?;
                }
                Ok(())
            })?;
            sink(Piece::Audio(sound));
        }
        ("file_data", Shape::Text) => {
            seen.is_file = true;
            seen.file = value.text()?;
        }
        ("file_id" | "file_url", Shape::Text) => {
            seen.is_file = true;
            seen.elsewhere = true;
        }
        ("video_url" | "video" | "input_video" | "audio_url", Shape::Object | Shape::Text) => seen.elsewhere = true,
        ("annotations" | "logprobs" | "cache_control" | "filename" | "id", _) => {}
        (_, Shape::Object | Shape::Array | Shape::Text) => sink(Piece::Unknown(value.raw()?)),
        _ => {}
    }
    Ok(())
}

fn detail(text: Option<Text<'_>>) -> ImageDetail {
    match text.map(|text| text.raw()) {
        Some(b"low") => ImageDetail::Low,
        Some(b"high") => ImageDetail::High,
        Some(b"original") => ImageDetail::Original,
        _ => ImageDetail::Auto,
    }
}

fn read_tool<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    let kind = first_text(value.clone(), "type").map(|kind| kind.raw());
    let by_caller: [&[u8]; 5] = [b"function", b"custom", b"local_shell", b"apply_patch", b"namespace"];
    let by_provider = kind.is_some_and(|kind| !by_caller.contains(&kind));
    sink(Piece::Tool { raw: value.raw()?, by_provider });
    Ok(())
}

fn schema<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    if value.shape() != Shape::Object {
        return Ok(());
    }
    // Ollama's `format` is the schema itself, whose type is `object`.
    let kind = first_text(value.clone(), "type").map(|kind| kind.raw());
    let is_json_schema = matches!(kind, Some(b"json_schema" | b"object"));
    if !matches!(kind, Some(b"text" | b"json_object")) {
        sink(Piece::Schema { raw: value.raw()?, is_json_schema });
    }
    Ok(())
}

/// A string, strings, token ids, lists of token ids, or parts. Each top-level string or list is a message of its own.
fn texts<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    let mut ids = 0;
    match value.shape() {
        Shape::Array => _ = value.array(|element| one_text(element, &mut ids, sink))?,
        _ => one_text(value, &mut ids, sink)?,
    }
    if ids > 0 {
        sink(Piece::Message { role: None });
        sink(Piece::TokenIds(ids));
    }
    Ok(())
}

fn one_text<'a>(value: &mut Reader<'a>, ids: &mut u64, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    match value.shape() {
        Shape::Number => {
            *ids += 1;
            value.skip().map(drop)
        }
        Shape::Array => {
            let mut inner = 0;
            value.array(|element| {
                if element.shape() == Shape::Number {
                    inner += 1;
                    return element.skip().map(drop);
                }
                content(element, sink)
            })?;
            if inner > 0 {
                sink(Piece::Message { role: None });
                sink(Piece::TokenIds(inner));
            }
            Ok(())
        }
        Shape::Text | Shape::Object => {
            sink(Piece::Message { role: None });
            content(value, sink)
        }
        _ => Ok(()),
    }
}

/// Pictures as base64, links, or `{image_url}`.
fn pictures<'a>(value: &mut Reader<'a>, sink: Sink<'_, 'a>) -> Result<(), Broken> {
    match value.shape() {
        Shape::Text => {
            sink(Piece::Image { picture: value.text()?, detail: ImageDetail::Auto });
            Ok(())
        }
        Shape::Array => value.array(|picture| pictures(picture, sink)).map(drop),
        Shape::Object => part(value, sink),
        _ => Ok(()),
    }
}

fn object<'a>(
    value: &mut Reader<'a>,
    member: impl FnMut(&str, &mut Reader<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    value.object(member).map(drop)
}

/// The first string member of this name, looked up ahead of reading: it mostly is the first member.
fn first_text<'a>(mut ahead: Reader<'a>, wanted: &str) -> Option<Text<'a>> {
    let mut found = None;
    let _ = ahead.object(|name, value| {
        if name == wanted {
            found = value.text()?;
            return Err(value.broken("no more"));
        }
        Ok(())
    });
    found
}
