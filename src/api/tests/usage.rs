//! `/api/usage/stats`, `/api/usage/events` and `/api/usage/export`, as whoever asks them notices.

use super::*;
use serde_json::json;

/// Alice asked twice, Bob once, on two days; Bob's tag needs quotes.
async fn busy() -> Port {
    let mut port = port(|_| {}).await;
    let mut tagged = call(later(-60), 0).by("bob", "caller-bob");
    Arc::make_mut(&mut tagged.opening.attribution).tags = vec![("feature".into(), "a,\"b\"\nc".into())];
    port.fold(&[call(later(-90_000), 0), call(later(-120), 0), tagged]);
    port
}

fn groups(answer: &Value) -> Vec<(Value, u64)> {
    let groups = answer["groups"].as_array().unwrap();
    groups.iter().map(|group| (group["key"].clone(), group["calls"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn an_empty_ledger_is_zero_and_not_a_fault() {
    let port = port(|_| {}).await;
    let stats = port.get("/api/usage/stats?group_by=day,model").await;
    let told = stats.json();
    assert_eq!((stats.status, &told["totals"]["calls"], &told["groups"]), (200, &json!(0), &json!([])), "{told:#}");
    assert_eq!(told["totals"]["cost_usd"], "0.00");
    let events = port.get("/api/usage/events").await.json();
    assert_eq!((&events["events"], &events["next_cursor"]), (&json!([]), &Value::Null));
    let export = port.get("/api/usage/export").await;
    assert_eq!((export.status, export.body.lines().count()), (200, 1), "the header alone");
    assert!(export.headers["content-disposition"].to_str().unwrap().contains("farebox-usage.csv"));
}

#[tokio::test]
async fn a_filter_twice_means_either_and_two_filters_mean_both() {
    let port = busy().await;
    let calls = async |query: &str| {
        let told = port.get(&format!("/api/usage/stats?{query}")).await.json();
        told["totals"]["calls"].as_u64().unwrap_or_else(|| panic!("{told:#}"))
    };
    assert_eq!(calls("user=alice&user=bob").await, 3);
    assert_eq!(calls("user=alice&key=caller-bob").await, 0);
    assert_eq!(calls("user=al*").await, 2);
    assert_eq!(calls("user=%61lice").await, 2, "values are percent-encoded");
    assert_eq!(calls("tag.feature=answers").await, 2);
    assert_eq!(calls("tag.feature=a%2C%22b%22%0Ac").await, 1);
    assert_eq!(calls("user=Alice").await, 0, "names are taken as they are written");
}

#[tokio::test]
async fn a_range_has_its_first_moment_and_not_its_last() {
    let port = busy().await;
    let at = later(-120).to_rfc3339();
    let after = later(-119).to_rfc3339();
    for (query, calls) in [
        (format!("from={at}"), 2),
        (format!("to={at}"), 1),
        (format!("from={at}&to={after}"), 1),
        ("from=2026-11-21".to_owned(), 2),
        ("from=2026-11-20&to=2026-11-21".to_owned(), 1),
        ("from=2026-11&to=2026-12".to_owned(), 3),
        ("from=90s".to_owned(), 1),
    ] {
        let told = port.get(&format!("/api/usage/stats?{query}")).await.json();
        assert_eq!(told["totals"]["calls"], calls, "{query}: {told:#}");
        let rows = port.get(&format!("/api/usage/export?{query}")).await;
        assert_eq!(records(&rows.body).len() as u64 - 1, calls, "{query}: the export has the same");
    }
    let shifted = port.get("/api/usage/stats?from=2026-11-21T13:00:00%2B02:00").await.json();
    assert_eq!(shifted["from"], "2026-11-21T11:00:00.000000Z", "an offset is understood");
}

#[tokio::test]
async fn groups_sum_to_the_totals_also_where_the_limit_cuts_them() {
    let port = busy().await;
    let told = port.get("/api/usage/stats?group_by=user").await.json();
    assert_eq!(groups(&told).iter().map(|(_, calls)| calls).sum::<u64>(), 3, "{told:#}");
    let twice = port.get("/api/usage/stats?group_by=day&group_by=user").await.json();
    assert_eq!((groups(&twice).len(), &twice["group_by"]), (3, &json!(["day", "user"])), "{twice:#}");
    let cut = port.get("/api/usage/stats?group_by=user&limit=1").await.json();
    assert_eq!((groups(&cut).len(), &cut["totals"]["calls"]), (1, &json!(3)), "{cut:#}");
}

#[tokio::test]
async fn pages_go_both_ways_and_end() {
    let port = busy().await;
    for (order, first) in [("asc", later(-90_000)), ("desc", later(-60))] {
        let mut path = format!("/api/usage/events?limit=2&order={order}");
        let mut seen = Vec::new();
        for _ in 0..5 {
            let page = port.get(&path).await.json();
            seen.extend(page["events"].as_array().unwrap().iter().map(|event| event["started_at"].clone()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/api/usage/events?limit=2&order={order}&cursor={cursor}");
        }
        assert_eq!((seen.len(), &seen[0]), (3, &json!(first.to_rfc3339())), "{order}");
    }
}

/// Cells of CSV; a quoted one may hold commas, quotes and line ends.
fn records(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn the_export_is_filtered_and_what_people_wrote_stays_in_its_cell() {
    let port = busy().await;
    let told = records(&port.get("/api/usage/export?user=bob").await.body);
    let cell = |name: &str| {
        let place = told[0].iter().position(|column| column == name).unwrap();
        told[1][place].clone()
    };
    assert_eq!((told.len(), cell("user"), cell("cost_usd")), (2, "bob".to_owned(), "0.0035".to_owned()));
    let tags: Value = serde_json::from_str(&cell("tags")).unwrap();
    assert_eq!(tags["feature"], "a,\"b\"\nc");
    assert_eq!(cell("started_at"), later(-60).to_rfc3339());
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_is_a_problem_with_its_field() {
    let port = busy().await;
    for (path, field) in [
        ("/api/usage/stats?limit=0", "limit"),
        ("/api/usage/stats?limit=many", "limit"),
        ("/api/usage/stats?from=2026-13", "from"),
        ("/api/usage/stats?from=2026-11-21&to=2026-11-21", "to"),
        ("/api/usage/export?to=yesterday", "to"),
        ("/api/usage/export?group_by=day", "group_by"),
        ("/api/usage/stats?group_by=day,user,team,model,provider,key,project", "group_by"),
    ] {
        let answer = port.get(path).await;
        let told = answer.json();
        assert_eq!((answer.status, &told["field"], &told["status"]), (400, &json!(field), &json!(400)), "{path}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let post = port.ask(http::Method::POST, "/api/usage/stats", &[], "").await;
    assert_eq!(post.status, 405);
}
