//! Refused deliveries to the webhook, logged as counts: one line for each interval with refusals,
//! so that many refused deliveries do not produce many log lines.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::payments::webhook::SignatureError;

/// Time from the first refusal to the line that counts it and the ones after it.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Refused deliveries of one processor since the last log line. Clones share the counts.
#[derive(Debug, Clone)]
pub struct Refusals(Arc<RefusalCounts>);

#[derive(Debug, Default)]
struct RefusalCounts {
    processor: &'static str,
    missing: AtomicU64,
    wrong: AtomicU64,
    out_of_time: AtomicU64,
    no_secret: AtomicU64,
    /// Whether a task will write a line.
    is_due: AtomicBool,
}

impl Refusals {
    pub fn new(processor: &'static str) -> Self {
        Self(Arc::new(RefusalCounts { processor, ..RefusalCounts::default() }))
    }

    /// Counts one refusal. The caller must be inside a tokio runtime, because a task writes the
    /// line.
    pub fn count(&self, error: SignatureError) {
        let counter = match error {
            SignatureError::Missing => &self.0.missing,
            SignatureError::Wrong => &self.0.wrong,
            SignatureError::OutOfTime => &self.0.out_of_time,
            SignatureError::NoSecret => &self.0.no_secret,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if !self.0.is_due.swap(true, Ordering::AcqRel) {
            let this = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(LOG_EVERY).await;
                this.log();
            });
        }
    }

    fn log(&self) {
        // This comes first, so that a later refusal starts a new task.
        self.0.is_due.store(false, Ordering::Release);
        let [missing, wrong, out_of_time, no_secret] =
            [&self.0.missing, &self.0.wrong, &self.0.out_of_time, &self.0.no_secret]
                .map(|counter| counter.swap(0, Ordering::AcqRel));
        let refused = missing + wrong + out_of_time + no_secret;
        if refused > 0 {
            tracing::warn!(
                refused,
                missing,
                wrong,
                out_of_time,
                no_secret,
                processor = self.0.processor,
                "deliveries to the webhook were refused; if the processor sent them, check the secret of its webhook and the clock of this machine"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::Mutex,
    };

    use tokio::time::advance;

    use super::*;

    /// Logged bytes.
    #[derive(Debug, Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no writer panics").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_of_one_interval_are_logged_as_one_line_with_their_number() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let refusals = Refusals::new("stripe");
        for _ in 0..3_199 {
            refusals.count(SignatureError::Wrong);
        }
        refusals.count(SignatureError::Missing);
        // The first poll of the task starts its timer.
        tokio::task::yield_now().await;
        advance(LOG_EVERY).await;
        tokio::task::yield_now().await;
        refusals.count(SignatureError::OutOfTime);
        tokio::task::yield_now().await;
        advance(LOG_EVERY).await;
        tokio::task::yield_now().await;
        let text =
            String::from_utf8(log.0.lock().expect("no writer panics").clone()).expect("text");
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("were refused")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains("refused=3200") && lines[0].contains("missing=1"), "{text}");
        assert!(lines[1].contains("refused=1") && lines[1].contains("out_of_time=1"), "{text}");
    }
}
