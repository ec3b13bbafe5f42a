use super::*;
use crate::clock::Timestamp;
use crate::event::{Event, Outcome};
use crate::ids::{EventId, ExchangeId};
use crate::money::{Usd, pico_to_decimal};
use crate::store::fixtures::{NOON, call, later};
use crate::store::{EventQuery, Filter, GroupBy, JournalPosition, Reader, Store, TimeRange, UsageQuery};
use crate::tenants::{Attribution, Caller};
use crate::tokens::usage::{Kind, UsageSource};
use proptest::prelude::*;
use std::sync::Arc;
use tempfile::TempDir;

fn ledger(events: &[Event]) -> (TempDir, Reader) {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path(), NOON).unwrap();
    store.fold(1, events, JournalPosition { segment: 0, offset: 1 }).unwrap();
    let reader = Reader::open(dir.path()).unwrap();
    (dir, reader)
}

fn exported(reader: &Reader) -> String {
    let mut export = Export::new(reader.clone(), Vec::new(), TimeRange::default()).unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.next_chunk().unwrap() {
        file.extend(chunk);
    }
    String::from_utf8(file).unwrap()
}

/// A row with every trap: quotes, line ends, commas, unicode, formulas, extremes.
fn awkward() -> Event {
    let mut event = call(NOON, 0);
    event.opening.id = EventId(4_096);
    event.opening.exchange = ExchangeId(4_095);
    event.opening.caller = Arc::new(Caller {
        organisation: Some("Müller & Söhne, \"GmbH\"".into()),
        team: Some("=HYPERLINK(\"http://evil.example\")".into()),
        project: Some("-1+1".into()),
        key: Some("@SUM(A1)".into()),
        user: Some("+49 30 1234".into()),
    });
    event.opening.attribution = Arc::new(Attribution {
        end_user: Some("日本語\r\nzwei".into()),
        session: Some("\t=1".into()),
        tags: vec![("b".into(), "2".into()), ("a".into(), "x,\"y\"".into())],
        prompt_hash: Some(0xff),
        ..Attribution::default()
    });
    event.closing.provider_cost = Some(Usd::from_pico(-1));
    event
}

#[test]
fn the_export_is_csv_that_spreadsheets_cannot_run() {
    let mut unpriced = call(later(1), 0).unpriced().ending(Outcome::ProviderCut);
    unpriced.closing.status = None;
    unpriced.closing.usage_source = UsageSource::Estimated;
    let (_dir, reader) = ledger(&[awkward(), unpriced]);
    let expected = include_str!("golden/export.csv");
    assert_eq!(exported(&reader).replace("\r\n", "\n"), expected.replace("\r\n", "\n"));
}

