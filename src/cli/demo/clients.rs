//! The clients of the demo: each makes calls one after the other, in another dialect each time, and now and then leaves
//! in the middle of an answer.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;

/// One call of so many is left in the middle.
const LEFT_ONE_OF: u64 = 9;
/// One call of so many is a nightly job's, the others are of the chat.
const NIGHTLY_ONE_OF: u64 = 5;
/// Who asks; people are in the ledger, and in budgets of their own.
const PEOPLE: u64 = 12;
/// So many tokens of the instructions does the simulated provider read from its cache, two times of three.
const CACHED_TOKENS: u64 = 512;
pub const TEAMS: [&str; 3] = ["search", "support", "research"];

/// The clients; they stop when this is dropped.
pub struct Clients(JoinSet<()>);

impl Clients {
    /// Ends when every call was made.
    pub async fn done(&mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Starts `count` clients of the Farebox at `url`, which make `most` calls together.
pub fn start(count: u64, url: &str, made: &Arc<AtomicU64>, most: u64) -> Clients {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let (client, url, made) = (client.clone(), url.to_owned(), Arc::clone(made));
        clients.spawn(async move {
            loop {
                let number = made.fetch_add(1, Ordering::Relaxed);
                if number >= most {
                    made.fetch_sub(1, Ordering::Relaxed);
                    return;
                }
                call(&client, &url, number).await;
            }
        });
    }
    Clients(clients)
}

/// A call that fails is a call too: the provider has its bad moments, and the table shows them.
async fn call(client: &Client<HttpConnector, Full<Bytes>>, url: &str, number: u64) {
    let (path, body) = order(number);
    let team = TEAMS[(number % 3) as usize];
    let request = Request::post(format!("{url}{path}"))
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer sk-demo-{team}"))
        .header("x-farebox-team", team)
        .header("x-farebox-project", if number.is_multiple_of(NIGHTLY_ONE_OF) { "nightly" } else { "chat" })
        .header("x-farebox-user", format!("person-{}", number % PEOPLE))
        .header("x-sim-cached-tokens", (if number.is_multiple_of(3) { 0 } else { CACHED_TOKENS }).to_string())
        .header("x-request-id", format!("demo-{number}"))
        .body(Full::from(body.to_string()));
    let Ok(request) = request else { return };
    let Ok(response) = client.request(request).await else { return };
    let mut body = response.into_body();
    let mut left_after = if number % LEFT_ONE_OF == LEFT_ONE_OF - 1 { 4 } else { u64::MAX };
    while let Some(Ok(_)) = body.frame().await {
        left_after -= 1;
        if left_after == 0 {
            return;
        }
    }
}

/// What the call of this number asks.
fn order(number: u64) -> (&'static str, Value) {
    let question = QUESTIONS[(number / 7 % QUESTIONS.len() as u64) as usize];
    let instructions = INSTRUCTIONS.repeat(INSTRUCTIONS_TIMES);
    let messages = json!([{"role": "system", "content": instructions}, {"role": "user", "content": question}]);
    let asked = json!([{"role": "user", "content": question}]);
    match number % 7 {
        0 => (
            "/v1/chat/completions",
            json!({"model": "gpt-4o", "max_tokens": 400, "stream": true, "messages": messages}),
        ),
        1 => (
            "/anthropic/v1/messages",
            json!({"model": "claude-sonnet-5-5", "max_tokens": 200, "stream": true, "system": instructions, "messages": asked}),
        ),
        2 => ("/v1/chat/completions", json!({"model": "gpt-4o-mini", "max_tokens": 400, "messages": messages})),
        3 => (
            "/gemini/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse",
            json!({
                "systemInstruction": {"parts": [{"text": instructions}]},
                "contents": [{"role": "user", "parts": [{"text": question}]}],
                "generationConfig": {"maxOutputTokens": 400},
            }),
        ),
        4 => (
            "/v1/responses",
            json!({"model": "gpt-5", "instructions": instructions, "input": question, "max_output_tokens": 400, "stream": true}),
        ),
        5 => ("/v1/embeddings", json!({"model": "text-embedding-3-small", "input": question})),
        _ => (
            "/anthropic/v1/messages",
            json!({"model": "claude-haiku-5-5", "max_tokens": 100, "system": instructions, "messages": asked}),
        ),
    }
}

/// As programs have them: long, and the same each time.
const INSTRUCTIONS: &str = "You answer for a trading house with forty branches. Be brief and exact; name the contract, \
    the customer or the parcel that you speak of; never promise a refund; if you do not know, say so and name who does. ";
const INSTRUCTIONS_TIMES: usize = 20;

const QUESTIONS: [&str; 5] = [
    "Which of our contracts end this quarter, and what do they cost us?",
    "Summarise the last support conversation in two sentences.",
    "Write a polite answer to a customer whose parcel is late.",
    "Find the three riskiest changes of this week and say why.",
    "Explain our pricing to somebody who has never seen it.",
];
