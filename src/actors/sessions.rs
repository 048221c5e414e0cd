//! The session cache: finds the user of a session without a read of the store at every request.
//!
//! An entry is used for at most [`Sessions::CACHED_FOR`], and only while the feed is at most
//! [`Sessions::FEED_SILENCE_MAX`] old, since the feed delivers the revocations of other replicas.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{ActorError, SessionToken, SignedIn, context::ActorContext};
use crate::domain::{DomainEvent, SessionDigest, UserId};

/// The sessions in the store, and their cache. Clones share one cache.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    context: Arc<ActorContext>,
    cache: Arc<RwLock<Cache>>,
}

#[derive(Debug, Default)]
struct Cache {
    entries: HashMap<SessionDigest, CachedSession>,
    /// Number of revocations. A session that was read before a revocation is not cached after it.
    revocations: u64,
}

#[derive(Debug, Clone)]
struct CachedSession {
    signed_in: SignedIn,
    read_at: Instant,
}

impl Sessions {
    /// Maximum age of an entry. It bounds the use of a session whose revocation was missed.
    const CACHED_FOR: Duration = Duration::from_secs(30);
    /// If nothing came from the feed for this time, sessions are read from the store. So requests
    /// on every replica see a revocation within a second, also without a feed. If a feed is live
    /// but behind, the bound is [`Self::CACHED_FOR`].
    const FEED_SILENCE_MAX: Duration = Duration::from_millis(900);
    /// Maximum number of entries, some 40 MB. Then the cache is cleared.
    const ENTRIES_MAX: usize = 200_000;

    pub(super) fn new(context: Arc<ActorContext>) -> Self {
        Self { context, cache: Arc::default() }
    }

    /// Returns the session of `token`, or `None` if it does not exist or has expired.
    pub(super) async fn find(&self, token: &str) -> Result<Option<SignedIn>, ActorError> {
        let Some(digest) = digest_of(token) else { return Ok(None) };
        let feed_is_recent = self.context.store.feed().heard_within(Self::FEED_SILENCE_MAX);
        let revocations = {
            let cache = self.cache.read();
            let cached = cache
                .entries
                .get(&digest)
                .filter(|cached| feed_is_recent && cached.read_at.elapsed() < Self::CACHED_FOR);
            if let Some(cached) = cached {
                return Ok(Some(cached.signed_in.clone())
                    .filter(|signed_in| self.context.now() < signed_in.expires_at));
            }
            cache.revocations
        };
        let Some(session) = self.context.store.session(&digest).await? else { return Ok(None) };
        let signed_in = SignedIn {
            user: session.user,
            session: session.digest,
            expires_at: session.expires_at,
        };
        if self.context.now() >= signed_in.expires_at {
            return Ok(None);
        }
        let mut cache = self.cache.write();
        if cache.revocations == revocations {
            if cache.entries.len() >= Self::ENTRIES_MAX {
                cache.entries.clear();
            }
            cache.entries.insert(
                digest,
                CachedSession { signed_in: signed_in.clone(), read_at: Instant::now() },
            );
        }
        Ok(Some(signed_in))
    }

    /// Removes a session that has ended from the cache.
    pub(super) fn revoke(&self, session: &SessionDigest) {
        let mut cache = self.cache.write();
        cache.revocations += 1;
        cache.entries.remove(session);
    }

    /// Removes the user's sessions from the cache, except one.
    pub(super) fn revoke_all(&self, user: UserId, except: Option<&SessionDigest>) {
        let mut cache = self.cache.write();
        cache.revocations += 1;
        cache
            .entries
            .retain(|digest, cached| cached.signed_in.user != user || Some(digest) == except);
    }

    /// Applies an event of the feed.
    pub(super) fn on_event(&self, event: &DomainEvent) {
        match event {
            DomainEvent::SessionRevoked { session, .. } => self.revoke(session),
            DomainEvent::SessionsRevoked { user, except } => {
                self.revoke_all(*user, except.as_ref())
            }
            _ => {}
        }
    }

    /// Clears the cache, because events of the feed may have been missed.
    pub(super) fn clear(&self) {
        let mut cache = self.cache.write();
        cache.revocations += 1;
        cache.entries.clear();
    }
}

/// Returns a new secret for a cookie, and its digest, which is stored.
pub(super) fn new_token() -> (SessionToken, SessionDigest) {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).expect("the system provides random bytes");
    let token = URL_SAFE_NO_PAD.encode(secret);
    let digest = digest_of(&token).expect("a new token has the form of a token");
    (SessionToken(token), digest)
}

/// Returns the digest of a token, or `None` if the text does not have the form of a token.
fn digest_of(token: &str) -> Option<SessionDigest> {
    let has_form = token.len() == 43
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    has_form.then(|| SessionDigest::new(hex::encode(Sha256::digest(token.as_bytes()))))
}
