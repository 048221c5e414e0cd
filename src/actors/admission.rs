//! Admission: the bound on the requests of one handle that are in progress.
//!
//! A mailbox of actix is not bounded for `send` and `do_send`, so each handle admits a number of
//! requests and rejects the others before it sends a message.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ActorError;
use crate::metrics::METRICS;

/// A bound on the number of requests in progress. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    /// Value of the label `reason` of `gittix_requests_rejected_total`.
    reason: &'static str,
}

impl Admission {
    pub(super) fn new(requests_max: usize, reason: &'static str) -> Self {
        Self { permits: Arc::new(Semaphore::new(requests_max)), reason }
    }

    /// Admits a request until the permit is dropped.
    ///
    /// # Errors
    /// [`ActorError::Busy`] if the maximum number of requests is in progress.
    pub(super) fn admit(&self) -> Result<OwnedSemaphorePermit, ActorError> {
        Arc::clone(&self.permits).try_acquire_owned().map_err(|_| {
            METRICS.requests_rejected.with_label_values(&[self.reason]).inc();
            ActorError::Busy(self.reason)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_beyond_the_maximum_is_rejected_until_another_ends() {
        let admission = Admission::new(2, "orders");
        let first = admission.admit().expect("the first request");
        let _second = admission.clone().admit().expect("the second request");
        assert!(matches!(admission.admit(), Err(ActorError::Busy("orders"))));
        drop(first);
        assert!(admission.admit().is_ok());
    }
}
