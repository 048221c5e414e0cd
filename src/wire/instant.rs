//! The JSON form of times: RFC 3339 in UTC, with exactly three decimals.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::domain::Timestamp;

/// An instant that is serialized as `2026-09-01T12:34:56.789Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireTime(pub Timestamp);

impl WireTime {
    const LEN: usize = "2026-09-01T12:34:56.789Z".len();
    /// The last instant of RFC 3339, whose years have four digits. Later instants are shown as this
    /// one.
    const MS_MAX: i64 = 253_402_300_799_999;

    /// Writes the digits without a formatter. A formatter that interprets a format description
    /// takes several times as long, and each ticket of a list has two or three instants.
    fn write(self, text: &mut [u8; Self::LEN]) {
        let ms = self.0.0.clamp(0, Self::MS_MAX);
        let date = OffsetDateTime::from_unix_timestamp(ms / 1000)
            .expect("the value is clamped to valid years");
        digits(&mut text[0..4], date.year().unsigned_abs());
        digits(&mut text[5..7], u32::from(u8::from(date.month())));
        digits(&mut text[8..10], u32::from(date.day()));
        digits(&mut text[11..13], u32::from(date.hour()));
        digits(&mut text[14..16], u32::from(date.minute()));
        digits(&mut text[17..19], u32::from(date.second()));
        digits(&mut text[20..23], u32::try_from(ms % 1000).expect("less than a thousand"));
    }
}

/// Fills `text` with the last digits of `number`.
fn digits(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("one digit");
        number /= 10;
    }
}

impl Serialize for WireTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = *b"0000-00-00T00:00:00.000Z";
        self.write(&mut text);
        serializer.serialize_str(std::str::from_utf8(&text).expect("only ASCII was written"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    fn text(ms: i64) -> String {
        serde_json::to_string(&WireTime(Timestamp(ms)))
            .expect("a text")
            .trim_matches('"')
            .to_owned()
    }

    #[test]
    fn instant_has_three_decimals() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_788_266_096_070), "2026-09-01T12:34:56.070Z");
        assert_eq!(text(951_782_400_000), "2000-02-29T00:00:00.000Z");
    }

    #[test]
    fn instant_outside_the_range_is_shown_as_the_nearest_one_inside() {
        assert_eq!(text(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(text(i64::MIN), "1970-01-01T00:00:00.000Z");
    }

    proptest! {
        #[test]
        fn instant_text_parses_to_the_same_millisecond(ms in 0..=WireTime::MS_MAX) {
            let read = OffsetDateTime::parse(&text(ms), &Rfc3339).expect("RFC 3339");
            prop_assert_eq!(read.unix_timestamp_nanos(), i128::from(ms) * 1_000_000);
        }
    }
}
