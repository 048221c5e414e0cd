//! Counts of the locks that this replica granted, by the network of the client, for the limit
//! `GITTIX_MAX_LOCKS_PER_NETWORK`.
//!
//! Each replica counts alone and in memory. After a restart all counts are zero. A lock is counted
//! from the moment at which it is requested, so that simultaneous requests do not exceed the limit
//! together. It is counted until a later state of the ticket without the lock comes from this
//! replica's own commits or from the feed. If no such state comes, because the feed lost its
//! history, the entry is removed some time after the lock's deadline. So there are at most as many
//! entries as locks and requests for locks.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

use parking_lot::Mutex;

use crate::domain::{Millis, OrderId, Policy, Ticket, TicketId, Timestamp, Version};

/// The locks of each network, and the limit.
#[derive(Debug)]
pub struct NetworkLocks {
    locks_max: u32,
    state: Mutex<NetworkLocksState>,
}

#[derive(Debug, Default)]
struct NetworkLocksState {
    by_ticket: HashMap<TicketId, Vec<NetworkLock>>,
    counts: HashMap<IpAddr, u32>,
}

/// A lock, or a request for a lock.
#[derive(Debug)]
struct NetworkLock {
    order: OrderId,
    network: IpAddr,
    remove_at: Timestamp,
    /// Version of the ticket with this lock. `None` while the lock is only requested.
    granted_in: Option<Version>,
}

impl NetworkLocks {
    /// Time after the latest end of a lock until its entry is removed, if the end was not observed.
    const MARGIN: Millis = Millis::from_secs(60);
    /// Pause that a refused client is asked to make. It is an estimate: buyers decide when they pay
    /// or cancel.
    pub(super) const RETRY_AFTER: Millis = Millis::from_secs(60);

    /// Returns `None` if `locks_max` is 0, which means no limit.
    pub fn new(locks_max: u32) -> Option<Self> {
        (locks_max > 0).then(|| Self { locks_max, state: Mutex::default() })
    }

    /// Counts a lock that `network` requests. Returns false, and counts nothing, if the network has
    /// the maximum number.
    pub(super) fn reserve(
        &self,
        network: IpAddr,
        ticket: TicketId,
        order: OrderId,
        policy: &Policy,
        now: Timestamp,
    ) -> bool {
        let mut state = self.state.lock();
        let count = state.counts.entry(network).or_default();
        if *count >= self.locks_max {
            return false;
        }
        *count += 1;
        let remove_at = policy.unlocks_at(now) + policy.settle_grace + Self::MARGIN;
        state.by_ticket.entry(ticket).or_default().push(NetworkLock {
            order,
            network,
            remove_at,
            granted_in: None,
        });
        true
    }

    /// Removes a requested lock that was not granted, or whose outcome is unknown. In the second
    /// case the lock may exist and is not counted.
    pub(super) fn cancel(&self, ticket: TicketId, order: OrderId) {
        self.state.lock().retain(ticket, |lock| lock.order != order || lock.granted_in.is_some());
    }

    /// Takes over a committed state of a ticket, of any replica. Removes the locks that have ended
    /// according to it.
    pub(super) fn observe(&self, ticket: &Ticket) {
        let mut state = self.state.lock();
        if !state.by_ticket.contains_key(&ticket.id) {
            return;
        }
        let holder = ticket.lock().map(|lock| lock.order);
        state.retain(ticket.id, |lock| {
            if Some(lock.order) == holder {
                lock.granted_in = Some(ticket.version);
                return true;
            }
            lock.granted_in.is_none_or(|version| version >= ticket.version)
        });
    }

    /// Removes the locks that must have ended, though their end was not observed.
    pub(super) fn purge(&self, now: Timestamp) {
        let mut state = self.state.lock();
        let tickets: Vec<TicketId> = state.by_ticket.keys().copied().collect();
        for ticket in tickets {
            state.retain(ticket, |lock| now < lock.remove_at);
        }
    }
}

