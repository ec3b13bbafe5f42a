use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn every(every: Every, name: &str, from: u8) -> WindowRule {
    WindowRule::Calendar { every, zone: zone(name), from }
}

/// Start and end, as the zone's clocks show them, and the length in hours.
fn local(rule: &WindowRule, now: &str) -> (String, String, i64) {
    let WindowRule::Calendar { zone, .. } = rule else { panic!("not a calendar window") };
    let window = rule.at(at(now));
    assert!(window.contains(at(now)));
    let text = |moment: Timestamp| {
        let zoned = jiff::Timestamp::from_microsecond(moment.0).unwrap().to_zoned(zone.clone());
        zoned.strftime("%Y-%m-%d %H:%M").to_string()
    };
    (text(window.start), text(window.end), (window.end.0 - window.start.0) / HOUR_MICROS)
}

fn spans(start: &str, end: &str, hours: i64) -> (String, String, i64) {
    (start.to_owned(), end.to_owned(), hours)
}

#[test]
fn a_day_has_23_hours_when_the_clocks_go_forward_and_25_when_they_go_back() {
    let day = every(Every::Day, "Europe/Berlin", 0);
    assert_eq!(local(&day, "2026-03-29T12:00:00Z"), spans("2026-03-29 00:00", "2026-03-30 00:00", 23));
    assert_eq!(local(&day, "2026-10-25T12:00:00Z"), spans("2026-10-25 00:00", "2026-10-26 00:00", 25));
    assert_eq!(local(&day, "2026-10-26T12:00:00Z"), spans("2026-10-26 00:00", "2026-10-27 00:00", 24));
}

#[test]
fn a_day_may_begin_at_another_hour_also_one_that_the_clocks_skip_or_repeat() {
    let day = every(Every::Day, "Europe/Berlin", 6);
    assert_eq!(local(&day, "2026-01-10T04:59:59Z"), spans("2026-01-09 06:00", "2026-01-10 06:00", 24));
    let skipped = every(Every::Day, "Europe/Berlin", 2);
    assert_eq!(local(&skipped, "2026-03-29T12:00:00Z"), spans("2026-03-29 03:00", "2026-03-30 02:00", 23));
    assert_eq!(local(&skipped, "2026-10-25T12:00:00Z"), spans("2026-10-25 02:00", "2026-10-26 02:00", 25));
}

#[test]
fn a_day_that_a_country_skipped_has_no_window() {
    let day = every(Every::Day, "Pacific/Apia", 0);
    // Samoa had no 30 December 2011.
    assert_eq!(local(&day, "2011-12-30T09:59:59Z"), spans("2011-12-29 00:00", "2011-12-31 00:00", 24));
    assert_eq!(local(&day, "2011-12-30T10:00:00Z"), spans("2011-12-31 00:00", "2012-01-01 00:00", 24));
}

#[test]
fn an_hour_is_a_real_hour_on_the_zones_marks_and_is_cut_where_the_clocks_change() {
    let hour = every(Every::Hour, "Asia/Kolkata", 1);
    assert_eq!(local(&hour, "2026-05-01T12:45:00Z"), spans("2026-05-01 18:00", "2026-05-01 19:00", 1));
    let berlin = every(Every::Hour, "Europe/Berlin", 1);
    let (first, second) = (berlin.at(at("2026-10-25T00:30:00Z")), berlin.at(at("2026-10-25T01:30:00Z")));
    assert_eq!((first.end, second.start), (at("2026-10-25T01:00:00Z"), at("2026-10-25T01:00:00Z")));
    // Lord Howe moves by half an hour: 2:00 becomes 2:30 on 4 October 2026, at 15:30 UTC the day before.
    let howe = every(Every::Hour, "Australia/Lord_Howe", 1);
    let cut = howe.at(at("2026-10-03T15:40:00Z"));
    assert_eq!((cut.start, cut.end), (at("2026-10-03T15:30:00Z"), at("2026-10-03T16:00:00Z")));
    assert_eq!(howe.at(at("2026-10-03T15:29:00Z")).end, cut.start);
    assert_eq!(howe.at(cut.start), cut);
}

#[test]
fn a_week_begins_on_the_day_that_is_written() {
    let monday = every(Every::Week, "UTC", 1);
    assert_eq!(local(&monday, "2026-11-22T12:00:00Z"), spans("2026-11-16 00:00", "2026-11-23 00:00", 168));
    let sunday = every(Every::Week, "UTC", 7);
    assert_eq!(local(&sunday, "2026-11-22T12:00:00Z"), spans("2026-11-22 00:00", "2026-11-29 00:00", 168));
}

