//! Money in integer minor units. Amounts are parsed and computed without floating point; only a
//! JSON number with decimals in an answer is written from a floating-point number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of money in minor units (cents), between [`Money::MIN`] and [`Money::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(u32);

/// The reason why a text is not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("must be a number in major units, such as 20 or 19.99")]
    NotANumber,
    #[error("must have at most two decimals")]
    TooManyDecimals,
    #[error("must be between 0.50 and 999999.99")]
    OutOfRange,
}

impl Money {
    /// 0.50: the minimum amount of a charge in US dollars at Stripe.
    pub const MIN: Self = Self(50);
    /// 999,999.99: the maximum amount of a charge at Stripe.
    pub const MAX: Self = Self(99_999_999);

    /// Converts from minor units.
    #[expect(clippy::cast_possible_truncation, reason = "the value is at most MAX, which fits")]
    pub const fn from_minor(minor: u64) -> Result<Self, MoneyError> {
        if minor < Self::MIN.0 as u64 || minor > Self::MAX.0 as u64 {
            return Err(MoneyError::OutOfRange);
        }
        Ok(Self(minor as u32))
    }

    /// Returns the amount in minor units.
    pub const fn minor(self) -> u32 {
        self.0
    }

    /// Parses a plain decimal text: `^\d{1,6}(\.\d{1,2})?$`.
    pub fn parse_text(text: &str) -> Result<Self, MoneyError> {
        let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !fraction.is_none_or(digits) {
            return Err(MoneyError::NotANumber);
        }
        if whole.len() > 6 {
            return Err(MoneyError::OutOfRange);
        }
        if fraction.is_some_and(|f| f.len() > 2) {
            return Err(MoneyError::TooManyDecimals);
        }
        Self::from_decimal(text)
    }

    /// Parses the text of a JSON number (RFC 8259 §6) by its exact value: `2e1` is 20, `19.990` is
    /// 19.99.
    pub fn parse_number(text: &str) -> Result<Self, MoneyError> {
        Self::from_decimal(text)
    }

    /// Computes the amount by exact decimal arithmetic over the digits, without floating point.
    fn from_decimal(text: &str) -> Result<Self, MoneyError> {
        let (negative, unsigned) =
            text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], Exponent::parse(&unsigned[at + 1..])?),
            None => (unsigned, Exponent::Value(0)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(MoneyError::NotANumber);
        }
        let digits: Vec<u8> =
            whole.bytes().chain(fraction.bytes()).skip_while(|&b| b == b'0').collect();
        let significant = digits.len() - digits.iter().rev().take_while(|&&b| b == b'0').count();
        if significant == 0 || negative {
            return Err(MoneyError::OutOfRange);
        }
        let exponent = match exponent {
            Exponent::Value(value) => value,
            Exponent::Huge => return Err(MoneyError::OutOfRange),
            Exponent::Tiny => return Err(MoneyError::TooManyDecimals),
        };
        // The value is 0.d1d2d3… × 10^point; in minor units the point moves two places to the
        // right.
        let fraction_len = i64::try_from(fraction.len()).map_err(|_| MoneyError::OutOfRange)?;
        let len = i64::try_from(digits.len()).map_err(|_| MoneyError::OutOfRange)?;
        let point = len - fraction_len + exponent + 2;
        let last = i64::try_from(significant).map_err(|_| MoneyError::OutOfRange)?;
        if point > 8 {
            return Err(MoneyError::OutOfRange);
        }
        if last > point {
            return Err(MoneyError::TooManyDecimals);
        }
        let minor = (0..point).fold(0u64, |minor, at| {
            let digit =
                usize::try_from(at).ok().and_then(|at| digits.get(at)).map_or(0, |b| b - b'0');
            minor * 10 + u64::from(digit)
        });
        Self::from_minor(minor)
    }
}

/// The exponent of a JSON number. An exponent that does not fit an `i32` is `Huge` or `Tiny`; no
/// valid amount has one.
enum Exponent {
    Value(i64),
    Huge,
    Tiny,
}

impl Exponent {
    fn parse(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(MoneyError::NotANumber);
        }
        Ok(match (digits.parse::<i32>(), negative) {
            (Ok(value), false) => Self::Value(i64::from(value)),
            (Ok(value), true) => Self::Value(-i64::from(value)),
            (Err(_), false) => Self::Huge,
            (Err(_), true) => Self::Tiny,
        })
    }
}

impl fmt::Display for Money {
    /// Writes major units with two decimals, such as `19.99`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

/// The currency of an amount. One marketplace has one currency. It is stored with every amount
/// nevertheless, because a later refund needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Currency {
    /// US dollars, two decimals.
    #[default]
    #[serde(rename = "usd")]
    Usd,
}

impl Currency {
    /// Returns the ISO 4217 code in lower case, as Stripe writes it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Usd => "usd",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_parsed_by_value() {
        let valid = [
            ("20", 2000),
            ("2e1", 2000),
            ("0.5", 50),
            ("0.50", 50),
            ("19.990", 1999),
            ("1999e-2", 1999),
            ("999999.99", 99_999_999),
        ];
        for (text, minor) in valid {
            assert_eq!(Money::parse_number(text).map(Money::minor), Ok(minor), "{text}");
        }
        let invalid = [
            ("0.49", MoneyError::OutOfRange),
            ("0", MoneyError::OutOfRange),
            ("0e99999999999", MoneyError::OutOfRange),
            ("-1", MoneyError::OutOfRange),
            ("1000000", MoneyError::OutOfRange),
            ("1e999", MoneyError::OutOfRange),
            ("1e99999999999", MoneyError::OutOfRange),
            ("1e-99999999999", MoneyError::TooManyDecimals),
            ("10.999", MoneyError::TooManyDecimals),
            ("19.990000000000000001", MoneyError::TooManyDecimals),
        ];
        for (text, error) in invalid {
            assert_eq!(Money::parse_number(text), Err(error), "{text}");
        }
    }

    #[test]
    fn only_plain_decimals_are_accepted_as_texts() {
        assert_eq!(Money::parse_text("000020.5").map(Money::minor), Ok(2050));
        for text in
            ["", " 20", "2e1", "-1", "+1", ".5", "5.", "1,000", "0x20", "٢٠", "1.2.3", "NaN"]
        {
            assert_eq!(Money::parse_text(text), Err(MoneyError::NotANumber), "{text:?}");
        }
        assert_eq!(Money::parse_text("19.999"), Err(MoneyError::TooManyDecimals));
        assert_eq!(Money::parse_text("0000020"), Err(MoneyError::OutOfRange));
    }

    proptest! {
        #[test]
        fn displayed_amount_is_parsed_to_the_same_amount(minor in 50u64..=99_999_999) {
            let money = Money::from_minor(minor).expect("the amount is in range");
            prop_assert_eq!(Money::parse_text(&money.to_string()), Ok(money));
            prop_assert_eq!(Money::parse_number(&money.to_string()), Ok(money));
            prop_assert_eq!(Money::parse_number(&format!("{minor}e-2")), Ok(money));
        }

        #[test]
        fn parsing_of_any_text_does_not_panic(text in "\\PC{0,40}") {
            let _ = Money::parse_text(&text);
            let _ = Money::parse_number(&text);
        }
    }
}
