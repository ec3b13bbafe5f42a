//! `models/{model}:batchGenerateContent`: begun, looked at, and its results inline or in a file, as its requests were
//! (Gemini API reference, "Batch API").

use crate::simulator::answer::id_of;
use crate::simulator::json::{array, object, text, with_member};
use crate::simulator::reply::{Call, Reply};
use crate::simulator::shelf::Thing;

/// What every batch turns out to have used: input and output tokens of its two responses.
const USED: [(u64, u64); 2] = [(100, 10), (200, 20)];

/// A batch is done when it is looked at for the second time.
pub fn begin(call: &Call<'_>, model: &str) -> Reply {
    let id = id_of(call.wishes, call.occasion);
    let name = format!("batches/sim{id}");
    let has_file = call.json.pointer("/batch/inputConfig/fileName").is_some();
    let responses = USED.map(|used| object([("response", response(model, used))]));
    let results = match has_file {
        true => {
            let file = format!("files/sim{id}");
            let lines = responses.map(|line| with_member(line, "key", &text("a")) + "\n").concat();
            call.shelf.put(Thing { id: file.clone(), pending: lines.clone(), done: lines, ..Thing::default() });
            object([("responsesFile", text(&file))])
        }
        false => object([("inlinedResponses", object([("inlinedResponses", array(responses))]))]),
    };
    let pending = operation(&name, model, None);
    let done = operation(&name, model, Some(&results));
    call.shelf.put(Thing { id: name, pending: pending.clone(), done, ..Thing::default() });
    Reply::json("batches", pending)
}

/// `GET batches/{id}`, and `GET files/{id}:download`, which says only that it is bytes.
pub fn stored(call: &Call<'_>) -> Reply {
    let name = ["batches/", "files/"].into_iter().find_map(|kind| call.path.find(kind)).map(|at| &call.path[at..]);
    let missing = || super::error(404, "Requested entity was not found.");
    let (Some(name), "GET") = (name, call.method) else { return missing() };
    match name.strip_suffix(":download") {
        Some(file) => call
            .shelf
            .look(file)
            .map_or_else(missing, |thing| Reply::bytes("files", "application/octet-stream", thing.done)),
        None => call.shelf.look(name).map_or_else(missing, |thing| {
            Reply::json("batches", if thing.looks == 0 { thing.pending } else { thing.done })
        }),
    }
}

/// Google says the results twice: in the metadata and as the operation's response.
fn operation(name: &str, model: &str, results: Option<&str>) -> String {
    let state = if results.is_some() { "BATCH_STATE_SUCCEEDED" } else { "BATCH_STATE_PENDING" };
    let kind = ("@type", text("type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"));
    let model = ("model", text(&format!("models/{model}")));
    let mut metadata = object([kind, model, ("name", text(name)), ("state", text(state))]);
    let Some(results) = results else { return object([("name", text(name)), ("metadata", metadata)]) };
    metadata = with_member(metadata, "output", results);
    object([
        ("name", text(name)),
        ("metadata", metadata),
        ("done", "true".to_owned()),
        ("response", results.to_owned()),
    ])
}

fn response(model: &str, (input, output): (u64, u64)) -> String {
    let part = object([("text", text("Done."))]);
    let content = object([("parts", array([part])), ("role", text("model"))]);
    let candidate = object([("content", content), ("finishReason", text("STOP"))]);
    let used = object([
        ("promptTokenCount", input.to_string()),
        ("candidatesTokenCount", output.to_string()),
        ("totalTokenCount", (input + output).to_string()),
    ]);
    object([("candidates", array([candidate])), ("usageMetadata", used), ("modelVersion", text(model))])
}
