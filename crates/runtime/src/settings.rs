//! Types of setting values that several layers use.

use std::{fmt, str::FromStr};

use gittix_domain::Millis;

/// A secret setting, for example a password or an API key. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            Err("must not be empty; leave it unset instead".into())
        } else {
            Ok(Self(text.trim().into()))
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Parses a duration such as `10m`, `15s` or `800ms`.
///
/// # Errors
/// One line, if the text is not a duration, is zero, or is longer than 366 days.
pub fn parse_duration(text: &str) -> Result<Millis, String> {
    let duration = parse_duration_or_zero(text)?;
    if duration == Millis(0) { Err("must be longer than 0s".into()) } else { Ok(duration) }
}

/// Does the same as [`parse_duration`] for a setting that 0s turns off.
///
/// # Errors
/// One line, if the text is not a duration or is longer than 366 days.
pub fn parse_duration_or_zero(text: &str) -> Result<Millis, String> {
    let duration = humantime::parse_duration(text.trim())
        .map_err(|error| format!("{error} (durations look like 10m, 15s, 800ms)"))?;
    if duration.as_secs() > 366 * 24 * 3600 {
        return Err("must be at most 366 days".into());
    }
    Ok(Millis::from(duration))
}
