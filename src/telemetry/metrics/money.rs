//! What amounts say beyond their sums: how far the provider's own cost is from ours, and what its caches saved.

use crate::catalog::Cost;
use crate::money::Usd;
use crate::tokens::usage;

/// By more than 1 %, and by more than the millionth of a dollar to which some providers round.
pub(super) fn differ(theirs: Usd, ours: Usd) -> bool {
    const ROUNDING_PICO: u64 = 1_000_000;
    let (theirs, ours) = (theirs.as_pico(), ours.as_pico());
    let apart = theirs.abs_diff(ours);
    apart > ROUNDING_PICO && u128::from(apart) * 100 > u128::from(ours.unsigned_abs())
}

/// What cache reads would have cost more at the input's rate, pico-dollars; 0 where that rate was not used and so is not
/// known.
pub(super) fn saved_by_cache(cost: &Cost) -> u64 {
    let rate = |kind: usage::Kind| {
        cost.rates.iter().find(|(one, _)| *one == kind).map(|(_, rate)| u128::from(rate.as_femto()))
    };
    let Some(input) = rate(usage::Kind::Input) else { return 0 };
    let saved = cost.by_kind.iter().filter(|(kind, _)| kind.is_cache_read()).map(|(kind, paid)| {
        let paid = u128::try_from(paid.as_pico()).unwrap_or(0);
        let cached = rate(*kind).filter(|cached| *cached > 0);
        cached.map_or(0, |cached| (paid * input / cached).saturating_sub(paid))
    });
    u64::try_from(saved.sum::<u128>()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_of_the_providers_own_differs_beyond_one_percent_and_a_millionth_of_a_dollar() {
        let usd = Usd::from_pico;
        let ours = usd(100_000_000_000);
        assert!(!differ(ours, ours) && !differ(usd(101_000_000_000), ours) && !differ(usd(99_000_000_000), ours));
        assert!(differ(usd(101_000_000_001), ours) && differ(usd(98_999_999_999), ours));
        assert!(differ(Usd::ZERO, ours) && differ(ours, Usd::ZERO), "free, and free only by our word");
        assert!(!differ(usd(2_000_000), usd(1_500_000)), "rounded to a millionth");
    }
}
