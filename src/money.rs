//! Money: integers only. Costs are pico-dollars, rates are femto-dollars a unit; one rounding, in `catalog::price`.
//!
//! *Invariant:* no floating point touches money anywhere in this crate's core (`clippy::float_arithmetic` is denied).
#![deny(clippy::float_arithmetic)]

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const PICO_PER_USD: i64 = 1_000_000_000_000;
const FEMTO_PER_PICO: i128 = 1_000;

/// An amount of dollars, exact to the pico-dollar (10⁻¹²); ±9.2 million dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Usd(i64);

impl Usd {
    pub const ZERO: Usd = Usd(0);
    pub const MAX: Usd = Usd(i64::MAX);

    pub fn from_pico(pico: i64) -> Self {
        Usd(pico)
    }

    pub fn as_pico(self) -> i64 {
        self.0
    }

    pub fn checked_add(self, other: Usd) -> Option<Usd> {
        self.0.checked_add(other.0).map(Usd)
    }

    pub fn checked_sub(self, other: Usd) -> Option<Usd> {
        self.0.checked_sub(other.0).map(Usd)
    }

    /// Sums stay in `i128`, where they cannot overflow.
    pub fn widen(self) -> i128 {
        i128::from(self.0)
    }

    /// Rounds femto-dollars (10⁻¹⁵) to pico-dollars, half to even. The one rounding of the house.
    /// `None` when the result does not fit.
    pub fn round_femto(femto: i128) -> Option<Usd> {
        round_half_even(femto, FEMTO_PER_PICO).and_then(|pico| i64::try_from(pico).ok()).map(Usd)
    }
}

/// `numerator / denominator` rounded half to even. `None` for a denominator that is not positive.
pub fn round_half_even(numerator: i128, denominator: i128) -> Option<i128> {
    if denominator <= 0 {
        return None;
    }
    // What a call costs fits 64 bits, where division is quick.
    if let (Ok(numerator), Ok(denominator)) = (i64::try_from(numerator), i64::try_from(denominator)) {
        let (floor, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
        let left = denominator - rest;
        let up = rest > left || (rest == left && floor.rem_euclid(2) == 1);
        return Some(i128::from(floor) + i128::from(up));
    }
    let floor = numerator.div_euclid(denominator);
    let rest = numerator.rem_euclid(denominator);
    let twice = rest.checked_mul(2)?;
    let up = twice > denominator || (twice == denominator && floor.rem_euclid(2) == 1);
    Some(floor + i128::from(up))
}

/// Writes pico-dollars of any size as decimal dollars: exact, no exponent, no trailing zeros, at least two decimals.
pub fn pico_to_decimal(pico: i128) -> String {
    const UNIT: u64 = PICO_PER_USD.unsigned_abs();
    let magnitude = pico.unsigned_abs();
    // What a call costs fits 64 bits, where division is quick.
    let (whole, mut fraction) = match u64::try_from(magnitude) {
        Ok(magnitude) => (u128::from(magnitude / UNIT), magnitude % UNIT),
        Err(_) => (magnitude / u128::from(UNIT), (magnitude % u128::from(UNIT)) as u64),
    };
    let mut digits = [b'0'; 12];
    for digit in digits.iter_mut().rev() {
        *digit += (fraction % 10) as u8;
        fraction /= 10;
    }
    let kept = digits.iter().rposition(|digit| *digit != b'0').map_or(2, |last| (last + 1).max(2));
    let mut text = String::with_capacity(24);
    if pico < 0 {
        text.push('-');
    }
    match u64::try_from(whole) {
        Ok(whole @ 0..=9) => text.push(char::from(b'0' + whole as u8)),
        Ok(_) | Err(_) => text.push_str(&whole.to_string()),
    }
    text.push('.');
    text.push_str(std::str::from_utf8(&digits[..kept]).unwrap_or_default());
    text
}

impl fmt::Display for Usd {
    /// Decimal dollars, exact: `0.00001234`, `1.50`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pico_to_decimal(self.widen()))
    }
}

/// A text is not a decimal number of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADecimal {
    #[error("`{0}` is not a decimal number such as `2.50`")]
    Malformed(String),
    #[error("`{0}` has more than {1} decimals")]
    TooFine(String, u32),
    #[error("`{0}` is too large")]
    TooLarge(String),
    #[error("`{0}` is negative")]
    Negative(String),
}

/// Reads a plain decimal (`-1.25`, `3`, `.5` is refused) as an integer of `10^-decimals`.
pub fn parse_decimal(text: &str, decimals: u32) -> Result<i128, NotADecimal> {
    let malformed = || NotADecimal::Malformed(text.chars().take(40).collect());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let numeric = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !numeric(whole) || !numeric(fraction) {
        return Err(malformed());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals as usize {
        return Err(NotADecimal::TooFine(text.chars().take(40).collect(), decimals));
    }
    let too_large = || NotADecimal::TooLarge(text.chars().take(40).collect());
    let mut value = 0i128;
    let padding = std::iter::repeat_n(b'0', decimals as usize - fraction.len());
    for digit in whole.bytes().chain(fraction.bytes()).chain(padding) {
        value = value.checked_mul(10).and_then(|v| v.checked_add(i128::from(digit - b'0'))).ok_or_else(too_large)?;
    }
    Ok(if negative { -value } else { value })
}

impl FromStr for Usd {
    type Err = NotADecimal;
    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let pico = parse_decimal(text, 12)?;
        i64::try_from(pico).map(Usd).map_err(|_| NotADecimal::TooLarge(text.chars().take(40).collect()))
    }
}

