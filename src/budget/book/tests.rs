use super::super::window::WindowRule;
use super::super::{BasisPoints, Hardness};
use super::*;
use std::time::Duration;

const NOW: Timestamp = Timestamp(1_795_302_453_000_000);

pub(crate) fn budget(name: &str, unit: Unit, limit: u128) -> Budget {
    Budget {
        name: name.into(),
        unit,
        limit,
        hardness: Hardness::Hard,
        window: WindowRule::Lifetime,
        thresholds: vec![BasisPoints(8_000)],
        is_rate_limit: false,
        clamp: true,
        show_amounts: true,
        message: None,
    }
}

pub(crate) fn instance(budget: Budget, now: Timestamp) -> Arc<Instance> {
    let window = budget.window.at(now);
    Arc::new(Instance::new(Arc::new(budget), Arc::from(""), window))
}

fn demand(instance: &Arc<Instance>, amount: u64) -> Demand {
    Demand { instance: instance.clone(), amount, binds: true }
}

fn used(pico_usd: u64, tokens: u64) -> Actual {
    Actual { pico_usd: Some(pico_usd), tokens: Some(tokens), requests: 1, at_least_held: false }
}

/// Opens the account with all of its limit.
fn open(book: &mut Book, instance: &Arc<Instance>) {
    let amount = if instance.budget.is_leased() { instance.budget.limit } else { 0 };
    lend(book, instance, amount);
}

fn lend(book: &mut Book, instance: &Arc<Instance>, amount: u128) {
    let grant = Granted { instance: instance.clone(), amount, base: 0, elsewhere: 0, siblings: Vec::new() };
    book.granted(&grant, NOW);
}

fn two(team: u128, key: u128) -> (Book, Arc<Instance>, Arc<Instance>) {
    let mut book = Book::default();
    let team = instance(budget("team", Unit::PicoUsd, team), NOW);
    let key = instance(budget("key", Unit::Tokens, key), NOW);
    open(&mut book, &team);
    open(&mut book, &key);
    (book, team, key)
}

fn blocked(denied: Denied) -> Vec<(Arc<str>, u64, u128)> {
    match denied {
        Denied::Over { blocked, .. } => {
            blocked.into_iter().map(|b| (b.instance.budget.name.clone(), b.requested, b.limit)).collect()
        }
        Denied::Wanting(wants) => panic!("it wants {wants:?}"),
    }
}

fn balance(book: &mut Book, instance: &Arc<Instance>) -> (u128, u128) {
    book.balance(instance).map(|balance| (balance.spent, balance.held)).unwrap()
}

#[test]
fn a_refusal_names_every_budget_that_blocked_and_holds_nothing() {
    let (mut book, team, key) = two(100, 10);
    let both = |book: &mut Book, a, b| book.reserve(&[demand(&team, a), demand(&key, b)], false, NOW);
    let refused = blocked(both(&mut book, 101, 11).unwrap_err());
    assert_eq!(refused, [("team".into(), 101, 100), ("key".into(), 11, 10)]);
    assert_eq!(blocked(both(&mut book, 100, 11).unwrap_err()).len(), 1);
    assert!(both(&mut book, 100, 10).is_ok(), "nothing was held by the refused ones");
}

#[test]
fn with_no_demands_everything_is_admitted() {
    let mut book = Book::default();
    let hold = book.reserve(&[], false, NOW).unwrap();
    assert_eq!(book.settle(hold, &used(5, 5)), Ok(vec![]));
}

#[test]
fn a_second_settlement_has_a_name_and_changes_nothing() {
    let (mut book, team, key) = two(100, 10);
    let hold = book.reserve(&[demand(&team, 60), demand(&key, 5)], false, NOW).unwrap();
    assert_eq!(book.settle(hold, &used(20, 3)), Ok(vec![]));
    assert_eq!(book.settle(hold, &used(20, 3)), Err(AlreadySettled));
    assert_eq!(book.release(hold), Err(AlreadySettled));
    assert_eq!(balance(&mut book, &team), (20, 0));
}

