//! Access tokens that a fake vendor has issued.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The issued tokens, with their expiry.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct AccessTokens(HashMap<String, Instant>);

impl AccessTokens {
    pub(in crate::sandbox) fn insert(&mut self, token: String, lifetime: Duration) {
        if let Some(expires_at) = Instant::now().checked_add(lifetime) {
            self.0.insert(token, expires_at);
        }
    }

    pub(in crate::sandbox) fn expire_all(&mut self) {
        self.0.clear();
    }

    pub(in crate::sandbox) fn is_valid(&self, token: &str) -> bool {
        self.0.get(token).is_some_and(|expires_at| *expires_at > Instant::now())
    }
}
