//! Idempotency-Keys: who is using one right now, and what one was used for before.

use std::{collections::HashSet, fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use crate::{
    actors::ActorError,
    domain::{IdempotencyKey, IdempotencyRecord, UserId},
    store::Store,
};

/// Looks keys up and holds them while their first request runs. Clones share what is held.
#[derive(Clone)]
pub struct Idempotency {
    store: Arc<dyn Store>,
    secret: [u8; 32],
    held: Held,
}

type Held = Arc<Mutex<HashSet<(UserId, String)>>>;

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").finish_non_exhaustive()
    }
}

/// The key is in use by this request until it is dropped.
#[derive(Debug)]
pub struct KeyInUse {
    held: Held,
    key: (UserId, String),
}

impl Idempotency {
    pub(super) fn new(store: Arc<dyn Store>, secret: [u8; 32]) -> Self {
        Self { store, secret, held: Arc::default() }
    }

    /// HMAC-SHA-256, in hex, under a secret that all replicas share: bodies hold passwords and payment tokens, which
    /// must not be guessed from what is stored.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Takes the key for a request; `None` while another request of this process uses it. Across replicas, the commit of
    /// the second one fails with [`ActorError::KeyUsed`].
    pub fn begin(&self, key: &IdempotencyKey) -> Option<KeyInUse> {
        let key = (key.user, key.key.clone());
        let taken = self.held.lock().insert(key.clone());
        taken.then(|| KeyInUse { held: Arc::clone(&self.held), key })
    }

    /// What the key was used for before.
    ///
    /// # Errors
    /// [`ActorError::Unavailable`].
    pub async fn find(&self, user: UserId, key: &str) -> Result<Option<IdempotencyRecord>, ActorError> {
        Ok(self.store.idempotency(user, key).await?)
    }
}

impl Drop for KeyInUse {
    fn drop(&mut self) {
        self.held.lock().remove(&self.key);
    }
}
