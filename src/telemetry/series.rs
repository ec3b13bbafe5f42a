//! Counters that keep integers inside, money in pico-dollars, and that Prometheus can trust.
//!
//! A counter's series is shown as 0 the first time it is shown at all, whatever it has counted by then: `increase()` and
//! `rate()` see only differences, so a series that is born at 8 dollars would lose the first 8.

use super::names::{Family, Kind};
use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, LabelPair, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const PICO_PER_USD: f64 = 1e12;

type ByLabels = HashMap<Box<[Arc<str>]>, Arc<Cell>>;

/// One counter family with its series. Cheap to clone: all clones count together.
#[derive(Clone)]
pub struct Tally {
    family: Family,
    desc: Arc<Desc>,
    series: Arc<Mutex<ByLabels>>,
}

/// One series of a [`Tally`]. Never goes down.
#[derive(Debug, Default)]
pub struct Cell {
    /// The low 64 bits; a carry goes into `high`. Pico-dollars fill 64 bits at 18 million dollars.
    low: AtomicU64,
    high: AtomicU64,
    was_shown: AtomicBool,
}

impl Cell {
    pub fn add(&self, units: u64) {
        let before = self.low.fetch_add(units, Ordering::Relaxed);
        if before.checked_add(units).is_none() {
            self.high.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted.
    pub fn units(&self) -> u128 {
        (u128::from(self.high.load(Ordering::Relaxed)) << 64) | u128::from(self.low.load(Ordering::Relaxed))
    }

    fn shown(&self) -> u128 {
        if self.was_shown.swap(true, Ordering::Relaxed) { self.units() } else { 0 }
    }
}

impl Tally {
    pub fn new(family: Family) -> Result<Tally, prometheus::Error> {
        let labels = family.labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())?;
        Ok(Tally { family, desc: Arc::new(desc), series: Arc::default() })
    }

    /// The series of these label values, one for each of the family's labels; made when it is new.
    pub fn cell(&self, values: &[&str]) -> Arc<Cell> {
        debug_assert_eq!(values.len(), self.family.labels.len(), "{}", self.family.name);
        let values: Box<[Arc<str>]> = values.iter().copied().map(Arc::from).collect();
        Arc::clone(self.series.lock().entry(values).or_default())
    }

    /// Counts something whose series need no cached handle.
    pub fn add(&self, values: &[&str], units: u64) {
        self.cell(values).add(units);
    }

    pub fn series(&self) -> usize {
        self.series.lock().len()
    }

    fn metric(&self, values: &[Arc<str>], cell: &Cell) -> Metric {
        let pair = |(name, value): (&&str, &Arc<str>)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value(value.as_ref().to_owned());
            pair
        };
        let mut counter = Counter::default();
        #[expect(clippy::cast_precision_loss, reason = "shown only; the integer is kept")]
        let units = cell.shown() as f64;
        counter.set_value(if self.family.kind == Kind::Money { units / PICO_PER_USD } else { units });
        let mut metric = Metric::from_label(self.family.labels.iter().zip(values).map(pair).collect());
        metric.set_counter(counter);
        metric
    }
}

impl Collector for Tally {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let series = self.series.lock();
        let mut family = MetricFamily::default();
        family.set_name(self.family.name.to_owned());
        family.set_help(self.family.help.to_owned());
        family.set_field_type(MetricType::COUNTER);
        family.set_metric(series.iter().map(|(values, cell)| self.metric(values, cell)).collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;
    use prometheus::{Registry, TextEncoder};

    fn shown(tally: &Tally) -> String {
        let registry = Registry::new();
        registry.register(Box::new(tally.clone())).unwrap();
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn a_new_series_is_shown_at_zero_before_it_is_shown_as_it_is() {
        let tally = Tally::new(names::COST).unwrap();
        tally.add(&["search", "none", "openai", "gpt-4o"], 8_000_000_000_001);
        let value = || shown(&tally).trim().rsplit_once(' ').map(|(_, value)| value.to_owned());
        assert_eq!((value().as_deref(), value().as_deref()), (Some("0"), Some("8.000000000001")));
    }

    #[test]
    fn money_beyond_64_bits_of_pico_dollars_is_kept() {
        let cell = Cell::default();
        cell.add(u64::MAX);
        cell.add(5);
        assert_eq!(cell.units(), u128::from(u64::MAX) + 5);
    }
}
