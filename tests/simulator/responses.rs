//! OpenAI's Responses, and its endpoints beside the chats.

use crate::support::{Answered, asking, simulator};
use farebox::simulator::Running;
use serde_json::{Value, json};

async fn respond(simulator: &Running, more: Value) -> Answered {
    let mut body = json!({"model": "gpt-5", "input": "Say something."});
    body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let asking = asking("POST", &format!("{}/v1/responses", simulator.url())).json(&body);
    asking.wishing("output-tokens", 3).wishing("reasoning-tokens", 2).answered().await
}

#[tokio::test]
async fn a_response_has_its_reasoning_and_its_usage() {
    let simulator = simulator().await;
    let said = respond(&simulator, json!({})).await.json();
    assert_eq!(
        (&said["status"], &said["output"][0]["type"], &said["output"][1]["type"]),
        (&json!("completed"), &json!("reasoning"), &json!("message"))
    );
    assert_eq!(said["usage"]["output_tokens"], 5);
    assert_eq!(said["usage"]["output_tokens_details"]["reasoning_tokens"], 2);
}

#[tokio::test]
async fn the_events_of_a_stream_are_numbered_and_end_with_the_whole_response() {
    let simulator = simulator().await;
    let streamed = respond(&simulator, json!({"stream": true})).await;
    let events = streamed.events();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta").count();
    let last = events.last().unwrap();
    assert_eq!((deltas, &last["type"]), (3, &json!("response.completed")));
    assert_eq!(last["response"]["usage"]["output_tokens"], 5);
}

#[tokio::test]
async fn a_background_response_is_under_way_when_first_looked_at_and_done_after() {
    let simulator = simulator().await;
    let queued = respond(&simulator, json!({"background": true})).await.json();
    assert_eq!((&queued["status"], &queued["usage"]), (&json!("queued"), &Value::Null));
    let url = format!("{}/v1/responses/{}", simulator.url(), queued["id"].as_str().unwrap());
    let look = || asking("GET", &url).answered();
    assert_eq!(look().await.json()["status"], "in_progress");
    let done = look().await.json();
    assert_eq!((&done["status"], &done["usage"]["output_tokens"]), (&json!("completed"), &json!(5)));
    assert_eq!(asking("DELETE", &url).answered().await.json()["deleted"], true);
    assert_eq!(look().await.status.as_u16(), 404);
}

#[tokio::test]
async fn a_web_search_is_an_item_of_the_output() {
    let simulator = simulator().await;
    let more = json!({"tools": [{"type": "web_search"}], "input": "Search the web for it."});
    assert_eq!(respond(&simulator, more).await.json()["output"][0]["type"], "web_search_call");
}

#[tokio::test]
async fn embeddings_come_as_numbers_or_packed_and_are_the_same() {
    let simulator = simulator().await;
    let url = format!("{}/v1/embeddings", simulator.url());
    let ask = |format: &str| {
        let body = json!({"model": "text-embedding-3-small", "input": ["Hi", "there"], "dimensions": 3, "encoding_format": format});
        asking("POST", &url).json(&body).answered()
    };
    let (plain, packed) = (ask("float").await.json(), ask("base64").await.json());
    let numbers: Vec<f32> = serde_json::from_value(plain["data"][1]["embedding"].clone()).unwrap();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    use base64::Engine;
    assert_eq!(packed["data"][1]["embedding"], base64::engine::general_purpose::STANDARD.encode(bytes));
    assert_eq!(plain["usage"]["prompt_tokens"], 2);
}

#[tokio::test]
async fn images_audio_files_batches_and_models_answer() {
    let simulator = simulator().await;
    let url = |path: &str| format!("{}{path}", simulator.url());
    let post = |path: &str, body: Value| asking("POST", &url(path)).json(&body).answered();
    let image = post("/v1/images/generations", json!({"model": "gpt-image-1", "prompt": "A cat"})).await.json();
    assert_eq!(image["usage"]["output_tokens"], 1056);
    let sound = post("/v1/audio/speech", json!({"model": "tts-1", "input": "Hello", "voice": "x"})).await;
    assert_eq!((sound.header("content-type"), sound.body.len()), (Some("audio/mpeg"), 320));

    let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o-transcribe\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--b--\r\n";
    let multipart = |path: &str| {
        asking("POST", &url(path)).with("content-type", "multipart/form-data; boundary=b").bytes(form).answered()
    };
    assert_eq!(multipart("/v1/audio/transcriptions").await.json()["usage"]["input_tokens"], 70);
    let file = multipart("/v1/files").await.json();
    let found = asking("GET", &url(&format!("/v1/files/{}", file["id"].as_str().unwrap()))).answered().await.json();
    assert_eq!(found, file);
    let batch =
        post("/v1/batches", json!({"input_file_id": file["id"], "endpoint": "/v1/chat/completions"})).await.json();
    assert_eq!(batch["status"], "validating");
    assert_eq!(asking("GET", &url("/v1/models")).answered().await.json()["data"][0]["id"], "gpt-4o");
    let azure = post("/openai/deployments/mine/chat/completions", json!({"messages": []})).await.json();
    assert_eq!(azure["model"], "mine");
}
