//! Nobody notices: what passes, passes as it is.

use crate::support::{Shop, chat, shop, with};
use serde_json::{Value, json};

/// A call of every dialect, as its SDK makes it: the path below Farebox, the path at the provider, the body.
fn calls() -> Vec<(&'static str, &'static str, Value)> {
    let claude =
        json!({"model": "claude-sonnet-5-5", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
    let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let chats = "/v1/chat/completions";
    let flash = "/v1beta/models/gemini-3.8-flash";
    let below = |path: &str| -> &'static str { Box::leak(format!("/gemini{flash}:{path}").into_boxed_str()) };
    let at = |path: &str| -> &'static str { Box::leak(format!("{flash}:{path}").into_boxed_str()) };
    vec![
        (chats, chats, chat("Hi")),
        (chats, chats, with(chat("Hi"), json!({"stream": true}))),
        (chats, chats, with(chat("Hi"), json!({"stream": true, "n": 2}))),
        ("/v1/completions", "/v1/completions", json!({"model": "gpt-3.5-turbo-instruct", "prompt": "Hi"})),
        (
            "/v1/completions",
            "/v1/completions",
            json!({"model": "gpt-3.5-turbo-instruct", "prompt": "Hi", "stream": true}),
        ),
        ("/v1/responses", "/v1/responses", json!({"model": "gpt-5", "input": "Hi"})),
        ("/v1/responses", "/v1/responses", json!({"model": "gpt-5", "input": "Hi", "stream": true})),
        ("/v1/embeddings", "/v1/embeddings", json!({"model": "text-embedding-3-small", "input": "Hi"})),
        ("/v1/images/generations", "/v1/images/generations", json!({"model": "gpt-image-1", "prompt": "Hi"})),
        ("/v1/audio/speech", "/v1/audio/speech", json!({"model": "tts-1", "input": "Hi", "voice": "a"})),
        ("/v1/moderations", "/v1/moderations", json!({"input": "Hi"})),
        ("/anthropic/v1/messages", "/v1/messages", claude.clone()),
        ("/anthropic/v1/messages", "/v1/messages", with(claude.clone(), json!({"stream": true}))),
        ("/anthropic/v1/messages/count_tokens", "/v1/messages/count_tokens", claude),
        (below("generateContent"), at("generateContent"), gemini.clone()),
        (below("streamGenerateContent?alt=sse"), at("streamGenerateContent?alt=sse"), gemini.clone()),
        (below("streamGenerateContent"), at("streamGenerateContent"), gemini.clone()),
        (below("countTokens"), at("countTokens"), gemini),
    ]
}

#[tokio::test]
async fn every_answer_is_the_same_to_the_byte_with_and_without_farebox() {
    let shop = shop().open().await;
    for (below, at, body) in calls() {
        let through = shop.post(below, &body).wishing("seed", "same").answered().await;
        let direct = shop.post_directly(at, &body).wishing("seed", "same").answered().await;
        assert_eq!(direct.status, 200, "{at}: {}", direct.text());
        assert_eq!((through.status, through.text()), (direct.status, direct.text()), "{below} {body}");
        assert_eq!(through.header("content-type"), direct.header("content-type"));
    }
    shop.rows(calls().len()).await;
}

#[tokio::test]
async fn errors_pass_as_they_are_with_their_headers() {
    let shop = shop().open().await;
    for (below, at, body) in calls() {
        for status in [400, 401, 404, 429, 500, 503, 529] {
            let through = shop.post(below, &body).wishing("status", status).wishing("retry-after", 9).answered().await;
            let direct = shop.post_directly(at, &body).wishing("status", status).answered().await;
            assert_eq!((through.status, through.text()), (direct.status, direct.text()), "{below}");
            assert_eq!(through.header("retry-after"), Some("9"));
        }
    }
}

async fn received(shop: &Shop, body: &'static str) -> String {
    let answered = shop.ask("POST", "/v1/chat/completions").with("content-type", "application/json").bytes(body);
    let answered = answered.answered().await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    String::from_utf8(shop.seen(answered.attempt()).body.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn unknown_members_number_spellings_and_order_reach_the_provider_as_written() {
    let shop = shop().open().await;
    let body = "{ \"zz_unknown\": {\"b\":1.50e+3,\"a\":[ ]}, \"temperature\":1.0000000000000000001,\n\t\"model\":\"gpt-4o\", \
                \"messages\":[{\"content\":\"h\\u00e9llo \\/ \\ud83e\\udd80\",\"role\":\"user\"}],\"seed\":12345678901234567890123 }\n";
    assert_eq!(received(&shop, body).await, body);
}

#[tokio::test]
async fn a_stream_differs_only_by_our_request_for_usage() {
    let shop = shop().open().await;
    let body =
        "{\"model\":\"gpt-4o\" , \"stream\" : true,\"x\":1e2,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    let sent = received(&shop, body).await;
    let ours = "\"stream_options\":{\"include_usage\":true}";
    let without = sent.replace(&format!("{ours},"), "").replace(&format!(",{ours}"), "");
    assert_eq!(without, body);

    let body = "{\"model\":\"gpt-4o\",\"stream_options\": {\"include_obfuscation\":false},\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    let sent: Value = serde_json::from_str(&received(&shop, body).await).unwrap();
    assert_eq!(sent["stream_options"], json!({"include_obfuscation": false, "include_usage": true}));
}

#[tokio::test]
async fn end_to_end_headers_pass_and_hop_by_hop_ones_do_not() {
    let shop = shop().open().await;
    let asking = shop.chat("Hi").with("connection", "keep-alive, x-only-here").with("x-only-here", "1");
    let asking =
        asking.with("te", "trailers").with("proxy-authorization", "Basic eDp5").with("keep-alive", "timeout=5");
    let asking = asking
        .with("openai-organization", "org-1")
        .with("x-twice", "a")
        .with("x-twice", "b")
        .with("user-agent", "me/1");
    let answered = asking.answered().await;
    let seen = shop.seen(answered.attempt());
    for gone in ["x-only-here", "te", "proxy-authorization", "keep-alive"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    assert_eq!((seen.header("openai-organization"), seen.header("user-agent")), (Some("org-1"), Some("me/1")));
    let twice: Vec<&str> =
        seen.headers.iter().filter(|(name, _)| name == "x-twice").map(|(_, value)| value.as_str()).collect();
    assert_eq!(twice, ["a", "b"]);
    assert_eq!(seen.header("host"), Some(shop.simulator.address.to_string().as_str()));
    assert!(answered.header("x-sim-body-blake3").is_some(), "the provider's own headers pass");
}

#[tokio::test]
async fn our_own_words_stay_with_us() {
    let shop = shop().open().await;
    let answered =
        shop.chat("Hi").with("x-farebox-provider", "openai").with("x-farebox-tag-team", "a").answered().await;
    let seen = shop.seen(answered.attempt());
    let ours: Vec<&String> =
        seen.headers.iter().map(|(name, _)| name).filter(|name| name.starts_with("x-farebox-")).collect();
    assert_eq!(ours, Vec::<&String>::new());
}

#[tokio::test]
async fn the_callers_key_passes_only_where_the_provider_wants_it() {
    let passing = shop().with_every_provider("key: caller").open().await;
    let answered = passing.chat("Hi").with("authorization", "Bearer sk-caller-1234").answered().await;
    assert_eq!(passing.seen(answered.attempt()).header("authorization"), Some("Bearer …1234"));

    let own = shop().with_every_provider("key: env:SHOP_KEY").with_variable("SHOP_KEY", "sk-house-9876").open().await;
    let answered = own.chat("Hi").with("authorization", "Bearer sk-caller-1234").answered().await;
    assert_eq!(own.seen(answered.attempt()).header("authorization"), Some("Bearer …9876"));
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": []});
    let claude = own.post("/anthropic/v1/messages", &body).with("x-api-key", "sk-caller-1234").answered().await;
    let seen = own.seen(claude.attempt());
    assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (Some("…9876"), None));

    let none = shop().open().await;
    let answered = none.chat("Hi").with("authorization", "Bearer sk-caller-1234").answered().await;
    assert_eq!(none.seen(answered.attempt()).header("authorization"), None);
}

#[tokio::test]
async fn a_key_in_the_query_goes_no_further_than_one_in_a_header() {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]});
    let path = "/gemini/v1beta/models/gemini-3.8-flash:generateContent?key=AIza-caller-1234&alt=json";
    let none = shop().open().await;
    let answered = none.post(path, &body).answered().await;
    assert_eq!(none.seen(answered.attempt()).query.as_deref(), Some("alt=json"));
    assert!(!none.log().contains("AIza-caller"), "{}", none.log());

    let own = shop().with_every_provider("key: env:SHOP_KEY").with_variable("SHOP_KEY", "AIza-house-9876").open().await;
    let answered = own.post(path, &body).answered().await;
    let seen = own.seen(answered.attempt());
    assert!(!seen.query.clone().unwrap_or_default().contains("AIza-caller"), "{seen:?}");
    assert_eq!(seen.header("x-goog-api-key"), Some("…9876"));
}
