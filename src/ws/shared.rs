//! The state of the process that all shards share: bounds, counts and the shards themselves.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use actix::{Message, Recipient};
use parking_lot::Mutex;

use super::{SocketLimits, budget::Budget, replay_budget::ReplayBudget};
use crate::{clock::Clock, metrics::METRICS, store::FeedLog};

/// Closes all connections with 1001. The answer comes when all have ended, at the latest after
/// `shutdown_max`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(super) struct CloseAll;

/// The state of the process that all shards share.
#[derive(Debug)]
pub(super) struct Shared {
    pub feed: FeedLog,
    pub clock: Clock,
    pub limits: SocketLimits,
    /// Bytes of incomplete client frames, beyond `FrameDecoder::OWN_BYTES` of each connection.
    pub partial_bytes: Budget,
    /// Tickets that connections watch by id.
    pub watched: Budget,
    pub replay: Arc<ReplayBudget>,
    /// Number of connections of each client address.
    by_address: Mutex<HashMap<IpAddr, usize>>,
    shards: Mutex<Vec<Recipient<CloseAll>>>,
    open: AtomicUsize,
    is_closing: AtomicBool,
}

/// Permit for one of the connections that the process may have. Dropping it gives the permit back.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

impl Shared {
    pub fn new(feed: FeedLog, clock: Clock, limits: SocketLimits) -> Self {
        Self {
            feed,
            clock,
            limits,
            partial_bytes: Budget::new(limits.partial_bytes_max),
            watched: Budget::new(limits.watched_in_all_max),
            replay: ReplayBudget::new(&limits),
            by_address: Mutex::default(),
            shards: Mutex::new(Vec::new()),
            open: AtomicUsize::new(0),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Refuses new connections from now on. Returns the shards that have to close theirs.
    pub fn begin_shutdown(&self) -> Vec<Recipient<CloseAll>> {
        self.is_closing.store(true, Ordering::SeqCst);
        self.shards.lock().clone()
    }

    /// Registers a shard for the shutdown, and removes the shards that have stopped.
    pub fn register(&self, shard: Recipient<CloseAll>) {
        let mut shards = self.shards.lock();
        shards.retain(Recipient::connected);
        shards.push(shard);
    }

    /// Returns a permit for one more connection, or `None` if a bound is reached. `address`: the
    /// client address that the connection counts for; `None`: it counts for no address.
    pub fn permit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<ConnectionPermit> {
        if address.is_some_and(|address| !self.count(address)) {
            METRICS.connections_refused.with_label_values(&["address_sockets"]).inc();
            return None;
        }
        let max =
            if self.is_closing.load(Ordering::SeqCst) { 0 } else { self.limits.connections_max };
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
            (open < max).then_some(open + 1)
        });
        if taken.is_err() {
            METRICS.requests_rejected.with_label_values(&["sockets"]).inc();
            self.uncount(address);
            return None;
        }
        METRICS.sockets.inc();
        Some(ConnectionPermit { shared: self.clone(), address })
    }

    /// Counts a connection for its address, and returns `false` without counting if the address has
    /// its maximum.
    fn count(&self, address: IpAddr) -> bool {
        let mut by_address = self.by_address.lock();
        let count = by_address.get(&address).copied().unwrap_or(0);
        let is_within = count < self.limits.per_address_max;
        if is_within {
            by_address.insert(address, count + 1);
        }
        is_within
    }

    fn uncount(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let mut by_address = self.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        self.shared.uncount(self.address);
        METRICS.sockets.dec();
    }
}
