//! Numbers of JSON as exact decimals, from their text.

/// A price in another unit: at most 9 decimals, as our catalog writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scaled {
    pub text: String,
    /// It had more decimals and is the nearest with 9.
    pub rounded: bool,
    pub is_zero: bool,
}

const DECIMALS: i32 = 9;
const NANOS_PER_UNIT: i128 = 1_000_000_000;
/// More digits than any price has; keeps the sums within `i128`.
const DIGITS_MAX: usize = 24;
/// Dollars of whatever unit; more is no price, and more of one unit would not fit a [`crate::money::Rate`].
const DOLLARS_MAX: i128 = 18_000;

/// `number × factor × 10^power`, where `number` is a JSON number (`2.5e-06`). `None`: no such number, negative, or of a
/// size that is no price.
pub fn scale(number: &str, factor: u32, power: i32) -> Option<Scaled> {
    let (nanos, rounded) = nanos(number, factor, power).filter(|(nanos, _)| *nanos <= DOLLARS_MAX * NANOS_PER_UNIT)?;
    let fraction = format!("{:09}", nanos % NANOS_PER_UNIT);
    let kept = fraction.trim_end_matches('0');
    let whole = nanos / NANOS_PER_UNIT;
    let text = if kept.is_empty() { whole.to_string() } else { format!("{whole}.{kept}") };
    Some(Scaled { text, rounded, is_zero: nanos == 0 })
}

/// A JSON number that is a count, however it is spelt (`32000`, `32000.0`, `3.2e4`).
pub fn whole(number: &str) -> Option<u64> {
    let (nanos, rounded) = nanos(number, 1, 0)?;
    (!rounded && nanos % NANOS_PER_UNIT == 0)
        .then_some(nanos / NANOS_PER_UNIT)
        .and_then(|count| u64::try_from(count).ok())
}

/// In billionths, the nearest; whether that was exact.
fn nanos(number: &str, factor: u32, power: i32) -> Option<(i128, bool)> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|power| power.abs() <= 40)?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse::<i128>().ok()?.checked_mul(i128::from(factor))?;
    let places =
        exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(power)?.checked_add(DECIMALS)?;
    let ten = |places: i32| u32::try_from(places).ok().and_then(|places| 10i128.checked_pow(places));
    if places >= 0 {
        return Some((value.checked_mul(ten(places)?)?, false));
    }
    match ten(-places) {
        Some(divisor) => Some((crate::money::round_half_even(value, divisor)?, value % divisor != 0)),
        None => Some((0, value != 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn per_million(number: &str) -> Option<(String, bool)> {
        scale(number, 1, 6).map(|scaled| (scaled.text, scaled.rounded))
    }

    #[test]
    fn a_price_a_token_becomes_a_price_a_million_exactly() {
        for (number, expected) in
            [("2.5e-06", "2.5"), ("0.00000015", "0.15"), ("1e-05", "10"), ("3E-7", "0.3"), ("0", "0"), ("0.0", "0")]
        {
            assert_eq!(per_million(number), Some((expected.to_owned(), false)), "{number}");
        }
    }

    #[test]
    fn a_float_s_artefact_is_rounded_to_nine_decimals_and_said() {
        assert_eq!(per_million("5.0000000000000004E-8"), Some(("0.05".to_owned(), true)));
        assert_eq!(per_million("2.9999999999988e-07"), Some(("0.3".to_owned(), true)));
    }

    #[test]
    fn seconds_become_hours() {
        // 0.0001 $ a second × 3,600.
        assert_eq!(scale("0.0001", 3_600, 0).map(|scaled| scaled.text), Some("0.36".to_owned()));
    }

    #[test]
    fn what_is_no_price_is_refused() {
        for number in ["-1", "x", "", ".", "1e99", "NaN", "1e", "123456789012345678901234567890"] {
            assert_eq!(per_million(number), None, "{number}");
        }
    }

    proptest! {
        #[test]
        fn what_comes_out_is_a_rate_that_reads(nano in 0u64..10_000_000_000_000) {
            let text = format!("{nano}e-15");
            let scaled = scale(&text, 1, 6).unwrap();
            prop_assert!(!scaled.rounded);
            let rate = crate::money::Rate::per(&scaled.text, 1_000_000).unwrap();
            prop_assert_eq!(rate.as_femto(), nano);
        }

        #[test]
        fn no_number_makes_it_panic(text in "[0-9.eE+-]{0,30}", factor in 0u32..10_000, power in -60i32..60) {
            let _ = scale(&text, factor, power);
        }
    }
}
