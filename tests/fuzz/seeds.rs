//! Where fuzzing begins: the goldens, the shipped files and examples, and a few of our own.

use std::path::{Path, PathBuf};

/// The seeds of a target.
pub fn of(target: &str, root: &Path) -> Vec<Vec<u8>> {
    match target {
        "sse" | "filters" => headed(&goldens(root, &["response.sse"]), 5),
        "responses" => headed(&goldens(root, &["response.sse", "response.json", "response.ndjson"]), 5),
        "json" => goldens(root, &["response.json", "request.json"]).into_iter().chain(plain(&JSON)).collect(),
        "requests" | "splice" | "bounds" => {
            let mut bodies = goldens(root, &["request.json"]);
            bodies.extend(plain(&BODIES));
            headed(&bodies, 15)
        }
        "rules" => files_of(&root.join("rules"), "yaml"),
        "config" => {
            let mut files = files_of(&root.join("config"), "yaml");
            files.retain(|text| !text.starts_with(b"# The shipped catalog") && text.len() < 40_000);
            files.extend(plain(&["providers: [{name: openai, key: 'env:MINE'}]\nlisten: 127.0.0.1:1\n"]));
            files
        }
        "catalog" => headed(&plain(&CATALOGUES), 3),
        "journal" => headed(&journals(), 2),
        "heads" => headed(&plain(&HEADS), 1),
        other => panic!("no seeds of {other}"),
    }
}

/// Each with the two bytes before it that choose: every variant up to so many.
fn headed(bodies: &[Vec<u8>], variants: u8) -> Vec<Vec<u8>> {
    let head = |(nth, body): (usize, &Vec<u8>)| {
        let variant = (nth % usize::from(variants)) as u8;
        // All framings and encodings come up among the seeds.
        let cut = (nth * 37 % 256) as u8;
        [&[variant, cut], body.as_slice()].concat()
    };
    bodies.iter().enumerate().map(head).collect()
}

