//! `/v1/models`, `/v1/moderations`, `/v1/files`, `/v1/batches`: what is listed, kept and looked up.

use crate::simulator::answer::{created_at, id_of};
use crate::simulator::json::{array, null, object, text};
use crate::simulator::reply::{Call, Reply};
use crate::simulator::shelf::Thing;

const MODELS: [&str; 8] =
    ["gpt-4o", "gpt-4o-mini", "gpt-5", "gpt-6.1-sol", "o3", "text-embedding-3-small", "gpt-image-1", "whisper-1"];

/// What every batch turns out to have been of.
const BATCH_MODEL: &str = "gpt-4o-mini";

pub fn models(path: &str) -> Reply {
    let model = |id: &str| {
        let owner = text("simulator");
        object([("id", text(id)), ("object", text("model")), ("created", "1790000000".into()), ("owned_by", owner)])
    };
    match path.strip_prefix("/v1/models/") {
        Some(id) => Reply::json("models", model(id)),
        None => {
            let all = array(MODELS.into_iter().map(model));
            Reply::json("models", object([("object", text("list")), ("data", all)]))
        }
    }
}

pub fn moderation(call: &Call<'_>) -> Reply {
    let result = object([
        ("flagged", "false".into()),
        ("categories", object([("violence", "false".into())])),
        ("category_scores", object([("violence", "0.001".into())])),
    ]);
    let body = object([
        ("id", text(&format!("modr-sim{}", id_of(call.wishes, call.occasion)))),
        ("model", text(call.text("model").unwrap_or("omni-moderation-latest"))),
        ("results", array([result])),
    ]);
    Reply::json("moderation", body)
}

pub fn files(call: &Call<'_>, rest: &str) -> Reply {
    match (call.method, rest) {
        ("POST", "") => {
            let id = format!("file-sim{}", id_of(call.wishes, call.occasion));
            let shown = object([
                ("id", text(&id)),
                ("object", text("file")),
                ("bytes", call.body.len().to_string()),
                ("created_at", created_at(call.wishes, call.occasion).to_string()),
                ("filename", text("upload.jsonl")),
                ("purpose", text(&call.form_field("purpose").unwrap_or_else(|| "batch".to_owned()))),
                ("status", text("processed")),
            ]);
            call.shelf.put(Thing { id, pending: shown.clone(), done: shown.clone(), ..Thing::default() });
            Reply::json("files", shown)
        }
        _ => kept(call, "files", "file-", rest),
    }
}

/// A batch is under way when it is first looked at, and done with its usage after that.
pub fn batches(call: &Call<'_>, rest: &str) -> Reply {
    if (call.method, rest) != ("POST", "") {
        return kept(call, "batches", "batch_", rest);
    }
    let id = format!("batch_sim{}", id_of(call.wishes, call.occasion));
    let batch = |status: &str, model: String, usage: String| {
        object([
            ("id", text(&id)),
            ("object", text("batch")),
            ("endpoint", text(call.text("endpoint").unwrap_or("/v1/chat/completions"))),
            ("errors", null()),
            ("input_file_id", text(call.text("input_file_id").unwrap_or_default())),
            ("completion_window", text("24h")),
            ("status", text(status)),
            ("output_file_id", null()),
            ("created_at", created_at(call.wishes, call.occasion).to_string()),
            ("request_counts", object([("total", "2".into()), ("completed", "2".into()), ("failed", "0".into())])),
            ("model", model),
            ("usage", usage),
            ("metadata", null()),
        ])
    };
    let used = object([
        ("input_tokens", "200".into()),
        ("input_tokens_details", object([("cached_tokens", "0".into())])),
        ("output_tokens", "40".into()),
        ("output_tokens_details", object([("reasoning_tokens", "0".into())])),
        ("total_tokens", "240".into()),
    ]);
    let used = if call.wishes.hide_usage { null() } else { used };
    let (pending, done) = (batch("in_progress", null(), null()), batch("completed", text(BATCH_MODEL), used));
    call.shelf.put(Thing { id: id.clone(), pending, done, ..Thing::default() });
    Reply::json("batches", batch("validating", null(), null()))
}

fn kept(call: &Call<'_>, operation: &'static str, prefix: &str, rest: &str) -> Reply {
    let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
    let found = match (call.method, id, action) {
        ("GET", "", _) => Some(super::list(call.shelf.all(prefix).into_iter().map(|thing| thing.done))),
        ("GET", id, "content") => call.shelf.look(id).map(|_| "{}\n".to_owned()),
        ("GET", id, _) => call.shelf.look(id).map(|thing| if thing.looks == 0 { thing.pending } else { thing.done }),
        ("POST", id, "cancel") => {
            call.shelf.look(id).map(|thing| thing.pending.replacen("in_progress", "cancelling", 1))
        }
        ("DELETE", id, _) => {
            let gone = object([("id", text(id)), ("object", text("file")), ("deleted", "true".into())]);
            call.shelf.take(id).map(|_| gone)
        }
        _ => None,
    };
    match found {
        Some(body) => Reply::json(operation, body),
        None => super::error(404, &format!("No such object: {id}"), Some("id")),
    }
}
