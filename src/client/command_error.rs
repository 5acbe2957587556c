//! Why a command ended without a response.

use crate::cli::Exit;

/// Why a command ended without a response.
pub(super) struct CommandError {
    pub(super) exit: Exit,
    pub(super) message: String,
}

impl CommandError {
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::UsageError, message: message.into() }
    }
}
