//! From `[access]` to what tells callers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::plugs;
use super::watched::Watched;
use crate::access::{Access, KeySource, Tokens};
use crate::api::Authenticator;
use crate::config::{self, Jwks, LONGEST_JWKS};
use crate::transport;

/// How long an issuer may take to send its keys: callers with new tokens wait for that.
const FETCH_WITHIN: Duration = Duration::from_secs(5);

/// Tells callers; where they bring tokens, with what needs looking after.
pub(super) struct Callers {
    pub(super) authenticator: Arc<dyn Authenticator>,
    tokens: Option<Arc<Tokens>>,
    file: Option<Watched>,
}

impl Callers {
    pub(super) fn new(access: &config::Access) -> Self {
        let jwt = match access {
            config::Access::Open { .. } => return Self::known(Access::open()),
            config::Access::Keys(callers) => return Self::known(Access::keys(callers)),
            config::Access::Jwt(jwt) => jwt,
        };
        let (source, file): (Arc<dyn KeySource>, _) = match &jwt.jwks {
            Jwks::Url(url) => (Arc::new(AtUrl(url.clone())), None),
            Jwks::File(path) => (Arc::new(InFile(path.clone())), Some(Watched::new([&**path]))),
        };
        let tokens = Arc::new(Tokens::new(jwt, source));
        Self { authenticator: plugs::bearers(&tokens), tokens: Some(tokens), file }
    }

    fn known(access: Access) -> Self {
        Self { authenticator: plugs::authenticator(access), tokens: None, file: None }
    }

    /// Fetches the issuer's keys if that is due, if their file has changed, or if it is wanted `now`.
    pub(super) async fn look_after(&mut self, now: bool) {
        let Some(tokens) = &self.tokens else { return };
        let has_changed = self.file.as_mut().is_some_and(Watched::have_changed);
        if now || has_changed {
            tokens.refresh().await;
        } else {
            tokens.keep_fresh().await;
        }
    }
}

struct InFile(PathBuf);

#[async_trait(?Send)]
impl KeySource for InFile {
    async fn fetch(&self) -> Result<Bytes, String> {
        read(&self.0).map(Bytes::from).map_err(|error| format!("{} cannot be read: {error}", self.0.display()))
    }
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut document = Vec::new();
    std::fs::File::open(path)?.take(LONGEST_JWKS).read_to_end(&mut document)?;
    Ok(document)
}

struct AtUrl(String);

#[async_trait(?Send)]
impl KeySource for AtUrl {
    async fn fetch(&self) -> Result<Bytes, String> {
        let longest = usize::try_from(LONGEST_JWKS).unwrap_or(usize::MAX);
        transport::fetch(&self.0, FETCH_WITHIN, longest).await
    }
}
