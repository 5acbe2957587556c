//! What is known of the process and of its configuration, whichever configuration is in force.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::batch_registry::BatchRegistry;
use super::open_streams::OpenStreams;
use crate::record::format_time;

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ConfigState {
    /// SHA-256 of the configuration file, in hex; null without one.
    #[schema(required = true)]
    pub fingerprint: Option<String>,
    /// When it was loaded.
    #[schema(format = "date-time", required = true)]
    pub loaded_at: Option<String>,
    /// Why the file was refused the last time it changed; null once it was accepted.
    #[schema(required = true)]
    pub last_error: Option<String>,
}

/// The process.
#[derive(Debug)]
pub struct ProcessInfo {
    started_at: Timestamp,
    config: Mutex<ConfigState>,
    /// The batches that it runs.
    pub(super) batches: Arc<BatchRegistry>,
    /// The streams of changes.
    pub(super) streams: Arc<OpenStreams>,
}

impl Default for ProcessInfo {
    /// Started now, with a configuration that is no file.
    fn default() -> Self {
        let started_at = Timestamp::now();
        let config = ConfigState { loaded_at: Some(format_time(started_at)), ..ConfigState::default() };
        let config = Mutex::new(config);
        Self { started_at, config, batches: Arc::default(), streams: Arc::default() }
    }
}

impl ProcessInfo {
    /// A configuration file of this fingerprint is in force now.
    pub fn config_loaded(&self, fingerprint: Option<String>) {
        let loaded_at = Some(format_time(Timestamp::now()));
        *self.lock() = ConfigState { fingerprint, loaded_at, last_error: None };
    }

    /// The changed configuration file was refused.
    pub fn config_refused(&self, error: &str) {
        self.lock().last_error = Some(error.to_owned());
    }

    pub(super) fn started_at(&self) -> String {
        format_time(self.started_at)
    }

    pub(super) fn config(&self) -> ConfigState {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ConfigState> {
        // Poisoning is harmless: each critical section is one assignment.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_file_changes_nothing_and_the_reason_is_kept() {
        let process = ProcessInfo::default();
        process.config_loaded(Some("ab".into()));
        process.config_refused("line 3");
        let refused = process.config();
        assert_eq!((refused.fingerprint.as_deref(), refused.last_error.as_deref()), (Some("ab"), Some("line 3")));
        process.config_loaded(Some("cd".into()));
        assert_eq!((process.config().fingerprint.as_deref(), process.config().last_error), (Some("cd"), None));
    }
}
