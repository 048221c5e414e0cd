//! Limits on mails that a stranger can cause, counted in the store for all replicas together: for
//! each address, so that it is not flooded, and for each network.

use std::{net::IpAddr, sync::Arc};

use futures_util::future::try_join;
use sha2::{Digest, Sha256};

use super::ActorError;
use crate::{
    clock::Clock,
    domain::{Email, Millis},
    store::Store,
};

/// The limits. Clones share the counters.
#[derive(Debug, Clone)]
pub(super) struct MailLimits {
    store: Arc<dyn Store>,
    clock: Clock,
    is_enabled: bool,
}

impl MailLimits {
    /// Time in which mails are counted.
    pub(super) const WINDOW: Millis = Millis::from_mins(60);
    /// Maximum number of mails to one address.
    const PER_ADDRESS_MAX: u64 = 3;
    /// Maximum number of mails that one network causes.
    const PER_NETWORK_MAX: u64 = 20;

    /// If `is_enabled` is false, every mail is permitted, and none is counted.
    pub(super) fn new(store: Arc<dyn Store>, clock: Clock, is_enabled: bool) -> Self {
        Self { store, clock, is_enabled }
    }

    /// Counts a mail to `email` that `network` causes, and returns whether it may be sent. An
    /// address without an account is counted in the same way.
    pub(super) async fn permit(&self, email: &Email, network: IpAddr) -> Result<bool, ActorError> {
        if !self.is_enabled {
            return Ok(true);
        }
        let now = self.clock.now();
        let (address, network) =
            (key("address", email.as_str()), key("network", &network.to_string()));
        let (to_address, from_network) = try_join(
            self.store.count_hit(&address, Self::WINDOW, now),
            self.store.count_hit(&network, Self::WINDOW, now),
        )
        .await?;
        Ok(to_address <= Self::PER_ADDRESS_MAX && from_network <= Self::PER_NETWORK_MAX)
    }
}

/// Returns the key of a counter. It contains a digest, so that the store's counters contain no
/// address.
fn key(kind: &str, text: &str) -> String {
    format!("mail:{kind}:{}", hex::encode(&Sha256::digest(text.as_bytes())[..16]))
}