#[test]
fn every_line_of_the_export_has_every_column_and_reads_back() {
    let (_dir, reader) = ledger(&[awkward(), call(later(1), 0)]);
    let text = exported(&reader);
    let mut lines = csv_lines(&text);
    let header = lines.remove(0);
    assert!(lines.iter().all(|line| line.len() == header.len()));
    let cell = |line: usize, name: &str| lines[line][header.iter().position(|column| column == name).unwrap()].clone();
    assert_eq!(cell(0, "organisation"), "Müller & Söhne, \"GmbH\"");
    assert_eq!(cell(0, "team"), "'=HYPERLINK(\"http://evil.example\")");
    assert_eq!(cell(0, "end_user"), "日本語\r\nzwei");
    assert_eq!(cell(0, "provider_cost_usd"), "-0.000000000001");
    assert_eq!(cell(0, "tags"), r#"{"a":"x,\"y\"","b":"2"}"#);
    assert_eq!(cell(1, "cost_usd"), "0.0035");
    assert_eq!(cell(1, "cost_output_usd"), "0.001");
    assert_eq!(cell(1, "units_input"), "1000");
    assert_eq!(cell(1, "started_at"), "2026-11-21T12:00:01.000000Z");
}

/// Parsed by a reader that is not ours.
fn csv_lines(text: &str) -> Vec<Vec<String>> {
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[test]
fn table_page_and_export_say_the_same_integers() {
    let events: Vec<Event> = (0..40).map(|n| call(later(n * 1_800), 0).costing(n * 7_777_777 + 1)).collect();
    let (_dir, reader) = ledger(&events);
    let question = StatsQuestion { query: UsageQuery::default(), limit: 10 };
    let total = stats(&reader, &question).unwrap().totals.cost_pico;
    let rows = reader.events(&EventQuery { limit: 100, ..EventQuery::default() }).unwrap();
    assert_eq!(rows.iter().map(|row| row.cost.unwrap().widen()).sum::<i128>(), total);
    let text = exported(&reader);
    let lines = csv_lines(&text);
    let column = lines[0].iter().position(|name| name == "cost_usd").unwrap();
    let sum: i128 = lines[1..].iter().map(|line| line[column].parse::<Usd>().unwrap().widen()).sum();
    assert_eq!(sum, total);
    let json = serde_json::to_value(stats(&reader, &question).unwrap()).unwrap();
    assert_eq!(json["totals"]["cost_usd"], pico_to_decimal(total));
}

#[test]
fn groups_are_ordered_by_time_then_cost_and_the_totals_cover_what_the_limit_cuts() {
    let (_dir, reader) = ledger(&[
        call(NOON, 0).of_model("openai", "cheap").costing(1),
        call(NOON, 1).of_model("openai", "dear").costing(100),
        call(later(86_400), 0).of_model("openai", "middle").costing(10),
    ]);
    let question = StatsQuestion {
        query: UsageQuery {
            group_by: ask::group_by("group_by", &["day,model".to_owned()]).unwrap(),
            ..UsageQuery::default()
        },
        limit: 2,
    };
    let json = serde_json::to_value(stats(&reader, &question).unwrap()).unwrap();
    assert_eq!(json["groups"][0]["day"], "2026-11-21");
    assert_eq!(json["groups"][0]["model"], "dear");
    assert_eq!(json["groups"][1]["model"], "cheap");
    assert_eq!((&json["groups_more"], &json["totals"]["calls"]), (&1.into(), &3.into()));
    assert_eq!(json["totals"]["cost_usd"], "0.000000000111");
}

#[test]
fn an_unknown_cost_is_null_and_not_zero() {
    let (_dir, reader) = ledger(&[call(NOON, 0).unpriced()]);
    let rows = reader.events(&EventQuery { limit: 1, ..EventQuery::default() }).unwrap();
    let json = serde_json::to_value(EventView::from(&rows[0])).unwrap();
    assert_eq!((&json["cost_usd"], &json["pricing"]), (&serde_json::Value::Null, &"unknown_model".into()));
    assert_eq!(json["units"], serde_json::json!({"input": 1000, "output": 100}));
    assert_eq!(json["tags"], serde_json::json!({"feature": "answers"}));
    let exchange = serde_json::to_value(ExchangeView::new(rows[0].exchange, &rows)).unwrap();
    assert_eq!(exchange["unpriced_attempts"], 1);
}

#[test]
fn moments_are_read_as_people_write_them() {
    let read = |text: &str| ask::moment("since", text, NOON).map(Timestamp::to_rfc3339);
    assert_eq!(read("24h").unwrap(), "2026-11-20T12:00:00.000000Z");
    assert_eq!(read("90m").unwrap(), "2026-11-21T10:30:00.000000Z");
    assert_eq!(read("2w").unwrap(), "2026-11-07T12:00:00.000000Z");
    assert_eq!(read("2026-11").unwrap(), "2026-11-01T00:00:00.000000Z");
    assert_eq!(read("2026-11-21").unwrap(), "2026-11-21T00:00:00.000000Z");
    assert_eq!(read("2026-11-21T10:00:00+02:00").unwrap(), "2026-11-21T08:00:00.000000Z");
    for text in ["", "h", "-1h", "yesterday", "2026-13", "99999999999h", "5ü"] {
        assert_eq!(read(text).unwrap_err().field, "since", "{text}");
    }
}

#[test]
fn a_misasked_question_names_the_field_and_the_remedy() {
    let fault = ask::group_by("by", &["modle".to_owned()]).unwrap_err();
    assert_eq!((fault.field.as_str(), fault.problem.as_str()), ("by", "no group is named `modle`"));
    assert!(fault.remedy.contains("one of: hour, day, month, provider, model"), "{}", fault.remedy);
    let fault = ask::group_by("by", &["models".to_owned()]).unwrap_err();
    assert!(fault.remedy.starts_with("did you mean `model`?"), "{}", fault.remedy);
    let fault = ask::range(("from", Some("1h")), ("to", Some("2h")), NOON).unwrap_err();
    assert!(fault.problem.contains("ends (2026-11-21T10:00:00.000000Z) before it begins"), "{}", fault.problem);
    assert!(ask::count("limit", Some("0"), 50, 1_000).unwrap_err().problem.contains("from 1 to 1000"));
    let mut filters: Vec<Filter> = Vec::new();
    assert!(ask::filter_pair(&mut filters, "where", "model").unwrap_err().problem.contains("has no `=`"));
    ask::filter_pair(&mut filters, "where", "model=a=b").unwrap();
    ask::filter_pair(&mut filters, "where", "model=c").unwrap();
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].values, ["a=b", "c"]);
}

#[test]
fn every_group_is_found_again_under_its_name() {
    for dimension in crate::store::Dimension::NAMED {
        assert_eq!(GroupBy::named(&dimension.name()), Some(GroupBy::Dimension(dimension)));
    }
    assert!(GroupBy::named("tag.").is_none());
}

proptest! {
    #[test]
    fn money_and_moments_in_csv_are_the_same_texts_as_elsewhere(pico in any::<i64>(), shift in 0u32..63, micros in -1_000_000_000_000_000i64..4_000_000_000_000_000, later in 0i64..200_000_000_000) {
        let pico = i128::from(pico >> shift);
        let mut buffer = Vec::new();
        csv::Line::new(&mut buffer).money(Some(pico));
        prop_assert_eq!(String::from_utf8(buffer).unwrap(), pico_to_decimal(pico));
        let mut moments = csv::Moments::default();
        for moment in [Timestamp(micros), Timestamp(micros + later)] {
            let mut buffer = Vec::new();
            moments.write(&mut csv::Line::new(&mut buffer), moment);
            prop_assert_eq!(String::from_utf8(buffer).unwrap(), moment.to_rfc3339());
        }
    }
}

#[test]
fn kinds_stand_in_the_export_in_the_order_of_the_catalog() {
    let (_dir, reader) = ledger(&[]);
    let text = exported(&reader);
    let header = &csv_lines(&text)[0];
    let first = header.iter().position(|name| name == "units_input").unwrap();
    for (place, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(header[first + place], format!("units_{}", kind.name()));
    }
}
