//! The exit codes of the commands.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: success.
    Success,
    /// 1: a failure at run time.
    Failure,
    /// 2: invalid arguments or configuration.
    UsageError,
    /// 3, of the client: the record is not in the state that `--if-match` names (412).
    Stale,
    /// 4, of the client: the gateway refused the request (any other 4xx).
    Refused,
    /// 5, of the client: the vendor or the gateway failed, or the gateway cannot be reached.
    ServerError,
    /// 6, of the client: it is not known whether the write was made.
    OutcomeUnknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
