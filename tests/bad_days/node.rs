//! A node that is asked to stop, is killed, is started twice, or has no room to write.

use crate::support::{Shop, shop};
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_stop_lets_streams_finish_and_settles_everything() {
    let mut shop = shop().open().await;
    let asking = shop.stream("Say something.").wishing("output-tokens", 40).wishing("chunk-ms", 15);
    let mut stream = asking.streaming().await;
    stream.read_until(|body| body.matches("data: ").count() > 3).await;
    shop.terminate();
    let answered = stream.finished().await;
    assert!(answered.cut.is_none() && answered.text().ends_with("data: [DONE]\n\n"));
    assert!(shop.ended().await.success());
    let row = shop.row().await;
    assert_eq!((row.usage.output_tokens(), row.usage_source.as_deref()), (40, Some("reported")));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let mut shop = shop().with_setting("drain_max: 200ms").open().await;
    let mut stream = shop.stream("Say something.").wishing("stall-after", 2).streaming().await;
    stream.read_until(|body| body.matches("data: ").count() > 2).await;
    shop.terminate();
    assert!(shop.ended().await.success());
    let row = shop.row().await;
    assert_eq!((row.usage.input_tokens(), row.usage.output_tokens(), row.complete), (10, 2, false));
}

#[tokio::test]
async fn a_call_under_way_when_the_node_is_killed_is_in_the_ledger_after_the_restart() {
    let mut shop = shop().open().await;
    let asking = shop.stream("Say something.").with("x-request-id", "mine-1").wishing("stall-after", 3);
    let mut stream = asking.streaming().await;
    stream.read_until(|body| body.matches("data: ").count() > 3).await;
    shop.kill();
    shop.start();
    let row = shop.row().await;
    assert_eq!((row.outcome.as_deref(), row.client_request_id.as_deref()), (Some("proxy_died"), Some("mine-1")));
    assert_eq!((row.usage.input_tokens() > 0, row.usage_source.as_deref()), (true, Some("estimated")));
}

#[tokio::test]
async fn two_hundred_calls_under_way_at_a_kill_are_two_hundred_rows() {
    let mut shop = shop().open().await;
    let calls: Vec<_> = (0..200)
        .map(|place| {
            let asking = if place % 2 == 0 { shop.stream("Say something.") } else { shop.chat("Say something.") };
            tokio::spawn(asking.with("x-request-id", &format!("call-{place}")).wishing("stall-after", 0).attempted())
        })
        .collect();
    shop.simulator.log.until(|log| log.attempts().iter().filter(|attempt| attempt.body_arrived).count() == 200).await;
    shop.kill();
    for call in calls {
        drop(call.await);
    }
    shop.start();
    let rows = shop.rows(200).await;
    let mut ids: Vec<_> = rows.iter().map(|row| row.client_request_id.clone().unwrap()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((rows.len(), ids.len()), (200, 200));
    assert!(rows.iter().all(|row| row.outcome.as_deref() == Some("proxy_died") && row.usage.input_tokens() > 0));
}

#[tokio::test]
async fn a_second_node_on_the_same_data_is_refused_by_name() {
    let shop = shop().open().await;
    let second = shop.command(&["serve"]);
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("data"), "{said}");
}

/// The journal cannot grow: directories stand where its next segments would.
struct FullDisk(Vec<PathBuf>);

impl FullDisk {
    fn of(shop: &Shop) -> FullDisk {
        let mut epochs = std::fs::read_dir(shop.data_dir().join("journal")).unwrap().map(|entry| entry.unwrap().path());
        let journal = epochs.find(|path| path.is_dir()).unwrap();
        let segment = |number: u64| journal.join(format!("seg-{number:010}"));
        let obstacles = (2..40).map(segment).filter(|path| std::fs::create_dir(path).is_ok());
        FullDisk(obstacles.collect())
    }

    fn freed(self) {
        self.0.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_write_refuses_in_the_dialect_and_heals_by_itself() {
    let shop = shop().with_setting("ledger: {segment_bytes: 1MiB, admission_wait_max: 20ms}").open().await;
    let full = FullDisk::of(&shop);
    let mut admitted = 0;
    loop {
        let calls = (0..50).map(|_| shop.chat("Hi").wishing("output-tokens", 1).answered());
        let answers = futures_util::future::join_all(calls).await;
        admitted += answers.iter().filter(|answered| answered.status == 200).count();
        if let Some(refused) = answers.iter().find(|answered| answered.status != 200) {
            assert_eq!((refused.status.as_u16(), refused.json()["error"]["message"].is_string()), (503, true));
            break;
        }
        assert!(admitted < 20_000, "a journal of a few MiB is full by now");
    }
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    // Settlements give a little room back; every call takes some for good.
    let claude = loop {
        let answered = shop.post("/anthropic/v1/messages", &body).answered().await;
        if answered.status != 200 {
            break answered;
        }
        admitted += 1;
        assert!(admitted < 20_000, "a journal of a few MiB is full by now");
    };
    assert_eq!((claude.status.as_u16(), &claude.json()["error"]["type"]), (529, &json!("overloaded_error")));
    assert_eq!(shop.simulator.log.totals().attempts, admitted as u64, "what is not in the ledger does not leave");

    full.freed();
    let until = Instant::now() + Duration::from_secs(20);
    while shop.chat("Hi").answered().await.status != 200 {
        assert!(Instant::now() < until, "it heals in time:\n{}", shop.log());
    }
    assert_eq!(shop.rows(admitted + 1).await.len(), admitted + 1);
}

#[tokio::test]
async fn who_changes_the_configuration_is_told_when_it_counts() {
    let shop = shop().open().await;
    let told = async |words: &str| {
        let until = Instant::now() + Duration::from_secs(10);
        while !shop.log().contains(words) {
            assert!(Instant::now() < until, "{words} in: {}", shop.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    shop.amend_configuration("drain_max: 5s");
    told("it takes effect at the next start").await;
    shop.amend_configuration("drain_max: soon");
    told("the next start would fail").await;
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
}
