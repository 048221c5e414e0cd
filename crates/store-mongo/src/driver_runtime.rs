//! The thread on which the store's calls to the MongoDB driver run.
//!
//! The driver spawns its monitors and registers its sockets on the runtime that calls it first. The
//! server has several current-thread runtimes. Each of them may end before the store does, and its
//! tasks end with it. The store therefore owns a runtime. Each call changes to its thread and back,
//! which takes little time compared with a round trip to the server. A caller that stops waiting
//! does not cancel the call; a call that exceeds its time limit is dropped. Callers encode
//! documents on their own threads. One thread is enough, because all calls use one primary. The
//! ledger of the sandbox uses the same client from the threads of its callers.

use std::{future::Future, io, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

use super::fault::describe;
use gittix_runtime::tasks::EssentialTask;
use gittix_store::Unavailable;

/// A tokio runtime on its own thread. Dropping it ends both, without waiting.
#[derive(Debug)]
pub(super) struct DriverRuntime {
    handle: Handle,
    /// Dropping this sender ends the runtime.
    _end_signal: oneshot::Sender<()>,
}

impl DriverRuntime {
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end_signal, ended) = oneshot::channel::<()>();
        thread::Builder::new().name("gittix-mongodb".into()).spawn(move || {
            let essential = EssentialTask::new("MongoDB driver");
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
            essential.release();
        })?;
        Ok(Self { handle, _end_signal: end_signal })
    }

    /// Spawns a task on the runtime.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.handle.spawn(task)
    }

    /// Runs one call to the database, for at most `limit`, because the driver has no socket
    /// time-out.
    pub async fn call<T, F>(&self, limit: Duration, call: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        match self.handle.spawn(timeout(limit, call)).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(Unavailable(describe(&error))),
            Ok(Err(_)) => Err(Unavailable(format!("no answer from MongoDB within {limit:?}"))),
            Err(_) => Err(Unavailable("the store is closed, or the read panicked".into())),
        }
    }
}
