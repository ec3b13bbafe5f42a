//! A provider's bill against the ledger, by day and model, with the reason of each difference. All of it integers; the
//! parts of a difference sum to it by construction.

pub mod invoice;

use crate::catalog::{Catalog, Model, Terms};
use crate::clock::Timestamp;
use crate::money::round_half_even;
use crate::store::{Dimension, Filter, GroupBy, Reader, StoreError, TimeRange, TimeUnit, UsageQuery};
use crate::tokens::usage::{Kind, TokenUsage};
use invoice::{Bill, Billed, Tokens};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tokens of which a rate is asked, so that it is a whole number of pico-dollars and of the lowest size tier.
const PROBE_TOKENS: u64 = 1_000;

/// What the ledger has of one model on one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Here {
    pub cost: i128,
    /// Of it, what was counted or estimated by Farebox and not reported.
    pub not_reported: i128,
    pub usage: TokenUsage,
    pub calls: u64,
    pub unpriced: u64,
}

/// Why a bill and the ledger differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Billed, and not a call of it in the ledger: it went round Farebox, or under another name.
    MissingHere,
    /// In the ledger, and nothing of it billed: it comes on another bill, or was waived.
    MissingThere,
    /// They counted other tokens, at our rates.
    Tokens,
    /// Other tokens, no more than what was only counted or estimated here.
    Estimated,
    /// The same tokens at other rates: a discount, another tier, an old price.
    Rate,
    /// Calls that the ledger has no price for.
    Unpriced,
    /// Within half of the last place of each of the bill's lines.
    Rounding,
    /// The bill tells no tokens, so that it cannot be told apart.
    Unexplained,
}

/// One model on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub day: String,
    pub model: String,
    pub here: Here,
    pub billed: Option<i128>,
    pub tokens: Option<Tokens>,
    /// They sum to billed − here.
    pub reasons: Vec<(Reason, i128)>,
}

impl Line {
    /// What was billed above what the ledger has.
    pub fn difference(&self) -> i128 {
        self.reasons.iter().map(|(_, pico)| pico).sum()
    }
}

/// What the ledger has of a provider, by day and the catalog's name of the model.
pub fn here(
    reader: &Reader,
    catalog: &Catalog,
    provider: &str,
    range: TimeRange,
) -> Result<BTreeMap<(String, String), Here>, StoreError> {
    let group_by = vec![
        GroupBy::Time(TimeUnit::Day),
        GroupBy::Dimension(Dimension::Model),
        GroupBy::Dimension(Dimension::UsageSource),
    ];
    let filters = vec![Filter { dimension: Dimension::Provider, values: vec![provider.to_owned()] }];
    let mut found: BTreeMap<(String, String), Here> = BTreeMap::new();
    for group in reader.usage(&UsageQuery { group_by, filters, range })?.groups {
        let [Some(day), model, source] = group.key.as_slice() else { continue };
        let name = canonical(catalog, provider, model.as_deref().unwrap_or("(none)"));
        let here = found.entry((day.to_string(), name)).or_default();
        here.cost += group.sums.cost_pico;
        if source.as_deref() != Some("reported") {
            here.not_reported += group.sums.cost_pico;
        }
        here.usage.add(&group.sums.usage);
        here.calls += group.sums.calls;
        here.unpriced += group.sums.unpriced;
    }
    // Paths that nobody bills.
    found.retain(|_, here| here.cost != 0 || here.unpriced > 0);
    Ok(found)
}

