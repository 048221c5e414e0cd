//! The session cache: who is signed in, without asking the store at every request.
//!
//! An entry is believed for [`Sessions::CACHED_FOR`] at the most, and only while the feed was heard of just now, since the
//! feed is what tells of revocations on other replicas.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{ActorError, SessionToken, SignedIn, context::ActorContext};
use crate::domain::{Event, SessionDigest, UserId};

/// Clones share one cache.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    context: Arc<ActorContext>,
    cache: Arc<RwLock<Cache>>,
}

#[derive(Debug, Default)]
struct Cache {
    known: HashMap<SessionDigest, CachedSession>,
    /// Counts revocations: what was read before one of them is not put in after it.
    revocations: u64,
}

#[derive(Debug, Clone)]
struct CachedSession {
    who: SignedIn,
    read_at: Instant,
}

impl Sessions {
    /// As the architecture promises.
    const CACHED_FOR: Duration = Duration::from_secs(30);
    /// A revocation holds on all replicas within a second: on one that hears nothing, too.
    const UNHEARD_MAX: Duration = Duration::from_millis(900);
    /// Beyond this the cache starts anew: some 40 MB.
    const KNOWN_MAX: usize = 200_000;

    pub(super) fn new(context: Arc<ActorContext>) -> Self {
        Self { context, cache: Arc::default() }
    }

    pub(super) async fn find(&self, token: &str) -> Result<Option<SignedIn>, ActorError> {
        let Some(digest) = digest_of(token) else { return Ok(None) };
        let live = self.context.store.feed().heard_within(Self::UNHEARD_MAX);
        let revocations = {
            let cache = self.cache.read();
            let known = cache.known.get(&digest).filter(|known| live && known.read_at.elapsed() < Self::CACHED_FOR);
            if let Some(known) = known {
                return Ok(Some(known.who.clone()).filter(|who| self.context.now() < who.expires_at));
            }
            cache.revocations
        };
        let Some(session) = self.context.store.session(&digest).await? else { return Ok(None) };
        let who = SignedIn { user: session.user, session: session.digest, expires_at: session.expires_at };
        if self.context.now() >= who.expires_at {
            return Ok(None);
        }
        let mut cache = self.cache.write();
        if cache.revocations == revocations {
            if cache.known.len() >= Self::KNOWN_MAX {
                cache.known.clear();
            }
            cache.known.insert(digest, CachedSession { who: who.clone(), read_at: Instant::now() });
        }
        Ok(Some(who))
    }

    pub(super) fn revoke(&self, session: &SessionDigest) {
        let mut cache = self.cache.write();
        cache.revocations += 1;
        cache.known.remove(session);
    }

    pub(super) fn revoke_all(&self, user: UserId, except: Option<&SessionDigest>) {
        let mut cache = self.cache.write();
        cache.revocations += 1;
        cache.known.retain(|digest, known| known.who.user != user || Some(digest) == except);
    }

    /// Follows what the feed tells.
    pub(super) fn saw(&self, event: &Event) {
        match event {
            Event::SessionRevoked { session, .. } => self.revoke(session),
            Event::SessionsRevoked { user, except } => self.revoke_all(*user, except.as_ref()),
            _ => {}
        }
    }

    /// What the feed told in the meantime is not known.
    pub(super) fn forget(&self) {
        let mut cache = self.cache.write();
        cache.revocations += 1;
        cache.known.clear();
    }
}

/// A new secret for a cookie, and what is stored of it.
pub(super) fn new_token() -> (SessionToken, SessionDigest) {
    let mut secret = [0u8; 32];
    getrandom::fill(&mut secret).expect("the system has randomness");
    let token = URL_SAFE_NO_PAD.encode(secret);
    let digest = digest_of(&token).expect("our own token has the right shape");
    (SessionToken(token), digest)
}

/// `None` for what cannot be a token of ours.
fn digest_of(token: &str) -> Option<SessionDigest> {
    let shaped = token.len() == 43 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    shaped.then(|| SessionDigest::new(hex(&Sha256::digest(token.as_bytes()))))
}

/// Byte by byte through the formatter, this would cost more than the digest itself.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(|digit| char::from(DIGITS[usize::from(digit)]));
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_as_the_formatter_writes_it() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(hex(&bytes), bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }
}
