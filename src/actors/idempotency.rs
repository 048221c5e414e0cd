//! Idempotency-Keys: who is using one right now, and what one was used for before.

use crate::{
    actors::Fault,
    domain::{IdempotencyKey, IdempotencyRecord, UserId},
};

/// Looks keys up and holds them while their first request runs. Clones share what is held.
#[derive(Debug, Clone)]
pub struct Idempotency {}

/// The key is in use by this request until it is dropped.
#[derive(Debug)]
pub struct KeyInUse {}

impl Idempotency {
    /// HMAC-SHA-256, in hex, under a secret that all replicas share.
    pub fn fingerprint(&self, _parts: &[&[u8]]) -> String {
        unimplemented!()
    }

    /// Takes the key for a request; `None` while another request of this process uses it.
    pub fn begin(&self, _key: &IdempotencyKey) -> Option<KeyInUse> {
        unimplemented!()
    }

    /// What the key was used for before.
    pub async fn find(&self, _user: UserId, _key: &str) -> Result<Option<IdempotencyRecord>, Fault> {
        unimplemented!()
    }
}
