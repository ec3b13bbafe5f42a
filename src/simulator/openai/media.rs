//! Images and audio: bytes that are no picture and no sound, but of the right kind, with usage where OpenAI reports it.

use crate::simulator::json::{array, object, text, with_member};
use crate::simulator::reply::{Call, Reply, event};
use crate::simulator::seen::Usage;
use crate::simulator::sending::Chunk;
use crate::simulator::words::{count, text_of, tokens_of, words};

/// A PNG of one transparent pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
/// Of one image of `gpt-image-1`, medium, 1024×1024 (OpenAI's pricing page, 2026-11).
const IMAGE_TOKENS: u64 = 1056;
const TRANSCRIPT_SECONDS: u64 = 7;

pub fn images(call: &Call<'_>, deployment: Option<&str>) -> Reply {
    let model = call.text("model").map(str::to_owned).or_else(|| call.form_field("model"));
    let model = model.or_else(|| deployment.map(str::to_owned)).unwrap_or_else(|| "dall-e-2".to_owned());
    let prompt = call.text("prompt").map(str::to_owned).or_else(|| call.form_field("prompt")).unwrap_or_default();
    let images = call.number("n").unwrap_or(1).clamp(1, 10);
    let created = crate::simulator::answer::created_at(call.wishes, call.occasion).to_string();
    if model.starts_with("dall-e") {
        let url = object([("url", text("https://example.com/simulated.png"))]);
        let all = array((0..images).map(|_| url.clone()));
        return Reply::json("images", object([("created", created), ("data", all)])).of_model(&model);
    }
    let usage = Usage {
        input_tokens: count(&prompt),
        output_tokens: wished_tokens(call, IMAGE_TOKENS) * images,
        ..Usage::default()
    };
    let used = image_usage(&usage);
    let reply = if call.flag("stream") {
        let mut chunks = Vec::new();
        for kind in ["image_generation.partial_image", "image_generation.completed"] {
            let mut json = object([("type", text(kind)), ("b64_json", text(PNG)), ("created_at", created.clone())]);
            let last = kind.ends_with("completed");
            if last && !call.wishes.hide_usage {
                json = with_member(json, "usage", &used);
            }
            chunks.push(Chunk::content(event(kind, &json), if last { usage.output_tokens } else { 0 }));
        }
        Reply::events("images", chunks)
    } else {
        let picture = object([("b64_json", text(PNG))]);
        let mut body = object([("created", created), ("data", array((0..images).map(|_| picture.clone())))]);
        if !call.wishes.hide_usage {
            body = with_member(body, "usage", &used);
        }
        Reply::json("images", body)
    };
    reply.of_model(&model).using(usage)
}

pub fn speech(call: &Call<'_>, deployment: Option<&str>) -> Reply {
    let model = call.text("model").or(deployment).unwrap_or("tts-1");
    let input = call.text("input").unwrap_or_default();
    let usage = Usage { input_tokens: count(input), output_tokens: count(input) * 20, ..Usage::default() };
    let sound: Vec<u8> = input.bytes().cycle().take(input.len() * 64).map(|byte| byte ^ 0x55).collect();
    if call.text("stream_format") == Some("sse") {
        let delta = object([("type", text("speech.audio.delta")), ("audio", text("//uQxAAA"))]);
        let used = object([
            ("input_tokens", usage.input_tokens.to_string()),
            ("output_tokens", usage.output_tokens.to_string()),
            ("total_tokens", (usage.input_tokens + usage.output_tokens).to_string()),
        ]);
        let done = object([("type", text("speech.audio.done")), ("usage", used)]);
        let chunks = vec![
            Chunk::content(event("speech.audio.delta", &delta), usage.output_tokens),
            Chunk::frame(event("speech.audio.done", &done)),
        ];
        return Reply::events("speech", chunks).of_model(model).using(usage);
    }
    Reply::bytes("speech", "audio/mpeg", sound).of_model(model).using(usage)
}

/// `whisper-1` is billed by the second, the others by tokens.
pub fn transcription(call: &Call<'_>, deployment: Option<&str>) -> Reply {
    let model = call.form_field("model").or_else(|| deployment.map(str::to_owned)).unwrap_or_default();
    if model.is_empty() {
        return super::error(400, "you must provide a model parameter", Some("model"));
    }
    let said = words(call.wishes.seed.unwrap_or(3), wished_tokens(call, 12));
    let usage = Usage { input_tokens: TRANSCRIPT_SECONDS * 10, output_tokens: tokens_of(&said), ..Usage::default() };
    let used = if model.starts_with("whisper") {
        object([("type", text("duration")), ("seconds", TRANSCRIPT_SECONDS.to_string())])
    } else {
        let kinds = [("text_tokens", "0".to_owned()), ("audio_tokens", usage.input_tokens.to_string())];
        object([
            ("type", text("tokens")),
            ("total_tokens", (usage.input_tokens + usage.output_tokens).to_string()),
            ("input_tokens", usage.input_tokens.to_string()),
            ("input_token_details", object(kinds)),
            ("output_tokens", usage.output_tokens.to_string()),
        ])
    };
    let whole = text_of(&said);
    let reply = if call.form_field("stream").as_deref() == Some("true") {
        let mut chunks = Vec::new();
        for piece in &said {
            let json = object([("type", text("transcript.text.delta")), ("delta", text(&piece.text))]);
            chunks.push(Chunk::content(event("transcript.text.delta", &json), piece.tokens));
        }
        let done = object([("type", text("transcript.text.done")), ("text", text(&whole)), ("usage", used)]);
        chunks.push(Chunk::frame(event("transcript.text.done", &done)));
        Reply::events("transcription", chunks)
    } else {
        Reply::json("transcription", object([("text", text(&whole)), ("usage", used)]))
    };
    reply.of_model(&model).using(usage)
}

fn wished_tokens(call: &Call<'_>, otherwise: u64) -> u64 {
    call.wishes.output_tokens.unwrap_or(otherwise)
}

fn image_usage(usage: &Usage) -> String {
    let input = [("text_tokens", usage.input_tokens.to_string()), ("image_tokens", "0".to_owned())];
    object([
        ("total_tokens", (usage.input_tokens + usage.output_tokens).to_string()),
        ("input_tokens", usage.input_tokens.to_string()),
        ("output_tokens", usage.output_tokens.to_string()),
        ("input_tokens_details", object(input)),
    ])
}