#[test]
fn what_is_not_known_spends_the_whole_hold() {
    let (mut book, team, _) = two(100, 10);
    let hold = book.reserve(&[demand(&team, 60)], false, NOW).unwrap();
    assert_eq!(
        book.settle(hold, &Actual { pico_usd: None, tokens: None, requests: 1, at_least_held: false }),
        Ok(vec![])
    );
    assert_eq!(balance(&mut book, &team), (60, 0));
}

#[test]
fn an_overrun_is_booked_and_told() {
    let (mut book, team, _) = two(100, 10);
    let hold = book.reserve(&[demand(&team, 60)], false, NOW).unwrap();
    assert_eq!(book.settle(hold, &used(130, 5)), Ok(vec![Overrun { budget: team.account, above: 70 }]));
    assert_eq!(balance(&mut book, &team), (130, 0));
    assert_eq!(book.account(team.account).map(|account| (account.overrun, account.left())), Some((70, -30)));
}

#[test]
fn two_demands_on_one_budget_must_fit_together() {
    let (mut book, team, _) = two(100, 10);
    let refused = book.reserve(&[demand(&team, 60), demand(&team, 60)], false, NOW).unwrap_err();
    assert_eq!(blocked(refused), [("team".into(), 120, 100)]);
}

#[test]
fn an_account_that_is_not_open_is_wanted_from_the_store() {
    let team = instance(budget("team", Unit::PicoUsd, 100), NOW);
    let wanting = Book::default().reserve(&[demand(&team, 1)], false, NOW).unwrap_err();
    assert_eq!(wanting, Denied::Wanting(vec![Want { instance: team, amount: 0 }]));
}

#[test]
fn what_fits_the_limit_and_not_the_slice_wants_the_rest_from_the_store() {
    let mut book = Book::default();
    let team = instance(budget("team", Unit::PicoUsd, 1_000), NOW);
    lend(&mut book, &team, 100);
    let first = book.reserve(&[demand(&team, 90)], false, NOW).unwrap();
    let wanting = book.reserve(&[demand(&team, 50)], false, NOW).unwrap_err();
    assert_eq!(wanting, Denied::Wanting(vec![Want { instance: team.clone(), amount: 40 }]));
    lend(&mut book, &team, 40);
    assert!(book.reserve(&[demand(&team, 50)], false, NOW).is_ok());
    book.release(first).unwrap();
    assert!(book.reserve(&[demand(&team, 90)], false, NOW).is_ok(), "a released hold is free at once");
}

#[test]
fn what_only_holds_keep_out_may_wait_and_what_is_spent_may_not() {
    let (mut book, team, _) = two(100, 10);
    let hold = book.reserve(&[demand(&team, 80)], false, NOW).unwrap();
    let refused = |book: &mut Book, amount| match book.reserve(&[demand(&team, amount)], false, NOW) {
        Err(Denied::Over { by_holds, .. }) => by_holds,
        other => panic!("{other:?}"),
    };
    assert!(refused(&mut book, 30));
    assert!(!refused(&mut book, 101), "that never fits");
    book.settle(hold, &used(80, 0)).unwrap();
    assert!(!refused(&mut book, 30));
}

#[test]
fn demands_that_do_not_bind_are_booked_above_the_limit_and_bind_others() {
    let (mut book, team, _) = two(100, 10);
    let on_call = Demand { binds: false, ..demand(&team, 150) };
    let hold = book.reserve(&[on_call], false, NOW).unwrap();
    assert_eq!(balance(&mut book, &team), (0, 150));
    assert!(book.reserve(&[demand(&team, 1)], false, NOW).is_err());
    book.settle(hold, &used(140, 0)).unwrap();
    assert_eq!(balance(&mut book, &team), (140, 0));
}

