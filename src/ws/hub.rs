//! The hub: the handle on all WebSocket connections of the process, and their shutdown.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    Shard, SocketLimits,
    shared::{CloseAll, Shared},
};
use crate::{clock::Clock, store::FeedLog};

/// A handle on all WebSocket connections of the process. All clones refer to the same hub.
#[derive(Debug, Clone)]
pub struct Hub(Arc<Shared>);

impl Hub {
    /// Time for which the hub waits for a shard beyond [`SocketLimits::shutdown_max`].
    const SHUTDOWN_MARGIN: Duration = Duration::from_secs(1);

    /// Creates a hub that delivers the events of `feed`. Starts no task: each worker thread starts
    /// its own shard.
    pub fn new(feed: FeedLog, clock: Clock, limits: SocketLimits) -> Self {
        Self(Arc::new(Shared::new(feed, clock, limits)))
    }

    /// Starts a shard on the calling thread, which must run an actix system. Call it once in each
    /// worker's `App` factory.
    pub fn start_shard(&self) -> Shard {
        Shard::start(&self.0)
    }

    /// Returns the number of open connections.
    pub fn open(&self) -> usize {
        self.0.open()
    }

    /// Refuses new connections, closes all with 1001, and waits until they have ended, for at most
    /// a second longer than [`SocketLimits::shutdown_max`]. Call it before the HTTP server is
    /// stopped, because the server's worker threads write the close frames.
    pub async fn shutdown(&self) {
        let shards = self.0.begin_shutdown();
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
