//! Limits on mails that a stranger can cause, counted in the store for all replicas together: for
//! each address, so that it is not flooded, and for each network.

use std::{net::IpAddr, sync::Arc};

use super::{ActorError, sign_in_limits::digest};
use crate::{
    clock::Clock,
    domain::{Email, Millis},
    store::Store,
};
use futures_util::future::try_join;

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
        let address = format!("mail:address:{}", digest(email.as_str()));
        let network = format!("mail:network:{}", digest(&network.to_string()));
        let (to_address, from_network) = try_join(
            self.store.count_hit(&address, Self::WINDOW, now),
            self.store.count_hit(&network, Self::WINDOW, now),
        )
        .await?;
        Ok(to_address <= Self::PER_ADDRESS_MAX && from_network <= Self::PER_NETWORK_MAX)
    }
}
