//! A position in the feed. Its text form is opaque to clients.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// A position in the feed: after all events up to it. It need not be the position of an event.
/// Cursors ascend in commit order and are the same on all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cursor {
    /// Random number that identifies the history of the store. For a new database, a new number is
    /// drawn. A restored database keeps the stored one unless the operator deletes it
    /// (docs/operations.md, "Backup and restore").
    pub epoch: u32,
    /// MongoDB: the cluster time of the transaction, with the seconds in the upper 32 bits.
    /// Embedded: the number of the transaction.
    pub time: u64,
    /// Index of the event within its transaction, which may contain several commits.
    pub ordinal: u32,
}

/// Error of a text that is not a valid cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct CursorError;

impl fmt::Display for Cursor {
    /// Writes 22 characters of `[A-Za-z0-9_-]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; 16];
        bytes[..4].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.time.to_be_bytes());
        bytes[12..].copy_from_slice(&self.ordinal.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes: [u8; 16] = URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(CursorError)?;
        let (epoch, rest) = bytes.split_first_chunk::<4>().ok_or(CursorError)?;
        let (time, ordinal) = rest.split_first_chunk::<8>().ok_or(CursorError)?;
        let ordinal = ordinal.first_chunk::<4>().ok_or(CursorError)?;
        Ok(Self {
            epoch: u32::from_be_bytes(*epoch),
            time: u64::from_be_bytes(*time),
            ordinal: u32::from_be_bytes(*ordinal),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursor_text_parses_to_the_same_cursor(epoch: u32, time: u64, ordinal: u32) {
            let cursor = Cursor { epoch, time, ordinal };
            let text = cursor.to_string();
            prop_assert!(text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(text.parse(), Ok(cursor));
        }

        #[test]
        fn cursor_parser_never_panics(text in "\\PC{0,80}") {
            let _ = text.parse::<Cursor>();
        }
    }
}
