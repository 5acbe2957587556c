//! The token of a vendor as replicas share it through their journal (contract 5.7): a vendor that
//! keeps one token for each client would otherwise reject the one that another replica has just
//! replaced.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_web::http::header::HeaderValue;
use async_trait::async_trait;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::protocol::Token;
use crate::record::Secret;

/// The place where the replicas keep a system's token.
#[async_trait(?Send)]
pub trait TokenStore: Send + Sync {
    /// The sealed token that was saved last; `None` if there is none, or if the store is
    /// unavailable.
    async fn load(&self) -> Option<Vec<u8>>;

    /// Saves a sealed token. A failure costs another replica a sign-in and nothing else.
    async fn save(&self, sealed: Vec<u8>);

    /// Tries to become the one replica that signs in; `None` while another one does.
    async fn try_lock(&self) -> Option<SignInLock>;
}

/// The lock for one sign-in. It is released when this is dropped.
pub struct SignInLock(Option<Box<dyn FnOnce()>>);

impl SignInLock {
    /// A right that `release` gives back.
    #[must_use]
    pub fn new(release: impl FnOnce() + 'static) -> Self {
        Self(Some(Box::new(release)))
    }
}

impl Drop for SignInLock {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

/// How long a replica waits for another one that signs in, before it signs in itself.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The shared token of one system.
pub(super) struct SharedToken {
    store: Arc<dyn TokenStore>,
    seal: TokenSeal,
}

impl SharedToken {
    /// `None` without credentials: such a system has no tokens.
    pub(super) fn new(store: Arc<dyn TokenStore>, system: &str, credentials: &[Secret]) -> Option<Self> {
        TokenSeal::new(system, credentials).map(|seal| Self { store, seal })
    }

    /// A token that another replica has got after `former`, or else the sign-in lock. `None` of
    /// both: the lock was not free in time, and the caller signs in without it, because the vendor
    /// must stay reachable without the store.
    pub(super) async fn newer_or_lock(&self, former: Option<&Token>) -> (Option<Token>, Option<SignInLock>) {
        let until = Instant::now() + LOCK_TIMEOUT;
        loop {
            let lock = self.store.try_lock().await;
            // Read after the attempt: a replica that signed in before it has saved its token.
            let stored = self.store.load().await.and_then(|sealed| self.seal.open(&sealed));
            let newer = stored.filter(|stored| former.is_none_or(|former| is_newer(stored, former)));
            if newer.is_some() || lock.is_some() || Instant::now() >= until {
                return (newer, lock);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Saves a token for the other replicas.
    pub(super) async fn save(&self, token: &Token) {
        if let Some(sealed) = self.seal.seal(token) {
            self.store.save(sealed).await;
        }
    }
}

fn is_newer(stored: &Token, former: &Token) -> bool {
    stored.secret != former.secret && stored.expires > former.expires
}

/// Encrypts tokens for the store: AES-256-GCM with a key from the system's credentials, which all
/// replicas have and the database does not.
pub(super) struct TokenSeal {
    key: LessSafeKey,
    system: String,
}

/// What is encrypted.
#[derive(Serialize, Deserialize)]
struct SealedToken {
    secret: String,
    /// Milliseconds since 1970.
    expires_ms: u64,
}

impl TokenSeal {
    /// `None` without credentials: such a system has no tokens.
    pub(super) fn new(system: &str, credentials: &[Secret]) -> Option<Self> {
        if credentials.is_empty() {
            return None;
        }
        let material: Vec<u8> =
            credentials.iter().flat_map(|secret| [secret.expose().as_bytes(), b"\n"].concat()).collect();
        let derived = Salt::new(HKDF_SHA256, b"records-gateway token").extract(&material);
        let key = derived.expand(&[system.as_bytes()], &AES_256_GCM).ok().map(UnboundKey::from)?;
        Some(Self { key: LessSafeKey::new(key), system: system.to_owned() })
    }

    /// The sealed form of a token; `None` for one that does not expire or cannot be sealed.
    pub(super) fn seal(&self, token: &Token) -> Option<Vec<u8>> {
        let left = token.expires?.saturating_duration_since(Instant::now());
        let until = (SystemTime::now() + left).duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let token = SealedToken {
            secret: token.secret.to_str().ok()?.to_owned(),
            expires_ms: u64::try_from(until.as_millis()).ok()?,
        };
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = serde_json::to_vec(&token).ok()?;
        let system = Aad::from(self.system.as_bytes());
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), system, &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// The token in a sealed form; `None` if it has expired, or was sealed with other credentials.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Token> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).ok()?, sealed.to_vec());
        let opened = self.key.open_in_place(nonce, Aad::from(self.system.as_bytes()), &mut sealed).ok()?;
        let token: SealedToken = serde_json::from_slice(opened).ok()?;
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(token.expires_ms);
        let left = until.duration_since(SystemTime::now()).ok()?;
        let mut secret = HeaderValue::from_str(&token.secret).ok()?;
        secret.set_sensitive(true);
        Some(Token { secret, expires: Some(Instant::now() + left) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal_of(system: &str, secret: &str) -> TokenSeal {
        TokenSeal::new(system, &[Secret::new(secret)]).expect("credentials")
    }

    #[test]
    fn a_sealed_token_opens_with_the_same_credentials_alone() {
        let token =
            Token { secret: HeaderValue::from_static("T1"), expires: Some(Instant::now() + Duration::from_mins(1)) };
        let sealed = seal_of("crm", "s3cret").seal(&token).expect("sealed");
        assert!(!sealed.windows(2).any(|bytes| bytes == b"T1"), "the store sees no secret");
        let opened = seal_of("crm", "s3cret").open(&sealed).expect("opened");
        assert_eq!(opened.secret, "T1");
        let left = opened.expires.expect("an end").saturating_duration_since(Instant::now());
        assert!((50..=60).contains(&left.as_secs()), "{left:?}");
        for (system, secret) in [("crm", "other"), ("itsm", "s3cret")] {
            assert!(seal_of(system, secret).open(&sealed).is_none(), "{system} {secret}");
        }
        assert!(seal_of("crm", "s3cret").open(&sealed[1..]).is_none());
        assert!(seal_of("crm", "s3cret").open(b"").is_none());
    }

    #[test]
    fn an_expired_token_and_an_api_key_are_not_shared() {
        let expired = Token { secret: HeaderValue::from_static("T1"), expires: Some(Instant::now()) };
        let seal = seal_of("crm", "s3cret");
        assert!(seal.seal(&expired).and_then(|sealed| seal.open(&sealed)).is_none());
        assert!(seal.seal(&Token { expires: None, ..expired }).is_none());
        assert!(TokenSeal::new("crm", &[]).is_none());
    }
}
