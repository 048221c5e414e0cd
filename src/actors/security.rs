//! Security events: one structured log line for each, at level info under the target
//! `gittix::security`. A line has the client's network and the user's id, if the user is known, and
//! never an email address.
//!
//! Lines of failed sign-ins and of refused access are bounded, because anyone can cause them: at
//! most `LINES_PER_SECOND_MAX` of each kind are written in a second. The next line of that kind has
//! the number of lines left out (`suppressed`).

use std::{net::IpAddr, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::field::display;

use crate::{domain::UserId, metrics::METRICS};

const LINES_PER_SECOND_MAX: u32 = 20;

/// The reason why a password was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PasswordFailure {
    /// The email address is unknown or the password is wrong.
    WrongCredentials,
    /// The `currentPassword` of a signed-in user is wrong.
    WrongCurrentPassword,
}

impl PasswordFailure {
    fn as_str(self) -> &'static str {
        match self {
            Self::WrongCredentials => "wrong_credentials",
            Self::WrongCurrentPassword => "wrong_current_password",
        }
    }
}

pub(super) fn signed_up(user: UserId, network: IpAddr) {
    tracing::info!(target: "gittix::security", event = "sign_up", %user, %network, "signed up");
}

pub(super) fn signed_in(user: UserId, network: IpAddr) {
    tracing::info!(target: "gittix::security", event = "sign_in", %user, %network, "signed in");
}

/// Logs a refused password. `user` is the user with the given email address, if there is one.
pub(super) fn password_refused(user: Option<UserId>, network: IpAddr, failure: PasswordFailure) {
    static THROTTLE: Throttle = Throttle::new();
    let reason = failure.as_str();
    METRICS.sign_ins_failed.with_label_values(&[reason]).inc();
    if let Some(suppressed) = THROTTLE.admit(Instant::now()) {
        let user = user.map(display);
        tracing::info!(target: "gittix::security", event = "sign_in_failed", user, %network, reason, suppressed, "sign-in failed");
    }
}

pub(super) fn password_changed(user: UserId, network: IpAddr) {
    tracing::info!(target: "gittix::security", event = "password_changed", %user, %network, "password changed");
}

pub(super) fn email_verified(user: UserId, network: IpAddr) {
    tracing::info!(target: "gittix::security", event = "email_verified", %user, %network, "email address verified");
}

/// Logs that a session was ended because of too many wrong passwords.
pub(super) fn session_ended(user: UserId, network: IpAddr) {
    tracing::info!(target: "gittix::security", event = "session_ended", %user, %network, "session ended after wrong passwords");
}

/// Logs a refused request for something that belongs to another user. `path` is the request's path.
pub fn access_refused(user: Option<UserId>, network: IpAddr, path: &str) {
    static THROTTLE: Throttle = Throttle::new();
    if let Some(suppressed) = THROTTLE.admit(Instant::now()) {
        let user = user.map(display);
        tracing::info!(target: "gittix::security", event = "access_refused", user, %network, path, suppressed, "access refused");
    }
}

/// Bounds the log lines of one kind of event.
struct Throttle(Mutex<LineCount>);

struct LineCount {
    /// The start of the second that `written` counts.
    since: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl Throttle {
    const fn new() -> Self {
        Self(Mutex::new(LineCount { since: None, written: 0, suppressed: 0 }))
    }

    /// Returns the number of lines that were left out before this one, or `None` if this one is
    /// left out.
    fn admit(&self, now: Instant) -> Option<u64> {
        const SECOND: Duration = Duration::from_secs(1);
        let mut lines = self.0.lock();
        if lines.since.is_none_or(|since| now.duration_since(since) >= SECOND) {
            lines.since = Some(now);
            lines.written = 0;
        }
        if lines.written == LINES_PER_SECOND_MAX {
            lines.suppressed += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_bound_are_counted_in_the_next_line() {
        let (throttle, start) = (Throttle::new(), Instant::now());
        let written = (0..1_000).filter_map(|_| throttle.admit(start)).collect::<Vec<_>>();
        assert_eq!(written, [0; LINES_PER_SECOND_MAX as usize]);
        let later = start + Duration::from_secs(1);
        assert_eq!(
            throttle.admit(later),
            Some(1_000 - u64::from(LINES_PER_SECOND_MAX)),
            "the next line has the number of lines left out"
        );
        assert_eq!(throttle.admit(later), Some(0));
    }
}
