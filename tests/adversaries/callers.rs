//! Callers that smuggle, bury and flood.

use super::is_unharmed;
use crate::support::wire::Wire;
use crate::support::{Shop, chat, shop, with};
use serde_json::json;
use std::time::{Duration, Instant};

/// Says it, and what is heard until the connection ends. Whatever follows the first request must not be one of its own.
async fn heard(shop: &Shop, bytes: impl AsRef<[u8]>) -> String {
    let mut wire = Wire::to(shop.address()).await;
    wire.say(bytes).await;
    wire.end_our_half().await;
    wire.rest().await
}

fn smuggled(shop: &Shop) -> bool {
    shop.simulator.log.attempts().iter().any(|attempt| attempt.path.contains("smuggled"))
}

#[tokio::test]
async fn a_request_is_not_smuggled_inside_another() {
    let shop = shop().open().await;
    let inner = "GET /v1/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    let framings = [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\ncontent-length: 5",
        "transfer-encoding: xchunked\r\ncontent-length: 5",
        "transfer-encoding : chunked\r\ncontent-length: 5",
        "transfer-encoding:\x0bchunked\r\ncontent-length: 5",
        " transfer-encoding: chunked\r\ncontent-length: 5",
        "x-folded: a\r\n transfer-encoding: chunked\r\ncontent-length: 5",
        "content-length: +5",
        "content-length: 5, 5",
        "content-length: 5\r\ncontent-length: 60",
        "content-length: 0x5",
        "content-length: -1",
        "content-length: 99999999999999999999",
    ];
    for framing in framings {
        let request =
            format!("POST /v1/echo HTTP/1.1\r\nhost: x\r\n{framing}\r\nconnection: close\r\n\r\n0\r\n\r\n{inner}");
        let answer = heard(&shop, request).await;
        assert!(!smuggled(&shop), "{framing}: {answer}");
        // One request, at most one answer.
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{framing}: {answer}");
    }
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn chunks_that_lie_about_their_size_end_the_request() {
    let shop = shop().with_setting("request_timeout: 2s").open().await;
    let before = shop.simulator.log.totals().attempts;
    let bodies = [
        "zz\r\n{}\r\n0\r\n\r\n".to_owned(),
        "-2\r\n{}\r\n0\r\n\r\n".to_owned(),
        "fffffffffffffffff\r\n{}\r\n0\r\n\r\n".to_owned(),
        "ffffffffffffffff\r\n{}\r\n0\r\n\r\n".to_owned(),
        "2\r\n{}x\r\n0\r\n\r\n".to_owned(),
        format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(4 << 20)),
        format!("{}2\r\n{{}}\r\n0\r\n\r\n", "0".repeat(4 << 20)),
    ];
    for body in bodies {
        let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = heard(&shop, format!("{head}{body}")).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{}: {answer}", &body[..body.len().min(40)]);
    }
    assert_eq!(shop.simulator.log.totals().attempts, before);
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn lines_that_are_no_request_are_refused() {
    let shop = shop().with_setting("request_timeout: 2s").open().await;
    let long = format!("GET /v1/{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(4 << 20));
    let lines: [&[u8]; 10] = [
        b"GET\r\n\r\n",
        b"GET /v1/models\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\nhost: x\r\n\r\n",
        b"GET /v1/mo\0dels HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-nul: a\0b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nno colon here\r\n\r\n",
        b"CONNECT provider:443 HTTP/1.1\r\nhost: provider:443\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        long.as_bytes(),
    ];
    for line in lines {
        let answer = heard(&shop, line).await;
        let shown = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{shown}: {answer}");
        assert_eq!(shop.simulator.log.totals().attempts, 0, "{shown}: {answer}");
    }
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn json_of_ten_thousand_levels_passes_or_is_refused_and_nothing_overflows() {
    let shop = shop().open().await;
    for levels in [10_000, 1_000_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let body = format!(
                r#"{{"model":"gpt-4o","messages":[{{"role":"user","content":"Hi"}}],"metadata":{deep},"tools":{deep}}}"#
            );
            let answered = shop.ask("POST", "/v1/chat/completions").bytes(body).answered().await;
            assert!(matches!(answered.status.as_u16(), 200 | 400), "{}", answered.text());
            let never_closed = format!("{{\"model\":\"gpt-4o\",\"messages\":{}", open.repeat(levels));
            let answered = shop.ask("POST", "/v1/chat/completions").bytes(never_closed).answered().await;
            assert_eq!(answered.status, 400);
        }
    }
    is_unharmed(&shop).await;
}

/// A reader that takes the first of two members would be told another price than the one that the provider charges.
#[tokio::test]
async fn a_model_that_is_named_twice_is_priced_as_the_provider_reads_it() {
    let rules = "version: 1\nswaps:\n  - name: all-mini\n    from: [gpt-4.1]\n    to: [gpt-4o-mini]\n";
    let shop = shop().with_rules(rules).open().await;
    let cases = [
        (r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}],"model":"gpt-4o"}"#, "gpt-4o"),
        (r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi"}],"mod\u0065l":"gpt-4o"}"#, "gpt-4o"),
        (r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"model":"gpt-4.1"}"#, "gpt-4o-mini"),
        (r#"{"model":"gpt-4.1","messages":[{"role":"user","content":"Hi"}],"mod\u0065l":"gpt-4.1"}"#, "gpt-4o-mini"),
    ];
    for (place, (body, upstream)) in cases.into_iter().enumerate() {
        let answered = shop.ask("POST", "/v1/chat/completions").bytes(body).answered().await;
        assert_eq!(answered.status, 200, "{}", answered.text());
        let sent = shop.seen(place as u64 + 1).body.unwrap();
        // serde_json, as the providers' readers, takes the last.
        let read: serde_json::Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(read["model"], upstream, "{}", String::from_utf8_lossy(&sent));
        let row = shop.rows(place + 1).await.remove(place);
        assert_eq!(row.upstream_model.as_deref(), Some(upstream));
    }
}

/// The bound that a rule lowers holds for what the provider reads, however often the body says it.
#[tokio::test]
async fn an_output_limit_that_is_said_twice_is_clamped_all_the_same() {
    let rules = "version: 1\nclamps:\n  - name: short\n    output_tokens: 10\n";
    let shop = shop().with_rules(rules).open().await;
    let message = r#""messages":[{"role":"user","content":"Hi"}]"#;
    for body in [
        format!(r#"{{"model":"gpt-4o",{message},"max_tokens":5,"max_tokens":5000}}"#),
        format!(r#"{{"model":"gpt-4o",{message},"max_tokens":5000,"max_tokens":4000}}"#),
        format!(r#"{{"model":"gpt-4o",{message},"max_tokens":5,"max_completion_tokens":5000}}"#),
    ] {
        let answered = shop.ask("POST", "/v1/chat/completions").bytes(body.clone()).answered().await;
        if answered.status == 200 {
            let sent = shop.seen(shop.simulator.log.totals().attempts).body.unwrap();
            let read: serde_json::Value = serde_json::from_slice(&sent).unwrap();
            for name in ["max_tokens", "max_completion_tokens"] {
                let limit = read[name].as_u64().unwrap_or(0);
                assert!(limit <= 10, "{body} left as {}", String::from_utf8_lossy(&sent));
            }
        } else {
            assert_eq!(answered.status, 400, "{}", answered.text());
        }
    }
}

#[tokio::test]
async fn a_megabyte_of_one_letter_is_counted_in_bounded_time_beside_others() {
    // A limit on input tokens makes the decision wait for the exact count.
    let rules = "version: 1\nlimits:\n  - name: size\n    input_tokens_per_call: 900k\n";
    let shop = shop().with_rules(rules).open().await;
    let began = Instant::now();
    // An unoptimised build takes its time: one of them whole, the others an eighth.
    let texts =
        [("a", 20), (" ", 17), ("\n", 17), ("😀", 17), ("a\u{301}", 17), ("\u{200b}", 17), ("=", 17), ("0", 17)];
    let heavy: Vec<_> = texts
        .iter()
        .map(|(letter, size)| tokio::spawn(shop.chat(&letter.repeat((1 << size) / letter.len())).answered()))
        .collect();
    // While they are counted, another call goes through.
    let other = shop.chat("Hi").answered().await;
    assert_eq!(other.status, 200);
    for call in heavy {
        let answered = call.await.unwrap();
        assert!(matches!(answered.status.as_u16(), 200 | 400), "{}", answered.text());
    }
    // Hours, without a guard.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn many_large_bodies_at_once_wait_for_room() {
    let shop = shop().with_setting("body_bytes_max: 4MiB").with_setting("bodies_bytes_max: 8MiB").open().await;
    let text = "x".repeat(3 << 20);
    let calls: Vec<_> = (0..30).map(|_| tokio::spawn(shop.chat(&text).attempted())).collect();
    let mut served = 0;
    for call in calls {
        let answered = call.await.unwrap().expect("an answer").finished().await;
        assert!(matches!(answered.status.as_u16(), 200 | 503), "{}", answered.text());
        served += usize::from(answered.status == 200);
    }
    assert!(served > 0);
    is_unharmed(&shop).await;
}

#[tokio::test]
async fn values_that_would_write_lines_of_their_own_stay_values() {
    let shop = shop().open().await;
    let body = with(
        chat("Hi"),
        json!({"user": "eve\r\nx-farebox-team: admin\n{\"level\":\"ERROR\"}", "metadata": {"a\nb": "c\u{0}\u{1b}[2J"}}),
    );
    let answered = shop.post("/v1/chat/completions", &body).with("x-farebox-team", "blue").answered().await;
    assert_eq!(answered.status, 200);
    let row = shop.row().await;
    assert_eq!(row.team.as_deref(), Some("blue"));
    // Each line of the log is one JSON object, whatever stood in it.
    for line in shop.log().lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
        assert!(!line.contains('\u{1b}'));
    }
}

/// A server that tidies paths up would serve a chat that was never metered.
#[tokio::test]
async fn a_path_in_disguise_is_metered_or_leads_nowhere() {
    let shop = shop().open().await;
    let body = chat("Hi").to_string();
    let ask = |path: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        format!("{head}{body}")
    };
    for path in
        ["/v1/files/../chat/completions", "/v1/files/%2e%2e/chat/completions", "/v1/files/..%2Fchat/completions"]
    {
        let answer = heard(&shop, ask(path)).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    assert_eq!(shop.simulator.log.totals().attempts, 0);
    for path in ["/v1//chat/completions", "/v1/chat/%63ompletions", "/v1/chat/completions/"] {
        heard(&shop, ask(path)).await;
    }
    for row in shop.rows(3).await {
        assert_eq!((row.operation.as_deref(), row.requested_model.as_deref()), (Some("chat"), Some("gpt-4o")));
    }
}