#[test]
fn a_top_up_holds_more_for_the_same_call_or_nothing() {
    let (mut book, team, key) = two(100, 10);
    let hold = book.reserve(&[demand(&team, 40)], false, NOW).unwrap();
    assert_eq!(book.top_up(hold, &[demand(&team, 40), demand(&key, 4)], false, NOW), Ok(hold));
    assert!(book.top_up(hold, &[demand(&team, 21)], false, NOW).is_err());
    assert_eq!(balance(&mut book, &team), (0, 80));
    book.settle(hold, &used(75, 4)).unwrap();
    assert_eq!((balance(&mut book, &team), balance(&mut book, &key)), ((75, 0), (4, 0)));
    let nothing = book.reserve(&[], false, NOW).unwrap();
    let named = book.top_up(nothing, &[demand(&team, 25)], false, NOW).unwrap();
    assert_eq!(balance(&mut book, &team), (75, 25));
    book.release(named).unwrap();
}

#[test]
fn a_raised_limit_frees_at_once_and_a_lowered_one_holds_at_once() {
    let (mut book, team, _) = two(100, 10);
    let hold = book.reserve(&[demand(&team, 100)], false, NOW).unwrap();
    let other = |limit| Arc::new(Budget { limit, ..(*team.budget).clone() });
    assert_eq!(book.set_terms(&[other(200)]).len(), 1);
    assert_eq!(book.set_terms(&[other(200)]).len(), 0, "nothing differs");
    assert!(matches!(book.reserve(&[demand(&team, 50)], false, NOW), Err(Denied::Wanting(_))));
    lend(&mut book, &team, 100);
    book.set_terms(&[other(120)]);
    assert_eq!(blocked(book.reserve(&[demand(&team, 50)], false, NOW).unwrap_err()), [("team".into(), 50, 120)]);
    book.release(hold).unwrap();
    assert!(book.reserve(&[demand(&team, 120)], false, NOW).is_ok());
}

fn rolling(limit: u128) -> Budget {
    Budget {
        window: WindowRule::Rolling { length: Duration::from_secs(3_600) },
        ..budget("hour", Unit::PicoUsd, limit)
    }
}

fn minutes(count: i64) -> Timestamp {
    Timestamp(1_795_302_420_000_000 + count * 60_000_000)
}

#[test]
fn a_rolling_window_counts_sixty_buckets_back_and_says_when_enough_leaves_it() {
    let mut book = Book::default();
    for (minute, amount) in [(0, 40), (10, 50)] {
        let bucket = instance(rolling(100), minutes(minute));
        open(&mut book, &bucket);
        let hold = book.reserve(&[demand(&bucket, amount)], false, minutes(minute)).unwrap();
        book.settle(hold, &used(amount, 0)).unwrap();
    }
    let late = instance(rolling(100), minutes(60));
    open(&mut book, &late);
    let Err(Denied::Over { blocked, .. }) = book.reserve(&[demand(&late, 20)], false, minutes(60)) else { panic!() };
    assert_eq!((blocked[0].spent, blocked[0].frees_at), (90, Some(minutes(61))));
    let Err(Denied::Over { blocked, .. }) = book.reserve(&[demand(&late, 60)], false, minutes(60)) else { panic!() };
    assert_eq!(blocked[0].frees_at, Some(minutes(71)));
    let later = instance(rolling(100), minutes(61));
    open(&mut book, &later);
    assert!(book.reserve(&[demand(&later, 50)], false, minutes(61)).is_ok());
}

/// Stepping back never makes room: what was spent in buckets that lie ahead then counts as well.
#[test]
fn a_clock_that_steps_back_frees_nothing_of_a_rolling_window_or_a_minute() {
    let mut book = Book::default();
    let later = instance(rolling(100), minutes(30));
    open(&mut book, &later);
    let hold = book.reserve(&[demand(&later, 60)], false, minutes(30)).unwrap();
    book.settle(hold, &used(60, 0)).unwrap();
    let earlier = instance(rolling(100), minutes(0));
    open(&mut book, &earlier);
    assert!(book.reserve(&[demand(&earlier, 41)], true, minutes(0)).is_err());
    assert!(book.reserve(&[demand(&earlier, 40)], true, minutes(0)).is_ok());

    let limit = Budget { is_rate_limit: true, ..budget("tokens per minute", Unit::Tokens, 1_000) };
    let per_minute =
        WindowRule::Calendar { every: super::super::window::Every::Minute, zone: jiff::tz::TimeZone::UTC, from: 0 };
    let limit = Arc::new(Budget { window: per_minute, ..limit });
    let at = |now| Arc::new(Instance::new(Arc::clone(&limit), Arc::from(""), limit.window.at(now)));
    for minute in [0, 1] {
        let hold = book.reserve(&[demand(&at(minutes(minute)), 900)], false, minutes(minute)).unwrap();
        book.settle(hold, &used(0, 900)).unwrap();
    }
    assert!(book.reserve(&[demand(&at(minutes(0)), 101)], false, minutes(0)).is_err(), "the minute as it was left");
    assert!(book.reserve(&[demand(&at(minutes(0)), 100)], false, minutes(0)).is_ok());
}

