//! The state that all shards of the process share, and the shutdown of all connections.

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

/// A handle on all WebSocket connections of the process. All clones refer to the same hub.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

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
    shards: Mutex<Vec<Addr<ShardActor>>>,
    open: AtomicUsize,
    is_closing: AtomicBool,
}

/// Permit for one of the connections that the process may have. Dropping it gives the permit back.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    shared: Arc<Shared>,
    address: Option<IpAddr>,
}

impl Hub {
    /// Time for which the hub waits for a shard beyond [`SocketLimits::shutdown_max`].
    const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

    /// Creates a hub that delivers the events of `feed`. Starts no task: each worker thread starts
    /// its own shard.
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

    /// Starts a shard on the calling thread, which must run an actix system. Call it once in each
    /// worker's `App` factory.
    pub fn shard(&self) -> Shard {
        Shard::start(&self.0)
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Refuses new connections, closes all with 1001, and waits until they have ended, for at most
    /// a second longer than [`SocketLimits::shutdown_max`]. Call it before the HTTP server is
    /// stopped, because the server's worker threads write the close frames.
    pub async fn shutdown(&self) {
        self.0.is_closing.store(true, Ordering::SeqCst);
        let shards = self.0.shards.lock().clone();
        // A shard whose thread has ended has no connections. A shard whose thread is stuck must not
        // block the shutdown.
        let closed = join_all(
            shards
                .into_iter()
                .map(|shard| async move { shard.send(CloseAll).await.unwrap_or_default() }),
        );
        if timeout(self.0.limits.shutdown_max + Self::SHUTDOWN_MARGIN, closed).await.is_err() {
            tracing::warn!(
                "a worker thread did not close its WebSockets in time; the shutdown continues without it"
            );
        }
    }
}

impl Shared {
    /// Registers a shard for [`Hub::shutdown`], and removes the shards that have stopped.
    pub fn register(&self, shard: Addr<ShardActor>) {
        let mut shards = self.shards.lock();
        shards.retain(Addr::connected);
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
