//! Idempotency-Keys: the keys of running requests, and the records of finished requests.

use std::{collections::HashSet, fmt, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use sha2::Sha256;

use crate::{
    actors::ActorError,
    domain::{IdempotencyKey, IdempotencyRecord, UserId},
    store::Store,
};

/// Finds the records of keys, and reserves keys for running requests. Clones share the reserved
/// keys.
#[derive(Clone)]
pub struct Idempotency {
    store: Arc<dyn Store>,
    secret: [u8; 32],
    reserved: ReservedKeys,
}

type ReservedKeys = Arc<Mutex<HashSet<(UserId, String)>>>;

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency").finish_non_exhaustive()
    }
}

/// Reserves a key for one request until it is dropped.
#[derive(Debug)]
pub struct KeyInUse {
    reserved: ReservedKeys,
    key: (UserId, String),
}

impl Idempotency {
    pub(super) fn new(store: Arc<dyn Store>, secret: [u8; 32]) -> Self {
        Self { store, secret, reserved: Arc::default() }
    }

    /// Returns the HMAC-SHA-256 of `parts`, in hexadecimal digits, under a secret that all replicas
    /// share. Request bodies contain passwords and payment tokens, which must not be guessable from
    /// the stored fingerprint.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC accepts keys of any length");
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        hex::encode(mac.finalize().into_bytes())
    }

    /// Reserves the key for a request. Returns `None` while another request of this process uses
    /// the key. If requests with the same key run on two replicas, the second one is refused by the
    /// rules, or its commit fails with [`ActorError::KeyUsed`].
    pub fn begin(&self, key: &IdempotencyKey) -> Option<KeyInUse> {
        let key = (key.user, key.key.clone());
        let is_new = self.reserved.lock().insert(key.clone());
        is_new.then(|| KeyInUse { reserved: Arc::clone(&self.reserved), key })
    }

    /// Returns the record of the request that used the key before.
    ///
    /// # Errors
    /// [`ActorError::Unavailable`].
    pub async fn find(
        &self,
        user: UserId,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, ActorError> {
        Ok(self.store.idempotency(user, key).await?)
    }
}

impl Drop for KeyInUse {
    fn drop(&mut self) {
        self.reserved.lock().remove(&self.key);
    }
}
