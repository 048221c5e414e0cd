//! The JSON form of money: a number in major units.

use serde::{Serialize, Serializer};

use crate::domain::Money;

/// An amount in major units with at most two decimals: `20`, `19.99`, `19.9`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price(pub Money);

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let minor = self.0.minor();
        if minor.is_multiple_of(100) {
            serializer.serialize_u32(minor / 100)
        } else {
            // The double nearest to a decimal of eight digits is printed as that decimal: doubles
            // keep fifteen digits.
            serializer.serialize_f64(f64::from(minor) / 100.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(minor: u64) -> String {
        serde_json::to_string(&Price(Money::from_minor(minor).expect("in range")))
            .expect("a number")
    }

    #[test]
    fn price_is_a_number_without_trailing_zeros() {
        for (minor, expected) in [
            (2000, "20"),
            (1999, "19.99"),
            (1990, "19.9"),
            (50, "0.5"),
            (99_999_999, "999999.99"),
            (10_000_000, "100000"),
        ] {
            assert_eq!(text(minor), expected);
        }
    }

    proptest! {
        #[test]
        fn price_text_parses_to_the_same_amount(minor in 50u64..=99_999_999) {
            prop_assert_eq!(Money::parse_number(&text(minor)).map(|money| u64::from(money.minor())), Ok(minor));
        }
    }
}
