//! From `[access]` to what tells callers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::file_watcher::FileWatcher;
use super::plugs;
use crate::access::{ApiKeyAuth, JwksSource, JwtVerifier};
use crate::config::{self, JwksLocation, MAX_JWKS_BYTES};
use crate::http::Authenticator;
use crate::transport;

/// How long an issuer may take to send its keys: callers with new tokens wait for that.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Tells callers; where they bring tokens, with what needs looking after.
pub(super) struct AuthSetup {
    pub(super) authenticator: Arc<dyn Authenticator>,
    verifier: Option<Arc<JwtVerifier>>,
    watcher: Option<FileWatcher>,
}

impl AuthSetup {
    pub(super) fn new(access: &config::AccessConfig) -> Self {
        let jwt = match access {
            config::AccessConfig::Open { .. } => return Self::from_keys(ApiKeyAuth::new_open()),
            config::AccessConfig::Keys(callers) => return Self::from_keys(ApiKeyAuth::with_keys(callers)),
            config::AccessConfig::Jwt(jwt) => jwt,
        };
        let (source, file): (Arc<dyn JwksSource>, _) = match &jwt.jwks {
            JwksLocation::Url(url) => (Arc::new(HttpJwks(url.clone())), None),
            JwksLocation::File(path) => (Arc::new(FileJwks(path.clone())), Some(FileWatcher::new([&**path]))),
        };
        let tokens = Arc::new(JwtVerifier::new(jwt, source));
        Self { authenticator: plugs::bearers(&tokens), verifier: Some(tokens), watcher: file }
    }

    fn from_keys(access: ApiKeyAuth) -> Self {
        Self { authenticator: plugs::authenticator(access), verifier: None, watcher: None }
    }

    /// Fetches the issuer's keys if that is due, if their file has changed, or if it is wanted `now`.
    pub(super) async fn refresh(&mut self, now: bool) {
        let Some(tokens) = &self.verifier else { return };
        let has_changed = self.watcher.as_mut().is_some_and(FileWatcher::has_changed);
        if now || has_changed {
            tokens.refresh().await;
        } else {
            tokens.refresh_if_stale().await;
        }
    }
}

struct FileJwks(PathBuf);

#[async_trait(?Send)]
impl JwksSource for FileJwks {
    async fn fetch(&self) -> Result<Bytes, String> {
        read_file(&self.0).map(Bytes::from).map_err(|error| format!("{} cannot be read: {error}", self.0.display()))
    }
}

fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut document = Vec::new();
    std::fs::File::open(path)?.take(MAX_JWKS_BYTES).read_to_end(&mut document)?;
    Ok(document)
}

struct HttpJwks(String);

#[async_trait(?Send)]
impl JwksSource for HttpJwks {
    async fn fetch(&self) -> Result<Bytes, String> {
        let longest = usize::try_from(MAX_JWKS_BYTES).unwrap_or(usize::MAX);
        transport::fetch(&self.0, FETCH_TIMEOUT, longest).await
    }
}
