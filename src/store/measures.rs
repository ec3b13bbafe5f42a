//! What rollups sum, defined once: each measure as an expression over a row of `events`. A rollup's column has the
//! measure's name.

use super::names::{COUNTED, ESTIMATED, OK, PRICED, REPORTED, UNMETERED};
use super::usage::Sums;
use crate::tokens::usage::Kind;
use std::sync::LazyLock;

/// Dollars are summed as micro-dollars and a rest: `SUM` over pico-dollars overflows at 9.2 million dollars.
pub(super) const PICO_PER_MICRO: i128 = 1_000_000;

/// Measures before the units by kind.
const FIXED: usize = 12;
pub(super) const COUNT: usize = FIXED + Kind::COUNT;

/// Values of all measures, in order.
pub(super) type Values = [i64; COUNT];

pub(super) struct Measure {
    pub(super) name: String,
    /// Over a row of `events`.
    pub(super) expression: String,
}

pub(super) static MEASURES: LazyLock<Vec<Measure>> = LazyLock::new(|| {
    let measure = |name: &str, expression: String| Measure { name: name.to_owned(), expression };
    let attempts_with = |condition: String| format!("(adjusts IS NULL AND {condition})");
    let mut all = vec![
        measure("calls", "(adjusts IS NULL)".to_owned()),
        measure("adjustments", "(adjusts IS NOT NULL)".to_owned()),
        measure("failed", attempts_with(format!("outcome_id <> {OK}"))),
        measure("unpriced", attempts_with(format!("pricing_id NOT IN ({PRICED}, {UNMETERED})"))),
        measure("unmetered", attempts_with(format!("pricing_id = {UNMETERED}"))),
        measure("reported", attempts_with(format!("usage_source_id = {REPORTED}"))),
        measure("counted", attempts_with(format!("usage_source_id = {COUNTED}"))),
        measure("estimated", attempts_with(format!("usage_source_id = {ESTIMATED}"))),
        measure("cost_micro", format!("cost_pico / {PICO_PER_MICRO}")),
        measure("cost_rest", format!("cost_pico % {PICO_PER_MICRO}")),
        measure("withheld_micro", format!("withheld_pico / {PICO_PER_MICRO}")),
        measure("withheld_rest", format!("withheld_pico % {PICO_PER_MICRO}")),
    ];
    for kind in Kind::ALL {
        let column = format!("units_{}", kind.name());
        all.push(Measure { name: column.clone(), expression: column });
    }
    all
});

/// Values as people read them.
pub(super) fn sums(values: &[i128]) -> Sums {
    let value = |place: usize| values.get(place).copied().unwrap_or_default();
    let count = |place: usize| u64::try_from(value(place)).unwrap_or_default();
    let mut sums = Sums {
        calls: count(0),
        adjustments: count(1),
        failed: count(2),
        unpriced: count(3),
        unmetered: count(4),
        reported: count(5),
        counted: count(6),
        estimated: count(7),
        cost_pico: value(8) * PICO_PER_MICRO + value(9),
        withheld_pico: value(10) * PICO_PER_MICRO + value(11),
        ..Sums::default()
    };
    for kind in Kind::ALL {
        sums.usage[kind] = count(FIXED + kind as usize);
    }
    sums
}
