//! The locks that this replica granted, by the network that asked for them: the limit of `GITTIX_MAX_LOCKS_PER_NETWORK`.
//!
//! In memory, by each replica for itself, and empty after a restart. A lock is counted from the moment at which it is asked
//! for, so that requests at the same moment do not exceed the limit together, until the ticket is seen without it: in this
//! replica's own commits and in the feed. One whose end was not seen (the feed lost its history) is forgotten a while after
//! it was due. So there are at most as many entries as locks and requests for them.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

use parking_lot::Mutex;

use crate::domain::{Millis, OrderId, Policy, Ticket, TicketId, Timestamp, Version};

/// The locks of each network, and their limit.
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

/// A lock, or a request for one.
#[derive(Debug)]
struct NetworkLock {
    order: OrderId,
    network: IpAddr,
    forget_at: Timestamp,
    /// The ticket's version when it was seen with this lock; `None` while the lock is only asked for.
    granted_in: Option<Version>,
}

impl NetworkLocks {
    /// How much longer than the longest lock an entry is kept whose end was not seen.
    const MARGIN: Millis = Millis::from_secs(60);
    /// The wait that a refusal asks for: how soon one of the locks ends is its buyers' choice.
    pub(super) const RETRY_AFTER: Millis = Millis::from_secs(60);

    /// `None` without a limit (0): nothing is counted.
    pub fn new(locks_max: u32) -> Option<Self> {
        (locks_max > 0).then(|| Self { locks_max, state: Mutex::default() })
    }

    /// Counts a lock that `network` asks for. `false`: it holds as many as it may, and nothing is counted.
    pub(super) fn reserve(&self, network: IpAddr, ticket: TicketId, order: OrderId, policy: &Policy, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let count = state.counts.entry(network).or_default();
        if *count >= self.locks_max {
            return false;
        }
        *count += 1;
        let forget_at = policy.unlocks_at(now) + policy.settle_grace + Self::MARGIN;
        state.by_ticket.entry(ticket).or_default().push(NetworkLock { order, network, forget_at, granted_in: None });
        true
    }

    /// A lock that was asked for was not granted.
    pub(super) fn cancel(&self, ticket: TicketId, order: OrderId) {
        self.state.lock().retain(ticket, |held| held.order != order || held.granted_in.is_some());
    }

    /// A state of a ticket was committed, here or elsewhere: a lock that it does not show any more has ended.
    pub(super) fn observe(&self, ticket: &Ticket) {
        let mut state = self.state.lock();
        if !state.by_ticket.contains_key(&ticket.id) {
            return;
        }
        let holder = ticket.lock().map(|lock| lock.order);
        state.retain(ticket.id, |held| {
            if Some(held.order) == holder {
                held.granted_in = Some(ticket.version);
                return true;
            }
            held.granted_in.is_none_or(|version| version >= ticket.version)
        });
    }

    /// Forgets the locks that ended long ago without being seen to end.
    pub(super) fn purge(&self, now: Timestamp) {
        let mut state = self.state.lock();
        let tickets: Vec<TicketId> = state.by_ticket.keys().copied().collect();
        for ticket in tickets {
            state.retain(ticket, |held| now < held.forget_at);
        }
    }
}

impl NetworkLocksState {
    /// Keeps those entries of `ticket` for which `keep` returns true; the others are counted no longer.
    fn retain(&mut self, ticket: TicketId, mut keep: impl FnMut(&mut NetworkLock) -> bool) {
        let Entry::Occupied(mut entry) = self.by_ticket.entry(ticket) else { return };
        entry.get_mut().retain_mut(|held| {
            let stays = keep(held);
            if !stays && let Entry::Occupied(mut count) = self.counts.entry(held.network) {
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
    use crate::domain::{Money, ReplicaName, Sale, TicketCommand, Title, UserId, decide, decide::list_ticket};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const NETWORK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));

    fn sale(n: u128) -> Sale {
        let title = Title::parse("Front row").expect("a title");
        let price = Money::from_minor(2_000).expect("a price");
        let listed = list_ticket(TicketId::new(Uuid::from_u128(n)), UserId::new(Uuid::from_u128(1)), title, price, NOW);
        Sale::unlocked(listed.ticket.expect("listing makes a ticket"))
    }

    fn order(n: u128) -> OrderId {
        OrderId::new(Uuid::from_u128(n))
    }

    fn locked(sale: Sale, n: u128) -> Sale {
        let buyer = UserId::new(Uuid::from_u128(2));
        let lock =
            TicketCommand::Lock { order: order(n), buyer, expected_price: None, expected_version: None, replica: ReplicaName::new("a") };
        let decision = decide(&sale, &lock, &Policy::default(), NOW).expect("it is free");
        sale.after(&decision)
    }

    fn cancelled(sale: Sale, n: u128) -> Sale {
        let cancel = TicketCommand::Cancel { order: order(n), by: UserId::new(Uuid::from_u128(2)) };
        let decision = decide(&sale, &cancel, &Policy::default(), NOW).expect("it is held");
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
    fn lock_counts_from_its_request_until_its_ticket_is_seen_without_it() {
        let locks = NetworkLocks::new(1).expect("a limit");
        let sale = sale(1);
        assert!(reserve(&locks, &sale, 1));
        assert!(!reserve(&locks, &sale, 2), "the limit is 1");
        let held = locked(sale.clone(), 1);
        locks.observe(&held.ticket);
        locks.observe(&sale.ticket);
        assert!(!reserve(&locks, &sale, 2), "a state from before the lock ends nothing");
        locks.observe(&cancelled(held, 1).ticket);
        assert!(is_empty(&locks));
    }

    #[test]
    fn request_that_was_refused_is_not_counted() {
        let locks = NetworkLocks::new(1).expect("a limit");
        let sale = sale(1);
        assert!(reserve(&locks, &sale, 1));
        // Another buyer's lock on the same ticket ends, while this request is still under way.
        locks.observe(&cancelled(locked(sale.clone(), 9), 9).ticket);
        assert!(!reserve(&locks, &sale, 2), "the request is still under way");
        locks.cancel(sale.ticket.id, order(1));
        assert!(is_empty(&locks));
    }

    #[test]
    fn lock_whose_end_was_not_seen_is_forgotten_after_its_time() {
        let locks = NetworkLocks::new(1).expect("a limit");
        let sale = sale(1);
        reserve(&locks, &sale, 1);
        locks.observe(&locked(sale, 1).ticket);
        let policy = Policy::default();
        let ended = policy.unlocks_at(NOW) + policy.settle_grace;
        locks.purge(ended);
        assert!(!is_empty(&locks), "it may have been held until now");
        locks.purge(ended + NetworkLocks::MARGIN);
        assert!(is_empty(&locks));
    }

    #[test]
    fn limit_of_0_counts_nothing() {
        assert!(NetworkLocks::new(0).is_none());
    }
}
