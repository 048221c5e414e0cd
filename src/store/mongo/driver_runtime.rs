//! The one thread on which everything of the driver runs.
//!
//! The driver spawns its monitors and registers its sockets with whichever runtime happens to call it first. The server
//! runs on several current-thread runtimes, any of which may end before the store does and take those tasks with it. So
//! the store owns a runtime of its own: calls hop there and back, which is little beside a round trip to the server,
//! callers that give up cancel nothing half-way, and documents are encoded by the callers, on their threads. One
//! thread is enough for the one primary that all of it talks to.

use std::{future::Future, io, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::fault::describe;
use crate::{store::Unavailable, tasks::EssentialTask};

/// A runtime on a thread of its own. Dropping it ends both, without waiting.
#[derive(Debug)]
pub(super) struct DriverRuntime {
    handle: Handle,
    /// Its being dropped is the signal to end.
    _alive: oneshot::Sender<()>,
}

impl DriverRuntime {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("gittix-mongodb".into()).spawn(move || {
            let essential = EssentialTask::new("MongoDB driver");
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
            essential.release();
        })?;
        Ok(Self { handle, _alive: alive })
    }

    /// Starts something that goes on by itself.
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(task)
    }

    /// Runs one call to the database, for at most `limit`: the driver has no socket time-out of its own.
    pub async fn call<T, F>(&self, limit: Duration, call: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        match self.handle.spawn(timeout(limit, call)).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(Unavailable(describe(&error))),
            Ok(Err(_)) => Err(Unavailable(format!("no answer from MongoDB within {limit:?}"))),
            Err(_) => Err(Unavailable("the store is closed".into())),
        }
    }
}
