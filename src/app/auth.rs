//! Builds the authentication that `[access]` configures.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::file_watcher::FileWatcher;
use crate::access::{ApiKeyAuth, JwksSource, JwtVerifier};
use crate::config::{self, JwksLocation, MAX_JWKS_BYTES};
use crate::http::Authenticator;
use crate::metrics::Metrics;
use crate::transport;

/// How long an issuer may take to send its keys; callers with new tokens wait for them.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Authenticates callers; with tokens it also keeps the issuer's keys fresh.
pub(super) struct AuthSetup {
    pub(super) authenticator: Arc<Authenticator>,
    verifier: Option<Arc<JwtVerifier>>,
    watcher: Option<FileWatcher>,
}

impl AuthSetup {
    /// Replaces `former`, whose callers keep what they have used of their limits.
    pub(super) fn new(access: &config::AccessConfig, former: Option<&Self>) -> Self {
        let jwt = match access {
            config::AccessConfig::Open { limits, .. } => return Self::from_keys(ApiKeyAuth::new_open(*limits)),
            config::AccessConfig::Keys(callers) => {
                let former = match former.map(|former| &*former.authenticator) {
                    Some(Authenticator::ApiKeys(keys)) => Some(keys),
                    _ => None,
                };
                return Self::from_keys(ApiKeyAuth::replacing(former, callers));
            }
            config::AccessConfig::Jwt(jwt) => jwt,
        };
        let (source, watcher): (Arc<dyn JwksSource>, _) = match &jwt.jwks {
            JwksLocation::Url(url) => (Arc::new(HttpJwks(url.clone())), None),
            JwksLocation::File(path) => (Arc::new(FileJwks(path.clone())), Some(FileWatcher::new([&**path]))),
        };
        let verifier = Arc::new(JwtVerifier::new(jwt, source));
        let authenticator = Arc::new(Authenticator::Jwt(Arc::clone(&verifier)));
        Self { authenticator, verifier: Some(verifier), watcher }
    }

    /// Shows in the metrics when the keys of callers expire.
    pub(super) fn report_expiries(&self, metrics: &Metrics) {
        let callers = self.authenticator.callers();
        let seconds = |end: SystemTime| {
            let since = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        };
        let ends = callers.iter().filter_map(|caller| Some((&caller.name, seconds(caller.not_after?))));
        metrics.callers().set_key_expiries(ends);
    }

    fn from_keys(access: ApiKeyAuth) -> Self {
        Self { authenticator: Arc::new(Authenticator::ApiKeys(access)), verifier: None, watcher: None }
    }

    /// Fetches the issuer's keys if they are due, if their file has changed, or if `force` is set.
    pub(super) async fn refresh(&mut self, force: bool) {
        let Some(verifier) = &self.verifier else { return };
        let has_changed = self.watcher.as_mut().is_some_and(|watcher| watcher.has_changed(force));
        if force || has_changed {
            verifier.refresh().await;
        } else {
            verifier.refresh_if_stale().await;
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
        let max_bytes = usize::try_from(MAX_JWKS_BYTES).unwrap_or(usize::MAX);
        transport::fetch(&self.0, FETCH_TIMEOUT, max_bytes).await
    }
}
