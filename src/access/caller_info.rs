//! The configured callers as an operator sees them, without secrets.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{ApiKey, ApiKeyAuth};

/// How many hexadecimal digits of a key's hash name the key.
const KEY_ID_DIGITS: usize = 8;

/// A configured caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CallerInfo {
    /// Its name.
    #[schema(example = "billing")]
    pub name: String,
    /// The first digits of the `key_sha256` of each of its keys.
    pub key_ids: Vec<String>,
    /// When its last key ends; null if one does not.
    #[schema(format = "date-time", required = true)]
    pub not_after: Option<String>,
    /// When this process last saw one of its keys; null if it has not.
    #[schema(format = "date-time", required = true)]
    pub last_used: Option<String>,
}

impl ApiKeyAuth {
    /// The callers, in the order of the configuration.
    #[must_use]
    pub fn callers(&self) -> Vec<CallerInfo> {
        self.keys.iter().map(caller_info).collect()
    }
}

fn caller_info(key: &ApiKey) -> CallerInfo {
    let digits = const_hex::encode(key.key_sha256.0);
    let last_used = Some(key.last_used.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0);
    CallerInfo {
        name: key.principal.name.0.to_string(),
        key_ids: vec![digits.chars().take(KEY_ID_DIGITS).collect()],
        not_after: None,
        last_used: last_used.and_then(|seconds| Some(jiff::Timestamp::from_second(seconds).ok()?.to_string())),
    }
}