impl NetworkLocksState {
    /// Keeps the entries of `ticket` for which `keep` returns true, and removes the others from the
    /// counts.
    fn retain(&mut self, ticket: TicketId, mut keep: impl FnMut(&mut NetworkLock) -> bool) {
        let Entry::Occupied(mut entry) = self.by_ticket.entry(ticket) else { return };
        entry.get_mut().retain_mut(|lock| {
            let stays = keep(lock);
            if !stays && let Entry::Occupied(mut count) = self.counts.entry(lock.network) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            stays
        });
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::{ReplicaName, Sale, TicketCommand, UserId, decide, samples};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const NETWORK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    fn sale(n: u128) -> Sale {
        let ticket = Ticket { id: TicketId::new(Uuid::from_u128(n)), ..samples::ticket() };
        Sale::unlocked(ticket)
    }

    fn order(n: u128) -> OrderId {
        OrderId::new(Uuid::from_u128(n))
    }

    fn locked(sale: Sale, n: u128) -> Sale {
        let buyer = UserId::new(Uuid::from_u128(2));
        let lock = TicketCommand::Lock {
            order: order(n),
            buyer,
            expected_price: None,
            expected_version: None,
            replica: ReplicaName::new("a"),
        };
        let decision = decide(&sale, &lock, &Policy::default(), NOW).expect("the ticket is free");
        sale.after(&decision)
    }

    fn cancelled(sale: Sale, n: u128) -> Sale {
        let cancel = TicketCommand::Cancel { order: order(n), by: UserId::new(Uuid::from_u128(2)) };
        let decision =
            decide(&sale, &cancel, &Policy::default(), NOW).expect("the ticket is locked");
        sale.after(&decision)
    }

    fn reserve(locks: &NetworkLocks, sale: &Sale, n: u128) -> bool {
        locks.reserve(NETWORK, sale.ticket.id, order(n), &Policy::default(), NOW)
    }

    fn is_empty(locks: &NetworkLocks) -> bool {
        let state = locks.state.lock();
        state.by_ticket.is_empty() && state.counts.is_empty()
    }

    #[test]
    fn lock_is_counted_from_its_request_until_a_state_without_it() {
        let locks = NetworkLocks::new(1).expect("a limit");
        let sale = sale(1);
        assert!(reserve(&locks, &sale, 1));
        assert!(!reserve(&locks, &sale, 2), "the limit is 1");
        let locked_sale = locked(sale.clone(), 1);
        locks.observe(&locked_sale.ticket);
        locks.observe(&sale.ticket);
        assert!(!reserve(&locks, &sale, 2), "an older state removes nothing");
        locks.observe(&cancelled(locked_sale, 1).ticket);
        assert!(is_empty(&locks));
    }

    #[test]
    fn refused_request_is_not_counted() {
        let locks = NetworkLocks::new(1).expect("a limit");
        let sale = sale(1);
        assert!(reserve(&locks, &sale, 1));
        // Another buyer's lock on the same ticket ends while this request is running.
        locks.observe(&cancelled(locked(sale.clone(), 9), 9).ticket);
        assert!(!reserve(&locks, &sale, 2), "the request is still running");
        locks.cancel(sale.ticket.id, order(1));
        assert!(is_empty(&locks));
    }

    #[test]
    fn lock_without_an_observed_end_is_removed_after_its_time() {
        let locks = NetworkLocks::new(1).expect("a limit");
        let sale = sale(1);
        reserve(&locks, &sale, 1);
        locks.observe(&locked(sale, 1).ticket);
        let policy = Policy::default();
        let ended = policy.unlocks_at(NOW) + policy.settle_grace;
        locks.purge(ended);
        assert!(!is_empty(&locks), "the lock may have been held until now");
        locks.purge(ended + NetworkLocks::MARGIN);
        assert!(is_empty(&locks));
    }

    #[test]
    fn limit_of_0_means_no_counts() {
        assert!(NetworkLocks::new(0).is_none());
    }
}
