//! The log: lines for people or JSON objects, on the standard error.

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Settings};

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("log level {0:?} is no filter; write for example info, or warn,liquid_operator=debug")]
    Filter(String),
    /// There is a log already.
    #[error("the log has been started before: {0}")]
    Twice(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// Starts the log of this process.
///
/// # Errors
/// [`LogError`] for a filter that cannot be read, and for a second start.
pub fn start(settings: &Settings) -> Result<(), LogError> {
    let filter =
        EnvFilter::try_new(&settings.log_level).map_err(|_| LogError::Filter(settings.log_level.clone()))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => lines.with_ansi(false).try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).try_init()?,
    }
    Ok(())
}
