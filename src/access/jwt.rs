//! Authentication by a signed token (JWT, RFC 7519) of an issuer that the operator trusts.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use moka::future::Cache;
use serde::Deserialize;
use serde_json::{Number, Value};

use super::jwks::Key;
use super::jwks_cache::{JwksCache, JwksGeneration, JwksSource};
use super::jwt_crypto;
use super::principal::Principal;
use super::quota::TokenCallerQuotas;
use crate::config::{Grant, JwtConfig};
use crate::record::{CallerName, sha256};

/// How far the issuer's clock may be off, in seconds.
const LEEWAY: f64 = 30.0;
/// OpenID Connect Core §2: `sub` has at most 255 ASCII characters.
const MAX_NAME_LEN: usize = 255;
/// The number of verified tokens that are cached: checking a signature costs more than the rest of
/// a request.
const CACHE_SIZE: u64 = 10_000;
/// The interval of fetches while there are no keys.
const JWKS_RETRY: Duration = Duration::from_secs(5);
/// The interval of regular fetches, so that a withdrawn key does not stay valid.
const JWKS_TTL: Duration = Duration::from_mins(10);

/// Why a token does not authenticate a caller. It never holds a part of the token.
#[derive(Debug, PartialEq, Eq)]
pub enum AuthError {
    /// The token is invalid, for this reason.
    Token(&'static str),
    /// The token cannot be verified: the issuer's keys are not available.
    KeysUnavailable,
}

/// Verifies tokens.
pub struct JwtVerifier {
    keys: Arc<JwksCache>,
    issuer: String,
    audience: String,
    /// By the SHA-256 of the token: the token itself is not stored.
    cache: Cache<[u8; 32], CachedClaims>,
    quotas: Option<TokenCallerQuotas>,
}

#[derive(Clone)]
struct CachedClaims {
    generation: u64,
    expires_at: f64,
    principal: Arc<Principal>,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: Number,
    nbf: Option<Number>,
    scope: Option<Value>,
}

impl JwtVerifier {
    /// A verifier for `[access.jwt]`. It has no keys before the first [`refresh`](Self::refresh).
    #[must_use]
    pub fn new(jwt: &JwtConfig, source: Arc<dyn JwksSource>) -> Self {
        jwt_crypto::install_provider();
        Self {
            keys: JwksCache::new(source),
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
            cache: Cache::builder().max_capacity(CACHE_SIZE).build(),
            quotas: TokenCallerQuotas::new(jwt.limits),
        }
    }

    /// Fetches the keys if they are due. Call this every few seconds, inside a `LocalSet` or an
    /// actix system.
    pub async fn refresh_if_stale(&self) {
        let max_age = if self.keys.current().is_some() { JWKS_TTL } else { JWKS_RETRY };
        self.keys.fetch_if_older_than(max_age).await;
    }

    /// Fetches the keys now: at the start, and when their file has changed.
    pub async fn refresh(&self) {
        self.keys.fetch_if_older_than(Duration::ZERO).await;
    }

    /// The caller of this token (the text after `Bearer `).
    ///
    /// # Errors
    /// Why the token is not accepted.
    pub async fn authenticate(&self, token: &str) -> Result<Arc<Principal>, AuthError> {
        let digest = sha256([token.as_bytes()]);
        let now = seconds_since_epoch();
        let generation = self.keys.current().map(|keys| keys.number);
        if let Some(cached) = self.cache.get(&digest).await
            && Some(cached.generation) == generation
            && now < cached.expires_at
        {
            return Ok(cached.principal);
        }
        let verified = self.verify(token, now).await?;
        let principal = Arc::clone(&verified.principal);
        self.cache.insert(digest, verified).await;
        Ok(principal)
    }

    async fn verify(&self, token: &str, now: f64) -> Result<CachedClaims, AuthError> {
        let Ok(header) = decode_header(token) else {
            return Err(AuthError::Token("it is not a JWT signed with RS256, ES256 or EdDSA"));
        };
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) {
            return Err(AuthError::Token("its algorithm is not RS256, ES256 or EdDSA"));
        }
        // RFC 7515 §4.1.11: a critical extension that is not understood makes the token invalid.
        if header.crit.is_some() {
            return Err(AuthError::Token("it requires an extension (`crit`) that the gateway does not support"));
        }
        let keys = self.keys_containing(header.kid.as_deref()).await?;
        let key = keys.keys.find(header.kid.as_deref()).ok_or(UNKNOWN_KEY)?;
        if key.algorithm != header.alg {
            return Err(AuthError::Token("its algorithm is not that of its key"));
        }
        let claims = self.verify_claims(token, key)?;
        let (principal, expires_at) = principal_from_claims(&claims, now)?;
        let principal = Arc::new(self.limit(principal).await);
        Ok(CachedClaims { generation: keys.number, expires_at, principal })
    }

