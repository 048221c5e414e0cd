//! The process's share: what all shards have in common, and the way to end them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::Addr;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    Shard, SocketLimits,
    budget::Budget,
    replay::ReplayBudget,
    shard::{CloseAll, ShardActor},
};
use crate::{clock::Clock, metrics::METRICS, store::FeedLog};

/// A handle on all WebSocket connections of the process. Clones are one hub.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub feed: FeedLog,
    pub clock: Clock,
    pub limits: SocketLimits,
    /// Bytes of frames that have not arrived as a whole, beyond what each connection may buffer without asking.
    pub partial_bytes: Budget,
    /// Tickets that are watched by name.
    pub watched: Budget,
    pub replay: Arc<ReplayBudget>,
    /// How many connections each client address has.
    by_address: Mutex<HashMap<IpAddr, usize>>,
    shards: Mutex<Vec<Addr<ShardActor>>>,
    open: AtomicUsize,
    is_closing: AtomicBool,
}

/// One connection's place among all that the process may have; given back when dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

impl Hub {
    /// How much longer than a shard may take the hub waits for it.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// A hub that announces what `feed` says. Starts nothing by itself: each worker thread starts its shard.
    pub fn start(feed: FeedLog, clock: Clock, limits: SocketLimits) -> Self {
        Self(Arc::new(Shared {
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
        }))
    }

    /// A shard for the calling thread, which must run an actix system: to be called once in each worker's `App` factory.
    pub fn shard(&self) -> Shard {
        Shard::start(&self.0)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Refuses new connections, closes all with 1001, and waits until they are gone, at most [`SocketLimits::shutdown_max`].
    /// To be called before the HTTP server is stopped, because its workers carry the close frames.
    pub async fn shutdown(&self) {
        self.0.is_closing.store(true, Ordering::SeqCst);
        let shards = self.0.shards.lock().clone();
        // A shard whose thread is gone has no connections; one whose thread is stuck must not keep the server from ending.
        let closed = join_all(shards.into_iter().map(|shard| async move { shard.send(CloseAll).await.unwrap_or_default() }));
        if timeout(self.0.limits.shutdown_max + Self::PATIENCE, closed).await.is_err() {
            tracing::warn!("a worker did not close its sockets in time");
        }
    }
}

impl Shared {
    pub fn enlist(&self, shard: Addr<ShardActor>) {
        let mut shards = self.shards.lock();
        shards.retain(Addr::connected);
        shards.push(shard);
    }

    /// A place for one more connection, if there is one. `address`: the client that it counts for, if it counts for one.
    pub fn permit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<ConnectionPermit> {
        if address.is_some_and(|address| !self.count(address)) {
            METRICS.connections_refused.with_label_values(&["address_sockets"]).inc();
            return None;
        }
        let max = if self.is_closing.load(Ordering::SeqCst) { 0 } else { self.limits.connections_max };
        let taken = self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < max).then_some(open + 1));
        if taken.is_err() {
            METRICS.requests_rejected.with_label_values(&["sockets"]).inc();
            self.uncount(address);
            return None;
        }
        METRICS.sockets.inc();
        Some(ConnectionPermit { shared: self.clone(), address })
    }

    /// Counts a connection for its address, unless it has as many as it may.
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
