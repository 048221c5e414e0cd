//! The user of a connection.

use crate::domain::{SessionDigest, Timestamp, UserId};

/// The signed-in user of a connection, as `http` determined it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    pub session: SessionDigest,
    pub expires_at: Timestamp,
}