/// A price of one unit (a token, a call, a character, a millisecond), in femto-dollars (10⁻¹⁵); never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rate(u64);

impl Rate {
    pub const ZERO: Rate = Rate(0);

    pub fn from_femto(femto: u64) -> Self {
        Rate(femto)
    }

    pub fn as_femto(self) -> u64 {
        self.0
    }

    /// Reads dollars per `units` (`"2.50"` per 1,000,000 tokens) into femto-dollars per one.
    ///
    /// At most 9 decimals; `units` is a power of ten up to 1,000,000, so the division is exact.
    pub fn per(text: &str, units: u64) -> Result<Rate, NotADecimal> {
        let short = || text.chars().take(40).collect::<String>();
        let femto = parse_decimal(text, 9)?.checked_mul(1_000_000).ok_or_else(|| NotADecimal::TooLarge(short()))?;
        if femto < 0 {
            return Err(NotADecimal::Negative(short()));
        }
        if units == 0 || femto % i128::from(units) != 0 {
            return Err(NotADecimal::TooFine(short(), 9));
        }
        u64::try_from(femto / i128::from(units)).map(Rate).map_err(|_| NotADecimal::TooLarge(short()))
    }

    /// Dollars per `units`, as [`Rate::per`] reads them: the shortest exact decimal.
    pub fn to_decimal_per(self, units: u64) -> String {
        let femto = u128::from(self.0) * u128::from(units);
        let unit = 1_000_000_000_000_000u128;
        let fraction = format!("{:015}", femto % unit);
        let kept = fraction.trim_end_matches('0');
        if kept.is_empty() { format!("{}", femto / unit) } else { format!("{}.{kept}", femto / unit) }
    }
}

/// A multiplier as an exact fraction: `1.1` is 11/10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ratio {
    pub numerator: u32,
    pub denominator: u32,
}

impl Ratio {
    pub const ONE: Ratio = Ratio { numerator: 1, denominator: 1 };
}

impl FromStr for Ratio {
    type Err = NotADecimal;
    /// At most 6 decimals, not negative, at most 4,000.
    fn from_str(text: &str) -> Result<Self, NotADecimal> {
        let value = parse_decimal(text, 6)?;
        if value < 0 {
            return Err(NotADecimal::Negative(text.to_owned()));
        }
        let numerator = u32::try_from(value).map_err(|_| NotADecimal::TooLarge(text.to_owned()))?;
        let mut divisor = (numerator, 1_000_000u32);
        while divisor.1 != 0 {
            divisor = (divisor.1, divisor.0 % divisor.1);
        }
        Ok(Ratio { numerator: numerator / divisor.0, denominator: 1_000_000 / divisor.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dollars_are_written_exactly_with_at_least_two_decimals() {
        let cases = [(0, "0.00"), (1, "0.000000000001"), (1_500_000_000_000, "1.50"), (-12_340_000, "-0.00001234")];
        for (pico, text) in cases {
            assert_eq!(Usd(pico).to_string(), text);
            assert_eq!(text.parse(), Ok(Usd(pico)));
        }
    }

    #[test]
    fn half_a_pico_dollar_goes_to_the_even_neighbour() {
        assert_eq!(Usd::round_femto(500), Some(Usd(0)));
        assert_eq!(Usd::round_femto(1_500), Some(Usd(2)));
        assert_eq!(Usd::round_femto(2_500), Some(Usd(2)));
        assert_eq!(Usd::round_femto(-1_500), Some(Usd(-2)));
        assert_eq!(Usd::round_femto(501), Some(Usd(1)));
        assert_eq!(Usd::round_femto(i128::MAX), None);
    }

    #[test]
    fn a_rate_is_femto_dollars_a_token() {
        assert_eq!(Rate::per("2.50", 1_000_000).map(Rate::as_femto), Ok(2_500_000_000));
        assert_eq!(Rate::per("0.000000001", 1_000_000).map(Rate::as_femto), Ok(1));
        assert_eq!(Rate::per("10", 1_000).map(Rate::as_femto), Ok(10_000_000_000_000));
        assert!(matches!(Rate::per("0.0000000001", 1), Err(NotADecimal::TooFine(..))));
        assert!(matches!(Rate::per("-1", 1), Err(NotADecimal::Negative(_))));
        assert!(matches!(Rate::per("1e3", 1), Err(NotADecimal::Malformed(_))));
        assert!(matches!(Rate::per("99999999999", 1), Err(NotADecimal::TooLarge(_))));
    }

    #[test]
    fn a_multiplier_is_an_exact_fraction() {
        assert_eq!("1.1".parse(), Ok(Ratio { numerator: 11, denominator: 10 }));
        assert_eq!("0.5".parse(), Ok(Ratio { numerator: 1, denominator: 2 }));
        assert_eq!("0".parse(), Ok(Ratio { numerator: 0, denominator: 1 }));
    }

    proptest! {
        #[test]
        fn every_amount_reads_back_from_its_text(pico in any::<i64>()) {
            prop_assert_eq!(Usd(pico).to_string().parse(), Ok(Usd(pico)));
        }

        #[test]
        fn every_rate_reads_back_from_its_text(nano in 0u64..1_000_000_000_000) {
            let rate = Rate(nano);
            prop_assert_eq!(Rate::per(&rate.to_decimal_per(1_000_000), 1_000_000), Ok(rate));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,60}") {
            let _ = (text.parse::<Usd>(), Rate::per(&text, 1_000), text.parse::<Ratio>());
        }
    }
}
