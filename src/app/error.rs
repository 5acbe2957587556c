//! Why the program could not start.

use std::io::Write as _;
use std::net::SocketAddr;

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error("{0}")]
    Store(#[from] crate::journal::JournalError),
    /// A system could not be set up.
    #[error("the system {0}: {1}")]
    System(String, String),
    /// The metrics could not be registered.
    #[error("the metrics: {0}")]
    Metrics(String),
    /// `server.tls` cannot be used.
    #[error("server.tls.{0}")]
    Tls(String),
    /// An address cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
}

/// Prints an error of the command to standard error.
pub(super) fn print_error(error: &dyn std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{error}");
}