/// The bill under the catalog's names of the models.
pub fn named(bill: Bill, catalog: &Catalog, provider: &str) -> Bill {
    let mut named = Bill::new();
    for ((day, model), billed) in bill {
        let all = named.entry((day, canonical(catalog, provider, &model))).or_default();
        all.cost = match (all.cost, billed.cost) {
            (None, None) => None,
            (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
        };
        if let Some(more) = billed.tokens {
            let tokens = all.tokens.get_or_insert_default();
            tokens.input = tokens.input.saturating_add(more.input);
            tokens.cached = tokens.cached.saturating_add(more.cached);
            tokens.output = tokens.output.saturating_add(more.output);
        }
        all.requests += billed.requests;
        all.lines += billed.lines;
        all.decimals = all.decimals.max(billed.decimals);
    }
    named
}

fn canonical(catalog: &Catalog, provider: &str, name: &str) -> String {
    let offer = catalog.resolve(provider, name).filter(|offer| !offer.model.id.contains('*'));
    offer.map_or_else(|| name.to_owned(), |offer| offer.model.id.to_string())
}

/// Every day and model of either side.
pub fn compare(bill: &Bill, here: &BTreeMap<(String, String), Here>, catalog: &Catalog, provider: &str) -> Vec<Line> {
    let mut keys: Vec<&(String, String)> = bill.keys().chain(here.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let line = |key: &(String, String)| {
        let (mine, theirs) = (here.get(key).copied(), bill.get(key));
        let model = catalog.resolve(provider, &key.1).map(|offer| offer.model);
        Line {
            day: key.0.clone(),
            model: key.1.clone(),
            here: mine.unwrap_or_default(),
            billed: theirs.and_then(|theirs| theirs.cost),
            tokens: theirs.and_then(|theirs| theirs.tokens),
            reasons: reasons(mine, theirs, model.as_ref(), &key.0),
        }
    };
    keys.into_iter().map(line).collect()
}

fn reasons(mine: Option<Here>, theirs: Option<&Billed>, model: Option<&Arc<Model>>, day: &str) -> Vec<(Reason, i128)> {
    let expected = |tokens: Tokens| model.and_then(|model| at_our_rates(model, tokens, day));
    let (mine, theirs) = match (mine, theirs) {
        (None, None) => return Vec::new(),
        (Some(mine), None) => return some(vec![(Reason::MissingThere, -mine.cost)]),
        (None, Some(theirs)) => {
            let billed = theirs.cost.or_else(|| expected(theirs.tokens?)).unwrap_or(0);
            return some(vec![(Reason::MissingHere, billed)]);
        }
        (Some(mine), Some(theirs)) => (mine, theirs),
    };
    let at_ours = theirs.tokens.and_then(expected);
    let Some(billed) = theirs.cost.or(at_ours) else { return Vec::new() };
    let difference = billed - mine.cost;
    let tolerance = tolerance(theirs);
    if difference.abs() <= tolerance {
        return some(vec![(Reason::Rounding, difference)]);
    }
    let of_the_rest = |pico: i128| match mine.unpriced {
        0 if pico.abs() <= mine.not_reported => Reason::Estimated,
        0 => Reason::Tokens,
        _ => Reason::Unpriced,
    };
    match at_ours {
        Some(at_ours) => {
            let (of_tokens, of_rate) = (at_ours - mine.cost, billed - at_ours);
            let rate = if of_rate.abs() <= tolerance { Reason::Rounding } else { Reason::Rate };
            some(vec![(of_the_rest(of_tokens), of_tokens), (rate, of_rate)])
        }
        None => {
            let reason = match of_the_rest(difference) {
                Reason::Tokens => Reason::Unexplained,
                known => known,
            };
            some(vec![(reason, difference)])
        }
    }
}

fn some(reasons: Vec<(Reason, i128)>) -> Vec<(Reason, i128)> {
    reasons.into_iter().filter(|(_, pico)| *pico != 0).collect()
}

/// Half of the last place of each of its lines.
fn tolerance(billed: &Billed) -> i128 {
    let place = 10i128.pow(12u32.saturating_sub(billed.decimals.min(12)));
    (place * i128::from(billed.lines) + 1) / 2
}

/// What our rates of that day make of their tokens. `None`: a kind has no rate.
fn at_our_rates(model: &Model, tokens: Tokens, day: &str) -> Option<i128> {
    let noon =
        jiff::civil::Date::strptime("%Y-%m-%d", day).ok()?.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    let at = Timestamp(noon.timestamp().as_microsecond());
    let fresh = tokens.input.checked_sub(tokens.cached)?;
    let mut sum = 0i128;
    for (kind, count) in [(Kind::Input, fresh), (Kind::CacheRead, tokens.cached), (Kind::Output, tokens.output)] {
        if count > 0 {
            let probe = model.total(&TokenUsage::ZERO.with(kind, PROBE_TOKENS), &Terms::default(), at)?;
            sum = sum.checked_add(probe.widen().checked_mul(i128::from(count))?)?;
        }
    }
    round_half_even(sum, i128::from(PROBE_TOKENS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> Catalog {
        crate::catalog::load(crate::catalog::file::SHIPPED, &[]).unwrap()
    }

    fn compared(bill: &str, here: &[(&str, &str, Here)]) -> Vec<Line> {
        let catalog = catalog();
        let bill = named(invoice::read(bill).unwrap(), &catalog, "openai");
        let here = here.iter().map(|(day, model, here)| (((*day).to_owned(), (*model).to_owned()), *here)).collect();
        let lines = compare(&bill, &here, &catalog, "openai");
        for line in &lines {
            // The parts sum to the whole.
            if let Some(billed) = line.billed {
                assert_eq!(line.difference(), billed - line.here.cost, "{line:?}");
            }
        }
        lines
    }

    /// 1,000,000 in and 100,000 out of gpt-4o: $2.50 and $1.00.
    fn usual() -> Here {
        let usage = TokenUsage::ZERO.with(Kind::Input, 1_000_000).with(Kind::Output, 100_000);
        Here { cost: 3_500_000_000_000, usage, calls: 10, ..Here::default() }
    }

    const HEAD: &str = "day,model,cost_usd,input_tokens,output_tokens\n";

    fn reasons_of(bill: &str, here: &[(&str, &str, Here)]) -> Vec<(Reason, i128)> {
        compared(&format!("{HEAD}{bill}"), here).into_iter().flat_map(|line| line.reasons).collect()
    }

    #[test]
    fn each_difference_has_its_reason() {
        let day = "2026-11-20";
        let mine = [(day, "gpt-4o", usual())];
        assert_eq!(reasons_of("2026-11-20,gpt-4o-2024-08-06,3.50,1000000,100000\n", &mine), []);
        let rounded = reasons_of("2026-11-20,gpt-4o,3.504,1000000,100000\n2026-11-20,gpt-4o,0.00,0,0\n", &mine);
        assert_eq!(rounded, [(Reason::Rate, 4_000_000_000)], "0.004 is more than two lines of three decimals round");
        assert_eq!(
            reasons_of(
                "2026-11-20,gpt-4o,3.5004,1000000,100000\n",
                &[(day, "gpt-4o", Here { cost: 3_500_390_000_000, ..usual() })]
            ),
            [(Reason::Rounding, 10_000_000)]
        );
        let tokens = reasons_of("2026-11-20,gpt-4o,4.50,1000000,200000\n", &mine);
        assert_eq!(tokens, [(Reason::Tokens, 1_000_000_000_000)]);
        let both = reasons_of("2026-11-20,gpt-4o,4.00,1000000,200000\n", &mine);
        assert_eq!(both, [(Reason::Tokens, 1_000_000_000_000), (Reason::Rate, -500_000_000_000)]);
        let counted = Here { not_reported: 2_000_000_000_000, ..usual() };
        let estimated = reasons_of("2026-11-20,gpt-4o,4.50,1000000,200000\n", &[(day, "gpt-4o", counted)]);
        assert_eq!(estimated, [(Reason::Estimated, 1_000_000_000_000)]);
        assert_eq!(reasons_of("2026-11-20,gpt-4o,4.00,,\n", &mine), [(Reason::Unexplained, 500_000_000_000)]);
        let missing = reasons_of("2026-11-20,gpt-4o-mini,1.00,,\n", &mine);
        assert_eq!(missing, [(Reason::MissingThere, -3_500_000_000_000), (Reason::MissingHere, 1_000_000_000_000)]);
    }

    #[test]
    fn a_file_of_usage_alone_is_held_against_our_rates() {
        let bill =
            "start_time,num_model_requests,model,input_tokens,output_tokens\n1795132800,1,gpt-4o,2000000,100000\n";
        let lines = compared(bill, &[("2026-11-20", "gpt-4o", usual())]);
        assert_eq!(lines[0].reasons, [(Reason::Tokens, 2_500_000_000_000)]);
        assert_eq!(lines[0].billed, None);
    }
}
