//! The log: one line an event on standard error, as text for people or JSON for machines.

use tracing_subscriber::{EnvFilter, fmt::time::UtcTime};

use crate::config::LogFormat;

/// What others log of every start, unless the filter asks for it: the first line is ours, and tells the address.
const QUIET: &str = "actix_server=warn";

/// Starts logging. Once per process.
///
/// # Errors
/// One line that names the setting, if the filter cannot be read.
pub fn start(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|error| format!("GITTIX_LOG: {error}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let started = match format {
        LogFormat::Text => lines.with_timer(UtcTime::rfc_3339()).try_init(),
        LogFormat::Json => lines.with_timer(UtcTime::rfc_3339()).json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("the log could not be started: {error}"))
}
