//! Tasks that must not end: what runs beside requests for as long as the process lives.

use std::time::Duration;

/// Until a task that panicked is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Runs what `start` makes on the current arbiter; if it panics, or ends, it is made and run again, and the log says so.
/// Ends with the arbiter.
pub fn keep_running<F, T>(name: &'static str, start: F)
where
    F: Fn() -> T + 'static,
    T: Future<Output = ()> + 'static,
{
    actix::spawn(async move {
        loop {
            match actix::spawn(start()).await {
                Ok(()) => tracing::error!(task = name, "a task ended that should not; starting it again"),
                Err(error) if error.is_panic() => tracing::error!(task = name, "a task panicked; starting it again"),
                Err(_) => return,
            }
            tokio::time::sleep(RESTART_AFTER).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use super::*;

    #[actix::test]
    async fn a_task_that_panics_is_started_again() {
        tokio::time::pause();
        let starts = Rc::new(Cell::new(0));
        let counted = Rc::clone(&starts);
        keep_running("test", move || {
            counted.set(counted.get() + 1);
            let first = counted.get() == 1;
            async move {
                assert!(!first, "as the test wants");
                std::future::pending().await
            }
        });
        tokio::time::sleep(RESTART_AFTER * 3).await;
        assert_eq!(starts.get(), 2, "once by us, once after the panic, and then it stays");
    }
}