fn plain(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn goldens(root: &Path, names: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for dialect in ["openai", "anthropic", "gemini"] {
        for folder in sorted(&root.join("tests/golden").join(dialect)) {
            found.extend(names.iter().filter_map(|name| std::fs::read(folder.join(name)).ok()));
        }
    }
    assert!(found.len() > 5, "{names:?}");
    found
}

fn files_of(folder: &Path, extension: &str) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for path in sorted(folder) {
        if path.is_dir() {
            found.extend(files_of(&path, extension));
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(std::fs::read(path).unwrap());
        }
    }
    found
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Records of every kind: bytes of a zeroed segment, and payloads for true checksums.
fn journals() -> Vec<Vec<u8>> {
    let records: Vec<(u8, &[u8])> =
        vec![(4, &[9, 1]), (2, &[7, 5, 3]), (1, &[0; 60]), (3, &[1; 90]), (5, &[7, 1, 7, 0, 9])];
    let sealed = farebox::ledger::segments::sealed(&records, 1, 3);
    let listed: Vec<u8> =
        records.iter().flat_map(|(kind, payload)| [&[*kind, payload.len() as u8], *payload].concat()).collect();
    vec![[sealed, vec![0; 40]].concat(), listed]
}

const JSON: [&str; 6] = [
    r#"{"a":[1,-2.5e3,"\u00e9\ud83d\ude00\n",{"b":null,"b":true}],"":{}}"#,
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    r#""plain""#,
    " 1e3 ",
    r#"{"long":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"aaaaaaaaaaaaaaa\\aaaaaaaaa"}"#,
    "{}",
];

const BODIES: [&str; 15] = [
    r#"{"model":"gpt-4o","messages":[{"role":"system","content":"Be."},{"role":"user","content":[{"type":"text","text":"Hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"}}]}],"max_tokens":5,"stream":true,"stream_options":{"include_usage":false},"temperature":1,"user":"bob"}"#,
    r#"{"model":"gpt-5","instructions":"Be.","input":[{"role":"user","content":[{"type":"input_text","text":"Hi"}]}],"tools":[{"type":"web_search"},{"type":"function","name":"f","parameters":{"type":"object","properties":{"p":{"type":"integer"}}}}],"max_output_tokens":9,"background":true,"previous_response_id":"r"}"#,
    r#"{"model":"gpt-3.5-turbo-instruct","prompt":["a","b"],"best_of":2,"n":2,"max_tokens":3}"#,
    r#"{"model":"claude-sonnet-5-5","max_tokens":5,"system":[{"type":"text","text":"Be.","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{"a":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"x"}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"metadata":{"user_id":"u"}}"#,
    r#"{"contents":[{"role":"user","parts":[{"text":"Hi"},{"inlineData":{"mimeType":"audio/wav","data":"UklGRg=="}}]}],"generationConfig":{"maxOutputTokens":7,"candidateCount":2},"systemInstruction":{"parts":[{"text":"Be."}]},"tools":[{"googleSearch":{}}]}"#,
    r#"{"model":"text-embedding-3-small","input":[[1,2,3],[4]]}"#,
    r#"{"model":"gpt-image-1","prompt":"a cat","n":2,"size":"1024x1024","quality":"high"}"#,
    r#"{"model":"tts-1","input":"Say it.","voice":"alloy"}"#,
    r#"{"model":"omni-moderation-latest","input":[{"type":"text","text":"Hi"}]}"#,
    r#"{"model":"rerank-v3","query":"q","documents":["a",{"text":"b"}]}"#,
    r#"{"model":"llama3","messages":[{"role":"user","content":"Hi","images":["iVBORw0KGgo="]}],"options":{"num_predict":4},"stream":false}"#,
    r#"{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"Hi"}]}"#,
    r#"{"requests":[{"custom_id":"a","params":{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}}]}"#,
    r#"{"contents":[{"parts":[{"functionCall":{"name":"f","args":{"a":[1,2]}}},{"functionResponse":{"name":"f","response":{"r":"x"}}}]}],"generationConfig":{}}"#,
    r#"{"content":{"parts":[{"text":"Hi"}]}}"#,
];

const CATALOGUES: [&str; 3] = [
    r#"{"sample_spec":{"mode":"chat"},"gpt-4o":{"litellm_provider":"openai","mode":"chat","input_cost_per_token":2.5e-06,"output_cost_per_token":1e-05,"cache_read_input_token_cost":1.25e-06,"input_cost_per_token_above_200k_tokens":5e-06,"max_input_tokens":128000,"max_output_tokens":16384,"supports_vision":true},"xai/grok-4":{"litellm_provider":"xai","mode":"chat","input_cost_per_token":0,"output_cost_per_token":0.000015}}"#,
    r#"[{"id":"openai","name":"OpenAI","models":[{"id":"gpt-4o","match":{"or":[{"equals":"gpt-4o"},{"starts_with":"gpt-4o-"}]},"context_window":128000,"prices":{"input_mtok":2.5,"output_mtok":10,"cache_read_mtok":{"base":1.25,"tiers":[{"start":200000,"price":2.5}]}}}]}]"#,
    "version: 1\nmodels:\n  openai:\n    gpt-4o:\n      rates:\n        - from: 2026-01-01\n          per: 1M tokens\n          input: \"2.5\"\n          output: \"10\"\n",
];

const HEADS: [&str; 8] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabcde",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nx-sum: 1\r\n\r\nHTTP/1.1",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.0 200 OK\r\nx-long: a\r\n b\r\n\r\nto the end",
    "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\ncontent-length: 2\r\nconnection: close\r\n\r\nab",
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\u{1}\u{2}",
    "HTTP/1.1 502 Bad Gateway\r\ntransfer-encoding: gzip, chunked\r\n\r\nffffffffffffffff\r\n",
];
