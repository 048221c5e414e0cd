//! The log: one line for each event on standard error, as text for people or as JSON for machines.
//! In the text format, a backtrace has more lines.
//!
//! Logging never blocks and never returns an error to its caller. Lines wait in a bounded queue for
//! a thread that writes them. A line that does not fit, or cannot be written (standard error has no
//! reader, the disk is full), is dropped and counted. When lines can be written again, one of them
//! states how many were dropped.

use std::{
    io::{self, Write},
    panic::PanicHookInfo,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::Duration,
};

use tokio::time::Instant;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, fmt::time::UtcTime};

use crate::{config::LogFormat, metrics::METRICS};

/// Maximum number of queued lines: a few MB, and the lines of a busy server in one or two seconds.
const QUEUE_MAX: usize = 8_192;

/// Maximum time that the end of the process, or a last line, waits for standard error.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Time between two attempts to put the flush request into a full queue.
const FLUSH_RETRY: Duration = Duration::from_millis(5);

/// Guard that writes the queued lines when it is dropped, within `FLUSH_MAX`.
#[derive(Debug)]
#[must_use = "queued lines are written when this is dropped"]
pub struct LogGuard(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    LogLine(Vec<u8>),
    /// Request that is answered when every earlier line was written or dropped.
    Flush(SyncSender<()>),
}

/// Starts logging. Call it once per process.
///
/// # Errors
/// One line that names the setting if the filter cannot be read, or the reason why the log cannot
/// be started.
pub fn start(filter: &str, format: LogFormat) -> Result<LogGuard, String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("GITTIX_LOG: {error}"))?;
    let (queue, messages) = sync_channel(QUEUE_MAX);
    let writer = thread::Builder::new().name("gittix-log".into());
    writer
        .spawn(move || write_all(&messages, io::stderr()))
        .map_err(|error| format!("the log could not be started: {error}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(LogWriter(queue.clone()))
        .with_ansi(false);
    let started = match format {
        LogFormat::Text => lines.with_timer(UtcTime::rfc_3339()).try_init(),
        LogFormat::Json => {
            lines.with_timer(UtcTime::rfc_3339()).json().flatten_event(true).try_init()
        }
    };
    started.map_err(|error| format!("the log could not be started: {error}"))?;
    // The standard library's panic hook writes to standard error directly, and would block if it is
    // not read.
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogGuard(queue))
}

/// Writes one line to standard error, without the log, and waits at most `FLUSH_MAX` for it.
pub fn last_line(line: &str) {
    let line = format!("{line}\n");
    let (written, waiting) = sync_channel(1);
    thread::spawn(move || {
        // The result is ignored: an error of standard error cannot be reported anywhere else.
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = written.send(());
    });
    let _ = waiting.recv_timeout(FLUSH_MAX);
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let deadline = Instant::now() + FLUSH_MAX;
        let (flushed, waiting) = sync_channel(1);
        let mut message = Message::Flush(flushed);
        while let Err(TrySendError::Full(unsent)) = self.0.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = unsent;
            thread::sleep(FLUSH_RETRY);
        }
        let _ = waiting.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// Sends the line of each event to the writer thread.
#[derive(Debug)]
struct LogWriter(SyncSender<Message>);

/// The line of one event, which the subscriber writes with a single call.
#[derive(Debug)]
struct LogLine<'a>(&'a SyncSender<Message>);

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(&self.0)
    }
}

impl Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Message::LogLine(line.to_vec())).is_err() {
            METRICS.log_lines_dropped.inc();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the writer thread.
fn write_all(messages: &Receiver<Message>, mut out: impl Write) {
    let mut reported = METRICS.log_lines_dropped.get();
    for message in messages {
        match message {
            Message::LogLine(line) => match out.write_all(&line) {
                Ok(()) => {
                    let dropped = METRICS.log_lines_dropped.get() - reported;
                    if dropped > 0 {
                        reported += dropped;
                        tracing::warn!(
                            dropped,
                            "log lines were dropped: standard error was not read, or could not be written to"
                        );
                    }
                }
                Err(_) => METRICS.log_lines_dropped.inc(),
            },
            Message::Flush(flushed) => {
                // The result is ignored: the receiver may have given up after `FLUSH_MAX`.
                let _ = flushed.send(());
            }
        }
    }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let reason = panic.payload_as_str().unwrap_or("no text");
    let backtrace = std::backtrace::Backtrace::capture();
    match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => {
            tracing::error!(thread = name, place, reason, %backtrace, "panicked")
        }
        _ => tracing::error!(thread = name, place, reason, "panicked"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// An output that fails while `is_broken` is set.
    #[derive(Debug, Clone, Default)]
    struct Pipe {
        written: Arc<Mutex<Vec<u8>>>,
        is_broken: Arc<Mutex<bool>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if *self.is_broken.lock() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_that_cannot_be_written_is_lost_and_the_next_one_is_written() {
        let (queue, messages) = sync_channel(4);
        let pipe = Pipe::default();
        let out = pipe.clone();
        let writer = thread::spawn(move || write_all(&messages, out));
        let lines = LogWriter(queue);
        let flushed = |queue: &SyncSender<Message>| drop(LogGuard(queue.clone()));
        *pipe.is_broken.lock() = true;
        lines.make_writer().write_all(b"lost\n").expect("logging never fails");
        flushed(&lines.0);
        *pipe.is_broken.lock() = false;
        lines.make_writer().write_all(b"kept\n").expect("logging never fails");
        flushed(&lines.0);
        assert_eq!(*pipe.written.lock(), b"kept\n");
        drop(lines);
        writer.join().expect("no panic");
    }

    #[test]
    fn full_queue_drops_lines_and_counts_them() {
        let (queue, _messages) = sync_channel(1);
        let lines = LogWriter(queue);
        let before = METRICS.log_lines_dropped.get();
        for _ in 0..3 {
            lines.make_writer().write_all(b"line\n").expect("logging never fails");
        }
        assert!(METRICS.log_lines_dropped.get() >= before + 2);
    }
}
