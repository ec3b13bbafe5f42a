use super::*;
use crate::catalog::{Catalog, Model, load};
use proptest::prelude::*;
use std::sync::LazyLock;

const FILE: &str = r#"
version: 1
date: 2026-11-21
models:
  p:
    tiered:
      per_mtok: {input: "2", output: "10", cache_read: "0.1", cache_write: "2.5", cache_write_12h: "5"}
      per_1k: {web_search: "10"}
      tiers: [{above_input_tokens: 272000, per_mtok: {input: "4", output: "15", cache_read: "0.2", cache_write: "5", cache_write_12h: "10"}}]
      service_tiers:
        flex: {multiply: "0.5"}
        priority: {auto: true, per_mtok: {input: "4", output: "20"}}
        batch: {multiply: "0.5"}
      multipliers: {region: {eu: "1.1"}, speed: {fast: "2"}}
    peak:
      per_mtok: {input: "0.66", output: "1.98", cache_read: "0.022"}
      windows: [{utc: "01:00-04:00", multiply: "2"}, {utc: "22:30-00:15", per_mtok: {input: "9"}}]
    weekdays:
      per_mtok: {input: "1"}
      windows: [{utc: "01:00-04:00", days: [mon, tue, wed, thu, fri], multiply: "2"}]
    dated:
      per_mtok: {input: "2", output: "10", cache_read: "0.1"}
      changes:
        - {from: 2026-12-01, per_mtok: {input: "4", output: "20"}}
        - {from: 2027-03-01, per_mtok: {output: "8"}}
    bare: {per_mtok: {input: "3", output: "15"}}
    writes: {per_mtok: {input: "3", output: "15", cache_write: "3.75", cache_write_1h: "6"}}
    sound: {per_mtok: {input: "0.3", output: "2.5", input_audio: "1", cache_read: "0.03", output_audio: "12"}}
    hourly: {per_audio_hour: "0.04"}
    minutely: {per_audio_minute: "0.006"}
    picture:
      per_image:
        - {size: 1024x1024, quality: standard, price: "0.04"}
        - {size: 1024x1024, quality: hd, price: "0.08"}
        - {size: 1792x1024, quality: standard, price: "0.08"}
        - {size: 1792x1024, quality: hd, price: "0.12"}
    fine: {per_mtok: {input: "0.0375", output: "0.000000003"}}
    free: {per_mtok: {input: "0", output: "0"}}
    silent: {context_window: 4096}
