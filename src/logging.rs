//! The log: one line an event on standard error, as text for people or JSON for machines.

use tracing_subscriber::{EnvFilter, fmt::time::UtcTime};

use crate::config::LogFormat;

/// Starts logging. Once per process.
///
/// # Errors
/// One line that names the setting, if the filter cannot be read.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("GITTIX_LOG: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = match format {
        LogFormat::Text => lines.with_timer(UtcTime::rfc_3339()).try_init(),
        LogFormat::Json => lines.with_timer(UtcTime::rfc_3339()).json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("the log could not be started: {error}"))
}
