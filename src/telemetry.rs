//! Logs: to standard error, as text or JSON, filtered by `RUST_LOG`.
//!
//! What there is to read at the usual level: one line per failure (`problem/failure.rs`), changes of state (a configuration
//! taken over, the store away and back, stopping), and nothing for what goes well.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::env::VarError;
use std::io::stderr;
use std::panic::{PanicHookInfo, set_hook};

use tracing_subscriber::EnvFilter;

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    #[default]
    Text,
}

/// Why logging could not be started; a fault of the command line or the environment (exit code 2).
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `RUST_LOG` cannot be read as a filter.
    #[error("RUST_LOG is not a log filter: {0}; valid: \"info\" or \"warn,records_gateway=debug\"")]
    Filter(String),
    /// Something has set up logging before.
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

/// A panic is a line like any other. What it cost whom is told where it was caught.
fn panic_hook(panic: &PanicHookInfo<'_>) {
    let trace = Backtrace::capture();
    let trace = (trace.status() == BacktraceStatus::Captured).then_some(trace);
    tracing::error!(backtrace = trace.map(tracing::field::display), "{}", panic.to_string().replace('\n', " "));
}

/// `RUST_LOG`, where unset and empty mean `info`.
fn parse_filter(rust_log: Result<String, VarError>) -> Result<EnvFilter, TelemetryError> {
    let directives = match rust_log {
        Ok(directives) if !directives.trim().is_empty() => directives,
        Ok(_) | Err(VarError::NotPresent) => "info".to_owned(),
        Err(VarError::NotUnicode(_)) => return Err(TelemetryError::Filter("it is not UTF-8".to_owned())),
    };
    EnvFilter::builder().parse(&directives).map_err(|error| TelemetryError::Filter(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_and_an_empty_one_mean_info() {
        assert_eq!(parse_filter(Err(VarError::NotPresent)).unwrap().to_string(), "info");
        assert_eq!(parse_filter(Ok("  ".to_owned())).unwrap().to_string(), "info");
        assert_eq!(parse_filter(Ok("warn".to_owned())).unwrap().to_string(), "warn");
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
