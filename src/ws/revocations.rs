//! Revoked sessions: which connections a revocation closes, and the memory of recent revocations.
//!
//! The session of a connection is checked before its handshake is answered. If the session is
//! revoked in between, the revocation finds no connection to close. Therefore the shard keeps each
//! revocation for a short time, and checks new connections against it. Pure: no clock, no socket.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::{SocketLimits, Viewer};
use crate::domain::{DomainEvent, SessionDigest, UserId};

/// The end of some or all sessions of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub user: UserId,
    sessions: RevokedSessions,
}

/// The sessions of a user that a revocation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum RevokedSessions {
    One(SessionDigest),
    AllBut(Option<SessionDigest>),
}

impl Revocation {
    /// Returns the revocation that an event reports, or `None` if the event ends no session.
    pub fn of(event: &DomainEvent) -> Option<Self> {
        match event {
            DomainEvent::SessionRevoked { user, session } => {
                Some(Self { user: *user, sessions: RevokedSessions::One(session.clone()) })
            }
            DomainEvent::SessionsRevoked { user, except } => {
                Some(Self { user: *user, sessions: RevokedSessions::AllBut(except.clone()) })
            }
            _ => None,
        }
    }

    /// Returns whether the viewer's session is among the revoked ones.
    pub fn covers(&self, viewer: &Viewer) -> bool {
        let is_revoked = match &self.sessions {
            RevokedSessions::One(ended) => *ended == viewer.session,
            RevokedSessions::AllBut(kept) => kept.as_ref() != Some(&viewer.session),
        };
        self.user == viewer.user && is_revoked
    }
}

/// Revocations of the last [`SocketLimits::revoked_kept`], the oldest first.
#[derive(Debug, Default)]
pub struct RecentRevocations(VecDeque<(Instant, Revocation)>);

impl RecentRevocations {
    /// Maximum number of entries; a further one removes the oldest.
    const LEN_MAX: usize = 4096;

    /// Adds a revocation that was received at `now`.
    pub fn add(&mut self, now: Instant, revocation: Revocation) {
        if self.0.len() >= Self::LEN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, revocation));
    }

    /// Removes the revocations that are older than [`SocketLimits::revoked_kept`].
    pub fn remove_old(&mut self, now: Instant, limits: &SocketLimits) {
        while self.0.front().is_some_and(|(at, _)| now - *at > limits.revoked_kept) {
            self.0.pop_front();
        }
    }

    /// Returns whether one of the revocations covers the viewer's session.
    pub fn covers(&self, viewer: &Viewer) -> bool {
        self.0.iter().any(|(_, revocation)| revocation.covers(viewer))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::domain::{TicketId, Timestamp};

    fn user(n: u128) -> UserId {
        UserId::new(Uuid::from_u128(n))
    }

    fn session(name: &str) -> SessionDigest {
        SessionDigest::new(name.to_owned())
    }

    fn viewer(n: u128, name: &str) -> Viewer {
        Viewer { user: user(n), session: session(name), expires_at: Timestamp(i64::MAX) }
    }

    /// Returns the revocation of one session of user 1.
    fn revocation(name: &str) -> Revocation {
        Revocation::of(&DomainEvent::SessionRevoked { user: user(1), session: session(name) })
            .expect("the event ends a session")
    }

    fn revocation_of_all_but(except: Option<&str>) -> Revocation {
        let event = DomainEvent::SessionsRevoked { user: user(1), except: except.map(session) };
        Revocation::of(&event).expect("the event ends sessions")
    }

    #[test]
    fn revocation_of_one_session_covers_only_that_session() {
        let revocation = revocation("phone");
        assert!(revocation.covers(&viewer(1, "phone")));
        assert!(!revocation.covers(&viewer(1, "laptop")));
    }

    #[test]
    fn revocation_of_all_sessions_but_one_covers_the_others() {
        let revocation = revocation_of_all_but(Some("phone"));
        assert!(!revocation.covers(&viewer(1, "phone")));
        assert!(revocation.covers(&viewer(1, "laptop")));
        assert!(revocation_of_all_but(None).covers(&viewer(1, "phone")));
    }

    #[test]
    fn revocation_covers_no_session_of_another_user() {
        assert!(!revocation("phone").covers(&viewer(2, "phone")));
        assert!(!revocation_of_all_but(None).covers(&viewer(2, "phone")));
    }

    #[test]
    fn event_of_a_ticket_is_no_revocation() {
        let ticket = TicketId::new(Uuid::from_u128(7));
        let event = DomainEvent::TicketDeleted { ticket, seller: user(1), version: 1 };
        assert_eq!(Revocation::of(&event), None);
    }

    #[test]
    fn revocation_is_removed_after_the_time_for_which_it_is_kept() {
        let (limits, start) = (SocketLimits::default(), Instant::now());
        let mut recent = RecentRevocations::default();
        recent.add(start, revocation("old"));
        recent.add(start + Duration::from_millis(1), revocation("new"));
        recent.remove_old(start + limits.revoked_kept, &limits);
        assert!(recent.covers(&viewer(1, "old")) && recent.covers(&viewer(1, "new")));
        recent.remove_old(start + limits.revoked_kept + Duration::from_millis(1), &limits);
        assert!(!recent.covers(&viewer(1, "old")) && recent.covers(&viewer(1, "new")));
    }

    #[test]
    fn revocation_beyond_the_maximum_removes_the_oldest() {
        let (now, mut recent) = (Instant::now(), RecentRevocations::default());
        (0..=RecentRevocations::LEN_MAX).for_each(|n| recent.add(now, revocation(&n.to_string())));
        assert_eq!(recent.0.len(), RecentRevocations::LEN_MAX);
        assert!(!recent.covers(&viewer(1, "0")) && recent.covers(&viewer(1, "1")));
        assert!(recent.covers(&viewer(1, &RecentRevocations::LEN_MAX.to_string())));
    }
}
