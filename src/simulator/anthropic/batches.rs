//! `/v1/messages/batches`: begun, looked at, and its results as lines (Anthropic API reference, "Message Batches").

use crate::simulator::answer::id_of;
use crate::simulator::json::{null, object, text};
use crate::simulator::reply::{Call, Reply};
use crate::simulator::shelf::Thing;

/// A batch has ended when it is looked at for the second time. Its results are of two models, and of one failure.
pub fn reply(call: &Call<'_>, rest: &str) -> Reply {
    let (id, action) = rest.split_once('/').unwrap_or((rest, ""));
    let missing = || super::error(404, "batch: Not found");
    match (call.method, id, action) {
        ("POST", "", _) => {
            let id = format!("msgbatch_sim{}", id_of(call.wishes, call.occasion));
            let (pending, done) = (batch(&id, "in_progress"), batch(&id, "ended"));
            call.shelf.put(Thing { id, pending: pending.clone(), done, ..Thing::default() });
            Reply::json("batches", pending)
        }
        ("GET", id, "results") => {
            call.shelf.look(id).map_or_else(missing, |_| Reply::bytes("batches", "application/x-jsonl", results()))
        }
        ("GET", id, "") => call.shelf.look(id).map_or_else(missing, |thing| {
            Reply::json("batches", if thing.looks == 0 { thing.pending } else { thing.done })
        }),
        _ => missing(),
    }
}

fn batch(id: &str, status: &str) -> String {
    let results = match status {
        "ended" => text(&format!("https://api.anthropic.com/v1/messages/batches/{id}/results")),
        _ => null(),
    };
    object([
        ("id", text(id)),
        ("type", text("message_batch")),
        ("processing_status", text(status)),
        ("results_url", results),
    ])
}

fn results() -> String {
    let line = |name: &str, model: &str, input: u64, output: u64| {
        let usage = object([
            ("input_tokens", input.to_string()),
            ("output_tokens", output.to_string()),
            ("service_tier", text("batch")),
        ]);
        let message =
            object([("type", text("message")), ("model", text(model)), ("content", "[]".into()), ("usage", usage)]);
        let result = object([("type", text("succeeded")), ("message", message)]);
        object([("custom_id", text(name)), ("result", result)])
    };
    let failed = object([("custom_id", text("d")), ("result", object([("type", text("expired"))]))]);
    [
        line("a", "claude-sonnet-5-5", 100, 10),
        line("b", "claude-haiku-5-5", 200, 20),
        line("c", "claude-sonnet-5-5", 300, 30),
        failed,
    ]
    .map(|line| line + "\n")
    .concat()
}
