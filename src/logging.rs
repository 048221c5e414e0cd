//! The log: one line an event on standard error, as text for people or JSON for machines.
//!
//! Logging never blocks and never fails its caller. Lines wait in a bounded queue for a thread that writes them; a line that
//! does not fit, or cannot be written (the reader of standard error is gone, the disk is full), is dropped and counted.
//! Once lines can be written again, one of them says how many were dropped.

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

/// What others log of every start, unless the filter asks for it: the first line is ours, and tells the address.
const QUIET: &str = "actix_server=warn";

/// Lines that may wait: some MB, and what a busy server logs in a second or two.
const QUEUE_MAX: usize = 8_192;

/// How long the end of the process, or a last line, waits for standard error.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// Between two attempts to put the last message into a full queue.
const FLUSH_RETRY: Duration = Duration::from_millis(5);

/// Writes what waits when it is dropped, within `FLUSH_MAX`.
#[derive(Debug)]
#[must_use = "what waits is written when this is dropped"]
pub struct LogGuard(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    LogLine(Vec<u8>),
    /// Answered when every line before it was written.
    Flush(SyncSender<()>),
}

/// Starts logging. Once per process.
///
/// # Errors
/// One line that names the setting, if the filter cannot be read.
pub fn start(filter: &str, format: LogFormat) -> Result<LogGuard, String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| format!("GITTIX_LOG: {error}"))?;
    let (queue, messages) = sync_channel(QUEUE_MAX);
    let writer = thread::Builder::new().name("gittix-log".into());
    writer.spawn(move || write_all(&messages, io::stderr())).map_err(|error| format!("the log could not be started: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(LogWriter(queue.clone())).with_ansi(false);
    let started = match format {
        LogFormat::Text => lines.with_timer(UtcTime::rfc_3339()).try_init(),
        LogFormat::Json => lines.with_timer(UtcTime::rfc_3339()).json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("the log could not be started: {error}"))?;
    // The standard library's own hook writes to standard error, and would wait for its reader.
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogGuard(queue))
}

/// Writes one line to standard error though there may be no log, and waits for it no longer than `FLUSH_MAX`.
pub fn last_line(line: &str) {
    let line = format!("{line}\n");
    let (written, waiting) = sync_channel(1);
    thread::spawn(move || {
        // There is no other place to say that standard error is gone.
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

/// Hands each event's line to the writer's thread.
#[derive(Debug)]
struct LogWriter(SyncSender<Message>);

/// One event: the subscriber writes it with a single call.
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

/// The writer's thread.
fn write_all(messages: &Receiver<Message>, mut out: impl Write) {
    let mut reported = METRICS.log_lines_dropped.get();
    for message in messages {
        match message {
            Message::LogLine(line) => match out.write_all(&line) {
                Ok(()) => {
                    let dropped = METRICS.log_lines_dropped.get() - reported;
                    if dropped > 0 {
                        reported += dropped;
                        tracing::warn!(dropped, "log lines were dropped: standard error was not read, or could not be written to");
                    }
                }
                Err(_) => METRICS.log_lines_dropped.inc(),
            },
            Message::Flush(flushed) => {
                // It may have waited long enough.
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
        std::backtrace::BacktraceStatus::Captured => tracing::error!(thread = name, place, reason, %backtrace, "panicked"),
        _ => tracing::error!(thread = name, place, reason, "panicked"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    /// A reader that is gone, until it is back.
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