    /// The caller of a token with the limits of its name.
    pub async fn limit(&self, principal: Principal) -> Principal {
        let quota = match &self.quotas {
            Some(quotas) => Some(quotas.quota(principal.name()).await),
            None => None,
        };
        principal.with_quota(quota)
    }

    /// A key set with the key of this id; fetches the keys if the current set does not have it.
    async fn keys_containing(&self, id: Option<&str>) -> Result<Arc<JwksGeneration>, AuthError> {
        let containing = || self.keys.current().filter(|current| current.keys.find(id).is_some());
        if let Some(keys) = containing() {
            return Ok(keys);
        }
        self.keys.refresh_for_unknown_kid().await;
        containing().ok_or_else(|| if self.keys.last_fetch_failed() { AuthError::KeysUnavailable } else { UNKNOWN_KEY })
    }

    /// Checks signature, issuer and audience.
    fn verify_claims(&self, token: &str, key: &Key) -> Result<Claims, AuthError> {
        let mut validation = Validation::new(key.algorithm);
        validation.set_required_spec_claims(&["iss", "aud"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        // The library cannot read numbers with serde_json's `arbitrary_precision`:
        // `principal_from_claims` checks the times.
        validation.validate_exp = false;
        let decoded = decode::<Claims>(token, &key.public, &validation);
        decoded.map(|data| data.claims).map_err(|error| {
            AuthError::Token(match error.kind() {
                ErrorKind::InvalidSignature => "its signature is wrong",
                ErrorKind::InvalidIssuer => "it is from another issuer",
                ErrorKind::InvalidAudience => "it is for another audience",
                ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => "it has no issuer (`iss`)",
                ErrorKind::MissingRequiredClaim(_) => "it has no audience (`aud`)",
                ErrorKind::Json(_) => "its claims are not an object with `sub` (a string) and `exp` (a number)",
                _ => "it cannot be verified",
            })
        })
    }
}

const UNKNOWN_KEY: AuthError = AuthError::Token("its key (`kid`) is not in the issuer's JWKS");

/// Checks times and name; returns the principal and when it expires.
fn principal_from_claims(claims: &Claims, now: f64) -> Result<(Principal, f64), AuthError> {
    let expires_at = parse_seconds(&claims.exp).ok_or(AuthError::Token("its `exp` is not a time"))? + LEEWAY;
    if now >= expires_at {
        return Err(AuthError::Token("it has expired"));
    }
    if let Some(not_before) = &claims.nbf {
        let valid_from = parse_seconds(not_before).ok_or(AuthError::Token("its `nbf` is not a time"))? - LEEWAY;
        if now < valid_from {
            return Err(AuthError::Token("it is not valid yet"));
        }
    }
    let name = &*claims.sub;
    if name.trim().is_empty() {
        return Err(AuthError::Token("it names no caller: `sub` is empty"));
    }
    if name.len() > MAX_NAME_LEN || name.chars().any(char::is_control) || name == crate::config::ANONYMOUS {
        return Err(AuthError::Token("its `sub` cannot be a caller's name"));
    }
    Ok((Principal::new(CallerName(name.into()), &grants_from_scope(claims.scope.as_ref())), expires_at))
}

/// The grants among the scopes; an issuer adds other scopes, too.
fn grants_from_scope(scope: Option<&Value>) -> Vec<Grant> {
    match scope {
        Some(Value::String(scopes)) => scopes.split(' ').filter_map(Grant::parse).collect(),
        Some(Value::Array(scopes)) => scopes.iter().filter_map(Value::as_str).filter_map(Grant::parse).collect(),
        _ => Vec::new(),
    }
}

fn parse_seconds(number: &Number) -> Option<f64> {
    number.as_f64().filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}

fn seconds_since_epoch() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
