//! Objects larger than what is read of one document (16 MiB): they pass byte for byte, and what could not be read of them is
//! said.

use crate::support::crooked::{Crooked, Script};
use crate::support::{Answered, Shop, shop};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

const LARGE_BYTES: usize = 17 << 20;

async fn before(dialect: &str) -> (Crooked, Shop) {
    let provider = Crooked::start().await;
    let base = if dialect == "openai" { "/v1" } else { "" };
    let base_url = format!("base_url: http://{}{base}", provider.address);
    (provider, shop().with_provider("large", dialect, &[&base_url]).open().await)
}

async fn asked(provider: &Crooked, shop: &Shop, path: &str, kind: &str, body: &str) -> Answered {
    let head = format!("content-type: {kind}\r\ncontent-length: {}", body.len());
    provider.says(Script::answer(&head, body));
    shop.ask("GET", path).answered().await
}

async fn until_told(shop: &Shop, what: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    while !shop.admin("/metrics").answered().await.text().contains(what) {
        assert!(Instant::now() < until, "`{what}` in the metrics");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_large_file_passes_and_is_not_metered() {
    let (provider, shop) = before("openai").await;
    let content = "{\"custom_id\":\"a\",\"response\":{}}\n".repeat(LARGE_BYTES / 32);
    let answered = asked(&provider, &shop, "/large/v1/files/file-1/content", "application/jsonl", &content).await;
    assert!(answered.status == 200 && answered.body == content.as_bytes(), "{} bytes came", answered.body.len());
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.pricing.as_deref()), (Some("ok"), Some("unmetered")));
    assert_eq!(row.response_bytes, content.len() as u64);
}

/// What it used stands at an end that alone would tell too little: it is booked by nobody, and that is said.
#[tokio::test]
async fn a_large_document_of_a_batch_passes_and_is_told_as_unread() {
    let (provider, shop) = before("openai").await;
    let padding = "x".repeat(LARGE_BYTES);
    let body = format!(
        "{{\"id\":\"batch_1\",\"object\":\"batch\",\"status\":\"completed\",\"model\":\"gpt-4o\",\"metadata\":{{\"note\":\"{padding}\"}},\"usage\":{{\"input_tokens\":7,\"output_tokens\":3,\"total_tokens\":10}}}}"
    );
    let answered = asked(&provider, &shop, "/large/v1/batches/batch_1", "application/json", &body).await;
    assert!(answered.status == 200 && answered.body == body.as_bytes(), "{} bytes came", answered.body.len());
    until_told(&shop, "farebox_late_results_unread_total{provider=\"large\",why=\"too_large\"} 1").await;
    assert!(shop.rows(1).await.iter().all(|row| row.adjusts.is_none()), "nothing is made up");
}

/// Lines are read one by one, however many they are.
#[tokio::test]
async fn large_results_in_lines_pass_and_are_booked() {
    let (provider, shop) = before("anthropic").await;
    let padding = "x".repeat(16 << 10);
    let mut lines = String::new();
    let mut count = 0;
    while lines.len() < LARGE_BYTES {
        let message = format!(
            "{{\"id\":\"msg_{count}\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-5-5\",\"content\":[{{\"type\":\"text\",\"text\":\"{padding}\"}}],\"stop_reason\":\"end_turn\",\"usage\":{{\"input_tokens\":100,\"output_tokens\":10}}}}"
        );
        writeln!(lines, "{{\"custom_id\":\"{count}\",\"result\":{{\"type\":\"succeeded\",\"message\":{message}}}}}")
            .unwrap();
        count += 1;
    }
    let path = "/large/v1/messages/batches/msgbatch_1/results";
    let answered = asked(&provider, &shop, path, "application/x-jsonl", &lines).await;
    assert!(answered.status == 200 && answered.body == lines.as_bytes(), "{} bytes came", answered.body.len());
    let is_adjusted = |rows: &[farebox::store::EventRow]| rows.iter().any(|row| row.adjusts.is_some());
    let rows = shop.rows_once(is_adjusted, "what the results used").await;
    let booked = rows.iter().find(|row| row.adjusts.is_some()).unwrap();
    assert_eq!((booked.usage.input_tokens(), booked.usage.output_tokens()), (count * 100, count * 10));
}