"#;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| load(FILE, &[]).unwrap_or_else(|faults| panic!("{faults:#?}")));

fn model(name: &str) -> Arc<Model> {
    CATALOG.resolve("p", name).unwrap().model
}

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn noon() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

fn tier(name: &str) -> Terms {
    Terms { service_tier: Some(name.into()), ..Terms::default() }
}

fn uses<const N: usize>(kinds: [(Kind, u64); N]) -> TokenUsage {
    kinds.into_iter().fold(TokenUsage::ZERO, |usage, (kind, units)| usage.with(kind, units))
}

fn cost(name: &str, usage: TokenUsage, terms: &Terms, now: Timestamp) -> Cost {
    match model(name).price(&usage, terms, now) {
        Pricing::Priced(cost) => *cost,
        other => panic!("{name}: {other:?}"),
    }
}

fn dollars(name: &str, usage: TokenUsage, terms: &Terms, now: Timestamp) -> String {
    cost(name, usage, terms, now).total.to_string()
}

#[test]
fn a_call_costs_its_tokens_times_their_rates() {
    // 1,000 × $2 + 200 × $0.1 + 300 × $10, all a million: 0.002 + 0.00002 + 0.003.
    let usage = uses([(Kind::Input, 1_000), (Kind::CacheRead, 200), (Kind::Output, 300)]);
    let cost = cost("tiered", usage, &Terms::default(), noon());
    assert_eq!(cost.total.to_string(), "0.00502");
    let parts: Vec<_> = cost.by_kind.iter().map(|(kind, part)| (kind.name(), part.to_string())).collect();
    assert_eq!(
        parts,
        [("input", "0.002".to_owned()), ("cache_read", "0.00002".to_owned()), ("output", "0.003".to_owned())]
    );
    assert_eq!(
        cost.rates,
        [
            (Kind::Input, Rate::per("2", 1_000_000).unwrap()),
            (Kind::CacheRead, Rate::per("0.1", 1_000_000).unwrap()),
            (Kind::Output, Rate::per("10", 1_000_000).unwrap()),
        ]
    );
    assert!(cost.catalog.starts_with("2026-11-21-"), "{}", cost.catalog);
}

#[test]
fn above_a_tier_the_whole_request_costs_the_tier_s_rates() {
    // Exactly 272,000 is still below: 272,000 × $2 = 0.544.
    assert_eq!(dollars("tiered", uses([(Kind::Input, 272_000)]), &Terms::default(), noon()), "0.544");
    // One more, cached ones included: 172,001 × $4 + 100,000 × $0.2 + 1,000 × $15 = 0.688004 + 0.02 + 0.015.
    let usage = uses([(Kind::Input, 172_001), (Kind::CacheRead, 100_000), (Kind::Output, 1_000)]);
    let cost = cost("tiered", usage, &Terms::default(), noon());
    assert_eq!(cost.total.to_string(), "0.723004");
    assert_eq!(cost.terms, [Arc::from("tier >272000")]);
}

#[test]
fn a_service_tier_is_billed_as_the_response_names_it() {
    let usage = uses([(Kind::Input, 1_000_000 / 4), (Kind::Output, 100_000)]);
    // 0.25 × 2 + 0.1 × 10 = 1.5; flex halves it; priority: 0.25 × 4 + 0.1 × 20 = 3.
    for (name, expected) in [
        ("default", "1.50"),
        ("flex", "0.75"),
        ("priority", "3.00"),
        ("fast", "3.00"),
        ("FLEX", "0.75"),
        ("auto", "1.50"),
    ] {
        assert_eq!(dollars("tiered", usage, &tier(name), noon()), expected, "{name}");
    }
    let batch = Terms { batch: true, ..Terms::default() };
    assert_eq!(dollars("tiered", usage, &batch, noon()), "0.75");
    // A tier without a rate costs the plain one, and says so.
    let scale = cost("tiered", usage, &tier("scale"), noon());
    assert_eq!(
        (scale.total.to_string().as_str(), &*scale.terms[0]),
        ("1.50", "service_tier scale: no rate, the default's")
    );
}

#[test]
fn a_service_tier_keeps_the_size_tiers_of_the_plain_one() {
    // flex halves the tier above 272k too: 300,000 × $2 = 0.6. Fees a call are not halved: 3 × $10 a thousand = 0.03.
    let usage = uses([(Kind::Input, 300_000), (Kind::WebSearch, 3)]);
    assert_eq!(dollars("tiered", usage, &tier("flex"), noon()), "0.63");
}

#[test]
fn a_multiplier_acts_on_tokens_and_is_rounded_once() {
    // (1,000 × $2 + 1 × $10) × 1.1 = 0.002211; fees a call stay: 1 × $10 a thousand = 0.01.
    let usage = uses([(Kind::Input, 1_000), (Kind::Output, 1), (Kind::WebSearch, 1)]);
    let eu = Terms { region: Some("eu".into()), ..Terms::default() };
    let in_eu = cost("tiered", usage, &eu, noon());
    assert_eq!((in_eu.total.to_string().as_str(), &*in_eu.terms[0]), ("0.012211", "region eu ×1.1"));
    let both = Terms { region: Some("EU".into()), speed: Some("fast".into()), ..Terms::default() };
    // 0.00201 × 2.2 + 0.01.
    assert_eq!(dollars("tiered", usage, &both, noon()), "0.014422");
}

#[test]
fn peak_hours_are_utc_and_half_open() {
    let usage = uses([(Kind::Input, 1_000_000), (Kind::Output, 1_000_000), (Kind::CacheRead, 1_000_000)]);
    // 0.66 + 1.98 + 0.022 = 2.662; doubled 5.324; in the window over midnight: 9 + 1.98 + 0.022.
    for (moment, expected) in [
        ("2026-11-21T00:59:59Z", "2.662"),
        ("2026-11-21T01:00:00Z", "5.324"),
        ("2026-11-21T03:59:59Z", "5.324"),
        ("2026-11-21T04:00:00Z", "2.662"),
        ("2026-11-21T22:29:00Z", "2.662"),
        ("2026-11-21T22:30:00Z", "11.002"),
        ("2026-11-22T00:14:59Z", "11.002"),
        ("2026-11-22T00:15:00Z", "2.662"),
    ] {
        assert_eq!(dollars("peak", usage, &Terms::default(), at(moment)), expected, "{moment}");
    }
}

#[test]
fn a_window_can_keep_to_days_of_the_week() {
    let usage = uses([(Kind::Input, 1_000_000)]);
    // 2026-11-20 is a Friday, 2026-11-23 a Monday.
    for (moment, expected, ceiling) in [
        ("2026-11-20T02:00:00Z", "2.00", "2.00"),
        ("2026-11-21T02:00:00Z", "1.00", "1.00"),
        ("2026-11-22T02:00:00Z", "1.00", "1.00"),
        ("2026-11-23T00:30:00Z", "1.00", "2.00"),
        ("2026-11-23T02:00:00Z", "2.00", "2.00"),
    ] {
        assert_eq!(dollars("weekdays", usage, &Terms::default(), at(moment)), expected, "{moment}");
        let bound = model("weekdays").ceiling(&usage, &Terms::default(), at(moment));
        assert_eq!(bound.unwrap().to_string(), ceiling, "{moment}");
    }
}

#[test]
fn a_dated_change_takes_effect_at_midnight_utc_and_changes_only_what_it_names() {
    let usage = uses([(Kind::Input, 1_000_000), (Kind::Output, 1_000_000), (Kind::CacheRead, 1_000_000)]);
    for (moment, expected) in [
        ("1990-01-01T00:00:00Z", "12.10"),
        ("2026-11-30T23:59:59Z", "12.10"),
        // 4 + 20 + 0.1
        ("2026-12-01T00:00:00Z", "24.10"),
        // 4 + 8 + 0.1
        ("2027-03-01T00:00:00Z", "12.10"),
    ] {
        assert_eq!(dollars("dated", usage, &Terms::default(), at(moment)), expected, "{moment}");
    }
    assert_eq!(
        cost("dated", usage, &Terms::default(), at("2026-12-02T00:00:00Z")).terms,
        [Arc::from("from 2026-12-01")]
    );
}

#[test]
fn a_kind_without_a_price_costs_what_it_is_a_case_of() {
    let million = |kind| uses([(kind, 1_000_000)]);
    for (name, kind, expected) in [
        ("bare", Kind::CacheRead, "3.00"),
        ("bare", Kind::CacheWrite1h, "3.00"),
        ("bare", Kind::Reasoning, "15.00"),
        ("bare", Kind::InputImage, "3.00"),
        ("writes", Kind::CacheWrite5m, "3.75"),
        ("writes", Kind::CacheWrite30m, "3.75"),
        ("writes", Kind::CacheWrite1h, "6.00"),
        ("writes", Kind::CacheWrite12h, "6.00"),
        ("sound", Kind::InputAudio, "1.00"),
        ("sound", Kind::CacheReadAudio, "0.03"),
        ("sound", Kind::OutputAudio, "12.00"),
        ("sound", Kind::OutputImage, "2.50"),
    ] {
        assert_eq!(dollars(name, million(kind), &Terms::default(), noon()), expected, "{name} {kind:?}");
    }
}

#[test]
fn what_has_no_price_is_unpriced_and_never_zero() {
    let no_rate = Pricing::Unpriced(Unpriced::NoRate);
    let price = |name: &str, usage| model(name).price(&usage, &Terms::default(), noon());
    assert_eq!(price("bare", uses([(Kind::Input, 5), (Kind::WebSearch, 1)])), no_rate);
    assert_eq!(price("silent", uses([(Kind::Input, 5)])), no_rate);
    assert_eq!(price("hourly", uses([(Kind::Input, 5)])), no_rate);
    assert_eq!(model("silent").ceiling(&uses([(Kind::Input, 5)]), &Terms::default(), noon()), None);
    assert_eq!(dollars("free", uses([(Kind::Input, 5), (Kind::Output, 5)]), &Terms::default(), noon()), "0.00");
    let nonsense = uses([(Kind::Input, u64::MAX), (Kind::Output, u64::MAX)]);
    assert_eq!(price("bare", nonsense), Pricing::Unpriced(Unpriced::OutOfRange));
}

#[test]
fn sound_is_priced_by_its_length() {
    // $0.04 an hour: 90 s = 0.001 exactly; 1 ms = 0.04 / 3,600,000 = 0.0000000111… → 11,111 pico-dollars.
    assert_eq!(dollars("hourly", uses([(Kind::AudioMillis, 90_000)]), &Terms::default(), noon()), "0.001");
    assert_eq!(dollars("hourly", uses([(Kind::AudioMillis, 1)]), &Terms::default(), noon()), "0.000000011111");
    // $0.006 a minute: 61 s = 0.0061.
    assert_eq!(dollars("minutely", uses([(Kind::AudioMillis, 61_000)]), &Terms::default(), noon()), "0.0061");
}

#[test]
fn images_are_priced_by_size_and_quality() {
    let order = |size: Option<&str>, quality: Option<&str>| Terms {
        image_size: size.map(Arc::from),
        image_quality: quality.map(Arc::from),
        ..Terms::default()
    };
    let two = uses([(Kind::Images, 2)]);
    assert_eq!(dollars("picture", two, &order(None, None), noon()), "0.08");
    assert_eq!(dollars("picture", two, &order(Some("1792x1024"), None), noon()), "0.16");
    assert_eq!(dollars("picture", two, &order(Some("1792x1024"), Some("hd")), noon()), "0.24");
    assert_eq!(dollars("picture", two, &order(Some("auto"), Some("standard")), noon()), "0.16");
    let unknown = model("picture").price(&two, &order(Some("1x1"), None), noon());
    assert_eq!(unknown, Pricing::Unpriced(Unpriced::NoRate));
}

#[test]
fn half_a_pico_dollar_is_rounded_once_over_the_sum_not_a_kind() {
    // Output at $0.000000003 a million is 3 femto-dollars a token: 500 tokens are 1.5 pico-dollars, to the even 2.
    let alone = cost("fine", uses([(Kind::Output, 500)]), &Terms::default(), noon());
    assert_eq!(alone.total, Usd::from_pico(2));
    // 1 × 37,500 pico-dollars before it: 37,501.5 → 37,502; the parts are 37,500 and 2.
    let both = cost("fine", uses([(Kind::Input, 1), (Kind::Output, 500)]), &Terms::default(), noon());
    assert_eq!(both.by_kind, [(Kind::Input, Usd::from_pico(37_500)), (Kind::Output, Usd::from_pico(2))]);
}

#[test]
fn a_ceiling_is_the_dearest_way_to_bill_the_bound() {
    let bound = uses([(Kind::Input, 1_000_000 / 4), (Kind::Output, 100_000)]);
    let ceiling = |terms: &Terms| model("tiered").ceiling(&bound, terms, noon()).unwrap().to_string();
    let no_writes = |terms: Terms| Terms { cache_writes: CacheWrites::Never, ..terms };
    // 0.25 × $2 + 0.1 × $10.
    assert_eq!(ceiling(&no_writes(tier("default"))), "1.50");
    // `auto` may become priority: 0.25 × $4 + 0.1 × $20.
    assert_eq!(ceiling(&no_writes(tier("auto"))), "3.00");
    // All input may be written for 12 hours: 0.25 × $5 + 0.1 × $10.
    assert_eq!(ceiling(&tier("default")), "2.25");
    // Flex may be billed as default where there is no room in it.
    assert_eq!(ceiling(&no_writes(tier("flex"))), "1.50");
}

#[test]
fn a_ceiling_looks_an_hour_ahead() {
    let bound = uses([(Kind::Input, 1_000_000)]);
    let ceiling =
        |name: &str, moment: &str| model(name).ceiling(&bound, &Terms::default(), at(moment)).unwrap().to_string();
    assert_eq!(ceiling("peak", "2026-11-21T12:00:00Z"), "0.66");
    assert_eq!(ceiling("peak", "2026-11-21T21:31:00Z"), "9.00");
    assert_eq!(ceiling("dated", "2026-11-30T22:59:00Z"), "2.00");
    assert_eq!(ceiling("dated", "2026-11-30T23:01:00Z"), "4.00");
}

const NAMES: [&str; 10] =
    ["tiered", "peak", "weekdays", "dated", "bare", "writes", "sound", "picture", "fine", "hourly"];
const TIERS: [Option<&str>; 5] = [None, Some("default"), Some("flex"), Some("priority"), Some("auto")];

fn usage() -> impl Strategy<Value = TokenUsage> {
    let units = prop_oneof![3 => Just(0u64), 3 => 0u64..2_000, 2 => 0u64..600_000, 1 => 0u64..10_000_000];
    prop::collection::vec(units, Kind::COUNT).prop_map(|units| {
        Kind::ALL.into_iter().zip(units).fold(TokenUsage::ZERO, |usage, (kind, units)| usage.with(kind, units))
    })
}

/// Without the kinds that the model has no price for, so that what is left has one.
fn priced_part(model: &Model, usage: &TokenUsage) -> TokenUsage {
    let has_price = |kind| matches!(model.price(&uses([(kind, 1)]), &Terms::default(), noon()), Pricing::Priced(_));
    usage
        .used()
        .filter(|(kind, _)| has_price(*kind))
        .fold(TokenUsage::ZERO, |kept, (kind, units)| kept.with(kind, units))
}

/// A bound that a usage is within, where everything the provider chooses is folded into its group.
fn bound_of(usage: &TokenUsage) -> TokenUsage {
    let group = |kind: Kind| match kind {
        Kind::CacheReadAudio => Kind::InputAudio,
        Kind::CacheReadImage => Kind::InputImage,
        Kind::InputAudio | Kind::InputImage | Kind::InputVideo => kind,
        kind if kind.is_input_token() => Kind::Input,
        kind if kind.is_output_token() => Kind::Output,
        kind => kind,
    };
    let mut bound = TokenUsage::ZERO;
    for (kind, units) in usage.used() {
        bound[group(kind)] = bound[group(kind)].saturating_add(units);
    }
    bound
}

proptest! {
    #[test]
    fn the_parts_sum_to_the_total(
        usage in usage(), name in 0..NAMES.len(), tier in 0..TIERS.len(), minute in 0i64..5_000_000,
    ) {
        let terms = Terms { service_tier: TIERS[tier].map(Arc::from), region: Some("eu".into()), ..Terms::default() };
        let usage = priced_part(&model(NAMES[name]), &usage);
        let cost = cost(NAMES[name], usage, &terms, Timestamp(minute * 60_000_000 + noon().0));
        let sum: i128 = cost.by_kind.iter().map(|(_, part)| part.widen()).sum();
        prop_assert_eq!(sum, cost.total.widen());
        prop_assert_eq!(cost.by_kind.len(), usage.used().count());
    }

    #[test]
    fn no_usage_costs_more_than_the_ceiling_of_a_bound_it_is_within(
        usage in usage(), slack in usage(), name in 0..NAMES.len(), asked in 0..TIERS.len(), billed in 0..TIERS.len(),
        start in 0i64..300_000, later in 0i64..60,
    ) {
        let model = model(NAMES[name]);
        let now = Timestamp(start * 60_000_000 + noon().0);
        let asked = Terms { service_tier: TIERS[asked].map(Arc::from), speed: Some("fast".into()), ..Terms::default() };
        // `auto` may be billed as what is marked so; anything else as itself or the plain one.
        let billed = match asked.service_tier.as_deref() {
            Some("auto") if TIERS[billed] == Some("priority") => Some("priority"),
            Some(own) if own != "auto" && billed % 2 == 0 => Some(own),
            _ => Some("default"),
        };
        let billed = Terms { service_tier: billed.map(Arc::from), speed: Some("fast".into()), ..Terms::default() };
        let usage = priced_part(&model, &usage);
        let mut bound = bound_of(&usage);
        bound.add(&bound_of(&priced_part(&model, &slack)));
        let cost = cost(NAMES[name], usage, &billed, Timestamp(now.0 + later * 60_000_000));
        let ceiling = model.ceiling(&bound, &asked, now);
        prop_assert!(ceiling.is_some_and(|ceiling| cost.total <= ceiling), "{:?} > {:?}: {:?} within {:?}", cost, ceiling, usage, bound);
    }

    #[test]
    fn more_usage_never_costs_less(usage in usage(), more in 0usize..Kind::COUNT, name in 0..NAMES.len()) {
        let model = model(NAMES[name]);
        let mut larger = usage;
        larger[Kind::ALL[more]] += 1_000;
        let [less, more] = [usage, larger].map(|usage| cost(NAMES[name], priced_part(&model, &usage), &Terms::default(), noon()));
        prop_assert!(less.total <= more.total);
    }

    #[test]
    fn no_usage_makes_the_sum_panic(units in prop::collection::vec(any::<u64>(), Kind::COUNT), name in 0..NAMES.len()) {
        let usage = Kind::ALL.into_iter().zip(units).fold(TokenUsage::ZERO, |usage, (kind, units)| usage.with(kind, units));
        let usage = priced_part(&model(NAMES[name]), &usage);
        let terms = Terms { speed: Some("fast".into()), ..Terms::default() };
        let _ = (model(NAMES[name]).price(&usage, &terms, noon()), model(NAMES[name]).ceiling(&usage, &terms, noon()));
    }
}