#[test]
fn a_month_may_begin_on_any_day_and_the_last_where_it_is_shorter() {
    let month = every(Every::Month, "UTC", 1);
    assert_eq!(local(&month, "2024-02-29T23:59:59Z"), spans("2024-02-01 00:00", "2024-03-01 00:00", 29 * 24));
    let from_15 = every(Every::Month, "UTC", 15);
    assert_eq!(local(&from_15, "2026-03-14T23:59:59Z"), spans("2026-02-15 00:00", "2026-03-15 00:00", 28 * 24));
    assert_eq!(local(&from_15, "2026-03-15T00:00:00Z"), spans("2026-03-15 00:00", "2026-04-15 00:00", 31 * 24));
    let from_31 = every(Every::Month, "UTC", 31);
    assert_eq!(local(&from_31, "2026-02-28T12:00:00Z"), spans("2026-02-28 00:00", "2026-03-31 00:00", 31 * 24));
    assert_eq!(local(&from_31, "2024-02-28T12:00:00Z"), spans("2024-01-31 00:00", "2024-02-29 00:00", 29 * 24));
    assert_eq!(local(&from_31, "2026-12-31T00:00:00Z"), spans("2026-12-31 00:00", "2027-01-31 00:00", 31 * 24));
}

#[test]
fn a_year_may_begin_in_any_month() {
    let year = every(Every::Year, "UTC", 1);
    assert_eq!(local(&year, "2024-02-29T12:00:00Z"), spans("2024-01-01 00:00", "2025-01-01 00:00", 366 * 24));
    let fiscal = every(Every::Year, "UTC", 4);
    assert_eq!(local(&fiscal, "2026-03-31T23:59:59Z"), spans("2025-04-01 00:00", "2026-04-01 00:00", 365 * 24));
}

#[test]
fn a_clock_that_steps_back_over_a_months_end_is_in_the_old_month_again() {
    let month = every(Every::Month, "America/New_York", 1);
    let new = month.at(at("2026-12-01T05:00:00Z"));
    let old = month.at(at("2026-12-01T04:59:59Z"));
    assert_eq!((old.end, new.resets_at()), (new.start, Some(at("2027-01-01T05:00:00Z"))));
}

#[test]
fn a_rolling_window_counts_sixty_buckets_and_the_running_one() {
    let rule = WindowRule::Rolling { length: Duration::from_secs(5 * 3_600) };
    assert_eq!(rule.bucket(), Some(Duration::from_secs(300)));
    let window = rule.at(at("2026-11-22T12:03:00Z"));
    assert_eq!((window.start, window.end), (at("2026-11-22T12:00:00Z"), at("2026-11-22T12:05:00Z")));
    assert_eq!(window.counts_from, at("2026-11-22T07:00:00Z"));
    assert_eq!(window.leaves_at(window.start), at("2026-11-22T17:05:00Z"));
    assert!(window.is_rolling());
}

#[test]
fn a_lifetime_never_ends_and_a_minute_is_a_minute() {
    assert_eq!(WindowRule::Lifetime.at(Timestamp(5)).resets_at(), None);
    let minute = every(Every::Minute, "UTC", 1).at(at("2026-11-22T12:03:59Z"));
    assert_eq!((minute.start, minute.end), (at("2026-11-22T12:03:00Z"), at("2026-11-22T12:04:00Z")));
}

fn rules() -> impl Strategy<Value = WindowRule> {
    let zones = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia"];
    let calendar = (
        prop::sample::select(vec![Every::Minute, Every::Hour, Every::Day, Every::Week, Every::Month, Every::Year]),
        prop::sample::select(zones.to_vec()),
        0u8..40,
    );
    prop_oneof![
        6 => calendar.prop_map(|(period, zone, from)| every(period, zone, from)),
        1 => (1u64..10_000_000).prop_map(|seconds| WindowRule::Rolling { length: Duration::from_secs(seconds) }),
        1 => Just(WindowRule::Lifetime),
    ]
}

proptest! {
    /// 2000 to 2060: every moment is in one window, which its ends confirm, and the next begins where it ends.
    #[test]
    fn windows_follow_each_other_without_gap_or_overlap(
        rule in rules(), micros in 946_684_800_000_000i64..2_840_140_800_000_000
    ) {
        let window = rule.at(Timestamp(micros));
        prop_assert!(window.contains(Timestamp(micros)));
        prop_assert_eq!(rule.at(window.start), window);
        if window.resets_at().is_some() {
            prop_assert_eq!(rule.at(Timestamp(window.end.0 - 1)), window);
            prop_assert_eq!(rule.at(window.end).start, window.end);
            prop_assert_eq!(rule.at(Timestamp(window.start.0 - 1)).end, window.start);
        }
    }

    #[test]
    fn no_moment_makes_it_panic(rule in rules(), micros in any::<i64>()) {
        rule.at(Timestamp(micros));
    }
}
