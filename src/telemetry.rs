//! The log: to standard error, as text or JSON, filtered by `RUST_LOG`.
//!
//! At level `info` there is one event per failure (`problem/failure_log.rs`) and per change of
//! state (configuration reloaded, store lost and restored, shutdown), and none for successful
//! requests.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env::VarError;
use std::io::stderr;
use std::panic::{PanicHookInfo, set_hook};

use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for programs.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Why logging could not be started: an error of the command line or the environment (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` is not a valid filter.
    #[error("RUST_LOG is not a log filter: {0}; valid: \"info\" or \"warn,records_gateway=debug\"")]
    Filter(String),
    /// Logging was set up before.
    #[error("logging is set up already")]
    AlreadyInitialized,
}

/// Starts logging, for the rest of the process.
///
/// # Errors
/// See [`TelemetryError`].
pub fn start(format: LogFormat) -> Result<(), TelemetryError> {
    let filter = parse_filter(std::env::var("RUST_LOG"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(false);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.try_init(),
    }
    .map_err(|_| TelemetryError::AlreadyInitialized)?;
    set_hook(Box::new(panic_hook));
    Ok(())
}

/// Logs a panic. The place that catches it logs which request or operation failed.
fn panic_hook(panic: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(backtrace = backtrace.map(tracing::field::display), "{}", panic.to_string().replace('\n', " "));
}

/// The filter without `RUST_LOG`. The HTTP server logs each of its workers at `info`.
const DEFAULT_FILTER: &str = "actix_server=warn,info";

/// Only the configuration decides about the access log, unless `RUST_LOG` names it.
const ACCESS_LOG: &str = "access=info";

/// Parses `RUST_LOG`; unset and empty mean [`DEFAULT_FILTER`].
fn parse_filter(rust_log: Result<String, VarError>) -> Result<EnvFilter, TelemetryError> {
    // The access log has a key of its own.
    let directives = match rust_log {
        Ok(directives) if !directives.trim().is_empty() => directives,
        Ok(_) | Err(VarError::NotPresent) => DEFAULT_FILTER.to_owned(),
        Err(VarError::NotUnicode(_)) => return Err(TelemetryError::Filter("it is not UTF-8".to_owned())),
    };
    let directives = if directives.contains("access=") { directives } else { format!("{directives},{ACCESS_LOG}") };
    EnvFilter::builder().parse(&directives).map_err(|error| TelemetryError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_and_an_empty_one_mean_the_default() {
        assert_eq!(parse_filter(Err(VarError::NotPresent)).unwrap().to_string(), "actix_server=warn,access=info,info");
        assert_eq!(parse_filter(Ok("  ".to_owned())).unwrap().to_string(), "actix_server=warn,access=info,info");
        assert_eq!(parse_filter(Ok("warn".to_owned())).unwrap().to_string(), "access=info,warn");
    }

    #[test]
    fn an_invalid_filter_is_an_error_that_names_the_variable() {
        for wrong in ["a=b=c", "records_gateway=loud", "[{"] {
            let error = parse_filter(Ok(wrong.to_owned())).unwrap_err().to_string();
            assert!(error.starts_with("RUST_LOG is not a log filter"), "{wrong}: {error}");
        }
        assert!(parse_filter(Err(VarError::NotUnicode("x".into()))).is_err());
    }
}