#[test]
fn the_slices_of_past_buckets_are_taken_back_before_more_is_asked() {
    let mut book = Book::default();
    let (old, new) = (instance(rolling(100), minutes(0)), instance(rolling(100), minutes(1)));
    lend(&mut book, &old, 70);
    book.reserve(&[demand(&old, 20)], false, minutes(0)).unwrap();
    let slack = book.take_slack(&[Want { instance: new, amount: 10 }]);
    assert_eq!(slack, [Returned { account: old.account, amount: 50, forgotten: false }]);
}

#[test]
fn an_ended_window_gives_its_slice_back_and_is_forgotten_when_the_store_has_all_of_it() {
    let mut book = Book::default();
    let day = WindowRule::Calendar { every: super::super::window::Every::Day, zone: jiff::tz::TimeZone::UTC, from: 0 };
    let today = instance(Budget { window: day, ..budget("day", Unit::PicoUsd, 100) }, NOW);
    open(&mut book, &today);
    let hold = book.reserve(&[demand(&today, 30)], false, NOW).unwrap();
    assert_eq!(book.sweep(10, NOW, Timestamp(0)), []);
    let tomorrow = today.window.end;
    let returned = |amount, forgotten| Returned { account: today.account, amount, forgotten };
    assert_eq!(book.sweep(10, tomorrow, Timestamp(0)), [returned(70, false)]);
    book.settle(hold, &used(25, 0)).unwrap();
    assert_eq!(book.sweep(10, tomorrow, Timestamp(0)), [returned(5, false)]);
    book.folded(&[Charge { account: today.account, amount: 25 }]);
    assert_eq!(book.sweep(10, tomorrow, Timestamp(0)), [returned(0, true)]);
    assert_eq!(book.open_accounts(), 0);
}

#[test]
fn a_limit_per_minute_needs_no_store() {
    let mut book = Book::default();
    let limit = Budget { is_rate_limit: true, ..budget("tokens per minute", Unit::Tokens, 1_000) };
    let minute = instance(limit, NOW);
    let hold = book.reserve(&[demand(&minute, 900)], false, NOW).unwrap();
    assert_eq!(book.held(hold).map(|hold| (hold.claims.len(), hold.limits.len())), Some((0, 1)));
    assert!(book.reserve(&[demand(&minute, 101)], false, NOW).is_err());
    book.settle(hold, &used(0, 300)).unwrap();
    assert!(book.reserve(&[demand(&minute, 700)], false, NOW).is_ok());
}

#[test]
fn a_half_used_slice_is_filled_up_before_it_is_needed_and_asked_for_once() {
    let mut book = Book::default();
    let team = instance(budget("team", Unit::PicoUsd, 6_400), NOW);
    lend(&mut book, &team, 100);
    book.reserve(&[demand(&team, 60)], false, NOW).unwrap();
    book.reserve(&[demand(&team, 10)], false, NOW).unwrap();
    assert_eq!(book.take_low(), [Want { instance: team.clone(), amount: 0 }]);
    lend(&mut book, &team, 0);
    book.reserve(&[demand(&team, 10)], false, NOW).unwrap();
    assert_eq!(book.take_low(), [], "there was nothing more to be had");
}
